"""The full content of a Realm in memory: the local database of the Python client, of replays and of the data browser.

Implements :class:`~realmserver.realms.places.Model` over plain dictionaries and lists (``content``), so ``apply``
decides what may happen and this module only does it (``spec/merge.md`` 8.5). Links are kept as (class, key) and whether
they show is computed on reading (``reading``): an object that comes back brings the links to it back to view.

It knows nothing of merging, of versions, or of a store; there is no undo.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from realmserver.changeset.instructions import Changeset, Instruction, Key
from realmserver.realms.apply import Applier
from realmserver.realms.content import ObjectContent
from realmserver.realms.reading import Form, JsonForm, PythonForm, View, json_text
from realmserver.realms.schema import Column, Schema, Table

_PYTHON: Final = PythonForm()
_JSON: Final = JsonForm()


class Values:
    """One Realm's content, empty at first."""

    __slots__ = ("_objects", "applier", "schema")

    def __init__(self) -> None:
        self.schema = Schema()
        self._objects: dict[int, dict[Key, ObjectContent]] = {}
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
        return self._keys(table).get(key)

    def create(self, table: Table, key: Key) -> None:
        self._objects.setdefault(table.id, {}).setdefault(key, ObjectContent())

    def erase(self, table: Table, key: Key) -> None:
        self._keys(table).pop(key, None)

    def table_erased(self, table: Table) -> None:
        self._objects.pop(table.id, None)

    def column_erased(self, table: Table, column: Column) -> None:
        # Embedded objects keep the value until they go: its number is not used again, so nothing reads it.
        for content in self._keys(table).values():
            content.data.pop(column.id, None)


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
