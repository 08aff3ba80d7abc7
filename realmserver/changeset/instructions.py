"""The instructions of a changeset as values (``spec/changeset.md`` 4 and 5).

Names are held as the strings themselves, not as numbers into the table of interned strings: two changesets are then
compared by content. The table itself is kept beside the instructions (:attr:`Changeset.strings`), because the
canonical encoding writes all of it and one merge rule (C5, ``spec/merge.md`` 7) compares its numbers.

Strings are ``str`` decoded with ``surrogateescape``: the format does not promise UTF-8, and this form gives every
byte sequence back unchanged. Instructions are mutable, because the merge edits both sides in place; nothing outside
``merge`` may change them.
"""

from typing import Final

# Opcodes (section 5).
ADD_TABLE: Final = 0
ERASE_TABLE: Final = 1
CREATE_OBJECT: Final = 2
ERASE_OBJECT: Final = 3
UPDATE: Final = 4
ADD_INTEGER: Final = 5
ADD_COLUMN: Final = 6
ERASE_COLUMN: Final = 7
ARRAY_INSERT: Final = 8
ARRAY_MOVE: Final = 9
ARRAY_ERASE: Final = 10
CLEAR: Final = 11
SET_INSERT: Final = 12
SET_ERASE: Final = 13
INTERN_STRING: Final = 0x3F

# Payload, key and column types (section 4.1).
TYPE_SET: Final = -6
TYPE_LIST: Final = -5
TYPE_ERASED: Final = -4
TYPE_DICTIONARY: Final = -3
TYPE_OBJECT_VALUE: Final = -2
TYPE_GLOBAL_KEY: Final = -1
TYPE_NULL: Final = 0  # as the type of a column: Mixed
TYPE_INT: Final = 1
TYPE_BOOL: Final = 2
TYPE_STRING: Final = 3
TYPE_BINARY: Final = 4
TYPE_TIMESTAMP: Final = 5
TYPE_FLOAT: Final = 6
TYPE_DOUBLE: Final = 7
TYPE_DECIMAL: Final = 8
TYPE_LINK: Final = 9
TYPE_OBJECT_ID: Final = 10
TYPE_UUID: Final = 11

# Table types and collection types (section 4.5).
TABLE_TOP_LEVEL: Final = 0
TABLE_EMBEDDED: Final = 1
TABLE_ASYMMETRIC: Final = 2
COLLECTION_SINGLE: Final = 0
COLLECTION_LIST: Final = 1
COLLECTION_DICTIONARY: Final = 2
COLLECTION_SET: Final = 3

Key = tuple[int, object]
"""A primary key, (type, value): ``(TYPE_NULL, None)``, ``(TYPE_INT, int)``, ``(TYPE_STRING, str)``,
``(TYPE_GLOBAL_KEY, (hi, lo))``, ``(TYPE_OBJECT_ID, 12 bytes)`` or ``(TYPE_UUID, 16 bytes)``. Hashable; equal exactly
where ``spec/merge.md`` 1 calls two keys equal."""

PathElement = int | str
"""An index into a list, or the name of an embedded object's property or of a dictionary's key."""


class Payload:
    """A value in an instruction (section 4.2).

    ``value`` by ``type``: None for Null, ObjectValue, Dictionary, Erased, List and Set; ``int``; ``bool``; ``str``;
    ``bytes`` for Binary; ``(seconds, nanoseconds)`` for Timestamp; the 4 or 8 little-endian bytes for Float and Double
    (the bits of a NaN must survive); ``(coefficient, exponent, negative)`` for Decimal, ``(int, int, bool)``;
    ``(class name, Key)`` for Link; 12 bytes for ObjectId and 16 for UUID.

    ``offset`` is where a String or Binary stands in its changeset's string buffer (section 3), -1 for other types.
    """

    __slots__ = ("offset", "type", "value")

    def __init__(self, type: int, value: object = None, offset: int = -1) -> None:
        self.type: int = type
        self.value: object = value
        self.offset: int = offset


class Instruction:
    """What all instructions have. ``discarded`` marks a tombstone: its place stays, it is not encoded."""

    __slots__ = ("discarded", "op", "table")

    def __init__(self, op: int, table: str) -> None:
        self.op: int = op
        self.table: str = table
        self.discarded: bool = False


class AddTable(Instruction):
    """``pk_field``, ``pk_type`` and ``pk_nullable`` mean nothing where ``kind`` is TABLE_EMBEDDED."""

    __slots__ = ("kind", "pk_field", "pk_nullable", "pk_type")

    def __init__(
        self,
        table: str,
        kind: int,
        pk_field: str = "",
        pk_type: int = TYPE_GLOBAL_KEY,
        pk_nullable: bool = False,
    ) -> None:
        super().__init__(ADD_TABLE, table)
        self.kind: int = kind
        self.pk_field: str = pk_field
        self.pk_type: int = pk_type
        self.pk_nullable: bool = pk_nullable


class EraseTable(Instruction):
    __slots__ = ()

    def __init__(self, table: str) -> None:
        super().__init__(ERASE_TABLE, table)


class AddColumn(Instruction):
    """``target`` is the linked class ("" = a typed link) where ``type`` is TYPE_LINK and means nothing elsewhere;
    ``key_type`` likewise where ``collection`` is COLLECTION_DICTIONARY."""

    __slots__ = ("collection", "field", "key_type", "nullable", "target", "type")

    def __init__(
        self,
        table: str,
        field: str,
        type: int,
        nullable: bool,
        collection: int,
        target: str = "",
        key_type: int = TYPE_STRING,
    ) -> None:
        super().__init__(ADD_COLUMN, table)
        self.field: str = field
        self.type: int = type
        self.nullable: bool = nullable
        self.collection: int = collection
        self.target: str = target
        self.key_type: int = key_type


