"""Instructions as lines of text, for logs and for reports of a mismatch.

The lines look as the reference implementation prints them, so that its traces and ours can be laid side by side. Text
that came from outside is made safe to log: what is not printable is escaped, what is long is cut. Values are user data:
whether they may be logged at all is the caller's business.
"""

import struct
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, cast
from uuid import UUID

from realmserver.changeset.instructions import (
    COLLECTION_DICTIONARY,
    COLLECTION_LIST,
    COLLECTION_SET,
    COLLECTION_SINGLE,
    TABLE_ASYMMETRIC,
    TABLE_EMBEDDED,
    TYPE_BINARY,
    TYPE_BOOL,
    TYPE_DECIMAL,
    TYPE_DICTIONARY,
    TYPE_DOUBLE,
    TYPE_ERASED,
    TYPE_FLOAT,
    TYPE_GLOBAL_KEY,
    TYPE_INT,
    TYPE_LINK,
    TYPE_LIST,
    TYPE_NULL,
    TYPE_OBJECT_ID,
    TYPE_OBJECT_VALUE,
    TYPE_SET,
    TYPE_STRING,
    TYPE_TIMESTAMP,
    TYPE_UUID,
    AddColumn,
    AddInteger,
    AddTable,
    ArrayErase,
    ArrayInsert,
    ArrayMove,
    Changeset,
    Clear,
    EraseColumn,
    Instruction,
    Key,
    ObjectInstruction,
    PathInstruction,
    Payload,
    SetErase,
    SetInsert,
    Update,
)
from realmserver.changeset.reader import DECIMAL_INFINITY, DECIMAL_NAN

MAX_TEXT: Final = 200
"""Characters shown of one string: a string may have 16 MB, a line of a log should not."""

_NAME_WIDTH: Final = 16

_TYPE_NAMES: Final = {
    TYPE_SET: "Set",
    TYPE_LIST: "List",
    TYPE_ERASED: "Erased",
    TYPE_DICTIONARY: "Dictionary",
    TYPE_OBJECT_VALUE: "ObjectValue",
    TYPE_GLOBAL_KEY: "GlobalKey",
    TYPE_NULL: "Null",
    TYPE_INT: "Int",
    TYPE_BOOL: "Bool",
    TYPE_STRING: "String",
    TYPE_BINARY: "Binary",
    TYPE_TIMESTAMP: "Timestamp",
    TYPE_FLOAT: "Float",
    TYPE_DOUBLE: "Double",
    TYPE_DECIMAL: "Decimal",
    TYPE_LINK: "Link",
    TYPE_OBJECT_ID: "ObjectId",
    TYPE_UUID: "UUID",
}

_COLLECTION_NAMES: Final = {
    COLLECTION_SINGLE: "Single",
    COLLECTION_LIST: "List",
    COLLECTION_DICTIONARY: "Dictionary",
    COLLECTION_SET: "Set",
}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def describe_changeset(changeset: Changeset) -> list[str]:
    """The table of interned strings, if there is one, and the live instructions, a line each."""
    lines = []
    if changeset.strings:
        strings = ", ".join(f"{number}={_quoted(text)}" for number, text in enumerate(changeset.strings))
        lines.append("InternStrings".ljust(_NAME_WIDTH) + strings)
    lines.extend(describe(instruction) for instruction in changeset.instructions if not instruction.discarded)
    return lines


def describe(instruction: Instruction) -> str:
    """One instruction as one line, such as ``AddInteger      path=Q[Int(3)].i, value=Int(4)``.

    A binary's content is not shown.
    """
    fields: list[str]
    if isinstance(instruction, PathInstruction):
        fields = ["path=" + _place(instruction), *_path_fields(instruction)]
    elif isinstance(instruction, ObjectInstruction):
        fields = ["path=" + _place(instruction)]
    elif isinstance(instruction, AddTable):
        fields = _table_fields(instruction)
    elif isinstance(instruction, AddColumn):
        fields = _column_fields(instruction)
    elif isinstance(instruction, EraseColumn):
        fields = ["table=" + _quoted(instruction.table), "field=" + _quoted(instruction.field)]
    else:
        fields = ["path=" + _quoted(instruction.table)]
    return type(instruction).__name__.ljust(_NAME_WIDTH) + ", ".join(fields)


def _place(instruction: ObjectInstruction) -> str:
    parts = [f"{_safe(instruction.table)}[{_key(instruction.key)}]"]
    if isinstance(instruction, PathInstruction):
        parts.append("." + _safe(instruction.field))
        parts.extend(f"[{step}]" if isinstance(step, int) else "." + _safe(step) for step in instruction.path)
    return "".join(parts)


