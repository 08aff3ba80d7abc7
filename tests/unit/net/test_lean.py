"""What is left of autobahn's protocol is all that an open connection of autobahn's own has, where anybody asks for it.

It names what autobahn keeps inside, which may be another matter in its next version: then these fail, and tell what.
"""

from typing import Any

import txaio
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.testing import MemoryReactorClock, StringTransport

from realmserver.net.lean import LeanProtocol

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

OF_THE_HANDSHAKE = {
    *("_transport_details", "_wskey", "http_headers", "http_request_data", "http_request_host", "http_request_params"),
    *("http_request_path", "http_request_uri", "http_response_data", "http_status_line"),
    *("websocket_extensions", "websocket_origin", "websocket_protocol_in_use", "websocket_protocols"),
}

OF_EACH_CONNECTION = {"connected", "factory", "peer", "transport", "utf8validator"}

LEFT_OUT = {"_results", "_valid_events", "is_closed", "is_open", "send_queue", "trafficStats"}


def opened() -> Any:
    """A connection of autobahn's own."""
    txaio.use_twisted()  # type: ignore[no-untyped-call]
    factory = WebSocketServerFactory(reactor=MemoryReactorClock())  # type: ignore[no-untyped-call]
    factory.protocol = WebSocketServerProtocol
    protocol: Any = factory.buildProtocol(None)
    protocol.makeConnection(StringTransport())  # type: ignore[no-untyped-call]
    protocol.dataReceived(HANDSHAKE)
    assert protocol.state == protocol.STATE_OPEN
    return protocol


def test_an_open_connection_has_what_autobahn_gives_one() -> None:
    protocol = opened()
    found = {name: value for name, value in vars(protocol).items() if name not in protocol.CONFIG_ATTRS}
    lean = LeanProtocol()
    assert {name for name in found if not hasattr(lean, name)} == OF_THE_HANDSHAKE
    known = {name: getattr(lean, name) for name in found.keys() - OF_THE_HANDSHAKE}
    other = {name for name, value in known.items() if not alike(value, found[name])}
    assert other == OF_EACH_CONNECTION | LEFT_OUT


def alike(one: object, other: object) -> bool:
    """Empty is empty, in whatever it is kept."""
    return one == other or (isinstance(one, tuple) and isinstance(other, list) and list(one) == other)
