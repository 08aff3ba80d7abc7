"""What a client and its Realms say to each other: the state machine's decisions carried out, whatever carries them.

What the state machine (``sync.server``) decides is done here in the order given, and what the Realm answers goes back
into it. Rules of the protocol live there, rules of Realms in ``realms``, who may do what in ``net.rights``; what
happens is told to ``net.report``. Nothing here knows WebSockets: a :class:`Carrier` takes the messages.
"""

from __future__ import annotations  # those of functions within functions would be evaluated at each call

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Protocol

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from realmserver.auth.gate import AppUser
from realmserver.auth.tokens import BindGrant, ExpiredToken, TokenError, Tokens
from realmserver.metrics import Metrics
from realmserver.net.inbox import Inbox
from realmserver.net.report import ConnectionReport
from realmserver.net.rights import NotPermitted, admit, check_grant
from realmserver.net.shared import Shared
from realmserver.realms.fanout import Made
from realmserver.realms.line import Line
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
    Report,
    ResumeReading,
    RoundTrip,
    Send,
)
from realmserver.sync.errors import AuthenticationFailed, Code, SyncError
from realmserver.sync.server import ServerConnection
from realmserver.sync.session import Session
from realmserver.sync.syntax import MalformedMessage
from realmserver.sync.versions import Negotiated

UNAUTHORIZED: Final = (4001, 1008)
"""The close codes by which clients are told that a login or a token has ended (``spec/protocol.md`` 1.4)."""

MAX_OPENING: Final = 16
"""Sessions of a connection whose Realms may be in the process of being opened; it is read no more of until some are.
The threads for Realms are for everybody, and a BIND costs its sender next to nothing."""

BACKLOG, OPENING, DECODING = "backlog", "opening", "decoding"
"""Why a connection is not read from."""

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
    """What a conversation needs of the service that it belongs to."""

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


class Carrier(Protocol):
    """Carries the messages of one conversation."""

    def send(self, data: bytes) -> None:
        """Send a message; it may wait for :meth:`flush`."""

    def flush(self) -> None:
        """One input has been answered as a whole."""

    def close(self, code: int, reason: str) -> None:
        """Send no more, and end with this close code."""

    def drop(self, reason: str, ending: str) -> None:
        """End at once. ``reason`` is for the log, ``ending`` for the figures (one of ``metrics.ENDINGS``)."""

    def pause_reading(self, reason: str) -> None:
        """Take nothing more from the peer, for ``reason``."""

    def resume_reading(self, reason: str) -> None:
        """``reason`` is no more."""

    def waiting(self, size: int) -> None:
        """So many bytes that were received wait now."""


class Talk(Protocol):
    """What the carrier of a conversation needs of it. Its methods are those of :class:`Conversation`."""

    last_bound: float
    """When it had no session any more, or began (the reactor's seconds)."""

    @property
    def is_deciding(self) -> bool:
        """Whether more may be sent before :meth:`Carrier.flush`."""

    @property
    def has_sessions(self) -> bool:
        """Whether a session is bound."""

    @property
    def receive(self) -> Callable[[bytes], None]:
        """Takes a message of the client."""

    def begin(self) -> None: ...

    def writable(self, is_writable: bool) -> None: ...

    def lost(self) -> None: ...

    def end(self) -> None: ...

    def shutdown(self) -> None: ...

    def crowded(self, is_crowded: bool) -> None: ...

    def overfull(self) -> None: ...

    def unauthorize(self, reason: str) -> None: ...


class Binding(Subscriber):
    """One session of a connection and the Realm it is bound to."""

    def __init__(
        self, conversation: Conversation, session: Session, user_id: str, grant: BindGrant | None, live: Live
    ) -> None:
        self.conversation = conversation
        self.session = session
        self.user_id = user_id
        self.grant = grant
        self.live = live
        self.ident = 0
        self.is_refused = False

    def advanced(self, version: int) -> None:
        self.conversation.feed(lambda machine: machine.advanced(self.session, version))

    def superseded(self, by: Subscriber) -> None:
        if isinstance(by, Binding) and by.conversation is self.conversation:
            # The state machine knows sessions by their paths, and one Realm's may be spelt differently.
            text = f"client file {by.ident} is active in session {self.session.sid} of this connection"
            self.conversation.refuse(by.session, SyncError(Code.BOUND_IN_OTHER_SESSION, text))
        else:
            self.conversation.feed(lambda machine: machine.superseded())

    def expelled(self, error: RealmError) -> None:
        self.conversation.refuse(self.session, error)

    def reported(self, answer: UploadDone | RealmError) -> None:
        """The Realm has taken the client's progress down, or has not."""
        if isinstance(answer, RealmError):
            self.conversation.refuse(self.session, answer)


