"""One client's WebSocket: the shell around its conversation, which carries bytes.

Frames become messages here, in turns and within limits, and what is said in ``net.conversation`` becomes frames. That
is autobahn's work; what most messages are, one whole short frame, goes past it (``net.frames``). Rules of the protocol
and of Realms live in the conversation and below; here is the transport.
"""

import socket
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from realmserver.auth.gate import AppUser
from realmserver.metrics import Metrics
from realmserver.net.conversation import Carrier, Talk, Upgrade
from realmserver.net.frames import LONGEST, SHORT_HEAD, framed, payload_of, size_of
from realmserver.net.holdings import Holdings
from realmserver.net.intake import SLICE, Intake
from realmserver.net.lean import LeanProtocol
from realmserver.net.report import ConnectionReport
from realmserver.net.shared import Shared
from realmserver.net.transports import abort_now, write_now

MAX_FRAGMENTS: Final = 1024
"""Frames of one message. Real clients never fragment; without a bound empty frames would fill the memory for free."""

TOO_BIG: Final = 1009
"""The close code for a message over the limit, whoever finds it: autobahn, or the state machine in what it inflates."""

SMALL_FRAME: Final = 4096
"""Bytes of a frame that may wait for those that follow from the same input."""

QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
"""Linux's option to acknowledge what has been received at once."""


class ConnectionHost(Protocol):
    """What a connection needs of the service that it belongs to."""

    @property
    def reactor(self) -> IReactorTime: ...

    @property
    def metrics(self) -> Metrics: ...

    @property
    def shared(self) -> Shared:
        """What connections share, and how much of it one may take."""

    def converse(self, upgrade: Upgrade, report: ConnectionReport, carrier: Carrier) -> Talk:
        """What the client says and hears that comes with ``upgrade``."""

    def opened(self, connection: "SyncConnection") -> None:
        """The connection is open."""

    def closed(self, connection: "SyncConnection") -> None:
        """The connection is gone."""


