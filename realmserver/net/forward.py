"""Forwards a site's requests to a backend: HTTP here, WebSockets by ``net.tunnel``.

What this module keeps true: a slow reader slows the backend down, so that an answer of any size takes a bounded room;
an answer that makes no progress is ended; one that breaks off never looks whole. It knows nothing of what is asked.
"""

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import BAD_REQUEST, NO_BODY_CODES, SERVICE_UNAVAILABLE, PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from realmserver.log import get_logger
from realmserver.net.backend import Backend, Errand, no_answer, refusal
from realmserver.net.headers import end_to_end, pairs_of, wants_websocket
from realmserver.net.tunnel import Asking

log = get_logger("proxy")

STALL_TIMEOUT: Final = 60
"""Seconds in which the body of an answer must get further, by what the backend sends or what the client reads."""


class Forwarder(Resource):
    """Forwards every request that it is given to ``backend``."""

    isLeaf = True

    def __init__(self, backend: Backend) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._backend = backend

    def render(self, request: Request) -> int | bytes:
        if not request.uri.startswith(b"/") or not request.uri.isascii():
            return refusal(request, BAD_REQUEST)
        if self._backend.is_stopping:
            return refusal(request, SERVICE_UNAVAILABLE)
        errand: Errand = (
            Asking(self._backend, request) if wants_websocket(request) else Exchange(self._backend, request)
        )
        errand.begin()
        return NOT_DONE_YET


class Exchange(Errand):
    """An HTTP request and its answer."""

    _call: Deferred[IResponse] | None = None
    _body: "_Body | None" = None

    def send(self) -> None:
        self._call = self.backend.request(self.request)
        self._call.addCallbacks(self._relay, lambda failure: self.refuse(no_answer(failure)))
        self._call.addErrback(self._failed)

    def abandon(self) -> None:
        if self._body is not None:
            self._body.abandon()
        elif self._call is not None:
            self._call.cancel()

    def _relay(self, response: IResponse) -> None:
        self.answered()
        request = self.request
        request.setResponseCode(response.code, response.phrase)
        request.defaultContentType = None
        for name in {name for name, _ in end_to_end(pairs_of(response.headers))}:
            values = response.headers.getRawHeaders(name, ())
            request.responseHeaders.setRawHeaders(name, values)
        has_body = request.method != b"HEAD" and response.code not in NO_BODY_CODES
        length = str(response.length).encode() if has_body and response.length is not UNKNOWN_LENGTH else None
        if request.method == b"HEAD":  # then it is the length of what GET would give
            length = response.headers.getRawHeaders(b"Content-Length", [None])[0]
        if length is not None:
            request.responseHeaders.setRawHeaders(b"Content-Length", [length])
        request.write(b"")  # type: ignore[no-untyped-call]  # the head, which need not wait for the body to begin
        self._body = _Body(self)
        response.deliverBody(self._body)  # type: ignore[no-untyped-call]

    def _failed(self, failure: Failure) -> None:
        log.error("an answer cannot be relayed", failure=failure)
        self.break_off()


@implementer(IPushProducer)
class _Body(Protocol):
    """The body of an answer on its way to the client."""

    transport: Any
    _deadline: IDelayedCall

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._is_over = False

    def connectionMade(self) -> None:
        self._deadline = self._exchange.backend.reactor.callLater(STALL_TIMEOUT, self._stalled)
        self._exchange.request.registerProducer(self, True)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        if not self._is_over:
            self._deadline.reset(STALL_TIMEOUT)
            self._exchange.request.write(data)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._is_over:
            return
        self._end()
        if isinstance(reason.value, ResponseDone | PotentialDataLoss):
            self._exchange.request.finish()  # type: ignore[no-untyped-call]
        else:
            log.warn(
                "backend {backend} breaks off an answer: {cause}",
                backend=self._exchange.backend.where,
                cause=reason.getErrorMessage(),
            )
            self._exchange.break_off()

    def abandon(self) -> None:
        """Take no more of it."""
        if not self._is_over:
            self._end()
            self.transport.loseConnection()

    # The client's connection calls these.

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._deadline.reset(STALL_TIMEOUT)
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.abandon()

    def _end(self) -> None:
        self._is_over = True
        if self._deadline.active():
            self._deadline.cancel()
        if self._exchange.request.channel is not None:  # the client is still there
            self._exchange.request.unregisterProducer()  # type: ignore[no-untyped-call]

    def _stalled(self) -> None:
        log.warn("an answer of backend {backend} gets no further", backend=self._exchange.backend.where)
        self._exchange.break_off()
