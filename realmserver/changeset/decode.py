"""Bytes to instructions: the reader of the changeset format (``spec/changeset.md`` 5 and 8).

What comes out is well formed and can be written again by ``encode``: every rule of the format holds, and so do the
rules on names and columns whose breach crashes a client. Whether an instruction fits the Realm (tables and objects that
exist, types that agree) is not known here. Input is hostile: work and memory are linear in its length, nothing is
allocated on the word of a declared size, and :class:`BadChangeset` is the only error. The parts that records are made
of are read by ``reader``.
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
    TYPE_GLOBAL_KEY,
    TYPE_INT,
    TYPE_LINK,
    TYPE_NULL,
    TYPE_OBJECT_ID,
    TYPE_STRING,
    TYPE_UUID,
    UPDATE,
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
    PathElement,
    SetErase,
    SetInsert,
    Update,
)
from realmserver.changeset.reader import LONG_BYTES, Reader

MAX_INSTRUCTIONS: Final = 4_000_000
"""In one changeset. Real instructions take about 12 bytes, so this is three times what the 16 MiB of a client's upload
hold; each takes about 350 bytes of memory, so it bounds one changeset to about 1.5 GB."""

MAX_INTERNED_STRINGS: Final = 2_000_000
"""In one changeset. String primary keys are interned, so imports need many; each takes about 120 bytes of memory."""

MAX_CLASS_NAME: Final = 57
"""Bytes of a class name: clients cut longer ones silently, so that two could become one (section 8)."""

MAX_COLUMN_NAME: Final = 63
"""Bytes of a column name: clients throw on longer ones (section 8)."""

_PRIMARY_KEY_TYPES: Final = (TYPE_GLOBAL_KEY, TYPE_INT, TYPE_STRING, TYPE_OBJECT_ID, TYPE_UUID)


def decode(data: bytes, *, timestamp: int = 0, origin: int = 0, clear_types: bool = True) -> Changeset:
    """The changeset that ``data`` holds; b"" is the empty one.

    ``timestamp`` and ``origin`` are stored in it. ``clear_types`` False is for sessions below protocol 13, whose
    writers put anything into the last value of Clear: it is ignored, and stored as COLLECTION_SINGLE
    (``spec/changeset.md`` 1). Raises :class:`BadChangeset`, whose text has the byte position and the number of the
    instruction, counted from 1.
    """
    return _Decoder(data, timestamp, origin, clear_types).read_all()


def decode_canonical(
    data: bytes, *, timestamp: int = 0, origin: int = 0, clear_types: bool = True
) -> tuple[Changeset, bytes]:
    """The changeset that ``data`` holds, as :func:`decode`, and its canonical bytes (``spec/changeset.md`` 6).

    The bytes are what ``encode`` would write, and ``data`` itself if that is canonical already. Clients put interned
    strings between the instructions, but otherwise write as the server does, so their bytes are only moved.
    The payloads' offsets are those of ``data``, not of the canonical bytes.
    """
    reader = _Decoder(data, timestamp, origin, clear_types)
    changeset = reader.read_all()
    if not changeset.instructions:
        return changeset, b""
    if not reader.canonical:
        return changeset, encode(changeset)
    return changeset, reader.strings_first()


class _Decoder(Reader):
    """The records of one changeset."""

    __slots__ = ("clear_types", "runs")

    def __init__(self, data: bytes, timestamp: int, origin: int, clear_types: bool) -> None:
        super().__init__(data, Changeset(None, None, timestamp, origin))
        self.clear_types: bool = clear_types
        self.runs: list[int] = [0]  # where interned strings and instructions take turns, interned strings first

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
                op = self.long_integer(LONG_BYTES)
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
