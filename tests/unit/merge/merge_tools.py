"""Short names for instructions on ``Foo[1].bar``, plain copies for comparing, and the golden vectors."""

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from typing import Any

from golden import VECTORS

from realmserver.changeset.instructions import (
    COLLECTION_LIST,
    COLLECTION_SINGLE,
    TYPE_DICTIONARY,
    TYPE_INT,
    TYPE_LIST,
    TYPE_NULL,
    TYPE_OBJECT_VALUE,
    TYPE_STRING,
    AddColumn,
    AddInteger,
    AddTable,
    ArrayErase,
    ArrayInsert,
    ArrayMove,
    Changeset,
    Clear,
    CreateObject,
    EraseColumn,
    EraseObject,
    EraseTable,
    Instruction,
    Key,
    PathElement,
    Payload,
    SetErase,
    SetInsert,
    Update,
)

ONE: Key = (TYPE_INT, 1)

NULL = Payload(TYPE_NULL)
OBJECT = Payload(TYPE_OBJECT_VALUE)
LIST = Payload(TYPE_LIST)
DICTIONARY = Payload(TYPE_DICTIONARY)


def number(value: int) -> Payload:
    return Payload(TYPE_INT, value)


def text(value: str, offset: int = -1) -> Payload:
    return Payload(TYPE_STRING, value, offset)


def update(value: Payload | int, *path: PathElement, default: bool = False, size: int = 0) -> Update:
    payload = number(value) if isinstance(value, int) else value
    return Update("Foo", ONE, "bar", list(path), payload, default, size)


def add(value: int, *path: PathElement) -> AddInteger:
    return AddInteger("Foo", ONE, "bar", list(path), value)


def insert(*path: PathElement, size: int, value: Payload | int = 0) -> ArrayInsert:
    payload = number(value) if isinstance(value, int) else value
    return ArrayInsert("Foo", ONE, "bar", list(path), payload, size)


def move(*path: PathElement, to: int, size: int) -> ArrayMove:
    return ArrayMove("Foo", ONE, "bar", list(path), to, size)


def erase(*path: PathElement, size: int) -> ArrayErase:
    return ArrayErase("Foo", ONE, "bar", list(path), size)


def clear(*path: PathElement, collection: int = COLLECTION_SINGLE) -> Clear:
    return Clear("Foo", ONE, "bar", list(path), collection)


def clear_list(*path: PathElement) -> Clear:
    return clear(*path, collection=COLLECTION_LIST)


def set_insert(value: Payload | int) -> SetInsert:
    return SetInsert("Foo", ONE, "bar", [], number(value) if isinstance(value, int) else value)


def set_erase(value: Payload | int) -> SetErase:
    return SetErase("Foo", ONE, "bar", [], number(value) if isinstance(value, int) else value)


def create(key: Key = ONE, table: str = "Foo") -> CreateObject:
    return CreateObject(table, key)


def erase_object(key: Key = ONE, table: str = "Foo") -> EraseObject:
    return EraseObject(table, key)


def changeset(*instructions: Instruction, timestamp: int, origin: int = 2) -> Changeset:
    """A changeset as if it had been decoded: every name stands in the table of strings."""
    made = Changeset(list(instructions), [], timestamp, origin)
    for instruction in instructions:
        for name in names(instruction):
            made.intern(name)
    return made


def names(instruction: Instruction) -> Iterator[str]:
    """The strings of an instruction that the format interns, without those of keys."""
    yield instruction.table
    for attribute in ("pk_field", "field", "target"):
        if hasattr(instruction, attribute):
            yield getattr(instruction, attribute)
    for element in getattr(instruction, "path", ()):
        if isinstance(element, str):
            yield element
    payload = getattr(instruction, "payload", None)
    if payload is not None and isinstance(payload.value, tuple) and isinstance(payload.value[0], str):
        yield payload.value[0]


_PATH = ("table", "key", "field", "path")

PARTS: dict[type[Instruction], tuple[str, ...]] = {
    AddTable: ("table", "kind", "pk_field", "pk_type", "pk_nullable"),
    EraseTable: ("table",),
    CreateObject: ("table", "key"),
    EraseObject: ("table", "key"),
    Update: (*_PATH, "payload", "is_default", "prior_size"),
    AddInteger: (*_PATH, "value"),
    AddColumn: ("table", "field", "type", "nullable", "collection", "target", "key_type"),
    EraseColumn: ("table", "field"),
    ArrayInsert: (*_PATH, "payload", "prior_size"),
    ArrayMove: (*_PATH, "destination", "prior_size"),
    ArrayErase: (*_PATH, "prior_size"),
    Clear: (*_PATH, "collection"),
    SetInsert: (*_PATH, "payload"),
    SetErase: (*_PATH, "payload"),
}
"""What each kind of instruction consists of, in the order of its constructor."""

Facts = tuple[object, ...]


def facts(instruction: Instruction) -> Facts:
    """All that an instruction says, as a value."""
    return (type(instruction).__name__, *(_fact(getattr(instruction, part)) for part in PARTS[type(instruction)]))


def _fact(value: object) -> object:
    if isinstance(value, Payload):
        return (value.type, value.value)
    return tuple(value) if isinstance(value, list) else value


def live(side: Changeset) -> list[Facts]:
    return [facts(instruction) for instruction in side.instructions if not instruction.discarded]


def all_live(sides: Sequence[Changeset]) -> list[list[Facts]]:
    return [live(side) for side in sides]


def copy_of(side: Changeset) -> Changeset:
    """A changeset that shares nothing mutable with ``side``."""
    made = Changeset([_copy(instruction) for instruction in side.instructions], list(side.strings))
    made.timestamp = side.timestamp
    made.origin = side.origin
    made.dirty = side.dirty
    return made


def copies_of(sides: Sequence[Changeset]) -> list[Changeset]:
    return [copy_of(side) for side in sides]


def _copy(instruction: Instruction) -> Instruction:
    kind: Any = type(instruction)
    made: Instruction = kind(*(_own(getattr(instruction, part)) for part in PARTS[kind]))
    made.discarded = instruction.discarded
    return made


def _own(value: object) -> object:
    if isinstance(value, Payload):
        return Payload(value.type, value.value, value.offset)
    return list(value) if isinstance(value, list) else value


def vectors(name: str) -> list[dict[str, Any]]:
    with gzip.open(VECTORS / name, "rt", encoding="ascii") as lines:
        return [json.loads(line) for line in lines]


def unpack(data: str) -> bytes:
    return base64.b64decode(data)
