"""The records in which a Realm's values are kept (table ``objects`` of the store): keys, values and bytes.

- An *object* has a record under its table and primary key: its simple values, by column number.
- What can grow stands under a *node*, a number that is never used again in this Realm and that the place of the
  collection names (:class:`Inside`). An embedded object is one record; a list is a tree of pages (``stored_list``);
  each key of a dictionary and each element of a set has a record of its own.
- Under table number 0 stand the schema and the counters, as of the version that all records are at.

All keys of a class begin with its table's number, so erasing it is one prefix, and all records of a node are one
prefix. A text too long for a key is cut and hashed there; the record holds it whole. Objects follow each other in the
order of their keys: integers by value, texts by bytes.
"""

import hashlib
import struct
from typing import Final

from attrs import Factory, define, frozen

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
    TYPE_STRING,
    TYPE_TIMESTAMP,
    TYPE_UUID,
    Key,
)
from realmserver.realms.content import Simple, sameness
from realmserver.realms.packing import BrokenRecord, Unpacker, put_sint, put_text, put_uint
from realmserver.store.interface import MAX_SHAPE_KEY

SET: Final = 7
"""What a property that holds a set is called, beside the constants of ``places``: no set is in a Mixed place."""

META_KEY: Final = struct.pack(">IB", 0, 0)
"""Where the version and the counters are; no table has the number 0."""

SCHEMA_PREFIX: Final = struct.pack(">IB", 0, 1)

_META_FORMAT: Final = 0x21
_TABLE_FORMAT: Final = 0x22
_FIELDS_FORMAT: Final = 0x23
_PAGES_FORMAT: Final = 0x24
_ENTRY_FORMAT: Final = 0x25

# The byte after a table's number, and the one after a node's.
_OBJECT: Final = 1
_NODE: Final = 2
_PAGE: Final = 1
_ENTRY: Final = 2
# How a text stands in a key.
_WHOLE: Final = 0
_HASHED: Final = 1

_LONGEST_TEXT: Final = MAX_SHAPE_KEY - 32
"""Bytes of a text that go into a key: what precedes them takes at most 15."""
_SIGN: Final = 1 << 63
_NODE_PREFIX: Final = struct.Struct(">IBQ")
_INSIDE: Final = 32  # the tag of a value that is Inside; below are types of payloads
_RAW_SIZES: Final = {TYPE_FLOAT: 4, TYPE_DOUBLE: 8, TYPE_OBJECT_ID: 12, TYPE_UUID: 16}

NODE_PREFIX_SIZE: Final = _NODE_PREFIX.size


@frozen
class Inside:
    """A place holds an embedded object, list, dictionary or set (``kind``), whose records are those of ``node``."""

    kind: int
    node: int


Value = Simple | Inside | None


@define
class Fields:
    """The record of an object, or of a node that is an embedded object: by column number; absent = as in a new
    object. ``key`` is the object's primary key, None for an embedded one."""

    key: Key | None = None
    data: dict[int, Value] = Factory(dict)


@define
class Leaf:
    """A page with elements of a list."""

    items: list[Value] = Factory(list)

    @property
    def slots(self) -> int:
        return len(self.items)


@define
class Inner:
    """A page with the numbers of pages below it, and how many elements each has."""

    pages: list[int]
    counts: list[int]

    @property
    def slots(self) -> int:
        return sum(self.counts)


Page = Leaf | Inner


@define
class ListHead:
    """The record of a node that is a list: the root of its pages, and the number of the next page."""

    root: Page = Factory(Leaf)
    next_page: int = 1


@define
class Entry:
    """The record of a dictionary's key or of a set's element. ``key`` is the dictionary's key, "" in sets."""

    key: str
    value: Value


@define
class Meta:
    """``version``: the server version that all records are at. ``next_table`` and ``next_node``: numbers given out once
    are never given out again. ``counts``: how many objects each table has, by number."""

    version: int = 0
    next_table: int = 1
    next_node: int = 1
    counts: dict[int, int] = Factory(dict)


Record = Fields | ListHead | Leaf | Inner | Entry


# Keys


def table_prefix(table: int) -> bytes:
    """What the keys of all records of a table begin with."""
    return struct.pack(">I", table)


def objects_prefix(table: int) -> bytes:
    """What the keys of the objects of a table begin with."""
    return struct.pack(">IB", table, _OBJECT)


