"""Reads a Realm's stored values: objects by class and key, a page at a time, and large collections in parts.

All of one :class:`StoredReader` is as of one version, which may be behind the log's (``fold``). What is read looks as
:mod:`~realmserver.realms.reading` makes it look. The memory it takes is that of the page, however large the Realm or a
collection is. A class or property that does not exist is a KeyError; damage to the store a BrokenRecord.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from attrs import frozen

from realmserver.changeset.instructions import COLLECTION_DICTIONARY, Key, PathElement
from realmserver.realms.content import DictionaryContent, ListContent, ObjectContent, SetContent
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.places import DICTIONARY, LIST, OBJECT
from realmserver.realms.reading import Form, JsonForm, PythonForm, View, json_text
from realmserver.realms.schema import Column, Schema, Table
from realmserver.realms.stored import all_under, read_meta, read_schema
from realmserver.realms.stored_list import ListTree
from realmserver.realms.stored_records import (
    Entry,
    Fields,
    Inside,
    Record,
    Value,
    decode_record,
    entries_prefix,
    entry_key,
    node_key,
    object_key,
    objects_prefix,
)
from realmserver.store.interface import ObjectTable, Snapshot

PYTHON: Final = PythonForm()
JSON: Final = JsonForm()

WHOLE: Final = 1 << 62
"""More elements than any object has."""


@frozen
class Row:
    """One object. ``properties`` are by name; ``is_whole`` is False where a collection has more elements than shown."""

    key: Key
    properties: dict[str, object]
    is_whole: bool


@frozen
class Elements:
    """A part of one collection. ``items`` is a list, or a dict for a dictionary; ``after`` is where the next part
    begins, None at the end."""

    items: object
    after: bytes | None


class StoredReader:
    """The values in ``snapshot``, in ``form``."""

    def __init__(self, snapshot: Snapshot, form: Form = PYTHON) -> None:
        self._snapshot = snapshot
        self._meta = read_meta(snapshot)
        self._schema = read_schema(snapshot, self._meta.next_table)
        self._form = form
        self._view = View(self._schema, self.exists, form)
        self._left = 0

    @property
    def version(self) -> int:
        """The server version that all of it is at."""
        return self._meta.version

    @property
    def schema(self) -> Schema:
        """The classes and columns at that version."""
        return self._schema

    def classes(self) -> list[str]:
        """The names of the classes that can have objects of their own (not the embedded ones), sorted."""
        return sorted(name for name, table in self._schema.tables.items() if not table.embedded)

    def count(self, class_name: str) -> int:
        """How many objects a class has."""
        return self._meta.counts.get(self._schema.tables[class_name].id, 0)

    def exists(self, class_name: str, key: Key) -> bool:
        """Whether there is such an object (and class)."""
        table = self._schema.tables.get(class_name)
        return table is not None and self._snapshot.object(object_key(table.id, key)) is not None

    def get(self, class_name: str, key: Key, *, most: int = WHOLE) -> Row | None:
        """One object, with at most ``most`` elements of its collections; None if there is no such object."""
        table = self._schema.tables[class_name]
        record = self._record(object_key(table.id, key))
        return None if record is None else self._row(table, record, most)

    def objects(self, class_name: str, after_key: Key | None = None, *, limit: int, most: int = WHOLE) -> Iterator[Row]:
        """The first ``limit`` objects of a class whose keys come after ``after_key``, which need not exist. Each has at
        most ``most`` elements of its collections."""
        table = self._schema.tables[class_name]
        after = b"" if after_key is None else object_key(table.id, after_key)
        found = all_under(self._snapshot, objects_prefix(table.id), after)
        for _, data in islice(found, limit):
            yield self._row(table, decode_record(data), most)

    def elements(
        self, class_name: str, key: Key, path: Sequence[PathElement], *, after: bytes = b"", limit: int
    ) -> Elements:
        """At most ``limit`` elements of the list, dictionary or set to which ``path`` leads: a property's name, then
        what a changeset's path would have (``spec/changeset.md`` 4.4). Links that nobody sees are left out but count.

        Raises KeyError where there is no such collection.
        """
        table, column, value = self._follow(class_name, key, path)
        if value is None:
            return Elements({} if column.collection == COLLECTION_DICTIONARY else [], None)
        found, last = self._part(node_key(table.id, value.node), value.kind, after, limit)
        self._left = WHOLE
        shown = [
            (entry.key, self._view.value(column, self._content(table.id, entry.value)))
            for entry in found
            if column.mixed or value.kind == DICTIONARY or not self._view.is_hidden(entry.value)
        ]
        return Elements(dict(shown) if value.kind == DICTIONARY else [each for _, each in shown], last)

    def state(self) -> dict[str, list[list[object]]]:
        """Everything, as :meth:`values.Values.state` gives it: for tests, in the memory that it takes."""
        reader = StoredReader(self._snapshot, JSON)
        state: dict[str, list[list[object]]] = {}
        for name in self.classes():
            rows: list[list[object]] = [
                [JSON.key(row.key), row.properties] for row in reader.objects(name, limit=WHOLE)
            ]
            state[name] = sorted(rows, key=lambda row: json_text(row[0]))
        return state

    # From records to content

    def _record(self, key: bytes) -> Record | None:
        data = self._snapshot.object(key)
        return None if data is None else decode_record(data)

    def _row(self, table: Table, record: Record, most: int) -> Row:
        if not isinstance(record, Fields) or record.key is None:
            raise BrokenRecord("an object's record is of another kind")
        self._left = most
        live = {column.id for column in table.columns.values()}
        content = ObjectContent()
        content.data = {
            column: self._content(table.id, value) for column, value in record.data.items() if column in live
        }
        return Row(record.key, self._view.read(table, record.key, content), self._left >= 0)

    def _content(self, table: int, value: Value) -> object:
        """What a place holds, with at most as many elements as are left."""
        if not isinstance(value, Inside):
            return value
        node = node_key(table, value.node)
        if value.kind == OBJECT:
            fields = self._record(node)
            if not isinstance(fields, Fields):
                raise BrokenRecord("an embedded object's record is missing")
            content = ObjectContent()
            content.data = {column: self._content(table, each) for column, each in fields.data.items()}
            return content
        found = [(entry, self._content(table, entry.value)) for entry in self._elements(node, value.kind)]
        if value.kind == LIST:
            elements = ListContent()
            elements.data = [each for _, each in found]
            return elements
        if value.kind == DICTIONARY:
            entries = DictionaryContent()
            entries.data = {entry.key: each for entry, each in found}
            return entries
        members = SetContent()
        for entry, _ in found:
            if not isinstance(entry.value, Inside):
                members.insert(entry.value)
        return members

    def _elements(self, node: bytes, kind: int) -> Iterator[Entry]:
        """The elements of a collection, as many as are left; one more than that is noted."""
        for entry in self._all(node, kind):
            self._left -= 1
            if self._left < 0:
                return
            yield entry

    def _all(self, node: bytes, kind: int) -> Iterator[Entry]:
        if kind == LIST:
            for value in ListTree(StoredRecords(self._snapshot), node).items(0):
                yield Entry("", value)
        else:
            for _, data in all_under(self._snapshot, entries_prefix(node)):
                yield _entry(data)

    # Parts of collections

    def _part(self, node: bytes, kind: int, after: bytes, limit: int) -> tuple[list[Entry], bytes | None]:
        """The elements of a collection from ``after`` on, and where the next part begins."""
        if kind == LIST:
            first = int.from_bytes(after, "big")
            tree = ListTree(StoredRecords(self._snapshot), node)
            found = [Entry("", value) for value in islice(tree.items(first), limit)]
            end = first + len(found)
            return found, None if end >= tree.size() else end.to_bytes(8, "big")
        prefix = entries_prefix(node)
        rows = self._snapshot.objects(prefix, after=prefix + after if after else b"", limit=limit + 1)
        last = rows[limit - 1][0][len(prefix) :] if len(rows) > limit else None
        return [_entry(data) for _, data in rows[:limit]], last

    def _follow(self, class_name: str, key: Key, path: Sequence[PathElement]) -> tuple[Table, Column, Inside | None]:
        """The collection at the end of ``path``: the top class, the column it is in, and its node if it has one."""
        top = owner = self._schema.tables[class_name]
        record = self._record(object_key(top.id, key))
        if not isinstance(record, Fields):
            raise KeyError(key)
        column, value = _property(owner, record, path[0])
        for at in path[1:]:
            if not isinstance(value, Inside):
                raise KeyError(at)
            node = node_key(top.id, value.node)
            if value.kind == OBJECT:
                owner = self._schema.target(column)
                column, value = _property(owner, self._record(node), at)
            else:
                value = self._element(node, value.kind, at)
        if value is None and column.collection:
            return top, column, None
        if not isinstance(value, Inside) or value.kind == OBJECT:
            raise KeyError(path[-1])
        return top, column, value

    def _element(self, node: bytes, kind: int, at: PathElement) -> Value:
        if kind == LIST and isinstance(at, int):
            tree = ListTree(StoredRecords(self._snapshot), node)
            if 0 <= at < tree.size():
                return tree.get(at)
        elif kind == DICTIONARY and isinstance(at, str):
            entry = self._record(entry_key(node, at))
            if isinstance(entry, Entry):
                return entry.value
        raise KeyError(at)


class StoredRecords:
    """The records of a snapshot, each decoded when it is asked for (``stored_list.Records``, to read)."""

    def __init__(self, snapshot: ObjectTable) -> None:
        self._snapshot = snapshot

    def get(self, key: bytes) -> Record | None:
        data = self._snapshot.object(key)
        return None if data is None else decode_record(data)

    def put(self, key: bytes, record: Record | None) -> None:
        raise AssertionError("only read")


def _entry(data: bytes) -> Entry:
    record = decode_record(data)
    if not isinstance(record, Entry):
        raise BrokenRecord("an entry of a collection is of another kind")
    return record


def _property(table: Table, record: Record | None, name: PathElement) -> tuple[Column, Value]:
    if not isinstance(name, str) or not isinstance(record, Fields):
        raise KeyError(name)
    column = table.columns[name]
    return column, record.data.get(column.id)
