"""The shape of a Realm: what must be known of its content to be sure that every client can apply an instruction.

Implements :class:`~realmserver.realms.places.Model` over records in an ordered key-value store (``shape_records``), so
the rules are those of ``apply`` (``spec/merge.md`` 8.5, 8.4 point 6). It knows the classes and columns, which objects
exist, how long lists are, which embedded objects and nested collections are there, which keys a dictionary of Mixed or
of embedded objects has, and whether a Mixed property could be incremented. It does not know values, elements of sets,
or keys of other dictionaries; links need no record, since a link to a missing object is legal.

Changes gather in an overlay with savepoints. :meth:`Shape.changes` gives the overlay to the store; whether the store
made it durable is told by :meth:`Shape.settle` or :meth:`Shape.discard`. What has been read or made durable stays in a
bounded cache. The cost of an instruction is that of the edit, never that of the Realm or of a list.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

from realmserver.changeset.instructions import Key
from realmserver.realms.apply import Applier
from realmserver.realms.apply_plain import PlainApplier
from realmserver.realms.schema import Column, Schema, Table, decode_table, encode_table
from realmserver.realms.shape_places import ShapeFields
from realmserver.realms.shape_records import (
    EMPTY_OBJECT,
    META_KEY,
    Child,
    ListBody,
    Node,
    Record,
    RecordKey,
    decode_meta,
    decode_record,
    encode_meta,
    encode_record,
    has_long_text,
    node_prefix,
    store_key,
    table_prefix,
)

CACHE_RECORDS: Final = 10_000
"""Records kept in memory after a batch, known absences included: a few megabytes for each open Realm."""

MAX_CACHED_CHILDREN: Final = 64
"""Children of an object whose record is kept in memory, as many as a page of a list has: hostile objects could have
thousands each, and the cache counts records. So it is some 70 MB at the very most."""

_NOTHING: Final = object()

Changes = tuple[dict[str, bytes | None], dict[bytes, bytes | None], list[bytes]]
"""``schema``, ``shape`` and ``shape_prefixes`` of a :class:`~realmserver.store.interface.Commit`."""


@frozen
class _Mark:
    """What a savepoint needs to go back, besides its layer of the overlay."""

    tables: Mapping[str, Table]
    next_table: int
    next_node: int
    freed: int
    erased: int


class Shape:
    """The shape at the head of one Realm's log.

    ``read`` gives the durable record under a key; ``schema_rows`` are the durable tables by name. Raises
    :class:`packing.BrokenRecord`, here and wherever a record is read, if the store holds something else than was
    written.
    """

    __slots__ = (
        "_cache",
        "_cache_records",
        "_durable",
        "_erased",
        "_found",
        "_found_key",
        "_freed",
        "_layers",
        "_marks",
        "_next_node",
        "_read",
        "applier",
        "plain_applier",
        "schema",
    )

    def __init__(
        self,
        read: Callable[[bytes], bytes | None],
        schema_rows: Mapping[str, bytes],
        *,
        cache_records: int = CACHE_RECORDS,
    ) -> None:
        next_table, self._next_node = decode_meta(read(META_KEY))
        self.schema = Schema({name: decode_table(name, row) for name, row in schema_rows.items()}, next_table)
        self._read = read
        self._cache: OrderedDict[RecordKey, Record | None] = OrderedDict()
        self._cache_records = cache_records
        self._layers: list[dict[RecordKey, Record | None]] = [{}]
        self._marks: list[_Mark] = []
        self._freed: list[tuple[int, int]] = []  # (table, node)
        self._erased: list[int] = []  # tables
        self._durable = self._mark()
        self._found: ShapeFields | None = None
        self._found_key: Key | None = None
        self.applier = Applier(self)
        self.plain_applier = PlainApplier(self)

    # Batches

    def begin(self) -> None:
        """Set a savepoint; may be nested."""
        self._marks.append(self._mark())
        self._layers.append({})

    def commit(self) -> None:
        """Keep what was done since the last savepoint, which is gone then."""
        self._marks.pop()
        layer = self._layers.pop()
        self._layers[-1].update(layer)

    def rollback(self) -> None:
        """Undo exactly what was done since the last savepoint, which is gone then."""
        self._layers.pop()
        self._restore(self._marks.pop())

    def changes(self) -> Changes:
        """What the batch has changed, in the form of :class:`~realmserver.store.interface.Commit`.

        No savepoint may be open. Say afterwards how it ended: :meth:`settle` or :meth:`discard`.
        """
        assert not self._marks, "a savepoint is open"
        durable = self._durable
        tables = self.schema.tables
        schema: dict[str, bytes | None] = {name: None for name in durable.tables if name not in tables}
        for name, table in tables.items():
            if durable.tables.get(name) is not table:
                schema[name] = encode_table(table)
        freed, erased = set(self._freed), set(self._erased)
        shape = {
            store_key(key): None if record is None else encode_record(record)
            for key, record in self._layers[0].items()
            if key[0] not in erased and (key[0], key[1]) not in freed
        }
        if (durable.next_table, durable.next_node) != (self.schema.next_table, self._next_node):
            shape[META_KEY] = encode_meta(self.schema.next_table, self._next_node)
        prefixes = [table_prefix(table) for table in self._erased if table < durable.next_table]
        prefixes += [
            node_prefix(table, node) for table, node in self._freed if table not in erased and node < durable.next_node
        ]
        return schema, shape, prefixes

    def settle(self) -> None:
        """The changes are durable: the overlay becomes part of the cache."""
        assert not self._marks, "a savepoint is open"
        freed, erased = set(self._freed), set(self._erased)
        for key, record in self._layers[0].items():
            if key[0] not in erased and (key[0], key[1]) not in freed:
                self._remember(key, record)
            else:
                self._cache.pop(key, None)
        self._layers = [{}]
        self._freed, self._erased = [], []
        self._durable = self._mark()

    def discard(self) -> None:
        """The store failed: go back to what is durable. Open savepoints are gone too."""
        self._layers = [{}]
        self._marks = []
        self._restore(self._durable)

    def _mark(self) -> _Mark:
        schema = self.schema
        return _Mark(schema.tables, schema.next_table, self._next_node, len(self._freed), len(self._erased))

    def _restore(self, mark: _Mark) -> None:
        self.schema.tables = mark.tables
        self.schema.next_table = mark.next_table
        self._next_node = mark.next_node
        del self._freed[mark.freed :]
        del self._erased[mark.erased :]
        self._found = None

    # Records

    def get(self, key: RecordKey) -> Record | None:
        """The record under ``key`` as it is now; None if there is none."""
        record = self._in_memory(key)
        if record is not _NOTHING:
            return record  # type: ignore[return-value]  # the other case has been told apart
        data = self._read(store_key(key))
        loaded = None if data is None else decode_record(data)
        self._remember(key, loaded)
        return loaded

    def _in_memory(self, key: RecordKey) -> object:
        """The record under ``key``, None if there is none; _NOTHING if only the store knows."""
        for layer in reversed(self._layers):
            if key in layer:
                return layer[key]
        record = self._cache.get(key, _NOTHING)
        if record is not _NOTHING:
            self._cache.move_to_end(key)
        return record

    def put(self, key: RecordKey, record: Record | None) -> None:
        """Change or delete the record under ``key``."""
        self._layers[-1][key] = record

    def _remember(self, key: RecordKey, record: Record | None) -> None:
        if has_long_text(key) or _is_large(record):
            self._cache.pop(key, None)  # keys count too: one may have megabytes
            return
        self._cache[key] = record
        self._cache.move_to_end(key)
        if len(self._cache) > self._cache_records:
            self._cache.popitem(last=False)

    # Nodes (shape_places.Nodes)

    def new_node(self, owner: RecordKey, body: dict[int, Child] | ListBody | None) -> int:
        """Make a node inside the container whose record is ``owner``; its number."""
        table = owner[0]
        number = self._next_node
        self._next_node += 1
        parent = self._node(owner)
        if parent.first:
            sibling = (table, parent.first)
            self.put(sibling, self._node(sibling)._replace(previous=number))
        self.put((table, number), Node(body, next=parent.first))
        self.put(owner, parent._replace(first=number))
        return number

    def free_node(self, owner: RecordKey, node: int) -> None:
        """Free a node inside ``owner``, and all nodes inside it."""
        table = owner[0]
        gone = self._node((table, node))
        if gone.previous:
            previous = (table, gone.previous)
            self.put(previous, self._node(previous)._replace(next=gone.next))
        else:
            self.put(owner, self._node(owner)._replace(first=gone.next))
        if gone.next:
            following = (table, gone.next)
            self.put(following, self._node(following)._replace(previous=gone.previous))
        self._freed.append((table, node))
        self._free_inside(table, gone)

    def _free_inside(self, table: int, container: Node) -> None:
        """Free all nodes inside a container that is going; nothing is left that could name them."""
        waiting = [container.first]
        while waiting:
            number = waiting.pop()
            if number:
                node = self._node((table, number))
                waiting += (node.next, node.first)
                self._freed.append((table, number))

    def _node(self, key: RecordKey) -> Node:
        record = self.get(key)
        assert isinstance(record, Node)
        return record

    # The model that the applier works on

    def find(self, table: Table, key: Key) -> ShapeFields | None:
        # Instructions on one object come in a row, so the last one found is kept, as long as its class is unchanged.
        found = self._found
        if found is not None and found.owner is table and self._found_key == key:
            return found
        at = (table.id, key)
        if self.get(at) is None:
            return None
        self._found = found = ShapeFields(self, table.id, None, 0, table, at)
        self._found_key = key
        return found

    def create(self, table: Table, key: Key) -> None:
        at = (table.id, key)
        record = self._in_memory(at)
        if record is None or (record is _NOTHING and self._read(store_key(at)) is None):
            self.put(at, EMPTY_OBJECT)  # what the cache would learn, it is told when this is durable

    def erase(self, table: Table, key: Key) -> None:
        at = (table.id, key)
        record = self.get(at)
        if record is not None:
            assert isinstance(record, Node)
            self._free_inside(table.id, record)
            self.put(at, None)
            self._found = None

    def table_erased(self, table: Table) -> None:
        self._erased.append(table.id)
        self._found = None

    def column_erased(self, table: Table, column: Column) -> None:
        """The column's number is not used again, so what is known of it is never read; objects drop it when they
        change."""


def _is_large(record: Record | None) -> bool:
    return isinstance(record, Node) and isinstance(record.body, dict) and len(record.body) > MAX_CACHED_CHILDREN
