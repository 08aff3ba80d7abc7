"""How connections are opened and read from: in turns, so that those that ask much do not keep the others waiting.

Keeps true: in one turn a connection is opened, or is heard for about TURN, or for one message if that takes longer.
Then it waits for its next turn with all others that have had one, and between two of these turns the reactor looks
around: whoever is there and says little is heard at once, however many say much or come in. Whoever has a reason to
read no more of a connection names it; it is read from again when no reason is left. Nothing here knows what is read.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IReactorTime

TURN: Final = 0.00025
"""Seconds: one or two small messages, if they are dear. Whoever says little waits for one turn of somebody else."""

SLICE: Final = 64
"""Bytes until the next look at the clock where nobody knows how long a message is: one or two, which may be dear."""

_ITS_TURN_IS_OVER: Final = "turn"


class Waiting(Protocol):
    """Who waits for a turn."""

    def take_turn(self) -> None:
        """The next turn has come."""


class Turns:
    """Those that wait for their next turn. There is one for all connections of a service."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._waiting: OrderedDict[Waiting, None] = OrderedDict()  # the one that has waited longest first
        self._is_due = False

    def wait(self, waiting: Waiting) -> None:
        """Call ``waiting.take_turn`` when it has its turn."""
        self._waiting[waiting] = None
        self._go_on()

    def leave(self, waiting: Waiting) -> None:
        """``waiting`` does not wait any more, if it did."""
        self._waiting.pop(waiting, None)

    def _go_on(self) -> None:
        if self._waiting and not self._is_due:
            self._is_due = True
            self._reactor.callLater(0, self._next)

    def _next(self) -> None:
        self._is_due = False
        try:
            if self._waiting:
                waiting, _ = self._waiting.popitem(last=False)
                waiting.take_turn()
        finally:
            self._go_on()


class Intake:
    """``take`` is given what ``transport`` delivers; ``clock`` measures what that takes, in seconds. ``message`` says
    how many of the bytes from a place on are one message, or the rest of one: no look at the clock is worth while
    before."""

    def __init__(
        self,
        turns: Turns,
        take: Callable[[bytes], None],
        message: Callable[[bytes, int], int],
        clock: Callable[[], float],
    ) -> None:
        self.transport: Any = None
        self._turns = turns
        self._take = take
        self._message = message
        self._clock = clock
        self._left = b""  # from _place on
        self._place = 0
        self._reasons: set[str] = set()
        self._is_taking = False
        self._is_reading = True

    def received(self, data: bytes) -> None:
        """The transport has delivered ``data``."""
        self._left = self._left[self._place :] + data
        self._place = 0
        self._go_on()
        if self._reasons and self._place < len(self._left):
            # Only now does the end of a turn stop the reading: who waits for our answer says nothing meanwhile, and it
            # would cost more than the look at the clock that has ended it.
            self._stop_reading()

    def pause(self, reason: str) -> None:
        """Read no more, for ``reason``."""
        self._reasons.add(reason)
        self._stop_reading()

    def _stop_reading(self) -> None:
        if self._is_reading and self.transport is not None:
            self._is_reading = False
            self.transport.pauseProducing()

    def resume(self, reason: str) -> None:
        """``reason`` is no more; nothing happens if it was none."""
        if reason in self._reasons:
            self._reasons.discard(reason)
            self._go_on()
            if not self._reasons and not self._is_reading and self.transport is not None:
                self._is_reading = True
                self.transport.resumeProducing()

    def take_turn(self) -> None:
        """The next turn has come."""
        self.resume(_ITS_TURN_IS_OVER)

    def stop(self) -> None:
        """The connection is over: forget what is left."""
        self.transport = None
        self._left, self._place = b"", 0
        self._turns.leave(self)

    def _go_on(self) -> None:
        if self._is_taking:
            return
        self._is_taking = True
        begun = self._clock()
        try:
            while self._place < len(self._left) and not self._reasons:
                place = self._place
                self._place += self._message(self._left, place)
                self._take(self._left[place : self._place])
                if self._clock() - begun > TURN:
                    self._reasons.add(_ITS_TURN_IS_OVER)
                    self._turns.wait(self)
        finally:
            self._is_taking = False
            if self._place >= len(self._left):
                self._left, self._place = b"", 0
