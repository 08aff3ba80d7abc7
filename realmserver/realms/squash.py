"""The shortest history that leads to a Realm's stored values: what a client that begins from nothing downloads.

First the classes and columns, then each object with its values, in windows of bounded size; a window never names what
an earlier one, or it itself, has not made. Links may lead to objects that come later or never: clients keep them
(``spec/merge.md`` 8.5, "Links"). The instructions are those that a client would write that makes the same content.

A squash is written in steps; :class:`Squash` is where it stands between two of them, kept in the table of values in the
same transaction. The values may not move on before it is whole.
"""

from collections.abc import Iterator
from typing import Final

from attrs import evolve, frozen

from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    COLLECTION_SINGLE,
    TYPE_BINARY,
    TYPE_DICTIONARY,
    TYPE_GLOBAL_KEY,
    TYPE_LIST,
    TYPE_NULL,
    TYPE_OBJECT_VALUE,
    TYPE_STRING,
    AddColumn,
    AddTable,
    ArrayInsert,
    Changeset,
    CreateObject,
    Instruction,
    Key,
    PathElement,
    Payload,
    SetInsert,
    Update,
)
from realmserver.realms.content import default_of
from realmserver.realms.packing import BrokenRecord, Unpacker, put_uint
from realmserver.realms.places import DICTIONARY, LIST, OBJECT
from realmserver.realms.schema import Column, Schema, Table
from realmserver.realms.stored import all_under, read_meta, read_schema
from realmserver.realms.stored_list import ListTree
from realmserver.realms.stored_reading import StoredRecords
from realmserver.realms.stored_records import (
    SET,
    Entry,
    Fields,
    Inside,
    Value,
    decode_record,
    entries_prefix,
    node_key,
    objects_prefix,
    size_of,
)
from realmserver.store.interface import Commit, LogEntry, ObjectTable, Snapshot

SQUASH_KEY: Final = bytes(4) + b"\x02"
"""Where the squash that is under way stands, in the table of values."""

WINDOW_INSTRUCTIONS: Final = 4_000
"""Instructions in one entry: a client applies an entry as a whole."""

WINDOW_BYTES: Final = 64 * 1024
"""Bytes of values in one entry, about."""

STEP_OBJECTS: Final = 500
"""Objects in one step: some 30 ms of a thread. One large object may take longer: it is written as a whole."""

_FORMAT: Final = 0x26
_PAYLOADS: Final = {OBJECT: TYPE_OBJECT_VALUE, LIST: TYPE_LIST, DICTIONARY: TYPE_DICTIONARY}


@frozen
class Squash:
    """``base``: the version it leads to. ``timestamp``: the origin timestamp of its entries, ms since 2015.
    ``entries``: how many it has so far, ``size`` their bytes. ``table``: the number of the class that it is at,
    ``after``: the store's key of the last object written. ``taken``: Unix seconds when it was whole, 0 before."""

    base: int
    timestamp: int
    entries: int = 0
    size: int = 0
    table: int = 0
    after: bytes = b""
    taken: int = 0


def read_squash(snapshot: Snapshot) -> Squash | None:
    """The squash that is under way or waits to count; None if there is none."""
    data = snapshot.object(SQUASH_KEY)
    if data is None:
        return None
    packed = Unpacker(data, _FORMAT)
    base, timestamp, entries, size, table, taken = (packed.uint() for _ in range(6))
    return Squash(base, timestamp, entries, size, table, packed.rest(), taken)


def encode_squash(squash: Squash) -> bytes:
    """What :func:`read_squash` reads."""
    out = bytearray((_FORMAT,))
    for number in (squash.base, squash.timestamp, squash.entries, squash.size, squash.table, squash.taken):
        put_uint(out, number)
    return bytes(out) + squash.after


def squash_step(snapshot: Snapshot, squash: Squash, now: int) -> tuple[Commit, bool] | None:
    """The next step of ``squash``: what to make durable, and whether it is whole then, and ``taken`` at ``now``, Unix
    seconds.

    None where it would need more entries than the history that it replaces: nothing is gained then.
    """
    meta = read_meta(snapshot)
    if meta.version != squash.base:
        raise BrokenRecord(f"the values are at version {meta.version}, the squash at {squash.base}")
    schema = read_schema(snapshot, meta.next_table)
    writer = _Windows(squash)
    if squash.entries == 0:
        for instruction in schema_instructions(schema):
            writer.add(instruction)
        writer.cut()
    tables = sorted((table for table in schema.tables.values() if not table.embedded), key=lambda table: table.id)
    objects = ObjectWriter(snapshot, schema)
    left = STEP_OBJECTS
    at, after = squash.table, squash.after
    is_whole = True
    for table in tables:
        if table.id < at:
            continue
        if table.id > at:
            at, after = table.id, b""
        for key, data in all_under(snapshot, objects_prefix(table.id), after):
            if left == 0:
                is_whole = False
                break
            for instruction in objects.instructions(table, data):
                writer.add(instruction)
            after = key
            left -= 1
        if not is_whole:
            break
    writer.cut()
    if writer.squash.entries > squash.base:
        return None
    done = evolve(writer.squash, table=at, after=after, taken=max(now, 1) if is_whole else 0)
    return Commit(squash=writer.made, objects={SQUASH_KEY: encode_squash(done)}), is_whole


