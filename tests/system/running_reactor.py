"""The reactor, running in a thread of the test process for as long as that lives: a reactor runs only once."""

import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, Final, TypeVar

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

PATIENCE: Final = 60.0
"""Seconds for one test's coroutine; nothing takes this long where all is well."""

T = TypeVar("T")

reactor: Any = installed


@cache
def _start() -> None:
    threading.Thread(target=lambda: reactor.run(installSignalHandlers=False), daemon=True).start()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of ``coroutine``, run on the reactor thread."""
    _start()

    def begin() -> Deferred[T]:
        return Deferred.fromCoroutine(coroutine).addTimeout(PATIENCE, reactor)

    result: T = blockingCallFromThread(reactor, begin)  # type: ignore[arg-type]  # it takes a Deferred's result to be unknown
    return result
