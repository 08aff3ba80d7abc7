"""The way between the front of a server and one of its workers: frames over a stream of bytes, in both directions.

Keeps true: what one end tells, the other hears, whole and in order; all that is told in one round of the reactor goes
out in one piece; and what is on its way is bounded, for each connection by a window, for all of them together by the
buffers of the stream. Whoever finds no room is told, and told again when there is some.

A frame is its payload's length (u32), the number of the connection that it is about (u64, 0: none), what it says (u8,
below), and the payload. This module knows neither processes nor the sync protocol: a message passes through as it is.
What crosses here is all that the sessions of a client and the Realms they are bound to have to say to each other, which
is the seam where a cluster may come between them (``design.md`` 4 and 7): one owner for each Realm, sessions elsewhere.
"""

from collections import OrderedDict
from collections.abc import Callable
from struct import Struct
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol as StreamProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from realmserver.log import get_logger
from realmserver.net.transports import write_now

log = get_logger("workers")

HEAD: Final = Struct("!IQB")
AMOUNT: Final = Struct("!Q")
CLOSING: Final = Struct("!H")
BINDING: Final = Struct("!I?")
"""Of a BIND: sessions that the connection has with other workers, and whether the user may have one more Realm open."""

NOTICE: Final = Struct("!Q")
PATH: Final = Struct("!H")

BEGIN, MESSAGE, TAKEN, GONE, CLOSE, DROP, BOUND, STOP, REOPEN, FIGURES, FAILED, QUARANTINED = range(12)
ALIVE, FOLLOWED, COMMITTED, EXCHANGED, BIND, MADE = range(12, 18)
"""What a frame says. To the worker: a connection's first session is about to be there (BEGIN, as JSON), a MESSAGE of
the client, or a BIND with what the front knows of it (``BINDING``), the connection is GONE; to the worker itself STOP,
REOPEN the log, give FIGURES, say that you are ALIVE, whether commits are FOLLOWED by a backup (a NOTICE: 0 if not). To
the front: a MESSAGE for the client, CLOSE (code and reason) or DROP (JSON) its connection, whether it has a session
BOUND; of the worker itself its FIGURES (JSON), that a Realm FAILED, how many are QUARANTINED, that it is ALIVE, that it
has taken note of being FOLLOWED (the NOTICE), and then what it has COMMITTED and where a file was EXCHANGED
(:func:`of_realm`). Either way: of what was sent, so many bytes are TAKEN; a user has MADE a Realm."""

WINDOW: Final = 64 * 1024
"""Bytes of one connection on their way, one way, beyond which there is no room for more: what a socket is read by, and
as much as Twisted keeps for a peer that does not read."""

BUFFER: Final = 256 * 1024
"""Bytes by which a link is read, and beyond which what it has not got rid of is too much."""


def of_realm(path: str, data: bytes = b"") -> bytes:
    """A payload about the Realm whose directory is ``path`` in the data directory."""
    name = path.encode()
    return b"".join((PATH.pack(len(name)), name, data))


def from_realm(payload: bytes) -> tuple[str, bytes]:
    """The inverse of :func:`of_realm`."""
    (size,) = PATH.unpack_from(payload)
    return payload[PATH.size : PATH.size + size].decode(), payload[PATH.size + size :]


class Waiting(Protocol):
    """Who waits for room on a link."""

    def go_on(self) -> None:
        """There may be room."""


