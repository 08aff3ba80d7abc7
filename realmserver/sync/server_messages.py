"""Messages from server to client (``spec/protocol.md`` 2.4): frozen values, their bytes, and back.

The server end only encodes, the client end only decodes. Decoding is as strict as real clients are, so that our own
client notices what would make them leave. Which keys a JSON_ERROR must have is checked here (2.4, K29); which message
may come when is not.
"""

import json
from collections.abc import Callable, Mapping
from typing import Final

from realmserver.frozen import frozen
from realmserver.realms import requests
from realmserver.realms.requests import DownloadCursor, DownloadEntry, SaltedVersion, UploadCursor
from realmserver.sync.bodies import EncodedBody, decode_download_body, inflated
from realmserver.sync.syntax import (
    ANY,
    IDENT,
    MAX_INT,
    BadContent,
    Head,
    Limits,
    MalformedMessage,
    body_of,
    checked,
    parse_head,
)

_ERROR_CODE: Final = (100, 299)
_MIGRATE_TO_FLX: Final = 232
_SCHEMA_VERSION_CHANGED: Final = 236
_LOG_LEVELS: Final = frozenset({"", "fatal", "error", "warn", "info", "detail", "debug", "trace"})


@frozen
class Ident:
    """The file ident and salt just allocated for the session's client file; neither may be 0."""

    session: int
    ident: int
    salt: int

    def encode(self) -> bytes:
        return b"ident %d %d %d\n" % (self.session, self.ident, self.salt)


@frozen
class ClientVersion:
    """Answer to CLIENT_VERSION_REQUEST."""

    session: int
    version: int

    def encode(self) -> bytes:
        return b"client_version %d %d\n" % (self.session, self.version)


@frozen
class State:
    """Answer to STATE_REQUEST: no state file here, the client should sync from version 0 (3.10)."""

    session: int

    def encode(self) -> bytes:
        return b"state %d 0 0 0 0 0 0\n" % self.session


@frozen
class DownloadHead:
    """The head line of a DOWNLOAD: ``cursor`` after this message, the ``latest`` version, how far the receiver's
    uploads are integrated, and an estimate of what is still to come."""

    session: int
    cursor: DownloadCursor
    latest: SaltedVersion
    upload: UploadCursor
    downloadable_bytes: int

    def encode(self, body: EncodedBody) -> bytes:
        return encode_download(self.session, self, body)


def encode_download(session: int, head: DownloadHead | requests.Download, body: EncodedBody) -> bytes:
    """The DOWNLOAD for ``session`` with the cursors of ``head``."""
    cursor, latest, upload = head.cursor, head.latest, head.upload
    return b"download %d %d %d %d %d %d %d %d %d %d %d\n%b" % (
        session,
        cursor.server_version,
        cursor.client_version,
        latest.version,
        latest.salt,
        upload.client_version,
        upload.server_version,
        head.downloadable_bytes,
        body.is_compressed,
        body.uncompressed_size,
        body.compressed_size,
        body.data,
    )


@frozen
class Download:
    """A DOWNLOAD as received."""

    head: DownloadHead
    entries: tuple[DownloadEntry, ...]


@frozen
class Mark:
    """Everything that existed when MARK ``request`` came has been sent."""

    session: int
    request: int

    def encode(self) -> bytes:
        return b"mark %d %d\n" % (self.session, self.request)


@frozen
class Unbound:
    """Answer to UNBIND and the last message of the session."""

    session: int

    def encode(self) -> bytes:
        return b"unbound %d\n" % self.session


@frozen
class Error:
    """ERROR, for clients before version 4; ``session`` 0 is the connection."""

    code: int
    text: str
    try_again: bool
    session: int

    def encode(self) -> bytes:
        text = self.text.encode(errors="replace")
        return b"error %d %d %d %d\n" % (self.code, len(text), self.try_again, self.session) + text


@frozen
class JsonError:
    """JSON_ERROR, from version 4 on; ``session`` 0 is the connection. ``content`` has the keys of 2.4."""

    code: int
    session: int
    content: Mapping[str, object]

    def encode(self) -> bytes:
        body = json.dumps(self.content, separators=(",", ":")).encode()
        return b"json_error %d %d %d\n" % (self.code, len(body), self.session) + body


@frozen
class Pong:
    """Answer to PING, with the same timestamp."""

    timestamp: int

    def encode(self) -> bytes:
        return b"pong %d\n" % self.timestamp


@frozen
class LogMessage:
    """A line for the client's log, from version 10 on. ``connection`` identifies the connection in both logs."""

    session: int
    level: str
    text: str
    connection: str = ""

    def encode(self) -> bytes:
        content = {"level": self.level, "msg": self.text}
        if self.connection:
            content = {"co_id": self.connection, **content}
        body = json.dumps(content, separators=(",", ":")).encode()
        return b"log_message %d %d\n" % (self.session, len(body)) + body


ServerMessage = Ident | ClientVersion | State | Download | Mark | Unbound | Error | JsonError | Pong | LogMessage


