"""A store without a disk, for tests and the simulator: the same contract as every engine, kept in dictionaries.

What was appended survives closing and opening a Realm, as long as the :class:`MemoryStore` itself lives. A snapshot
costs nothing: the next commit copies what it changes if a snapshot is open, and changes it in place if none is.
"""

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice, takewhile
from typing import Final, TypeVar

from attrs import Factory, define, evolve

from realmserver.store.commit import checked_head
from realmserver.store.interface import NOBODY_ELSE, ClientFile, Commit, Head, LogEntry, NoSuchRealm, StoreError
from realmserver.store.layout import check_name

REALM_ID_BYTES: Final = 16

Key = TypeVar("Key", str, bytes)

BeforeCommit = Callable[[str, Commit], None]
"""Called with the Realm's name and the commit before anything is written; what it raises, ``append`` raises."""


@define
class _State:
    """One state of a Realm. ``log`` may be longer than ``head.version``: it is shared with later states."""

    head: Head
    log: list[LogEntry | None] = Factory(list)
    clients: dict[int, ClientFile] = Factory(dict)
    reciprocal: dict[int, dict[int, bytes]] = Factory(dict)
    schema: dict[str, bytes] = Factory(dict)
    shape: dict[bytes, bytes] = Factory(dict)
    objects: dict[bytes, bytes] = Factory(dict)
    squash: dict[int, dict[int, LogEntry]] = Factory(dict)
    order: list[bytes] | None = None
    """The keys of ``objects`` in order; None where they have changed since someone asked."""

    def copy_for(self, commit: Commit) -> "_State":
        """A state that ``commit`` may change without changing this one."""
        reciprocal = dict(self.reciprocal)
        for ident in {*commit.trim, *(ident for ident, _ in commit.reciprocal)}:
            if ident in reciprocal:
                reciprocal[ident] = dict(reciprocal[ident])
        return evolve(
            self,
            clients=dict(self.clients) if commit.clients else self.clients,
            reciprocal=reciprocal,
            schema=dict(self.schema) if commit.schema else self.schema,
            shape=dict(self.shape) if commit.shape or commit.shape_prefixes else self.shape,
            squash={base: dict(entries) for base, entries in self.squash.items()},
            objects=dict(self.objects) if commit.objects or commit.objects_prefixes else self.objects,
        )

    def apply(self, commit: Commit, head: Head) -> None:
        self.head = head
        self.log.extend(commit.entries)
        self.clients.update(commit.clients)
        for ident, base in commit.trim.items():
            kept = {version: data for version, data in self.reciprocal.get(ident, {}).items() if version > base}
            self.reciprocal[ident] = kept
        for (ident, version), changeset in commit.reciprocal.items():
            self.reciprocal.setdefault(ident, {})[version] = changeset
        _delete_prefixes(self.shape, commit.shape_prefixes)
        _delete_prefixes(self.objects, commit.objects_prefixes)
        _put_all(self.schema, commit.schema)
        _put_all(self.shape, commit.shape)
        for base in commit.squash_dropped:
            self.squash.pop(base, None)
        for (base, version), entry in commit.squash.items():
            self.squash.setdefault(base, {})[version] = entry
        if commit.objects or commit.objects_prefixes:
            _put_all(self.objects, commit.objects)
            self.order = None

    def swept(self, limit: int) -> tuple["_State", int]:
        """This state without at most ``limit`` records that the base version has made useless, and how many."""
        base = self.head.base_version
        log = list(self.log)
        useless: list[tuple[int, int]] = [(0, at) for at, entry in enumerate(log[:base]) if entry is not None]
        useless += [(1, each) for each, entries in self.squash.items() if each < base for _ in entries]
        reciprocal = {ident: dict(versions) for ident, versions in self.reciprocal.items()}
        for ident, versions in self.reciprocal.items():
            client = self.clients.get(ident)
            if client is None or client.start_version != base:
                useless += [(2 + ident, version) for version in versions if version <= base]
        squash = {each: dict(entries) for each, entries in self.squash.items()}
        for kind, at in useless[:limit]:
            if kind == 0:
                log[at] = None
            elif kind == 1:
                squash[at].popitem()
            else:
                del reciprocal[kind - 2][at]
        return evolve(self, log=log, squash=squash, reciprocal=reciprocal), min(len(useless), limit)

    def ordered(self) -> list[bytes]:
        if self.order is None:
            self.order = sorted(self.objects)
        return self.order


def _delete_prefixes(target: dict[bytes, bytes], prefixes: list[bytes]) -> None:
    for prefix in prefixes:
        for key in [key for key in target if key.startswith(prefix)]:
            del target[key]


def _put_all(target: dict[Key, bytes], changes: Mapping[Key, bytes | None]) -> None:
    for key, value in changes.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = value


