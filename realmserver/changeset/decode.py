"""Bytes to instructions: the reader of the changeset format (``spec/changeset.md`` 2 to 5 and 8).

What comes out is well formed: every rule of the format holds, strict where the reference implementation is lax and a
client would crash or misread, so whatever passes here can be written again by ``encode``. Whether it fits the Realm
(tables and objects that exist, types that agree) is not known here. Input is hostile: work and memory are
linear in its length, nothing is allocated on the word of a declared size, and :class:`BadChangeset` is the only error.

This is the hot path. The reader looks at one byte for the integers that fit in one (nearly all), and leaves every
longer form to :meth:`_Reader.long_integer`. Reading past the end is not checked byte by byte: indexing raises
IndexError, which :meth:`_Reader.read_all` turns into "truncated input". Slices do not raise and are checked.
"""

from typing import Final

from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    ADD_COLUMN,
    ADD_INTEGER,
    ADD_TABLE,
    ARRAY_INSERT,
    ARRAY_MOVE,
    CLEAR,
    COLLECTION_DICTIONARY,
    COLLECTION_SET,
    COLLECTION_SINGLE,
    CREATE_OBJECT,
    ERASE_COLUMN,
    ERASE_OBJECT,
    ERASE_TABLE,
    INTERN_STRING,
    SET_ERASE,
    SET_INSERT,
    TABLE_ASYMMETRIC,
    TABLE_EMBEDDED,
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
    UPDATE,
    AddColumn,
    AddInteger,
    AddTable,
    ArrayErase,
    ArrayInsert,
    ArrayMove,
    BadChangeset,
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

MAX_INSTRUCTIONS: Final = 4_000_000
"""In one changeset. Real instructions take about 12 bytes, so this is three times what the 16 MiB of a client's upload
hold; each takes about 300 bytes of memory, so it bounds one changeset to about a gigabyte."""

MAX_INTERNED_STRINGS: Final = 2_000_000
"""In one changeset. String primary keys are interned, so imports need many; about 150 bytes of memory each."""

MAX_PATH: Final = 256
"""Elements of a path. Clients can nest 100 collections; merging costs a comparison for each element."""

MAX_STRING: Final = 16_777_199
"""Bytes of a string: what a client's storage can hold (``spec/changeset.md`` 3)."""

MAX_CLASS_NAME: Final = 57
"""Bytes of a class name: clients cut longer ones silently, so that two could become one (section 8)."""

MAX_COLUMN_NAME: Final = 63
"""Bytes of a column name: clients throw on longer ones (section 8)."""

# The most bytes an integer of each target type may take, the last one included (section 2).
_U8_BYTES: Final = 2
_U32_BYTES: Final = 5
_64_BYTES: Final = 10
_COEFFICIENT_BYTES: Final = 17

_U32_MAX: Final = (1 << 32) - 1
_I32_LIMIT: Final = 1 << 31
_I64_LIMIT: Final = 1 << 63
_U64_MAX: Final = (1 << 64) - 1

_NANOSECONDS: Final = 1_000_000_000

# Decimal128 (section 4.2): finite numbers, and the two specials that pass through the exponent field.
_COEFFICIENT_LIMIT: Final = 10**34
_NAN_PAYLOAD_LIMIT: Final = 1 << 113
_EXPONENT_MIN: Final = -6176
_EXPONENT_MAX: Final = 6111
_EXPONENT_INFINITY: Final = 9184
_EXPONENT_NAN: Final = 9696
_NULL_DECIMAL: Final = 0xAA

_PRIMARY_KEY_TYPES: Final = (TYPE_GLOBAL_KEY, TYPE_INT, TYPE_STRING, TYPE_OBJECT_ID, TYPE_UUID)

# What stands for a string in the bytes of a path element.
_NAME_MARKER: Final = 0x40


def decode(data: bytes, *, timestamp: int = 0, origin: int = 0, clear_types: bool = True) -> Changeset:
    """The changeset that ``data`` holds; b"" is the empty one.

    ``timestamp`` and ``origin`` are stored in it. ``clear_types`` False is for sessions below protocol 13, whose
    writers put anything into the last value of Clear: it is ignored, and stored as COLLECTION_SINGLE
    (``spec/changeset.md`` 1). Raises :class:`BadChangeset`, whose text has the byte position and the number of the
    instruction, counted from 1.
    """
    return _Reader(data, timestamp, origin, clear_types).read_all()


