"""The records in which a Realm's shape is kept: what they are in memory, and as keys and bytes in the store.

Records are immutable: a change makes a new one. Every record begins with a byte that says its format and kind.

- An *object* has a record under its table and key. It holds a :class:`Child` for each property of which something must
  be known; an object with simple values only is one byte.
- A *node* is a container with content that does not fit into its parent's Child: an embedded object, list or
  dictionary. It has a number that is never used again in this Realm. The nodes inside a container are chained
  (``first``, ``previous``, ``next``), so all of them can be found and freed without looking at its content.
- A *page* is a part of a long list, a *key* record one key of a dictionary; both stand under their node.

Keys begin with the number of the table, so erasing a class is one prefix; the records of a node are one prefix too.
"""

import hashlib
import struct
from typing import Final, NamedTuple

from realmserver.changeset.instructions import Key
from realmserver.realms.packing import BrokenRecord, Unpacker, put_uint
from realmserver.realms.places import DICTIONARY, LIST, NULL, OBJECT, PLAIN
from realmserver.store.interface import MAX_SHAPE_KEY

META_KEY: Final = bytes(4)
"""Where the counters are; no table has the number 0."""

_FIELDS_FORMAT: Final = 0x11
_LIST_FORMAT: Final = 0x12
_DICTIONARY_FORMAT: Final = 0x13
_PAGE_FORMAT: Final = 0x14
_KEY_FORMAT: Final = 0x15
_META_FORMAT: Final = 0x16

# The byte after a table's number (object or node), and the one after a node's (page or key of a dictionary).
_OBJECT: Final = 1
_INTEGER_KEY: Final = struct.Struct(">IBbq")  # table, _OBJECT, type, value
_NODE: Final = 2
_PAGE: Final = 1
_ENTRY: Final = 2
# How a key's text stands at a record key's end.
_WHOLE: Final = 0
_HASHED: Final = 1

_HASH_SIZE: Final = hashlib.sha256().digest_size
_LONGEST_TEXT: Final = MAX_SHAPE_KEY - 32
"""Bytes of a key that go into a record key: what precedes them takes at most 15."""


class Child(NamedTuple):
    """What is known of a place. ``node`` is the number of its node, 0 if it has none; then an OBJECT or DICTIONARY has
    nothing worth knowing inside, and a LIST has ``size`` slots with nothing worth knowing."""

    kind: int
    node: int = 0
    size: int = 0


PLAIN_CHILD: Final = Child(PLAIN)
NULL_CHILD: Final = Child(NULL)
NEW_CHILD: Final = {kind: Child(kind) for kind in (OBJECT, LIST, DICTIONARY)}

Item = int | Child
"""A part of a list: a Child is one slot, a number that many slots of which nothing needs to be known."""


class Leaf(NamedTuple):
    """A page that holds slots."""

    items: tuple[Item, ...]

    @property
    def slots(self) -> int:
        return sum(item if isinstance(item, int) else 1 for item in self.items)


class Inner(NamedTuple):
    """A page that holds pages: their numbers and how many slots are below each."""

    children: tuple[tuple[int, int], ...]

    @property
    def slots(self) -> int:
        return sum(slots for _, slots in self.children)


Page = Leaf | Inner


class ListBody(NamedTuple):
    """The content of a list's node: the root of its pages, and the number of the next page."""

    root: Page
    next_page: int = 1


class Node(NamedTuple):
    """An object or node. ``body``: the children by column number of an object or embedded object, a ListBody, or None
    for a dictionary. ``first`` is the first node inside, ``previous`` and ``next`` are siblings; 0 = none."""

    body: dict[int, Child] | ListBody | None
    first: int = 0
    previous: int = 0
    next: int = 0


EMPTY_OBJECT: Final = Node({})
_EMPTY_OBJECT_BYTES: Final = bytes((_FIELDS_FORMAT,))

RecordKey = tuple[int, Key] | tuple[int, int] | tuple[int, int, int] | tuple[int, int, str]
"""In memory: (table, primary key) of an object, (table, node) and (table, node, page or key of a dictionary)."""

Record = Node | Leaf | Inner | Child


def table_prefix(table: int) -> bytes:
    """What the keys of all records of a table begin with."""
    return struct.pack(">I", table)


def node_prefix(table: int, node: int) -> bytes:
    """What the keys of all records of a node begin with."""
    return struct.pack(">IBQ", table, _NODE, node)


def objects_prefix(table: int) -> bytes:
    """What the keys of the objects of a table begin with."""
    return struct.pack(">IB", table, _OBJECT)


def entries_prefix(table: int, node: int) -> bytes:
    """What the keys of all entries of the dictionary ``node`` begin with."""
    return node_prefix(table, node) + bytes((_ENTRY,))


def store_key(key: RecordKey) -> bytes:
    """The key of a record in the store, at most MAX_SHAPE_KEY bytes."""
    table, second = key[0], key[1]
    if isinstance(second, tuple):
        kind, value = second
        if isinstance(value, int):
            return _INTEGER_KEY.pack(table, _OBJECT, kind, value)
        return struct.pack(">IBb", table, _OBJECT, kind) + _key_bytes(value)
    prefix = node_prefix(table, second)
    if len(key) == 2:
        return prefix
    third = key[2]
    if isinstance(third, int):
        return prefix + struct.pack(">BI", _PAGE, third)
    return prefix + bytes((_ENTRY,)) + _text_bytes(third)


