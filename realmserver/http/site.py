"""The site that listeners serve HTTP from: Twisted's, with a limit on bodies and a log without secrets.

Twisted keeps a request's whole body before any resource sees it, in memory or on disk, and logs every URL with its
query, in which clients send access tokens. Both are put right here; resources need not know.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from realmserver.http.extended_json import MAX_BODY
from realmserver.log import get_logger

IDLE_TIMEOUT: Final = 60
"""Seconds after which a connection without a request is closed. WebSockets have left HTTP by then and are not
concerned."""

_TOO_LARGE: Final = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

_log = get_logger("http")


class LimitedRequest(Request):
    """A request whose body may have ``MAX_BODY`` bytes; a longer one is answered with 413 and cut off."""

    _received = 0
    _refused = False

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
            super().requestReceived(command, path, version)  # type: ignore[no-untyped-call]

    @property
    def received_length(self) -> int:
        """Bytes of the body that have come."""
        return self._received

    def _refuse(self) -> None:
        if not self._refused:
            self._refused = True
            if self.channel is not None and self.channel.transport is not None:
                self.channel.transport.write(_TOO_LARGE)
                self.channel.loseConnection()  # type: ignore[no-untyped-call]


class QuietSite(Site):
    """A site without tracebacks in its pages, and without queries in its log. ``answered`` hears of each request that
    is done."""

    displayTracebacks = False
    noisy = False

    def __init__(
        self,
        resource: IResource,
        reactor: IReactorTime,
        *,
        answered: Callable[[HTTPRequest], None] | None = None,
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            resource, requestFactory=LimitedRequest, timeout=IDLE_TIMEOUT, reactor=reactor
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
