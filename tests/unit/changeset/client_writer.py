"""A second writer of changesets, kept apart from the product's: it writes as clients do.

Each string is interned just before the instruction that uses it first. Where ``loose`` says so, integers are written
longer than needed and bools as something other than 1, which readers have to take. Written from the tables of
``spec/changeset.md`` alone, it is a check on the product's writer as well.
"""

from collections.abc import Callable
from typing import Any

from realmserver.changeset.instructions import (
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


def integer(value: int, extra: int = 0) -> bytes:
    """``value`` in the code of section 2, with ``extra`` bytes more than it needs."""
    magnitude = value if value >= 0 else -value - 1
    groups = []
    while magnitude >= 64:
        groups.append(magnitude % 128)
        magnitude //= 128
    groups.append(magnitude)
    groups += [0] * extra
    last = groups.pop() + (64 if value < 0 else 0)
    return bytes([group + 128 for group in groups] + [last])


class ClientWriter:
    def __init__(self, loose: Callable[[], bool]) -> None:
        self.loose = loose
        self.strings: list[str] = []
        self.pending: list[bytes] = []

    def changeset(self, changeset: Changeset) -> bytes:
        parts = []
        for instruction in changeset.instructions:
            body = self.instruction(instruction)
            parts += [*self.pending, body]
            self.pending = []
        return b"".join(parts)

    def integer(self, value: int, most_bytes: int = 10) -> bytes:
        return integer(value, 1 if self.loose() and len(integer(value)) < most_bytes else 0)

    def u8(self, value: int) -> bytes:
        return self.integer(value, 2)

    def u32(self, value: int) -> bytes:
        return self.integer(value, 5)

    def flag(self, value: bool) -> bytes:
        return b"\x05" if value and self.loose() else self.u8(int(value))

    def text(self, text: str) -> bytes:
        data = text.encode("utf-8", "surrogateescape")
        return self.integer(len(data)) + data

    def reference(self, text: str) -> bytes:
        if text not in self.strings:
            self.pending.append(b"\x3f" + self.u32(len(self.strings)) + self.text(text))
            self.strings.append(text)
        return self.u32(self.strings.index(text))

    def key(self, key: Key) -> bytes:
        type: int = key[0]
        value: Any = key[1]
        out = self.integer(type)
        match type:
            case 0:
                return out
            case 1:
                return out + self.integer(value)
            case 3:
                return out + self.reference(value)
            case -1:
                return out + self.integer(value[0]) + self.integer(value[1])
            case _:
                return out + bytes(value)

    def payload(self, payload: Payload) -> bytes:
        value: Any = payload.value
        out = self.integer(payload.type)
        match payload.type:
            case 1:
                return out + self.integer(value)
            case 2:
                return out + self.flag(value)
            case 3:
                return out + self.text(value)
            case 4:
                return out + self.integer(len(value)) + bytes(value)
            case 5:
                return out + self.integer(value[0]) + self.integer(value[1])
            case 8:
                sign = 7 if value[2] and self.loose() else int(value[2])
                return out + self.integer(value[0], 17) + self.u32(value[1]) + self.u32(sign)
            case 9:
                return out + self.reference(value[0]) + self.key(value[1])
            case 6 | 7 | 10 | 11:
                return out + bytes(value)
            case _:
                return out

    def instruction(self, instruction: Instruction) -> bytes:
        out = self.integer(instruction.op) + self.reference(instruction.table)
        if isinstance(instruction, ObjectInstruction):
            out += self.key(instruction.key)
        if isinstance(instruction, PathInstruction):
            out += self.reference(instruction.field) + self.u32(len(instruction.path))
            for element in instruction.path:
                out += self.integer(element) if isinstance(element, int) else self.integer(-1) + self.reference(element)
        return out + self.rest(instruction)

    def rest(self, instruction: Instruction) -> bytes:
        match instruction:
            case AddTable():
                out = self.u8(instruction.kind)
                if instruction.kind != 1:
                    out += self.reference(instruction.pk_field) + self.integer(instruction.pk_type)
                    out += self.flag(instruction.pk_nullable)
                return out
            case AddColumn():
                out = self.reference(instruction.field) + self.integer(instruction.type)
                out += self.flag(instruction.nullable) + self.u8(instruction.collection)
                if instruction.type == 9:
                    out += self.reference(instruction.target)
                if instruction.collection == 2:
                    out += self.integer(instruction.key_type)
                return out
            case EraseColumn():
                return self.reference(instruction.field)
            case Update():
                in_list = instruction.path and isinstance(instruction.path[-1], int)
                last = self.u32(instruction.prior_size) if in_list else self.flag(instruction.is_default)
                return self.payload(instruction.payload) + last
            case AddInteger():
                return self.integer(instruction.value)
            case ArrayInsert():
                return self.payload(instruction.payload) + self.u32(instruction.prior_size)
            case ArrayMove():
                return self.u32(instruction.destination) + self.u32(instruction.prior_size)
            case ArrayErase():
                return self.u32(instruction.prior_size)
            case Clear():
                return self.u8(instruction.collection)
            case SetInsert() | SetErase():
                return self.payload(instruction.payload)
            case _:
                return b""
