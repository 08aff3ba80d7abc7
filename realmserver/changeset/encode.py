"""Instructions to bytes: the writer of the changeset format's canonical form (``spec/changeset.md`` 6).

Canonical means: one form for each changeset. Every interned string first, the unused ones too, then the live
instructions, every integer in its shortest code; without a live instruction nothing at all. The server stores and sends
only this form, so entries can be compared as bytes.

The writer trusts its input, which comes from ``decode``, the merge or the server itself: a value outside the format's
ranges is a bug on our side and not looked for here. This is the hot path: one byte for the integers that fit in one,
:func:`_write_integer` for the others.
"""

from typing import cast

from realmserver.changeset.instructions import (
    COLLECTION_DICTIONARY,
    INTERN_STRING,
    TABLE_EMBEDDED,
    TYPE_BINARY,
    TYPE_BOOL,
    TYPE_DECIMAL,
    TYPE_GLOBAL_KEY,
    TYPE_INT,
    TYPE_LINK,
    TYPE_NULL,
    TYPE_STRING,
    TYPE_TIMESTAMP,
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
    PathElement,
    PathInstruction,
    Payload,
    SetErase,
    SetInsert,
    Update,
)


def encode(changeset: Changeset) -> bytes:
    """The canonical bytes of ``changeset``; b"" if no live instruction is left.

    A string that an instruction uses and the changeset's table does not have is appended to the table.
    """
    writer = _Writer(changeset)
    for instruction in changeset.instructions:
        if not instruction.discarded:
            writer.instruction(instruction)
    if not writer.out:
        return b""
    return bytes(_intern_records(changeset.strings) + writer.out)


def reset_offsets(changeset: Changeset) -> None:
    """Give every live payload the offset that decoding the canonical bytes would give it.

    To be called after :func:`encode`, which completes the table of strings, where the changeset stays in memory in
    place of the bytes that were stored (``spec/merge.md`` 7, C5).
    """
    offset = 0
    for text in changeset.strings:
        offset += _size(text)
    for instruction in changeset.instructions:
        if instruction.discarded or not isinstance(instruction, (Update, ArrayInsert, SetInsert, SetErase)):
            continue
        payload = instruction.payload
        if payload.type == TYPE_STRING:
            payload.offset = offset
            offset += _size(cast(str, payload.value))
        elif payload.type == TYPE_BINARY:
            payload.offset = offset
            offset += len(cast(bytes, payload.value))


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))


def _intern_records(strings: list[str]) -> bytearray:
    out = bytearray()
    for index, text in enumerate(strings):
        data = text.encode("utf-8", "surrogateescape")
        out.append(INTERN_STRING)
        _write_integer(out, index)
        _write_integer(out, len(data))
        out += data
    return out


def _write_integer(out: bytearray, value: int) -> None:
    """Append ``value``, signed or unsigned, in its shortest code (``spec/changeset.md`` 2)."""
    if value >= 0:
        while value >= 64:
            out.append(0x80 | (value & 0x7F))
            value >>= 7
        out.append(value)
    else:
        value = ~value
        while value >= 64:
            out.append(0x80 | (value & 0x7F))
            value >>= 7
        out.append(0x40 | value)


