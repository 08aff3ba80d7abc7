"""The HTTP side of a sync connection: who may open a WebSocket, and in which protocol (``spec/protocol.md`` 1.1-1.3).

Everything that can be wrong with an upgrade request is found and answered here, with an HTTP status and a body, before
autobahn sees it: a real client crashes on a 101 without the right subprotocol, and gives up as it should only if it can
read the body. What autobahn is then given holds no token, so that it cannot log one.
"""

from collections.abc import Callable
from typing import Final, Protocol
from urllib.parse import parse_qs

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http import BAD_REQUEST, NOT_FOUND, SERVICE_UNAVAILABLE
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from realmserver._version import __version__
from realmserver.auth.gate import AppUser, UpgradeRefused
from realmserver.http.proxies import address_of
from realmserver.log import get_logger
from realmserver.net.admission import RETRY_AFTER, Admission
from realmserver.net.connection import Host, SyncConnection, Upgrade
from realmserver.sync.versions import Negotiated, Refusal, negotiate

log = get_logger("sync")

CLOSE_TIMEOUT: Final = 10
"""Seconds that a client has to answer our close frame before the connection is dropped."""

STOPPING: Final = "The server is stopping."


class Door(Host, Protocol):
    """What an upgrade needs of the service, besides what its connection will need."""

    @property
    def is_stopping(self) -> bool: ...

    @property
    def admission(self) -> Admission: ...

    def authenticate(self, app_id: str, token: str | None, authorization: str | None) -> Deferred[AppUser]:
        """Who opens a WebSocket; fails with :class:`UpgradeRefused`."""

    def next_connection_id(self) -> str:
        """A short name for a connection in logs, here and at the client."""


class UpgradeResource(Resource):
    """Accepts WebSockets for the sync service.

    ``app_id``: the app that the URL names (its clients prove themselves here); None for ``/realm-sync``, whose clients
    bring a token in each BIND.
    """

    isLeaf = True

    def __init__(self, service: Door, app_id: str | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._service = service
        self._app_id = app_id

    def render(self, request: Request) -> int | bytes:
        problem = _check_handshake(request)
        if problem:
            return _refuse(request, BAD_REQUEST, problem)
        if self._service.is_stopping:
            return _refuse(request, SERVICE_UNAVAILABLE, STOPPING)
        crowded = self._service.admission.refusal(self._client(request))
        if crowded:
            return _refuse(request, SERVICE_UNAVAILABLE, crowded)
        negotiated = negotiate(_header(request, "Sec-WebSocket-Protocol"))
        if isinstance(negotiated, Refusal):
            return _refuse(request, negotiated.status, negotiated.body)
        if self._app_id is None:
            self._accept(request, negotiated, None)
        else:
            self._authenticate(request, negotiated, self._app_id)
        return NOT_DONE_YET

    def _authenticate(self, request: Request, negotiated: Negotiated, app_id: str) -> None:
        arguments = parse_qs(request.uri.partition(b"?")[2].decode("ascii", "replace"))
        token = arguments.get("baas_at", [None])[0]
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)
        found = self._service.authenticate(app_id, token, _header(request, "Authorization"))

        def answer(status: int, reason: str) -> None:
            log.info("refused {peer}: {status}, {reason}", peer=_peer(request), status=status, reason=reason)
            if not gone:
                request.write(_refuse(request, status, reason))  # type: ignore[no-untyped-call]
                request.finish()  # type: ignore[no-untyped-call]

        def accept(user: AppUser) -> None:
            if self._service.is_stopping:  # by now: nobody would close this connection, nor the Realms it opens
                answer(SERVICE_UNAVAILABLE, STOPPING)
            elif not gone:
                crowded = self._service.admission.refusal(self._client(request))
                if crowded:  # by now
                    answer(SERVICE_UNAVAILABLE, crowded)
                else:
                    self._accept(request, negotiated, user)

        def refuse(failure: Failure) -> None:
            if isinstance(failure.value, UpgradeRefused):
                answer(failure.value.status, failure.value.reason)
            else:
                log.error("cannot look up an account", failure=failure)
                answer(SERVICE_UNAVAILABLE, "The account store failed.")

        found.addCallbacks(accept, refuse)
        found.addErrback(lambda failure: log.error("an upgrade failed", failure=failure))

    def _client(self, request: Request) -> str:
        """By which name the client is counted."""
        address = address_of(request.getClientAddress())  # type: ignore[no-untyped-call]
        return self._service.admission.name_of(address)

    def _accept(self, request: Request, negotiated: Negotiated, user: AppUser | None) -> None:
        """Hand the request over to autobahn, reduced to what it needs."""
        upgrade = Upgrade(negotiated, user, self._service.next_connection_id(), _peer(request), self._client(request))
        headers = request.requestHeaders
        headers.setRawHeaders("Sec-WebSocket-Protocol", [negotiated.name])
        for name in ("Sec-WebSocket-Extensions", "Authorization", "Origin", "Cookie"):
            headers.removeHeader(name)
        log.debug(
            "{connection}: upgrade of {peer}, {agent}",
            connection=upgrade.connection_id,
            peer=_peer(request),
            agent=_header(request, "User-Agent") or "no User-Agent",
        )
        request.uri = request.uri.partition(b"?")[0]
        channel = request.channel
        WebSocketResource(_Factory(self._service, upgrade)).render(request)  # type: ignore[no-untyped-call]
        # Twisted Web would keep what came in the same breath for the next request, and pause a transport that is no
        # longer its own if that is much: nobody would resume it, nor notice its end. Nothing may come before the answer
        # (RFC 6455, 4.1), so it is dropped.
        channel.rawDataReceived = _drop  # type: ignore[method-assign]