class _Windows:
    """Gathers instructions into entries of a squash, which stands at :attr:`squash` then."""

    def __init__(self, squash: Squash) -> None:
        self.squash = squash
        self.made: dict[tuple[int, int], LogEntry] = {}
        self._waiting: list[Instruction] = []
        self._bytes = 0

    def add(self, instruction: Instruction) -> None:
        self._waiting.append(instruction)
        if isinstance(instruction, Update | ArrayInsert | SetInsert):
            payload = instruction.payload
            self._bytes += size_of(None if payload.value is None else (payload.type, payload.value))
        if len(self._waiting) >= WINDOW_INSTRUCTIONS or self._bytes >= WINDOW_BYTES:
            self.cut()

    def cut(self) -> None:
        """End the entry, if there is anything in it."""
        if not self._waiting:
            return
        data = encode(Changeset(self._waiting))
        before = self.squash
        self.squash = evolve(before, entries=before.entries + 1, size=before.size + len(data))
        version = self.squash.entries
        entry = LogEntry(version, 0, 0, 0, before.timestamp, data, self.squash.size)
        self.made[before.base, version] = entry
        self._waiting = []
        self._bytes = 0


def schema_instructions(schema: Schema) -> Iterator[Instruction]:
    """What makes all classes and columns; classes first, since columns link to them."""
    tables = sorted(schema.tables.values(), key=lambda table: table.id)
    for table in tables:
        if table.pk is not None:
            yield AddTable(table.name, table.kind, table.pk.name, table.pk.type, table.pk.nullable)
        else:
            yield AddTable(table.name, table.kind, "", TYPE_GLOBAL_KEY, False)
    for table in tables:
        for column in table.columns.values():
            if not column.primary:
                yield AddColumn(table.name, column.name, column.type, column.nullable, column.collection, column.target)


class ObjectWriter:
    """Makes the instructions of objects in ``snapshot``. Raises BrokenRecord for what is not a record."""

    def __init__(self, snapshot: ObjectTable, schema: Schema) -> None:
        self._snapshot = snapshot
        self._records = StoredRecords(snapshot)
        self._schema = schema

    def instructions(self, table: Table, data: bytes) -> Iterator[Instruction]:
        """What makes the object whose record is ``data``."""
        record = decode_record(data)
        if not isinstance(record, Fields) or record.key is None:
            raise BrokenRecord("an object's record is of another kind")
        yield CreateObject(table.name, record.key)
        for column in table.columns.values():
            if column.id in record.data:
                place = _Place(table.name, record.key, column.name, [], table.id)
                yield from self._property(place, column, record.data[column.id])

    def _property(self, place: "_Place", column: Column, value: Value) -> Iterator[Instruction]:
        if column.collection == COLLECTION_SINGLE:
            if value != default_of(column):
                yield Update(*place.where, _payload(value))
                yield from self._inside(place, column, value)
        elif isinstance(value, Inside):
            yield from self._elements(place, column, value)

    def _inside(self, place: "_Place", column: Column, value: Value) -> Iterator[Instruction]:
        """What fills the container that ``place`` has just been given, if ``value`` is one."""
        if not isinstance(value, Inside):
            return
        if value.kind != OBJECT:
            yield from self._elements(place, column, value)
            return
        record = self._records.get(node_key(place.table_id, value.node))
        if not isinstance(record, Fields):
            raise BrokenRecord("an embedded object's record is missing")
        for below in self._schema.target(column).columns.values():
            if below.id in record.data:
                yield from self._property(place.below(below.name), below, record.data[below.id])

    def _elements(self, place: "_Place", column: Column, value: Inside) -> Iterator[Instruction]:
        node = node_key(place.table_id, value.node)
        if value.kind == LIST:
            for index, element in enumerate(ListTree(self._records, node).items(0)):
                slot = place.below(index)
                yield ArrayInsert(*slot.where, _payload(element), index)
                yield from self._inside(slot, column, element)
            return
        for _, data in all_under(self._snapshot, entries_prefix(node)):
            entry = decode_record(data)
            if not isinstance(entry, Entry):
                raise BrokenRecord("an entry of a collection is of another kind")
            if value.kind == SET:
                yield SetInsert(*place.where, _payload(entry.value))
            else:
                below = place.below(entry.key)
                yield Update(*below.where, _payload(entry.value))
                yield from self._inside(below, column, entry.value)


@frozen
class _Place:
    """A place in an object: its class, key, property and path; ``table_id`` is the class's number."""

    table: str
    key: Key
    field: str
    path: list[PathElement]
    table_id: int

    @property
    def where(self) -> tuple[str, Key, str, list[PathElement]]:
        return self.table, self.key, self.field, self.path

    def below(self, at: PathElement) -> "_Place":
        return evolve(self, path=[*self.path, at])


def _payload(value: Value) -> Payload:
    if value is None:
        return Payload(TYPE_NULL)
    if isinstance(value, Inside):
        return Payload(_PAYLOADS[value.kind])
    kind, content = value
    return Payload(kind, content, 0 if kind in (TYPE_STRING, TYPE_BINARY) else -1)
