"""autobahn's WebSockets as this server uses them: what is the same for all connections of a service is made once.

Keeps true: a connection costs what it asks for. Left alone, autobahn copies some thirty options to each connection and
describes them for a log that nobody reads, and it colours the arguments of a debug line for each read and each write:
a sixth of what an upgrade costs, and more of a small message. Nothing here knows what is sent.
"""

from typing import Any, Final

from autobahn.twisted import websocket as shell
from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory
from autobahn.websocket import protocol as core
from twisted.web.server import Request

from realmserver._version import __version__
from realmserver.net.connection import ConnectionHost, SyncConnection
from realmserver.net.conversation import Upgrade

CLOSE_TIMEOUT: Final = 10
"""Seconds that a client has to answer our close frame before the connection is dropped."""


class WebSockets(WebSocketServerFactory):
    """Opens the connections of one service. Their options are attributes of their class, not of each of them."""

    def __init__(self, service: ConnectionHost) -> None:
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
        options = {name: getattr(self, name) for name in SyncConnection.CONFIG_ATTRS}
        self._kind: type[SyncConnection] = type(
            SyncConnection.__name__, (SyncConnection,), {**options, "CONFIG_ATTRS": (), "factory": self}
        )

    def open(self, request: Request, upgrade: Upgrade) -> None:
        """Hand ``request``, which has been accepted as ``upgrade``, over to a connection."""
        WebSocketResource(_One(self._kind(self._service, upgrade))).render(request)  # type: ignore[no-untyped-call]


class _One:
    """What autobahn's resource asks of a factory: the one connection."""

    def __init__(self, connection: SyncConnection) -> None:
        self._connection = connection

    def buildProtocol(self, address: object) -> SyncConnection:
        return self._connection


def _as_it_is(value: Any, **_: Any) -> Any:
    return value


def _leave_arguments_alone() -> None:
    """Whoever writes a debug line of autobahn's down makes text of its arguments, and nobody else does."""
    for module in (core, shell):
        for name in ("hltype", "hlval", "pformat"):
            setattr(module, name, _as_it_is)


_leave_arguments_alone()
