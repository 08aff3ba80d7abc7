"""The workers of a server, as its front sees them: started, told, heard, counted, started again.

The Realm of a name belongs to one worker, always the same (``net.relay.owner_of``). Keeps true: two processes never own
one Realm, since a worker is started only when the one before it has ended; a worker that ends by itself is told to the
operator and started again, at once the first time and after a growing pause if that goes on; whoever had sessions with
it is dropped, and comes again; what it had acknowledged was on the disk. One that does not answer, or does not come to
its end, is killed, and is then one that has ended. It knows neither how processes are made (``net.hiring``) nor what
they do.
"""

from collections.abc import Callable, Sequence
from itertools import count as count_up
from typing import Final, Protocol

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from realmserver.figures import NOTHING, Figures
from realmserver.log import get_logger
from realmserver.metrics import Metrics
from realmserver.net.link import (
    ALIVE,
    COMMITTED,
    EXCHANGED,
    FAILED,
    FIGURES,
    FOLLOWED,
    MADE,
    NOTICE,
    QUARANTINED,
    REOPEN,
    STOP,
    Link,
    from_realm,
)
from realmserver.net.relay import Relay
from realmserver.net.seat import OF_THE_PROCESS

log = get_logger("workers")

STEADY: Final = 60.0
"""Seconds that a worker must have lived for its end to be an accident rather than a habit."""

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds before a worker that ends again and again is started: twice as long each time."""

PATIENCE: Final = 2.0
"""Seconds for a worker to tell its figures; after that those that it told last are shown."""

LOOK: Final = 15.0
"""Seconds between two looks at whether a worker answers."""

LOOKS: Final = 4
"""Looks in a row without a word after which a worker counts as one that hangs: a minute, as the front has with its own
supervisor. What a worker computes runs in threads beside the one that answers; of machine code that lets nobody else
run, a merge as large as ``realms.integrate`` allows is the longest, and takes a quarter of that. Looks are counted, not
seconds: where the front itself was away, or the whole machine, a worker has its time to answer all the same."""

LOOKS_AT_START: Final = 40
"""The same for one that has not spoken yet: it is being loaded, from a disk that may be slow."""

LAST_WORK: Final = 15.0
"""Seconds for a worker to come to its end, once it should, and store what was uploaded last; then it is killed. What it
has not acknowledged by then is sent again. With the time that clients have by default (``performance.stop_timeout``) it
is less than the manual's unit file allows for a stop."""


class Hire(Protocol):
    """Starts the process of worker ``number``, with ``link`` as its front's end of the way to it. ``ended`` is called
    once it has ended, with how. Returns what kills it."""

    def __call__(self, number: int, link: Link, ended: Callable[[str], None]) -> Callable[[], None]: ...


class Feed(Protocol):
    """Hears of what workers commit while somebody follows (``backup.feed``)."""

    def publish(self, path: str, data: bytes) -> None:
        """A commit in the Realm whose directory is ``path``."""

    def written_anew(self, path: str) -> None:
        """That Realm has another file now."""

    def send_away(self, why: str) -> None:
        """Something may be missing."""


class Workforce:
    """``count`` workers, started by ``hire``. ``metrics`` are the front's; ``on_failure`` hears of each Realm whose
    storage, or our code for it, failed; ``feed`` of commits, once :meth:`followed` was called."""

    def __init__(
        self,
        reactor: IReactorTime,
        count: int,
        hire: Hire,
        metrics: Metrics,
        on_failure: Callable[[str], None] = lambda realm: None,
        feed: Feed | None = None,
    ) -> None:
        self.count: int = count
        self._workers = [
            _Worker(number, reactor, hire, metrics, on_failure, feed, self._made) for number in range(count)
        ]
        self._notices = count_up(1)

    @property
    def quarantined(self) -> int:
        """How many Realms are in quarantine. May be asked in any thread."""
        return sum(worker.quarantined for worker in self._workers)

    def start(self) -> None:
        """Start all."""
        for worker in self._workers:
            worker.start()

    async def stop(self) -> None:
        """Have all finish what they have, and wait for their end."""
        await gatherResults([worker.stop() for worker in self._workers])

    def reload(self) -> None:
        """Have all begin a new log file."""
        for worker in self._workers:
            worker.tell(REOPEN)

    def figures(self) -> Deferred[Sequence[Figures]]:
        """What all have counted, those that are no more as well."""
        asked = gatherResults([worker.ask() for worker in self._workers])
        return asked.addCallback(lambda told: (*told, *(worker.left for worker in self._workers)))

    def followed(self, is_followed: bool) -> Deferred[None]:
        """Have all tell of their commits from now on, or no more. Fires when they do: whatever is not told was on the
        disk before."""
        notice = next(self._notices) if is_followed else 0
        return gatherResults([worker.follow(notice) for worker in self._workers]).addCallback(lambda _: None)

    def _made(self, by: "_Worker", user: bytes) -> None:
        """``user`` has made a Realm of one worker: the others count it as well."""
        for worker in self._workers:
            if worker is not by:
                worker.tell(MADE, user)

    # For relays

    def attend(self, worker: int, relay: Relay) -> tuple[Link, int] | None:
        return self._workers[worker].attend(relay)

    def leave(self, worker: int, number: int) -> None:
        self._workers[worker].leave(number)


