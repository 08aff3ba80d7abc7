"""A small blocking client that may misbehave: HTTP, WebSockets and sync messages over a plain socket.

It sends whatever it is told to, byte by byte if need be, and reads what the server really sends. Only reading is
strict: a frame for which a real client would drop the connection (masked, with RSV bits) or that the server has no
reason to send (a fragment) fails the test. :class:`RawSync` on top knows the sync protocol's messages; it decodes them
with the product's own strict decoder.
"""

import http.client
import json
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self, TypeVar
from urllib.parse import quote

from attrs import frozen

from realmserver.realms.requests import DownloadCursor, SaltedVersion, UploadCursor, UploadEntry
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c
from realmserver.sync.syntax import CLIENT_LIMITS

PATIENCE: Final = 20.0
"""Seconds that any single answer may take; nothing waits this long where all is well."""

APP: Final = "my-app"
"""The app whose users the tests are, unless they say otherwise."""

NEWEST: Final = "com.mongodb.realm-sync#14"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

_CHUNK: Final = 65536

Message = TypeVar("Message", bound=s2c.ServerMessage)


@frozen
class Answer:
    """An HTTP answer; header names in lower case. ``status`` 0: the connection ended without one."""

    status: int
    headers: dict[str, str]
    body: bytes


@frozen
class Login:
    """What a client gets when it logs in over HTTP."""

    user_id: str
    access_token: str
    refresh_token: str


@frozen
class Closed:
    """How the server ended a WebSocket: with this close code, or (None) by dropping the connection without one."""

    code: int | None
    reason: str = ""


class RawSocket:
    """A TCP connection. A reset by the server counts as its end."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send ``data``; what the server no longer takes is lost without a word."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, or fewer at the end of the connection."""
        while len(self._buffer) < size and self._fill():
            pass
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def read_until(self, mark: bytes, limit: int = 1 << 20) -> bytes:
        """All bytes up to ``mark``, without it; the rest of the connection if it never comes."""
        while mark not in self._buffer and len(self._buffer) < limit and self._fill():
            pass
        data, found, rest = self._buffer.partition(mark)
        self._buffer = rest if found else b""
        return data

    def read_all(self) -> bytes:
        """Everything up to the end of the connection; TimeoutError if it does not end."""
        while self._fill():
            pass
        data, self._buffer = self._buffer, b""
        return data

    def answer(self) -> Answer:
        """The next HTTP answer: its head, and as much of a body as Content-Length says."""
        lines = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        if not lines[0].startswith("HTTP/1.1 "):
            return Answer(0, {}, b"")
        pairs = (line.partition(":") for line in lines[1:])
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return Answer(int(lines[0].split(" ")[1]), headers, self.read(int(headers.get("content-length", "0"))))

    def end_sending(self) -> None:
        """Say that nothing more comes, and go on reading."""
        with suppress(OSError):  # the server was faster
            self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Vanish: the server sees a reset, not an end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def _fill(self) -> bool:
        try:
            data = self.socket.recv(_CHUNK)
        except ConnectionResetError:
            data = b""
        self._buffer += data
        return bool(data)


class UpgradeFailed(Exception):
    """The server did not answer 101."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status}: {answer.body!r}")
        self.answer = answer


class RawWebSocket(RawSocket):
    """The client end of a WebSocket that is open. ``subprotocol`` is what the server chose."""

    def __init__(self, port: int, head: bytes, *, early: bytes = b"", receive_buffer: int | None = None) -> None:
        """Send ``head`` (see :func:`upgrade_request`) and, in the same breath, ``early``. Raises UpgradeFailed."""
        super().__init__(port, receive_buffer=receive_buffer)
        self.send(head + early)
        answer = self.answer()
        if answer.status != 101:
            self.close()
            raise UpgradeFailed(answer)
        self.subprotocol = answer.headers["sec-websocket-protocol"]

    def send_frame(
        self,
        opcode: int,
        payload: bytes = b"",
        *,
        fin: bool = True,
        rsv: int = 0,
        masked: bool = True,
        declared: int | None = None,
    ) -> None:
        """Send one frame, or one that lies: ``declared`` is the length its header claims."""
        self.send(frame(opcode, payload, fin=fin, rsv=rsv, masked=masked, declared=declared))

    def send_message(self, *messages: bytes) -> None:
        """Send sync messages, all in one piece of the stream."""
        self.send(b"".join(frame(BINARY, message) for message in messages))

    def receive_frame(self) -> tuple[int, bytes] | None:
        """The next frame's opcode and payload; None at the end of the connection."""
        head = self.read(2)
        if len(head) < 2:
            return None
        assert head[0] & 0x70 == 0, "the server set RSV bits"
        assert head[1] & 0x80 == 0, "the server masked a frame"
        assert head[0] & 0x80, "the server sent a fragment"
        size = head[1]
        if size == 126:
            (size,) = struct.unpack("!H", self.read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.read(8))
        payload = self.read(size)
        return (head[0] & 0x0F, payload) if len(payload) == size else None

    def receive(self) -> bytes | Closed:
        """The next message, or how the WebSocket ended; a close frame is answered as real clients answer it."""
        received = self.receive_frame()
        if received is None:
            return Closed(None)
        opcode, payload = received
        if opcode != CLOSE:
            assert opcode == BINARY, f"the server sent a frame with opcode {opcode}"
            return payload
        self.send_frame(CLOSE, payload)
        return Closed(struct.unpack("!H", payload[:2])[0] if payload else 1005, payload[2:].decode())