class MemorySnapshot:
    """A :class:`~realmserver.store.interface.Snapshot` of one state."""

    def __init__(self, name: str, state: _State) -> None:
        self._name = name
        self._state: _State | None = state

    def close(self) -> None:
        self._state = None

    def _open_state(self) -> _State:
        if self._state is None:
            raise StoreError(f"{self._name}: this snapshot is closed")
        return self._state

    @property
    def head(self) -> Head:
        return self._open_state().head

    def entry(self, version: int) -> LogEntry:
        state = self._open_state()
        if not 1 <= version <= state.head.version:
            raise KeyError(version)
        if version <= state.head.base_version:
            return state.squash[state.head.base_version][version]
        entry = state.log[version - 1]
        assert entry is not None
        return entry

    def entries(self, first: int, last: int) -> Iterator[LogEntry]:
        if first < 1:
            raise KeyError(first)
        base = self.head.base_version
        squash = self._open_state().squash.get(base, {})
        yield from (squash[version] for version in sorted(squash) if first <= version <= last)
        for version in range(max(first, base + 1), last + 1):
            yield self.entry(version)

    def client(self, ident: int) -> ClientFile | None:
        return self._open_state().clients.get(ident)

    def clients(self) -> Iterator[ClientFile]:
        clients = self._open_state().clients
        return iter([clients[ident] for ident in sorted(clients)])

    def reciprocal(self, ident: int, version: int) -> bytes | None:
        return self._open_state().reciprocal.get(ident, {}).get(version)

    def schema(self) -> Mapping[str, bytes]:
        return dict(self._open_state().schema)

    def shape(self, key: bytes) -> bytes | None:
        return self._open_state().shape.get(key)

    def object(self, key: bytes) -> bytes | None:
        return self._open_state().objects.get(key)

    def objects(self, prefix: bytes, *, after: bytes = b"", limit: int) -> Sequence[tuple[bytes, bytes]]:
        state = self._open_state()
        order = state.ordered()
        first = bisect_right(order, after) if after >= prefix else bisect_left(order, prefix)
        found = takewhile(lambda key: key.startswith(prefix), islice(order, first, first + max(limit, 0)))
        return [(key, state.objects[key]) for key in found]


class MemoryRealmStore:
    """A :class:`~realmserver.store.interface.RealmStore` over one state at a time."""

    def __init__(self, store: "MemoryStore", name: str, state: _State) -> None:
        self._store = store
        self._name = name
        self._state = state
        self._lock = threading.Lock()
        self._snapshots = 0
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    def head(self) -> Head:
        with self._lock:
            self._check_open()
            return self._state.head

    @contextmanager
    def snapshot(self) -> Iterator[MemorySnapshot]:
        with self._lock:
            self._check_open()
            # The log is shared with later states, so the snapshot needs a head of its own.
            snapshot = MemorySnapshot(self._name, evolve(self._state))
            self._snapshots += 1
        try:
            yield snapshot
        finally:
            snapshot.close()
            with self._lock:
                self._snapshots -= 1

    def append(
        self,
        expected_version: int,
        epoch: int,
        commit: Commit,
        computing: AbstractContextManager[object] = NOBODY_ELSE,
    ) -> Head:
        with computing, self._lock:
            self._check_open()
            head = checked_head(self._name, self._state.head, expected_version, epoch, commit)
            if self._store.before_commit is not None:
                self._store.before_commit(self._name, commit)
            if self._snapshots:
                self._state = self._state.copy_for(commit)
            self._state.apply(commit, head)
            return head

    def sweep(self, limit: int) -> bool:
        with self._lock:
            self._check_open()
            self._state, deleted = self._state.swept(limit)
            return deleted >= limit

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            if self._snapshots:
                raise StoreError(f"{self._name}: {self._snapshots} snapshots are open; the Realm cannot be closed")
            self._closed = True
        self._store.closed(self._name, self._state)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self._name}: the Realm is closed")


class MemoryStore:
    """A :class:`~realmserver.store.interface.Store` in memory.

    ``random_bytes`` makes Realm ids. ``before_commit`` may be set at any time, to let commits fail in a test.
    """

    def __init__(self, *, random_bytes: Callable[[int], bytes], before_commit: BeforeCommit | None = None) -> None:
        self.before_commit = before_commit
        self._random_bytes = random_bytes
        self._lock = threading.Lock()
        self._states: dict[str, _State] = {}
        self._open: dict[str, MemoryRealmStore] = {}

    def open(self, name: str, *, create: bool) -> MemoryRealmStore:
        check_name(name)
        with self._lock:
            if name in self._open:
                raise StoreError(f"{name}: the Realm is open already")
            state = self._states.get(name)
            if state is None:
                if not create:
                    raise NoSuchRealm(f"{name}: there is no such Realm")
                state = self._states[name] = _State(Head(realm_id=self._random_bytes(REALM_ID_BYTES)))
            realm = self._open[name] = MemoryRealmStore(self, name, state)
            return realm

    def closed(self, name: str, state: _State) -> None:
        """Called by a Realm that was closed, with the state it leaves."""
        with self._lock:
            self._states[name] = state
            del self._open[name]

    def exists(self, name: str) -> bool:
        check_name(name)
        with self._lock:
            return name in self._states

    def stamp(self, name: str) -> object:
        with self._lock:
            return self._states[name].head if name in self._states else None

    def names(self) -> Sequence[str]:
        with self._lock:
            return sorted(self._states)

    def close(self) -> None:
        with self._lock:
            realms = list(self._open.values())
        for realm in realms:
            realm.close()
