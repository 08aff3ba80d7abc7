"""The stored values: equal to the values in memory whatever is applied, read in pages, and never more than an edit."""

from pathlib import Path
from random import Random

import pytest
from apply_model import DICTIONARY, LIST, OBJECT_VALUE, ONE, TWO, integer, link, schema, text
from apply_random import random_instruction
from apply_vectors import comparable
from realm_tools import memory_store

from realmserver.changeset import instructions as ins
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import BadChangeset, Changeset, Instruction, Key, PathElement, Payload
from realmserver.realms import fold as folding
from realmserver.realms.fold import fold, is_behind
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.reading import Link
from realmserver.realms.stored import StoredValues
from realmserver.realms.stored_reading import StoredReader
from realmserver.realms.values import Values
from realmserver.store.interface import Commit, LogEntry, RealmStore
from realmserver.store.lmdb_store import LmdbStore


class Kept:
    """A Realm's log with its stored values, and the values in memory that they must equal."""

    def __init__(self, store: RealmStore | None = None) -> None:
        self.store = store or memory_store().open("/a", create=True)
        self.values = Values()
        self.size = 0

    def log(self, *instructions: Instruction) -> None:
        """One more version."""
        self.values.apply(Changeset(list(instructions)))
        data = encode(Changeset(list(instructions)))
        self.size += len(data)
        version = self.store.head().version + 1
        entry = LogEntry(version, 1, 2, version, 1, data, self.size)
        self.store.append(version - 1, 0, Commit(entries=[entry]))

    def step(self) -> Commit | None:
        with self.store.snapshot() as snapshot:
            step = fold(snapshot)
        if step is None:
            return None
        self.store.append(self.store.head().version, 0, step[0])
        return step[0]

    def fold(self) -> None:
        while self.step() is not None:
            pass

    def check(self) -> None:
        self.fold()
        with self.store.snapshot() as snapshot:
            assert comparable(StoredReader(snapshot).state()) == comparable(self.values.state())


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_applied_the_stored_values_equal_those_in_memory(seed: int) -> None:
    random = Random(seed)
    kept = Kept()
    kept.log(*schema())
    for _ in range(12):
        good: list[Instruction] = []
        for _ in range(random.randrange(60)):
            instruction = random_instruction(random, kept.values)
            try:
                kept.values.applier.apply(instruction)
            except BadChangeset:
                continue
            good.append(instruction)
        if good:
            data = encode(Changeset(good))
            version = kept.store.head().version + 1
            kept.store.append(version - 1, 0, Commit(entries=[LogEntry(version, 1, 2, version, 1, data, version)]))
        if random.random() < 0.7:
            kept.check()
    kept.check()


def test_nothing_is_left_of_what_is_erased(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, random_bytes=bytes)
    realm = store.open("/a", create=True)
    kept = Kept(realm)
    kept.log(*schema())
    kept.fold()
    before = _keys(realm)
    fill: list[Instruction] = [ins.CreateObject("T", ONE)]
    fill += [ins.ArrayInsert("T", ONE, "li", [at], integer(at), at) for at in range(300)]
    fill += [ins.ArrayInsert("T", ONE, "le", [at], OBJECT_VALUE, at) for at in range(100)]
    fill += [ins.Update("T", ONE, "le", [at, "mx"], LIST) for at in range(100)]
    fill += [ins.ArrayInsert("T", ONE, "le", [at, "mx", 0], DICTIONARY, 0) for at in range(100)]
    fill += [ins.Update("T", ONE, "le", [at, "mx", 0, "k"], text("v")) for at in range(100)]
    fill += [ins.Update("T", ONE, "de", [f"{at}"], OBJECT_VALUE) for at in range(300)]
    fill += [ins.SetInsert("T", ONE, "si", [], integer(at)) for at in range(10)]
    for start in range(0, len(fill), 100):
        kept.log(*fill[start : start + 100])
        kept.fold()
    kept.check()
    assert len(_keys(realm)) > 900
    kept.log(ins.EraseObject("T", ONE))
    kept.check()
    assert _keys(realm) == before
    store.close()


def _keys(store: RealmStore) -> list[bytes]:
    with store.snapshot() as snapshot:
        return [key for key, _ in snapshot.objects(b"", limit=10_000)]


