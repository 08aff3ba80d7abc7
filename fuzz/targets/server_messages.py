"""What a server sends to the Python client: ServerViolation, or what the client can go on with.

An input is a byte for the protocol version and the client's manners, then messages with ``SEPARATOR`` between them. The
client has a Realm with changes of its own, so DOWNLOADs are merged and applied; IntegrationFailed is what may come of
that. A message that begins with ``D`` is a DOWNLOAD of the changeset that follows, with numbers that are nearly right;
``Z`` the same, compressed.
"""

import zlib
from collections.abc import Iterator
from typing import Final

from fuzz import vectors
from fuzz.source import Source
from fuzz.target import Target
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    COLLECTION_LIST,
    TABLE_TOP_LEVEL,
    TYPE_INT,
    AddColumn,
    AddTable,
    ArrayInsert,
    Changeset,
    CreateObject,
    Payload,
)
from realmserver.client.local import IntegrationFailed, LocalRealm
from realmserver.realms.requests import DownloadCursor, DownloadEntry, SaltedVersion, UploadCursor
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c
from realmserver.sync.bodies import EncodedBody, encode_download_body
from realmserver.sync.client import ClientConnection, ClientSession, Downloaded, IdentAllocated, Output
from realmserver.sync.client_checks import ServerViolation
from realmserver.sync.decisions import Send
from realmserver.sync.errors import Code
from realmserver.sync.syntax import CLIENT_LIMITS, SERVER_LIMITS, MalformedMessage
from realmserver.sync.versions import CLIENT_PREFIX, HIGHEST_VERSION, LOWEST_VERSION

SEPARATOR: Final = b"\n%%\n"
MOST_MESSAGES: Final = 32


