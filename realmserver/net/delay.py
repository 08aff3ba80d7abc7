"""How late the reactor is: the time for which one thing that it does keeps all others waiting."""

from typing import Final

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from realmserver.metrics import Metrics

INTERVAL: Final = 1.0
"""Seconds between two looks."""


class DelayMeter(Service):
    """Counts, once a second, how much later than due it was called (``event_loop_delay_seconds``)."""

    name = "delay"

    def __init__(self, reactor: IReactorTime, metrics: Metrics) -> None:
        self._reactor = reactor
        self._metrics = metrics
        self._next: IDelayedCall | None = None

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._wait()

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _wait(self) -> None:
        self._next = self._reactor.callLater(INTERVAL, self._called, self._reactor.seconds() + INTERVAL)

    def _called(self, due: float) -> None:
        # A clock that was set back would make it negative.
        self._metrics.event_loop_delay_seconds.observe(max(0.0, self._reactor.seconds() - due))
        self._wait()
