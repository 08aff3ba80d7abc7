"""How a connection is read from: in turns, so that one that says much does not keep the others waiting.

Keeps true: in one turn of the reactor a connection is heard for about TURN, or for one message if that takes longer;
after such a turn it waits for as long as it took, so that whatever it says it has half of the reactor's time at most.
Whoever has a reason to read no more of it names it; it is read from again when no reason is left. It knows nothing of
what is read.
"""

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

TURN: Final = 0.001
"""Seconds: a few dozen small messages."""

SLICE: Final = 4096
"""Bytes between two looks at the clock."""

_ITS_TURN_IS_OVER: Final = "turn"


class Intake:
    """``take`` is given what ``transport`` delivers; ``clock`` measures what that takes, in seconds."""

    def __init__(self, reactor: IReactorTime, take: Callable[[bytes], None], clock: Callable[[], float]) -> None:
        self.transport: Any = None
        self._reactor = reactor
        self._take = take
        self._clock = clock
        self._left = b""
        self._reasons: set[str] = set()
        self._wait: IDelayedCall | None = None
        self._is_taking = False
        self._is_reading = True

    def received(self, data: bytes) -> None:
        """The transport has delivered ``data``."""
        self._left += data
        self._go_on()

    def pause(self, reason: str) -> None:
        """Read no more, for ``reason``."""
        self._reasons.add(reason)
        if self._is_reading:
            self._is_reading = False
            self.transport.pauseProducing()

    def resume(self, reason: str) -> None:
        """``reason`` is no more; nothing happens if it was none."""
        if reason in self._reasons:
            self._reasons.discard(reason)
            self._go_on()
            if not self._reasons and not self._is_reading:
                self._is_reading = True
                self.transport.resumeProducing()

    def stop(self) -> None:
        """The connection is over: forget what is left."""
        self._left = b""
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None

    def _go_on(self) -> None:
        if self._is_taking:
            return
        self._is_taking = True
        begun = self._clock()
        try:
            while self._left and not self._reasons:
                data, self._left = self._left[:SLICE], self._left[SLICE:]
                self._take(data)
                took = self._clock() - begun
                if took > TURN:
                    self.pause(_ITS_TURN_IS_OVER)
                    self._wait = self._reactor.callLater(took, self._next_turn)
        finally:
            self._is_taking = False

    def _next_turn(self) -> None:
        self._wait = None
        self.resume(_ITS_TURN_IS_OVER)
