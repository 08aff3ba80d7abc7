"""A Realm's values in its store: applied from the log, a bounded number of records at a time.

Implements :class:`~realmserver.realms.places.Model` over records in an ordered key-value store (``stored_records``),
so the rules are those of ``apply`` and what comes of them is what ``values`` has in memory (``spec/merge.md`` 8.5). The
log has been checked before it was stored: what does not apply is damage to the store.

One :class:`StoredValues` lives for one step: it reads a snapshot, applies some entries, and gives what they changed to
one commit (:meth:`StoredValues.changes`), with the version that the records are at then. After a failure it is thrown
away, and nothing has happened.
"""

from collections.abc import Iterator
from typing import Final

from realmserver.changeset.instructions import Changeset, Key
from realmserver.realms.apply import Applier
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.places import DICTIONARY, LIST, OBJECT
from realmserver.realms.schema import Column, Schema, Table, decode_table, encode_table
from realmserver.realms.stored_list import ListTree
from realmserver.realms.stored_places import StoredFields
from realmserver.realms.stored_records import (
    META_KEY,
    NODE_PREFIX_SIZE,
    SCHEMA_PREFIX,
    SET,
    Entry,
    Fields,
    Inside,
    ListHead,
    Meta,
    Record,
    Value,
    decode_meta,
    decode_record,
    decode_row,
    encode_meta,
    encode_record,
    encode_row,
    entries_prefix,
    node_key,
    object_key,
    schema_key,
    table_prefix,
)
from realmserver.store.interface import Commit, ObjectTable

READ_AT_ONCE: Final = 256
"""Records that are read at a time where all of a kind are."""

_TABLE_SIZE: Final = len(table_prefix(0))


def read_meta(snapshot: ObjectTable) -> Meta:
    """The version that the values in ``snapshot`` are at, and the counters."""
    return decode_meta(snapshot.object(META_KEY))


def read_schema(snapshot: ObjectTable, next_table: int) -> Schema:
    """The schema as of that version."""
    rows = [decode_row(data) for _, data in all_under(snapshot, SCHEMA_PREFIX)]
    return Schema({name: decode_table(name, row) for name, row in rows}, next_table)


