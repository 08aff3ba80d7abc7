"""The merge in machine code does with every two sides what the Python modules do: bytes, marks, budget and errors."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from merge_generators import schema_sides, sides
from merge_tools import (
    LIST,
    ONE,
    add,
    changeset,
    clear,
    create,
    erase,
    erase_object,
    insert,
    move,
    number,
    set_erase,
    text,
    unpack,
    update,
    vectors,
)
from native_tools import said

from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    TYPE_BINARY,
    TYPE_DECIMAL,
    TYPE_FLOAT,
    TYPE_GLOBAL_KEY,
    TYPE_INT,
    TYPE_LINK,
    TYPE_NULL,
    TYPE_OBJECT_ID,
    TYPE_STRING,
    TYPE_UUID,
    AddColumn,
    AddTable,
    Changeset,
    EraseTable,
    Instruction,
    Key,
    Payload,
    SetErase,
    SetInsert,
)
from realmserver.merge import compact
from realmserver.merge.errors import MergeTooLarge, TransformError

native: Any = pytest.importorskip("realmserver._native")

many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

PLENTY = sys.maxsize


class Twins:
    """The changesets of one side, in Python and in machine code, from the same bytes."""

    def __init__(self, side: Sequence[Changeset]) -> None:
        parts = [(encode(one), one.timestamp, one.origin, True) for one in side]
        self.python = [compact.parse(*each) for each in parts]
        self.native: list[Any] = [native.parse(*each) for each in parts]

    def compare(self) -> None:
        assert [said(one) for one in self.native] == [said(one) for one in self.python]

    def settle(self) -> None:
        for one in [*self.python, *self.native]:
            one.settle()
        self.compare()


def merge_twins(incoming: Twins, local: Twins, meetings: int = PLENTY) -> str:
    """Merge both kinds, and compare what is left of the budget and everything else; the text of the error if there is
    one."""
    expected = _outcome(lambda: compact.merge(incoming.python, local.python, meetings))
    assert _outcome(lambda: native.merge(incoming.native, local.native, meetings)) == expected
    if isinstance(expected, int):
        incoming.compare()
        local.compare()
        return ""
    return expected[1]


def _outcome(run: Callable[[], int]) -> int | tuple[type[Exception], str]:
    try:
        return run()
    except TransformError as error:
        return type(error), str(error)


def both_ways(one: Sequence[Changeset], other: Sequence[Changeset]) -> None:
    merge_twins(Twins(one), Twins(other))
    merge_twins(Twins(other), Twins(one))


@pytest.mark.parametrize("name", ["pairs.jsonl.gz", "pairs_nested.jsonl.gz"])
def test_every_golden_pair_is_merged_the_same(name: str) -> None:
    for vector in vectors(name):
        runs = []
        for side in (vector["incoming"], vector["local"]):
            made = [decode(unpack(one["changeset"]), timestamp=one["timestamp"], origin=one["origin"]) for one in side]
            runs.append(made)
        both_ways(*runs)


@many
@given(sides(origin=2), sides(origin=3))
def test_random_sides_are_merged_the_same(one: list[Changeset], other: list[Changeset]) -> None:
    both_ways(one, other)


@many
@given(sides(origin=2, destructive=False, fields=1), sides(origin=3, destructive=False, fields=1))
def test_sides_in_one_property_are_merged_the_same(one: list[Changeset], other: list[Changeset]) -> None:
    both_ways(one, other)


@many
@given(schema_sides(origin=2), schema_sides(origin=3))
def test_sides_about_schema_are_merged_the_same(one: list[Changeset], other: list[Changeset]) -> None:
    both_ways(one, other)


@many
@given(schema_sides(origin=2, linking=True), schema_sides(origin=3, linking=True))
def test_what_rule_s4_makes_is_the_same(one: list[Changeset], other: list[Changeset]) -> None:
    both_ways(one, other)


RUNS = st.lists(sides(origin=2, fields=1) | schema_sides(origin=2), min_size=2, max_size=3)


@many
@given(RUNS, sides(origin=3, fields=1) | schema_sides(origin=3), st.integers(0, 7))
def test_later_merges_with_what_the_first_left_are_the_same(
    runs: list[list[Changeset]], local: list[Changeset], settled: int
) -> None:
    """With tombstones, or settled between the merges."""
    twins = Twins(local)
    for number_of_run, run in enumerate(runs):
        incoming = Twins(run)
        if merge_twins(incoming, twins):
            return
        if settled & 1 << number_of_run:
            twins.settle()
            incoming.settle()


@many
@given(sides(origin=2, fields=1), sides(origin=3, fields=1), st.integers(-1, 30))
def test_the_budget_is_spent_the_same(one: list[Changeset], other: list[Changeset], meetings: int) -> None:
    merge_twins(Twins(one), Twins(other), meetings)


def run(*instructions: Instruction, timestamp: int, origin: int) -> Twins:
    return Twins([changeset(*instructions, timestamp=timestamp, origin=origin)])


def older(*instructions: Instruction) -> Twins:
    return run(*instructions, timestamp=1, origin=2)


def newer(*instructions: Instruction) -> Twins:
    return run(*instructions, timestamp=2, origin=3)


KEYS: list[Key] = [
    (TYPE_NULL, None),
    (TYPE_INT, -5),
    (TYPE_STRING, "it's \udcff"),
    (TYPE_GLOBAL_KEY, (2**64 - 1, 3)),
    (TYPE_OBJECT_ID, b"123456789'\0\xff"),
    (TYPE_UUID, bytes(16)),
]


@pytest.mark.parametrize("key", KEYS)
def test_an_error_names_the_same_place(key: Key) -> None:
    first = insert("name", 3, size=7)
    second = insert("name", 3, size=8)
    first.key = second.key = key
    assert "different sizes" in merge_twins(older(first), newer(second))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (AddTable("T", 0, "_id", TYPE_INT), AddTable("T", 1)),
        (AddTable("T", 0, "_id", TYPE_INT), AddTable("T", 0, "id", TYPE_INT)),
        (AddTable("T", 0, "_id", TYPE_INT), AddTable("T", 0, "_id", TYPE_STRING)),
        (AddTable("T", 0, "_id", TYPE_INT), AddTable("T", 0, "_id", TYPE_INT, True)),
        (AddTable("T", 0, "_id", TYPE_INT), AddTable("T", 2, "_id", TYPE_INT)),
        (AddColumn("T", "f", TYPE_INT, True, 0), AddColumn("T", "f", TYPE_STRING, True, 0)),
        (AddColumn("T", "f", TYPE_INT, True, 0), AddColumn("T", "f", TYPE_INT, False, 0)),
        (AddColumn("T", "f", TYPE_INT, True, 0), AddColumn("T", "f", TYPE_INT, True, 1)),
        (AddColumn("T", "f", TYPE_LINK, True, 0, "A"), AddColumn("T", "f", TYPE_LINK, True, 0, "B")),
        (insert(1, "n", size=3), insert(1, 0, size=3)),
        (insert(1, size=3), update(1, "name")),
        (insert(1, size=3), update(1, "name", "deep")),
        (move(5, to=1, size=3), update(1, 1, size=3)),
        (move(1, to=1, size=3), move(1, to=7, size=3)),
        (erase(1, size=3), move(1, to=0, size=2)),
        (erase(1, size=3), update(1, 1, size=2)),
        (update(1, 1, size=3), update(1, 1, size=2)),
    ],
)
def test_contradictions_have_the_same_text(one: Any, other: Any) -> None:
    if one.op == insert(0, size=1).op and not isinstance(one.path[-1], int):
        one = erase(*one.path, 0, size=1)
    assert merge_twins(older(one), newer(other))
    assert merge_twins(newer(other), older(one))


SET_VALUES = [
    number(1),
    text("a"),
    text("b"),
    Payload(TYPE_BINARY, b"a"),
    Payload(TYPE_FLOAT, b"\0\0\0\0"),
    Payload(TYPE_FLOAT, b"\0\0\0\x80"),
    Payload(TYPE_FLOAT, b"\0\0\xc0\x7f"),
    Payload(TYPE_DECIMAL, (0, 5, False)),
    Payload(TYPE_DECIMAL, (0, 0, True)),
    Payload(TYPE_DECIMAL, (10**33, 0, False)),
    Payload(TYPE_DECIMAL, (1, 33, False)),
    Payload(TYPE_DECIMAL, (1, -6176, False)),
    Payload(TYPE_DECIMAL, (10**34 - 1, 34, False)),
    Payload(TYPE_DECIMAL, (0, 9184, False)),
    Payload(TYPE_DECIMAL, (7, 9696, False)),
    Payload(TYPE_LINK, ("Foo", ONE)),
    Payload(TYPE_LINK, ("Foo", (TYPE_STRING, "a"))),
    Payload(TYPE_LINK, ("Bar", (TYPE_STRING, "bar"))),
]


def test_payloads_are_equal_where_they_are_in_python() -> None:
    for one in SET_VALUES:
        for other in SET_VALUES:
            for kind in (SetInsert, SetErase):
                for second in (SetInsert, SetErase):
                    first = kind("Foo", ONE, "bar", [], Payload(one.type, one.value))
                    then = second("Foo", ONE, "bar", [], Payload(other.type, other.value))
                    merge_twins(older(first), newer(then))
                    merge_twins(older(create(), set_erase(text("xx")), first), newer(then))


def test_indices_may_outgrow_what_a_client_may_say() -> None:
    """The merge counts on, and what it left can be settled and merged again, although no client could read it."""
    most = 2**32 - 1
    one, other = older(insert(most, size=most)), newer(insert(most, size=most))
    assert not merge_twins(one, other)
    assert native.parse(one.native[0].canonical(), 0, 0, True) is None
    one.settle()
    other.settle()
    merge_twins(older(update(LIST, most, size=most)), other)


def test_integers_wrap() -> None:
    assert not merge_twins(older(update(2**63 - 1)), newer(add(5)))


def test_many_edits_are_merged_the_same() -> None:
    """More instructions than what is merged with the interpreter held, a good part of them discarded again."""
    one = [update(index, f"key {index % 50}") for index in range(3000)]
    other = [*(update(index, f"key {index % 70}") for index in range(2000)), clear(), erase_object(), create()]
    assert not merge_twins(older(*one), newer(*other))
    assert not merge_twins(newer(*other), older(*one))


def test_a_changeset_does_not_meet_itself() -> None:
    one = native.parse(encode(changeset(update(1), timestamp=1)), 1, 2, True)
    for incoming, local in (([one], [one]), ([one, one], []), ([], [one, one])):
        with pytest.raises(RuntimeError, match="twice"):
            native.merge(incoming, local, PLENTY)
    assert native.merge([one], [], 7) == 7


def test_too_many_meetings_are_the_senders_fault() -> None:
    with pytest.raises(MergeTooLarge):
        native.merge(older(update(1)).native, newer(update(2)).native, 0)


def test_strings_of_rule_s4_are_appended_in_order() -> None:
    link = AddColumn("Source", "link", TYPE_LINK, True, 0, "Target")
    one, other = older(link), newer(EraseTable("Target"))
    assert not merge_twins(one, other)
    assert other.native[0].erased_columns() == [("Source", "link")]
    assert other.native[0].size == 2
    assert one.native[0].canonical() == b""