@implementer(IPushProducer)
class SyncConnection(LeanProtocol):
    """One client's WebSocket. Made by :class:`~realmserver.net.websocket.WebSockets`."""

    transport: Any  # TCP or TLS, None after the end; its own push producer; autobahn leaves the type open

    def __init__(self, host: ConnectionHost, upgrade: Upgrade) -> None:
        super().__init__()
        self._host = host
        self._upgrade = upgrade
        self._report = ConnectionReport(upgrade.connection_id, upgrade.client, upgrade.login, host.metrics)
        talk = self.conversation = host.converse(upgrade, self._report, self)
        shared = self._shared = host.shared
        self._intake = Intake(shared.turns, self._take, self._next_piece, host.reactor.seconds)
        self._holdings = Holdings(self, shared, talk.overfull)
        self._fragments = 0  # of the message that is being received
        self._frame_left = 0  # bytes of its last frame that are still to come
        self._sent = 0
        self._has_answered = False
        self._frames: list[bytes] = []  # what is to be sent when all that follows from an input has been decided
        self._cause: Failure | None = None
        self.last_heard: float = host.reactor.seconds()

    @property
    def login(self) -> AppUser | None:
        """Who is behind the connection as a whole."""
        return self._upgrade.login

    @property
    def client(self) -> str:
        """Whom it came from, for the log."""
        return self._upgrade.client

    @property
    def counted_as(self) -> str:
        """By which name connections of its client are counted."""
        return self._upgrade.counted_as

    def open(self, answer: bytes) -> None:
        """Begin, on the transport of an upgrade that is accepted with ``answer``."""
        self._frames.append(answer)
        self._report.opened(self._upgrade.negotiated.name)
        self._host.opened(self)
        self.transport.registerProducer(self, True)  # a slow reader is ours to mind
        self._intake.transport = self.transport
        self.conversation.begin()
        self.flush()

    # autobahn's side.

    def dataReceived(self, data: bytes) -> None:
        self.last_heard = self._host.reactor.seconds()
        self._has_answered = False
        self._intake.received(data)
        if not self._has_answered:  # an answer acknowledges besides
            self._acknowledge()

    def _next_piece(self, data: bytes, place: int) -> int:
        """How many bytes from ``place`` on are one frame or the rest of one (RFC 6455, 5.2): autobahn is given whole
        frames where they are there, and does its rounds once for each. It judges them, not this."""
        if self._frame_left:
            return self._frame_left
        if self.data or len(data) < place + SHORT_HEAD:  # it has a part of a head already, or gets one
            return SLICE
        return size_of(data, place)

    def _take(self, piece: bytes) -> None:
        """What the peer says next. A whole message that comes between two others is in order whatever autobahn knows;
        all else it has to judge, and what it has begun it must end."""
        if self.state == self.STATE_OPEN and not (self.data or self.inside_message or self.current_frame):
            message = payload_of(piece)
            if message is not None:
                self._message(message)
                return
        super().dataReceived(piece)

    def onMessageFrameBegin(self, length: int) -> None:
        super().onMessageFrameBegin(length)
        self._frame_left = length
        self._fragments += 1
        if self._fragments > MAX_FRAGMENTS:
            self._protocol_violation("too many fragments")

    def onMessageFrameData(self, payload: bytes) -> None:
        super().onMessageFrameData(payload)
        self._frame_left -= len(payload)
        self._holdings.message_part(len(payload))

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self._fragments = 0
        self._holdings.message_done()
        if isBinary:  # text is ignored by both ends (spec/protocol.md 1.5)
            self._message(payload)

    def _message(self, payload: bytes) -> None:
        self._report.received(payload)
        self.conversation.receive(payload)

    def _acknowledge(self) -> None:
        """Have the system acknowledge at once what has come. Some messages get no answer, and a client that waits for
        their acknowledgement before it sends the next small one (Nagle) would lose 40 ms with every change."""
        handle = getattr(self.transport, "socket", None)
        if QUICK_ACK is not None and handle is not None:
            handle.setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)

    def sendCloseFrame(self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False) -> None:
        """Whoever closes (we, the peer, or autobahn at a frame that breaks the rules) comes through here. Nothing can
        be sent from now on, though the peer may keep the connection for CLOSE_TIMEOUT: the sessions end here."""
        super().sendCloseFrame(code, reasonUtf8, isReply)
        self._holdings.message_done()
        if code == TOO_BIG and not isReply:
            self._shared.refused("message_size", "a message was too long", self.client)
        self._report.ends_for("end_of_input" if isReply else "websocket_error")
        self.conversation.lost()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.conversation.end()
        self._intake.stop()
        self._holdings.gone()
        self._host.closed(self)
        self._report.closed(code, self._cause)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._cause = reason  # autobahn does not pass it on
        super().connectionLost(reason)
        self.transport = None  # it may hold megabytes that nobody has read, and we hold ourselves until a collection

    # The transport's side: a push producer, told to pause while the peer does not read.

    def pauseProducing(self) -> None:
        self._holdings.unread(self._sent)
        self.conversation.writable(False)

    def resumeProducing(self) -> None:
        self._holdings.read()
        self.conversation.writable(True)

    def stopProducing(self) -> None:
        """The transport is closing; ``onClose`` follows."""

    # The conversation's side: its carrier.

    def send(self, data: bytes) -> None:
        self._sent = len(data)
        self._has_answered = True
        if len(data) <= LONGEST and self.state == self.STATE_OPEN:
            self.sendData(framed(data))
        else:
            self.sendMessage(data, isBinary=True)  # type: ignore[no-untyped-call]

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """autobahn gives a frame to the transport. What is decided upon one input goes out in one piece, as long as it
        is small: of what is large, the transport has to say at once that there is no room for more."""
        if self.conversation.is_deciding:
            self._frames.append(data)
            if len(data) > SMALL_FRAME:
                self.flush()
        else:
            super().sendData(data, sync, chopsize)

    def flush(self) -> None:
        """Give the system what one input is answered."""
        if self._frames:
            frames, self._frames = self._frames, []
            write_now(self.transport, frames[0] if len(frames) == 1 else b"".join(frames))

    def close(self, code: int, reason: str) -> None:
        self.sendCloseFrame(code, reason.encode(), False)

    def drop(self, reason: str, ending: str) -> None:
        """End the connection at once, without a word to the peer. ``reason`` is for the log, ``ending`` for the
        figures (one of ``metrics.ENDINGS``)."""
        self._frames.clear()
        self._report.dropped(reason, ending)
        if self.transport is not None:
            abort_now(self.transport)

    def pause_reading(self, reason: str) -> None:
        self._intake.pause(reason)

    def resume_reading(self, reason: str) -> None:
        self._intake.resume(reason)

    def waiting(self, size: int) -> None:
        self._holdings.outstanding(size)

    def overdrawn(self, limit: str) -> None:
        """The connection holds on to memory that others need (a limit of the process, named as in ``limits``)."""
        self._shared.refused(limit, "a connection was closed", self.client)
        self.drop(f"limits.{limit} is reached", "limit_reached")
