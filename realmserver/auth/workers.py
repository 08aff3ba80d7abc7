"""Threads for work that blocks: hashing passwords, reading and writing accounts.

What this module keeps true: the reactor thread never waits, and the work that waits for a thread is bounded. A caller
who comes when the queue is full is told so at once (:class:`TooBusy`), rather than after his patience has run out.
"""

from collections.abc import Callable
from typing import Final, ParamSpec, Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")

STORE_THREADS: Final = 4
"""Account calls are short and wait for a disk; a few threads keep one slow fsync from holding up all others."""

STORE_QUEUE: Final = 1000
"""Account calls that may wait: at a millisecond or two each, well under a second."""


class TooBusy(Exception):
    """So much work is waiting that this piece was not taken on; the client should come again (HTTP 503)."""


class Worker(Protocol):
    """Whatever runs a function elsewhere and gives its result on the reactor thread."""

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run ``function``; the Deferred fails with what it raises, or at once with :class:`TooBusy`."""


class BoundedWorker(Service):
    """A thread pool of its own that takes on at most ``queue`` pieces of work beyond those being done.

    ``reactor`` carries results back to the reactor thread, from which alone :meth:`run` may be called. The pool runs
    while the service does; stopping waits for work already taken on.
    """

    def __init__(self, reactor: IReactorFromThreads, *, threads: int, queue: int, name: str) -> None:
        self.name: str = name
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=threads, name=name)
        self._limit = threads + queue
        self._taken = 0

    def startService(self) -> None:
        self._pool.start()
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no types here

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        self._pool.stop()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run ``function`` in a thread; see :meth:`Worker.run`. After the service has stopped all work is refused."""
        if not self.running or self._taken >= self._limit:
            return fail(TooBusy(f"{self.name}: no room for more work"))
        self._taken += 1
        work = deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs)
        work.addBoth(self._release)
        # A caller who gives up cancels only this second Deferred: the work goes on and keeps its place in the count.
        result: Deferred[T] = Deferred()
        work.chainDeferred(result)
        return result

    def _release(self, result: T) -> T:
        self._taken -= 1
        return result


def store_worker(reactor: IReactorFromThreads) -> BoundedWorker:
    """The worker for calls to the account store."""
    return BoundedWorker(reactor, threads=STORE_THREADS, queue=STORE_QUEUE, name="accounts")
