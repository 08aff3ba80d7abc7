"""The way out of HTTP: a request's connection goes on as something else.

Twisted Web offers none, so this does by hand what autobahn does for WebSockets. What the client has sent before the
answer is dropped: nothing may come then (RFC 6455, 4.1). Twisted Web would keep it for the next request, and pause a
transport that is no longer its own if that is much: nobody would resume it, nor notice its end.
"""

from typing import Any

from twisted.internet.protocol import Protocol
from twisted.protocols.policies import ProtocolWrapper
from twisted.web.server import Request


def take_over(request: Request, protocol: Protocol) -> Any:
    """Give the connection of ``request`` to ``protocol``, and return its transport; HTTP is over there."""
    channel: Any = request.channel
    transport: Any
    transport, channel.transport = channel.transport, None
    transport.unregisterProducer()  # Twisted Web's channel, which watched the transport until now
    if isinstance(transport, ProtocolWrapper):  # TLS
        transport.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    channel.rawDataReceived = _drop  # of what comes in the same breath
    channel.requests.clear()  # they hold each other, and would stay until a collection of garbage
    protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
    transport.resumeProducing()
    return transport


def _drop(data: bytes) -> None:
    """Take no notice of ``data``."""
