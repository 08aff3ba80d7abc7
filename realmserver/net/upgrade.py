"""The HTTP side of a sync connection: who may open a WebSocket, and in which protocol (``spec/protocol.md`` 1.1-1.3).

Everything that can be wrong with an upgrade request is found and answered here, with an HTTP status and a body: a real
client crashes on a 101 without the right subprotocol, and gives up as it should only if it can read the body. Twisted
Web has parsed the request, and nobody parses it again: what is let in goes on with its first frame.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http import BAD_REQUEST, NOT_FOUND, SERVICE_UNAVAILABLE
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from realmserver._version import __version__
from realmserver.auth.gate import AppUser, UpgradeRefused
from realmserver.http.proxies import address_of
from realmserver.log import DEBUG, get_logger
from realmserver.net.admission import RETRY_AFTER, Admission
from realmserver.net.connection import ConnectionHost
from realmserver.net.conversation import Upgrade
from realmserver.net.websocket import WebSockets
from realmserver.sync.versions import Negotiated, Refusal, negotiate

log = get_logger("sync")

STOPPING: Final = "The server is stopping."

_negotiate = lru_cache(maxsize=64)(negotiate)  # few kinds of clients come, and each says the same every time

_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
"""16 bytes in base64 (RFC 6455, 4.1)."""

_HOST: Final = re.compile(rb"([^:]*|\[[^\]]*\])(:[0-9]+)?")
"""A name or an address, perhaps with a port (RFC 9110, 7.2). Which one does not matter here."""


class Door(ConnectionHost, Protocol):
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
    bring a token in each BIND. ``websockets`` opens what is let in.
    """

    isLeaf = True

    def __init__(self, service: Door, websockets: WebSockets, app_id: str | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._service = service
        self._websockets = websockets
        self._app_id = app_id

    def render(self, request: Request) -> int | bytes:
        problem = _check_handshake(request)
        if problem:
            return _refuse(request, BAD_REQUEST, problem)
        if self._service.is_stopping:
            return _refuse(request, SERVICE_UNAVAILABLE, STOPPING)
        client = self._service.admission.name_of(address_of(request.getClientAddress()))  # type: ignore[no-untyped-call]
        crowded = self._service.admission.refusal(client)
        if crowded:
            return _refuse(request, SERVICE_UNAVAILABLE, crowded)
        negotiated = _negotiate(_header(request, b"Sec-WebSocket-Protocol"))
        if isinstance(negotiated, Refusal):
            return _refuse(request, negotiated.status, negotiated.body)
        arrival = _Arrival(self._service, self._websockets, request, client, negotiated)
        if self._app_id is None:
            arrival.is_good(None)
        else:
            self._authenticate(arrival, self._app_id)
        return NOT_DONE_YET

    def _authenticate(self, arrival: "_Arrival", app_id: str) -> None:
        request = arrival.request
        tokens: list[bytes] = (request.args or {}).get(b"baas_at", [])
        token = tokens[0].decode("ascii", "replace") if tokens else None
        found = self._service.authenticate(app_id, token, _header(request, b"Authorization"))

        def refuse(failure: Failure) -> None:
            if isinstance(failure.value, UpgradeRefused):
                arrival.refuse(failure.value.status, failure.value.reason)
            else:
                log.error("cannot look up an account", failure=failure)
                arrival.refuse(SERVICE_UNAVAILABLE, "The account store failed.")

        found.addCallbacks(arrival.is_good, refuse)
        found.addErrback(lambda failure: log.error("an upgrade failed", failure=failure))


class _Arrival:
    """An upgrade request without a fault. When it is known who makes it, it waits for its turn to be opened: that takes
    longer than most messages, and many may come at once."""

    def __init__(
        self, service: Door, websockets: WebSockets, request: Request, client: str, negotiated: Negotiated
    ) -> None:
        self.request = request
        self._service = service
        self._websockets = websockets
        self._client = client  # by which name it is counted
        self._negotiated = negotiated
        self._user: AppUser | None = None

    def is_good(self, user: AppUser | None) -> None:
        """It is ``user``'s; None: its sessions say whose they are."""
        self._user = user
        self._service.shared.turns.wait(self)

    def refuse(self, status: int, reason: str) -> None:
        """Answer that there will be no connection."""
        request = self.request
        log.info("refused {peer}: {status}, {reason}", peer=_peer(request), status=status, reason=reason)
        if not self._is_gone:
            request.write(_refuse(request, status, reason))  # type: ignore[no-untyped-call]
            request.finish()  # type: ignore[no-untyped-call]

    def take_turn(self) -> None:
        """Open it, unless that has become impossible."""
        if self._is_gone:
            return
        if self._service.is_stopping:  # nobody would close this connection, nor the Realms it opens
            self.refuse(SERVICE_UNAVAILABLE, STOPPING)
            return
        crowded = self._service.admission.refusal(self._client)
        if crowded:
            self.refuse(SERVICE_UNAVAILABLE, crowded)
        else:
            self._open()

    @property
    def _is_gone(self) -> bool:
        return self.request.channel is None

    def _open(self) -> None:
        request, peer = self.request, _peer(self.request)
        upgrade = Upgrade(self._negotiated, self._user, self._service.next_connection_id(), peer, self._client)
        if log.is_on(DEBUG):
            log.debug(
                "{connection}: upgrade of {peer}, {agent}",
                connection=upgrade.connection_id,
                peer=peer,
                agent=_header(request, b"User-Agent") or "no User-Agent",
            )
        (key,) = request.requestHeaders.getRawHeaders(b"Sec-WebSocket-Key", ())
        self._websockets.open(request, key, upgrade)


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
    if request.method != b"GET" or request.clientproto != b"HTTP/1.1":
        return "A WebSocket is opened with GET in HTTP/1.1."
    if "websocket" not in _tokens(request, b"Upgrade"):
        return "This address takes WebSockets only: the header 'Upgrade: websocket' is missing."
    if "upgrade" not in _tokens(request, b"Connection"):
        return "The header 'Connection: Upgrade' is missing."
    if _header(request, b"Sec-WebSocket-Version") != "13":
        return "The header 'Sec-WebSocket-Version: 13' is missing."
    keys = request.requestHeaders.getRawHeaders(b"Sec-WebSocket-Key", ())
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        return "The header Sec-WebSocket-Key is missing, or is not the key of a WebSocket."
    hosts = request.requestHeaders.getRawHeaders(b"Host", ())
    if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
        return "The header Host is missing, is there more than once, or names no host."
    return ""


def _header(request: Request, name: bytes) -> str | None:
    """A header's value, several lines of it joined. Asked for text, Twisted would fail where it is not UTF-8."""
    values = request.requestHeaders.getRawHeaders(name)
    return b", ".join(values).decode("ascii", "replace") if values else None


def _tokens(request: Request, name: bytes) -> set[str]:
    return {token.strip().lower() for token in (_header(request, name) or "").split(",")}


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
