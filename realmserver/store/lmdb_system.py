"""The system store on disk: one LMDB environment in ``system/`` below the data directory.

What it keeps true: a write is on the disk, synced, when it returns, or has left no trace; the environment exists as a
whole or not at all; one server at a time has it. All tables of a :class:`~realmserver.store.system.SystemStore` share
one table of LMDB, where a table's name and a zero byte stand before its keys: so who needs a new table just uses it.
``design.md`` 4.
"""

import shutil
from pathlib import Path
from typing import Final

from realmserver.store.interface import StoreError, UnknownFormat
from realmserver.store.layout import DirectoryLock, make_directories, store_error
from realmserver.store.lmdb_environment import INITIAL_MAP_SIZE, PATIENCE, Committed, Environment, Writing
from realmserver.store.system import Values, check_place, check_table, conflict

SYSTEM: Final = "system"
"""The environment's directory below the data directory."""

CREATING: Final = "system.new"
LOCK_FILE: Final = "system.lock"
WHAT: Final = "the system store"
META: Final = "meta"
DATA: Final = "data"
TABLES: Final = (META, DATA)
IDENTITY_KEY: Final = b"identity"
IDENTITY: Final = b"\x01system"
"""Format 1, and what it is, lest a Realm's directory be taken for it."""


def _key(table: str, key: bytes) -> bytes:
    return table.encode("ascii") + b"\0" + key


class LmdbSystemStore:
    """A :class:`~realmserver.store.system.SystemStore` in the data directory ``root``, which is made if missing.

    ``map_size``, ``patience`` and ``committed`` are those of
    :class:`~realmserver.store.lmdb_environment.Environment`. Raises :class:`StoreError` if another server has it,
    :class:`UnknownFormat`, ``StoreFull``.
    """

    def __init__(
        self,
        root: Path,
        *,
        map_size: int = INITIAL_MAP_SIZE,
        patience: float = PATIENCE,
        committed: Committed | None = None,
    ) -> None:
        try:
            make_directories(root)
        except OSError as error:
            raise store_error(str(root), error) from error
        self._lock = DirectoryLock(root / LOCK_FILE)
        try:
            self._environment = _open(root, map_size, patience, committed)
        except StoreError:
            self._lock.release()
            raise

    def read(self, table: str, key: bytes) -> bytes | None:
        check_place(table, key)
        with self._environment.view() as view:
            return view.get(DATA, _key(table, key))

    def items(
        self, table: str, prefix: bytes = b"", *, after: bytes = b"", limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        check_table(table)
        name = _key(table, b"")
        with self._environment.view() as view:
            found = view.items(DATA, name + prefix, after=name + after, limit=limit)
        return [(key[len(name) :], value) for key, value in found]

    def write(self, changes: Values, expected: Values | None = None) -> None:
        for place in (*changes, *(expected or ())):
            check_place(*place)

        def change(txn: Writing) -> None:
            for place, value in (expected or {}).items():
                if txn.get(DATA, _key(*place)) != value:
                    raise conflict(place)
            for place, value in changes.items():
                if value is None:
                    txn.delete(DATA, _key(*place))
                else:
                    txn.put(DATA, _key(*place), value)

        self._environment.write(change, sum(len(value) for value in changes.values() if value is not None))

    def close(self) -> None:
        self._environment.close()
        self._lock.release()


def _open(root: Path, map_size: int, patience: float, committed: Committed | None) -> Environment:
    directory = root / SYSTEM
    try:
        if (root / CREATING).exists():  # a crash has left it
            shutil.rmtree(root / CREATING)
        if not directory.exists():

            def fill(txn: Writing) -> None:
                txn.put(META, IDENTITY_KEY, IDENTITY)

            Environment.create(directory, root / CREATING, WHAT, TABLES, fill, map_size=map_size)
    except OSError as error:
        raise store_error(f"{WHAT}: {directory}", error) from error
    environment = Environment(directory, WHAT, TABLES, map_size=map_size, patience=patience, committed=committed)
    try:
        with environment.view() as view:
            identity = view.get(META, IDENTITY_KEY)
    except StoreError:
        environment.close()
        raise
    if identity != IDENTITY:
        environment.close()
        raise UnknownFormat(f"{WHAT}: {directory} is in a format that this server does not read")
    return environment
