"""The shell around one WebSocket: carries bytes to the sync protocol's state machine, and carries out its decisions.

What the state machine (``sync.server``) decides is done here in the order given; what the Realm answers goes back into
it. Rules of the protocol live there, rules of Realms in ``realms``; here is the transport.
``net.rights`` says who may do what, and what happens is told to ``net.report``.
"""

from __future__ import annotations  # those of functions within functions would be evaluated at each call

import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, Protocol

from attrs import frozen
from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection as TCPConnection
from twisted.python.failure import Failure
from zope.interface import implementer

from realmserver.auth.gate import AppUser
from realmserver.auth.tokens import BindGrant, ExpiredToken, TokenError, Tokens
from realmserver.metrics import Metrics
from realmserver.net.holdings import Holdings
from realmserver.net.inbox import Inbox
from realmserver.net.intake import Intake
from realmserver.net.report import ConnectionReport
from realmserver.net.rights import NotPermitted, admit, check_grant
from realmserver.net.shared import Shared
from realmserver.realms.fanout import Made
from realmserver.realms.live import LiveRealm, Subscriber, no_question
from realmserver.realms.paths import IllegalPath
from realmserver.realms.requests import Identified, Identify, LimitReached, RealmError, Upload, UploadDone
from realmserver.store.interface import ClientFile
from realmserver.sync.bodies import EncodedBody
from realmserver.sync.client_messages import ClientMessage
from realmserver.sync.decisions import (
    Abort,
    Ask,
    ClientVersion,
    Close,
    Decision,
    ErrorReceived,
    ErrorSent,
    FetchDownload,
    Leave,
    LimitHit,
    Log,
    Open,
    PauseReading,
    Refresh,
    ResumeReading,
    RoundTrip,
    Send,
)
from realmserver.sync.errors import AuthenticationFailed, Code, SyncError
from realmserver.sync.server import ServerConnection
from realmserver.sync.session import Session
from realmserver.sync.syntax import MalformedMessage
from realmserver.sync.versions import Negotiated

MAX_FRAGMENTS: Final = 1024
"""Frames of one message. Real clients never fragment; without a bound empty frames would fill the memory for free."""

UNAUTHORIZED: Final = (4001, 1008)
"""The close codes by which clients are told that a login or a token has ended (``spec/protocol.md`` 1.4)."""

TOO_BIG: Final = 1009
"""The close code for a message over the limit, whoever finds it: autobahn, or the state machine in what it inflates."""

MAX_OPENING: Final = 16
"""Sessions of a connection whose Realms may be in the process of being opened; it is read no more of until some are.
The threads for Realms are for everybody, and a BIND costs its sender next to nothing."""

BACKLOG, DECODING, OPENING = "backlog", "decoding", "opening"
"""Why a connection is not read from."""

QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
"""Linux's option to acknowledge what has been received at once."""

Live = LiveRealm[EncodedBody]
Input = Callable[[ServerConnection], Iterable[Decision]]


@frozen
class Upgrade:
    """A WebSocket that has been accepted. ``login`` None: each BIND brings a token of its own. ``client``: whom it came
    from, address and port, for the log; ``counted_as``: by which name its connections are counted."""

    negotiated: Negotiated
    login: AppUser | None
    connection_id: str
    client: str
    counted_as: str = ""


class Host(Protocol):
    """What a connection needs of the service that it belongs to."""

    @property
    def reactor(self) -> IReactorTime: ...

    @property
    def tokens(self) -> Tokens: ...

    @property
    def metrics(self) -> Metrics: ...

    @property
    def shared(self) -> Shared:
        """What connections share, and how much of it one may take."""

    def realm(self, name: str) -> Live:
        """The Realm of this name."""

    def decode(self, data: bytes, done: Callable[[ClientMessage | MalformedMessage], None]) -> None:
        """Decode a message in a thread."""

    def opened(self, connection: SyncConnection) -> None:
        """The connection is open."""

    def closed(self, connection: SyncConnection) -> None:
        """The connection is gone."""


class Binding(Subscriber):
    """One session of a connection and the Realm it is bound to."""

    def __init__(
        self, connection: SyncConnection, session: Session, user_id: str, grant: BindGrant | None, live: Live
    ) -> None:
        self.connection = connection
        self.session = session
        self.user_id = user_id
        self.grant = grant
        self.live = live
        self.ident = 0
        self.is_refused = False

    def advanced(self, version: int) -> None:
        self.connection.feed(lambda machine: machine.advanced(self.session, version))

    def superseded(self, by: Subscriber) -> None:
        if isinstance(by, Binding) and by.connection is self.connection:
            # The state machine knows sessions by their paths, and one Realm's may be spelt differently.
            text = f"client file {by.ident} is active in session {self.session.sid} of this connection"
            self.connection.refuse(by.session, SyncError(Code.BOUND_IN_OTHER_SESSION, text))
        else:
            self.connection.feed(lambda machine: machine.superseded())

    def expelled(self, error: RealmError) -> None:
        self.connection.refuse(self.session, error)