def object_key(table: int, key: Key) -> bytes:
    """The key of an object's record, at most MAX_SHAPE_KEY bytes; so with all keys."""
    kind, value = key
    prefix = struct.pack(">IBb", table, _OBJECT, kind)
    if isinstance(value, str):
        return prefix + _text_bytes(value)
    if isinstance(value, int):
        return prefix + struct.pack(">Q", value + _SIGN)
    if isinstance(value, bytes):
        return prefix + value
    if isinstance(value, tuple):
        return prefix + struct.pack(">QQ", *value)
    return prefix


def node_key(table: int, node: int) -> bytes:
    """The key of a node's record, and what the keys of all its records begin with."""
    return _NODE_PREFIX.pack(table, _NODE, node)


def page_key(node: bytes, page: int) -> bytes:
    """The key of a page of the list whose record is under ``node``; page 0 is in that record."""
    return node if page == 0 else node + struct.pack(">BI", _PAGE, page)


def entries_prefix(node: bytes) -> bytes:
    """What the keys of all entries of the dictionary or set ``node`` begin with."""
    return node + bytes((_ENTRY,))


def entry_key(node: bytes, key: str) -> bytes:
    """The key of the record of a dictionary's key."""
    return entries_prefix(node) + _text_bytes(key)


def element_key(node: bytes, element: Simple | None) -> bytes:
    """The key of the record of a set's element: one for all that a set takes for the same (``content.sameness``)."""
    return entries_prefix(node) + _cut(_sameness_bytes(element))


def schema_key(table: int) -> bytes:
    """The key of the row of a table."""
    return SCHEMA_PREFIX + table_prefix(table)


def _text_bytes(text: str) -> bytes:
    return _cut(text.encode("utf-8", "surrogateescape"))


def _cut(data: bytes) -> bytes:
    if len(data) <= _LONGEST_TEXT:
        return bytes((_WHOLE,)) + data
    digest = hashlib.sha256(data).digest()
    return bytes((_HASHED,)) + data[: _LONGEST_TEXT - len(digest)] + digest


def _sameness_bytes(element: Simple | None) -> bytes:
    same = sameness(element)
    if element is None:
        return b""
    assert isinstance(same, tuple)
    if same[0] == "number":
        if isinstance(same[1], str):
            return b"n" + same[1].encode()
        numerator, denominator = same[1].as_integer_ratio()
        return f"n{numerator:x}/{denominator:x}".encode()
    out = bytearray(b"v")
    put_value(out, element)
    return bytes(out)


# Values


def put_key(out: bytearray, key: Key) -> None:
    """Append a primary key."""
    kind, value = key
    out.append(kind + 1)
    if isinstance(value, str):
        put_text(out, value)
    elif isinstance(value, int):
        put_sint(out, value)
    elif isinstance(value, bytes):
        out += value
    elif isinstance(value, tuple):
        put_uint(out, value[0])
        put_uint(out, value[1])


def take_key(packed: Unpacker) -> Key:
    """What :func:`put_key` has appended. Raises :class:`packing.BrokenRecord`; so do all that read records."""
    kind = packed.uint() - 1
    if kind == TYPE_STRING:
        return kind, packed.text()
    if kind == TYPE_INT:
        return kind, packed.sint()
    if kind == TYPE_NULL:
        return kind, None
    if kind == TYPE_GLOBAL_KEY:
        return kind, (packed.uint(), packed.uint())
    if kind in (TYPE_OBJECT_ID, TYPE_UUID):
        return kind, packed.raw(_RAW_SIZES[kind])
    raise BrokenRecord(f"a primary key of type {kind}")


def put_value(out: bytearray, value: Value) -> None:
    """Append what a place holds."""
    if value is None:
        out.append(TYPE_NULL)
        return
    if isinstance(value, Inside):
        out.append(_INSIDE + value.kind)
        put_uint(out, value.node)
        return
    kind, content = value
    out.append(kind)
    if isinstance(content, str):
        put_text(out, content)
    elif isinstance(content, bool):
        out.append(content)
    elif isinstance(content, int):
        put_sint(out, content)
    elif isinstance(content, bytes):
        if kind == TYPE_BINARY:
            put_uint(out, len(content))
        out += content
    elif isinstance(content, tuple):
        if kind == TYPE_LINK:
            put_text(out, content[0])
            put_key(out, content[1])
        elif kind == TYPE_TIMESTAMP:
            put_sint(out, content[0])
            put_sint(out, content[1])
        else:
            put_uint(out, content[0])
            put_sint(out, content[1])
            out.append(content[2])


