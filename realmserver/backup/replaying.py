"""The state of a Realm made once more from its log, to be compared with the one that is stored.

What it keeps true: the memory that it takes does not grow with the Realm. The new state stands in an LMDB environment
of its own, in a directory that the caller gives and throws away. Implements what ``spec/merge.md`` 8.5 says of
applying, by the code that the server itself applies uploads with.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import lmdb

from realmserver.changeset.instructions import Changeset
from realmserver.realms.shape import Shape
from realmserver.store.commit import table_key
from realmserver.store.lmdb_bystander import Bystander
from realmserver.store.lmdb_store import SCHEMA, SHAPE

_STEP: Final = 20_000
"""Instructions whose changes gather in memory before they are put away."""

_LEAST_MAP: Final = 1 << 30
_MAP_FACTOR: Final = 8
"""The map of the new state: it takes no room before it is used, and the state is never larger than the log by far."""

Difference = tuple[str, bytes, str]
"""Table, key, and what differs."""


class Replay:
    """A state that begins empty. ``directory`` is empty; ``size`` is about the size of the Realm in bytes."""

    def __init__(self, directory: Path, size: int) -> None:
        self._env = lmdb.open(
            str(directory), map_size=max(_LEAST_MAP, size * _MAP_FACTOR), max_dbs=2, lock=False, sync=False
        )
        self._tables = {table: self._env.open_db(table.encode()) for table in (SCHEMA, SHAPE)}
        self._txn = self._env.begin(write=True)
        self._shape = Shape(self._read, {})
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
        if self._waiting >= _STEP:
            self._put_away()

    def differences(self, stored: Bystander) -> Iterator[Difference]:
        """Where the stored state is another than this one. Raises StoreError."""
        self._put_away()
        for table in (SCHEMA, SHAPE):
            with self._txn.cursor(self._tables[table]) as cursor:
                cursor.first()
                ours = iter(cursor)
                yield from _compare(table, stored.each(table), ours)

    def _read(self, key: bytes) -> bytes | None:
        return self._txn.get(key, db=self._tables[SHAPE])

    def _put_away(self) -> None:
        schema, shape, prefixes = self._shape.changes()
        for prefix in prefixes:
            self._delete(prefix)
        for name, row in schema.items():
            self._put(SCHEMA, table_key(name), row)
        for key, record in shape.items():
            self._put(SHAPE, key, record)
        self._shape.settle()
        self._txn.commit()
        self._txn = self._env.begin(write=True)
        self._waiting = 0

    def _delete(self, prefix: bytes) -> None:
        with self._txn.cursor(self._tables[SHAPE]) as cursor:
            more = cursor.set_range(prefix)
            while more and cursor.key().startswith(prefix):
                more = cursor.delete()

    def _put(self, table: str, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._txn.delete(key, db=self._tables[table])
        else:
            self._txn.put(key, value, db=self._tables[table])


def _compare(
    table: str, stored: Iterator[tuple[bytes, bytes]], replayed: Iterator[tuple[bytes, bytes]]
) -> Iterator[Difference]:
    """Walk through both, which are in the order of their keys."""
    left, right = next(stored, None), next(replayed, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left[0] < right[0]):
            assert left is not None
            yield table, left[0], "it is stored, but does not follow from the log"
            left = next(stored, None)
        elif left is None or right[0] < left[0]:
            yield table, right[0], "it follows from the log, but is not stored"
            right = next(replayed, None)
        else:
            if left[1] != right[1]:
                yield table, left[0], "it is stored otherwise than follows from the log"
            left, right = next(stored, None), next(replayed, None)
