"""Threads for Realms: the reactor thread never waits for a disk or a merge, and large work does not crowd out small.

Keeps true: results come back on the reactor thread; of the work that computes for long, MAX_HEAVY pieces run at a time,
whatever Realm they are for. Threads share one interpreter: more of them would finish no sooner, and the reactor's
thread would wait its turn behind each.
"""

from __future__ import annotations  # those of functions within functions would be evaluated at each call

import gc
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Final, TypeVar

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.python.failure import Failure

from realmserver.log import get_logger
from realmserver.store.interface import Quarantined, StoreError

log = get_logger("sync")

THREADS: Final = 8
"""Threads for Realms: they wait for the disk most of the time, and a slow fsync in one Realm must not stop others."""

MAX_HEAVY: Final = 1
"""Pieces of heavy work at a time. With more, the collector of garbage would have to be let in from time to time."""

T = TypeVar("T")


class ReactorClock(IReactorTime, IReactorFromThreads):
    """What the service needs of the reactor."""


class PoolWorkers:
    """Runs blocking work in threads, which are started as they are needed; the results come back on the reactor thread.
    ``on_failure`` hears of each Realm for which it failed on our side. Python's own pool does more for each piece of
    work than most of these pieces take.

    While heavy work runs, Python's search for cyclic garbage is off: it would look at each of the millions of
    instructions of a large upload again and again, a second at a time, and nobody else runs meanwhile.
    """

    def __init__(self, reactor: ReactorClock, on_failure: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._on_failure = on_failure
        self._threads: list[Thread] = []
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()  # None ends a thread
        self._running = 0  # or waiting for a thread
        self._heavy: deque[Callable[[], None]] = deque()
        self._running_heavy = 0

    def stop(self) -> None:
        """Wait for what is running."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def run(self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        """Run ``work`` in a thread, then call ``done`` or ``failed`` on the reactor thread."""

        def job() -> None:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 (whatever it is, it is told to who waits)
                self._reactor.callFromThread(self._deliver, failed, _as_exception(error))
            else:
                self._reactor.callFromThread(self._deliver, done, result)

        self._running += 1
        if len(self._threads) < min(self._running, THREADS):
            thread = Thread(target=_work, args=(self._jobs,), name=f"realms_{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put(job)

    def _deliver(self, to: Callable[[T], None], result: T) -> None:
        self._running -= 1
        try:
            to(result)
        except Exception:  # noqa: BLE001 (a fault of ours in one place must not cost the others their results)
            log.error("a result could not be delivered", failure=Failure())  # type: ignore[no-untyped-call]

    def run_heavy(self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        """The same for work that may compute for long: it waits until few others do."""

        def succeeded(result: T) -> None:
            self._reactor.callLater(0, self._heavy_ended)
            done(result)

        def gave_up(error: Exception) -> None:
            self._reactor.callLater(0, self._heavy_ended)
            failed(error)

        self._heavy.append(lambda: self.run(work, succeeded, gave_up))
        self._start_heavy()

    def _start_heavy(self) -> None:
        while self._heavy and self._running_heavy < MAX_HEAVY:
            gc.disable()
            self._running_heavy += 1
            self._heavy.popleft()()

    def _heavy_ended(self) -> None:
        """Called when nobody is left in whose hands its result or its error was."""
        self._running_heavy -= 1
        if not self._running_heavy:
            gc.enable()
            # What it left behind in cycles, the traceback of an error above all, may hold a large upload. And where
            # heavy work follows on heavy work, this is the only time at which older garbage goes.
            gc.collect(_due_generation())
        self._start_heavy()

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """Make ``call`` on the reactor thread ``delay`` seconds from now."""
        self._reactor.callLater(delay, call)

    def report(self, realm: str, error: Exception) -> None:
        """Tell the operator that our side failed; the traceback only where the fault is in our code. Of a Realm in
        quarantine he has heard."""
        if isinstance(error, Quarantined):
            return
        self._on_failure(realm)
        if isinstance(error, StoreError):
            log.error("Realm {realm}: {error}", realm=realm, error=str(error))
        else:
            log.error("Realm {realm}: internal error", realm=realm, failure=Failure(error))  # type: ignore[no-untyped-call]


def _as_exception(error: BaseException) -> Exception:
    """What went wrong; a panic of the core in Rust is none of Python's own exceptions."""
    if isinstance(error, Exception):
        return error
    told = RuntimeError(f"{type(error).__name__}: {error}")
    told.__cause__ = error
    return told


def _work(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
        del job  # it holds what it worked on


def _due_generation() -> int:
    """The oldest generation that Python itself would collect by now, were it allowed to."""
    counts, thresholds = gc.get_count(), gc.get_threshold()
    return next((each for each in (2, 1) if counts[each] > thresholds[each]), 0)
