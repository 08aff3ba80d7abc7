"""What clients send: one message by itself, and a connection's worth of them on real Realms.

An input is a byte that says which protocol version and manners the connection has, then messages with ``SEPARATOR``
between them. Most are the bytes of a message. Sizes and cursors that agree are hard to hit upon, so a message may also
begin with ``+`` (a session with a new client file), ``U`` or ``Z`` (an upload of the changeset that follows, plain or
compressed), ``R`` and ``W`` (the client stops and begins to read).
"""

import zlib
from collections.abc import Iterator
from typing import Final

from fuzz import vectors
from fuzz.host import FIRST_SALT, Host
from fuzz.source import Source
from fuzz.target import Target
from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    COLLECTION_LIST,
    TABLE_TOP_LEVEL,
    TYPE_INT,
    TYPE_STRING,
    AddColumn,
    AddTable,
    ArrayInsert,
    Changeset,
    CreateObject,
    Payload,
    Update,
)
from realmserver.realms.realm import Realm
from realmserver.realms.requests import UploadCursor, UploadEntry
from realmserver.realms.values import Values
from realmserver.sync import client_messages as c2s
from realmserver.sync.bodies import EncodedBody, encode_upload_body
from realmserver.sync.syntax import SERVER_LIMITS, MalformedMessage, head_line
from realmserver.sync.versions import HIGHEST_VERSION, LOWEST_VERSION

SEPARATOR: Final = b"\n%%\n"
MOST_MESSAGES: Final = 48


def check(data: bytes) -> None:
    """Only decisions come of it; and what the Realms then hold, every client can apply."""
    source = Source(data)
    version = LOWEST_VERSION + source.below(HIGHEST_VERSION - LOWEST_VERSION + 1)
    manners = source.byte()
    host = Host(version, legacy=bool(manners & 1), at_once=bool(manners & 2))
    for message in source.rest().split(SEPARATOR)[:MOST_MESSAGES]:
        _check_round_trip(message)
        match message[:1]:
            case b"R" | b"W":
                host.writable(message[:1] == b"W")
            case b"+":
                _begin_session(host, Source(message[1:]))
            case b"U" | b"Z":
                host.receive(_upload(Source(message[1:]), is_compressed=message[:1] == b"Z"))
            case _:
                host.receive(message)
    host.end()
    for realm in host.realms.values():
        _check_log(host, realm)


def _begin_session(host: Host, source: Source) -> None:
    sid, path = 1 + source.below(4), source.choice([b"/a", b"/b"])
    ident = max((realm.head.last_ident for realm in host.realms.values()), default=1) + 1
    host.receive(b"bind %d %d 0 1 0\n%s" % (sid, len(path), path))
    host.receive(b"ident %d %d %d 0 0 0 0\n" % (sid, ident, FIRST_SALT + source.below(16)))


def _upload(source: Source, *, is_compressed: bool) -> bytes:
    """An UPLOAD of one changeset, with numbers near to those that are right."""
    sid, version, base = 1 + source.below(4), 2 + source.below(8), source.below(8)
    entry = UploadEntry(version, base, source.below(8), 0, source.rest())
    body = encode_upload_body([entry])
    if is_compressed:
        body = EncodedBody(True, body.uncompressed_size, zlib.compress(body.data, 0))
    head = (sid, body.is_compressed, body.uncompressed_size, body.compressed_size, version, base, 0)
    return b"upload %d %d %d %d %d %d %d\n" % head + body.data


def _check_round_trip(data: bytes) -> None:
    """A message that can be read is written as one that says the same."""
    try:
        message = c2s.decode_client_message(data, SERVER_LIMITS)
    except MalformedMessage as error:
        assert error.code in (101, 103)
        assert error.text.isprintable()
        head_line(data)
        return
    written = message.encode()
    assert c2s.decode_client_message(written, SERVER_LIMITS) == message


def _check_log(host: Host, realm: Realm) -> None:
    values = Values()
    with host.snapshot(realm) as snapshot:
        head = snapshot.head
        entries = list(snapshot.entries(1, head.version))
    assert [entry.version for entry in entries] == list(range(1, head.version + 1)), "a gap in the log"
    for entry in entries:
        changeset = decode(entry.changeset)
        assert encode(changeset) == entry.changeset, "not the canonical form"
        values.apply(changeset)
    values.state()


def seeds() -> Iterator[bytes]:
    table = encode(
        Changeset(
            [AddTable("T", TABLE_TOP_LEVEL, "_id", TYPE_INT), AddColumn("T", "l", TYPE_INT, False, COLLECTION_LIST)]
        )
    )
    key = (TYPE_INT, 1)
    made = encode(Changeset([CreateObject("T", key), ArrayInsert("T", key, "l", [0], Payload(TYPE_INT, 5), 0)]))
    wrong = encode(Changeset([Update("T", key, "s", [], Payload(TYPE_STRING, "x"))]))
    upload = c2s.Upload(1, UploadCursor(3, 0), 0, (UploadEntry(2, 0, 7, 0, table), UploadEntry(3, 0, 8, 0, made)))
    every = [
        c2s.Bind(1, "/a", "", True).encode(),
        c2s.Ident(1, 2, FIRST_SALT + 2).encode(),
        c2s.Mark(1, 1).encode(),
        upload.encode(),
        c2s.Bind(2, "/a", "token", True).encode(),
        c2s.Ident(2, 3, FIRST_SALT + 3).encode(),
        c2s.Refresh(1, "fresh").encode(),
        c2s.Ping(1000, 20).encode(),
        c2s.ClientError(2, 212, "bad").encode(),
        c2s.Unbind(2).encode(),
        c2s.Unbind(1).encode(),
    ]
    for head in (b"\x0c\x02", b"\x0c\x00", b"\x05\x03", b"\x00\x01"):
        yield head + SEPARATOR.join(every)
    yield b"\x0c\x02" + SEPARATOR.join(
        [b"+\x00\x00\x02", b"+\x01\x00\x03", b"U\x00\x00\x00\x01" + table, b"Z\x01\x00\x01\x02" + made, b"R"]
    )
    yield b"\x0c\x02" + SEPARATOR.join(
        [
            b"+\x00\x00\x02",
            b"+\x01\x00\x03",
            b"U\x00\x00\x00\x01" + table,
            b"U\x00\x01\x01\x02" + made,
            b"U\x01\x00\x01\x02" + made,
            b"U\x01\x01\x01\x03" + wrong,
        ]
    )
    others = [
        c2s.StateRequest(1).encode(),
        c2s.ClientVersionRequest(1, 2, FIRST_SALT + 2).encode(),
        c2s.Alloc(1).encode(),
    ]
    yield b"\x0c\x02" + SEPARATOR.join([every[0], *others])
    for number, changeset in enumerate(vectors.changesets(step=60)):
        yield b"\x0c\x02+\x00\x00\x02" + SEPARATOR + b"U\x00%c\x00\x01" % number + changeset


TARGET: Final = Target(
    "messages of clients, one by one and as a whole connection on real Realms",
    check,
    seeds,
    (
        SEPARATOR,
        b"+\x00\x00\x02",
        b"+\x01\x00\x03",
        b"U\x00\x00\x00\x01",
        b"Z\x01\x00\x00\x01",
        *(b"bind ", b"refresh ", b"ident ", b"upload ", b"mark ", b"alloc ", b"unbind ", b"ping ", b"json_error "),
        *(b"state_request ", b"client_version_request ", b" 1 0 ", b'{"message":"x"}', b"/a", b"\x3f\x00\x01T"),
    ),
)
