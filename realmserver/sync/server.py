"""The server end of one connection, as a state machine without I/O (``spec/protocol.md`` 3).

Bytes of messages and answers of the host come in, decisions go out. Keeps true: messages of one session are dealt with
in the order in which they came, also when a client does not wait for replies; sessions take turns in sending; after the
one error that ends a connection nothing is sent or heeded; what waits to be processed is bounded, and the peer is not
read from while it is too much. It knows no clock, socket, token check or Realm; see :mod:`realmserver.sync.decisions`
for what the host has to do.

The host calls one input at a time and carries out all decisions of one call before it calls the next: an answer that is
known at once must still be given after the decisions that asked for it. ``lost`` is called last, whoever closed.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import update_wrapper
from typing import Concatenate, Final, Literal, ParamSpec

from realmserver.realms.requests import Download, Identified, RealmError, UploadDone
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c
from realmserver.sync.backlog import Backlog, cost
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
    LimitHit,
    Log,
    Open,
    PauseReading,
    Refresh,
    Report,
    ResumeReading,
    RoundTrip,
    Send,
    printable,
)
from realmserver.sync.errors import (
    LONG_BACKOFF,
    SERVER_BACKOFF,
    Action,
    AuthenticationFailed,
    Code,
    SyncError,
    of_authentication,
    of_realm,
    survivable,
    to_message,
)
from realmserver.sync.session import Awaiting, ConnectionFailed, Session, SessionFailed, State
from realmserver.sync.syntax import SERVER_LIMITS, Limits, MalformedMessage, MessageTooBig
from realmserver.sync.versions import Negotiated

MAX_SESSIONS: Final = 4096
"""Sessions of one connection: an administrator's listener opens one for each Realm. Beyond it BIND is refused; at twice
this number of idents in use (refused ones stay in use until UNBIND) the connection ends."""

_MAX_REASON: Final = 123
"""Bytes of a close reason (RFC 6455, 5.5)."""

_OK: Final = 1000
_POLICY: Final = 1008
_TOO_BIG: Final = 1009
_UNAUTHORIZED: Final = 4001

P = ParamSpec("P")

_Reply = (
    s2c.Ident
    | s2c.ClientVersion
    | s2c.State
    | s2c.Mark
    | s2c.Unbound
    | s2c.Error
    | s2c.JsonError
    | s2c.Pong
    | s2c.LogMessage
)


def _input(
    step: "Callable[Concatenate[ServerConnection, P], None]",
) -> "Callable[Concatenate[ServerConnection, P], list[Decision]]":
    """Make ``step`` an input: nothing happens once the connection is over, a ConnectionFailed ends it, and what was
    decided is handed out."""

    def run(self: "ServerConnection", /, *args: P.args, **kwargs: P.kwargs) -> list[Decision]:
        if self.is_over:
            return []
        try:
            step(self, *args, **kwargs)
        except ConnectionFailed as failure:
            self._end(failure.error, failure.session)
        return self._decided()

    update_wrapper(run, step)
    return run


def decoded(data: bytes, limits: Limits) -> c2s.ClientMessage | MalformedMessage:
    """What ``data`` says, or what is wrong with it. Takes time in proportion to what it inflates to."""
    try:
        return c2s.decode_client_message(data, limits)
    except MalformedMessage as error:
        # Its traceback holds frames, and with them the inflated body, for as long as anyone has the error.
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)


class ServerConnection:
    """The server end of one connection.

    ``negotiated`` is what :func:`realmserver.sync.versions.negotiate` gave. ``legacy_token``: the client proves itself
    by the token in BIND and REFRESH and survives the errors 202 and 203 and the other codes of ``spec/protocol.md`` 4.2
    (the project's own client, clients before 2020); never true for a Realm SDK of App Services, whose process would
    abort. Without it a refused token closes the connection with 4001.
    """

    def __init__(
        self,
        negotiated: Negotiated,
        *,
        legacy_token: bool = False,
        limits: Limits = SERVER_LIMITS,
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        self.negotiated = negotiated
        self.is_over = False
        self._legacy = legacy_token
        self._limits = limits
        self._max_sessions = max_sessions
        self.elsewhere = 0  # sessions of this connection that another process has
        self._sessions: dict[int, Session] = {}
        self._files: dict[tuple[str, int], Session] = {}
        self._turns: OrderedDict[Session, None] = OrderedDict()
        self._fetching: Session | None = None
        self._backlog = Backlog(limits.body)
        self._is_writable = True
        self._is_crowded = False
        self._out: list[Decision] = []

    @property
    def sessions(self) -> int:
        """Session idents in use."""
        return len(self._sessions)

    @property
    def outstanding_bytes(self) -> int:
        """Bytes received that still wait to be processed (uploads at the Realm, messages behind an open question)."""
        return self._backlog.bytes

    # Inputs: the connection

    @_input
    def connected(self, connection_id: str) -> None:
        """The WebSocket is open. Tells clients that understand it the id under which our log knows the connection."""
        if self.negotiated.log_message:
            self._send(s2c.LogMessage(0, "info", "connected", connection_id))

    @_input
    def receive(self, data: bytes) -> None:
        """One whole binary WebSocket message."""
        self._heed(decoded(data, self._limits), len(data))

    @_input
    def receive_decoded(self, message: c2s.ClientMessage | MalformedMessage, size: int) -> None:
        """The same, where :func:`decoded` was called elsewhere because it takes long; ``size``: bytes of the wire
        form."""
        self._heed(message, size)

    def _heed(self, message: c2s.ClientMessage | MalformedMessage, size: int) -> None:
        if isinstance(message, MessageTooBig):
            self._log("warning", message.text)
            self._close(_TOO_BIG, message.text)
            return
        if isinstance(message, MalformedMessage):
            raise ConnectionFailed(SyncError(Code(message.code), message.text)) from message
        if isinstance(message, c2s.Ping):
            self._send(s2c.Pong(message.timestamp))
            if message.round_trip:  # 0 in the first one: none has been measured
                self._out.append(RoundTrip(message.round_trip))
        elif isinstance(message, c2s.Bind):
            self._bind(message)
        else:
            self._session_message(message, cost(message, size))

    @_input
    def writable(self, is_writable: bool) -> None:
        """The transport's buffer went below (True) or above (False) its mark. While it is above, no DOWNLOAD is fetched
        and nothing is read: a peer that does not read must not make us answer more."""
        self._is_writable = is_writable

    @_input
    def crowded(self, is_crowded: bool) -> None:
        """So much waits of all connections together that this one is read from only while nothing of its own does."""
        self._is_crowded = is_crowded

    @_input
    def overfull(self) -> None:
        """What waits of all connections together is too much to take more of this one."""
        self._end(SyncError(Code.CONNECTION_CLOSED, "too much is waiting on this server", backoff=SERVER_BACKOFF))

    @_input
    def superseded(self) -> None:
        """The client file is active on a newer connection: this one is taken for dead (``spec/protocol.md`` 3.4, row
        12). Nothing is sent."""
        self._over()
        self._out.append(Abort("superseded by a newer connection of the same client file"))

    @_input
    def unauthorized(self, reason: str) -> None:
        """The login behind the connection as a whole has ended, whether or not it has sessions."""
        self._log("info", reason)
        self._close_unauthorized(reason)

    @_input
    def shutdown(self) -> None:
        """The server stops as planned: the clients are told to come again."""
        self._end(SyncError(Code.CONNECTION_CLOSED, "the server is stopping"), level="info")

    @_input
    def lost(self) -> None:
        """The connection is gone. Gives a Leave for each session that is left."""
        self._over()

    # Inputs: answers of the host. Answers for a session that is over are ignored.

    @_input
    def opened(self, session: Session, ident: int = 0, salt: int = 0) -> None:
        """Answers Open. ``ident`` and ``salt`` are the new client file's, durable by now, if ``need_ident`` was set."""
        if not self._answers(session, Awaiting.OPENED):
            return
        if session.state is State.ALLOCATING:
            if ident < 1 or salt < 1:
                raise ValueError(f"file ident {ident} and salt {salt} must not be sent to a client")
            self._send(s2c.Ident(session.sid, ident, salt))
        self._enter(session, State.WAITING_FOR_IDENT)
        self._go_on(session)

    @_input
    def refused(self, session: Session, error: RealmError | SyncError | AuthenticationFailed) -> None:
        """Ends the session with ``error``: as the answer to a decision, or at any time (a right was withdrawn, a token
        expired). A SyncError below 200 ends the connection, and so does an AuthenticationFailed (close code 4001)
        unless the client is a legacy one."""
        if session.state in (State.FAILED, State.GONE):
            return
        if isinstance(error, RealmError):
            self._fail(session, of_realm(error))
        elif isinstance(error, AuthenticationFailed):
            self._authentication_failed(session, error)
        elif error.code in (Code.TOKEN_EXPIRED, Code.BAD_AUTHENTICATION):
            self._authentication_failed(session, AuthenticationFailed(error.text, error.code == Code.TOKEN_EXPIRED))
        else:
            self._fail(session, error)

    @_input
    def answered(self, session: Session, answer: Identified | UploadDone | RealmError) -> None:
        """Answers Ask; uploads are answered in the order in which they were asked."""
        if session.state in (State.FAILED, State.GONE):
            return
        if isinstance(answer, RealmError):
            self._fail(session, of_realm(answer))
        elif isinstance(answer, UploadDone):
            self._backlog.bytes -= session.uploads.popleft()
        elif self._answers(session, Awaiting.IDENTIFIED):
            self._identified(session, answer)

    @_input
    def downloaded(self, session: Session, download: Download, body: EncodedBody) -> None:
        """Answers FetchDownload; ``body`` is ``encode_download_body(download.entries)``."""
        if self._fetching is not session:
            return
        self._fetching = None
        session.downloaded(download)
        self._out.append(Send(s2c.encode_download(session.sid, download, body)))
        self._answer_mark(session)
        self._take_turn(session)

    @_input
    def advanced(self, session: Session, latest_version: int) -> None:
        """The session's Realm has ``latest_version`` now, whoever made it."""
        session.advanced(latest_version)
        self._take_turn(session)

    @_input
    def refreshed(self, session: Session) -> None:
        """Answers Refresh: the new token is in force."""
        if self._answers(session, Awaiting.REFRESHED):
            self._go_on(session)

    @_input
    def client_version(self, session: Session, version: int) -> None:
        """Answers ClientVersion."""
        if self._answers(session, Awaiting.CLIENT_VERSION):
            self._send(s2c.ClientVersion(session.sid, version))
            self._go_on(session)

    # Messages

    def _bind(self, message: c2s.Bind) -> None:
        if message.session in self._sessions:
            raise ConnectionFailed(SyncError(Code.REUSE_OF_SESSION_IDENT, f"session ident {message.session} is in use"))
        count = len(self._sessions) + self.elsewhere
        if count >= self._max_sessions:
            self._out.append(LimitHit("sessions_per_connection"))
        if count >= 2 * self._max_sessions:
            raise ConnectionFailed(
                SyncError(Code.CONNECTION_CLOSED, "too many sessions on one connection", backoff=LONG_BACKOFF)
            )
        state = State.ALLOCATING if message.need_ident else State.WAITING_FOR_IDENT
        session = Session(message.session, message.path, state, Awaiting.OPENED)
        if count >= self._max_sessions:
            self._enter(session, State.FAILED)
            self._sessions[message.session] = session
            self._tell(
                session,
                SyncError(
                    Code.OTHER_SESSION_ERROR,
                    "too many sessions on one connection",
                    Action.TRANSIENT,
                    True,
                    LONG_BACKOFF,
                ),
            )
            return
        self._sessions[message.session] = session
        self._out.append(Open(session, message.path, message.token, message.need_ident, message.is_subserver))

    def _session_message(self, message: c2s.SessionMessage, size: int) -> None:
        session = self._sessions.get(message.session)
        if session is None:
            raise ConnectionFailed(
                SyncError(Code.BAD_SESSION_IDENT, f"there is no session with ident {message.session}")
            )
        if isinstance(message, c2s.Unbind):
            self._unbind(session)
        elif session.state is State.FAILED:
            return
        elif session.awaiting is not None:
            if session.state is State.ALLOCATING:
                session.admit(message)
            session.waiting.append((message, size))
            self._hold(size)
        else:
            self._act(session, message, size)

    def _unbind(self, session: Session) -> None:
        del self._sessions[session.sid]
        if session.state is not State.FAILED:
            self._detach(session)
            self._send(s2c.Unbound(session.sid))
        self._enter(session, State.GONE)

    def _act(self, session: Session, message: c2s.SessionMessage, size: int) -> None:
        """Deal with a message whose turn it is."""
        session.admit(message)
        try:
            match message:
                case c2s.Upload():
                    self._upload(session, message, size)
                case c2s.Ident():
                    session.awaiting = Awaiting.IDENTIFIED
                    self._out.append(Ask(session, session.identify(message)))
                case c2s.Mark():
                    session.mark(message.request)
                    self._answer_mark(session)
                case c2s.Refresh():
                    session.awaiting = Awaiting.REFRESHED
                    self._out.append(Refresh(session, message.token))
                case c2s.StateRequest():
                    session.state_request()
                    self._send(s2c.State(session.sid))
                case c2s.ClientVersionRequest():
                    session.awaiting = Awaiting.CLIENT_VERSION
                    self._out.append(ClientVersion(session, message.ident, message.salt))
                case c2s.ClientError():
                    self._client_error(session, message)
                case c2s.Alloc():
                    raise SessionFailed(SyncError(Code.PERMISSION_DENIED, "sub-servers are not served"))
        except SessionFailed as failure:
            self._fail(session, failure.error)

    def _upload(self, session: Session, message: c2s.Upload, size: int) -> None:
        request = session.upload(message, self.negotiated.version)
        if request is None:
            return
        if not request.entries:
            self._out.append(Report(session, request))
            return
        session.uploads.append(size)
        self._hold(size)
        self._out.append(Ask(session, request))

    def _client_error(self, session: Session, message: c2s.ClientError) -> None:
        """The client now ignores the session, so it is ended for it to begin anew (``spec/protocol.md`` 2.3)."""
        self._out.append(ErrorReceived(message.code, printable(message.message), session))
        raise SessionFailed(
            SyncError(
                Code.OTHER_SESSION_ERROR,
                f"the client reported error {message.code}",
                Action.TRANSIENT,
                True,
                LONG_BACKOFF,
            )
        )

    def _identified(self, session: Session, answer: Identified) -> None:
        file = (session.path, session.ident)
        if file in self._files:
            raise ConnectionFailed(
                SyncError(
                    Code.BOUND_IN_OTHER_SESSION,
                    f"client file {session.ident} is active in session {self._files[file].sid} of this connection",
                ),
                session,
            )
        self._files[file] = session
        session.identified(answer)
        self._enter(session, State.ACTIVE)
        self._take_turn(session)
        self._go_on(session)

    # What waits

    def _answers(self, session: Session, awaited: Awaiting) -> bool:
        """Whether an answer is still of interest; ValueError if it was never asked for."""
        if session.state in (State.FAILED, State.GONE):
            return False
        if session.awaiting is not awaited:
            raise ValueError(f"session {session.sid} awaits {session.awaiting}, not {awaited}")
        return True

    def _go_on(self, session: Session) -> None:
        """The host's answer is there: deal with the messages that waited for it."""
        session.awaiting = None
        while session.waiting and session.awaiting is None:
            message, size = session.waiting.popleft()
            self._backlog.bytes -= size
            self._act(session, message, size)

    def _hold(self, size: int) -> None:
        self._backlog.bytes += size
        if self._backlog.is_over_limit:
            raise ConnectionFailed(
                SyncError(Code.CONNECTION_CLOSED, "too much is waiting to be integrated", backoff=SERVER_BACKOFF)
            )

    def _take_turn(self, session: Session) -> None:
        if session.wants_download and session is not self._fetching:
            self._turns[session] = None

    def _answer_mark(self, session: Session) -> None:
        request = session.take_mark()
        if request is not None:
            self._send(s2c.Mark(session.sid, request))

    def _decided(self) -> list[Decision]:
        """Add what follows from the state as a whole, and hand out everything."""
        if not self.is_over:
            if self._turns and self._fetching is None and self._is_writable:
                session, _ = self._turns.popitem(last=False)
                self._fetching = session
                self._out.append(FetchDownload(session, session.ident, session.cursor))
            if self._backlog.turn(self._is_writable, self._is_crowded):
                self._out.append(ResumeReading() if self._backlog.is_reading else PauseReading())
        out, self._out = self._out, []
        return out

    # Ends

    def _fail(self, session: Session, error: SyncError) -> None:
        """End one session, or the connection if the error is one of those."""
        if not self._legacy:
            error = survivable(error)
        if error.code.of_connection:
            raise ConnectionFailed(error, session)
        self._detach(session)
        self._enter(session, State.FAILED)
        self._tell(session, error)

    def _tell(self, session: Session, error: SyncError) -> None:
        self._out.append(ErrorSent("warning", error.code, printable(error.text), session))
        self._send(to_message(error, session.sid, self.negotiated))

    def _authentication_failed(self, session: Session, failure: AuthenticationFailed) -> None:
        if self._legacy:
            self._fail(session, of_authentication(failure))
            return
        self._log("warning", failure.text, session)
        self._close_unauthorized(failure.text)

    def _detach(self, session: Session) -> None:
        """The session takes part in nothing any more; what waited for it is forgotten."""
        self._backlog.bytes -= sum(size for _, size in session.waiting) + sum(session.uploads)
        session.waiting.clear()
        session.uploads.clear()
        self._turns.pop(session, None)
        if self._fetching is session:
            self._fetching = None
        file = (session.path, session.ident)
        if self._files.get(file) is session:
            del self._files[file]
        self._out.append(Leave(session))

    def _end(
        self, error: SyncError, session: Session | None = None, level: Literal["info", "warning"] = "warning"
    ) -> None:
        """Send the one error that ends a connection, and end it (``spec/protocol.md`` 3.2). ``session`` caused it."""
        self._out.append(ErrorSent(level, error.code, printable(error.text), session))
        self._send(to_message(error, 0, self.negotiated))
        self._close(_OK, error.text)

    def _close(self, code: int, reason: str) -> None:
        self._over()
        self._out.append(Close(code, reason.encode()[:_MAX_REASON].decode(errors="ignore")))

    def _close_unauthorized(self, reason: str) -> None:
        # 202 and 203 abort real clients. Closed with 4001 they come back with a fresh token; those before version 8,
        # which do not know 4001, do so after any close (spec/protocol.md 1.4, 3.9).
        self._close(_UNAUTHORIZED if self.negotiated.close_codes else _POLICY, reason)

    def _over(self) -> None:
        for session in self._sessions.values():
            if session.state is not State.FAILED:
                self._detach(session)
            session.state = State.GONE
        self._sessions.clear()
        self.is_over = True
        if not self._backlog.is_reading:
            self._out.append(ResumeReading())  # or nobody would see the peer answer the close frame, or go away

    def _send(self, message: _Reply) -> None:
        self._out.append(Send(message.encode()))

    def _enter(self, session: Session, state: State) -> None:
        session.state = state
        self._log("trace", f"is {state.name}", session)

    def _log(self, level: Literal["trace", "info", "warning"], text: str, session: Session | None = None) -> None:
        self._out.append(Log(level, printable(text), session))
