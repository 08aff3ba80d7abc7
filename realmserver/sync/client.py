"""The client end of one connection, as a state machine without I/O (``spec/protocol.md`` 2, 3, 7).

It sends what real clients send, in their order (BIND, IDENT, MARK, UPLOAD), and is as strict about the server as they
are and stricter: whatever a real client would answer by leaving, crashing or hanging raises :class:`ServerViolation`
with the number of the check in section 7. It keeps the cursors of each session, but no history: who uses it integrates
the entries of a DOWNLOAD and says what to upload. It knows no clock: that a PONG or MARK is overdue is for the user to
notice (K25, K37), as is what a WebSocket may not contain (K2, K40) and what a changeset may not (K21).
"""

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Final

from attrs import Factory, define, evolve, field, frozen

from realmserver.realms.requests import Download, DownloadCursor, SaltedVersion, UploadCursor, UploadEntry
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c
from realmserver.sync.client_checks import ServerViolation, check_content, check_download, check_error
from realmserver.sync.decisions import Send
from realmserver.sync.errors import Code
from realmserver.sync.syntax import CLIENT_LIMITS, BadContent, Limits, MalformedMessage
from realmserver.sync.versions import CLIENT_PREFIX, HIGHEST_VERSION, LOWEST_VERSION, Negotiated

_CONTENT_CHECKS: Final = {b"download": "K19", b"json_error": "K29", b"log_message": "K32"}


@frozen
class ClientFile:
    """What a client remembers of itself between connections; all zeros for a new file.

    ``download`` is the cursor of the last DOWNLOAD it integrated, ``latest`` the newest server version it heard of,
    ``upload`` what the server acknowledged, ``newest_version`` the last version of its own that it reported.
    """

    ident: int = 0
    salt: int = 0
    download: DownloadCursor = Factory(DownloadCursor)
    latest: SaltedVersion = Factory(SaltedVersion)
    upload: UploadCursor = Factory(UploadCursor)
    newest_version: int = 0


class _State(Enum):
    AWAITING_IDENT = auto()
    IDENTIFIED = auto()
    UNBINDING = auto()
    FAILED = auto()
    ENDED = auto()


@define(eq=False)
class ClientSession:
    """One session. Read its cursors as you like; only :class:`ClientConnection` changes them."""

    sid: int
    path: str
    file: ClientFile
    """Where the file stands, as far as the server has told."""
    state: _State = field(repr=False)
    is_fast: bool = field(repr=False, default=False)
    asked_mark: int = 0
    reached_mark: int = 0
    has_downloaded: bool = False
    ignores_downloads: bool = field(repr=False, default=False)
    compensations: list[int] = field(repr=False, factory=list)
    """Server versions of compensating writes announced and not yet seen (K31)."""

    @property
    def is_identified(self) -> bool:
        """IDENT has been sent, and nothing has ended the session."""
        return self.state is _State.IDENTIFIED

    @property
    def may_upload(self) -> bool:
        """As real clients do it: after the first MARK is answered, or at once where a connection was lost only briefly
        (``spec/protocol.md`` 3.7)."""
        return self.is_identified and not self.ignores_downloads and (self.is_fast or self.reached_mark > 0)


@frozen
class IdentAllocated:
    """The server has given the file an ident and a salt: to be kept before anything else."""

    session: ClientSession
    ident: int
    salt: int


@frozen
class Downloaded:
    """A DOWNLOAD that passed all checks."""

    session: ClientSession
    download: Download


@frozen
class MarkReached:
    """Everything that existed when MARK ``request`` was sent is here."""

    session: ClientSession
    request: int


@frozen
class SessionError:
    """The server reports an error; the session is over, except for 231. ``content`` is JSON_ERROR's body, or None."""

    session: ClientSession
    code: int
    text: str
    try_again: bool
    content: Mapping[str, object] | None


@frozen
class ConnectionEnded:
    """The server ends the connection with an error. ``try_again`` False: do not come back."""

    code: int
    text: str
    try_again: bool
    content: Mapping[str, object] | None


@frozen
class Unbound:
    """The session has ended as asked."""

    session: ClientSession


@frozen
class Pong:
    """The answer to the PING with this timestamp."""

    timestamp: int


@frozen
class Logged:
    """A line from the server for our log."""

    level: str
    text: str
    connection: str


Output = Send | IdentAllocated | Downloaded | MarkReached | SessionError | ConnectionEnded | Unbound | Pong | Logged


