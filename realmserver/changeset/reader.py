"""What records are made of: integers, strings, keys, paths and values (``spec/changeset.md`` 2 to 4).

A :class:`Reader` is a place in the bytes. It knows nothing of instructions; ``decode`` puts the parts together. Every
rule of the format holds for what it returns, strict where the reference implementation is lax: what clients could not
have written, or would misread, is refused.

This is the hot path. Integers that fit in one byte, nearly all, are read on the spot, and every longer form by
:meth:`Reader.long_integer`. The end of the input is not looked for byte by byte: indexing past it raises IndexError,
which ``decode`` turns into "truncated input". Slices do not raise and are checked.
"""

from typing import Final

from realmserver.changeset.instructions import (
    TYPE_BINARY,
    TYPE_BOOL,
    TYPE_DECIMAL,
    TYPE_DOUBLE,
    TYPE_FLOAT,
    TYPE_GLOBAL_KEY,
    TYPE_INT,
    TYPE_LINK,
    TYPE_NULL,
    TYPE_OBJECT_ID,
    TYPE_SET,
    TYPE_STRING,
    TYPE_TIMESTAMP,
    TYPE_UUID,
    BadChangeset,
    Changeset,
    Key,
    PathElement,
    Payload,
)

MAX_PATH: Final = 256
"""Elements of a path. Clients can nest 100 collections; merging costs a comparison for each element."""

MAX_STRING: Final = 16_777_199
"""Bytes of a string: what a client's storage can hold (``spec/changeset.md`` 3)."""

# The most bytes an integer of each target type may take, the last one included (section 2).
_U8_BYTES: Final = 2
_U32_BYTES: Final = 5
LONG_BYTES: Final = 10
_COEFFICIENT_BYTES: Final = 17

_U32_MAX: Final = (1 << 32) - 1
_I32_LIMIT: Final = 1 << 31
_I64_LIMIT: Final = 1 << 63
_U64_MAX: Final = (1 << 64) - 1

_NANOSECONDS: Final = 1_000_000_000

DECIMAL_INFINITY: Final = 9184
"""The exponent of an infinite Decimal (``spec/changeset.md`` 4.2)."""

DECIMAL_NAN: Final = 9696
"""The exponent of a Decimal that is not a number; the coefficient is its payload."""

# The finite Decimals.
_COEFFICIENT_LIMIT: Final = 10**34
_EXPONENT_MIN: Final = -6176
_EXPONENT_MAX: Final = 6111

# What the coefficient of a NaN may be, and the one NaN that clients take for null.
_NAN_PAYLOAD_LIMIT: Final = 1 << 113
_NULL_DECIMAL: Final = 0xAA

# What stands for a string in the bytes of a path element.
_NAME_MARKER: Final = 0x40