def _path_fields(instruction: PathInstruction) -> list[str]:
    if isinstance(instruction, Update):
        value = f"value={_payload(instruction.payload)}"
        if instruction.path and isinstance(instruction.path[-1], int):
            return [value, f"prior_size={instruction.prior_size}"]
        return [value, f"default={instruction.is_default:d}"]
    if isinstance(instruction, ArrayInsert):
        return [f"value={_payload(instruction.payload)}", f"prior_size={instruction.prior_size}"]
    if isinstance(instruction, (SetInsert, SetErase)):
        return [f"value={_payload(instruction.payload)}"]
    if isinstance(instruction, AddInteger):
        return [f"value=Int({instruction.value})"]
    if isinstance(instruction, ArrayMove):
        return [f"ndx_2={instruction.destination}", f"prior_size={instruction.prior_size}"]
    if isinstance(instruction, ArrayErase):
        return [f"prior_size={instruction.prior_size}"]
    assert isinstance(instruction, Clear)
    return [f"collection_type={_COLLECTION_NAMES[instruction.collection]}"]


def _table_fields(instruction: AddTable) -> list[str]:
    path = "path=" + _quoted(instruction.table)
    if instruction.kind == TABLE_EMBEDDED:
        return [path, "embedded=1"]
    return [
        path,
        f"pk_field={_quoted(instruction.pk_field)}",
        f"pk_type={_TYPE_NAMES[instruction.pk_type]}",
        f"pk_nullable={instruction.pk_nullable:d}",
        f"is_asymmetric={instruction.kind == TABLE_ASYMMETRIC:d}",
    ]


def _column_fields(instruction: AddColumn) -> list[str]:
    fields = [
        f"table={_quoted(instruction.table)}",
        f"field={_quoted(instruction.field)}",
        f"type={_TYPE_NAMES[instruction.type]}",
        f"nullable={instruction.nullable:d}",
        f"collection_type={_COLLECTION_NAMES[instruction.collection]}",
    ]
    if instruction.type == TYPE_LINK:
        fields.append(f"target_table={_quoted(instruction.target)}")
    if instruction.collection == COLLECTION_DICTIONARY:
        fields.append(f"key_type={_TYPE_NAMES[instruction.key_type]}")
    return fields


def _key(key: Key) -> str:
    type, value = key
    if type == TYPE_NULL:
        return "NULL"
    if type == TYPE_INT:
        return f"Int({value})"
    if type == TYPE_STRING:
        return _quoted(cast(str, value))
    if type == TYPE_GLOBAL_KEY:
        high, low = cast(tuple[int, int], value)
        return f"GlobalKey{{{{{high:04x}-{low:04x}}}}}"
    if type == TYPE_OBJECT_ID:
        return f"ObjectId{{{cast(bytes, value).hex()}}}"
    return f"UUID{{{UUID(bytes=cast(bytes, value))}}}"


def _payload(payload: Payload) -> str:
    return f"{_TYPE_NAMES[payload.type]}({_value(payload)})"


def _value(payload: Payload) -> str:
    type = payload.type
    value = payload.value
    if type == TYPE_INT:
        return str(value)
    if type == TYPE_BOOL:
        return "1" if value else "0"
    if type == TYPE_STRING:
        return _quoted(cast(str, value))
    if type == TYPE_BINARY:
        return "..."
    if type == TYPE_TIMESTAMP:
        return _timestamp(*cast(tuple[int, int], value))
    if type in (TYPE_FLOAT, TYPE_DOUBLE):
        return _float(cast(bytes, value))
    if type == TYPE_DECIMAL:
        return _decimal(*cast(tuple[int, int, bool], value))
    if type == TYPE_LINK:
        target, key = cast(tuple[str, Key], value)
        return f"target_table = {_safe(target)}, target = {_key(key)}"
    if type == TYPE_OBJECT_ID:
        return cast(bytes, value).hex()
    if type == TYPE_UUID:
        return str(UUID(bytes=cast(bytes, value)))
    return ""


def _timestamp(seconds: int, nanoseconds: int) -> str:
    seconds += nanoseconds // 1_000_000_000
    nanoseconds %= 1_000_000_000
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return f"{seconds} s, {nanoseconds} ns"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{nanoseconds:09d}"


def _float(data: bytes) -> str:
    """Enough digits to tell any two numbers apart; a NaN with its bits."""
    single = len(data) == 4
    number: float = struct.unpack("<f" if single else "<d", data)[0]
    if number != number:
        return "nan 0x" + data[::-1].hex()
    text = f"{number:.9g}" if single else repr(number)
    return text.removesuffix(".0")


def _decimal(coefficient: int, exponent: int, negative: bool) -> str:
    if exponent == DECIMAL_INFINITY:
        return "-Inf" if negative else "Inf"
    if exponent == DECIMAL_NAN:
        return "NaN"
    digits = tuple(int(digit) for digit in str(coefficient))
    return str(Decimal((int(negative), digits, exponent)))


def _quoted(text: str) -> str:
    return f'"{_safe(text)}"'


def _safe(text: str) -> str:
    shown = text[:MAX_TEXT]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
    return shown if len(text) <= MAX_TEXT else f"{shown}... ({len(text)} characters)"