class RawSync(RawWebSocket):
    """Speaks the sync protocol over a WebSocket, and says anything it is told to."""

    def next(self) -> s2c.ServerMessage | Closed:
        """The next message, decoded, or how the connection ended. LOG_MESSAGEs are passed over."""
        while True:
            received = self.receive()
            if isinstance(received, Closed):
                return received
            message = s2c.decode_server_message(received, CLIENT_LIMITS)
            if not isinstance(message, s2c.LogMessage):
                return message

    def expect(self, kind: type[Message]) -> Message:
        """The next message, which must be a ``kind``; DOWNLOADs before it are passed over."""
        while True:
            message = self.next()
            if isinstance(message, kind):
                return message
            assert isinstance(message, s2c.Download), f"{message} instead of {kind.__name__}"

    def to_the_end(self) -> tuple[list[s2c.ServerMessage], Closed]:
        """All that still comes, and how the connection ends."""
        messages: list[s2c.ServerMessage] = []
        while True:
            message = self.next()
            if isinstance(message, Closed):
                assert self.read_all() == b"", "something follows the close frame"
                return messages, message
            messages.append(message)

    def is_alive(self, timestamp: int = 12345) -> bool:
        """Whether a PING is answered; whatever else comes before it is passed over."""
        self.send_message(c2s.Ping(timestamp, 0).encode())
        while True:
            message = self.next()
            if isinstance(message, Closed) or message == s2c.Pong(timestamp):
                return not isinstance(message, Closed)

    def bind(self, path: str, sid: int = 1, token: str = "") -> s2c.Ident:
        """BIND for a new client file; its ident and salt."""
        self.send_message(c2s.Bind(sid, path, token, need_ident=True).encode())
        return self.expect(s2c.Ident)

    def join(self, path: str, sid: int = 1, token: str = "") -> tuple[s2c.Ident, s2c.DownloadHead]:
        """Begin a session with a new client file and take all that is there; the last DOWNLOAD's head."""
        file = self.bind(path, sid, token)
        self.send_message(c2s.Ident(sid, file.ident, file.salt).encode())
        return file, self.catch_up()

    def rejoin(
        self,
        path: str,
        file: s2c.Ident,
        download: DownloadCursor | None = None,
        latest: SaltedVersion | None = None,
        *,
        sid: int = 1,
    ) -> None:
        """Send BIND and IDENT for a client file that exists, and wait for nothing."""
        cursors = download or DownloadCursor(), latest or SaltedVersion()
        self.send_message(
            c2s.Bind(sid, path, "", need_ident=False).encode(),
            c2s.Ident(sid, file.ident, file.salt, *cursors).encode(),
        )

    def catch_up(self) -> s2c.DownloadHead:
        """Wait until everything that exists now is here; the last DOWNLOAD's head."""
        while True:
            head = self.expect(s2c.Download).head
            if head.cursor.server_version == head.latest.version:
                return head

    def upload(self, entries: Sequence[UploadEntry], progress: UploadCursor, locked: int = 0, *, sid: int = 1) -> None:
        """Send an UPLOAD, whatever its cursors."""
        self.send_message(c2s.Upload(sid, progress, locked, tuple(entries)).encode())


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    declared: int | None = None,
) -> bytes:
    """The bytes of one WebSocket frame; see :meth:`RawWebSocket.send_frame`."""
    size = len(payload) if declared is None else declared
    bit = 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if size < 126:
        head += bytes([bit | size])
    elif size < 1 << 16:
        head += bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", size)
    if not masked:
        return head + payload
    key = os.urandom(4)
    pad = (key * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "little") ^ int.from_bytes(pad, "little")
    return head + key + mixed.to_bytes(len(payload), "little")


def sync_path(token: str | None, app: str = APP) -> str:
    """Where clients of an app connect; their access token is part of the address."""
    query = "" if token is None else f"?baas_at={quote(token)}"
    return f"/api/client/v2.0/app/{app}/realm-sync{query}"


def upgrade_request(path: str, subprotocol: str | None = NEWEST, **headers: str | None) -> bytes:
    """A good request for a WebSocket at ``path``, changed by header (``_`` for ``-``; None leaves one out)."""
    lines: dict[str, str | None] = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": subprotocol,
    }
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items() if value is not None)]
    return "\r\n".join([*head, "", ""]).encode()


def ask(port: int, request: bytes) -> Answer:
    """What the server answers to the bytes of an HTTP request."""
    with RawSocket(port) as connection:
        connection.send(request)
        return connection.answer()


def log_in(port: int, app: str = APP) -> Login:
    """Log a new anonymous user in to ``app``, as an SDK does."""
    content = _call(port, "POST", f"/api/client/v2.0/app/{app}/auth/providers/anon-user/login", body=b"{}")
    return Login(content["user_id"], content["access_token"], content["refresh_token"])


def register(port: int, name: str, password: str) -> Login:
    """Register a user with a password and log in, as an SDK does."""
    providers = f"/api/client/v2.0/app/{APP}/auth/providers/local-userpass"
    _call(port, "POST", f"{providers}/register", body=json.dumps({"email": name, "password": password}).encode())
    content = _call(
        port, "POST", f"{providers}/login", body=json.dumps({"username": name, "password": password}).encode()
    )
    return Login(content["user_id"], content["access_token"], content["refresh_token"])


def log_out(port: int, login: Login) -> None:
    """End the login, as an SDK does."""
    _call(port, "DELETE", "/api/client/v2.0/auth/session", login.refresh_token)


def delete_user(port: int, login: Login) -> None:
    """Remove the user, as an SDK does."""
    _call(port, "DELETE", "/api/client/v2.0/auth/delete", login.access_token)


def _call(port: int, method: str, path: str, token: str = "", body: bytes = b"") -> dict[str, str]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status in (200, 201, 204), f"{method} {path}: {answer.status} {data!r}"
        content: dict[str, str] = json.loads(data) if data else {}
        return content
    finally:
        connection.close()
