"""One open Realm: what may be asked of it, against its store.

All methods may block on a disk. Those that write (:meth:`Realm.allocate`, :meth:`Realm.integrate`) and
:meth:`Realm.identify` are called by one thread at a time; :meth:`Realm.download` reads a snapshot and may run beside
them. :meth:`Realm.identify_at_hand` looks at memory only, and may run beside :meth:`Realm.allocate_all`.
``realms.live`` keeps that order.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol, TypeVar

from attrs import evolve, frozen

from realmserver.realms.fold import fold
from realmserver.realms.history import SERVER_FILE_IDENT, History
from realmserver.realms.integrate import Batch, expired
from realmserver.realms.observer import Observer, Unobserved
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.requests import (
    BadClientFileIdent,
    BadClientVersion,
    BadServerVersion,
    ClientFileExpired,
    DivergingHistories,
    Download,
    DownloadCursor,
    DownloadEntry,
    Identified,
    Identify,
    ProtocolTooOld,
    RealmError,
    SaltedVersion,
    Upload,
    UploadCursor,
    UploadDone,
    UserMismatch,
)
from realmserver.realms.retention import SWEEP_RECORDS, give_up, next_step, read_last
from realmserver.realms.shape import Shape
from realmserver.realms.squash import Squash, read_squash, squash_step
from realmserver.realms.stored_reading import StoredReader
from realmserver.store.interface import NOBODY_ELSE, ClientFile, Commit, Head, LogEntry, RealmStore, Snapshot

DOWNLOAD_SIZE: Final = 1024 * 1024
"""Bytes of changesets after which one DOWNLOAD ends and the next begins: large Realms travel in windows. A window must
get through a slow line in less than the 120 s that a client waits for the PONG behind it (K25)."""

MAX_SALT: Final = (1 << 63) - 1

MAX_AT_HAND: Final = 256
"""Client files of a Realm that are kept in memory, those that were written or asked for last: who has been given one
comes back with it in the next moment. About 200 bytes each."""

T = TypeVar("T")


class BrokenValues(Exception):
    """The stored values are not what was written. They are made from the log, which need not be concerned."""


@contextmanager
def _of_values() -> Iterator[None]:
    try:
        yield
    except BrokenRecord as error:
        raise BrokenValues(str(error)) from error


class Environment(Protocol):
    """What a Realm needs from outside: randomness, time, and a log."""

    def random_salt(self) -> int:
        """Uniform in 1 .. MAX_SALT."""

    def now(self) -> int:
        """Unix seconds."""

    def warn(self, realm: str, text: str) -> None:
        """Tell the operator."""


@frozen
class Integration:
    """How a batch of uploads ended: an answer for each, in their order; the entries made; the head after them."""

    answers: tuple[UploadDone | RealmError, ...]
    entries: tuple[LogEntry, ...]
    head: Head


class Realm:
    """A Realm that is open in ``store``."""

    def __init__(
        self, store: RealmStore, environment: Environment, history_ttl: int = 0, observer: Observer | None = None
    ) -> None:
        """``history_ttl``: seconds that history is kept at least, 0 = for ever (``retention``). ``observer`` hears of
        its folding."""
        self._store = store
        self._observer = observer or Unobserved()
        self._environment = environment
        self._history_ttl = history_ttl
        self._not_worth = 0  # a log of this size or less is not worth a squash
        self._at_hand: dict[int, ClientFile] = {}  # as they are on the disk; the one kept for longest first
        self._is_swept = False
        self._has_begun_anew = False
        self.wants_reopening = False
        """Whether the store has room to give back when it is opened next."""
        self._salt = environment.random_salt()
        self._load()

    def _load(self) -> None:
        """Begin with what is durable and nothing else: when the Realm is opened, and after a batch failed."""
        self._is_loaded = False
        self._at_hand.clear()
        self._snapshot: Snapshot | None = None
        self._head = self._store.head()
        self._history = History(self._head.version)
        with self._store.snapshot() as snapshot:
            self._shape = Shape(self._read_shape, snapshot.schema())
        self._is_loaded = True

    def _load_again(self) -> None:
        """Where a batch failed and so did reading what is durable: try again before anything else is done."""
        if not self._is_loaded:
            self._load()

    @property
    def name(self) -> str:
        return self._store.name

    @property
    def head(self) -> Head:
        """Where the Realm stood after the last commit made here."""
        return self._head

    def close(self) -> None:
        self._store.close()

    def allocate(self, owner: str) -> ClientFile:
        """A new client file of user ``owner``, durable when this returns (``spec/protocol.md`` 5.2)."""
        return self.allocate_all([owner])[0]

    def allocate_all(self, owners: Sequence[str]) -> list[ClientFile]:
        """A new client file for each of ``owners``, in one durable transaction."""
        self._load_again()
        files = [
            ClientFile(
                ident=ident,
                salt=self._environment.random_salt(),
                owner=owner,
                last_seen=self._environment.now(),
                start_version=self._head.base_version,
            )
            for ident, owner in enumerate(owners, self._head.last_ident + 1)
        ]
        self._append(Commit(clients={each.ident: each for each in files}, last_ident=files[-1].ident))
        return files

    def identify(self, request: Identify, owner: str, protocol: int) -> Identified:
        """Check the IDENT of a client file of user ``owner`` (``spec/protocol.md`` 3.4; the order counts).

        Raises a :class:`RealmError`.
        """
        self._load_again()
        with self._store.snapshot() as snapshot:
            client = snapshot.client(request.ident)
            begins = self._check_ident(request, owner, protocol, client, lambda each: self._salt_of(each, snapshot))
        assert client is not None
        if begins:
            client = evolve(client, start_version=self._head.base_version)
            self._append(Commit(clients={client.ident: client}))
        self._keep_at_hand([client])
        return self._identified(client)

    def identify_at_hand(self, request: Identify, owner: str, protocol: int) -> Identified | None:
        """The same where all is in memory and nothing is wrong; None: :meth:`identify` has to look. Does not block."""
        client = self._at_hand.get(request.ident)
        if client is None:
            return None
        try:
            begins = self._check_ident(request, owner, protocol, client, self._salt_at_hand)
        except RealmError:
            return None
        return None if begins else self._identified(client)

    def _identified(self, client: ClientFile) -> Identified:
        upload = UploadCursor(client.client_version, client.base_version)
        return Identified(upload, client.locked_version, self._head.version)

    def _check_ident(
        self,
        request: Identify,
        owner: str,
        protocol: int,
        known: ClientFile | None,
        salt_of: Callable[[int], int | None],
    ) -> bool:
        """Check an IDENT against what is ``known`` of its client file. Returns what :meth:`_check_start` does."""
        head = self._head
        client = self._check_client_file(request, known)
        cursor = request.download
        if cursor.server_version < client.base_version:
            raise BadServerVersion(
                f"the client stands at server version {cursor.server_version}, before {client.base_version}"
            )
        if client.last_seen == 0:
            raise ClientFileExpired(f"client file {client.ident} has expired")
        begins = self._check_start(client, cursor, head)
        if cursor.server_version > head.version:
            raise BadServerVersion(f"the client stands at server version {cursor.server_version}, after {head.version}")
        if cursor.client_version > client.client_version:
            raise BadClientVersion(
                f"the client's version {cursor.client_version} is not here, only up to {client.client_version}"
            )
        if request.latest.version < cursor.server_version:
            raise BadServerVersion(
                f"the client stands at server version {cursor.server_version}, "
                f"but has heard of none after {request.latest.version}"
            )
        if request.latest.salt != salt_of(request.latest.version):
            raise DivergingHistories(f"server version {request.latest.version} has another salt here")
        if client.owner != owner:
            raise UserMismatch(f"client file {client.ident} belongs to another user")
        if protocol < head.required_protocol:
            raise ProtocolTooOld(
                f"this Realm holds data that needs sync protocol {head.required_protocol}, the client speaks {protocol}"
            )
        return begins

    def _check_client_file(self, request: Identify, client: ClientFile | None) -> ClientFile:
        if request.latest.version > self._head.version:
            raise BadServerVersion(
                f"the client knows of server version {request.latest.version}, the last here is {self._head.version}"
            )
        if client is None and request.ident != SERVER_FILE_IDENT:
            raise BadClientFileIdent(f"client file {request.ident} was never given out")
        if client is None or client.salt != request.salt:
            raise DivergingHistories(f"client file {request.ident} has another salt here")
        return client

    def _check_start(self, client: ClientFile, cursor: DownloadCursor, head: Head) -> bool:
        """Check that the client can go on from where it stands: with the log, with the squash below it if it began
        there, or from nothing if it has nothing. Returns whether it begins from nothing, with the squash, now."""
        if cursor.server_version >= head.base_version or client.start_version == head.base_version:
            return False
        if cursor.server_version or client.client_version or client.base_version:
            raise expired(client.ident, head)
        return True

    def _salt_at_hand(self, version: int) -> int | None:
        """The salt of a version if it is in memory."""
        if version == 0:
            return 0
        return self._head.salt if version == self._head.version else None

    def _salt_of(self, version: int, snapshot: Snapshot) -> int | None:
        """The salt of a version; None for one that no client can have heard of last: only others stood there."""
        head = snapshot.head
        if version == 0:
            return 0
        if version < head.base_version:
            return None
        if version == head.version:
            return head.salt
        return head.base_salt if version == head.base_version else snapshot.entry(version).salt

    def client_version(self, ident: int, salt: int) -> int:
        """The last client version of a file that is here; 0 for a file that is not (``spec/protocol.md`` 3.10)."""
        with self._store.snapshot() as snapshot:
            client = snapshot.client(ident)
        return client.client_version if client is not None and client.salt == salt else 0

    def integrate(
        self, uploads: Sequence[Upload], computing: AbstractContextManager[object] = NOBODY_ELSE
    ) -> Integration:
        """Integrate ``uploads`` in one durable transaction; ``computing`` is held but for the time that
        the disk takes.

        A bad upload is answered with its error and leaves no trace; so does every later one of the same client file in
        the batch. Whatever else is raised (StoreError where nothing could be made durable, BrokenRecord), all is as
        before, or read again before the next use.
        """
        self._load_again()
        is_done = False
        try:
            with computing, self._store.snapshot() as self._snapshot:
                batch = Batch(
                    self._history,
                    self._shape,
                    self._snapshot,
                    salt=self._salt,
                    now=self._environment.now(),
                    mended=self._mended,
                )
                answers = tuple(_integrate_each(batch, uploads))
                commit = batch.commit
                commit.schema, commit.shape, commit.shape_prefixes = self._shape.changes()
            self._snapshot = None
            if commit.clients:
                self._append(commit, computing)
                with computing:
                    self._shape.settle()
            is_done = True
        finally:
            if not is_done:
                self._load()
        return Integration(answers, tuple(commit.entries), self._head)

    def _append(self, commit: Commit, computing: AbstractContextManager[object] = NOBODY_ELSE) -> None:
        for ident in commit.clients:
            self._at_hand.pop(ident, None)
        self._head = self._store.append(self._head.version, self._head.epoch, commit, computing)
        self._keep_at_hand(commit.clients.values())

    def _keep_at_hand(self, clients: Iterable[ClientFile]) -> None:
        for client in clients:
            self._at_hand[client.ident] = client
        while len(self._at_hand) > MAX_AT_HAND:
            del self._at_hand[next(iter(self._at_hand))]

    def _read_shape(self, key: bytes) -> bytes | None:
        if self._snapshot is None:
            with self._store.snapshot() as snapshot:
                return snapshot.shape(key)
        return self._snapshot.shape(key)

    def _mended(self, ident: int, text: str) -> None:
        self._environment.warn(self.name, f"in a changeset of client file {ident} that no client could apply: {text}")

    @_of_values()
    def fold(self) -> bool:
        """Move the stored values along the log by one small step (``fold``). Returns whether there is more to do.

        A squash that is being written comes first, since it is of the values as they are.
        """
        self._load_again()
        with self._store.snapshot() as snapshot:
            squash = read_squash(snapshot)
            is_squash = squash is not None and not squash.taken
            if squash is not None and is_squash:
                commit, is_whole = self._squash(snapshot, squash)
            else:
                step = fold(snapshot)
                if step is None:
                    return False
                commit, is_whole = step
        self._append(commit)
        if is_squash and is_whole:
            self._observer.squashed()
        return is_squash or not is_whole

    def _squash(self, snapshot: Snapshot, squash: Squash) -> tuple[Commit, bool]:
        step = squash_step(snapshot, squash, self._environment.now())
        if step is None:
            self._not_worth = 2 * self._head.size
            return give_up(squash), False
        return step

    @_of_values()
    def tidy(self) -> bool:
        """One small step of what is done in idle time: history older than its time is folded, for which the values
        have to follow the log, and what that has made useless is deleted. Returns whether there is more to do now.

        Where all history is kept, nobody needs the values before they are read, and following would double the work.
        """
        if not (self._history_ttl or self._head.base_version):
            return False
        if self.fold():
            return True
        if self._history_ttl and self._head.size > self._not_worth:
            with self._store.snapshot() as snapshot:
                commit = next_step(snapshot, self._history_ttl, self._environment.now(), self._salt)
            if commit is not None:
                before = self._head.base_version
                self._append(commit)
                if commit.base is not None:
                    self._observer.folded(self._head.base_version - before)
                    self._history = History(self._head.version)  # it may know entries that are gone
                    self._is_swept, self._has_begun_anew = False, True
                return True
        if self._head.base_version and not self._is_swept:
            self._is_swept = not self._store.sweep(SWEEP_RECORDS)
            self.wants_reopening = self._is_swept and self._has_begun_anew
            return not self._is_swept
        return False

    @_of_values()
    def read(self, look: Callable[[StoredReader], T]) -> T:
        """What ``look`` finds in the stored values, as far as they are folded; may run beside everything else."""
        with self._store.snapshot() as snapshot:
            return look(StoredReader(snapshot))

    def download(self, ident: int, cursor: DownloadCursor, head: Head) -> Download:
        """What to send next to client file ``ident``, whose session stands at ``cursor``: nothing after ``head``.

        Raises ClientFileExpired where what it needs next is gone.
        """
        with self._store.snapshot() as snapshot:
            base_version = snapshot.head.base_version  # perhaps newer than ``head``
            grown = 0
            if cursor.server_version < base_version:
                client = snapshot.client(ident)
                if client is None or client.start_version != base_version:
                    raise expired(ident, snapshot.head)
                last = read_last(snapshot)
                grown = last.size - last.log_size
            log = snapshot.entries(cursor.server_version + 1, head.version)
            return select_download(log, ident, cursor, head, base_version, grown)


def select_download(
    log: Iterable[LogEntry], ident: int, cursor: DownloadCursor, head: Head, squashed: int = 0, grown: int = 0
) -> Download:
    """The entries of one DOWNLOAD for client file ``ident`` (``spec/protocol.md`` 3.6).

    ``log``: the entries after ``cursor`` up to ``head``, in order and perhaps with gaps. The file's own and empty
    entries are passed over. Those up to version ``squashed`` are a squash, by ``grown`` bytes larger than what it is
    for.
    ``Download.upload`` is left for the caller to fill in; it must be the file's (CV, RB) as of ``head``, so that it
    acknowledges at least the versions that the entries name.
    """
    entries: list[DownloadEntry] = []
    size, left = 0, 0
    reached, client_version = cursor.server_version, cursor.client_version
    for entry in log:
        if entry.origin == ident:
            client_version = entry.client_version
        elif entry.changeset:
            origin = entry.origin or SERVER_FILE_IDENT
            entries.append(DownloadEntry(entry.version, client_version, entry.timestamp, origin, entry.changeset))
            size += len(entry.changeset)
        reached, left = entry.version, head.size - entry.cumulative_size
        if reached <= squashed:
            left += grown
        if size > DOWNLOAD_SIZE:
            break
    else:
        reached, left = head.version, 0
    return Download(
        cursor=DownloadCursor(reached, client_version),
        latest=SaltedVersion(head.version, head.salt),
        upload=UploadCursor(),
        downloadable_bytes=left,
        entries=tuple(entries),
    )


def _integrate_each(batch: Batch, uploads: Sequence[Upload]) -> Iterator[UploadDone | RealmError]:
    failed: dict[int, RealmError] = {}
    for upload in uploads:
        error = failed.get(upload.ident)
        if error is None:
            try:
                yield batch.integrate(upload)
                continue
            except RealmError as refused:
                error = failed[upload.ident] = refused
        yield error