class _Worker:
    """One of them, over all its processes. ``left``: figures of those that have ended."""

    def __init__(
        self,
        number: int,
        reactor: IReactorTime,
        hire: Hire,
        metrics: Metrics,
        on_failure: Callable[[str], None],
        feed: Feed | None,
        made: Callable[["_Worker", bytes], None],
    ) -> None:
        self.quarantined = 0
        self.left: Figures = NOTHING
        self._number = number
        self._reactor = reactor
        self._hire = hire
        self._metrics = metrics
        self._on_failure = on_failure
        self._feed = feed
        self._made = made
        self._notice = 0  # not 0: somebody follows
        self._noticing: dict[int, Deferred[None]] = {}
        self._link: Link | None = None
        self._relays: dict[int, Relay] = {}
        self._numbers = count_up(OF_THE_PROCESS + 1)
        self._touched: dict[Relay, None] = {}  # to be flushed
        self._since = 0.0
        self._pause = 0.0
        self._figures: Figures = NOTHING
        self._asked: list[Deferred[Figures]] = []
        self._has_process = False
        self._kill: Callable[[], None] = lambda: None
        self._was_killed = False
        self._heard_at_last_look = 0
        self._silent_looks = 0
        self._next_look: IDelayedCall | None = None
        self._deadline: IDelayedCall | None = None
        self._restart: IDelayedCall | None = None
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        """Start its process."""
        self._restart = None
        self._since = self._reactor.seconds()
        link = self._link = Link(self._reactor, self._heard, self._round_over, lambda: self._cut(link))
        self._has_process = True
        self._was_killed = False
        self._heard_at_last_look = self._silent_looks = 0
        self._metrics.workers.inc()
        self._kill = self._hire(self._number, link, self._ended)
        if self._notice:
            self.tell(FOLLOWED, NOTICE.pack(self._notice))
        self._ask_whether_it_is_alive()

    def stop(self) -> Deferred[None]:
        """Tell it to stop; fires when it has ended."""
        stopped = self._stopped = Deferred()
        if self._restart is not None:
            self._restart.cancel()
        if self._has_process:
            self.tell(STOP)
            self._has_to_end()
        else:
            stopped.callback(None)
        return stopped

    def tell(self, kind: int, payload: bytes = b"") -> None:
        """Tell the process something."""
        if self._link is not None:
            self._link.tell(OF_THE_PROCESS, kind, payload)

    def follow(self, notice: int) -> Deferred[None]:
        """Have it tell of its commits, unless ``notice`` is 0. Fires when it does, or none of its processes runs that
        does not."""
        self._notice = notice
        self.tell(FOLLOWED, NOTICE.pack(notice))
        noticed: Deferred[None] = Deferred()
        if notice and self._has_process:
            self._noticing[notice] = noticed
        else:
            noticed.callback(None)
        return noticed

    def ask(self) -> Deferred[Figures]:
        """Its figures; those of last time if it does not answer."""
        asked: Deferred[Figures] = Deferred()
        if self._link is None:
            asked.callback(self._figures)
            return asked
        self._asked.append(asked)
        self.tell(FIGURES)
        timeout = self._reactor.callLater(PATIENCE, self._answer)

        def told(figures: Figures) -> Figures:
            if timeout.active():
                timeout.cancel()
            return figures

        return asked.addCallback(told)

    def _answer(self) -> None:
        asked, self._asked = self._asked, []
        for each in asked:
            each.callback(self._figures)

    def attend(self, relay: Relay) -> tuple[Link, int] | None:
        if self._link is None:
            return None
        number = next(self._numbers)
        self._relays[number] = relay
        return self._link, number

    def leave(self, number: int) -> None:
        self._relays.pop(number, None)

    # What the process tells

    def _heard(self, number: int, kind: int, payload: bytes) -> None:
        relay = self._relays.get(number)
        if relay is not None:
            self._touched[relay] = None
            relay.heard(self._number, kind, payload)
        elif number != OF_THE_PROCESS:
            return  # of a connection that is gone: it has not heard of that yet
        elif kind == FIGURES:
            self._figures = Figures.from_json(payload)
            self._answer()
        elif kind == FAILED:
            self._on_failure(payload.decode())
        elif kind == QUARANTINED:
            self.quarantined = int(payload)
        elif kind == MADE:
            self._made(self, payload)
        elif kind == FOLLOWED:
            noticed = self._noticing.pop(NOTICE.unpack(payload)[0], None)
            if noticed is not None:
                noticed.callback(None)
        elif kind in (COMMITTED, EXCHANGED) and self._feed is not None:
            path, data = from_realm(payload)
            if kind == COMMITTED:
                self._feed.publish(path, data)
            else:
                self._feed.written_anew(path)

    def _round_over(self) -> None:
        touched, self._touched = self._touched, {}
        for relay in touched:
            relay.flush()

    # Whether it does anything

    def _ask_whether_it_is_alive(self) -> None:
        self.tell(ALIVE)
        self._next_look = self._reactor.callLater(LOOK, self._look)

    def _look(self) -> None:
        link = self._link
        if link is None:
            return  # it has to end anyway
        if link.rounds != self._heard_at_last_look:
            self._heard_at_last_look, self._silent_looks = link.rounds, 0
        else:
            self._silent_looks += 1
            if self._silent_looks >= (LOOKS if link.rounds else LOOKS_AT_START):
                self._put_an_end_to_it(f"has not answered for {self._silent_looks * LOOK:.0f} seconds")
                return
        self._ask_whether_it_is_alive()

    def _has_to_end(self) -> None:
        if self._deadline is None:
            why = f"has not come to its end within {LAST_WORK:.0f} seconds"
            self._deadline = self._reactor.callLater(LAST_WORK, self._put_an_end_to_it, why)

    def _put_an_end_to_it(self, why: str) -> None:
        log.error("worker {number} {why}: it is killed", number=self._number, why=why)
        self._was_killed = True
        self._metrics.worker_kills.inc()
        self._kill()

    # How it ends

    def _cut(self, link: Link) -> None:
        """The link has broken: the process is about to end, or has ended."""
        if self._link is not link:
            return
        self._link = None
        relays, self._relays = self._relays, {}
        for relay in relays.values():
            relay.worker_gone(self._number)
        self._answer()
        if self._has_process:
            self._has_to_end()

    def _ended(self, how: str) -> None:
        self._has_process = False
        for timer in (self._next_look, self._deadline):
            if timer is not None and timer.active():
                timer.cancel()
        self._next_look = self._deadline = None
        link = self._link
        if link is not None:
            link.end()
            self._cut(link)
        self._metrics.workers.dec()
        self.quarantined = 0
        self.left, self._figures = self._figures.outlived_by(self.left), NOTHING
        if self._feed is not None and self._notice:
            self._feed.send_away(f"worker {self._number} has ended, and may not have told of its last commits")
        noticing, self._noticing = self._noticing, {}
        for noticed in noticing.values():
            noticed.callback(None)
        if self._stopped is not None:
            log.debug("worker {number} has ended: {how}", number=self._number, how=how)
            self._stopped.callback(None)
            return
        self._metrics.worker_restarts.inc()
        if self._reactor.seconds() - self._since >= STEADY:
            self._pause = 0.0
        log.error(
            "worker {number} has ended {how}. Its clients come again by themselves; it is started again in {pause} "
            "seconds",
            number=self._number,
            how="since it was killed" if self._was_killed else f"by itself: {how}",
            pause=self._pause,
        )
        self._restart = self._reactor.callLater(self._pause, self.start)
        self._pause = min(LONGEST_PAUSE, 2 * self._pause or FIRST_PAUSE)
