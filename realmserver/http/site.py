"""The site that listeners serve HTTP from: Twisted's, with a limit on bodies, a log without secrets, and clients behind
proxies told by their own address.

Twisted keeps a request's whole body before any resource sees it, in memory or on disk, and logs every URL with its
query, in which clients send access tokens. Both are put right here; resources need not know. Nor need they know of
proxies: what a trusted one says is what the request's ``getClientAddress``, ``isSecure`` and ``Host`` say afterwards,
and what nobody believes is gone. Whom to trust comes from ``network.trusted_proxies`` (``http.proxies``).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from realmserver.http.extended_json import MAX_BODY
from realmserver.http.proxies import (
    LOCAL_PROXIES,
    Network,
    Origin,
    address_of,
    came_straight,
    endpoint_address,
    marks_of,
    origin,
)
from realmserver.log import get_logger

IDLE_TIMEOUT: Final = 60
"""Seconds after which a connection without a request is closed (``limits.keep_alive_timeout``). WebSockets have left
HTTP by then and are not concerned."""

REQUEST_TIMEOUT: Final = 60
"""Seconds in which a request must be there as a whole (``limits.request_timeout``): long enough for the largest body
over the slowest line, and for whoever sends a byte now and then the end."""

_TOO_LARGE: Final = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

_log = get_logger("http")


class LimitedRequest(Request):
    """A request whose body may have ``MAX_BODY`` bytes; a longer one is answered with 413 and cut off.

    ``came_directly``: it was made on this machine, and no proxy has had it in hand.
    """

    came_directly = False
    _received = 0
    _refused = False
    _origin = Origin()

    def gotLength(self, length: int | None) -> None:
        """Twisted calls this when the headers are there; ``length`` None means that the body comes in chunks."""
        super().gotLength(min(length or 0, MAX_BODY))  # type: ignore[no-untyped-call]
        if length is not None and length > MAX_BODY:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """Twisted calls this for each piece of the body."""
        self._received += len(data)
        if self._received > MAX_BODY:
            self._refuse()
        else:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Twisted calls this when the whole body is there."""
        if not self._refused:
            self._hear_proxies()
            channel: Any = self.channel
            channel.site.has_asked(channel.transport)
            super().requestReceived(command, path, version)  # type: ignore[no-untyped-call]

    @property
    def received_length(self) -> int:
        """Bytes of the body that have come."""
        return self._received

    def getClientAddress(self) -> IAddress:
        """The client's address, with port 0 where a proxy names it."""
        client = self._origin.client
        if client is not None:
            return (IPv4Address if client.version == 4 else IPv6Address)("TCP", str(client), 0)
        return endpoint_address(super().getClientAddress())  # type: ignore[no-untyped-call]

    def isSecure(self) -> bool:
        """Whether the client speaks TLS, to us or to a proxy in front."""
        told = self._origin.is_secure
        return bool(super().isSecure()) if told is None else told  # type: ignore[no-untyped-call]

    def _hear_proxies(self) -> None:
        channel: Any = self.channel
        headers, peer = self.requestHeaders, address_of(channel.getPeer())
        marks = marks_of(headers)
        self.came_directly = came_straight(peer, marks)
        if not marks:
            return
        self._origin = origin(peer, headers, channel.site.trusted_proxies)
        for name in marks:  # what is believed has been taken down, and nobody is to believe the rest
            headers.removeHeader(name)
        if self._origin.host is not None:
            headers.setRawHeaders(b"Host", [self._origin.host.encode("ascii")])

    def _refuse(self) -> None:
        if not self._refused:
            self._refused = True
            if self.channel is not None and self.channel.transport is not None:
                self.channel.transport.write(_TOO_LARGE)
                self.channel.loseConnection()  # type: ignore[no-untyped-call]


class DeadlineChannel(HTTPChannel):
    """A connection on which each request must be there within the site's ``request_timeout``, counted from its first
    byte: Twisted's own time-out begins anew with every byte."""

    site: Any  # Twisted sets it, and names no type
    _deadline: IDelayedCall | None = None

    def dataReceived(self, data: bytes) -> None:
        was_idle = not self.requests
        super().dataReceived(data)  # type: ignore[no-untyped-call]
        if was_idle and (self.requests or self._buffer) and not self._handlingRequest:  # it has not come as a whole
            self._begin_deadline()

    def allContentReceived(self) -> None:
        self._end_deadline()
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def requestDone(self, request: HTTPRequest) -> None:
        super().requestDone(request)  # type: ignore[no-untyped-call]
        if self._buffer or (self.requests and not self._handlingRequest):  # a part of the next is here already
            self._begin_deadline()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._end_deadline()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _begin_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.site.reactor.callLater(self.site.request_timeout, self._too_slow)

    def _end_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()

    def _too_slow(self) -> None:
        transport: Any = self.transport
        self.site.too_slow(str(getattr(transport.getPeer(), "host", "unknown")))
        transport.write(_TOO_SLOW)
        self.timeoutConnection()  # type: ignore[no-untyped-call]


class QuietSite(Site):
    """A site without tracebacks in its pages, and without queries in its log.

    ``trusted_proxies``: the networks whose ``X-Forwarded-*`` headers are believed. ``answered`` hears of each request
    that is done, ``has_asked`` of each transport over which one has come, ``too_slow`` of each peer whose request did
    not come in time.
    """

    displayTracebacks = False
    noisy = False
    protocol = DeadlineChannel  # type: ignore[assignment]  # HTTP/2, which Twisted's choice is for, is not spoken

    def __init__(
        self,
        resource: IResource,
        reactor: IReactorTime,
        trusted_proxies: Sequence[Network] = LOCAL_PROXIES,
        *,
        answered: Callable[[HTTPRequest], None] | None = None,
        has_asked: Callable[[object], None] = lambda transport: None,
        too_slow: Callable[[str], None] = lambda peer: None,
        idle_timeout: float = IDLE_TIMEOUT,
        request_timeout: float = REQUEST_TIMEOUT,
    ) -> None:
        self.trusted_proxies = tuple(trusted_proxies)
        self.has_asked = has_asked
        self.too_slow = too_slow
        self.request_timeout = request_timeout
        # Nothing here is a form. Reading one, Twisted raises on some of the headers that strangers can send, and the
        # request would go without an answer.
        super().__init__(  # type: ignore[no-untyped-call]
            resource,
            requestFactory=LimitedRequest,
            timeout=idle_timeout,
            reactor=reactor,
            parsePOSTFormSubmission=False,
        )
        self._answered = answered

    def log(self, request: HTTPRequest) -> None:
        """Say what was asked and answered; Twisted calls this when a request is done."""
        if self._answered is not None:
            self._answered(request)
        _log.debug(
            "{peer}: {method} {path} {status}, {size} bytes",
            peer=getattr(request.getClientAddress(), "host", "unknown"),  # type: ignore[no-untyped-call]
            method=request.method.decode("ascii", "replace"),
            path=request.path.decode("ascii", "replace"),
            status=request.code,
            size=request.sentLength,
        )


def came_directly(request: object) -> bool:
    """Whether ``request`` was made on this machine, and not through a proxy: by the operator, or by what watches."""
    return bool(getattr(request, "came_directly", False))
