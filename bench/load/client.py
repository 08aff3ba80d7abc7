"""Client files and their sessions, as little of them as a load generator needs (``spec/protocol.md`` 2.3, 2.4, 3.1).

A session is begun as real clients begin one: BIND, the ident if the file has none yet, IDENT, and DOWNLOADs until it
has all there is. From then on its owner sends frames that were prepared, and is told of each DOWNLOAD. What is checked
of the answers: that nothing is an error, and that no cursor goes back.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from attrs import frozen

from bench.load.wire import REQUEST, Loop, Trouble, Wire, frame


@frozen
class Place:
    """Where a server is and how it is talked to. ``tokens``: one for each user, for BIND; an empty one for a server
    that looks at none."""

    host: str
    port: int
    path: str
    subprotocol: str
    tokens: tuple[str, ...]

    @property
    def request(self) -> bytes:
        """The request for a WebSocket."""
        return REQUEST.format(path=self.path, host=self.host, subprotocol=self.subprotocol).encode()


def nothing(session: "Session") -> None:
    """Who does not want to be told."""


class Session:
    """A client file at work. ``version`` and ``latest``: what it has been sent, and what there is; ``uploaded``: the
    newest client version that the server has integrated."""

    __slots__ = ("ident", "latest", "on_download", "path", "salt", "sid", "token", "uploaded", "version", "wire")

    wire: Wire

    def __init__(self, path: str, token: str, sid: int = 1) -> None:
        self.path = path
        self.token = token
        self.sid = sid
        self.ident = 0
        self.salt = b"0"
        self.version = 0
        self.latest = (b"0", b"0")
        self.uploaded = 0
        self.on_download: Callable[[Session], None] = nothing

    def begin(self) -> None:
        """BIND; and if the client file is known already, IDENT in the same breath."""
        path, token = self.path.encode(), self.token.encode()
        head = b"bind %d %d %d %d 0\n" % (self.sid, len(path), len(token), self.ident == 0)
        self.wire.send(frame(head + path + token) + (self._ident() if self.ident else b""))

    def identified(self, ident: int, salt: bytes) -> None:
        """The server has given the file an ident."""
        self.ident, self.salt = ident, salt
        self.wire.send(self._ident())

    def downloaded(self, fields: list[bytes]) -> None:
        """A DOWNLOAD has come; ``fields`` of its head line, the verb first."""
        version, uploaded = int(fields[2]), int(fields[6])
        if version < self.version or uploaded < self.uploaded:
            raise Trouble(f"a DOWNLOAD goes back: {b' '.join(fields[:8])!r}")
        self.version, self.uploaded = version, uploaded
        self.latest = (fields[4], fields[5])
        self.on_download(self)

    def again(self) -> "Session":
        """The same client file, on its next connection."""
        session = Session(self.path, self.token, self.sid)
        session.ident, session.salt = self.ident, self.salt
        session.version, session.latest, session.uploaded = self.version, self.latest, self.uploaded
        return session

    @property
    def is_caught_up(self) -> bool:
        return self.version == int(self.latest[0])

    def _ident(self) -> bytes:
        cursor = (self.version, self.uploaded, *self.latest)
        return frame(b"ident %d %d %b %d %d %b %b\n" % (self.sid, self.ident, self.salt, *cursor))


class Client:
    """A connection with one session or several of them, with the sids that they have."""

    def __init__(self, loop: Loop, place: Place, sessions: Sequence[Session]) -> None:
        self._sessions = {b"%d" % session.sid: session for session in sessions}
        self.wire = Wire(loop, (place.host, place.port), place.request, self._opened, self._message)
        for session in sessions:
            session.wire = self.wire

    def _opened(self) -> None:
        for session in self._sessions.values():
            session.begin()

    def _message(self, message: bytes) -> None:
        fields = message.split(b" ", 8)
        verb = fields[0]
        if verb == b"download":
            self._sessions[fields[1]].downloaded(fields)
        elif verb == b"ident":
            self._sessions[fields[1]].identified(int(fields[2]), fields[3].rstrip())
        elif verb not in (b"log_message", b"pong", b"mark", b"unbound"):
            raise Trouble(f"the server says {message.decode(errors='replace')}")


AT_ONCE: Final = 32
"""Sessions that are on their way to a server at the same time."""


def open_all(loop: Loop, place: Place, sessions: Sequence[Session], per_connection: int = 1) -> list[Client]:
    """Open all ``sessions``, some at a time, and wait until each has all there is. Sids are given out here."""
    clients: list[Client] = []
    groups: Iterator[Sequence[Session]] = (
        sessions[start : start + per_connection] for start in range(0, len(sessions), per_connection)
    )
    waiting = len(sessions)

    def next_one() -> None:
        group = next(groups, None)
        if group is not None:
            for sid, session in enumerate(group, 1):
                session.sid = sid
                session.on_download = opened
            left = [len(group)]
            pending.update({id(session): left for session in group})
            clients.append(Client(loop, place, group))

    def opened(session: Session) -> None:
        nonlocal waiting
        if not session.is_caught_up:
            return
        session.on_download = nothing
        waiting -= 1
        left = pending.pop(id(session))
        left[0] -= 1
        if not left[0]:
            next_one()
        if not waiting:
            loop.stop()

    pending: dict[int, list[int]] = {}
    for _ in range(AT_ONCE):
        next_one()
    if waiting:
        loop.run("sessions to begin")
    return clients
