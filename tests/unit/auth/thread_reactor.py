"""The one part of a reactor that threads need: a queue of calls, which the test itself carries out."""

import queue
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer


@implementer(IReactorFromThreads)
class ThreadReactor:
    """Takes calls from threads; :meth:`deliver` makes one of them in the thread of the test."""

    def __init__(self) -> None:
        self._calls: queue.Queue[Callable[[], object]] = queue.Queue()

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        self._calls.put(lambda: callable(*args, **kwargs))

    def deliver(self) -> None:
        """Wait for the next call from a thread (10 s at most) and make it."""
        self._calls.get(timeout=10)()