class Conversation:
    """One client's. ``upgrade`` is how it began, ``report`` hears of it."""

    def __init__(self, host: Host, upgrade: Upgrade, report: ConnectionReport, carrier: Carrier) -> None:
        self._host = host
        self._upgrade = upgrade
        self._report = report
        self._carrier = carrier
        shared = self._shared = host.shared
        self._machine = ServerConnection(
            upgrade.negotiated, limits=shared.messages, max_sessions=shared.limits.sessions_per_connection
        )
        self._machine.crowded(shared.room.is_crowded)
        self.receive: Callable[[bytes], None] = Inbox(
            lambda payload: self.feed(lambda machine: machine.receive(payload)),
            lambda message, size: self.feed(lambda machine: machine.receive_decoded(message, size)),
            host.decode,
            lambda is_busy: (carrier.pause_reading if is_busy else carrier.resume_reading)(DECODING),
        ).put
        self._bindings: dict[Session, Binding] = {}
        self._inputs: Line[Input] = Line()
        self.is_deciding = False
        self._opening = 0
        self._is_paused = False
        self._postponed: FetchDownload | None = None
        self._may_have_more = True
        self.last_bound: float = host.reactor.seconds()

    @property
    def has_sessions(self) -> bool:
        """Whether a session is bound."""
        return bool(self._bindings)

    # The carrier's side.

    def begin(self) -> None:
        """Messages can be sent."""
        self.feed(lambda machine: machine.connected(self._upgrade.connection_id))

    def receive_bind(self, payload: bytes, elsewhere: int, may_have_more: bool) -> None:
        """A BIND has come from a client that has so many sessions of this connection ``elsewhere``; its user may have
        one more Realm open, or not, as others count it."""

        def step(machine: ServerConnection) -> Iterable[Decision]:
            machine.elsewhere = elsewhere
            self._may_have_more = may_have_more
            return machine.receive(payload)

        self.feed(step)

    def writable(self, is_writable: bool) -> None:
        """The peer reads what is sent, or does not."""
        self._is_paused = not is_writable
        if is_writable:
            postponed, self._postponed = self._postponed, None
            if postponed is not None and postponed.session in self._bindings:
                self._fetch(self._bindings[postponed.session], postponed)
        self.feed(lambda machine: machine.writable(is_writable))

    def lost(self) -> None:
        """Nothing can be sent any more; more may be heard, and is not heeded."""
        self.feed(lambda machine: machine.lost())

    def end(self) -> None:
        """It is over."""
        self.lost()
        for session in list(self._bindings):
            self._leave(session)

    def shutdown(self) -> None:
        """The server stops: tell the client to come again."""
        self._report.ends_for("server_stopping")
        self.feed(lambda machine: machine.shutdown())

    def crowded(self, is_crowded: bool) -> None:
        """The server as a whole has much waiting, or has no more."""
        self.feed(lambda machine: machine.crowded(is_crowded))

    def overfull(self) -> None:
        """It has more waiting, while all together have far too much."""
        self._shared.refused("upload_backlog", "a connection was told to come again", self._upgrade.client)
        self._inputs.append(lambda machine: machine.overfull())

    def unauthorize(self, reason: str) -> None:
        """The login behind it has ended."""
        self._report.ends_for("unauthorized")
        self.feed(lambda machine: machine.unauthorized(reason))

    # The state machine's side.

    def feed(self, step: Input) -> None:
        """Give the state machine an input; all that it decides is carried out before it is given the next."""
        self._inputs.append(step)
        if self.is_deciding:
            return
        self.is_deciding = True
        try:
            while self._inputs:
                for decision in self._inputs.popleft()(self._machine):
                    self._carry_out(decision)
                if not self._inputs:  # a session that has just been refused lets go of what it held
                    self._carrier.waiting(self._machine.outstanding_bytes)
        except Exception:  # noqa: BLE001 (a fault of ours in one connection must not cost the others of its Realm)
            self._report.failed()
            self._inputs.clear()
            self._carrier.drop("of an internal error", "error_of_unexpected_category")
        finally:
            self.is_deciding = False
        self._carrier.flush()

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Send(data):
                self._report.sent(data)
                self._carrier.send(data)
            case Ask(session, request):
                self._ask(self._bindings[session], request)
            case Report(session, progress):
                binding = self._bindings[session]
                if not binding.is_refused:
                    binding.live.upload(progress, binding.reported)
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
                self._carrier.pause_reading(BACKLOG)
            case ResumeReading():
                self._carrier.resume_reading(BACKLOG)
            case Close(code, reason):
                self._report.ends_for("unauthorized" if code in UNAUTHORIZED else "sync_protocol_error")
                self._carrier.close(code, reason)
            case Abort(reason):
                self._carrier.drop(reason, "superseded_session")
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
                self._shared.refused(limit, "a session was refused", self._upgrade.client)

    # Requests to Realms. What comes back too late is ignored by the state machine.

    def _open(self, request: Open) -> None:
        session = request.session
        try:
            user_id, grant, name = admit(request, self._upgrade.login, self._host.tokens, time.time())
        except IllegalPath as error:
            self.refuse(session, SyncError(Code.ILLEGAL_REALM_PATH, str(error)))
        except TokenError as error:
            self.refuse(session, AuthenticationFailed(str(error), isinstance(error, ExpiredToken)))
        except NotPermitted as error:
            self.refuse(session, SyncError(Code.PERMISSION_DENIED, str(error)))
        else:
            is_limited = grant is None or not grant.admin
            if is_limited and not (self._may_have_more and self._shared.bound.has_room(user_id, name)):
                self.refuse(session, LimitReached("realms_per_user", "you have too many Realms open"))
                return
            self._shared.bound.bind(user_id, name)
            binding = self._bindings[session] = Binding(self, session, user_id, grant, self._host.realm(name))
            self._report.bound(session)
            self._opening += 1
            if self._opening > MAX_OPENING:
                self._carrier.pause_reading(OPENING)
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
            self._shared.refused(error.limit, str(error), self._upgrade.client)
        self.feed(lambda machine: machine.refused(session, error))

    def _no_longer_opening(self) -> None:
        self._opening -= 1
        if self._opening <= MAX_OPENING:
            self._carrier.resume_reading(OPENING)

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