def all_under(snapshot: ObjectTable, prefix: bytes, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """All keys with ``prefix``, from after ``after`` on, in order, with what is under them."""
    while True:
        found = snapshot.objects(prefix, after=after, limit=READ_AT_ONCE)
        yield from found
        if len(found) < READ_AT_ONCE:
            return
        after = found[-1][0]


class StoredValues:
    """The values that ``snapshot`` holds, to be moved on along the log."""

    __slots__ = (
        "_changed",
        "_durable_node",
        "_durable_tables",
        "_entries",
        "_erased",
        "_freed",
        "_meta",
        "_records",
        "_snapshot",
        "applier",
        "schema",
    )

    def __init__(self, snapshot: ObjectTable) -> None:
        self._snapshot = snapshot
        self._meta = read_meta(snapshot)
        self.schema = read_schema(snapshot, self._meta.next_table)
        self._durable_tables = self.schema.tables
        self._durable_node = self._meta.next_node
        self._records: dict[bytes, Record | None] = {}
        self._changed: set[bytes] = set()
        self._entries: dict[bytes, set[bytes]] = {}  # by the node of the dictionary
        self._freed: set[bytes] = set()  # keys of nodes
        self._erased: set[bytes] = set()  # prefixes of tables
        self.applier = Applier(self)

    @property
    def version(self) -> int:
        """The server version that the values are at."""
        return self._meta.version

    @property
    def held(self) -> int:
        """How many records the step holds in memory."""
        return len(self._records)

    def apply(self, version: int, changeset: Changeset) -> None:
        """Apply the log's entry ``version``, the next one. Raises BadChangeset where it is not what was checked."""
        if version != self._meta.version + 1:
            raise ValueError(f"version {version} does not follow {self._meta.version}")
        self.applier.apply_all(changeset.instructions)
        self._meta.version = version

    def changes(self) -> Commit:
        """All that was changed since the snapshot, to be made durable as a whole."""
        commit = Commit()
        tables = self.schema.tables
        for name, table in self._durable_tables.items():
            if name not in tables or tables[name].id != table.id:
                commit.objects[schema_key(table.id)] = None
        for name, table in tables.items():
            if self._durable_tables.get(name) is not table:
                commit.objects[schema_key(table.id)] = encode_row(name, encode_table(table))
        for key in sorted(self._changed):
            if key[:NODE_PREFIX_SIZE] not in self._freed and key[:_TABLE_SIZE] not in self._erased:
                record = self._records[key]
                commit.objects[key] = None if record is None else encode_record(record)
        self._meta.next_table = self.schema.next_table
        commit.objects[META_KEY] = encode_meta(self._meta)
        commit.objects_prefixes = sorted(self._erased)
        commit.objects_prefixes += sorted(
            node
            for node in self._freed
            if node[:_TABLE_SIZE] not in self._erased
            and int.from_bytes(node[_TABLE_SIZE + 1 :], "big") < self._durable_node
        )
        return commit

    # Records (stored_list.Records)

    def get(self, key: bytes) -> Record | None:
        """The record under ``key`` as it is now; None if there is none."""
        try:
            return self._records[key]
        except KeyError:
            record = self._records[key] = self._load(key)
            return record

    def put(self, key: bytes, record: Record | None) -> None:
        """Change or delete the record under ``key``."""
        self._records[key] = record
        self._changed.add(key)

    def put_entry(self, node: bytes, key: bytes, entry: Entry | None) -> None:
        self._entries.setdefault(node, set()).add(key)
        self.put(key, entry)

    def _load(self, key: bytes) -> Record | None:
        data = self._snapshot.object(key)
        return None if data is None else decode_record(data)

    # Nodes (stored_places.Nodes)

    def new_node(self, table: int, kind: int) -> Inside:
        node = self._meta.next_node
        self._meta.next_node += 1
        if kind == OBJECT:
            self.put(node_key(table, node), Fields())
        elif kind == LIST:
            self.put(node_key(table, node), ListHead())
        return Inside(kind, node)

    def free(self, table: int, value: Value) -> None:
        waiting = [value]
        while waiting:
            gone = waiting.pop()
            if isinstance(gone, Inside):
                key = node_key(table, gone.node)
                waiting.extend(self._inside(gone.kind, key))
                self._freed.add(key)

    def _inside(self, kind: int, key: bytes) -> Iterator[Inside]:
        """The nodes that stand directly in the node ``key``. What is read for this is not kept: it may be much."""
        values: Iterator[Value]
        if kind == SET:
            return
        if kind == DICTIONARY:
            values = self._entries_of(key)
        elif kind == LIST:
            values = ListTree(self, key).items(0, _Passing(self))
        else:
            record = self.get(key)
            if not isinstance(record, Fields):
                raise BrokenRecord("an embedded object's record is missing")
            values = iter(list(record.data.values()))
        for value in values:
            if isinstance(value, Inside):
                yield value

    def _entries_of(self, node: bytes) -> Iterator[Value]:
        known = self._entries.get(node, set())
        for key in known:
            record = self._records[key]
            if isinstance(record, Entry):
                yield record.value
        if int.from_bytes(node[_TABLE_SIZE + 1 :], "big") < self._durable_node:
            for key, data in all_under(self._snapshot, entries_prefix(node)):
                if key not in known:
                    record = decode_record(data)
                    if isinstance(record, Entry):
                        yield record.value

    def peek(self, key: bytes) -> Record | None:
        """As :meth:`get`, for a record that is looked at once and not changed."""
        return self._records[key] if key in self._records else self._load(key)

    # The model that the applier works on

    def find(self, table: Table, key: Key) -> StoredFields | None:
        at = object_key(table.id, key)
        record = self.get(at)
        if record is None:
            return None
        if not isinstance(record, Fields):
            raise BrokenRecord("an object's record is of another kind")
        return StoredFields(self, table.id, at, record)

    def create(self, table: Table, key: Key) -> None:
        at = object_key(table.id, key)
        if self.get(at) is None:
            self.put(at, Fields(key))
            self._count(table, 1)

    def erase(self, table: Table, key: Key) -> None:
        at = object_key(table.id, key)
        record = self.get(at)
        if isinstance(record, Fields):
            for value in record.data.values():  # those of erased columns too
                self.free(table.id, value)
            self.put(at, None)
            self._count(table, -1)

    def _count(self, table: Table, difference: int) -> None:
        self._meta.counts[table.id] = self._meta.counts.get(table.id, 0) + difference

    def table_erased(self, table: Table) -> None:
        self._meta.counts.pop(table.id, None)
        self._erased.add(table_prefix(table.id))

    def column_erased(self, table: Table, column: Column) -> None:
        """The column's number is not used again, so its values are never read; they go with their objects."""


class _Passing:
    """Records of ``values`` that are not kept in memory."""

    __slots__ = ("_values",)

    def __init__(self, values: StoredValues) -> None:
        self._values = values

    def get(self, key: bytes) -> Record | None:
        return self._values.peek(key)

    def put(self, key: bytes, record: Record | None) -> None:
        raise AssertionError("only read")
