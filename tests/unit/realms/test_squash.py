"""A squash leads to the state of the history that it replaces, for every kind of content."""

from random import Random

import pytest
from apply_model import DICTIONARY, LIST, OBJECT_VALUE, ONE, TWO, Twins, integer, link, schema, text
from apply_random import random_instruction
from apply_vectors import FILES, comparable, server_history, sessions
from realm_tools import memory_store

from realmserver.changeset import instructions as ins
from realmserver.changeset.decode import decode, decode_canonical
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import BadChangeset, Changeset, Instruction
from realmserver.realms import squash as squashing
from realmserver.realms.fold import fold
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.squash import SQUASH_KEY, Squash, encode_squash, read_squash, squash_step
from realmserver.store.interface import Commit, LogEntry, RealmStore


def folded(changesets: list[bytes]) -> RealmStore:
    """A store with this log, enough empty entries after it, and its values."""
    store = memory_store().open("/a", create=True)
    padded = [*changesets, *[b""] * 2_000]
    store.append(0, 0, Commit([LogEntry(at, 1, 2, at, 1, data, at) for at, data in enumerate(padded, 1)]))
    while True:
        with store.snapshot() as snapshot:
            step = fold(snapshot)
        if step is None:
            return store
        store.append(len(padded), 0, step[0])


def squash(store: RealmStore) -> list[bytes]:
    """Write a squash in steps; its entries."""
    version = store.head().version
    store.append(version, 0, Commit(objects={SQUASH_KEY: encode_squash(Squash(version, 77))}))
    entries: list[LogEntry] = []
    while True:
        with store.snapshot() as snapshot:
            at = read_squash(snapshot)
            assert at is not None
            if at.taken:
                break
            step = squash_step(snapshot, at, 1_000)
        assert step is not None
        commit, is_whole = step
        entries += commit.squash.values()
        store.append(version, 0, commit)
    assert is_whole
    assert [entry.version for entry in entries] == list(range(1, len(entries) + 1))
    assert all((entry.timestamp, entry.origin) == (77, 0) for entry in entries)
    return [entry.changeset for entry in entries]


def state_of(changesets: list[bytes]) -> object:
    """The state that a client comes to; strictly applied, to values and to shape."""
    twins = Twins()
    for data in changesets:
        _, canonical = decode_canonical(data, timestamp=1, origin=1, clear_types=True)
        assert canonical == data
        twins.apply(*decode(data).instructions)
    return comparable(twins.values.state())


@pytest.mark.parametrize("file", FILES)
def test_the_golden_states_come_of_squashes(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(squashing, "STEP_OBJECTS", 3)
    compared = 0
    for session in list(sessions(file))[:40]:
        if session["state"] is not None:
            store = folded([encode(changeset) for changeset in server_history(session)])
            assert state_of(squash(store)) == comparable(session["state"]), session["name"]
            compared += 1
    assert compared > 5


@pytest.mark.parametrize("seed", range(25))
def test_whatever_was_applied_a_squash_leads_to_it(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    monkeypatch.setattr(squashing, "WINDOW_INSTRUCTIONS", random.choice([1, 7, 4_000]))
    monkeypatch.setattr(squashing, "STEP_OBJECTS", random.choice([1, 500]))
    twins = Twins()
    good: list[Instruction] = []
    for instruction in [*schema(), *(None for _ in range(400))]:
        each = instruction or random_instruction(random, twins.values)
        try:
            twins.apply(each)
        except BadChangeset:
            continue
        good.append(each)
    store = folded([encode(Changeset(good[at : at + 10])) for at in range(0, len(good), 10)])
    assert state_of(squash(store)) == comparable(twins.values.state())


def test_every_kind_of_place_is_written() -> None:
    fill: list[Instruction] = [
        *schema(),
        ins.CreateObject("T", ONE),
        ins.ArrayInsert("T", ONE, "lo", [0], link("T", TWO), 0),  # leads nowhere
        ins.Update("T", ONE, "o", [], link("T", TWO)),
        ins.Update("T", ONE, "e", [], OBJECT_VALUE),
        ins.Update("T", ONE, "e", ["mx"], DICTIONARY),
        ins.Update("T", ONE, "e", ["mx", "k"], LIST),
        ins.ArrayInsert("T", ONE, "e", ["mx", "k", 0], text("x"), 0),
        ins.Update("T", ONE, "de", ["there"], OBJECT_VALUE),
        ins.Update("T", ONE, "de", ["null"], ins.Payload(ins.TYPE_NULL)),
        ins.Update("T", ONE, "de", ["there", "n"], integer(5)),
        ins.SetInsert("T", ONE, "sm", [], text("s")),
        ins.SetInsert("T", ONE, "sm", [], ins.Payload(ins.TYPE_NULL)),
        ins.CreateObject("N", (ins.TYPE_NULL, None)),
        ins.CreateObject("U", (ins.TYPE_GLOBAL_KEY, (1, 2))),
        ins.CreateObject("A", ONE),
    ]
    twins = Twins()
    twins.apply(*fill)
    data = encode(Changeset(fill))
    assert state_of(squash(folded([data]))) == comparable(twins.values.state())


def test_a_squash_of_other_values_than_those_it_began_with_is_damage() -> None:
    store = folded([encode(Changeset(schema()))])
    with store.snapshot() as snapshot, pytest.raises(BrokenRecord, match="the squash at 1"):
        squash_step(snapshot, Squash(1, 1), 1)
