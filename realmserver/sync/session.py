"""One session of a server connection: its state, its cursors, and what may come in which state.

Implements ``spec/protocol.md`` 3.1 (the table), 3.5 (what an UPLOAD becomes) and the bookkeeping of 3.6 and 3.7. A
session decides about one client file only: it knows neither its neighbours nor how anything is sent, and it answers in
values or by raising one of the two failures below; :mod:`realmserver.sync.server` turns those into decisions.
"""

from enum import Enum, auto
from typing import Final

from attrs import define, field

from realmserver.realms.line import Line
from realmserver.realms.requests import Download, DownloadCursor, Identified, Identify, Upload, UploadCursor
from realmserver.sync import client_messages as c2s
from realmserver.sync.checks import BadCursor, check_upload
from realmserver.sync.errors import Code, SyncError


class SessionFailed(Exception):
    """The session ends with ``error``; the connection and its other sessions go on."""

    def __init__(self, error: SyncError) -> None:
        super().__init__(error.text)
        self.error = error


class ConnectionFailed(Exception):
    """The connection ends with ``error``. ``session``: the one whose message caused it, if one did."""

    def __init__(self, error: SyncError, session: "Session | None" = None) -> None:
        super().__init__(error.text)
        self.error = error
        self.session = session


class State(Enum):
    """Where a session stands (``spec/protocol.md`` 3.1)."""

    ALLOCATING = auto()
    """BIND came with need_ident = 1; the server's IDENT has not been sent."""
    WAITING_FOR_IDENT = auto()
    """The client may send its IDENT, or has sent it and it is being looked at."""
    ACTIVE = auto()
    """IDENT is accepted."""
    FAILED = auto()
    """An error has been sent; everything up to UNBIND is ignored."""
    GONE = auto()
    """UNBOUND has been sent, or the connection is over."""


class Awaiting(Enum):
    """What the host has been asked and has not answered; meanwhile the client's messages wait in order."""

    OPENED = auto()
    IDENTIFIED = auto()
    REFRESHED = auto()
    CLIENT_VERSION = auto()


ACCEPTED: Final[dict[State, tuple[type[c2s.SessionMessage], ...]]] = {
    State.ALLOCATING: (c2s.Refresh, c2s.ClientVersionRequest),
    State.WAITING_FOR_IDENT: (c2s.Ident, c2s.StateRequest, c2s.ClientVersionRequest, c2s.Refresh),
    State.ACTIVE: (c2s.Upload, c2s.Mark, c2s.Refresh, c2s.Alloc, c2s.ClientError),
}
"""What a session accepts, besides UNBIND at any time; anything else is error 109 (``spec/protocol.md`` 3.1)."""


