"""The server's threads and timers, as work that waits until the scheduler lets it run.

A piece of work runs in three steps, between which anything else may happen: it does what it does, which includes
writing; its thread returns, and only then what it wrote is on the disk; its result is handed over on the server's
thread, in the order in which threads returned.
"""

import math
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import TypeVar

from attrs import Factory, define

from realmserver.store.interface import StoreFull

from .choices import Violation
from .disk import Disk, Journal

T = TypeVar("T")
Call = Callable[[], None]


class Clock:
    """The one clock, in seconds, and what is to happen at some time. Nothing happens by itself: see :meth:`due`."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self._timers: list[tuple[float, int, object, Call]] = []
        self._numbers = count()

    def later(self, delay: float, call: Call, owner: object = None) -> None:
        """Make ``call`` after ``delay`` seconds, unless ``owner`` is dropped before."""
        heappush(self._timers, (self.now + delay, next(self._numbers), owner, call))

    def drop(self, owner: object) -> None:
        """Forget the timers of ``owner``."""
        self._timers = [timer for timer in self._timers if timer[2] is not owner]
        self._timers.sort(key=lambda timer: timer[:2])

    def is_due(self) -> bool:
        """Whether a timer has run out."""
        return bool(self._timers) and self._timers[0][0] <= self.now

    def fire(self) -> None:
        """Make the call of the first timer that has run out."""
        heappop(self._timers)[3]()

    def jump(self, until: float = math.inf) -> bool:
        """Go to the time of the first timer; False if there is none up to ``until``."""
        if not self._timers or self._timers[0][0] > until:
            return False
        self.now = max(self.now, self._timers[0][0])
        return True


@define(eq=False)
class Job:
    """Work for a thread. ``result`` is there when it has run, ``written`` what it has written to the disk."""

    work: Callable[[], Call]
    result: Call | None = None
    written: list[Journal] = Factory(list)


class SimulatedWorkers:
    """The :class:`~realmserver.realms.fanout.Workers` of one run of the server."""

    def __init__(self, disk: Disk, clock: Clock) -> None:
        self._disk = disk
        self._clock = clock
        self.jobs: list[Job] = []
        self.results: deque[Call] = deque()

    # The server's side.

    def run(self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        def whole() -> Call:
            try:
                result = work()
            except Exception as caught:  # noqa: BLE001 (as the real ones: the server is told of whatever it is)
                error = caught
                return lambda: failed(error)
            return lambda: done(result)

        self.jobs.append(Job(whole))

    def later(self, delay: float, call: Call) -> None:
        self._clock.later(delay, call, self)

    def report(self, realm: str, error: Exception) -> None:
        if not isinstance(error, StoreFull):
            raise Violation(f"{realm}: the server's side failed: {error!r}") from error

    # The scheduler's side.

    def advance(self, job: Job) -> str:
        """Let ``job`` do its next step; returns what it was."""
        if job.result is None:
            self._disk.written = []
            job.result = job.work()
            job.written, self._disk.written = self._disk.written, []
            return "works"
        for journal in job.written:
            journal.synced()
        self.jobs.remove(job)
        self.results.append(job.result)
        return "returns"