class ClientConnection:
    """The client end of one connection. Inputs return messages to send and events, in order.

    ``legacy_token``: the client proves itself by tokens in BIND and understands the codes of ``spec/protocol.md`` 4.2.
    """

    def __init__(self, *, legacy_token: bool = False, limits: Limits = CLIENT_LIMITS) -> None:
        self.negotiated: Negotiated | None = None
        self.is_over = False
        self._legacy = legacy_token
        self._limits = limits
        self._sessions: dict[int, ClientSession] = {}
        self._last_sid = 0
        self._ping: int | None = None

    @property
    def awaits_pong(self) -> bool:
        """A PING is unanswered; real clients wait 120 s (K25)."""
        return self._ping is not None

    def connected(self, subprotocol: str | None) -> None:
        """The server answered 101 with this Sec-WebSocket-Protocol, to an offer of :func:`versions.offer`."""
        prefix, _, number = (subprotocol or "").rpartition("#")
        if f"{prefix}#" != CLIENT_PREFIX or not number.isascii() or not number.isdigit():
            raise ServerViolation("K1", f"subprotocol {subprotocol!r} was not offered")
        if not LOWEST_VERSION <= int(number) <= HIGHEST_VERSION:
            raise ServerViolation("K1", f"version {number} was not offered")
        self.negotiated = Negotiated(f"{CLIENT_PREFIX}{int(number)}", int(number))

    def bind(
        self, path: str, file: ClientFile | None = None, *, token: str = "", fast: bool = False
    ) -> tuple[ClientSession, list[Output]]:
        """Begin a session for the Realm at ``path``.

        A ``file`` with an ident sends its IDENT and a MARK in the same breath; without an ident one is asked for, and
        the cursors of ``file`` (those of a fresh copy after a client reset) are sent once it is there. ``fast``: the
        last connection was lost less than a minute ago, so no MARK is needed before uploading.
        """
        if self.negotiated is None or self.is_over:
            raise ValueError("the connection is not open")
        self._last_sid += 1
        file = file or ClientFile()
        session = ClientSession(self._last_sid, path, file, _State.AWAITING_IDENT, fast)
        self._sessions[session.sid] = session
        out: list[Output] = [Send(c2s.Bind(session.sid, path, token, need_ident=not file.ident).encode())]
        if file.ident:
            out += self._identify(session)
        return session, out

    def unbind(self, session: ClientSession) -> list[Output]:
        """End the session; :class:`Unbound` follows, or the error that was on its way."""
        if session.state not in (_State.AWAITING_IDENT, _State.IDENTIFIED):
            return []
        session.state = _State.UNBINDING
        return [Send(c2s.Unbind(session.sid).encode())]

    def upload(
        self, session: ClientSession, entries: Sequence[UploadEntry], progress: UploadCursor, locked_version: int
    ) -> list[Output]:
        """Send changesets (perhaps none) and progress. Raises ValueError while ``session.may_upload`` is False."""
        if not session.may_upload:
            raise ValueError("the session may not upload now")
        newest = max(session.file.newest_version, progress.client_version)
        session.file = evolve(session.file, newest_version=newest)
        return [Send(c2s.Upload(session.sid, progress, locked_version, tuple(entries)).encode())]

    def mark(self, session: ClientSession) -> list[Output]:
        """Ask for :class:`MarkReached`; its number is then ``session.asked_mark``."""
        if not session.is_identified or session.ignores_downloads:
            raise ValueError("the session may not send MARK now")
        session.asked_mark += 1
        return [Send(c2s.Mark(session.sid, session.asked_mark).encode())]

    def refresh(self, session: ClientSession, token: str) -> list[Output]:
        """Send a fresh token."""
        if session.state not in (_State.AWAITING_IDENT, _State.IDENTIFIED):
            return []
        return [Send(c2s.Refresh(session.sid, token).encode())]

    def reject(self, session: ClientSession, code: Code, text: str) -> list[Output]:
        """A DOWNLOAD could not be integrated (212, 233): tell the server, and hear no more of this session's."""
        if not session.is_identified:
            return []
        session.ignores_downloads = True
        return [Send(c2s.ClientError(session.sid, code, text).encode())]

    def ping(self, timestamp: int, round_trip: int) -> list[Output]:
        """Send a PING; milliseconds, ``round_trip`` of the last one or 0. At most one may be unanswered."""
        if self._ping is not None:
            raise ValueError("the last PING is not answered")
        self._ping = timestamp
        return [Send(c2s.Ping(timestamp, round_trip).encode())]

    def receive(self, data: bytes) -> list[Output]:
        """One whole binary message of the server. Raises :class:`ServerViolation`; then close the connection."""
        if self.is_over:
            return []
        try:
            return self._received(self._decode(data))
        except ServerViolation:
            self.is_over = True
            raise

    def _decode(self, data: bytes) -> s2c.ServerMessage:
        verb = data[:32].partition(b" ")[0]
        version = self.negotiated.version if self.negotiated else 0
        if verb == b"query_error":
            raise ServerViolation("K33", "QUERY_ERROR without Flexible Sync")
        if verb == b"log_message" and version < 10:
            raise ServerViolation("K32", f"LOG_MESSAGE at version {version}")
        if verb in (b"state", b"client_version") or (verb == b"json_error" and version < 4):
            raise ServerViolation("K3", f"{verb.decode()} was not asked for or is unknown at version {version}")
        try:
            return s2c.decode_server_message(data, self._limits)
        except BadContent as error:
            raise ServerViolation(_CONTENT_CHECKS.get(verb, "K3"), error.text) from error
        except MalformedMessage as error:
            raise ServerViolation("K3", error.text) from error

    def _received(self, message: s2c.ServerMessage) -> list[Output]:
        match message:
            case s2c.Pong():
                return self._pong(message)
            case s2c.LogMessage():
                return [Logged(message.level, message.text, message.connection)]
            case s2c.Error():
                return self._error(message.session, message.code, message.text, message.try_again, None)
            case s2c.JsonError():
                check_content(message)
                text, try_again = str(message.content["message"]), message.content["tryAgain"] is True
                return self._error(message.session, message.code, text, try_again, message.content)
            case s2c.Download():
                return self._download(message)
            case s2c.Ident():
                return self._ident(message)
            case s2c.Mark():
                return self._mark(message)
            case s2c.Unbound():
                return self._unbound(message)
        raise ServerViolation("K3", f"{type(message).__name__} was not asked for")

    def _session(self, sid: int) -> ClientSession:
        session = self._sessions.get(sid)
        if session is None:
            raise ServerViolation("K4", f"session {sid} was never bound or is over")
        return session

    def _ident(self, message: s2c.Ident) -> list[Output]:
        session = self._session(message.session)
        if session.state is _State.UNBINDING and not session.file.ident:
            session.file = evolve(session.file, ident=message.ident, salt=message.salt)
            return []
        if session.state is not _State.AWAITING_IDENT:
            raise ServerViolation("K5", "IDENT was not asked for, or is the second")
        if not message.ident or not message.salt:
            raise ServerViolation("K5", "IDENT has file ident 0 or salt 0")
        session.file = evolve(session.file, ident=message.ident, salt=message.salt)
        return [IdentAllocated(session, message.ident, message.salt), *self._identify(session)]

    def _identify(self, session: ClientSession) -> list[Output]:
        file = session.file
        session.state = _State.IDENTIFIED
        ident: Output = Send(c2s.Ident(session.sid, file.ident, file.salt, file.download, file.latest).encode())
        return [ident] if session.is_fast else [ident, *self.mark(session)]

    def _download(self, message: s2c.Download) -> list[Output]:
        session = self._session(message.head.session)
        if session.state is _State.FAILED or session.state is _State.AWAITING_IDENT:
            raise ServerViolation("K6", f"DOWNLOAD before IDENT or after ERROR in session {session.sid}")
        if session.state is _State.UNBINDING or session.ignores_downloads:
            return []
        head = message.head
        download = Download(head.cursor, head.latest, head.upload, head.downloadable_bytes, message.entries)
        file = session.file
        check_download(
            download,
            ident=file.ident,
            cursor=file.download,
            latest=file.latest,
            upload=file.upload,
            newest_version=file.newest_version,
            is_first=not session.has_downloaded,
            compensations=session.compensations,
        )
        session.has_downloaded = True
        if download.entries:
            last = download.entries[-1].server_version
            session.compensations = [version for version in session.compensations if version > last]
        session.file = evolve(file, download=head.cursor, latest=head.latest, upload=head.upload)
        return [Downloaded(session, download)]

    def _mark(self, message: s2c.Mark) -> list[Output]:
        session = self._session(message.session)
        if session.state is _State.FAILED or session.state is _State.AWAITING_IDENT:
            raise ServerViolation("K6", f"MARK before IDENT or after ERROR in session {session.sid}")
        if session.state is _State.UNBINDING or session.ignores_downloads:
            return []
        if not session.reached_mark < message.request <= session.asked_mark:
            raise ServerViolation("K22", f"MARK {message.request} was not asked for or is answered")
        if not session.has_downloaded:
            raise ServerViolation("K39", "MARK is answered before the first DOWNLOAD")
        session.reached_mark = message.request
        return [MarkReached(session, message.request)]

    def _unbound(self, message: s2c.Unbound) -> list[Output]:
        session = self._session(message.session)
        if session.state is not _State.UNBINDING:
            raise ServerViolation("K23", "UNBOUND without UNBIND, or after ERROR")
        session.state = _State.ENDED
        del self._sessions[session.sid]
        return [Unbound(session)]

    def _pong(self, message: s2c.Pong) -> list[Output]:
        if self._ping != message.timestamp:
            raise ServerViolation("K24", f"PONG {message.timestamp} answers no PING")
        self._ping = None
        return [Pong(message.timestamp)]

    def _error(
        self, sid: int, code: int, text: str, try_again: bool, content: Mapping[str, object] | None
    ) -> list[Output]:
        check_error(sid, code, legacy=self._legacy)
        if sid == 0:
            self.is_over = True
            return [ConnectionEnded(code, text, try_again, content)]
        session = self._session(sid)
        if session.state is _State.FAILED:
            raise ServerViolation("K26", f"a second error in session {sid}")
        event = SessionError(session, code, text, try_again, content)
        if code == Code.COMPENSATING_WRITE:
            version = (content or {}).get("compensatingWriteServerVersion")
            if isinstance(version, int):
                session.compensations.append(version)
            return [event]
        if session.state is _State.UNBINDING:
            # The error crossed our UNBIND: for both sides the session is over (spec/protocol.md 3.8).
            session.state = _State.FAILED
            return [event]
        session.state = _State.FAILED
        return [event, Send(c2s.Unbind(sid).encode())]
