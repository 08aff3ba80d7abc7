"""The full content of a Realm in memory: the local database of the Python client, of replays and of the data browser.

Implements :class:`~realmserver.realms.places.Model` over plain dictionaries and lists (``content``), so ``apply``
decides what may happen and this module only does it (``spec/merge.md`` 8.5). Links are kept as (class, key) and whether
they show is computed on reading (``reading``): an object that comes back brings the links to it back to view.

It knows nothing of merging, of versions, or of a store. Between :meth:`Values.begin` and :meth:`Values.keep` or
:meth:`Values.undo` it remembers what was there, by copying each object when it is first touched.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from realmserver.changeset.instructions import Changeset, Instruction, Key
from realmserver.realms.apply import Applier
from realmserver.realms.content import DictionaryContent, ListContent, ObjectContent, SetContent
from realmserver.realms.reading import Form, JsonForm, PythonForm, View, json_text
from realmserver.realms.schema import Column, Schema, Table

_PYTHON: Final = PythonForm()
_JSON: Final = JsonForm()


class Values:
    """One Realm's content, empty at first."""

    __slots__ = ("_before", "_objects", "applier", "schema")

    def __init__(self) -> None:
        self.schema = Schema()
        self._objects: dict[int, dict[Key, ObjectContent]] = {}
        self._before: _Before | None = None
        self.applier = Applier(self)

    # Writing

    def apply(self, changeset: Changeset) -> None:
        """Apply all live instructions of ``changeset``.

        Raises BadChangeset at the first that cannot be applied; those before it have been.
        """
        self.applier.apply_all(changeset.instructions)

    def apply_tolerantly(self, changeset: Changeset) -> list[Instruction]:
        """As :meth:`apply`, but leave out the instructions that ``apply.may_drop`` allows to (``spec/merge.md`` 8.6).

        For a history that was merged elsewhere. Returns what was left out; raises BadChangeset for anything else.
        """
        return self.applier.apply_tolerantly(changeset.instructions)

    # Taking back

    def begin(self) -> None:
        """Remember from here on what :meth:`undo` needs. ValueError if that is so already."""
        if self._before is not None:
            raise ValueError("a transaction has begun already")
        self._before = _Before(self.schema)

    def keep(self) -> None:
        """What was done since :meth:`begin` stays."""
        self._before = None

    def undo(self) -> None:
        """Put back all that was there at :meth:`begin`: objects, classes and columns. ValueError without one."""
        before, self._before = self._before, None
        if before is None:
            raise ValueError("no transaction has begun")
        self.schema.tables, self.schema.next_table = before.tables, before.next_table
        self._objects.update(before.erased_tables)
        for (table_id, key), content in before.objects.items():
            if content is None:
                self._objects.get(table_id, {}).pop(key, None)
            else:
                self._objects.setdefault(table_id, {})[key] = content

    # Reading

    def classes(self) -> list[str]:
        """The names of the classes that can have objects of their own (not the embedded ones), sorted."""
        return sorted(name for name, table in self.schema.tables.items() if not table.embedded)

    def objects(self, class_name: str) -> Mapping[Key, Mapping[str, object]]:
        """All objects of a class: a live, read-only mapping from key to properties. KeyError if there is no class."""
        return _Objects(self, self._table(class_name))

    def get(self, class_name: str, key: Key) -> dict[str, object] | None:
        """The properties of an object by name, in the types of :class:`reading.PythonForm`; None if there is no such
        object, KeyError if there is no such class."""
        return self._read(self._table(class_name), key, _PYTHON)

    def state(self) -> dict[str, list[list[object]]]:
        """Everything as JSON: ``{class: [[key, {property: value}], ...]}``, sorted by the key's JSON text.

        Embedded objects are inline, and null or hidden links as a client shows them (:class:`reading.JsonForm`).
        """
        state: dict[str, list[list[object]]] = {}
        for name in self.classes():
            table = self.schema.tables[name]
            rows: list[list[object]] = [[_JSON.key(key), self._read(table, key, _JSON)] for key in self._keys(table)]
            state[name] = sorted(rows, key=lambda row: json_text(row[0]))
        return state

    def exists(self, class_name: str, key: Key) -> bool:
        """Whether there is such an object (and class)."""
        table = self.schema.tables.get(class_name)
        return table is not None and key in self._keys(table)

    def _table(self, class_name: str) -> Table:
        return self.schema.tables[class_name]

    def _keys(self, table: Table) -> dict[Key, ObjectContent]:
        return self._objects.get(table.id, {})

    def _read(self, table: Table, key: Key, form: Form) -> dict[str, object] | None:
        content = self._keys(table).get(key)
        return None if content is None else View(self.schema, self.exists, form).read(table, key, content)

    # The model that the applier works on

    def find(self, table: Table, key: Key) -> ObjectContent | None:
        content = self._keys(table).get(key)
        if self._before is not None:
            self._before.touch(table, key, content)
        return content

    def create(self, table: Table, key: Key) -> None:
        objects = self._objects.setdefault(table.id, {})
        if self._before is not None:
            self._before.touch(table, key, objects.get(key))
        objects.setdefault(key, ObjectContent())

    def erase(self, table: Table, key: Key) -> None:
        content = self._keys(table).pop(key, None)
        if self._before is not None:
            self._before.touch(table, key, content)

    def table_erased(self, table: Table) -> None:
        objects = self._objects.pop(table.id, None)
        if self._before is not None and objects is not None:
            self._before.erased_tables[table.id] = objects

    def column_erased(self, table: Table, column: Column) -> None:
        # Embedded objects keep the value until they go: its number is not used again, so nothing reads it.
        for key, content in self._keys(table).items():
            if self._before is not None:
                self._before.touch(table, key, content)
            content.data.pop(column.id, None)