class _Writer:
    """The bytes of the instructions written so far; the strings they use are interned on the way."""

    __slots__ = ("changeset", "numbers", "out")

    def __init__(self, changeset: Changeset) -> None:
        self.changeset: Changeset = changeset
        self.numbers: dict[str, int] = changeset.numbers
        self.out: bytearray = bytearray()

    def instruction(self, instruction: Instruction) -> None:
        out = self.out
        out.append(instruction.op)
        self.reference(instruction.table)
        if isinstance(instruction, ObjectInstruction):
            self.key(instruction.key)
            if isinstance(instruction, PathInstruction):
                self.reference(instruction.field)
                self.path(instruction.path)
                self.path_instruction(instruction)
        elif isinstance(instruction, AddColumn):
            self.add_column(instruction)
        elif isinstance(instruction, AddTable):
            out.append(instruction.kind)
            if instruction.kind != TABLE_EMBEDDED:
                self.reference(instruction.pk_field)
                _write_integer(out, instruction.pk_type)
                out.append(1 if instruction.pk_nullable else 0)
        elif isinstance(instruction, EraseColumn):
            self.reference(instruction.field)

    def path_instruction(self, instruction: PathInstruction) -> None:
        """What follows the path."""
        out = self.out
        if isinstance(instruction, Update):
            self.payload(instruction.payload)
            path = instruction.path
            if path and isinstance(path[-1], int):
                _write_integer(out, instruction.prior_size)
            else:
                out.append(1 if instruction.is_default else 0)
        elif isinstance(instruction, ArrayInsert):
            self.payload(instruction.payload)
            _write_integer(out, instruction.prior_size)
        elif isinstance(instruction, (SetInsert, SetErase)):
            self.payload(instruction.payload)
        elif isinstance(instruction, ArrayErase):
            _write_integer(out, instruction.prior_size)
        elif isinstance(instruction, AddInteger):
            _write_integer(out, instruction.value)
        elif isinstance(instruction, ArrayMove):
            _write_integer(out, instruction.destination)
            _write_integer(out, instruction.prior_size)
        elif isinstance(instruction, Clear):
            out.append(instruction.collection)

    def add_column(self, instruction: AddColumn) -> None:
        out = self.out
        self.reference(instruction.field)
        _write_integer(out, instruction.type)
        out.append(1 if instruction.nullable else 0)
        out.append(instruction.collection)
        if instruction.type == TYPE_LINK:
            self.reference(instruction.target)
        if instruction.collection == COLLECTION_DICTIONARY:
            _write_integer(out, instruction.key_type)

    def reference(self, text: str) -> None:
        number = self.numbers.get(text)
        if number is None:
            number = self.changeset.intern(text)
        if number < 64:
            self.out.append(number)
        else:
            _write_integer(self.out, number)

    def key(self, key: Key) -> None:
        out = self.out
        type, value = key
        if type == TYPE_INT:
            out.append(type)
            _write_integer(out, cast(int, value))
        elif type == TYPE_STRING:
            out.append(type)
            self.reference(cast(str, value))
        elif type == TYPE_NULL:
            out.append(type)
        elif type == TYPE_GLOBAL_KEY:
            high, low = cast(tuple[int, int], value)
            _write_integer(out, type)
            _write_integer(out, high)
            _write_integer(out, low)
        else:
            out.append(type)
            out += cast(bytes, value)

    def path(self, path: list[PathElement]) -> None:
        out = self.out
        _write_integer(out, len(path))
        for element in path:
            if isinstance(element, int):
                _write_integer(out, element)
            else:
                out.append(0x40)
                self.reference(element)

    def payload(self, payload: Payload) -> None:
        out = self.out
        type = payload.type
        value = payload.value
        if type <= TYPE_NULL:
            _write_integer(out, type)
            return
        out.append(type)
        if type == TYPE_STRING:
            data = cast(str, value).encode("utf-8", "surrogateescape")
            _write_integer(out, len(data))
            out += data
        elif type == TYPE_INT:
            _write_integer(out, cast(int, value))
        elif type == TYPE_BOOL:
            out.append(1 if value else 0)
        elif type == TYPE_LINK:
            target, key = cast(tuple[str, Key], value)
            self.reference(target)
            self.key(key)
        elif type == TYPE_TIMESTAMP:
            seconds, nanoseconds = cast(tuple[int, int], value)
            _write_integer(out, seconds)
            _write_integer(out, nanoseconds)
        elif type == TYPE_BINARY:
            data = cast(bytes, value)
            _write_integer(out, len(data))
            out += data
        elif type == TYPE_DECIMAL:
            coefficient, exponent, negative = cast(tuple[int, int, bool], value)
            _write_integer(out, coefficient)
            _write_integer(out, exponent)
            out.append(1 if negative else 0)
        else:
            out += cast(bytes, value)
