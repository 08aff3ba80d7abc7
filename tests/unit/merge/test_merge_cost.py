"""The merge does not look at pairs that cannot meet: looks and comparisons are counted, not seconds."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from built import needs_pure
from merge_tools import changeset, live, number

from realmserver.changeset.instructions import (
    TYPE_LINK,
    TYPE_STRING,
    AddColumn,
    AddInteger,
    Clear,
    EraseColumn,
    EraseObject,
    EraseTable,
    Instruction,
    Update,
)
from realmserver.merge.walk import merge

MANY = 2000


class Name(str):
    """A string that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        Name.compared += 1
        return str.__ne__(self, other)


ONE = Name("one")
FOO = Name("Foo")


def in_objects(first: int) -> list[Instruction]:
    return [
        Update(Name("Foo"), (TYPE_STRING, Name(f"key {i}")), Name("f"), [], number(i))
        for i in range(first, first + MANY)
    ]


def in_fields(first: int) -> list[Instruction]:
    return [
        Update(Name("Foo"), (TYPE_STRING, ONE), Name(f"field {i}"), [], number(i)) for i in range(first, first + MANY)
    ]


def in_dictionary(first: int) -> list[Instruction]:
    return [
        Update(Name("Foo"), (TYPE_STRING, ONE), Name("f"), [Name(f"key {i}")], number(i))
        for i in range(first, first + MANY)
    ]


def increments(_: int) -> list[Instruction]:
    return [AddInteger(Name("Foo"), (TYPE_STRING, ONE), Name("f"), [], i) for i in range(MANY)]


@pytest.mark.parametrize("side", [in_objects, in_fields, in_dictionary, increments])
def test_comparisons_grow_with_the_sides_not_with_their_product(side: Callable[[int], list[Instruction]]) -> None:
    incoming = changeset(*side(0), timestamp=1)
    local = changeset(*side(MANY), timestamp=2, origin=3)
    Name.compared = 0
    merge([incoming], [local])
    assert Name.compared < 30 * MANY
    assert len(live(incoming)) == len(live(local)) == MANY


class Looks:
    """Counts how often an instruction's opcode or tombstone mark is read, and how often it is compared: whoever does
    something with an instruction does one of these."""

    count = 0


def _counting(slot: Any) -> property:
    def read(instruction: Instruction) -> object:
        Looks.count += 1
        return slot.__get__(instruction)

    return property(read, slot.__set__)


def _equal(instruction: Instruction, other: object) -> bool:
    Looks.count += 1
    return instruction is other


_COUNTING = {
    "__slots__": (),
    "op": _counting(vars(Instruction)["op"]),
    "discarded": _counting(vars(Instruction)["discarded"]),
    "__eq__": _equal,
    "__hash__": object.__hash__,
}


def counted(instructions: list[Instruction]) -> list[Instruction]:
    for instruction in instructions:
        kind = type(instruction)
        instruction.__class__ = type(f"Counted{kind.__name__}", (kind,), _COUNTING)
    return instructions


def erased_columns(table: str) -> list[Instruction]:
    return [EraseColumn(table, f"field {i}") for i in range(MANY)]


def erased_column(_: int) -> list[Instruction]:
    return [EraseColumn("Foo", "f") for _ in range(MANY)]


def erased_objects(_: int) -> list[Instruction]:
    return [EraseObject("Foo", (TYPE_STRING, "one")) for _ in range(MANY)]


def links(table: str, field: str = "") -> list[Instruction]:
    return [AddColumn(table, field or f"field {i}", TYPE_LINK, True, 0, "Bar") for i in range(MANY)]


def clears() -> list[Instruction]:
    return [Clear("Foo", (TYPE_STRING, "one"), "f", [], 2) for _ in range(MANY)]


def links_and_erasures(table: str, linked: str) -> list[Instruction]:
    """New links to one class, and between them erasures of another."""
    return [
        one
        for i in range(MANY)
        for one in (EraseTable("Bar"), AddColumn(table, f"field {i}", TYPE_LINK, True, 0, linked))
    ]


ONE_OF_THEM_ERASES: dict[str, Callable[[], tuple[list[Instruction], list[Instruction]]]] = {
    "a class that is nowhere else": lambda: (in_objects(0), [*in_objects(MANY), EraseTable("Bar")]),
    "a column that is nowhere else": lambda: (in_objects(0), [*in_objects(MANY), EraseColumn("Foo", "bar")]),
    "the class of all, at the end": lambda: (in_objects(0), [*in_objects(MANY), EraseTable("Foo")]),
    "the class of all, at the beginning": lambda: (in_objects(0), [EraseTable("Foo"), *in_objects(MANY)]),
    "the column of all": lambda: (in_objects(0), [*in_objects(MANY), EraseColumn("Foo", "f")]),
    "the column of many writes of one object": lambda: (in_dictionary(0), [EraseColumn("Foo", "f"), *in_fields(0)]),
    "many columns": lambda: (in_fields(0), erased_columns("Foo")),
    "one column again and again": lambda: (erased_column(0), erased_column(0)),
    "one object again and again": lambda: (erased_objects(0), erased_objects(0)),
    "a class that many columns link to": lambda: (links("Foo"), [*in_objects(0), EraseTable("Bar")]),
    "a class that one column links to many times": lambda: (links("Foo", "f"), [EraseTable("Bar"), *in_objects(0)]),
    "a class and the classes that link to it": lambda: (
        [*links("Foo"), *in_fields(0)],
        [EraseTable("Bar"), *erased_columns("Foo"), EraseTable("Foo")],
    ),
    "two classes in turn": lambda: (
        [*links_and_erasures("Foo", "Baz"), EraseTable("Foo")],
        [*links_and_erasures("Qux", "Bar"), EraseTable("Baz")],
    ),
    "all keys of a dictionary, by emptying it": lambda: (clears(), in_dictionary(0)),
}


@pytest.fixture
def looks() -> Iterator[None]:
    Looks.count = 0
    yield
    assert 0 < Looks.count < 40 * MANY


@needs_pure
@pytest.mark.parametrize("erased", ONE_OF_THEM_ERASES)
@pytest.mark.parametrize("turned", [False, True], ids=["local", "incoming"])
def test_looks_grow_with_the_sides_where_one_erases(erased: str, turned: bool, looks: None) -> None:
    one, other = ONE_OF_THEM_ERASES[erased]()
    one_side = changeset(*counted(one), timestamp=1)
    other_side = changeset(*counted(other), timestamp=2, origin=3)
    if turned:
        merge([other_side], [one_side])
    else:
        merge([one_side], [other_side])


@needs_pure
def test_new_instructions_do_not_make_a_long_changeset_slow(looks: None) -> None:
    """The EraseTable before which rule S4 puts its new instructions stands behind many others."""
    erasing = changeset(*counted([*in_objects(0), EraseTable("Bar")]), timestamp=1)
    linking = changeset(*counted(links("Foo")), timestamp=2, origin=3)
    merge([erasing], [linking])
    assert linking.is_empty()
    assert all(isinstance(one, EraseColumn) for one in erasing.instructions[MANY:-1])
    assert len(erasing.instructions) == MANY + MANY + 1