class _Before:
    """What a Realm held when a transaction began, as far as the transaction touched it since."""

    __slots__ = ("erased_tables", "next_table", "objects", "tables")

    def __init__(self, schema: Schema) -> None:
        self.tables = schema.tables
        self.next_table = schema.next_table
        self.objects: dict[tuple[int, Key], ObjectContent | None] = {}
        self.erased_tables: dict[int, dict[Key, ObjectContent]] = {}

    def touch(self, table: Table, key: Key, content: ObjectContent | None) -> None:
        """Note, before it is changed, what the object was like; only its first state counts."""
        place = (table.id, key)
        if place not in self.objects:
            self.objects[place] = None if content is None else _copy_object(content)


def _copy_object(content: ObjectContent) -> ObjectContent:
    copy = ObjectContent()
    copy.data = {column: _copy(value) for column, value in content.data.items()}
    return copy


def _copy(value: object) -> object:
    """``value`` of a place, with all that it contains."""
    if isinstance(value, ObjectContent):
        return _copy_object(value)
    if isinstance(value, ListContent):
        elements = ListContent()
        elements.data = [_copy(each) for each in value.data]
        return elements
    if isinstance(value, DictionaryContent):
        entries = DictionaryContent()
        entries.data = {key: _copy(each) for key, each in value.data.items()}
        return entries
    if isinstance(value, SetContent):
        members = SetContent()
        members.data = dict(value.data)
        return members
    return value


class _Objects(Mapping[Key, Mapping[str, object]]):
    """The objects of one class; see :meth:`Values.objects`."""

    __slots__ = ("_table", "_values")

    def __init__(self, values: Values, table: Table) -> None:
        self._values = values
        self._table = table

    def __getitem__(self, key: Key) -> Mapping[str, object]:
        found = self._values._read(self._table, key, _PYTHON)
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[Key]:
        return iter(self._values._keys(self._table))

    def __len__(self) -> int:
        return len(self._values._keys(self._table))