def test_an_edit_of_a_long_list_or_a_large_dictionary_writes_a_few_small_records() -> None:
    kept = Kept()
    kept.log(*schema())
    kept.log(
        ins.CreateObject("T", ONE),
        *[ins.ArrayInsert("T", ONE, "li", [at], integer(at), at) for at in range(20_000)],
        *[ins.Update("T", ONE, "di", [f"key {at}"], integer(at)) for at in range(5_000)],
    )
    kept.fold()
    for edit in (
        ins.ArrayInsert("T", ONE, "li", [10_000], integer(7), 20_000),
        ins.ArrayMove("T", ONE, "li", [3], 19_000, 20_001),
        ins.ArrayErase("T", ONE, "li", [12_345], 20_001),
        ins.Update("T", ONE, "li", [5], integer(6), False, 20_000),
        ins.Update("T", ONE, "di", ["key 77"], integer(6)),
        ins.Update("T", ONE, "i", [], integer(6)),
    ):
        kept.log(edit)
        commit = kept.step()
        assert commit is not None
        assert len(commit.objects) <= 7
        assert sum(len(data or b"") for data in commit.objects.values()) < 5_000
        assert not commit.objects_prefixes
    kept.check()


def test_a_clear_of_a_large_collection_deletes_by_prefix_and_reads_without_keeping() -> None:
    kept = Kept()
    kept.log(*schema())
    kept.log(
        ins.CreateObject("T", ONE),
        *[ins.ArrayInsert("T", ONE, "lm", [at], integer(at), at) for at in range(5_000)],
    )
    kept.fold()
    kept.log(ins.Clear("T", ONE, "lm", [], ins.COLLECTION_LIST))
    commit = kept.step()
    assert commit is not None
    assert (len(commit.objects), len(commit.objects_prefixes)) == (3, 1)
    kept.check()


def test_steps_are_bounded_and_each_leaves_the_values_at_one_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "STEP_INSTRUCTIONS", 10)
    kept = Kept()
    kept.log(*schema())
    for number in range(30):
        kept.log(ins.CreateObject("T", (ins.TYPE_INT, number)))
    versions = []
    while kept.step() is not None:
        with kept.store.snapshot() as snapshot:
            reader = StoredReader(snapshot)
            versions.append(reader.version)
            assert reader.count("T") == reader.version - 1
            assert is_behind(snapshot) == (reader.version < 31)
    assert versions == [1, 6, 11, 16, 21, 26, 31]


def test_a_log_that_does_not_apply_is_damage_to_the_store() -> None:
    kept = Kept()
    data = encode(Changeset([ins.CreateObject("T", ONE)]))
    kept.store.append(0, 0, Commit(entries=[LogEntry(1, 1, 2, 1, 1, data, 1)]))
    with pytest.raises(BrokenRecord, match="version 1 of the log"):
        kept.fold()


def test_versions_are_applied_without_a_gap() -> None:
    with Kept().store.snapshot() as snapshot, pytest.raises(ValueError, match="2 does not follow 0"):
        StoredValues(snapshot).apply(2, Changeset([]))


def test_objects_are_read_in_pages_in_the_order_of_their_keys() -> None:
    kept = Kept()
    kept.log(*schema())
    numbers = [-(2**63), -5, 0, 3, 200, 2**63 - 1]
    kept.log(*[ins.CreateObject("T", (ins.TYPE_INT, number)) for number in reversed(numbers)])
    kept.fold()
    with kept.store.snapshot() as snapshot:
        reader = StoredReader(snapshot)
        assert reader.classes() == ["A", "N", "T", "U"]
        assert [row.key[1] for row in reader.objects("T", limit=10)] == numbers
        assert [row.key[1] for row in reader.objects("T", limit=2)] == numbers[:2]
        assert [row.key[1] for row in reader.objects("T", (ins.TYPE_INT, 1), limit=2)] == [3, 200]
        assert list(reader.objects("T", (ins.TYPE_INT, 2**63 - 1), limit=2)) == []
        assert reader.count("T") == 6
        with pytest.raises(KeyError):
            reader.get("X", ONE)
        assert reader.get("T", (ins.TYPE_INT, 4)) is None


def test_a_key_longer_than_the_stores_keys_is_read_whole() -> None:
    kept = Kept()
    kept.log(*schema())
    keys: list[Key] = [(ins.TYPE_STRING, "x" * 5_000 + end) for end in "ab"] + [(ins.TYPE_NULL, None)]
    kept.log(*[ins.CreateObject("N", key) for key in keys])
    kept.check()
    with kept.store.snapshot() as snapshot:
        rows = list(StoredReader(snapshot).objects("N", limit=10))
    assert {row.key for row in rows} == set(keys)


