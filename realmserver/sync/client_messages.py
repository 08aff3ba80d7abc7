"""Messages from client to server (``spec/protocol.md`` 2.3): frozen values, their bytes, and back.

Decoding accepts what the specification allows and nothing else; every failure is a :class:`MalformedMessage` with the
error to answer. Flexible Sync's own messages are unknown verbs here: such connections are refused at the upgrade.
Whether a message is in order is the session's matter, not this module's.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Final

from attrs import Factory

from realmserver.frozen import frozen
from realmserver.realms.requests import DownloadCursor, SaltedVersion, UploadCursor, UploadEntry
from realmserver.sync.bodies import decode_upload_body, encode_upload_body, inflated
from realmserver.sync.syntax import ANY, IDENT, Head, Limits, MalformedMessage, body_of, checked, parse_head


@frozen
class Bind:
    """Begin a session for the Realm at ``path``. ``token`` is empty where the connection itself is authenticated;
    ``need_ident``: the client file has no file ident yet."""

    session: int
    path: str
    token: str
    need_ident: bool
    is_subserver: bool = False

    def encode(self) -> bytes:
        path, token = self.path.encode(), self.token.encode()
        head = (self.session, len(path), len(token), self.need_ident, self.is_subserver)
        return b"bind %d %d %d %d %d\n" % head + path + token


@frozen
class Refresh:
    """A fresh token for the session (clients up to core v11.9)."""

    session: int
    token: str

    def encode(self) -> bytes:
        token = self.token.encode()
        return b"refresh %d %d\n" % (self.session, len(token)) + token


@frozen
class Ident:
    """The client file, where its download resumes, and the newest server version it ever heard of."""

    session: int
    ident: int
    salt: int
    download: DownloadCursor = Factory(DownloadCursor)
    latest: SaltedVersion = Factory(SaltedVersion)

    def encode(self) -> bytes:
        return b"ident %d %d %d %d %d %d %d\n" % (
            self.session,
            self.ident,
            self.salt,
            self.download.server_version,
            self.download.client_version,
            self.latest.version,
            self.latest.salt,
        )


@frozen
class ClientVersionRequest:
    """Which version of this client file is integrated? (core before v11.3)"""

    session: int
    ident: int
    salt: int

    def encode(self) -> bytes:
        return b"client_version_request %d %d %d\n" % (self.session, self.ident, self.salt)


@frozen
class StateRequest:
    """A request for a state file (core before v11.3); its details do not matter, since the answer is always "none"."""

    session: int
    partial_version: int = 0
    partial_salt: int = 0
    offset: int = 0
    need_recent: bool = False
    min_file_format: int = 0
    max_file_format: int = 0
    min_history_schema: int = 0
    max_history_schema: int = 0

    def encode(self) -> bytes:
        return b"state_request %d %d %d %d %d %d %d %d %d\n" % (
            self.session,
            self.partial_version,
            self.partial_salt,
            self.offset,
            self.need_recent,
            self.min_file_format,
            self.max_file_format,
            self.min_history_schema,
            self.max_history_schema,
        )


@frozen
class Upload:
    """Changesets, perhaps none; ``progress`` is how far the client's history has been scanned for them, and
    ``locked_version`` the server version above which alone it needs history."""

    session: int
    progress: UploadCursor
    locked_version: int
    entries: tuple[UploadEntry, ...] = ()

    def encode(self) -> bytes:
        body = encode_upload_body(self.entries)
        head = b"upload %d %d %d %d %d %d %d\n" % (
            self.session,
            body.is_compressed,
            body.uncompressed_size,
            body.compressed_size,
            self.progress.client_version,
            self.progress.server_version,
            self.locked_version,
        )
        return head + body.data


@frozen
class Mark:
    """Asks to be told when everything that exists now has been sent."""

    session: int
    request: int

    def encode(self) -> bytes:
        return b"mark %d %d\n" % (self.session, self.request)


@frozen
class Alloc:
    """A sub-server asks for a file ident."""

    session: int

    def encode(self) -> bytes:
        return b"alloc %d\n" % self.session


@frozen
class Unbind:
    """End the session."""

    session: int

    def encode(self) -> bytes:
        return b"unbind %d\n" % self.session


@frozen
class Ping:
    """``timestamp`` is the client's own clock, ``round_trip`` the time its last ping took; milliseconds."""

    timestamp: int
    round_trip: int

    def encode(self) -> bytes:
        return b"ping %d %d\n" % (self.timestamp, self.round_trip)


@frozen
class ClientError:
    """JSON_ERROR: the client could not integrate what it got, and ignores all further DOWNLOADs of the session."""

    session: int
    code: int
    message: str

    def encode(self) -> bytes:
        body = json.dumps({"message": self.message}, separators=(",", ":"), ensure_ascii=False).encode()
        return b"json_error %d %d %d\n" % (self.code, len(body), self.session) + body


_UPLOAD: Final = re.compile(rb"upload ([1-9][0-9]{0,17})" + rb" ([0-9]{1,18})" * 6 + rb"\n")
"""The head of an UPLOAD, as most messages have it: its numbers are too short to be out of range."""

