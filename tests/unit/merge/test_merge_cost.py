"""The merge does not look at pairs that cannot meet: comparisons are counted, not seconds."""

from collections.abc import Callable

import pytest
from merge_tools import changeset, live, number

from realmserver.changeset.instructions import (
    ERASE_OBJECT,
    TYPE_STRING,
    AddInteger,
    EraseObject,
    Instruction,
    Update,
)
from realmserver.merge.walk import _Index, merge

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


def test_discarded_instructions_are_not_stepped_over_again_and_again() -> None:
    """The first erasure discards all of the other side's; the others must not pay for the tombstones."""
    key = (TYPE_STRING, "k")
    incoming = changeset(*(EraseObject("Foo", key) for _ in range(MANY)), timestamp=1)
    local = changeset(*(EraseObject("Foo", key) for _ in range(3)), timestamp=2, origin=3)
    index = _Index([incoming])
    for instruction in local.instructions:
        index.meet(instruction, local)
    assert live(incoming) == []
    assert len(live(local)) == 3
    assert index.objects["Foo", key].lines[ERASE_OBJECT].meetings == []
