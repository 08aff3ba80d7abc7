"""autobahn's WebSockets as this server uses them: what is the same for all connections of a service is made once.

Keeps true: a connection costs what it asks for. Left alone, autobahn copies some thirty options to each connection and
describes them for a log that nobody reads, it parses once more the request that Twisted Web has parsed, and it colours
the arguments of a debug line for each read and each write: half of what an upgrade costs, and more of a small message.
Whoever calls has judged the request (``net.upgrade``). Nothing here knows what is sent.
"""

from base64 import b64encode
from hashlib import sha1
from typing import Any, Final

from autobahn.twisted import websocket as shell
from autobahn.twisted.websocket import WebSocketServerFactory
from autobahn.websocket import protocol as core
from twisted.web.server import Request

from realmserver._version import __version__
from realmserver.net.connection import ConnectionHost, SyncConnection
from realmserver.net.conversation import Upgrade
from realmserver.net.takeover import take_over

CLOSE_TIMEOUT: Final = 10
"""Seconds that a client has to answer our close frame before the connection is dropped."""

_ANSWER: Final = (
    f"HTTP/1.1 101 Switching Protocols\r\nServer: RealmSync/{__version__}\r\nUpgrade: WebSocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Protocol: {}\r\nSec-WebSocket-Accept: {}\r\n\r\n"
)


class WebSockets(WebSocketServerFactory):
    """Opens the connections of one service. Their options are attributes of their class, not of each of them."""

    def __init__(self, service: ConnectionHost) -> None:
        super().__init__(reactor=service.reactor)  # type: ignore[no-untyped-call]
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            maxMessagePayloadSize=service.shared.messages.message,
            maxFramePayloadSize=service.shared.messages.message,
            autoPingInterval=0,  # clients do not answer WebSocket pings (spec/protocol.md 1.5)
            failByDrop=False,
            closeHandshakeTimeout=CLOSE_TIMEOUT,
        )
        self._service = service
        options = {name: getattr(self, name) for name in SyncConnection.CONFIG_ATTRS}
        self._kind: type[SyncConnection] = type(
            SyncConnection.__name__, (SyncConnection,), {**options, "CONFIG_ATTRS": (), "factory": self}
        )

    def open(self, request: Request, key: bytes, upgrade: Upgrade) -> None:
        """Make a connection of ``request``, which has been accepted as ``upgrade``; ``key`` is its
        Sec-WebSocket-Key."""
        connection = self._kind(self._service, upgrade)
        take_over(request, connection)
        connection.open(_ANSWER.format(upgrade.negotiated.name, accepted(key)).encode())


def accepted(key: bytes) -> str:
    """The proof that an upgrade with ``key`` was understood: Sec-WebSocket-Accept (RFC 6455, 4.2.2)."""
    return b64encode(sha1(key + core.WebSocketProtocol._WS_MAGIC, usedforsecurity=False).digest()).decode()


def _as_it_is(value: Any, **_: Any) -> Any:
    return value


def _leave_arguments_alone() -> None:
    """Whoever writes a debug line of autobahn's down makes text of its arguments, and nobody else does."""
    for module in (core, shell):
        for name in ("hltype", "hlval", "pformat"):
            setattr(module, name, _as_it_is)


_leave_arguments_alone()