@define(eq=False)
class Session:
    """One use of a session ident. To a host it is an opaque handle with a ``sid`` and a ``path``, on which it may note
    the ``user`` and the ``realm`` once it knows them: whoever reads what is logged of the session looks there.

    The letters of ``spec/protocol.md`` 3.5: ``threshold`` is T, ``progress`` U, ``cursor`` D, ``locked_version`` L.
    """

    sid: int
    path: str
    state: State
    awaiting: Awaiting | None = None
    waiting: Line[tuple[c2s.SessionMessage, int]] = field(factory=Line, repr=False)
    """Messages that came while the host was asked something, each with the bytes it counts for."""
    uploads: Line[int] = field(factory=Line, repr=False)
    """The bytes of each upload asked of the Realm and not yet answered, in order."""
    ident: int = 0
    user: str = ""
    realm: str = ""
    cursor: DownloadCursor = field(factory=DownloadCursor, repr=False)
    threshold: UploadCursor = field(factory=UploadCursor, repr=False)
    progress: UploadCursor = field(factory=UploadCursor, repr=False)
    locked_version: int = field(default=0, repr=False)
    latest_version: int = field(default=0, repr=False)
    """The newest version the Realm is known to have."""
    _first_download_due: bool = field(default=True, repr=False, init=False)
    _state_requested: bool = field(default=False, repr=False, init=False)
    _mark: int = field(default=0, repr=False, init=False)
    _mark_version: int = field(default=0, repr=False, init=False)

    def admit(self, message: c2s.SessionMessage) -> None:
        """Raise :class:`ConnectionFailed` with 109 if ``message`` may not come in this state."""
        if not isinstance(message, ACCEPTED[self.state]):
            verb = type(message).__name__
            text = f"{verb} may not come in state {self.state.name}"
            raise ConnectionFailed(SyncError(Code.BAD_MESSAGE_ORDER, text), self)

    def state_request(self) -> None:
        """STATE_REQUEST may come once (``spec/protocol.md`` 3.10)."""
        if self._state_requested:
            raise ConnectionFailed(SyncError(Code.BAD_MESSAGE_ORDER, "a second STATE_REQUEST"), self)
        self._state_requested = True

    def identify(self, message: c2s.Ident) -> Identify:
        """What to ask the Realm for an IDENT."""
        self.ident = message.ident
        self.cursor = message.download
        return Identify(message.ident, message.salt, message.download, message.latest)

    def identified(self, answer: Identified) -> None:
        """IDENT is accepted: set the cursors as in the last lines of ``spec/protocol.md`` 3.4."""
        self.threshold = answer.upload
        self.locked_version = answer.locked_version
        self.advanced(answer.latest_version)

    def upload(self, message: c2s.Upload, protocol: int) -> Upload | None:
        """Check an UPLOAD and say what is to be integrated: None if there is nothing new in it.

        Changesets that were integrated before this session began are left out, so sending them again does no harm.
        Raises :class:`SessionFailed` with 209 or 210 (``spec/protocol.md`` 3.5).
        """
        try:
            check_upload(
                message.entries,
                message.progress,
                message.locked_version,
                threshold=self.threshold,
                previous=self.progress,
                downloaded=self.cursor.server_version,
                previous_locked=self.locked_version,
            )
        except BadCursor as error:
            text = f"UPLOAD breaks rule {error.rule}: {error.text}"
            raise SessionFailed(SyncError(error.code, text)) from error
        integrated = self.threshold.client_version
        entries = tuple(entry for entry in message.entries if entry.client_version > integrated)
        is_news = message.progress.client_version > max(integrated, self.progress.client_version)
        is_locked_further = message.locked_version > self.locked_version
        self.progress = message.progress
        self.locked_version = message.locked_version
        if not (entries or is_news or is_locked_further):
            return None
        progress = message.progress if message.progress.client_version > integrated else self.threshold
        return Upload(self.ident, entries, progress, message.locked_version, protocol)

    def advanced(self, latest_version: int) -> None:
        """The Realm has this version now."""
        self.latest_version = max(self.latest_version, latest_version)

    @property
    def wants_download(self) -> bool:
        """A DOWNLOAD is due: the first one always, others only when the Realm has moved beyond what was sent. Never
        because of an UPLOAD as such, or client and server would go on for ever (``spec/protocol.md`` 3.6)."""
        if self.state is not State.ACTIVE:
            return False
        return self._first_download_due or self.cursor.server_version < self.latest_version

    def downloaded(self, download: Download) -> None:
        """``download`` is being sent."""
        self.cursor = download.cursor
        self._first_download_due = False
        self.advanced(download.latest.version)

    def mark(self, request: int) -> None:
        """Remember MARK ``request``; a newer one replaces it (``spec/protocol.md`` 3.7)."""
        self._mark = request
        self._mark_version = self.latest_version

    def take_mark(self) -> int | None:
        """The MARK that can be answered now, once: everything that existed when it came has been sent."""
        if not self._mark or self._first_download_due or self.cursor.server_version < self._mark_version:
            return None
        request, self._mark = self._mark, 0
        return request
