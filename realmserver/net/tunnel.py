"""WebSockets to a backend elsewhere: the upgrade is handed on, and if it is accepted, bytes go both ways untouched.

What this module keeps true: a 101 reaches the client only from the backend, and any other answer with its status and
its body, because SDKs read why; each side is read only as fast as the other one takes it; when one side ends, the other
gets what is still on its way and is closed. Nothing of the WebSocket itself is understood here, and the request, whose
URL holds a token, is not logged.
"""

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import BAD_GATEWAY, SERVICE_UNAVAILABLE
from twisted.web.server import Request

from realmserver.http.answers import peer_of
from realmserver.log import get_logger
from realmserver.net.backend import Backend, Errand, NoAnswer, no_answer
from realmserver.net.headers import end_to_end, pairs_of, to_backend
from realmserver.net.takeover import take_over
from realmserver.net.upgrade_answer import BadAnswer, UpgradeAnswer

log = get_logger("proxy")

IDLE_TIMEOUT: Final = 30 * 60
"""Seconds without a byte from either side after which both are taken for gone, as in the sync service."""

CLOSE_TIMEOUT: Final = 10
"""Seconds that a side has to take what is still on its way to it, once the other has ended."""

UPGRADE: Final = (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")


class Asking(Errand, Protocol):
    """An upgrade on its way: the backend's side of it, which becomes one end of a :class:`Tunnel`."""

    transport: Any

    def __init__(self, backend: Backend, request: Request) -> None:
        super().__init__(backend, request)
        self._answer = UpgradeAnswer()
        self._call: Deferred[IProtocol] | None = None
        self._tunnel: Tunnel | None = None
        self._is_abandoned = False

    # The errand.

    def send(self) -> None:
        factory = Factory.forProtocol(lambda: self)
        factory.noisy = False
        self._call = self.backend.endpoint.connect(factory)
        self._call.addErrback(lambda failure: self.refuse(no_answer(failure)))

    def abandon(self) -> None:
        self._is_abandoned = True
        if self.transport is not None:
            self.transport.abortConnection()
        elif self._call is not None:
            self._call.cancel()

    def stop(self) -> None:
        if self._tunnel is not None:
            self._tunnel.close()

    def drop(self) -> None:
        if self._tunnel is not None:
            self._tunnel.abort()
        else:
            super().drop()

    # The backend's connection.

    def connectionMade(self) -> None:
        if self._is_abandoned:
            self.transport.abortConnection()
            return
        self.transport.setTcpNoDelay(True)
        lines = [b"%s %s HTTP/1.1" % (self.request.method, self.request.uri)]
        lines += [b"%s: %s" % pair for pair in (*pairs_of(to_backend(self.request)), *UPGRADE)]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n")

    def dataReceived(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.from_backend(data)
            return
        self._read(lambda: self._answer.feed(data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._tunnel is not None:
            self._tunnel.backend_lost()
        elif not self._is_abandoned:
            self._read(self._answer.ended)

    def _read(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BadAnswer as error:
            self.refuse(NoAnswer(BAD_GATEWAY, str(error)))
            return
        if self._is_abandoned or not self._answer.is_complete:
            return
        if self._answer.is_accepted and self.backend.is_stopping:  # by now: nobody would close it
            self.refuse(NoAnswer(SERVICE_UNAVAILABLE, "the server is stopping"))
            return
        self.answered()
        if self._answer.is_accepted:
            self._tunnel = Tunnel(self, self._answer)
        else:
            self._relay()

    def _relay(self) -> None:
        """Give the client an answer other than 101. It has a length: SDKs read no other bodies."""
        answer, request = self._answer, self.request
        log.detail(
            "{peer}: backend {backend} answers the upgrade with {status}",
            peer=peer_of(request),
            backend=self.backend.where,
            status=answer.status,
        )
        self.abandon()
        request.setResponseCode(answer.status, answer.phrase)
        request.defaultContentType = None
        for name in (b"Server", b"Date"):
            request.responseHeaders.removeHeader(name)
        for name, value in end_to_end(answer.pairs):
            request.responseHeaders.addRawHeader(name, value)
        request.responseHeaders.setRawHeaders(b"Content-Length", [str(len(answer.body)).encode()])
        request.write(answer.body)  # type: ignore[no-untyped-call]
        request.finish()  # type: ignore[no-untyped-call]


class Tunnel:
    """A WebSocket that goes through: the client's connection and the backend's."""

    def __init__(self, asking: Asking, answer: UpgradeAnswer) -> None:
        self._asking = asking
        self._reactor = asking.backend.reactor
        self._peer = peer_of(asking.request)
        self._backend: Any = asking.transport
        self._closing: IDelayedCall | None = None
        self._is_backend_lost = self._is_client_lost = False
        asking.backend.tunnels += 1
        self._client: Any = take_over(asking.request, _ClientEnd(self))
        self._last_heard: float = self._reactor.seconds()
        self._idle: IDelayedCall = self._reactor.callLater(IDLE_TIMEOUT, self._look)
        log.detail("{peer}: WebSocket to backend {backend}", peer=self._peer, backend=asking.backend.where)
        self._client.registerProducer(self._backend, True)
        self._backend.registerProducer(self._client, True)
        lines = [b"HTTP/1.1 101 Switching Protocols"]
        lines += [b"%s: %s" % pair for pair in (*end_to_end(answer.pairs), *UPGRADE)]
        self._client.write(b"\r\n".join(lines) + b"\r\n\r\n" + answer.rest)

    def from_client(self, data: bytes) -> None:
        """The client has sent ``data``."""
        self._last_heard = self._reactor.seconds()
        self._backend.write(data)

    def from_backend(self, data: bytes) -> None:
        """The backend has sent ``data``."""
        self._last_heard = self._reactor.seconds()
        self._client.write(data)

    def client_lost(self) -> None:
        """The client's connection has ended."""
        self._is_client_lost = True
        self._lost()

    def backend_lost(self) -> None:
        """The backend's connection has ended."""
        self._is_backend_lost = True
        self._lost()

    def close(self) -> None:
        """Close both sides, once they have what is on its way to them."""
        if self._closing is not None:
            return
        self._closing = self._reactor.callLater(CLOSE_TIMEOUT, self.abort)
        for transport in self._open():
            transport.unregisterProducer()  # else it would wait for the other side to come to its end
            transport.loseConnection()

    def abort(self) -> None:
        """End both sides at once."""
        for transport in self._open():
            transport.unregisterProducer()
            transport.abortConnection()

    def _open(self) -> list[Any]:
        sides = (self._is_client_lost, self._client), (self._is_backend_lost, self._backend)
        return [transport for is_lost, transport in sides if not is_lost]

    def _lost(self) -> None:
        self.close()
        if self._is_client_lost and self._is_backend_lost:
            for timer in (self._idle, self._closing):
                if timer is not None and timer.active():
                    timer.cancel()
            self._asking.backend.tunnels -= 1
            self._asking.backend.done(self._asking)
            log.detail("{peer}: WebSocket closed", peer=self._peer)

    def _look(self) -> None:
        left = self._last_heard + IDLE_TIMEOUT - self._reactor.seconds()
        if left > 0:
            self._idle = self._reactor.callLater(left, self._look)
            return
        log.detail("{peer}: nothing came through for {minutes} minutes", peer=self._peer, minutes=IDLE_TIMEOUT // 60)
        self.abort()


class _ClientEnd(Protocol):
    """Gets what comes from the client."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    def dataReceived(self, data: bytes) -> None:
        self._tunnel.from_client(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._tunnel.client_lost()