def has_long_text(key: RecordKey) -> bool:
    """Whether a text in ``key`` is too long to be kept whole in the store's key."""
    text = key[2] if len(key) == 3 else key[1][1] if isinstance(key[1], tuple) else None
    return isinstance(text, str) and len(text) > _LONGEST_TEXT


def _key_bytes(value: object) -> bytes:
    if isinstance(value, str):
        return _text_bytes(value)
    if isinstance(value, bytes):
        return value
    if isinstance(value, tuple):
        return struct.pack(">QQ", *value)
    return b""


def _text_bytes(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    if len(data) <= _LONGEST_TEXT:
        return bytes((_WHOLE,)) + data
    return bytes((_HASHED,)) + data[: _LONGEST_TEXT - _HASH_SIZE] + hashlib.sha256(data).digest()


def encode_record(record: Record) -> bytes:
    """The bytes of a record, its format first."""
    out = bytearray()
    if isinstance(record, Node):
        if record == EMPTY_OBJECT:
            return _EMPTY_OBJECT_BYTES
        body = record.body
        out.append(_DICTIONARY_FORMAT if body is None else _FIELDS_FORMAT if isinstance(body, dict) else _LIST_FORMAT)
        for number in (record.first, record.previous, record.next):
            put_uint(out, number)
        if isinstance(body, dict):
            put_uint(out, len(body))
            for column, child in body.items():
                put_uint(out, column)
                _put_child(out, child)
        elif body is not None:
            put_uint(out, body.next_page)
            _put_page(out, body.root)
    elif isinstance(record, Child):
        out.append(_KEY_FORMAT)
        _put_child(out, record)
    else:
        out.append(_PAGE_FORMAT)
        _put_page(out, record)
    return bytes(out)


def _put_child(out: bytearray, child: Child) -> None:
    put_uint(out, child.kind)
    if child.kind in NEW_CHILD:
        put_uint(out, child.node)
        if child.kind == LIST and not child.node:
            put_uint(out, child.size)


def _put_page(out: bytearray, page: Page) -> None:
    if isinstance(page, Inner):
        put_uint(out, 1)
        put_uint(out, len(page.children))
        for number, slots in page.children:
            put_uint(out, number)
            put_uint(out, slots)
        return
    put_uint(out, 0)
    put_uint(out, len(page.items))
    for item in page.items:
        if isinstance(item, int):
            put_uint(out, item << 1)
        else:
            put_uint(out, 1)
            _put_child(out, item)


def decode_record(data: bytes) -> Record:
    """The record that :func:`encode_record` wrote. Raises :class:`packing.BrokenRecord`."""
    kind = data[0] if data else 0
    packed = Unpacker(data, kind)
    record: Record
    if kind == _FIELDS_FORMAT and len(data) == 1:
        return EMPTY_OBJECT
    if kind in (_FIELDS_FORMAT, _LIST_FORMAT, _DICTIONARY_FORMAT):
        first, previous, following = packed.uint(), packed.uint(), packed.uint()
        body: dict[int, Child] | ListBody | None = None
        if kind == _FIELDS_FORMAT:
            body = {packed.uint(): _take_child(packed) for _ in range(packed.uint())}
        elif kind == _LIST_FORMAT:
            next_page = packed.uint()
            body = ListBody(_take_page(packed), next_page)
        record = Node(body, first, previous, following)
    elif kind == _PAGE_FORMAT:
        record = _take_page(packed)
    elif kind == _KEY_FORMAT:
        record = _take_child(packed)
    else:
        raise BrokenRecord(f"unknown format {kind:02x} of a record of the shape")
    packed.done()
    return record


def _take_child(packed: Unpacker) -> Child:
    kind = packed.uint()
    node = packed.uint() if kind in NEW_CHILD else 0
    return Child(kind, node, packed.uint() if kind == LIST and not node else 0)


def _take_page(packed: Unpacker) -> Page:
    if packed.uint():
        return Inner(tuple((packed.uint(), packed.uint()) for _ in range(packed.uint())))
    items: list[Item] = []
    for _ in range(packed.uint()):
        number = packed.uint()
        items.append(_take_child(packed) if number & 1 else number >> 1)
    return Leaf(tuple(items))


def encode_meta(next_table: int, next_node: int) -> bytes:
    """The counters, for META_KEY: numbers of tables and nodes given out once are never given out again."""
    out = bytearray((_META_FORMAT,))
    put_uint(out, next_table)
    put_uint(out, next_node)
    return bytes(out)


def decode_meta(data: bytes | None) -> tuple[int, int]:
    """The counters (next table, next node); both 1 in a new Realm. Raises :class:`packing.BrokenRecord`."""
    if data is None:
        return 1, 1
    packed = Unpacker(data, _META_FORMAT)
    counters = packed.uint(), packed.uint()
    packed.done()
    return counters
