"""autobahn's server protocol without what it keeps and counts for others: a WebSocket that is open from the start.

Keeps true: what autobahn does with frames is what it does elsewhere. Left out is what nobody here asks for: its
statistics, its events and futures, what it notes about the transport, its way of sending in slices, and the handshake,
which ``net.upgrade`` has judged. That is two thirds of what an idle connection would hold, and of what opening one
costs. What autobahn would set for each connection to begin with is an attribute of the class here.
"""

from functools import cached_property
from typing import Any

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.utf8validator import Utf8Validator


class _Unheard:
    """Stands for a future that nobody waits for."""

    def callback(self, result: object) -> None:
        """It has happened."""


class LeanProtocol(WebSocketServerProtocol):
    """A WebSocket whose handshake is over, as autobahn has it then. ``trafficStats`` are those of all together."""

    is_open: Any = _Unheard()
    is_closed: Any = _Unheard()
    trafficStats: Any = TrafficStats()  # type: ignore[no-untyped-call]
    transport_details: Any = None
    trackedTimings: Any = None
    send_queue: Any = ()  # for what is sent in slices
    triggered = False
    send_state = WebSocketServerProtocol.SEND_STATE_GROUND
    state = WebSocketServerProtocol.STATE_OPEN
    data = b""
    inside_message = False
    current_frame: Any = None
    websocket_version = 13
    websocket_extensions_in_use: Any = ()
    _perMessageCompress: Any = None
    wasMaxFramePayloadSizeExceeded = False
    wasMaxMessagePayloadSizeExceeded = False
    closedByMe = False
    failedByMe = False
    droppedByMe = False
    wasClean = False
    wasNotCleanReason: Any = None
    wasServerConnectionDropTimeout = False
    wasOpenHandshakeTimeout = False
    wasCloseHandshakeTimeout = False
    wasServingFlashSocketPolicyFile = False
    localCloseCode: Any = None
    localCloseReason: Any = None
    remoteCloseCode: Any = None
    remoteCloseReason: Any = None
    openHandshakeTimeoutCall: Any = None
    closeHandshakeTimeoutCall: Any = None
    autoPingTimeoutCall: Any = None
    autoPingPending: Any = None
    autoPingPendingCall: Any = None
    autoPingPendingSeq = 0
    autoPingPendingSent: Any = None

    def __init__(self) -> None:
        """autobahn's own would make futures."""

    @cached_property
    def utf8validator(self) -> Any:  # type: ignore[override]
        """For text, which clients do not send."""
        return Utf8Validator()  # type: ignore[no-untyped-call]

    def connectionMade(self) -> None:
        """What autobahn would ask of the transport, HTTP has asked already: to send small packets at once."""
        self.factory.countConnections += 1

    def onMessageEnd(self) -> None:
        if not self.failedByMe:
            self._onMessage(b"".join(self.message_data), self.message_is_binary)
        self.message_data: Any = None
