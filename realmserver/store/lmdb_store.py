"""The store on disk: one LMDB environment per Realm, in a tree that mirrors virtual paths.

What it keeps true: a commit is on the disk, synced, when ``append`` returns, or has left no trace; a Realm exists as a
whole or not at all; what is opened is the Realm that was asked for, in a format this server writes; one server at a
time uses a data directory. It knows nothing of merging, sessions or the meaning of a changeset. Implements
``design.md`` 4 for what ``spec/protocol.md`` 5 and ``spec/merge.md`` 8.1 want stored.
"""

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from realmserver.store import records
from realmserver.store.commit import checked_head, table_key
from realmserver.store.interface import (
    NOBODY_ELSE,
    ClientFile,
    Commit,
    Head,
    LogEntry,
    NoSuchRealm,
    StoreError,
    UnknownFormat,
)
from realmserver.store.layout import (
    USER_DATA,
    DirectoryLock,
    make_directories,
    realm_directory,
    realms_below,
    store_error,
)
from realmserver.store.lmdb_environment import (
    DATA_FILE,
    INITIAL_MAP_SIZE,
    PATIENCE,
    Committed,
    Environment,
    Reading,
    View,
    Writing,
)

META: Final = "meta"
LOG: Final = "log"
CLIENTS: Final = "clients"
RECIPROCAL: Final = "reciprocal"
SCHEMA: Final = "schema"
SHAPE: Final = "shape"
OBJECTS: Final = "objects"
SQUASH: Final = "squash"
TABLES: Final = (META, LOG, CLIENTS, RECIPROCAL, SCHEMA, SHAPE, OBJECTS, SQUASH)
LATER_TABLES: Final = (OBJECTS, SQUASH)
"""Tables that Realms made by an earlier version lack: they are added, empty, when such a Realm is opened. What they
hold is made from the log, and a server that does not know them leaves them alone, so the format is the same."""

IDENTITY_KEY: Final = b"identity"
HEAD_KEY: Final = b"head"

LOCK_FILE: Final = "server.lock"
CREATING: Final = "creating"
"""Below the data directory: Realms that are being made. What is left there after a crash is thrown away."""

_Value = TypeVar("_Value")