class Reader:
    """A place in the bytes of a changeset, and what has been read so far.

    ``canonical`` turns False at the first number that is not written as the canonical encoding has it (section 6).
    ``buffered`` counts the bytes in the changeset's string buffer (section 3).
    """

    __slots__ = ("buffered", "canonical", "changeset", "data", "pos", "strings")

    def __init__(self, data: bytes, changeset: Changeset) -> None:
        self.data: bytes = data
        self.pos: int = 0
        self.changeset: Changeset = changeset
        self.strings: list[str] = changeset.strings
        self.buffered: int = 0
        self.canonical: bool = True

    def bad(self, what: str) -> BadChangeset:
        number = len(self.changeset.instructions) + 1
        return BadChangeset(f"byte {self.pos}, instruction {number}: {what}")

    def too_short(self, size: int) -> BadChangeset:
        return self.bad(f"truncated input: {size} bytes expected, {len(self.data) - self.pos} left")

    def reference(self) -> str:
        """The string that an interned string's number stands for."""
        pos = self.pos
        number = self.data[pos]
        if number < 64:
            self.pos = pos + 1
        else:
            number = self.unsigned(_U32_BYTES, _U32_MAX)
        strings = self.strings
        if number >= len(strings):
            raise self.bad(f"invalid interned string {number}, {len(strings)} are defined")
        return strings[number]

    def key(self) -> Key:
        """A primary key (section 4.3)."""
        pos = self.pos
        type = self.data[pos]
        if type <= TYPE_UUID:
            self.pos = pos + 1
        else:
            type = self.type()
        if type == TYPE_INT:
            return (type, self.i64())
        if type == TYPE_STRING:
            return (type, self.reference())
        if type == TYPE_OBJECT_ID:
            return (type, self.raw(12))
        if type == TYPE_UUID:
            return (type, self.raw(16))
        if type == TYPE_NULL:
            return (type, None)
        if type == TYPE_GLOBAL_KEY:
            high = self.unsigned(LONG_BYTES, _U64_MAX)
            return (type, (high, self.unsigned(LONG_BYTES, _U64_MAX)))
        raise self.bad(f"unsupported object key type {type}")

    def path(self, path: list[PathElement]) -> None:
        """A path (section 4.4), into ``path``."""
        data = self.data
        length = self.u32()
        if length > MAX_PATH:
            raise self.bad(f"a path of {length} elements, at most {MAX_PATH} are allowed")
        for _ in range(length):
            pos = self.pos
            element = data[pos]
            if element < 64:
                self.pos = pos + 1
            elif element == _NAME_MARKER:
                self.pos = pos + 1
                path.append(self.reference())
                continue
            else:
                element = self.i64()
                if element == -1:  # an over-long marker
                    path.append(self.reference())
                    continue
                if element < 0 or element > _U32_MAX:
                    raise self.bad(f"invalid path element {element}")
            path.append(element)

    def payload(self) -> Payload:
        """A value (section 4.2)."""
        pos = self.pos
        type = self.data[pos]
        if type <= TYPE_UUID:
            self.pos = pos + 1
        else:
            type = self.type()
        if type == TYPE_STRING:
            offset = self.buffered
            return Payload(type, self.string(), offset)
        if type == TYPE_INT:
            return Payload(type, self.i64())
        if type == TYPE_BOOL:
            return Payload(type, self.flag())
        if type == TYPE_DOUBLE:
            return Payload(type, self.raw(8))
        if type == TYPE_LINK:
            target = self.reference()
            return Payload(type, (target, self.key()))
        if type == TYPE_TIMESTAMP:
            return Payload(type, self.timestamp())
        if type == TYPE_OBJECT_ID:
            return Payload(type, self.raw(12))
        if type == TYPE_UUID:
            return Payload(type, self.raw(16))
        if type == TYPE_BINARY:
            offset = self.buffered
            return Payload(type, self.binary(), offset)
        if type == TYPE_FLOAT:
            return Payload(type, self.raw(4))
        if type == TYPE_DECIMAL:
            return Payload(type, self.decimal())
        if type == TYPE_GLOBAL_KEY:
            raise self.bad("unsupported payload data type GlobalKey")
        return Payload(type)

    def timestamp(self) -> tuple[int, int]:
        """Seconds and nanoseconds, which may not differ in sign."""
        seconds = self.i64()
        nanoseconds = self.i64()
        if not -_NANOSECONDS < nanoseconds < _NANOSECONDS:
            raise self.bad(f"timestamp out of range: {nanoseconds} nanoseconds")
        if (seconds > 0 and nanoseconds < 0) or (seconds < 0 and nanoseconds > 0):
            raise self.bad(f"timestamp with seconds {seconds} and nanoseconds {nanoseconds} of opposite sign")
        return (seconds, nanoseconds)

    def decimal(self) -> tuple[int, int, bool]:
        """Coefficient, exponent and whether it is negative: a finite number, an infinity or a NaN."""
        coefficient = self.coefficient()
        exponent = self.i32()
        sign = self.i32()
        if sign != 0 and sign != 1:
            self.canonical = False
        negative = sign != 0
        if _EXPONENT_MIN <= exponent <= _EXPONENT_MAX:
            valid = coefficient < _COEFFICIENT_LIMIT
        elif exponent == DECIMAL_INFINITY:
            valid = coefficient == 0
        elif exponent == DECIMAL_NAN:
            # One NaN means null to clients; they write the type Null instead.
            valid = coefficient < _NAN_PAYLOAD_LIMIT and (negative or coefficient != _NULL_DECIMAL)
        else:
            valid = False
        if not valid:
            raise self.bad(f"decimal out of range: coefficient {coefficient}, exponent {exponent}")
        return (coefficient, exponent, negative)

    def coefficient(self) -> int:
        """A decimal's coefficient: the last byte has seven value bits, though writers use only six (section 2)."""
        data = self.data
        pos = self.pos
        value = 0
        shift = 0
        previous = 0x40
        byte = data[pos]
        while byte >= 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift >= 7 * _COEFFICIENT_BYTES:
                raise self.bad(f"a decimal's coefficient of more than {_COEFFICIENT_BYTES} bytes")
            previous = byte
            pos += 1
            byte = data[pos]
        if byte >= 64 or (byte == 0 and not previous & 0x40):
            self.canonical = False
        self.pos = pos + 1
        return value | byte << shift

    def type(self) -> int:
        """A type number (section 4.1)."""
        type = self.i64()
        if type < TYPE_SET or type > TYPE_UUID:
            raise self.bad(f"unsupported data type {type}")
        return type

    def string(self) -> str:
        """A plain string, which is also added to the string buffer."""
        data = self.data
        pos = self.pos
        size = data[pos]
        if size < 64:
            pos += 1
        else:
            size = self.unsigned(LONG_BYTES, _U64_MAX)
            pos = self.pos
            if size > MAX_STRING:
                raise self.bad(f"string too long: {size} bytes, at most {MAX_STRING} are allowed")
        stop = pos + size
        if stop > len(data):
            self.pos = pos
            raise self.too_short(size)
        self.pos = stop
        self.buffered += size
        return data[pos:stop].decode("utf-8", "surrogateescape")

    def binary(self) -> bytes:
        """A blob, which is also added to the string buffer."""
        size = self.unsigned(LONG_BYTES, _U64_MAX)
        data = self.raw(size)
        self.buffered += size
        return data

    def raw(self, size: int) -> bytes:
        pos = self.pos
        stop = pos + size
        if stop > len(self.data):
            raise self.too_short(size)
        self.pos = stop
        return self.data[pos:stop]

    # Integers (section 2).

    def flag(self) -> bool:
        """A bool: any u8, zero is False."""
        pos = self.pos
        byte = self.data[pos]
        if byte <= 1:
            self.pos = pos + 1
            return byte == 1
        value = self.u8()
        if value > 1:
            self.canonical = False
        return value != 0

    def u8(self) -> int:
        return self.unsigned(_U8_BYTES, 255)

    def u32(self) -> int:
        pos = self.pos
        byte = self.data[pos]
        if byte < 64:
            self.pos = pos + 1
            return byte
        return self.unsigned(_U32_BYTES, _U32_MAX)

    def unsigned(self, most_bytes: int, maximum: int) -> int:
        pos = self.pos
        byte = self.data[pos]
        if byte < 64:
            self.pos = pos + 1
            return byte
        value = self.long_integer(most_bytes)
        if value < 0 or value > maximum:
            raise self.bad(f"integer {value} where 0 to {maximum} is allowed")
        return value

    def i32(self) -> int:
        value = self.long_integer(_U32_BYTES)
        if not -_I32_LIMIT <= value < _I32_LIMIT:
            raise self.bad(f"integer {value} does not fit in 32 bits")
        return value

    def i64(self) -> int:
        pos = self.pos
        byte = self.data[pos]
        if byte < 64:
            self.pos = pos + 1
            return byte
        value = self.long_integer(LONG_BYTES)
        if not -_I64_LIMIT <= value < _I64_LIMIT:
            raise self.bad(f"integer {value} does not fit in 64 bits")
        return value

    def long_integer(self, most_bytes: int) -> int:
        """An integer of any length up to ``most_bytes``, and whether it is written in the shortest way."""
        data = self.data
        pos = self.pos
        value = 0
        shift = 0
        previous = 0x40
        byte = data[pos]
        while byte >= 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift >= 7 * most_bytes:
                raise self.bad(f"integer of more than {most_bytes} bytes")
            previous = byte
            pos += 1
            byte = data[pos]
        group = byte & 0x3F
        if group == 0 and not previous & 0x40:
            # The last byte adds nothing that the one before it could not have held.
            self.canonical = False
        self.pos = pos + 1
        value |= group << shift
        return ~value if byte & 0x40 else value
