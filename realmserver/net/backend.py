"""Backends elsewhere: how they are reached, what is on its way to them, and what clients are told if they fail.

What this module keeps true: every request that sets out is answered or its connection ended, in bounded time: 502 where
the backend cannot be reached or breaks off, 504 where it does not answer, 503 while we stop. When the server stops, all
that is on its way comes to its end first, or is ended. It knows neither how HTTP is forwarded (``net.forward``) nor
WebSockets (``net.tunnel``). The errors' form is that of ``spec/http-api.md`` 1.4, below ``/api/client/`` that of 4.1.
"""

import json
import secrets
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, DNSLookupError, TCPTimedOutError, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.task import Cooperator
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, FileBodyProducer, HTTPConnectionPool
from twisted.web.http import BAD_GATEWAY, BAD_REQUEST, GATEWAY_TIMEOUT, SERVICE_UNAVAILABLE
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IResponse
from twisted.web.server import Request
from zope.interface import implementer

from realmserver.http.answers import error_answer, peer_of
from realmserver.http.problems import ApiError
from realmserver.log import get_logger
from realmserver.net.headers import to_backend

log = get_logger("proxy")

CONNECT_TIMEOUT: Final = 10
"""Seconds for a connection to a backend: it is in the same network."""

ANSWER_TIMEOUT: Final = 60
"""Seconds for the head of an answer, connecting included. Clients wait about as long for theirs."""

KEPT_CONNECTIONS: Final = 32
KEPT_SECONDS: Final = 30
"""Connections to a backend that wait for the next request, and how long: less than the backend's own patience (60 s),
else it might hang up just as we begin to ask."""

STOP_TIMEOUT: Final = 10
"""Seconds that requests on their way, and WebSockets, have to end when the server stops."""

API: Final = b"/api/client/"
"""Where errors have App Services' form."""

PROBLEMS: Final = "https://realm.io/docs/object-server/problems/"
"""The base of every problem's type (``spec/http-api.md`` 1.4)."""

_PROBLEMS: Final = {
    BAD_REQUEST: ("bad-request", "The request's address is malformed."),
    BAD_GATEWAY: ("bad-gateway", "The service behind this server cannot be reached."),
    SERVICE_UNAVAILABLE: ("service-unavailable", "The server is stopping."),
    GATEWAY_TIMEOUT: ("gateway-timeout", "The service behind this server does not answer."),
}
"""HTTP status → the end of the problem's type, and what people read."""


class NoAnswer(Exception):
    """The backend gives no answer: the HTTP ``status`` for the client, and what the log says."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status: int = status


class Backend(Service):
    """A service that runs at ``host:port``, and all that is on its way there.

    ``stop_timeout``: seconds that this may take when the server stops. ``endpoint`` is there for tests.
    """

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        *,
        stop_timeout: float = STOP_TIMEOUT,
        endpoint: IStreamClientEndpoint | None = None,
    ) -> None:
        self.reactor = reactor
        self.where: str = f"{f'[{host}]' if ':' in host else host}:{port}"
        self.endpoint: IStreamClientEndpoint = (
            endpoint if endpoint is not None else HostnameEndpoint(reactor, host, port, timeout=CONNECT_TIMEOUT)
        )
        self.is_stopping = False
        self.tunnels = 0
        self._stop_timeout = stop_timeout
        self._errands: set[Errand] = set()
        self._all_done: Deferred[None] | None = None
        self._pool = HTTPConnectionPool(reactor)  # type: ignore[no-untyped-call]
        self._pool.maxPersistentPerHost = KEPT_CONNECTIONS
        self._pool.cachedConnectionTimeout = KEPT_SECONDS
        agent: Any = Agent.usingEndpointFactory(reactor, _Always(self.endpoint), self._pool)  # type: ignore[no-untyped-call]
        self._agent: IAgent = agent
        self._cooperator: Any = Cooperator(scheduler=lambda step: reactor.callLater(0, step))

    def request(self, request: Request) -> Deferred[IResponse]:
        """Ask the backend over HTTP what ``request`` asks us. Its URI is a path in ASCII."""
        assert request.content is not None
        size = request.content.seek(0, 2)
        request.content.seek(0)
        body = FileBodyProducer(request.content, self._cooperator) if size else None  # type: ignore[no-untyped-call]
        url = f"http://{self.where}".encode("ascii") + request.uri
        answer: Deferred[IResponse] = self._agent.request(request.method, url, to_backend(request), body)
        return answer

    # For errands.

    def begun(self, errand: "Errand") -> None:
        """``errand`` has set out."""
        self._errands.add(errand)

    def done(self, errand: "Errand") -> None:
        """``errand`` is over, however it went."""
        self._errands.discard(errand)
        if self._all_done is not None and not self._errands:
            done, self._all_done = self._all_done, None
            done.callback(None)

    # Life.

    def stopService(self) -> Deferred[None]:
        """Let what is on its way come to its end, and close all connections; fires when none is left."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.is_stopping = True
        for errand in list(self._errands):
            errand.stop()
        if self._errands:
            done = self._all_done = Deferred()
            timeout = self.reactor.callLater(self._stop_timeout, self._drop_all)
            await done
            if timeout.active():
                timeout.cancel()
        await self._pool.closeCachedConnections()  # type: ignore[no-untyped-call]

    def _drop_all(self) -> None:
        for errand in list(self._errands):
            errand.drop()