class Client:
    """One connection with two sessions; each has a Realm of its own."""

    def __init__(self, version: int, *, legacy: bool, writes: bool) -> None:
        self.connection = ClientConnection(legacy_token=legacy)
        self.connection.connected(f"{CLIENT_PREFIX}{version}")
        self._realms: dict[ClientSession, LocalRealm] = {}
        for path in ("/a", "/b"):
            session, outputs = self.connection.bind(path)
            self._realms[session] = _new_realm(writes)
            self._take(outputs)
        self._take(self.connection.ping(1000, 0))

    def receive(self, data: bytes) -> None:
        self._take(self.connection.receive(data))

    def _take(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Send(data):
                    c2s.decode_client_message(data, SERVER_LIMITS)
                case IdentAllocated(session, ident, salt):
                    self._realms[session].identified(ident, salt)
                case Downloaded():
                    self._integrate(output)

    def _integrate(self, downloaded: Downloaded) -> None:
        session = downloaded.session
        realm = self._realms[session]
        if realm.is_broken:
            return
        try:
            realm.integrate(downloaded.download)
        except IntegrationFailed as error:
            assert str(error).isprintable()
            self._take(self.connection.reject(session, Code.BAD_CHANGESET, str(error)))
            return
        realm.values.state()
        if session.may_upload:
            for batch in realm.uploads(session.file.newest_version):
                self._take(
                    self.connection.upload(session, batch.entries, batch.progress, batch.locked_version),
                )


def _new_realm(writes: bool) -> LocalRealm:
    realm = LocalRealm()
    if writes:
        with realm.write(5) as transaction:
            transaction.add_class("T", "_id", "int")
            transaction.add_property("T", "list", "int", collection="list")
            transaction.create("T", 1)
            transaction.list_insert("T", 1, "list", 0, 7)
    return realm


def check(data: bytes) -> None:
    source = Source(data)
    version = LOWEST_VERSION + source.below(HIGHEST_VERSION - LOWEST_VERSION + 1)
    manners = source.byte()
    client = Client(version, legacy=bool(manners & 1), writes=bool(manners & 2))
    for message in source.rest().split(SEPARATOR)[:MOST_MESSAGES]:
        if message[:1] in (b"D", b"Z"):
            message = _download(Source(message[1:]), is_compressed=message[:1] == b"Z")
        _check_reading(message)
        try:
            client.receive(message)
        except ServerViolation as violation:
            assert violation.check.startswith("K")
            assert client.connection.is_over


def _download(source: Source, *, is_compressed: bool) -> bytes:
    """A DOWNLOAD of one changeset."""
    sid, version, client_version = 1 + source.below(2), 1 + source.below(8), source.below(4)
    entry = DownloadEntry(version, client_version, source.below(8), 3 + source.below(3), source.rest())
    body = encode_download_body([entry])
    if is_compressed:
        body = EncodedBody(True, body.uncompressed_size, zlib.compress(body.data, 0))
    cursor, upload = DownloadCursor(version, client_version), UploadCursor(client_version, 0)
    return s2c.DownloadHead(sid, cursor, SaltedVersion(version, 9), upload, 0).encode(body)


def _check_reading(data: bytes) -> None:
    """A message is read or is malformed, whatever the state of the connection."""
    try:
        message = s2c.decode_server_message(data, CLIENT_LIMITS)
    except MalformedMessage as error:
        assert error.text.isprintable()
        return
    if not isinstance(message, s2c.Download):
        s2c.decode_server_message(message.encode(), CLIENT_LIMITS)


def seeds() -> Iterator[bytes]:
    body = (
        b'{"message":"m","tryAgain":false,"logURL":"","shouldClientReset":false,'
        b'"isRecoveryModeDisabled":false,"action":"ApplicationBug"}'
    )
    start = [b"ident 1 2 1002\n", b"ident 2 3 1003\n", b"D\0\0\0\0\0", b"mark 1 1\n", b"pong 1000\n"]
    log = b'{"co_id":"c0ffee","level":"info","msg":"hello"}'
    yield b"\x0c\x02" + SEPARATOR.join([*start, b"log_message 0 %d\n" % len(log) + log, b"unbound 1\n"])
    yield b"\x0c\x00" + SEPARATOR.join([*start, b"json_error 208 %d 1\n" % len(body) + body])
    yield b"\x0c\x03" + SEPARATOR.join([*start, b"json_error 104 %d 0\n" % len(body) + body])
    yield b"\x01\x01" + SEPARATOR.join([*start, b"error 208 3 0 1\nabc"])
    yield b"\x0c\x02" + SEPARATOR.join(
        [*start[:2], b"download 1 5 0 6 66 0 0 0 0 0 0\n", b"download 2 1 0 1 66 0 0 9 0 13 0\n1 0 3 9 1 1 x"]
    )
    updates = body[:-1] + (
        b',"rejectedUpdates":[{"reason":"r","table":"T","pk":"AQE="}],"compensatingWriteServerVersion":3,'
        b'"rejectedClientVersion":2,"backoffIntervalSec":1,"backoffMaxDelaySec":2,"backoffMultiplier":2}'
    )
    yield b"\x0c\x02" + SEPARATOR.join([*start, b"json_error 231 %d 1\n" % len(updates) + updates])
    for number, changeset in enumerate(vectors.changesets(step=80)):
        letter = b"Z" if number % 2 else b"D"
        yield b"\x0c\x02" + SEPARATOR.join([*start[:2], b"D\0\0\0\0\0", letter + b"\0\1\0\x09\0" + changeset])
    table = encode(
        Changeset(
            [
                AddTable("T", TABLE_TOP_LEVEL, "_id", TYPE_INT),
                AddColumn("T", "list", TYPE_INT, False, COLLECTION_LIST),
                CreateObject("T", (TYPE_INT, 1)),
                ArrayInsert("T", (TYPE_INT, 1), "list", [0], Payload(TYPE_INT, 5), 0),
            ]
        )
    )
    yield b"\x0c\x02" + SEPARATOR.join([*start[:2], b"D\0\0\0\0\0", b"D\0\1\0\x09\0" + table, b"mark 1 1\n"])


TARGET: Final = Target(
    "messages of a server to the Python client, with the merges that follow",
    check,
    seeds,
    (
        SEPARATOR,
        *(
            b"ident ",
            b"download ",
            b"mark ",
            b"unbound ",
            b"pong ",
            b"error ",
            b"json_error ",
            b"log_message ",
            b"state ",
        ),
        *(
            b"D\0\0\0\0\0",
            b"Z\1\0\0\0\0",
            b" 1 0 ",
            b'"tryAgain":',
            b'"action":',
            b'"message":',
            b"true",
            b"null",
            b"{}",
            b"[]",
        ),
        *(b'"rejectedUpdates":[', b'"pk":"AQE="', b'"backoffIntervalSec":', b"1e999", b"NaN", b'"\\ud800"', b"9" * 40),
    ),
)
