"""What a server connection decides: frozen values, for the host to carry out in the order given.

The host (the shell around a WebSocket) owns sockets, Realms, tokens and rights. It calls an input of
:class:`realmserver.sync.server.ServerConnection` and carries out the decisions that come back; what takes time is
answered later by another input. ``session`` is the handle of one use of a session ident: idents are used again, handles
are not, so an answer that comes late can never reach the wrong session.
"""

from typing import Final, Literal

from realmserver.frozen import frozen
from realmserver.realms.requests import DownloadCursor, Identify, Upload
from realmserver.sync.errors import Code
from realmserver.sync.session import Session

MAX_LOGGED: Final = 300
"""Characters of a peer's text in a log line."""


@frozen
class Send:
    """Send one binary WebSocket message."""

    data: bytes


@frozen
class Close:
    """Close the WebSocket with this code and reason once everything sent before is flushed. Nothing follows."""

    code: int
    reason: str


@frozen
class Abort:
    """Drop the connection at once, flushing nothing: the peer is taken for dead. Nothing follows."""

    reason: str


@frozen
class Open:
    """BIND: check ``token`` (empty: the connection's own counts), ``path`` and the right to download, open or create
    the Realm and, if ``need_ident``, allocate a client file durably. Answer with ``opened`` or ``refused``."""

    session: Session
    path: str
    token: str
    need_ident: bool
    is_subserver: bool


@frozen
class Ask:
    """Put the request to the session's Realm; requests of one session in the order given. Answer each with
    ``answered`` (or ``refused``, where a right is missing: an Upload needs the right to upload). The next may be asked
    before the last is answered."""

    session: Session
    request: Identify | Upload


@frozen
class Report:
    """Put ``progress``, an Upload without entries, to the session's Realm, in order with all that is asked. There is
    time, and nobody waits for an answer: call ``refused`` if there is an error."""

    session: Session
    progress: Upload


@frozen
class FetchDownload:
    """Build the next DOWNLOAD after ``cursor`` for client file ``ident``. Answer with ``downloaded``; one at a time for
    each connection."""

    session: Session
    ident: int
    cursor: DownloadCursor


@frozen
class Refresh:
    """Check ``token``: valid, of the session's user, granting the right to download. Answer with ``refreshed`` or
    ``refused`` (``spec/protocol.md`` 3.9)."""

    session: Session
    token: str


@frozen
class ClientVersion:
    """Look up the last integrated version of a client file (0 if ident or salt are wrong). Answer with
    ``client_version``."""

    session: Session
    ident: int
    salt: int


@frozen
class Leave:
    """The session is over: forget it and release its Realm. Given exactly once for every Open."""

    session: Session


@frozen
class PauseReading:
    """Read no more from the peer until :class:`ResumeReading`: too much is waiting."""


@frozen
class ResumeReading:
    """Read again."""


@frozen
class Log:
    """Something the operator may want to know. ``text`` is printable and bounded, and holds no token. ``session``: the
    one it is about, None for the connection as a whole."""

    level: Literal["trace", "info", "warning"]
    text: str
    session: Session | None = None


@frozen
class ErrorSent:
    """The client is told of an error: for the log and for figures, the message is another decision. ``session`` with a
    ``code`` of a connection is the one whose message caused it, None if none did."""

    level: Literal["info", "warning"]
    code: Code
    text: str
    session: Session | None = None


@frozen
class ErrorReceived:
    """The client has reported an error in ``session``: for the log and for figures. ``text`` is as in :class:`Log`."""

    code: int
    text: str
    session: Session


@frozen
class LimitHit:
    """Something is being refused because of ``limit`` (a key of the configuration's section ``limits``): for figures
    and the log."""

    limit: str


@frozen
class RoundTrip:
    """The client says how long its last PING took: for figures."""

    milliseconds: int


def printable(text: str) -> str:
    """``text``, which a peer may have chosen, cut to a log line's length and without control characters."""
    if text.isprintable():
        return text[:MAX_LOGGED]
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[:MAX_LOGGED])


Decision = (
    Send
    | Close
    | Abort
    | Open
    | Ask
    | Report
    | FetchDownload
    | Refresh
    | ClientVersion
    | Leave
    | PauseReading
    | ResumeReading
    | Log
    | ErrorSent
    | ErrorReceived
    | RoundTrip
    | LimitHit
)
