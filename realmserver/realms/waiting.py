"""How much may wait to be integrated: for one Realm, and for all together.

Keeps true: an upload that finds nothing waiting before it is taken, however large it is; what is refused leaves no
trace. Runs on the thread of the Realms.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Lock
from typing import Final, Protocol, TypeVar

from attrs import field, frozen

from realmserver.realms.requests import LimitReached, RealmError

MEBIBYTE: Final = 1024 * 1024

PER_REALM: Final = 64 * MEBIBYTE
"""Bytes of uploads that may wait for one Realm (``limits.upload_backlog_per_realm``). Whoever comes with more is asked
to come again later; a connection stops being read from long before (``sync.backlog``), so this takes many of them."""

IN_ALL: Final = 256 * MEBIBYTE
"""Bytes of uploads above which a server reads no more from those who have something waiting
(``limits.upload_backlog``)."""

REFUSE_AT: Final = 2
"""Times IN_ALL at which uploads are refused: what is on its way when reading stops must still find room."""


T = TypeVar("T")


class Run(Protocol):
    """Runs work in a thread; see :class:`realmserver.realms.fanout.Workers`."""

    def __call__(
        self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None], /
    ) -> None: ...


class WaitingRoom:
    """The room of all Realms. ``per_realm`` and ``in_all`` in bytes; ``crowded`` hears when it becomes crowded (more
    than ``in_all``) and when it is so no more (half of that)."""

    def __init__(
        self,
        per_realm: int = PER_REALM,
        in_all: int = IN_ALL,
        crowded: Callable[[bool], None] = lambda is_crowded: None,
    ) -> None:
        self._per_realm = per_realm
        self._in_all = in_all
        self._crowded = crowded
        self._uploads = 0
        self._held = 0
        self.is_crowded = False

    def refusal(self, size: int, of_realm: int) -> RealmError | None:
        """Why ``size`` more bytes cannot wait for a Realm that has ``of_realm`` waiting; None if they can."""
        if of_realm and of_realm + size > self._per_realm:
            return LimitReached("upload_backlog_per_realm", "too much is waiting to be integrated into this Realm")
        if self._uploads and self._uploads + size > REFUSE_AT * self._in_all:
            return LimitReached("upload_backlog", "too much is waiting to be integrated")
        return None

    def changed(self, size: int) -> None:
        """Uploads at Realms have become ``size`` bytes more."""
        self._uploads += size
        self._look()

    def held(self, size: int) -> None:
        """What connections have received and not got rid of, uploads at Realms included, has become ``size`` more."""
        self._held += size
        self._look()

    @property
    def held_bytes(self) -> int:
        """What connections hold, in all."""
        return self._held

    @property
    def is_overfull(self) -> bool:
        """Connections hold more than is good for the process, reading less does not help any more."""
        return self._held > REFUSE_AT * self._in_all

    def _look(self) -> None:
        most = max(self._uploads, self._held)
        is_crowded = most > (self._in_all // 2 if self.is_crowded else self._in_all)
        if is_crowded is not self.is_crowded:
            self.is_crowded = is_crowded
            self._crowded(is_crowded)


def anything_goes() -> RealmError | None:
    """Refuse nothing."""
    return None


@frozen
class House:
    """What the Realms of one server share: the ``room`` for what waits, and ``read_only``, which says why nothing may
    be written just now, None if it may; it is asked in worker threads. ``run_heavy`` runs work that may compute for
    long (as ``fanout.Workers.run``); None: as any other work. ``computing`` is held by whoever computes, heavy work
    apart: threads share one interpreter, and changing between them at every turn costs more than any of them gains.
    """

    room: WaitingRoom = field(factory=WaitingRoom)
    read_only: Callable[[], RealmError | None] = anything_goes
    run_heavy: Run | None = None
    computing: AbstractContextManager[object] = field(factory=Lock)