@implementer(IPushProducer)
class Link(StreamProtocol):
    """One end. ``heard`` is given each frame (connection, what it says, payload); ``round_over`` is called when all
    that has come together was heard; ``ended`` when the other end is gone."""

    transport: Any

    def __init__(
        self,
        reactor: IReactorTime,
        heard: Callable[[int, int, bytes], None],
        round_over: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._heard = heard
        self._round_over = round_over
        self._ended = ended
        self._parts: list[bytes] = []  # of what has come and is not yet a whole frame
        self._have = 0
        self._need = HEAD.size
        self._out: list[bytes] = []
        self._out_size = 0
        self._is_due = False
        self._waiting: OrderedDict[Waiting, None] = OrderedDict()
        self._is_lost = False
        self.is_full = False
        self.rounds = 0

    # What is told

    def tell(self, number: int, kind: int, payload: bytes = b"") -> None:
        """Tell the other end; once it is gone, nobody."""
        if self._is_lost:
            return
        self._out += (HEAD.pack(len(payload), number, kind), payload)
        self._out_size += HEAD.size + len(payload)
        if self._out_size > BUFFER:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            self._reactor.callLater(0, self._flush_later)

    def _flush_later(self) -> None:
        self._is_due = False
        self.flush()

    def flush(self) -> None:
        """Give the system what has been told."""
        if self._out and not self._is_lost:
            data = b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            write_now(self.transport, data)

    def wait(self, waiting: Waiting) -> None:
        """Call ``waiting.go_on`` when the link is full no more."""
        self._waiting[waiting] = None

    def leave(self, waiting: Waiting) -> None:
        """``waiting`` does not wait any more, if it did."""
        self._waiting.pop(waiting, None)

    def pauseProducing(self) -> None:
        self.is_full = True

    def resumeProducing(self) -> None:
        self.is_full = False
        while self._waiting and not self.is_full:
            waiting, _ = self._waiting.popitem(last=False)
            waiting.go_on()

    def stopProducing(self) -> None:
        """``connectionLost`` follows."""

    # What is heard

    def connectionMade(self) -> None:
        self.transport.bufferSize = BUFFER
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        self.rounds += 1
        start, end = 0, len(data)
        self._need = HEAD.size
        while end - start >= HEAD.size:
            size, number, kind = HEAD.unpack_from(data, start)
            if end - start < HEAD.size + size:
                self._need = HEAD.size + size
                break
            start += HEAD.size
            self._hear(number, kind, data[start : start + size])
            start += size
        if start < end:
            self._parts.append(data[start:])
            self._have = end - start
        self._round_over()

    def _hear(self, number: int, kind: int, payload: bytes) -> None:
        try:
            self._heard(number, kind, payload)
        except Exception:  # noqa: BLE001 (a fault of ours about one connection must not cost all others the link)
            log.error("what came from the other process failed", failure=Failure())  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_lost = True
        self._out.clear()
        self._waiting.clear()
        self._ended()

    def end(self) -> None:
        """Tell and hear nothing more."""
        if not self._is_lost:
            self.transport.abortConnection()


class Line:
    """One connection's part of a link. ``room`` hears that there is no room for more messages from here (False), and
    that there is again (True)."""

    def __init__(self, link: Link, number: int, room: Callable[[bool], None]) -> None:
        self._link = link
        self._number = number
        self._room = room
        self._on_its_way = 0
        self._untold = 0
        self._is_full = False

    def tell(self, kind: int, payload: bytes = b"") -> None:
        """Tell the other end something besides messages."""
        self._link.tell(self._number, kind, payload)

    def send(self, message: bytes, kind: int = MESSAGE) -> None:
        """Send a message, room or not."""
        self._link.tell(self._number, kind, message)
        self._on_its_way += HEAD.size + len(message)
        if not self._is_full and (self._on_its_way > WINDOW or self._link.is_full):
            self._is_full = True
            if self._link.is_full:
                self._link.wait(self)
            self._room(False)

    def taken(self, amount: bytes) -> None:
        """The other end has taken so much (the payload of a frame)."""
        self._on_its_way -= AMOUNT.unpack(amount)[0]
        self.go_on()

    def go_on(self) -> None:
        if not self._is_full or self._on_its_way > WINDOW:
            return
        if self._link.is_full:
            self._link.wait(self)
        else:
            self._is_full = False
            self._room(True)

    def took(self, size: int, messages: int = 1) -> None:
        """This end has taken messages of ``size`` bytes. The other hears of it only now and then: it needs to know
        only where much is on its way."""
        self._untold += messages * HEAD.size + size
        if self._untold > WINDOW // 2:
            self._link.tell(self._number, TAKEN, AMOUNT.pack(self._untold))
            self._untold = 0

    def end(self) -> None:
        """The connection is over, as far as this end is concerned."""
        self._link.leave(self)
        self._is_full = False
