"""A site that forwards everything, with its client and its backend played by hand: no socket, and time on a clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError, ConnectionAborted, ConnectionDone, TCPTimedOutError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from realmserver import log
from realmserver.http.site import QuietSite
from realmserver.net.backend import Backend
from realmserver.net.forward import Forwarder

REFUSED: Exception = ConnectError()  # type: ignore[no-untyped-call]
TIMED_OUT: Exception = TCPTimedOutError()  # type: ignore[no-untyped-call]

CLIENT = IPv4Address("TCP", "203.0.113.7", 4711)


class Wire(StringTransport):
    """One end of a connection that is ours; the test is at the other end."""

    def __init__(self, clock: Clock, peer: IPv4Address | None = None) -> None:
        super().__init__(peerAddress=peer)  # type: ignore[no-untyped-call]
        self.protocol: Any = None
        self.is_lost = False
        self._clock = clock

    def attach(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    def receive(self, data: bytes) -> None:
        """The other end has sent ``data``."""
        self.protocol.dataReceived(data)

    def read(self) -> bytes:
        """What has been sent to the other end since the last time."""
        data: bytes = self.value()  # type: ignore[no-untyped-call]
        self.clear()  # type: ignore[no-untyped-call]
        return data

    def lose(self, error: type[Exception] = ConnectionDone) -> None:
        """The connection ends."""
        if not self.is_lost:
            self.is_lost = True
            self.protocol.connectionLost(Failure(error()))  # type: ignore[no-untyped-call]

    def loseConnection(self) -> None:
        super().loseConnection()  # type: ignore[no-untyped-call]
        self._clock.callLater(0, self._flushed)

    def abortConnection(self) -> None:
        super().abortConnection()  # type: ignore[no-untyped-call]
        self._clock.callLater(0, self.lose, ConnectionAborted)

    def unregisterProducer(self) -> None:
        if self.producer is not None:
            super().unregisterProducer()  # type: ignore[no-untyped-call]

    def setTcpNoDelay(self, _: bool) -> None:
        """As TCP has it."""

    takes_data = True

    def _flushed(self) -> None:
        if self.takes_data and self.producer is None:
            self.lose()


@implementer(IStreamClientEndpoint)
class Endpoint:
    """The way to a backend. ``failure``: there is none; ``is_silent``: nobody answers."""

    def __init__(self, clock: Clock) -> None:
        self.failure: Exception | None = None
        self.is_silent = False
        self.is_cancelled = False
        self.wires: list[Wire] = []
        self._clock = clock

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.failure is not None:
            return fail(self.failure)
        if self.is_silent:
            return Deferred(lambda _: setattr(self, "is_cancelled", True))
        wire = Wire(self._clock)
        protocol = factory.buildProtocol(None)
        self.wires.append(wire)
        wire.attach(protocol)
        return succeed(protocol)


class Proxy:
    """The site. ``client`` is its connection to a client, ``wire`` the latest to the backend."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint(self.clock)
        self.backend = Backend(self.clock, "backend.example", 27080, stop_timeout=10, endpoint=self.endpoint)
        self._site = QuietSite(Forwarder(self.backend), self.clock)
        self.client = self.connect()

    @property
    def wire(self) -> Wire:
        return self.endpoint.wires[-1]

    def connect(self) -> Wire:
        """One more client."""
        client = Wire(self.clock, CLIENT)
        client.attach(self._site.buildProtocol(CLIENT))  # type: ignore[no-untyped-call]
        return client

    def ask(self, data: bytes) -> bytes:
        """Send a request; what the backend gets of it."""
        self.client.receive(data)
        self.settle()
        return self.wire.read() if self.endpoint.wires else b""

    def answer(self, data: bytes) -> bytes:
        """Have the backend answer; what the client gets of it."""
        self.wire.receive(data)
        self.settle()
        return self.client.read()

    def settle(self) -> None:
        """Let everything happen that needs no time."""
        self.clock.pump([0] * 10)

    def after(self, seconds: float) -> bytes:
        """What the client has got after so long."""
        self.clock.advance(seconds)
        self.settle()
        return self.client.read()


@contextmanager
def logged() -> Iterator[list[str]]:
    """The log's lines, all levels, as they are written."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    observer = cast(ILogObserver, observe)
    globalLogPublisher.addObserver(observer)
    log.set_level("all")
    try:
        yield lines
    finally:
        log.set_level("info")
        globalLogPublisher.removeObserver(observer)
