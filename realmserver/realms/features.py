"""Which sync protocol version a client must speak to read a changeset (``spec/changeset.md`` 1).

A client that meets an instruction or a type it does not know stops syncing for good, so a Realm remembers the highest
version that any of its entries needs, and older clients are turned away.
"""

from typing import Final

from realmserver.changeset.instructions import (
    COLLECTION_DICTIONARY,
    COLLECTION_SET,
    COLLECTION_SINGLE,
    TABLE_ASYMMETRIC,
    TYPE_DICTIONARY,
    TYPE_LIST,
    TYPE_NULL,
    TYPE_SET,
    AddColumn,
    AddInteger,
    AddTable,
    ArrayErase,
    ArrayInsert,
    ArrayMove,
    Clear,
    CreateObject,
    EraseColumn,
    EraseObject,
    EraseTable,
    Instruction,
    SetErase,
    SetInsert,
    Update,
)
from realmserver.realms.schema import Schema, columns_on_path

OLDEST: Final = 2
MIXED_AND_COLLECTIONS: Final = 3
ASYMMETRIC_TABLES: Final = 6
NESTED_COLLECTIONS: Final = 13

HIGHEST: Final = NESTED_COLLECTIONS
"""No instruction needs more."""

_PLAIN: Final = frozenset((CreateObject, EraseObject, AddInteger, ArrayErase, ArrayMove, EraseTable, EraseColumn))
"""Instructions that every protocol version has had, in all their forms."""

_COLLECTION_PAYLOADS: Final = frozenset((TYPE_LIST, TYPE_DICTIONARY, TYPE_SET))


def may_need_more(instruction: Instruction) -> bool:
    """Whether :func:`required_protocol` can say more than OLDEST: not for what nearly all instructions are."""
    kind = type(instruction)
    if kind is Update:
        return instruction.payload.type in _COLLECTION_PAYLOADS  # type: ignore[attr-defined]
    return kind not in _PLAIN


def required_protocol(instruction: Instruction, schema: Schema) -> int:
    """The lowest protocol version whose clients can apply ``instruction``; ``schema`` is the state it was applied to,
    or the one after it."""
    if instruction.discarded:
        return OLDEST
    if isinstance(instruction, Update | ArrayInsert):
        return NESTED_COLLECTIONS if instruction.payload.type in _COLLECTION_PAYLOADS else OLDEST
    if isinstance(instruction, Clear):
        return NESTED_COLLECTIONS if _makes_collection(instruction, schema) else OLDEST
    if isinstance(instruction, AddColumn):
        newer = instruction.type == TYPE_NULL or instruction.collection in (COLLECTION_DICTIONARY, COLLECTION_SET)
        return MIXED_AND_COLLECTIONS if newer else OLDEST
    if isinstance(instruction, AddTable):
        return ASYMMETRIC_TABLES if instruction.kind == TABLE_ASYMMETRIC else OLDEST
    return MIXED_AND_COLLECTIONS if isinstance(instruction, SetInsert | SetErase) else OLDEST


def _makes_collection(clear: Clear, schema: Schema) -> bool:
    """Whether ``clear`` makes a Mixed place a collection, rather than emptying a collection column."""
    return any(
        column.mixed and (left > 0 or column.collection == COLLECTION_SINGLE)
        for column, left in columns_on_path(clear, schema)
    )