def decode_server_message(data: bytes, limits: Limits) -> ServerMessage:
    """The message that ``data`` (one whole WebSocket message) holds; raises :class:`MalformedMessage`."""
    head = parse_head(data)
    decoder = _DECODERS.get(head.verb)
    if decoder is None:
        raise MalformedMessage(f"unknown verb {head.verb[:40].decode('ascii')}")
    return decoder(data, head, limits)


def _ident(data: bytes, head: Head, limits: Limits) -> Ident:
    session, ident, salt = checked(head, IDENT, ANY, ANY)
    body_of(data, head, 0)
    return Ident(session, ident, salt)


def _client_version(data: bytes, head: Head, limits: Limits) -> ClientVersion:
    session, version = checked(head, IDENT, ANY)
    body_of(data, head, 0)
    return ClientVersion(session, version)


def _state(data: bytes, head: Head, limits: Limits) -> State:
    session, *_ = checked(head, IDENT, *[(0, 0)] * 6)
    body_of(data, head, 0)
    return State(session)


def _download(data: bytes, head: Head, limits: Limits) -> Download:
    session, *args = checked(head, IDENT, *[ANY] * 10)
    server_version, client_version, latest, salt, upload_client, upload_server, downloadable = args[:7]
    body = inflated(data[head.end :], bool(args[7]), args[8], args[9], limits)
    download = DownloadHead(
        session,
        DownloadCursor(server_version, client_version),
        SaltedVersion(latest, salt),
        UploadCursor(upload_client, upload_server),
        downloadable,
    )
    return Download(download, decode_download_body(body, limits))


def _mark(data: bytes, head: Head, limits: Limits) -> Mark:
    session, request = checked(head, IDENT, IDENT)
    body_of(data, head, 0)
    return Mark(session, request)


def _unbound(data: bytes, head: Head, limits: Limits) -> Unbound:
    (session,) = checked(head, IDENT)
    body_of(data, head, 0)
    return Unbound(session)


def _error(data: bytes, head: Head, limits: Limits) -> Error:
    code, size, try_again, session = checked(head, _ERROR_CODE, (0, limits.json), ANY, ANY)
    return Error(code, body_of(data, head, size).decode(errors="replace"), bool(try_again), session)


def _json_error(data: bytes, head: Head, limits: Limits) -> JsonError:
    code, size, session = checked(head, _ERROR_CODE, (0, limits.json), ANY)
    content = _json_object(body_of(data, head, size))
    for key, kind in _ERROR_KEYS.items():
        if not isinstance(content.get(key), kind):
            raise BadContent(f"JSON_ERROR has no valid {key}")
    present = [key for key in _BACKOFF_KEYS if key in content]
    if present and not all(_is_integer(content.get(key)) for key in _BACKOFF_KEYS):
        raise BadContent("JSON_ERROR has some of the back-off keys only")
    if code == _MIGRATE_TO_FLX and not (isinstance(content.get("partitionQuery"), str) and content["partitionQuery"]):
        raise BadContent("JSON_ERROR has no partitionQuery")
    if code == _SCHEMA_VERSION_CHANGED and not _is_integer(content.get("previousSchemaVersion")):
        raise BadContent("JSON_ERROR has no previousSchemaVersion")
    return JsonError(code, session, content)


def _pong(data: bytes, head: Head, limits: Limits) -> Pong:
    (timestamp,) = checked(head, ANY)
    body_of(data, head, 0)
    return Pong(timestamp)


def _log_message(data: bytes, head: Head, limits: Limits) -> LogMessage:
    session, size = checked(head, ANY, (0, limits.json))
    content = _json_object(body_of(data, head, size))
    level, text, connection = (content.get(key, "") for key in ("level", "msg", "co_id"))
    if not isinstance(level, str) or not isinstance(text, str) or not isinstance(connection, str):
        raise BadContent("LOG_MESSAGE has a key of a wrong type")
    if text and level not in _LOG_LEVELS:
        raise BadContent("LOG_MESSAGE has an unknown level")
    return LogMessage(session, level, text, connection)


def _json_object(data: bytes) -> dict[str, object]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadContent("the body is not JSON") from error
    if not isinstance(content, dict):
        raise BadContent("the body is not a JSON object")
    return content


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_INT


_ERROR_KEYS: Final[dict[str, type]] = {
    "message": str,
    "tryAgain": bool,
    "logURL": str,
    "shouldClientReset": bool,
    "isRecoveryModeDisabled": bool,
    "action": str,
}
_BACKOFF_KEYS: Final = ("backoffIntervalSec", "backoffMaxDelaySec", "backoffMultiplier")

_DECODERS: Final[dict[bytes, Callable[[bytes, Head, Limits], ServerMessage]]] = {
    b"ident": _ident,
    b"client_version": _client_version,
    b"state": _state,
    b"download": _download,
    b"mark": _mark,
    b"unbound": _unbound,
    b"error": _error,
    b"json_error": _json_error,
    b"pong": _pong,
    b"log_message": _log_message,
}
