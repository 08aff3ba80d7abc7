"""The shell around one WebSocket: carries bytes to the sync protocol's state machine, and carries out its decisions.

What the state machine (``sync.server``) decides is done here in the order given; what the Realm answers goes back into
it. Rules of the protocol live there, rules of Realms in ``realms``; here is the transport.
``net.rights`` says who may do what, and what happens is told to ``net.report``.
"""

import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from attrs import frozen
from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from realmserver.auth.gate import AppUser
from realmserver.auth.tokens import BindGrant, ExpiredToken, TokenError, Tokens
from realmserver.metrics import Metrics
from realmserver.net.report import ConnectionReport
from realmserver.net.rights import NotPermitted, admit, check_grant
from realmserver.realms.fanout import Made
from realmserver.realms.live import LiveRealm, Subscriber
from realmserver.realms.paths import IllegalPath
from realmserver.realms.requests import Identified, Identify, RealmError, Upload, UploadDone
from realmserver.store.interface import ClientFile
from realmserver.sync.bodies import EncodedBody
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
from realmserver.sync.versions import Negotiated

MAX_FRAGMENTS: Final = 1024
"""Frames of one message. Real clients never fragment; without a bound empty frames would fill the memory for free."""

UNAUTHORIZED: Final = (4001, 1008)
"""The close codes by which clients are told that a login or a token has ended (``spec/protocol.md`` 1.4)."""

QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
"""Linux's option to acknowledge what has been received at once."""

Live = LiveRealm[EncodedBody]
Input = Callable[[ServerConnection], Iterable[Decision]]


@frozen
class Upgrade:
    """A WebSocket that has been accepted. ``login`` None: each BIND brings a token of its own. ``client``: whom it came
    from, address and port, for the log."""

    negotiated: Negotiated
    login: AppUser | None
    connection_id: str
    client: str


class Host(Protocol):
    """What a connection needs of the service that it belongs to."""

    @property
    def reactor(self) -> IReactorTime: ...

    @property
    def tokens(self) -> Tokens: ...

    @property
    def metrics(self) -> Metrics: ...

    def realm(self, name: str) -> Live:
        """The Realm of this name."""

    def opened(self, connection: "SyncConnection") -> None:
        """The connection is open."""

    def closed(self, connection: "SyncConnection") -> None:
        """The connection is gone."""


class Binding(Subscriber):
    """One session of a connection and the Realm it is bound to."""

    def __init__(
        self, connection: "SyncConnection", session: Session, user_id: str, grant: BindGrant | None, live: Live
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


@implementer(IPushProducer)
class SyncConnection(WebSocketServerProtocol):
    """One client's WebSocket. Made by :class:`~realmserver.net.upgrade.UpgradeResource`."""

    def __init__(self, host: Host, upgrade: Upgrade) -> None:
        super().__init__()
        self._host = host
        self._upgrade = upgrade
        self._machine = ServerConnection(upgrade.negotiated)
        self._report = ConnectionReport(upgrade.connection_id, upgrade.client, upgrade.login, host.metrics)
        self._bindings: dict[Session, Binding] = {}
        self.transport: Any  # TCP or TLS, and its own push producer; autobahn leaves the type open
        self._inputs: deque[Input] = deque()
        self._is_deciding = False
        self._fragments = 0
        self._cause: Failure | None = None
        self.last_heard: float = host.reactor.seconds()

    @property
    def login(self) -> AppUser | None:
        """Who is behind the connection as a whole."""
        return self._upgrade.login

    # autobahn's side.

    def onConnect(self, request: Any) -> str:
        return self._upgrade.negotiated.name

    def onOpen(self) -> None:
        self._report.opened(self._upgrade.negotiated.name)
        self._host.opened(self)
        # Twisted Web's channel watched the transport until now; from here on a slow reader is ours to mind.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self, True)
        self.feed(lambda machine: machine.connected(self._upgrade.connection_id))

    def dataReceived(self, data: bytes) -> None:
        self.last_heard = self._host.reactor.seconds()
        super().dataReceived(data)

    def onMessageFrameBegin(self, length: int) -> None:
        super().onMessageFrameBegin(length)
        self._fragments += 1
        if self._fragments > MAX_FRAGMENTS:
            self._protocol_violation("too many fragments")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self._fragments = 0
        if isBinary:  # text is ignored by both ends (spec/protocol.md 1.5)
            self._report.received(payload)
            self.feed(lambda machine: machine.receive(payload))
            self._acknowledge()

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
        self._report.ends_for("end_of_input" if isReply else "websocket_error")
        self.feed(lambda machine: machine.lost())

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.feed(lambda machine: machine.lost())
        for session in list(self._bindings):
            self._leave(session)
        self._host.closed(self)
        self._report.closed(code, self._cause)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._cause = reason  # autobahn does not pass it on
        super().connectionLost(reason)

    # The transport's side: a push producer, told to pause while the peer does not read.

    def pauseProducing(self) -> None:
        self.feed(lambda machine: machine.writable(False))

    def resumeProducing(self) -> None:
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
        except Exception:  # noqa: BLE001 (a fault of ours in one connection must not cost the others of its Realm)
            self._report.failed()
            self._inputs.clear()
            self.drop("of an internal error", "error_of_unexpected_category")
        finally:
            self._is_deciding = False

    def shutdown(self) -> None:
        """The server stops: tell the client to come again."""
        self._report.ends_for("server_stopping")
        self.feed(lambda machine: machine.shutdown())

    def drop(self, reason: str, ending: str) -> None:
        """End the connection at once, without a word to the peer. ``reason`` is for the log, ``ending`` for the
        figures (one of ``metrics.ENDINGS``)."""
        self._report.dropped(reason, ending)
        self.transport.abortConnection()

    def unauthorize(self, reason: str) -> None:
        """The login behind this connection has ended."""
        self._report.ends_for("unauthorized")
        self.feed(lambda machine: machine.unauthorized(reason))

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Send(data):
                self._report.sent(data)
                self.sendMessage(data, isBinary=True)  # type: ignore[no-untyped-call]
            case Ask(session, request):
                self._ask(self._bindings[session], request)
            case FetchDownload(session):
                self._fetch(self._bindings[session], decision)
            case Open():
                self._open(decision)
            case Leave(session):
                self._leave(session)
            case PauseReading():
                self.transport.pauseProducing()
            case ResumeReading():
                self.transport.resumeProducing()
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
            binding = self._bindings[session] = Binding(self, session, user_id, grant, self._host.realm(name))
            self._report.bound(session)
            if request.need_ident:
                binding.live.allocate(user_id, lambda answer: self._allocated(session, answer))
            else:
                binding.live.open(lambda answer: self._opened(session, answer))

    def refuse(self, session: Session, error: RealmError | SyncError | AuthenticationFailed) -> None:
        """End the session with ``error``, and put nothing more of it to the Realm: what was decided before the state
        machine hears of this, a later upload or progress, would skip what is refused here."""
        binding = self._bindings.get(session)
        if binding is not None:
            binding.is_refused = True
        if isinstance(error, AuthenticationFailed):
            self._report.metrics.authentication_failed.inc()
        self.feed(lambda machine: machine.refused(session, error))

    def _allocated(self, session: Session, answer: ClientFile | RealmError) -> None:
        if isinstance(answer, RealmError):
            self.refuse(session, answer)
        else:
            self.feed(lambda machine: machine.opened(session, answer.ident, answer.salt))

    def _opened(self, session: Session, answer: RealmError | None) -> None:
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
            self._report.left(session)
