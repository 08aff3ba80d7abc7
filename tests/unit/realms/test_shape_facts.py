"""Histories that lead to one state give one shape, whatever the numbers in its records; another state, another one."""

from collections.abc import Iterator
from random import Random

import pytest
from apply_model import DICTIONARY, LIST, OBJECT_VALUE, ONE, Rows, Twins, integer, schema, text
from apply_random import random_instruction
from test_squash import folded, squash

from realmserver.changeset import instructions as ins
from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import BadChangeset, Changeset, Instruction
from realmserver.realms import squash as squashing
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.schema import Schema, decode_table
from realmserver.realms.shape_facts import Fact, ShapeFacts
from realmserver.realms.shape_records import objects_prefix

Facts = dict[tuple[str, bytes], list[Fact]]


class Records:
    """The records of a shape, in memory."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def shape(self, key: bytes) -> bytes | None:
        return self.rows.shape.get(key)

    def shapes(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(item for item in self.rows.shape.items() if item[0].startswith(prefix)))


def facts_of(twins: Twins) -> Facts:
    """All facts, by class and key."""
    twins.persist()
    records = Records(twins.rows)
    known = Schema({name: decode_table(name, row) for name, row in twins.rows.schema.items()})
    facts = ShapeFacts(records, known)
    return {
        (name, key[len(objects_prefix(table.id)) :]): list(facts.of(table, data))
        for name, table in known.tables.items()
        for key, data in records.shapes(objects_prefix(table.id))
    }


@pytest.mark.parametrize("seed", range(25))
def test_the_history_that_was_and_its_squash_give_the_same_facts(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    monkeypatch.setattr(squashing, "WINDOW_INSTRUCTIONS", random.choice([1, 7, 4_000]))
    twins, again = Twins(), Twins()
    good: list[Instruction] = []
    for instruction in [*schema(), *(None for _ in range(400))]:
        each = instruction or random_instruction(random, twins.values)
        try:
            twins.apply(each)
        except BadChangeset:
            continue
        good.append(each)
        if random.random() < 0.05:
            twins.persist()
    store = folded([encode(Changeset(good[at : at + 10])) for at in range(0, len(good), 10)])
    for data in squash(store):
        again.apply(*decode(data).instructions)
    assert facts_of(again) == facts_of(twins)


CHANGES: list[Instruction] = [
    ins.CreateObject("T", (ins.TYPE_INT, 9)),
    ins.ArrayInsert("T", ONE, "li", [0], integer(1), 0),
    ins.ArrayInsert("T", ONE, "le", [1], OBJECT_VALUE, 1),
    ins.Update("T", ONE, "mx", [], text("x")),
    ins.Update("T", ONE, "e", [], OBJECT_VALUE),
    ins.Update("T", ONE, "de", ["k"], OBJECT_VALUE),
    ins.ArrayInsert("T", ONE, "le", [0, "kids", 0], OBJECT_VALUE, 0),
    ins.Update("T", ONE, "dm", ["d", "more"], LIST),
    ins.ArrayInsert("T", ONE, "lm", [0, 0], integer(4), 0),
]


@pytest.mark.parametrize("change", CHANGES, ids=repr)
def test_another_state_gives_other_facts(change: Instruction) -> None:
    states: list[Facts] = []
    for more in ([], [change]):
        twins = Twins()
        twins.apply(
            *schema(),
            ins.CreateObject("T", ONE),
            ins.ArrayInsert("T", ONE, "le", [0], OBJECT_VALUE, 0),
            ins.Update("T", ONE, "dm", ["d"], DICTIONARY),
            ins.ArrayInsert("T", ONE, "lm", [0], LIST, 0),
            *more,
        )
        states.append(facts_of(twins))
    assert states[0] != states[1]


def test_a_record_that_is_missing_is_told() -> None:
    twins = Twins()
    twins.apply(*schema(), ins.CreateObject("T", ONE), ins.Update("T", ONE, "dm", ["d"], LIST))
    twins.persist()
    (node,) = [key for key in twins.rows.shape if key[4:5] == b"\2" and len(key) == 13]
    del twins.rows.shape[node]
    with pytest.raises(BrokenRecord, match="missing"):
        facts_of(twins)
