"""What goes out to the sessions of one Realm: the newest entries at hand, and each DOWNLOAD body made once.

Runs on one thread, the reactor's. Entries of the last few commits are kept (the *tail*), so that a session that is
caught up is served without touching the store; older ones are read beside the Realm's lane. Sessions that stand at the
same place and need the same entries share one encoded body, also while it is still being made.
"""

from __future__ import annotations  # those of functions within functions would be evaluated at each call

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from realmserver.realms.line import Line
from realmserver.realms.realm import Realm, select_download
from realmserver.realms.requests import (
    Download,
    DownloadCursor,
    DownloadEntry,
    RealmError,
    UploadCursor,
)
from realmserver.store.interface import Head, LogEntry

TAIL_SIZE: Final = 64 * 1024
"""Bytes that the newest entries may take which are kept while the Realm is open: few enough to encode on the reactor
thread."""

ENTRY_COST: Final = 256
"""Bytes that an entry takes in memory besides its changeset. Empty ones count too: a client can make millions."""

MAX_CACHED_BODIES: Final = 4
"""Encoded bodies kept for receivers that come a little later; they go when the Realm moves on."""

T = TypeVar("T")
Body = TypeVar("Body")
Encode = Callable[[Sequence[DownloadEntry]], Body]
Made = tuple[Download, Body]
Done = Callable[[T | RealmError], None]


class Workers(Protocol):
    """Threads for work that may block, and a timer."""

    def run(self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        """Run ``work`` in a thread; then call one of the other two on the caller's thread, never before returning."""

    def report(self, realm: str, error: Exception) -> None:
        """Tell the operator that our side failed in ``realm``."""

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """Make ``call`` on the caller's thread ``delay`` seconds from now."""


class _Range(NamedTuple):
    """What the entries of a DOWNLOAD depend on: where the receiver stands, where the Realm ends, the receiver's ident
    where some of the entries between may be its own, or are not for everybody, and where the log begins: what is before
    has another form then. A tuple of numbers: it is looked up for each receiver."""

    server_version: int
    client_version: int
    end: int
    own: int
    base: int


class Fanout(Generic[Body]):
    """Builds DOWNLOADs. ``encode`` makes a body of entries; it may run in a thread. ``read_done`` is called when a
    reading of the store has ended; ``failed`` when our side failed in it, and says what is answered then."""

    def __init__(
        self,
        workers: Workers,
        encode: Encode[Body],
        read_done: Callable[[], None],
        failed: Callable[[Exception], RealmError],
    ) -> None:
        self._workers = workers
        self._encode = encode
        self._read_done = read_done
        self._failed = failed
        self._tail: Line[LogEntry] = Line()
        self._tail_size = 0
        self._authors: dict[int, int] = {}
        self._known_since: int | None = None
        self._bodies: OrderedDict[_Range, Made[Body]] = OrderedDict()
        self._reading: dict[_Range, list[tuple[UploadCursor, Done[Made[Body]]]]] = {}

    @property
    def is_reading(self) -> bool:
        """Whether the store must stay open."""
        return bool(self._reading)

    def appended(self, entries: Iterable[LogEntry]) -> None:
        """New durable entries. Call it for every commit while the Realm is open."""
        for entry in entries:
            if self._known_since is None:
                self._known_since = entry.version - 1
            self._authors[entry.origin] = entry.version
            self._tail.append(entry)
            self._tail_size += len(entry.changeset) + ENTRY_COST
        while self._tail_size > TAIL_SIZE:
            self._tail_size -= len(self._tail.popleft().changeset) + ENTRY_COST
        self._bodies.clear()

    def forget(self) -> None:
        """The Realm's store is being closed, or its log begins elsewhere now: nothing kept here is of use."""
        self._tail.clear()
        self._tail_size = 0
        self._authors.clear()
        self._known_since = None
        self._bodies.clear()

    def fetch(
        self,
        realm: Realm,
        head: Head,
        ident: int,
        cursor: DownloadCursor,
        upload: UploadCursor,
        done: Done[Made[Body]],
    ) -> None:
        """The next DOWNLOAD for client file ``ident``. ``upload`` is its (CV, RB) as of ``head``."""
        is_own = cursor.server_version < head.base_version or self._may_hold_own(ident, cursor)
        own = ident if is_own else 0
        wanted = _Range(cursor.server_version, cursor.client_version, head.version, own, head.base_version)
        made = self._bodies.get(wanted)
        if made is None and self._tail_reaches(cursor.server_version, head):
            log = islice(self._tail, len(self._tail) - (head.version - cursor.server_version), None)
            selection = select_download(log, ident, cursor, head)
            made = self._keep(wanted, (selection, self._encode(selection.entries)))
        if made is not None:
            done((_acknowledging(made[0], upload), made[1]))
            return
        waiting = self._reading.setdefault(wanted, [])
        waiting.append((upload, done))
        if len(waiting) == 1:
            self._read(realm, head, ident, cursor, wanted)

    def _read(self, realm: Realm, head: Head, ident: int, cursor: DownloadCursor, wanted: _Range) -> None:
        """Read and encode in a thread, for all who want the same."""

        def read() -> Made[Body] | RealmError:
            try:
                selection = realm.download(ident, cursor, head)
            except RealmError as error:
                return error
            return selection, self._encode(selection.entries)

        def made(result: Made[Body] | RealmError) -> None:
            if isinstance(result, RealmError):
                for _, done in self._reading.pop(wanted):
                    done(result)
                self._read_done()
                return
            self._keep(wanted, result)
            for upload, done in self._reading.pop(wanted):
                done((_acknowledging(result[0], upload), result[1]))
            self._read_done()

        def failed(error: Exception) -> None:
            answer = self._failed(error)
            for _, done in self._reading.pop(wanted):
                done(answer)
            self._read_done()

        self._workers.run(read, made, failed)

    def _keep(self, wanted: _Range, made: Made[Body]) -> Made[Body]:
        if not wanted.own:
            self._bodies[wanted] = made
            if len(self._bodies) > MAX_CACHED_BODIES:
                self._bodies.popitem(last=False)
        return made

    def _tail_reaches(self, version: int, head: Head) -> bool:
        return version == head.version or bool(self._tail and self._tail[0].version <= version + 1)

    def _may_hold_own(self, ident: int, cursor: DownloadCursor) -> bool:
        if self._known_since is None or cursor.server_version < self._known_since:
            return True
        return self._authors.get(ident, 0) > cursor.server_version


def _acknowledging(download: Download, upload: UploadCursor) -> Download:
    """``download`` with the receiver's own cursor. Spelt out: ``evolve`` takes six times as long, for each receiver."""
    return Download(download.cursor, download.latest, upload, download.downloadable_bytes, download.entries)
