"""Where an instruction acts, and how two places lie to each other (``spec/merge.md`` 1).

All comparisons are by content. The functions on two paths are for instructions on one property of one object: whoever
brings them together has looked at that.
"""

from realmserver.changeset.instructions import (
    ADD_TABLE,
    ERASE_TABLE,
    AddColumn,
    EraseColumn,
    Instruction,
    ObjectInstruction,
    PathElement,
    PathInstruction,
)
from realmserver.merge.errors import TransformError


def level(instruction: Instruction) -> int:
    """How deep an instruction acts: 1 tables, 2 columns and objects, from 3 on properties and what lies below them."""
    if isinstance(instruction, PathInstruction):
        return 3 + len(instruction.path)
    return 1 if instruction.op == ADD_TABLE or instruction.op == ERASE_TABLE else 2


def same_object(left: ObjectInstruction, right: ObjectInstruction) -> bool:
    return left.key == right.key and left.table == right.table


def same_container(left: list[PathElement], right: list[PathElement]) -> bool:
    """Whether two paths of equal length differ at most in their last element."""
    length = len(left)
    if length != len(right):
        return False
    return length <= 1 or left[: length - 1] == right[: length - 1]


def is_prefix(outer: list[PathElement], inner: list[PathElement]) -> bool:
    """Whether ``inner`` lies below ``outer``."""
    length = len(outer)
    return length < len(inner) and (length == 0 or inner[:length] == outer)


def is_container_prefix(outer: list[PathElement], inner: list[PathElement]) -> bool:
    """Whether ``inner`` goes through the container that ``outer`` is an element of, and further down."""
    length = len(outer)
    if length == 0 or length >= len(inner):
        return False
    return length == 1 or inner[: length - 1] == outer[: length - 1]


def index_at(instruction: PathInstruction, position: int) -> int:
    """The index at ``position`` of an instruction's path. Raises TransformError if a name stands there."""
    element = instruction.path[position]
    if isinstance(element, str):
        raise TransformError(f"A list on one side, a dictionary or object on the other: {describe(instruction)}")
    return element


def describe(instruction: Instruction) -> str:
    """The place of an instruction in words for a log: ``'Foo'[7].'items'[3]``."""
    text = repr(instruction.table)
    if isinstance(instruction, AddColumn | EraseColumn):
        return f"{text}.{instruction.field!r}"
    if isinstance(instruction, ObjectInstruction):
        text += f"[{instruction.key[1]!r}]"
    if isinstance(instruction, PathInstruction):
        text += f".{instruction.field!r}" + "".join(f"[{element!r}]" for element in instruction.path)
    return text