def test_an_objects_collections_are_cut_and_read_in_parts() -> None:
    kept = Kept()
    kept.log(*schema())
    kept.log(
        ins.CreateObject("T", ONE),
        *[ins.ArrayInsert("T", ONE, "li", [at], integer(at), at) for at in range(10)],
        *[ins.Update("T", ONE, "di", [f"{at}"], integer(at)) for at in range(5)],
        *[ins.SetInsert("T", ONE, "si", [], integer(at)) for at in range(3)],
        ins.Update("T", ONE, "e", [], OBJECT_VALUE),
        ins.Update("T", ONE, "e", ["mx"], DICTIONARY),
        ins.Update("T", ONE, "e", ["mx", "deep"], LIST),
        ins.ArrayInsert("T", ONE, "e", ["mx", "deep", 0], text("x"), 0),
        ins.ArrayInsert("T", ONE, "lo", [0], link("T", TWO), 0),
        ins.ArrayInsert("T", ONE, "lo", [1], link("T", ONE), 1),
    )
    kept.fold()
    with kept.store.snapshot() as snapshot:
        reader = StoredReader(snapshot)
        row = reader.get("T", ONE)
        assert row is not None
        assert row.is_whole
        row = reader.get("T", ONE, most=4)
        assert row is not None
        assert not row.is_whole
        assert row.properties["li"] == [0, 1, 2, 3]

        def parts(field: str, limit: int) -> list[object]:
            found, after = [], b""
            while True:
                part = reader.elements("T", ONE, [field], after=after, limit=limit)
                found.append(part.items)
                if part.after is None:
                    return found
                after = part.after

        assert parts("li", 4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        assert parts("li", 5) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
        assert parts("di", 3) == [{"0": 0, "1": 1, "2": 2}, {"3": 3, "4": 4}]
        assert [len(part) for part in parts("si", 2) if isinstance(part, list)] == [2, 1]
        assert parts("lo", 5) == [[Link("T", ONE)]]  # the other one leads nowhere
        assert parts("le", 5) == [[]]
        assert parts("de", 5) == [{}]
        assert reader.elements("T", ONE, ["e", "mx", "deep"], limit=5).items == ["x"]
        assert reader.elements("T", ONE, ["e", "mx"], limit=5).items == {"deep": ["x"]}
        nowheres: list[list[PathElement]] = [["x"], ["i"], ["e"], ["e", 1], ["e", "mx", "no"], ["e", "mx", "deep", 1]]
        nowheres += [["li", 3], ["li", 3, "x"]]
        for nowhere in nowheres:
            with pytest.raises(KeyError):
                reader.elements("T", ONE, nowhere, limit=1)
        with pytest.raises(KeyError):
            reader.elements("T", TWO, ["li"], limit=1)


def test_large_elements_do_not_share_a_page() -> None:
    kept = Kept()
    kept.log(*schema())
    kept.log(
        ins.CreateObject("T", ONE),
        *[ins.ArrayInsert("T", ONE, "lm", [at], text("x" * 3_000), at) for at in range(40)],
    )
    kept.fold()
    kept.log(ins.Update("T", ONE, "lm", [20], text("y"), False, 40))
    commit = kept.step()
    assert commit is not None
    assert sum(len(data or b"") for data in commit.objects.values()) < 10_000
    kept.check()


def test_a_class_erased_and_added_again_is_empty() -> None:
    kept = Kept()
    kept.log(*schema())
    kept.log(ins.CreateObject("N", (ins.TYPE_STRING, "a")))
    kept.fold()
    kept.log(
        ins.EraseTable("N"),
        ins.AddTable("N", ins.TABLE_TOP_LEVEL, "id", ins.TYPE_INT, False),
        ins.CreateObject("N", ONE),
        ins.EraseTable("N"),
        ins.AddTable("N", ins.TABLE_TOP_LEVEL, "id", ins.TYPE_INT, False),
    )
    kept.check()
    kept.log(ins.EraseTable("N"))
    kept.check()
    with kept.store.snapshot() as snapshot, pytest.raises(KeyError):
        StoredReader(snapshot).count("N")


@pytest.mark.parametrize("kind", [ins.TYPE_DOUBLE, ins.TYPE_DECIMAL])
def test_a_set_takes_numbers_of_one_value_for_one_element(kind: int) -> None:
    three = Payload(kind, bytes.fromhex("0000000000000840") if kind == ins.TYPE_DOUBLE else (3, 0, False))
    kept = Kept()
    kept.log(*schema())
    kept.log(ins.CreateObject("T", ONE), ins.SetInsert("T", ONE, "sm", [], integer(3)))
    kept.fold()
    kept.log(ins.SetInsert("T", ONE, "sm", [], three), ins.SetInsert("T", ONE, "sm", [], text("3")))
    kept.check()
    kept.log(ins.SetErase("T", ONE, "sm", [], three))
    kept.check()