class Errand:
    """One request on its way to a backend. Subclasses send it (:meth:`send`) and relay the answer."""

    def __init__(self, backend: Backend, request: Request) -> None:
        self.backend = backend
        self.request = request
        self.is_client_gone = False
        self._is_answered = False
        self._timer: IDelayedCall | None = None

    def begin(self) -> None:
        """Set out."""
        self.backend.begun(self)
        finished = self.request.notifyFinish()
        finished.addCallbacks(lambda _: self._end(), lambda _: self._client_is_gone())
        self._timer = self.backend.reactor.callLater(ANSWER_TIMEOUT, self._expired)
        try:
            self.send()
        except ValueError as error:  # Twisted's word for a method or a header that HTTP does not have
            self.refuse(NoAnswer(BAD_REQUEST, str(error)))

    def send(self) -> None:
        """Send the request to the backend."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Stop waiting for the backend; close what was opened to it."""
        raise NotImplementedError

    def stop(self) -> None:
        """The server stops: come to an end. There is time for an answer."""

    def drop(self) -> None:
        """End at once: the server has waited long enough."""
        if self._is_answered:
            self.break_off()
        else:
            self.refuse(NoAnswer(SERVICE_UNAVAILABLE, "the server is stopping"))

    def answered(self) -> None:
        """The backend's answer begins."""
        self._is_answered = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def refuse(self, error: NoAnswer) -> None:
        """Tell the client that there is no answer, unless it has one or has gone."""
        if self._is_answered or self.is_client_gone:
            return
        self.answered()
        self.abandon()
        log.warn(
            "{peer}: {method} {path} {status}, backend {backend}: {reason}",
            peer=peer_of(self.request),
            method=self.request.method.decode("ascii", "replace"),
            path=self.request.path.decode("ascii", "replace"),
            status=error.status,
            backend=self.backend.where,
            reason=str(error),
        )
        self.request.write(refusal(self.request, error.status))  # type: ignore[no-untyped-call]
        self.request.finish()  # type: ignore[no-untyped-call]

    def break_off(self) -> None:
        """End the client's connection: an answer that is cut short must not look whole."""
        self.abandon()
        transport: Any = None if self.request.channel is None else self.request.channel.transport
        if transport is not None and not self.is_client_gone:
            transport.abortConnection()

    def _expired(self) -> None:
        self.refuse(NoAnswer(GATEWAY_TIMEOUT, f"no answer within {ANSWER_TIMEOUT} seconds"))

    def _client_is_gone(self) -> None:
        self.is_client_gone = True
        self.abandon()
        self._end()

    def _end(self) -> None:
        self.answered()
        self.backend.done(self)


def refusal(request: Request, status: int) -> bytes:
    """Prepare an answer of our own for a request that cannot be forwarded; its body."""
    slug, title = _PROBLEMS[status]
    if request.path.startswith(API):
        return error_answer(request, ApiError(status, "InternalServerError", title), secrets.token_hex(12))
    problem = {"type": PROBLEMS + slug, "title": title, "status": status, "code": status}
    body = json.dumps(problem).encode()
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json; charset=utf-8")  # type: ignore[no-untyped-call]
    request.setHeader(b"Content-Length", str(len(body)).encode())  # type: ignore[no-untyped-call]
    if status == SERVICE_UNAVAILABLE:
        request.setHeader(b"Retry-After", b"1")  # type: ignore[no-untyped-call]
    return body


def no_answer(failure: Failure) -> NoAnswer:
    """What a failure on the way to a backend means for the client."""
    error = failure.value
    if isinstance(error, NoAnswer):
        return error
    if isinstance(error, TimeoutError | TCPTimedOutError):
        return NoAnswer(GATEWAY_TIMEOUT, f"cannot connect within {CONNECT_TIMEOUT} seconds")
    if isinstance(error, ConnectError | DNSLookupError):
        return NoAnswer(BAD_GATEWAY, f"cannot connect: {failure.getErrorMessage()}")
    if isinstance(error, CancelledError):
        return NoAnswer(BAD_GATEWAY, "given up")
    return NoAnswer(BAD_GATEWAY, f"it breaks off: {failure.getErrorMessage()}")


@implementer(IAgentEndpointFactory)
class _Always:
    """Every URL is at the one backend."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, _: URI) -> IStreamClientEndpoint:
        return self._endpoint