def decode_canonical(
    data: bytes, *, timestamp: int = 0, origin: int = 0, clear_types: bool = True
) -> tuple[Changeset, bytes]:
    """The changeset that ``data`` holds, as :func:`decode`, and its canonical bytes (``spec/changeset.md`` 6).

    The bytes are what ``encode`` would write, and ``data`` itself if that is canonical already. Clients put interned
    strings between the instructions, but otherwise write as the server does, so their bytes are only moved.
    The payloads' offsets are those of ``data``, not of the canonical bytes.
    """
    reader = _Reader(data, timestamp, origin, clear_types)
    changeset = reader.read_all()
    if not changeset.instructions:
        return changeset, b""
    if not reader.canonical:
        return changeset, encode(changeset)
    return changeset, reader.strings_first()


class _Reader:
    """A place in the bytes of a changeset, and what has been read so far."""

    __slots__ = ("buffered", "canonical", "changeset", "clear_types", "data", "pos", "runs", "strings")

    def __init__(self, data: bytes, timestamp: int, origin: int, clear_types: bool) -> None:
        self.data: bytes = data
        self.pos: int = 0
        self.clear_types: bool = clear_types
        self.changeset: Changeset = Changeset(None, None, timestamp, origin)
        self.strings: list[str] = self.changeset.strings
        self.buffered: int = 0  # bytes in the changeset's string buffer
        self.canonical: bool = True  # apart from the places of the interned strings
        self.runs: list[int] = [0]  # where interned strings and instructions take turns, interned strings first

    # Errors.

    def bad(self, what: str) -> BadChangeset:
        number = len(self.changeset.instructions) + 1
        return BadChangeset(f"byte {self.pos}, instruction {number}: {what}")

    def too_short(self, size: int) -> BadChangeset:
        return self.bad(f"truncated input: {size} bytes expected, {len(self.data) - self.pos} left")

    # The records.

    def read_all(self) -> Changeset:
        """Read to the end; the changeset is given out only if all of it is right."""
        try:
            self.read_records()
        except IndexError:
            self.pos = len(self.data)
            raise self.bad("truncated input") from None
        return self.changeset

    def read_records(self) -> None:
        data = self.data
        end = len(data)
        instructions = self.changeset.instructions
        in_strings = True
        while self.pos < end:
            start = self.pos
            op = data[start]
            if op < 64:
                self.pos = start + 1
            else:
                op = self.long_integer(_64_BYTES)
            if op == INTERN_STRING:
                if not in_strings:
                    in_strings = True
                    self.runs.append(start)
                self.intern_string()
                continue
            if in_strings:
                in_strings = False
                self.runs.append(start)
            if UPDATE <= op <= ADD_INTEGER or ARRAY_INSERT <= op <= SET_ERASE:
                instructions.append(self.path_instruction(op))
            else:
                instructions.append(self.other_instruction(op))
            if len(instructions) > MAX_INSTRUCTIONS:
                raise self.bad(f"more than {MAX_INSTRUCTIONS} instructions")

    def strings_first(self) -> bytes:
        """The bytes read, with all interned strings moved to the front."""
        data = self.data
        runs = self.runs
        if len(runs) == 2:
            return data
        runs = [*runs, len(data)]
        strings = [data[runs[i] : runs[i + 1]] for i in range(0, len(runs) - 1, 2)]
        instructions = [data[runs[i] : runs[i + 1]] for i in range(1, len(runs) - 1, 2)]
        return b"".join(strings + instructions)

    def intern_string(self) -> None:
        numbers = self.changeset.numbers
        strings = self.strings
        index = self.u32()
        if index != len(strings):
            raise self.bad(f"unexpected intern index {index}, should be {len(strings)}")
        if index >= MAX_INTERNED_STRINGS:
            raise self.bad(f"more than {MAX_INTERNED_STRINGS} interned strings")
        text = self.string()
        if text in numbers:
            raise self.bad(f"unexpected intern string {index}, the same as {numbers[text]}")
        numbers[text] = index
        strings.append(text)

    def path_instruction(self, op: int) -> Instruction:
        """An instruction on a place inside an object, after its opcode."""
        table = self.reference()
        key = self.key()
        field = self.reference()
        pos = self.pos
        path: list[PathElement] = []
        if self.data[pos] == 0:
            self.pos = pos + 1
        else:
            self.path(path)
        if op == UPDATE:
            payload = self.payload()
            if path and isinstance(path[-1], int):
                return Update(table, key, field, path, payload, False, self.u32())
            return Update(table, key, field, path, payload, self.flag())
        if op == SET_INSERT:
            return SetInsert(table, key, field, path, self.payload())
        if op == SET_ERASE:
            return SetErase(table, key, field, path, self.payload())
        if op == ADD_INTEGER:
            return AddInteger(table, key, field, path, self.i64())
        if op == CLEAR:
            return Clear(table, key, field, path, self.cleared_collection())
        if not path or not isinstance(path[-1], int):
            name = "ArrayInsert" if op == ARRAY_INSERT else "ArrayMove" if op == ARRAY_MOVE else "ArrayErase"
            raise self.bad(f"{name} without an index")
        if op == ARRAY_INSERT:
            payload = self.payload()
            return ArrayInsert(table, key, field, path, payload, self.u32())
        if op == ARRAY_MOVE:
            destination = self.u32()
            return ArrayMove(table, key, field, path, destination, self.u32())
        return ArrayErase(table, key, field, path, self.u32())

    def other_instruction(self, op: int) -> Instruction:
        """An instruction on a table, a column or a whole object, after its opcode."""
        if op == CREATE_OBJECT:
            table = self.reference()
            return CreateObject(table, self.key())
        if op == ERASE_OBJECT:
            table = self.reference()
            return EraseObject(table, self.key())
        if op == ADD_COLUMN:
            return self.add_column()
        if op == ADD_TABLE:
            return self.add_table()
        if op == ERASE_COLUMN:
            table = self.reference()
            return EraseColumn(table, self.reference())
        if op == ERASE_TABLE:
            return EraseTable(self.reference())
        raise self.bad(f"unknown instruction type {op}")

    def add_table(self) -> AddTable:
        table = self.reference()
        self.check_name(table, MAX_CLASS_NAME, "class")
        kind = self.u8()
        if kind > TABLE_ASYMMETRIC:
            raise self.bad(f"AddTable: unknown table type {kind}")
        if kind == TABLE_EMBEDDED:
            return AddTable(table, kind)
        pk_field = self.reference()
        self.check_name(pk_field, MAX_COLUMN_NAME, "column")
        pk_type = self.type()
        if pk_type not in _PRIMARY_KEY_TYPES:
            raise self.bad(f"AddTable: invalid primary key type {pk_type}")
        return AddTable(table, kind, pk_field, pk_type, self.flag())

    def add_column(self) -> AddColumn:
        """AddColumn; the combinations on which a client aborts are refused (section 8)."""
        table = self.reference()
        field = self.reference()
        self.check_name(field, MAX_COLUMN_NAME, "column")
        type = self.type()
        if type < TYPE_NULL:
            raise self.bad(f"AddColumn: {type} is not the type of a column")
        nullable = self.flag()
        collection = self.collection()
        target = ""
        if type == TYPE_LINK:
            target = self.reference()
            if target == "" and collection in (COLLECTION_SET, COLLECTION_DICTIONARY):
                raise self.bad("AddColumn: a set or dictionary of links without a target class")
        elif type == TYPE_NULL and not nullable and collection != COLLECTION_DICTIONARY:
            raise self.bad("AddColumn: a Mixed column must be nullable")
        key_type = TYPE_STRING
        if collection == COLLECTION_DICTIONARY:
            key_type = self.type()
            if key_type < TYPE_NULL:
                raise self.bad(f"AddColumn: {key_type} is not the type of a dictionary's keys")
        return AddColumn(table, field, type, nullable, collection, target, key_type)

    def check_name(self, name: str, most: int, what: str) -> None:
        size = len(name.encode("utf-8", "surrogateescape"))
        if size > most:
            raise self.bad(f"a {what} name of {size} bytes, at most {most} are allowed")

    # The parts of records.

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
            high = self.unsigned(_64_BYTES, _U64_MAX)
            return (type, (high, self.unsigned(_64_BYTES, _U64_MAX)))
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
        elif exponent == _EXPONENT_INFINITY:
            valid = coefficient == 0
        elif exponent == _EXPONENT_NAN:
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

    def cleared_collection(self) -> int:
        """The last value of Clear, whose meaning depends on who wrote it (section 1)."""
        if self.clear_types:
            return self.collection()
        if self.u32() != 0:
            self.canonical = False
        return COLLECTION_SINGLE

    def collection(self) -> int:
        collection = self.u8()
        if collection > COLLECTION_SET:
            raise self.bad(f"unsupported collection type {collection}")
        return collection

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
            size = self.unsigned(_64_BYTES, _U64_MAX)
            pos = self.pos
            if size > MAX_STRING:
                raise self.bad(f"string too long: {size} bytes, at most {MAX_STRING} are allowed")
        stop = pos + size
        if stop > len(data):
            raise self.too_short(size)
        self.pos = stop
        self.buffered += size
        return data[pos:stop].decode("utf-8", "surrogateescape")

    def binary(self) -> bytes:
        """A blob, which is also added to the string buffer."""
        size = self.unsigned(_64_BYTES, _U64_MAX)
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
        value = self.long_integer(_64_BYTES)
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