class LmdbSnapshot:
    """A :class:`~realmserver.store.interface.Snapshot` over a view of the Realm's environment."""

    def __init__(self, name: str, realm_id: bytes, view: View) -> None:
        self._name = name
        self._view = view
        self._head = _read_head(name, realm_id, view)

    @property
    def head(self) -> Head:
        return self._head

    def entry(self, version: int) -> LogEntry:
        base = self._head.base_version
        if 0 < version <= base:
            data = self._view.get(SQUASH, records.squash_key(base, version))
        else:
            data = self._view.get(LOG, records.number_key(version)) if 0 < version <= self._head.version else None
        if data is None:
            raise KeyError(version)
        return _decoded(self._name, partial(records.unpack_entry, data, version))

    def entries(self, first: int, last: int) -> Iterator[LogEntry]:
        if first < 1:
            raise KeyError(first)
        base = self._head.base_version
        after = first - 1
        while after < min(last, base):
            key = records.squash_key(base, after)
            found = self._view.items(SQUASH, key[: len(key) // 2], after=key, limit=1)
            if not found:
                break
            after = records.pair_of(found[0][0])[1]
            if after <= last:
                yield _decoded(self._name, partial(records.unpack_entry, found[0][1], after))
        for version in range(max(first, base + 1), last + 1):
            yield self.entry(version)

    def client(self, ident: int) -> ClientFile | None:
        data = self._view.get(CLIENTS, records.number_key(ident))
        return None if data is None else _decoded(self._name, partial(records.unpack_client, data, ident))

    def clients(self) -> Iterator[ClientFile]:
        for key, data in self._view.items(CLIENTS):
            yield _decoded(self._name, partial(records.unpack_client, data, int.from_bytes(key, "big")))

    def reciprocal(self, ident: int, version: int) -> bytes | None:
        data = self._view.get(RECIPROCAL, records.reciprocal_key(ident, version))
        return None if data is None else _decoded(self._name, partial(records.unpack_reciprocal, data))

    def schema(self) -> Mapping[str, bytes]:
        return {key.decode("utf-8", "surrogateescape"): value for key, value in self._view.items(SCHEMA)}

    def shape(self, key: bytes) -> bytes | None:
        return self._view.get(SHAPE, key)

    def object(self, key: bytes) -> bytes | None:
        return self._view.get(OBJECTS, key)

    def objects(self, prefix: bytes, *, after: bytes = b"", limit: int) -> Sequence[tuple[bytes, bytes]]:
        return self._view.items(OBJECTS, prefix, after=after, limit=limit)


class LmdbRealmStore:
    """A :class:`~realmserver.store.interface.RealmStore` in one environment."""

    def __init__(self, name: str, environment: Environment, closed: Callable[["LmdbRealmStore"], None]) -> None:
        self._name = name
        self._environment = environment
        self._when_closed = closed
        with environment.view() as view:
            self._realm_id = _read_identity(name, environment.directory, view)
            self._head: Head | None = _read_head(name, self._realm_id, view)  # None: only the disk knows

    @property
    def name(self) -> str:
        return self._name

    @property
    def realm_id(self) -> bytes:
        return self._realm_id

    def head(self) -> Head:
        head = self._head
        if head is not None:
            return head
        with self.snapshot() as snapshot:
            return snapshot.head  # not kept: an append may be under way that knows a newer one

    @contextmanager
    def snapshot(self) -> Iterator[LmdbSnapshot]:
        with self._environment.view() as view:
            yield LmdbSnapshot(self._name, self._realm_id, view)

    def append(
        self,
        expected_version: int,
        epoch: int,
        commit: Commit,
        computing: AbstractContextManager[object] = NOBODY_ELSE,
    ) -> Head:
        def change(txn: Writing) -> Head:
            with computing:
                head = _read_head(self._name, self._realm_id, txn)
                head = checked_head(self._name, head, expected_version, epoch, commit)
                _write(txn, commit)
                txn.put(META, HEAD_KEY, records.pack_head(head))
                return head

        self._head = None  # and so it stays after an error
        self._head = head = self._environment.write(change, _size(commit))
        return head

    def sweep(self, limit: int) -> bool:
        def change(txn: Writing) -> int:
            return _sweep(self._name, txn, _read_head(self._name, self._realm_id, txn).base_version, limit)

        return self._environment.write(change, 0) >= limit

    def close(self) -> None:
        self._environment.close()
        self._when_closed(self)


class LmdbStore:
    """A :class:`~realmserver.store.interface.Store` in the data directory ``root``, which is made if missing.

    ``random_bytes`` gives the bytes of Realm ids; ``map_size``, ``patience`` and ``committed`` are those of
    :class:`~realmserver.store.lmdb_environment.Environment`; ``exchanged`` hears of the directory of a Realm whose file
    has been exchanged for a smaller one, and of the bytes that this gave back to the disk. Raises :class:`StoreError`
    if another server uses the directory. ``is_guest``: the process that has started this one has seen to that
    (:func:`claim`), and to it that no two of its processes open one Realm.
    """

    def __init__(
        self,
        root: Path,
        *,
        random_bytes: Callable[[int], bytes],
        map_size: int = INITIAL_MAP_SIZE,
        patience: float = PATIENCE,
        committed: Committed | None = None,
        exchanged: Callable[[Path, int], None] = lambda directory, given_back: None,
        is_guest: bool = False,
    ) -> None:
        self._committed = committed
        self._exchanged = exchanged
        self._root = root
        self._random_bytes = random_bytes
        self._map_size = map_size
        self._patience = patience
        self._mutex = threading.Lock()
        self._open: dict[str, LmdbRealmStore | None] = {}  # None while it is being opened
        self._is_closed = False
        self._lock = None if is_guest else claim(root)

    def open(self, name: str, *, create: bool) -> LmdbRealmStore:
        directory = realm_directory(self._root, name)
        with self._mutex:
            if self._is_closed:
                raise StoreError(f"{name}: the store is closed")
            if name in self._open:
                raise StoreError(f"{name}: the Realm is open already")
            self._open[name] = None
        realm: LmdbRealmStore | None = None
        try:
            if not directory.exists():
                if not create:
                    raise NoSuchRealm(f"{name}: there is no such Realm")
                self._create(name, directory)
            realm = self._open_realm(name, directory)
        except OSError as error:
            raise store_error(f"{name}: {directory}", error) from error
        finally:
            with self._mutex:
                if realm is None:
                    del self._open[name]
                else:
                    self._open[name] = realm
        return realm

    def exists(self, name: str) -> bool:
        return (realm_directory(self._root, name) / DATA_FILE).is_file()

    def stamp(self, name: str) -> object:
        try:
            found = (realm_directory(self._root, name) / DATA_FILE).stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def names(self) -> Sequence[str]:
        return sorted(name for name, directory in realms_below(self._root) if (directory / DATA_FILE).is_file())

    def close(self) -> None:
        with self._mutex:
            self._is_closed = True
            realms = [realm for realm in self._open.values() if realm is not None]
        for realm in realms:
            realm.close()
        if self._lock is not None:
            self._lock.release()

    def _open_realm(self, name: str, directory: Path) -> LmdbRealmStore:
        environment = Environment(
            directory,
            name,
            TABLES,
            later_tables=LATER_TABLES,
            map_size=self._map_size,
            patience=self._patience,
            committed=self._committed,
        )
        try:
            realm = LmdbRealmStore(name, environment, self._closed)
        except StoreError:
            environment.close()
            raise
        given_back = environment.shrink(self._root / CREATING / f"{realm.realm_id.hex()}.shrunk")
        if given_back is not None:
            self._exchanged(directory, given_back)
            return self._open_realm(name, directory)
        return realm

    def _create(self, name: str, directory: Path) -> None:
        """Make the empty Realm beside the tree and move it into its place: it appears there as a whole."""
        realm_id = self._random_bytes(records.REALM_ID_BYTES)

        def fill(txn: Writing) -> None:
            txn.put(META, IDENTITY_KEY, records.pack_identity(realm_id, name))
            txn.put(META, HEAD_KEY, records.pack_head(Head(realm_id)))

        workplace = self._root / CREATING / realm_id.hex()
        Environment.create(directory, workplace, name, TABLES, fill, map_size=self._map_size)

    def _closed(self, realm: LmdbRealmStore) -> None:
        with self._mutex:
            if self._open.get(realm.name) is realm:  # else it was closed before, and perhaps opened anew
                del self._open[realm.name]


def claim(root: Path, wait: Callable[[], bool] = lambda: False) -> DirectoryLock:
    """Make the data directory ``root`` this server's, and ready for Realms: made if missing, and rid of what a crash
    has left. ``wait`` is that of :class:`DirectoryLock`. Raises :class:`StoreError` if another server uses it."""
    try:
        make_directories(root)
        lock = DirectoryLock(root / LOCK_FILE, wait)
    except OSError as error:
        raise store_error(str(root), error) from error
    try:
        make_directories(root / USER_DATA)
        make_directories(root / CREATING)
        for leftover in (root / CREATING).iterdir():
            shutil.rmtree(leftover)
    except OSError as error:
        lock.release()
        raise store_error(str(root), error) from error
    return lock


def _size(commit: Commit) -> int:
    """About the number of bytes that ``commit`` puts."""
    return (
        sum(len(entry.changeset) for entry in commit.entries)
        + sum(len(entry.changeset) for entry in commit.squash.values())
        + sum(map(len, commit.reciprocal.values()))
        + sum(len(value) for value in commit.schema.values() if value is not None)
        + sum(len(key) + len(value) for key, value in commit.shape.items() if value is not None)
        + sum(len(key) + len(value) for key, value in commit.objects.items() if value is not None)
    )


def _write(txn: Writing, commit: Commit) -> None:
    if commit.entries:
        rows = ((records.number_key(entry.version), records.pack_entry(entry)) for entry in commit.entries)
        txn.put_all(LOG, rows, last=True)
    for ident, client in commit.clients.items():
        txn.put(CLIENTS, records.number_key(ident), records.pack_client(client))
    for ident, base in commit.trim.items():
        last = records.reciprocal_key(ident, base)
        txn.delete_range(RECIPROCAL, records.reciprocal_key(ident, 0), last.__ge__)
    for (ident, version), changeset in commit.reciprocal.items():
        txn.put(RECIPROCAL, records.reciprocal_key(ident, version), records.pack_reciprocal(changeset))
    for prefix in commit.shape_prefixes:
        txn.delete_prefix(SHAPE, prefix)
    for prefix in commit.objects_prefixes:
        txn.delete_prefix(OBJECTS, prefix)
    _put_all(txn, SCHEMA, {table_key(table): value for table, value in commit.schema.items()})
    _put_all(txn, SHAPE, commit.shape)
    _put_all(txn, OBJECTS, commit.objects)
    for base in commit.squash_dropped:
        txn.delete_prefix(SQUASH, records.number_key(base))
    for (base, version), entry in commit.squash.items():
        txn.put(SQUASH, records.squash_key(base, version), records.pack_entry(entry))


def _sweep(name: str, txn: Writing, base: int, limit: int) -> int:
    """Delete at most ``limit`` records that the base version has made useless; how many."""
    deleted = txn.delete_range(LOG, b"", records.number_key(base).__ge__, limit)
    deleted += txn.delete_range(SQUASH, b"", records.number_key(base).__gt__, limit - deleted)
    first = b""
    while deleted < limit:
        found = txn.items(RECIPROCAL, after=first, limit=1)
        if not found:
            break
        ident = records.pair_of(found[0][0])[0]
        data = txn.get(CLIENTS, records.number_key(ident))
        client = None if data is None else _decoded(name, partial(records.unpack_client, data, ident))
        if client is None or client.start_version != base:
            last = records.reciprocal_key(ident, base)
            deleted += txn.delete_range(RECIPROCAL, found[0][0], last.__ge__, limit - deleted)
        first = records.reciprocal_key(ident, 2**64 - 1)
    return deleted


def _put_all(txn: Writing, table: str, changes: Mapping[bytes, bytes | None]) -> None:
    if not changes:
        return
    txn.put_all(table, ((key, value) for key, value in changes.items() if value is not None))
    for key, value in changes.items():
        if value is None:
            txn.delete(table, key)


def _read_identity(name: str, directory: Path, view: View) -> bytes:
    """The Realm id, if the Realm in ``directory`` is ``name`` and of this format: a file system may take "/A" for
    "/a", and people move files."""
    data = view.get(META, IDENTITY_KEY)
    try:
        realm_id, found = records.unpack_identity(data or b"")
    except records.BadRecord as error:
        raise UnknownFormat(f"{name}: {directory}: {error}") from error
    if found != name:
        raise UnknownFormat(f"{name}: {directory} holds another Realm, {found}")
    return realm_id


def _read_head(name: str, realm_id: bytes, reading: Reading | View) -> Head:
    data = reading.get(META, HEAD_KEY)
    try:
        return records.unpack_head(data or b"", realm_id)
    except records.BadRecord as error:
        raise UnknownFormat(f"{name}: {error}") from error


def _decoded(name: str, unpack: Callable[[], _Value]) -> _Value:
    try:
        return unpack()
    except records.BadRecord as error:
        raise UnknownFormat(f"{name}: the file is damaged: {error}") from error