@implementer(IPushProducer)
class SyncConnection(WebSocketServerProtocol):
    """One client's WebSocket. Made by :class:`~realmserver.net.upgrade.UpgradeResource`."""

    def __init__(self, host: Host, upgrade: Upgrade) -> None:
        super().__init__()
        self._host = host
        self._upgrade = upgrade
        shared = self._shared = host.shared
        self._machine = ServerConnection(
            upgrade.negotiated, limits=shared.messages, max_sessions=shared.limits.sessions_per_connection
        )
        self._machine.crowded(shared.room.is_crowded)
        self._report = ConnectionReport(upgrade.connection_id, upgrade.client, upgrade.login, host.metrics)
        self._bindings: dict[Session, Binding] = {}
        self.transport: Any  # TCP or TLS, None after the end; its own push producer; autobahn leaves the type open
        self._inputs: deque[Input] = deque()
        self._is_deciding = False
        self._intake = Intake(shared.turns, super().dataReceived, lambda: self._frame_left, host.reactor.seconds)
        self._inbox = Inbox(
            lambda payload: self.feed(lambda machine: machine.receive(payload)),
            lambda message, size: self.feed(lambda machine: machine.receive_decoded(message, size)),
            host.decode,
            lambda is_busy: (self._intake.pause if is_busy else self._intake.resume)(DECODING),
        )
        self._holdings = Holdings(self, shared, self._overfull)
        self._opening = 0
        self._fragments = 0  # of the message that is being received
        self._frame_left = 0  # bytes of its last frame that are still to come
        self._sent = 0
        self._has_answered = False
        self._frames: list[bytes] = []  # what is to be sent when all that follows from an input has been decided
        self._is_paused = False
        self._postponed: FetchDownload | None = None
        self._cause: Failure | None = None
        self.last_heard: float = host.reactor.seconds()
        self.last_bound: float = self.last_heard

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

    @property
    def has_sessions(self) -> bool:
        """Whether a session is bound."""
        return bool(self._bindings)

    # autobahn's side.

    def onConnect(self, request: Any) -> str:
        return self._upgrade.negotiated.name

    def onOpen(self) -> None:
        self._report.opened(self._upgrade.negotiated.name)
        self._host.opened(self)
        # Twisted Web's channel watched the transport until now; from here on a slow reader is ours to mind.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self, True)
        self._intake.transport = self.transport
        self.feed(lambda machine: machine.connected(self._upgrade.connection_id))

    def dataReceived(self, data: bytes) -> None:
        self.last_heard = self._host.reactor.seconds()
        if self._intake.transport is None:  # the upgrade is not done
            super().dataReceived(data)
        else:
            self._has_answered = False
            self._intake.received(data)
            if not self._has_answered:  # an answer acknowledges besides
                self._acknowledge()

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
            self._report.received(payload)
            self._inbox.put(payload)

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
        self.feed(lambda machine: machine.lost())

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.feed(lambda machine: machine.lost())
        for session in list(self._bindings):
            self._leave(session)
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
        self._is_paused = True
        self._holdings.unread(self._sent)
        self.feed(lambda machine: machine.writable(False))

    def resumeProducing(self) -> None:
        self._is_paused = False
        self._holdings.read()
        postponed, self._postponed = self._postponed, None
        if postponed is not None and postponed.session in self._bindings:
            self._fetch(self._bindings[postponed.session], postponed)
        self.feed(lambda machine: machine.writable(True))

    def stopProducing(self) -> None:
        """The transport is closing; ``onClose`` follows."""

    # The state machine's side.

    def feed(self, step: Input) -> None:
        """Give the state machine an input; all that it decides is carried out before it is given the next."""
        self._inputs.append(step)
        if self._is_deciding:
            return
        self._is_deciding = True
        try:
            while self._inputs:
                for decision in self._inputs.popleft()(self._machine):
                    self._carry_out(decision)
                if not self._inputs:  # a session that has just been refused lets go of what it held
                    self._holdings.outstanding(self._machine.outstanding_bytes)
        except Exception:  # noqa: BLE001 (a fault of ours in one connection must not cost the others of its Realm)
            self._report.failed()
            self._inputs.clear()
            self._frames.clear()
            self.drop("of an internal error", "error_of_unexpected_category")
        finally:
            self._is_deciding = False
        self._send_now()

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """autobahn gives a frame to the transport. What is decided upon one input goes out in one piece."""
        if self._is_deciding:
            self._frames.append(data)
        else:
            super().sendData(data, sync, chopsize)

    def _send_now(self) -> None:
        """Give the system what one input is answered, rather than in the reactor's next round, behind whatever is in
        it. What the system does not take, or fails to, the reactor sees to."""
        if not self._frames:
            return
        frames, self._frames = self._frames, []
        transport, data = self.transport, frames[0] if len(frames) == 1 else b"".join(frames)
        if (
            isinstance(transport, TCPConnection)
            and transport.connected
            and not transport.disconnecting
            and not (transport.dataBuffer or transport._tempDataBuffer)
            and len(data) <= transport.SEND_LIMIT
        ):
            sent = transport.writeSomeData(data)
            if isinstance(sent, int):
                data = data[sent:]
        if data and transport is not None:
            transport.write(data)

    def shutdown(self) -> None:
        """The server stops: tell the client to come again."""
        self._report.ends_for("server_stopping")
        self.feed(lambda machine: machine.shutdown())

    def drop(self, reason: str, ending: str) -> None:
        """End the connection at once, without a word to the peer. ``reason`` is for the log, ``ending`` for the
        figures (one of ``metrics.ENDINGS``)."""
        self._report.dropped(reason, ending)
        if self.transport is not None:
            self.transport.abortConnection()

    def overdrawn(self, limit: str) -> None:
        """The connection holds on to memory that others need (a limit of the process, named as in ``limits``)."""
        self._shared.refused(limit, "a connection was closed", self.client)
        self.drop(f"limits.{limit} is reached", "limit_reached")

    def crowded(self, is_crowded: bool) -> None:
        """The server as a whole has much waiting, or has no more."""
        self.feed(lambda machine: machine.crowded(is_crowded))

    def _overfull(self) -> None:
        self._shared.refused("upload_backlog", "a connection was told to come again", self.client)
        self._inputs.append(lambda machine: machine.overfull())

    def unauthorize(self, reason: str) -> None:
        """The login behind this connection has ended."""
        self._report.ends_for("unauthorized")
        self.feed(lambda machine: machine.unauthorized(reason))

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Send(data):
                self._report.sent(data)
                self._sent = len(data)
                self._has_answered = True
                self.sendMessage(data, isBinary=True)  # type: ignore[no-untyped-call]
            case Ask(session, request):
                self._ask(self._bindings[session], request)
            case FetchDownload(session):
                if self._is_paused:  # by the DOWNLOAD before it; the decision is older than that
                    self._postponed = decision
                else:
                    self._fetch(self._bindings[session], decision)
            case Open():
                self._open(decision)
            case Leave(session):
                self._leave(session)
            case PauseReading():
                self._intake.pause(BACKLOG)
            case ResumeReading():
                self._intake.resume(BACKLOG)
            case Close(code, reason):
                self._report.ends_for("unauthorized" if code in UNAUTHORIZED else "sync_protocol_error")
                self.sendCloseFrame(code, reason.encode(), False)
            case Abort(reason):
                self.drop(reason, "superseded_session")
            case Refresh(session, token):
                self._refresh(self._bindings[session], token)
            case ClientVersion(session, ident, salt):
                self._client_version(self._bindings[session], ident, salt)
            case Log():
                self._report.told(decision)
            case ErrorSent():
                self._report.error_sent(decision)
            case ErrorReceived():
                self._report.error_received(decision)
            case RoundTrip(milliseconds):
                self._report.round_trip(milliseconds)
            case LimitHit(limit):
                self._shared.refused(limit, "a session was refused", self.client)

    # Requests to Realms. What comes back too late is ignored by the state machine.

    def _open(self, request: Open) -> None:
        session = request.session
        try:
            user_id, grant, name = admit(request, self.login, self._host.tokens, time.time())
        except IllegalPath as error:
            self.refuse(session, SyncError(Code.ILLEGAL_REALM_PATH, str(error)))
        except TokenError as error:
            self.refuse(session, AuthenticationFailed(str(error), isinstance(error, ExpiredToken)))
        except NotPermitted as error:
            self.refuse(session, SyncError(Code.PERMISSION_DENIED, str(error)))
        else:
            is_limited = grant is None or not grant.admin
            if is_limited and not self._shared.bound.has_room(user_id, name):
                self.refuse(session, LimitReached("realms_per_user", "you have too many Realms open"))
                return
            self._shared.bound.bind(user_id, name)
            binding = self._bindings[session] = Binding(self, session, user_id, grant, self._host.realm(name))
            self._report.bound(session)
            self._opening += 1
            if self._opening > MAX_OPENING:
                self._intake.pause(OPENING)
            permit = partial(self._shared.new.make, user_id) if is_limited else no_question
            if request.need_ident:
                binding.live.allocate(user_id, lambda answer: self._allocated(session, answer), permit)
            else:
                binding.live.open(lambda answer: self._opened(session, answer), permit)

    def refuse(self, session: Session, error: RealmError | SyncError | AuthenticationFailed) -> None:
        """End the session with ``error``, and put nothing more of it to the Realm: what was decided before the state
        machine hears of this, a later upload or progress, would skip what is refused here."""
        binding = self._bindings.get(session)
        if binding is not None:
            binding.is_refused = True
        if isinstance(error, AuthenticationFailed):
            self._report.metrics.authentication_failed.inc()
        if isinstance(error, LimitReached):
            self._shared.refused(error.limit, str(error), self.client)
        self.feed(lambda machine: machine.refused(session, error))

    def _no_longer_opening(self) -> None:
        self._opening -= 1
        if self._opening <= MAX_OPENING:
            self._intake.resume(OPENING)

    def _allocated(self, session: Session, answer: ClientFile | RealmError) -> None:
        self._no_longer_opening()
        if isinstance(answer, RealmError):
            self.refuse(session, answer)
        else:
            self.feed(lambda machine: machine.opened(session, answer.ident, answer.salt))

    def _opened(self, session: Session, answer: RealmError | None) -> None:
        self._no_longer_opening()
        if answer is not None:
            self.refuse(session, answer)
        else:
            self.feed(lambda machine: machine.opened(session))

    def _ask(self, binding: Binding, request: Identify | Upload) -> None:
        session, begun = binding.session, time.perf_counter()

        def answered(answer: Identified | UploadDone | RealmError) -> None:
            if isinstance(answer, UploadDone) and isinstance(request, Upload):
                self._report.integrated(session, request, answer, time.perf_counter() - begun)
            elif isinstance(answer, Identified):
                self._report.identified(session, request.ident)
            if session not in self._bindings:
                # It was left while the Realm looked at its IDENT and did not know of it yet.
                binding.live.leave(binding.ident, binding)
            if isinstance(answer, RealmError):
                self.refuse(session, answer)
            else:
                self.feed(lambda machine: machine.answered(session, answer))

        if binding.is_refused:
            return
        try:
            check_grant(binding.grant, request, binding.live.name, time.time())
        except TokenError as error:
            self.refuse(session, AuthenticationFailed(str(error), expired=True))
        except NotPermitted as error:
            self.refuse(session, SyncError(Code.PERMISSION_DENIED, str(error)))
        else:
            if isinstance(request, Upload):
                binding.live.upload(request, answered)
            else:
                binding.ident = request.ident
                protocol = self._upgrade.negotiated.version
                binding.live.identify(request, binding.user_id, protocol, binding, answered)

    def _fetch(self, binding: Binding, request: FetchDownload) -> None:
        session, begun = binding.session, time.perf_counter()

        def fetched(answer: Made[EncodedBody] | RealmError) -> None:
            if isinstance(answer, RealmError):
                self.refuse(session, answer)
            else:
                if session in self._bindings:
                    self._report.downloading(session, *answer, time.perf_counter() - begun)
                self.feed(lambda machine: machine.downloaded(session, *answer))

        binding.live.fetch(request.ident, request.cursor, self._upgrade.negotiated.version, fetched)

    def _refresh(self, binding: Binding, token: str) -> None:
        session = binding.session
        if binding.grant is None:  # the connection's own login counts
            self.feed(lambda machine: machine.refreshed(session))
            return
        try:
            grant = self._host.tokens.verify_bind_token(token, now=time.time())
        except TokenError as error:
            self.refuse(session, AuthenticationFailed(str(error), isinstance(error, ExpiredToken)))
            return
        if grant.identity != binding.user_id:
            self.refuse(session, AuthenticationFailed("the new token is another user's"))
        elif not grant.allows("download", binding.live.name):
            self.refuse(session, SyncError(Code.PERMISSION_DENIED, "the new token does not allow to download"))
        else:
            binding.grant = grant
            self.feed(lambda machine: machine.refreshed(session))

    def _client_version(self, binding: Binding, ident: int, salt: int) -> None:
        session = binding.session

        def found(answer: int | RealmError) -> None:
            if isinstance(answer, RealmError):
                self.refuse(session, answer)
            else:
                self.feed(lambda machine: machine.client_version(session, answer))

        binding.live.client_version(ident, salt, found)

    def _leave(self, session: Session) -> None:
        binding = self._bindings.pop(session, None)
        if binding is not None:
            binding.live.leave(binding.ident, binding)
            self._shared.bound.leave(binding.user_id, binding.live.name)
            self.last_bound = self._host.reactor.seconds()
            self._report.left(session)
