"""The seam between a Realm and its storage engine.

One engine keeps all Realms of a server (:class:`Store`); each Realm is opened alone (:class:`RealmStore`). A Realm has
one writer at a time, which calls :meth:`RealmStore.append` with everything that one batch changed; an engine makes all
of it durable in one transaction, or nothing. Reading goes through a :class:`Snapshot`, which shows one version of the
Realm whatever is appended meanwhile, and which any thread may hold.

All calls may block on a disk; none may be made on the reactor thread. ``expected_version`` and ``epoch`` fence off a
writer that has been replaced: whoever opens a Realm for writing in a cluster raises the epoch.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, NamedTuple, Protocol

from attrs import Factory, define

from realmserver.frozen import frozen

MAX_SHAPE_KEY: Final = 480
"""Bytes in a key of ``Commit.shape`` or ``Commit.objects``: LMDB takes 511, and engines may need a prefix."""

NOBODY_ELSE: Final = nullcontext()
"""Held where nobody else computes."""


class StoreError(Exception):
    """Our side failed: the engine could not do what was asked. The text names the Realm and the cause."""


class StoreFull(StoreError):
    """No room is left on the disk; the transaction has left no trace."""


class UnknownFormat(StoreError):
    """The Realm was written by another format version of this server, or is not a Realm, or is another Realm."""


class Quarantined(StoreError):
    """The Realm could not be opened as it is damaged, or not of this format, and nothing has changed since. Whoever set
    it aside has told so already."""


class NoSuchRealm(StoreError):
    """The Realm does not exist and was not to be created."""


class Conflict(StoreError):
    """``expected_version`` or ``epoch`` does not match: another writer has been here. Nothing was written."""


class LogEntry(NamedTuple):
    """One server version (``spec/protocol.md`` 5.1).

    ``version`` counts 1, 2, 3 …; ``origin`` is the file ident of the client that made the change, 0 for the server;
    ``client_version`` the version it made there; ``timestamp`` ms since 2015-01-01; ``changeset`` the transformed,
    canonical bytes, perhaps empty; ``cumulative_size`` the bytes of all changesets up to and including this one. There
    are so many of these that it counts what making one costs: a tuple takes a fifth of what a frozen class does.
    """

    version: int
    salt: int
    origin: int
    client_version: int
    timestamp: int
    changeset: bytes
    cumulative_size: int


@frozen
class ClientFile:
    """What is known of one client file.

    ``client_version`` (CV) is the last client version processed, ``base_version`` (RB) the server version the client
    had integrated by then and the start of its reciprocal history, ``locked_version`` (LV) below which it needs no
    history. ``owner`` is a user id, ``last_seen`` Unix seconds (0 = expired). ``start_version`` is the Realm's base
    version when the client began from nothing: it tells which form of the history below that it has seen.
    """

    ident: int
    salt: int
    owner: str = ""
    client_version: int = 0
    base_version: int = 0
    locked_version: int = 0
    last_seen: int = 0
    start_version: int = 0


@frozen
class Head:
    """Where a Realm stands.

    ``realm_id`` is 16 random bytes made at creation. ``version``/``salt`` are the newest server version's (0, 0 for an
    empty Realm), ``size`` its cumulative size. ``base_version``/``base_salt``: where the log begins; what was before is
    there in another form, as the entries of ``Commit.squash``. ``last_ident`` is the highest file ident ever given out
    (1 = only the server's own). ``required_protocol`` is the lowest sync protocol version whose clients can read all
    entries. ``tolerant`` is set for good by the first merge that touched a place where the merge rules have known
    faults (``spec/merge.md`` 8.6).
    """

    realm_id: bytes
    version: int = 0
    salt: int = 0
    size: int = 0
    base_version: int = 0
    base_salt: int = 0
    last_ident: int = 1
    epoch: int = 0
    required_protocol: int = 2
    tolerant: bool = False


@define
class Commit:
    """All that one batch changes in a Realm; :meth:`RealmStore.append` makes it durable as a whole.

    ``entries`` continue the log without a gap. ``clients`` are put by ident. ``reciprocal`` maps (file ident, server
    version) to a transformed changeset (b"" = transformed to nothing). ``trim`` maps a file ident to its new base: its
    reciprocal entries of versions up to and including it are dropped, before ``reciprocal`` is written. ``schema`` (by
    table name) and ``shape`` (by key, at most MAX_SHAPE_KEY bytes) are put, or deleted where the value is None; before
    that every key that begins with a prefix in ``shape_prefixes`` is deleted. ``objects`` and ``objects_prefixes`` are
    the same for the values, which may lag behind the log.

    ``squash`` maps (base version, version) to entries that can replace all those up to that base version: they lead to
    the same state, and are fewer. ``base`` (version, salt) makes the squash of that base version count: entries up to
    it are read from there, and those that the log has are to be swept. ``squash_dropped`` are base versions whose
    squash is deleted first.
    """

    entries: list[LogEntry] = Factory(list)
    clients: dict[int, ClientFile] = Factory(dict)
    reciprocal: dict[tuple[int, int], bytes] = Factory(dict)
    trim: dict[int, int] = Factory(dict)
    schema: dict[str, bytes | None] = Factory(dict)
    shape: dict[bytes, bytes | None] = Factory(dict)
    shape_prefixes: list[bytes] = Factory(list)
    objects: dict[bytes, bytes | None] = Factory(dict)
    objects_prefixes: list[bytes] = Factory(list)
    squash: dict[tuple[int, int], LogEntry] = Factory(dict)
    squash_dropped: list[int] = Factory(list)
    base: tuple[int, int] | None = None
    last_ident: int | None = None
    required_protocol: int | None = None
    tolerant: bool | None = None


class ObjectTable(Protocol):
    """The values of one Realm at one version of theirs. Calls raise :class:`StoreError` where the engine fails."""

    def object(self, key: bytes) -> bytes | None:
        """What was put under ``key`` of ``Commit.objects``."""

    def objects(self, prefix: bytes, *, after: bytes = b"", limit: int) -> Sequence[tuple[bytes, bytes]]:
        """What was put under the first ``limit`` keys, in order, that begin with ``prefix`` and are greater than
        ``after``."""


class Snapshot(ObjectTable, Protocol):
    """One Realm at one version. Calls raise :class:`StoreError` where the engine fails."""

    @property
    def head(self) -> Head: ...

    def entry(self, version: int) -> LogEntry:
        """The log entry of ``version``; KeyError if the log does not hold it."""

    def entries(self, first: int, last: int) -> Iterator[LogEntry]:
        """The log entries of versions ``first`` to ``last``, both included, in order; up to the base version there
        may be gaps, which mean nothing."""

    def client(self, ident: int) -> ClientFile | None:
        """The client file ``ident``, or None if it was never allocated."""

    def clients(self) -> Iterator[ClientFile]:
        """All client files in the order of their idents."""

    def reciprocal(self, ident: int, version: int) -> bytes | None:
        """The transformed changeset of ``version`` for client file ``ident``; None = as in the log."""

    def schema(self) -> Mapping[str, bytes]:
        """All tables, by name."""

    def shape(self, key: bytes) -> bytes | None:
        """What was put under ``key``."""


class RealmStore(Protocol):
    """One open Realm."""

    @property
    def name(self) -> str: ...

    def head(self) -> Head:
        """The head as of the last commit."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """A view of the newest version; leave the context before the Realm is closed, and soon: an append that needs
        room may have to wait for snapshots of older versions."""

    def append(
        self,
        expected_version: int,
        epoch: int,
        commit: Commit,
        computing: AbstractContextManager[object] = NOBODY_ELSE,
    ) -> Head:
        """Make ``commit`` durable (with fsync, where the engine has a disk) and return the new head. ``computing`` is
        held while it is put together, not while the disk is waited for.

        Raises :class:`Conflict` if the Realm does not stand at ``expected_version`` and ``epoch``, :class:`StoreFull`
        if there is no room, ValueError if ``entries`` would leave a gap in the versions.
        """

    def sweep(self, limit: int) -> bool:
        """Delete, in one transaction, about ``limit`` records at most that the base version has made useless: entries
        of the log and of earlier squashes, and reciprocal history of clients that have not begun at it. Returns
        whether there are more."""

    def close(self) -> None:
        """Give the Realm's resources back. No snapshot may be open. What was swept may give its room back when the
        Realm is opened next."""


class Store(Protocol):
    """All Realms of one server. Realm names are virtual paths (``realms.paths``)."""

    def open(self, name: str, *, create: bool) -> RealmStore:
        """Open a Realm; at most once at a time. Raises NoSuchRealm, UnknownFormat, StoreFull."""

    def exists(self, name: str) -> bool: ...

    def stamp(self, name: str) -> object:
        """Compares equal as long as nobody has changed the files of a Realm that is not open; None where there are
        none."""

    def names(self) -> Sequence[str]:
        """The names of all Realms, sorted."""

    def close(self) -> None: ...
