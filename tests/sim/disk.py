"""A disk that can crash: the store in memory, with a journal of all commits of which a crash keeps a beginning.

A commit is *pending* until the thread that made it has returned, as its fsync may not have ended before; a crash loses
pending commits as a whole, or keeps them. What must be true of every commit, whatever the history, is checked as it is
written: a client file's progress never goes back, and nothing of it changes that is given once.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from attrs import Factory, define, field

from realmserver.store.interface import NOBODY_ELSE, ClientFile, Commit, Head, NoSuchRealm, Snapshot, StoreFull
from realmserver.store.memory import MemoryRealmStore, MemoryStore

from .choices import Violation


@define
class Swept(Commit):
    """What is useless is deleted, ``limit`` records of it."""

    limit: int = 0


@define
class Kept:
    """What is durable of a Realm."""

    version: int = 0
    base_version: int = 0
    last_ident: int = 1
    clients: dict[int, ClientFile] = Factory(dict)

    def take(self, commit: Commit) -> None:
        if commit.entries:
            self.version = commit.entries[-1].version
        if commit.base is not None:
            self.base_version = commit.base[0]
        if commit.last_ident is not None:
            self.last_ident = commit.last_ident
        self.clients.update(commit.clients)


@define
class Journal:
    """All commits of one Realm; the first ``durable`` of them have got through their fsync, and come to ``kept``.
    ``written_at``: when each version was written, in seconds by ``now``. ``when_folded`` hears of each squash that
    begins to count."""

    name: str
    now: Callable[[], int]
    when_folded: "Callable[[Journal, Commit], None]"
    commits: list[Commit] = Factory(list)
    durable: int = 0
    kept: Kept = Factory(Kept)
    is_open: bool = False
    written_at: dict[int, int] = Factory(dict)
    _clients: dict[int, ClientFile] = field(factory=dict)

    def write(self, commit: Commit) -> None:
        for ident, new in commit.clients.items():
            old = self._clients.get(ident)
            if old is not None:
                self._check_progress(old, new)
        self._clients.update(commit.clients)
        self.commits.append(commit)
        for entry in commit.entries:
            self.written_at[entry.version] = self.now()
        if commit.base is not None:
            self.when_folded(self, commit)

    def _check_progress(self, old: ClientFile, new: ClientFile) -> None:
        if (old.salt, old.owner) != (new.salt, new.owner):
            raise Violation(f"{self.name}: client file {old.ident} is given out a second time")
        if (
            new.client_version < old.client_version
            or new.base_version < old.base_version
            or new.locked_version < old.locked_version
        ):
            raise Violation(f"{self.name}: the progress of client file {old.ident} goes back: {old} to {new}")

    def synced(self) -> None:
        """All that was written has reached the disk."""
        for commit in self.commits[self.durable :]:
            self.kept.take(commit)
        self.durable = len(self.commits)

    def cut(self, count: int) -> None:
        """Only the first ``count`` commits are left."""
        del self.commits[count:]
        self.kept, self.durable = Kept(), 0
        self.synced()
        self._clients = dict(self.kept.clients)
        self.is_open = False


class Disk:
    """A :class:`~realmserver.store.interface.Store` that outlives the server's process.

    ``is_full``: the next commit fails for want of room. ``written`` are the journals that the running work has written
    to; whoever runs it takes them. ``now`` and ``when_folded`` are those of :class:`Journal`.
    """

    def __init__(self, now: Callable[[], int], when_folded: Callable[[Journal, Commit], None]) -> None:
        self._now = now
        self._when_folded = when_folded
        self.journals: dict[str, Journal] = {}
        self.is_full = False
        self.written: list[Journal] = []
        self._memory = MemoryStore(random_bytes=bytes)
        self._open: dict[str, MemoryRealmStore] = {}

    def crash(self, kept: dict[str, int]) -> None:
        """The process is gone; of each Realm the first ``kept`` commits are left, by its name."""
        self._memory = MemoryStore(random_bytes=bytes)
        self._open.clear()
        self.written = []
        self.is_full = False
        for name, journal in self.journals.items():
            journal.cut(kept[name])

    def kept(self, name: str) -> Kept:
        """What is durable of a Realm."""
        return self.journals[name].kept

    def open(self, name: str, *, create: bool) -> "DiskRealm":
        journal = self.journals.get(name)
        if journal is None:
            if not create:
                raise NoSuchRealm(name)
            journal = self.journals[name] = Journal(name, self._now, self._when_folded)
        realm = self._open[name] = self._load(journal)
        journal.is_open = True
        return DiskRealm(self, journal, realm)

    def _load(self, journal: Journal) -> MemoryRealmStore:
        is_known = self._memory.exists(journal.name)
        realm = self._memory.open(journal.name, create=True)
        if not is_known:
            for commit in journal.commits:
                if isinstance(commit, Swept):
                    realm.sweep(commit.limit)
                else:
                    head = realm.head()
                    realm.append(head.version, head.epoch, commit)
        return realm

    @contextmanager
    def look(self, name: str) -> Iterator[Snapshot]:
        """A Realm as it is now, whether the server has it open or not."""
        journal = self.journals[name]
        realm = self._open[name] if journal.is_open else self._load(journal)
        with realm.snapshot() as snapshot:
            yield snapshot
        if not journal.is_open:
            realm.close()

    def has_useless(self, name: str) -> bool:
        """Whether a Realm that is open, and of no more use then, holds what can be swept."""
        return self._open[name].sweep(1)

    def exists(self, name: str) -> bool:
        return name in self.journals

    def stamp(self, name: str) -> object:
        return None

    def names(self) -> list[str]:
        return sorted(self.journals)

    def close(self) -> None:
        self._memory.close()


class DiskRealm:
    """A :class:`~realmserver.store.interface.RealmStore`."""

    def __init__(self, disk: Disk, journal: Journal, realm: MemoryRealmStore) -> None:
        self._disk = disk
        self._journal = journal
        self._realm = realm

    @property
    def name(self) -> str:
        return self._realm.name

    def head(self) -> Head:
        return self._realm.head()

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        with self._realm.snapshot() as snapshot:
            yield snapshot

    def append(
        self,
        expected_version: int,
        epoch: int,
        commit: Commit,
        computing: AbstractContextManager[object] = NOBODY_ELSE,
    ) -> Head:
        self._check_room()
        head = self._realm.append(expected_version, epoch, commit, computing)
        self._write(commit)
        return head

    def sweep(self, limit: int) -> bool:
        self._check_room()
        is_more = self._realm.sweep(limit)
        self._write(Swept(limit=limit))
        return is_more

    def _check_room(self) -> None:
        if self._disk.is_full:
            self._disk.is_full = False
            raise StoreFull(f"{self.name}: no room (simulated)")

    def _write(self, commit: Commit) -> None:
        self._journal.write(commit)
        self._disk.written.append(self._journal)

    def close(self) -> None:
        self._realm.close()
        self._journal.is_open = False
