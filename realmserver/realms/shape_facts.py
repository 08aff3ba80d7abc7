"""What a Realm's shape knows of an object, told by names: without the numbers of classes, columns, nodes and pages.

Two histories that lead to one state give the same facts, whatever their records are (``shape_records``). Reads only, in
memory that does not grow with the object.
"""

from collections.abc import Iterator
from typing import Final, Protocol

from realmserver.changeset.instructions import COLLECTION_DICTIONARY, COLLECTION_LIST
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.places import DICTIONARY, LIST, NULL, OBJECT, PLAIN
from realmserver.realms.schema import Column, Schema, Table
from realmserver.realms.shape_records import (
    Child,
    Inner,
    Leaf,
    ListBody,
    Node,
    Page,
    RecordKey,
    decode_record,
    entries_prefix,
    store_key,
)

Step = str | int | bytes
Fact = tuple[tuple[Step, ...], int, int]
"""Where (property, index, the store's form of a dictionary's key …), what is there, and of a list the size."""

_ANYTHING: Final = -1


class ShapeRecords(Protocol):
    """The durable records of a shape."""

    def shape(self, key: bytes) -> bytes | None: ...

    def shapes(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All that is under keys with ``prefix``, in order."""


class ShapeFacts:
    """Tells the facts of objects in ``records``. Raises BrokenRecord for what is not a record."""

    def __init__(self, records: ShapeRecords, schema: Schema) -> None:
        self._records = records
        self._schema = schema

    def of(self, table: Table, data: bytes) -> Iterator[Fact]:
        """All that is known of the object whose record is ``data``, beside that it is there."""
        record = decode_record(data)
        if not isinstance(record, Node) or not isinstance(record.body, dict):
            raise BrokenRecord("an object's record is of another kind")
        return self._fields(table.id, (), table, record.body)

    def _fields(self, top: int, at: tuple[Step, ...], owner: Table, body: dict[int, Child]) -> Iterator[Fact]:
        for name in sorted(owner.columns):
            column = owner.columns[name]
            child = body.get(column.id)
            if child is not None:
                usual = {COLLECTION_LIST: LIST, COLLECTION_DICTIONARY: DICTIONARY}.get(column.collection, NULL)
                yield from self._place(top, (*at, name), column, child, usual)

    def _place(self, top: int, at: tuple[Step, ...], column: Column, child: Child, usual: int) -> Iterator[Fact]:
        """The facts of a place of ``column``. ``usual``: what is there where nothing is said."""
        node = self._node((top, child.node)) if child.node else None
        size = child.size
        if node is not None and isinstance(node.body, ListBody):
            size = node.body.root.slots
        if child.kind != usual or size:
            yield at, child.kind, size
        if node is None:
            return
        if child.kind == OBJECT and isinstance(node.body, dict):
            yield from self._fields(top, at, self._schema.target(column), node.body)
        elif child.kind == LIST and isinstance(node.body, ListBody):
            usual = OBJECT if column.embedded else PLAIN
            for index, slot in self._slots(top, child.node, node.body.root, 0):
                yield from self._place(top, (*at, index), column, slot, usual)
        elif child.kind == DICTIONARY and node.body is None:
            prefix = entries_prefix(top, child.node)
            for key, data in self._records.shapes(prefix):
                entry = decode_record(data)
                if not isinstance(entry, Child):
                    raise BrokenRecord("a key of a dictionary is of another kind")
                yield from self._place(top, (*at, key[len(prefix) :]), column, entry, _ANYTHING)
        else:
            raise BrokenRecord("a container's record is of another kind")

    def _slots(self, top: int, node: int, page: Page, first: int) -> Iterator[tuple[int, Child]]:
        """The slots below ``page`` of which something is known, with their indices; its first slot is ``first``."""
        if isinstance(page, Inner):
            for number, slots in page.children:
                below = self._record((top, node, number))
                if not isinstance(below, Leaf | Inner):
                    raise BrokenRecord("a list's page is of another kind")
                yield from self._slots(top, node, below, first)
                first += slots
            return
        for item in page.items:
            if isinstance(item, Child):
                yield first, item
            first += item if isinstance(item, int) else 1

    def _node(self, key: RecordKey) -> Node:
        record = self._record(key)
        if not isinstance(record, Node):
            raise BrokenRecord("a container's record is of another kind")
        return record

    def _record(self, key: RecordKey) -> object:
        data = self._records.shape(store_key(key))
        if data is None:
            raise BrokenRecord("a container's record is missing")
        return decode_record(data)
