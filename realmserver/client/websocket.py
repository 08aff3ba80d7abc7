"""The client's WebSocket: autobahn behind a seam small enough to be played in memory by tests.

It carries binary messages and tells how it ended; it knows nothing of the protocol inside. The URL may hold an access
token, so nothing here logs it, nor lets autobahn do so.
"""

from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from attrs import frozen
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from txaio import tx

from realmserver.client.trust import SYSTEM, Trust
from realmserver.sync.syntax import CLIENT_LIMITS
from realmserver.sync.versions import offer

USER_AGENT: Final = "RealmSync (Python)"

CONNECT_TIMEOUT: Final = 120
"""Seconds for the connection and the answer to the upgrade, as in real clients (``spec/protocol.md`` 1.5)."""

CLOSE_TIMEOUT: Final = 10
"""Seconds that the server has to answer our close frame before the connection is dropped."""

MAX_REFUSAL: Final = 64 * 1024
"""Bytes of a refused upgrade's answer that are waited for; what refuses says so in a few hundred."""

SWITCHING_PROTOCOLS: Final = 101


@frozen
class Ended:
    """How a WebSocket ended, or why there is none.

    ``status`` and ``body``: the HTTP answer if the upgrade was refused, else 0 and "". ``code``: the close code, 0 if
    the connection ended without one.
    """

    reason: str
    code: int = 0
    status: int = 0
    body: str = ""


class Socket(Protocol):
    """An open WebSocket. Its owner hears ``closed`` after either kind of end."""

    def send(self, data: bytes) -> None: ...

    def close(self) -> None:
        """Send what is written, and close in order."""

    def abort(self) -> None:
        """Drop the connection."""


class Owner(Protocol):
    """Who hears of a WebSocket: ``opened`` at most once, then ``received``, and ``closed`` exactly once."""

    def opened(self, socket: Socket, subprotocol: str | None) -> None: ...

    def received(self, data: bytes) -> None: ...

    def closed(self, ended: Ended) -> None: ...


class Dial(Protocol):
    """Opens a WebSocket at ``url`` for ``owner``."""

    def __call__(self, url: str, owner: Owner) -> None: ...


class Dialer:
    """Opens real WebSockets over TCP or TLS. ``trust``: whose certificates are accepted, by default those of the
    system's authorities (see ``client.trust``)."""

    def __init__(self, reactor: Any, trust: Trust = SYSTEM) -> None:
        self._reactor = reactor
        self._trust = trust

    def __call__(self, url: str, owner: Owner) -> None:
        parts = urlsplit(url)
        is_secure = parts.scheme == "wss"
        host, port = parts.hostname or "", parts.port or (443 if is_secure else 80)
        endpoint: Any = HostnameEndpoint(self._reactor, host, port, timeout=CONNECT_TIMEOUT)
        if is_secure:
            endpoint = wrapClientTLS(optionsForClientTLS(host, self._trust.root), endpoint)

        def failed(failure: Failure) -> None:
            owner.closed(Ended(f"cannot connect to {host}:{port}: {failure.getErrorMessage()}"))

        endpoint.connect(_Factory(self._reactor, url, owner)).addErrback(failed)


class _Factory(WebSocketClientFactory):
    noisy = False

    def __init__(self, reactor: Any, url: str, owner: Owner) -> None:
        super().__init__(url, protocols=offer().split(", "), useragent=USER_AGENT, reactor=reactor)  # type: ignore[no-untyped-call]
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            maxMessagePayloadSize=CLIENT_LIMITS.message,
            maxFramePayloadSize=CLIENT_LIMITS.message,
            autoPingInterval=0,  # the protocol has its own PING (spec/protocol.md 1.5)
            openHandshakeTimeout=CONNECT_TIMEOUT,
            closeHandshakeTimeout=CLOSE_TIMEOUT,
            failByDrop=False,
            tcpNoDelay=True,
        )
        self._owner = owner

    def buildProtocol(self, address: object) -> "_Socket":
        protocol = _Socket(self._owner)
        protocol.factory = self
        return protocol


class _Socket(WebSocketClientProtocol):
    log = tx.make_logger(level="info")  # type: ignore[no-untyped-call]  # below that autobahn logs the request with its token

    def __init__(self, owner: Owner) -> None:
        super().__init__()
        self.transport: Any  # TCP or TLS; autobahn leaves the type open
        self._owner = owner
        self._status = 0
        self._body = ""

    # The Socket that the owner is given.

    def send(self, data: bytes) -> None:
        if self.state != self.STATE_OPEN:  # the server has closed it, and the owner will hear of that in a moment
            return
        self.sendMessage(data, isBinary=True)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self.sendClose(1000)

    def abort(self) -> None:
        self.transport.abortConnection()

    # autobahn's side.

    def processHandshake(self) -> None:
        """Read the answer to the upgrade; one that refuses is waited for to its end, since its body says why."""
        head, end, body = self.data.partition(b"\r\n\r\n")
        if end:
            status = _status(head)
            if status != SWITCHING_PROTOCOLS:
                if len(body) < min(_content_length(head), MAX_REFUSAL):
                    return
                self._status, self._body = status, body[:MAX_REFUSAL].decode("utf-8", "replace")
        super().processHandshake()  # type: ignore[no-untyped-call]

    def onOpen(self) -> None:
        self._owner.opened(self, self.websocket_protocol_in_use)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if isBinary:  # text is ignored by both ends (spec/protocol.md 1.5)
            self._owner.received(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self._owner.closed(Ended(reason or "", code or 0, self._status, self._body))


def _status(head: bytes) -> int:
    """The HTTP status; 0 if there is none."""
    words = head.partition(b"\r\n")[0].split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return 0