SessionMessage = (
    Bind | Refresh | Ident | ClientVersionRequest | StateRequest | Upload | Mark | Alloc | Unbind | ClientError
)
ClientMessage = SessionMessage | Ping


def decode_client_message(data: bytes, limits: Limits) -> ClientMessage:
    """The message that ``data`` (one whole WebSocket message) holds.

    Raises :class:`MalformedMessage` with the error code to answer, :class:`MessageTooBig` for a body over its limit.
    """
    upload = _UPLOAD.match(data)
    if upload is not None:
        return _decoded_upload(data[upload.end() :], map(int, upload.groups()), limits)
    head = parse_head(data)
    decoder = _DECODERS.get(head.verb)
    if decoder is None:
        raise MalformedMessage(f"unknown verb {head.verb[:40].decode('ascii')}")
    return decoder(data, head, limits)


def _bind(data: bytes, head: Head, limits: Limits) -> Bind:
    session, path_size, token_size, need_ident, is_subserver = checked(head, IDENT, IDENT, ANY, ANY, ANY)
    if path_size > limits.path or token_size > limits.token:
        raise MalformedMessage("the path or the token is too long")
    body = body_of(data, head, path_size + token_size)
    path, token = _text(body[:path_size]), _token(body[path_size:])
    return Bind(session, path, token, bool(need_ident), bool(is_subserver))


def _refresh(data: bytes, head: Head, limits: Limits) -> Refresh:
    session, size = checked(head, IDENT, ANY)
    if size > limits.token:
        raise MalformedMessage("the token is too long")
    return Refresh(session, _token(body_of(data, head, size)))


def _ident(data: bytes, head: Head, limits: Limits) -> Ident:
    session, ident, salt, *cursor = checked(head, IDENT, ANY, ANY, ANY, ANY, ANY, ANY)
    body_of(data, head, 0)
    return Ident(session, ident, salt, DownloadCursor(cursor[0], cursor[1]), SaltedVersion(cursor[2], cursor[3]))


def _client_version_request(data: bytes, head: Head, limits: Limits) -> ClientVersionRequest:
    session, ident, salt = checked(head, IDENT, ANY, ANY)
    body_of(data, head, 0)
    return ClientVersionRequest(session, ident, salt)


def _state_request(data: bytes, head: Head, limits: Limits) -> StateRequest:
    session, version, salt, offset, need_recent, *formats = checked(head, IDENT, ANY, ANY, ANY, (0, 1), *[ANY] * 4)
    body_of(data, head, 0)
    return StateRequest(session, version, salt, offset, bool(need_recent), *formats)


def _upload(data: bytes, head: Head, limits: Limits) -> Upload:
    return _decoded_upload(data[head.end :], checked(head, IDENT, *[ANY] * 6), limits)


def _decoded_upload(data: bytes, numbers: Iterable[int], limits: Limits) -> Upload:
    session, is_compressed, size, compressed_size, client, server, locked = numbers
    progress = UploadCursor(client, server)
    if not (data or is_compressed or size or compressed_size):  # a report of progress, as after each DOWNLOAD
        return Upload(session, progress, locked)
    body = inflated(data, bool(is_compressed), size, compressed_size, limits)
    return Upload(session, progress, locked, decode_upload_body(body, limits))


def _mark(data: bytes, head: Head, limits: Limits) -> Mark:
    session, request = checked(head, IDENT, IDENT)
    body_of(data, head, 0)
    return Mark(session, request)


def _alloc(data: bytes, head: Head, limits: Limits) -> Alloc:
    (session,) = checked(head, IDENT)
    body_of(data, head, 0)
    return Alloc(session)


def _unbind(data: bytes, head: Head, limits: Limits) -> Unbind:
    (session,) = checked(head, IDENT)
    body_of(data, head, 0)
    return Unbind(session)


def _ping(data: bytes, head: Head, limits: Limits) -> Ping:
    timestamp, round_trip = checked(head, ANY, ANY)
    body_of(data, head, 0)
    return Ping(timestamp, round_trip)


def _client_error(data: bytes, head: Head, limits: Limits) -> ClientError:
    code, size, session = checked(head, ANY, ANY, IDENT)
    if size > limits.json:
        raise MalformedMessage("the error text is too long")
    body = body_of(data, head, size)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage("the error is not JSON") from error
    message = content.get("message") if isinstance(content, dict) else None
    return ClientError(session, code, message if isinstance(message, str) else "")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MalformedMessage("the path is not UTF-8") from error


def _token(data: bytes) -> str:
    # Whoever checks tokens refuses what is no token; here it must only not break.
    return data.decode(errors="replace")


_DECODERS: Final[dict[bytes, Callable[[bytes, Head, Limits], ClientMessage]]] = {
    b"bind": _bind,
    b"refresh": _refresh,
    b"ident": _ident,
    b"client_version_request": _client_version_request,
    b"state_request": _state_request,
    b"upload": _upload,
    b"mark": _mark,
    b"alloc": _alloc,
    b"unbind": _unbind,
    b"ping": _ping,
    b"json_error": _client_error,
}