def take_value(packed: Unpacker) -> Value:
    """What :func:`put_value` has appended."""
    kind = packed.uint()
    if kind == TYPE_NULL:
        return None
    if kind >= _INSIDE:
        return Inside(kind - _INSIDE, packed.uint())
    return kind, _take_content(packed, kind)


def _take_content(packed: Unpacker, kind: int) -> object:
    if kind == TYPE_INT:
        return packed.sint()
    if kind == TYPE_STRING:
        return packed.text()
    if kind == TYPE_BOOL:
        return bool(packed.uint())
    if kind == TYPE_BINARY:
        return packed.raw(packed.uint())
    if kind == TYPE_TIMESTAMP:
        return packed.sint(), packed.sint()
    if kind == TYPE_DECIMAL:
        return packed.uint(), packed.sint(), bool(packed.uint())
    if kind == TYPE_LINK:
        return packed.text(), take_key(packed)
    if kind in _RAW_SIZES:
        return packed.raw(_RAW_SIZES[kind])
    raise BrokenRecord(f"a value of type {kind}")


def size_of(value: Value) -> int:
    """About the bytes of a value."""
    if isinstance(value, tuple) and isinstance(value[1], str | bytes):
        return len(value[1]) + 8
    return 8


# Records


def encode_record(record: Record) -> bytes:
    """The bytes of a record, its format first."""
    out = bytearray()
    if isinstance(record, Fields):
        out.append(_FIELDS_FORMAT)
        out.append(record.key is not None)
        if record.key is not None:
            put_key(out, record.key)
        for column, value in record.data.items():
            put_uint(out, column)
            put_value(out, value)
    elif isinstance(record, Entry):
        out.append(_ENTRY_FORMAT)
        put_text(out, record.key)
        put_value(out, record.value)
    else:
        out.append(_PAGES_FORMAT)
        put_uint(out, record.next_page if isinstance(record, ListHead) else 0)
        _put_page(out, record.root if isinstance(record, ListHead) else record)
    return bytes(out)


def _put_page(out: bytearray, page: Page) -> None:
    out.append(isinstance(page, Inner))
    if isinstance(page, Inner):
        put_uint(out, len(page.pages))
        for number, count in zip(page.pages, page.counts, strict=True):
            put_uint(out, number)
            put_uint(out, count)
    else:
        put_uint(out, len(page.items))
        for item in page.items:
            put_value(out, item)


def decode_record(data: bytes) -> Record:
    """The record that :func:`encode_record` wrote."""
    kind = data[0] if data else 0
    packed = Unpacker(data, kind)
    if kind == _FIELDS_FORMAT:
        fields = Fields(take_key(packed) if packed.uint() else None)
        while not packed.at_end:
            column = packed.uint()
            fields.data[column] = take_value(packed)
        return fields
    record: Record
    if kind == _ENTRY_FORMAT:
        record = Entry(packed.text(), take_value(packed))
    elif kind == _PAGES_FORMAT:
        next_page = packed.uint()
        page = _take_page(packed)
        record = ListHead(page, next_page) if next_page else page
    else:
        raise BrokenRecord(f"unknown format {kind:02x} of a record of the values")
    packed.done()
    return record


def _take_page(packed: Unpacker) -> Page:
    if packed.uint():
        pairs = [(packed.uint(), packed.uint()) for _ in range(packed.uint())]
        return Inner([number for number, _ in pairs], [count for _, count in pairs])
    return Leaf([take_value(packed) for _ in range(packed.uint())])


def encode_meta(meta: Meta) -> bytes:
    out = bytearray((_META_FORMAT,))
    for number in (meta.version, meta.next_table, meta.next_node, len(meta.counts)):
        put_uint(out, number)
    for table, count in meta.counts.items():
        put_uint(out, table)
        put_uint(out, count)
    return bytes(out)


def decode_meta(data: bytes | None) -> Meta:
    """What is under META_KEY; all at the start where nothing is."""
    if data is None:
        return Meta()
    packed = Unpacker(data, _META_FORMAT)
    meta = Meta(packed.uint(), packed.uint(), packed.uint())
    for _ in range(packed.uint()):
        table = packed.uint()
        meta.counts[table] = packed.uint()
    packed.done()
    return meta


def encode_row(name: str, row: bytes) -> bytes:
    """A table of the schema (``schema.encode_table``) with its name, which may be too long for a key."""
    out = bytearray((_TABLE_FORMAT,))
    put_text(out, name)
    return bytes(out) + row


def decode_row(data: bytes) -> tuple[str, bytes]:
    packed = Unpacker(data, _TABLE_FORMAT)
    name = packed.text()
    return name, packed.rest()