class EraseColumn(Instruction):
    __slots__ = ("field",)

    def __init__(self, table: str, field: str) -> None:
        super().__init__(ERASE_COLUMN, table)
        self.field: str = field


class ObjectInstruction(Instruction):
    """An instruction on an object: CreateObject, EraseObject and all path instructions."""

    __slots__ = ("key",)

    def __init__(self, op: int, table: str, key: Key) -> None:
        super().__init__(op, table)
        self.key: Key = key


class CreateObject(ObjectInstruction):
    __slots__ = ()

    def __init__(self, table: str, key: Key) -> None:
        super().__init__(CREATE_OBJECT, table, key)


class EraseObject(ObjectInstruction):
    __slots__ = ()

    def __init__(self, table: str, key: Key) -> None:
        super().__init__(ERASE_OBJECT, table, key)


class PathInstruction(ObjectInstruction):
    """An instruction on a place inside an object: a property (``field``) and what lies below it (``path``)."""

    __slots__ = ("field", "path")

    def __init__(self, op: int, table: str, key: Key, field: str, path: list[PathElement]) -> None:
        # Nearly every instruction of a changeset comes through here: no chain of calls to the bases.
        self.op = op
        self.table = table
        self.discarded = False
        self.key = key
        self.field: str = field
        self.path: list[PathElement] = path


class Update(PathInstruction):
    """``prior_size`` counts where the path ends with an index, ``is_default`` where it does not."""

    __slots__ = ("is_default", "payload", "prior_size")

    def __init__(
        self,
        table: str,
        key: Key,
        field: str,
        path: list[PathElement],
        payload: Payload,
        is_default: bool = False,
        prior_size: int = 0,
    ) -> None:
        super().__init__(UPDATE, table, key, field, path)
        self.payload: Payload = payload
        self.is_default: bool = is_default
        self.prior_size: int = prior_size


class AddInteger(PathInstruction):
    __slots__ = ("value",)

    def __init__(self, table: str, key: Key, field: str, path: list[PathElement], value: int) -> None:
        super().__init__(ADD_INTEGER, table, key, field, path)
        self.value: int = value


class ArrayInsert(PathInstruction):
    """``prior_size``, here and below: elements of that list before the instruction, dangling links counted."""

    __slots__ = ("payload", "prior_size")

    def __init__(
        self, table: str, key: Key, field: str, path: list[PathElement], payload: Payload, prior_size: int
    ) -> None:
        super().__init__(ARRAY_INSERT, table, key, field, path)
        self.payload: Payload = payload
        self.prior_size: int = prior_size


class ArrayMove(PathInstruction):
    """``destination``: the index the element has afterwards (``ndx_2`` of the specification)."""

    __slots__ = ("destination", "prior_size")

    def __init__(
        self, table: str, key: Key, field: str, path: list[PathElement], destination: int, prior_size: int
    ) -> None:
        super().__init__(ARRAY_MOVE, table, key, field, path)
        self.destination: int = destination
        self.prior_size: int = prior_size


class ArrayErase(PathInstruction):
    __slots__ = ("prior_size",)

    def __init__(self, table: str, key: Key, field: str, path: list[PathElement], prior_size: int) -> None:
        super().__init__(ARRAY_ERASE, table, key, field, path)
        self.prior_size: int = prior_size


class Clear(PathInstruction):
    """``path`` is that of the container itself. COLLECTION_SINGLE means that its kind is not known."""

    __slots__ = ("collection",)

    def __init__(self, table: str, key: Key, field: str, path: list[PathElement], collection: int) -> None:
        super().__init__(CLEAR, table, key, field, path)
        self.collection: int = collection


class SetInsert(PathInstruction):
    __slots__ = ("payload",)

    def __init__(self, table: str, key: Key, field: str, path: list[PathElement], payload: Payload) -> None:
        super().__init__(SET_INSERT, table, key, field, path)
        self.payload: Payload = payload


class SetErase(PathInstruction):
    __slots__ = ("payload",)

    def __init__(self, table: str, key: Key, field: str, path: list[PathElement], payload: Payload) -> None:
        super().__init__(SET_ERASE, table, key, field, path)
        self.payload: Payload = payload


class Changeset:
    """A changeset in memory: its instructions and its table of interned strings.

    ``timestamp`` (ms since 2015-01-01) and ``origin`` (file ident) are the tie-break of the whole changeset
    (``spec/merge.md`` 0); who decodes it sets them. ``dirty`` is set by the merge when it changed an instruction.
    """

    __slots__ = ("dirty", "instructions", "numbers", "origin", "strings", "timestamp")

    def __init__(
        self,
        instructions: list[Instruction] | None = None,
        strings: list[str] | None = None,
        timestamp: int = 0,
        origin: int = 0,
    ) -> None:
        self.instructions: list[Instruction] = instructions if instructions is not None else []
        self.strings: list[str] = strings if strings is not None else []
        self.numbers: dict[str, int] = {text: number for number, text in enumerate(self.strings)}
        self.timestamp: int = timestamp
        self.origin: int = origin
        self.dirty: bool = False

    def intern(self, text: str) -> int:
        """The number of ``text`` in the table of interned strings; appended at the end if it is new."""
        number = self.numbers.get(text)
        if number is None:
            number = len(self.strings)
            self.strings.append(text)
            self.numbers[text] = number
        return number

    def is_empty(self) -> bool:
        """Whether no live instruction is left: its canonical encoding is then zero bytes (section 6)."""
        return all(instruction.discarded for instruction in self.instructions)


class BadChangeset(Exception):
    """The bytes or the meaning of a changeset are wrong; the text says what and where.

    The peer's fault: a session answers it with code 212 (``spec/protocol.md`` 4.4).
    """