class _Factory(WebSocketServerFactory):
    """Builds the protocol for one accepted request."""

    def __init__(self, service: Door, upgrade: Upgrade) -> None:
        super().__init__(reactor=service.reactor, server=f"RealmSync/{__version__}")  # type: ignore[no-untyped-call]
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            maxMessagePayloadSize=service.shared.messages.message,
            maxFramePayloadSize=service.shared.messages.message,
            autoPingInterval=0,  # clients do not answer WebSocket pings (spec/protocol.md 1.5)
            failByDrop=False,
            closeHandshakeTimeout=CLOSE_TIMEOUT,
            tcpNoDelay=True,
        )
        self._service = service
        self._upgrade = upgrade

    def buildProtocol(self, address: object) -> SyncConnection:
        protocol = SyncConnection(self._service, self._upgrade)
        protocol.factory = self
        return protocol


class SyncTree(Resource):
    """Finds the sync addresses in a site's URLs: ``/realm-sync`` (with or without a path) and
    ``/api/client/v2.0/app/<app id>/realm-sync``. Everything else is ``fallback``'s.

    ``sync`` gives the resource for an app id, and for None that for ``/realm-sync``: :class:`UpgradeResource` where the
    sync service is in this process, a ``net.forward.Forwarder`` where it is not.
    """

    def __init__(self, sync: Callable[[str | None], IResource], fallback: IResource) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sync = sync
        self._fallback = fallback

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        segments: list[bytes] = [path, *(request.postpath or [])]
        if path == b"realm-sync":
            return self._sync(None)
        if len(segments) == 6 and segments[:4] == [b"api", b"client", b"v2.0", b"app"] and segments[5] == b"realm-sync":
            return self._sync(segments[4].decode("ascii", "replace"))
        if self._fallback.isLeaf:
            request.prepath, request.postpath = [], segments
            return self._fallback
        child: IResource = self._fallback.getChildWithDefault(path, request)  # type: ignore[no-untyped-call]
        return child

    def render(self, request: Request) -> int | bytes:
        answer: int | bytes = self._fallback.render(request)  # type: ignore[no-untyped-call]
        return answer


class NotFound(Resource):
    """What a listener for sync alone says to everything else (``spec/protocol.md`` 1.1)."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        return _refuse(request, NOT_FOUND, "Realm sync server\n\nPage not found\n")


def _check_handshake(request: Request) -> str:
    """What is wrong with an upgrade request, empty if nothing is (RFC 6455, 4.2.1)."""
    if request.method != b"GET":
        return "A WebSocket is opened with GET."
    if "websocket" not in _tokens(request, "Upgrade"):
        return "This address takes WebSockets only: the header 'Upgrade: websocket' is missing."
    if "upgrade" not in _tokens(request, "Connection"):
        return "The header 'Connection: Upgrade' is missing."
    if _header(request, "Sec-WebSocket-Version") != "13":
        return "The header 'Sec-WebSocket-Version: 13' is missing."
    if not _header(request, "Sec-WebSocket-Key"):
        return "The header Sec-WebSocket-Key is missing."
    return ""


def _header(request: Request, name: str) -> str | None:
    """A header's value, several lines of it joined. Asked for text, Twisted would fail where it is not UTF-8."""
    values = request.requestHeaders.getRawHeaders(name.encode())
    return b", ".join(values).decode("ascii", "replace") if values else None


def _tokens(request: Request, name: str) -> set[str]:
    return {token.strip().lower() for token in (_header(request, name) or "").split(",")}


def _drop(data: bytes) -> None:
    """Take no notice of ``data``."""


def _peer(request: Request) -> str:
    address = request.getClientAddress()  # type: ignore[no-untyped-call]
    if not hasattr(address, "host"):
        return str(address)
    return f"{address.host}:{address.port}" if address.port else str(address.host)  # a proxy tells no port


def _refuse(request: Request, status: int, body: str) -> bytes:
    """Prepare a plain answer. It has a length: the clients' HTTP parser reads no other bodies."""
    data = body.encode()
    request.setResponseCode(status)
    if status == SERVICE_UNAVAILABLE:
        request.setHeader(b"Retry-After", str(RETRY_AFTER).encode())  # type: ignore[no-untyped-call]
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")  # type: ignore[no-untyped-call]
    request.setHeader(b"Content-Length", str(len(data)).encode())  # type: ignore[no-untyped-call]
    request.setHeader(b"Server", f"RealmSync/{__version__}".encode())  # type: ignore[no-untyped-call]
    return data
