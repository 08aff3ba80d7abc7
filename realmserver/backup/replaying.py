"""The state of a Realm made once more from its log, to be compared with the one that is stored.

What it keeps true: the memory that it takes does not grow with the Realm. The new state stands in an LMDB environment
of its own, in a directory that the caller gives and throws away. Implements what ``spec/merge.md`` 8.5 says of
applying, by the code that the server itself applies uploads with, and values follow them.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import lmdb

from realmserver.backup.comparing import (
    Difference,
    Objects,
    Shapes,
    compare,
    same_bytes,
    shape_differences,
    value_differences,
)
from realmserver.changeset.instructions import Changeset
from realmserver.realms.fold import STEP_RECORDS
from realmserver.realms.shape import Shape
from realmserver.realms.stored import StoredValues
from realmserver.store.commit import table_key
from realmserver.store.lmdb_bystander import Bystander
from realmserver.store.lmdb_environment import Reading
from realmserver.store.lmdb_store import OBJECTS, SCHEMA, SHAPE

_STEP: Final = 20_000
"""Instructions whose changes gather in memory before they are put away."""

_LEAST_MAP: Final = 1 << 30
_MAP_FACTOR: Final = 8
"""The map of the new state: it takes no room before it is used, and the state is never larger than the log by far."""


class Replay:
    """A state that begins empty. ``directory`` is empty; ``size`` is about the size of the Realm in bytes;
    ``has_values``: whether the values are made, too, and not the shape alone."""

    def __init__(self, directory: Path, size: int, *, has_values: bool = False) -> None:
        self._env = lmdb.open(
            str(directory), map_size=max(_LEAST_MAP, size * _MAP_FACTOR), max_dbs=3, lock=False, sync=False
        )
        self._tables = {table: self._env.open_db(table.encode()) for table in (SCHEMA, SHAPE, OBJECTS)}
        self._txn = self._env.begin(write=True)
        self._shape = Shape(self._read, {})
        self._values = StoredValues(Objects(self._reading)) if has_values else None
        self._waiting = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._txn.abort()
        self._env.close()

    def apply(self, changeset: Changeset) -> None:
        """Apply the next changeset of the log. Raises BadChangeset for one that no client could apply; the state is of
        no use then."""
        self._shape.applier.apply_all(changeset.instructions)
        self._waiting += len(changeset.instructions)
        held = 0
        if self._values is not None:
            self._values.applier.apply_all(changeset.instructions)
            held = self._values.held
        if self._waiting >= _STEP or held >= STEP_RECORDS:
            self._put_away()

    def differences(self, stored: Bystander, *, by_name: bool) -> Iterator[Difference]:
        """Where the stored shape is another than this one; ``by_name`` where it came by another history. Raises
        StoreError, BrokenRecord."""
        self._put_away()
        if by_name:
            yield from shape_differences(Shapes(stored), Shapes(self._reading))
            return
        for table in (SCHEMA, SHAPE):
            with self._txn.cursor(self._tables[table]) as cursor:
                cursor.first()
                yield from compare(table, stored.each(table), iter(cursor), same_bytes)

    def value_differences(self, stored: Bystander) -> Iterator[Difference]:
        """Where the stored values are others than these. Raises StoreError, BrokenRecord."""
        self._put_away()
        yield from value_differences(Objects(stored), Objects(self._reading))

    @property
    def _reading(self) -> Reading:
        return Reading(self._txn, self._tables)

    def _read(self, key: bytes) -> bytes | None:
        return self._txn.get(key, db=self._tables[SHAPE])

    def _put_away(self) -> None:
        schema, shape, prefixes = self._shape.changes()
        for prefix in prefixes:
            self._delete(SHAPE, prefix)
        for name, row in schema.items():
            self._put(SCHEMA, table_key(name), row)
        for key, record in shape.items():
            self._put(SHAPE, key, record)
        self._shape.settle()
        if self._values is not None:
            changes = self._values.changes()
            for prefix in changes.objects_prefixes:
                self._delete(OBJECTS, prefix)
            for key, record in changes.objects.items():
                self._put(OBJECTS, key, record)
        self._txn.commit()
        self._txn = self._env.begin(write=True)
        if self._values is not None:
            self._values = StoredValues(Objects(self._reading))
        self._waiting = 0

    def _delete(self, table: str, prefix: bytes) -> None:
        with self._txn.cursor(self._tables[table]) as cursor:
            more = cursor.set_range(prefix)
            while more and cursor.key().startswith(prefix):
                more = cursor.delete()

    def _put(self, table: str, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._txn.delete(key, db=self._tables[table])
        else:
            self._txn.put(key, value, db=self._tables[table])
