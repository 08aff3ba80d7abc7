"""Clients that send garbage get the error that the protocol names, and others on the same Realm notice nothing.

Everything goes through a real server process, its port and a real login. After every test the good clients talk to each
other (``site``); the tests at the end read the Realm and the server's log.
"""

import gzip
import json
import random
import time
import zlib
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from raw_sync import Closed, RawSync, delete_user, log_in, log_out, register, upgrade_request
from server_process import ServerProcess
from sync_neighbours import SHARED, TIMESTAMP, GoodClient, Site, new_object, new_table

from realmserver.auth.keys import Keys, make_keys, signed_wire_form
from realmserver.changeset.decode import decode
from realmserver.realms.requests import DownloadCursor, SaltedVersion, UploadCursor, UploadEntry
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c
from realmserver.sync.syntax import MAX_HEAD, MAX_TOKEN, MAX_UPLOAD, MAX_UPLOAD_ENTRIES

pytestmark = pytest.mark.system

VECTORS: Final = Path(__file__).resolve().parents[2] / ".." / "shared" / "vectors"

MEBIBYTE: Final = 1 << 20

BOMB_MEMORY: Final = 2 * MAX_UPLOAD + 32 * MEBIBYTE
"""Bytes that the largest legal body may cost the server: once inflated, once as a changeset, and what goes with it."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    process = ServerProcess(tmp_path_factory.mktemp("hostile"), "logging: {level: trace}\n")
    try:
        process.start()
        yield Site(process)
    finally:
        process.kill()


@pytest.fixture
def site(house: Site) -> Iterator[Site]:
    """The server; whatever a test does to it, its good clients go on."""
    yield house
    house.neighbours.talk()


def entry(client_version: int, server_version: int = 0, changeset: bytes = b"", origin: int = 0) -> UploadEntry:
    return UploadEntry(client_version, server_version, TIMESTAMP, origin, changeset)


def content(action: str, *, try_again: bool = False, reset: bool = False) -> dict[str, object]:
    """What a JSON_ERROR says besides its text: the keys that clients demand (2.4), and no others."""
    return {
        "tryAgain": try_again,
        "logURL": "",
        "shouldClientReset": reset,
        "isRecoveryModeDisabled": False,
        "action": action,
    }


VIOLATION: Final = content("ProtocolViolation")
RESET: Final = content("ClientReset", reset=True)
BUG: Final = content("ApplicationBug")


def check_error(message: object, code: int, session: int, expected: dict[str, object]) -> None:
    """``message`` is the JSON_ERROR with this code and content, and tells why."""
    assert isinstance(message, s2c.JsonError), message
    assert (message.code, message.session) == (code, session), message
    text = dict(message.content)
    assert text.pop("message")
    assert text == expected


def check_end(attacker: RawSync, code: int, expected: dict[str, object] = VIOLATION) -> None:
    """The connection ends with this error, for the connection, and with nothing else."""
    messages, closed = attacker.to_the_end()
    messages = [message for message in messages if not isinstance(message, s2c.Download)]
    assert len(messages) == 1, messages
    check_error(messages[0], code, 0, expected)
    assert closed.code == 1000


def check_session_error(attacker: RawSync, code: int, expected: dict[str, object], session: int = 1) -> None:
    """The session ends with this error, and the connection lives on: what else comes for the session is ignored, and
    after UNBIND, which is not answered, its ident can be used again."""
    check_error(attacker.expect(s2c.JsonError), code, session, expected)
    attacker.send_message(c2s.Mark(session, 1).encode(), c2s.Unbind(session).encode(), c2s.Ping(7, 0).encode())
    assert attacker.next() == s2c.Pong(7)


# Messages that are none.


def test_random_bytes_as_messages_are_malformed(site: Site) -> None:
    generator = random.Random(1)
    verbs = [b"", b"bind ", b"upload 1 0 ", b"ident 1 2 3 ", b"json_error 212 5 1\n"]
    for number in range(60):
        garbage = generator.choice(verbs) + generator.randbytes(generator.choice([0, 1, 7, 80, 3000]))
        with site.attacker() as attacker:
            if number % 10 == 0:
                attacker.join(SHARED)
            attacker.send_message(garbage)
            check_end(attacker, 103)


GOOD: Final[dict[str, bytes]] = {
    "bind": c2s.Bind(1, SHARED, "", True).encode(),
    "refresh": c2s.Refresh(1, "a:b").encode(),
    "ident": c2s.Ident(1, 2, 3).encode(),
    "client_version_request": c2s.ClientVersionRequest(1, 2, 3).encode(),
    "state_request": c2s.StateRequest(1).encode(),
    "upload": c2s.Upload(1, UploadCursor(2, 0), 0, (entry(2, 0, b"x"),)).encode(),
    "mark": c2s.Mark(1, 1).encode(),
    "alloc": c2s.Alloc(1).encode(),
    "unbind": c2s.Unbind(1).encode(),
    "ping": c2s.Ping(1, 1).encode(),
    "json_error": c2s.ClientError(1, 212, "bad").encode(),
}
"""One message of each verb that would be well-formed; all begin with a number that may not be missing."""


def malformed(message: bytes) -> dict[str, bytes]:
    """What can be wrong with the head line of ``message``, and that message."""
    head, _, body = message.partition(b"\n")
    verb, first, rest = (head + b" ").split(b" ", 2)
    rest = rest.rstrip()
    tail = (b" " + rest if rest else b"") + b"\n" + body
    return {
        "a tab between fields": verb + b"\t" + first + tail,
        "a double blank": verb + b"  " + first + tail,
        "a comma between fields": verb + b" " + first + b"," + tail,
        "a number missing": verb + tail,
        "a number too many": verb + b" 1 " + first + tail,
        "a negative number": verb + b" -1" + tail,
        "a number over 63 bits": verb + b" 9223372036854775808" + tail,
        "a number over 64 bits": verb + b" 18446744073709551617" + tail,
        "a plus sign": verb + b" +" + first + tail,
        "a hexadecimal number": verb + b" 0x1" + tail,
        "a fraction": verb + b" " + first + b".0" + tail,
        "a digit of another script": verb + b" " + "١".encode() + tail,
        "CR LF": head + b"\r\n" + body,
        "a blank at the end": head + b" \n" + body,
        "no line feed": head,
        "trailing bytes": message + b"\0",
        "capital letters": verb.upper() + b" " + first + tail,
        "a byte order mark": b"\xef\xbb\xbf" + message,
        "a line feed first": b"\n" + message,
        "an endless head line": verb + b" " + b"0" * MAX_HEAD + first + tail,
    }


@pytest.mark.parametrize("verb", GOOD)
def test_a_malformed_head_line_ends_the_connection_with_103(site: Site, verb: str) -> None:
    for fault, message in malformed(GOOD[verb]).items():
        with site.attacker() as attacker:
            attacker.send_message(message)
            try:
                check_end(attacker, 103)
            except AssertionError as error:
                raise AssertionError(f"{verb} with {fault}: {message!r}") from error


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"rubbish 1\n", id="an unknown verb"),
        pytest.param(b"transact 1 1 1 0\n", id="TRANSACT, which no server knows"),
        pytest.param(b"query 1 1 2\n{}", id="Flexible Sync's QUERY"),
        pytest.param(b"pong 1\n", id="a verb of the server's"),
        pytest.param(b"ping\n", id="no number at all"),
        pytest.param(b"\n", id="an empty line"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"bind 0 5 0 1 0\n/test", id="session ident 0"),
        pytest.param(b"mark 1 0\n", id="request ident 0"),
        pytest.param(b"bind 1 0 0 1 0\n", id="an empty path"),
        pytest.param(b"bind 1 1025 0 1 0\n" + b"a" * 1025, id="a path over the limit"),
        pytest.param(b"bind 1 1 %d 1 0\n/" % (MAX_TOKEN + 1) + b"a" * (MAX_TOKEN + 1), id="a token over the limit"),
        pytest.param(b"bind 1 9223372036854775807 9223372036854775807 1 0\n/", id="sizes that overflow together"),
        pytest.param(b"bind 1 2 0 1 0\n\xff\xfe", id="a path that is not UTF-8"),
        pytest.param(b"refresh 1 5\nabc", id="a token cut off"),
        pytest.param(b"state_request 1 0 0 0 2 0 0 0 0\n", id="a flag that must be 0 or 1"),
        pytest.param(b'json_error 212 3 1\n{"m', id="an error that is not JSON"),
        pytest.param(b"json_error 212 4000 1\n" + b"[" * 4000, id="an error of nested brackets"),
    ],
)
def test_a_message_that_means_nothing_ends_the_connection_with_103(site: Site, message: bytes) -> None:
    with site.attacker() as attacker:
        attacker.join(SHARED, sid=2)
        attacker.send_message(message)
        check_end(attacker, 103)


@pytest.mark.parametrize(
    ("subprotocol", "is_json"),
    [
        ("com.mongodb.realm-sync/2", False),
        ("com.mongodb.realm-sync/3", False),
        ("com.mongodb.realm-sync/4", True),
        ("com.mongodb.realm-sync#7", True),
    ],
)
def test_each_client_is_told_in_the_form_that_it_knows(site: Site, subprotocol: str, is_json: bool) -> None:
    with site.attacker(subprotocol) as attacker:
        attacker.bind(SHARED)
        attacker.send_message(c2s.Ident(1, 999_999, 1).encode())
        wrong = attacker.next()
        attacker.send_message(b"ping  1 0\n")
        messages, closed = attacker.to_the_end()
    if is_json:
        check_error(wrong, 208, 1, RESET)
        check_error(messages[0], 103, 0, VIOLATION)
    else:
        assert isinstance(wrong, s2c.Error)
        assert (wrong.code, wrong.try_again, wrong.session) == (208, False, 1)
        assert isinstance(messages[0], s2c.Error)
        assert (messages[0].code, messages[0].try_again, messages[0].session) == (103, False, 0)
    assert (len(messages), closed.code) == (1, 1000)


# Messages out of order: the rows of spec/protocol.md 3.1.


@pytest.mark.parametrize("verb", [verb for verb in GOOD if verb not in ("bind", "ping")])
def test_a_session_that_does_not_exist_is_106(site: Site, verb: str) -> None:
    with site.attacker() as attacker:
        attacker.join(SHARED, sid=2)
        attacker.send_message(GOOD[verb])
        check_end(attacker, 106)


def test_a_session_that_is_gone_is_106(site: Site) -> None:
    with site.attacker() as attacker:
        attacker.join(SHARED)
        attacker.send_message(c2s.Unbind(1).encode(), c2s.Mark(1, 1).encode())
        assert attacker.next() == s2c.Unbound(1)
        check_end(attacker, 106)


def test_binding_a_session_twice_is_107(site: Site) -> None:
    with site.attacker() as attacker:
        attacker.join(SHARED)
        attacker.send_message(c2s.Bind(1, '"elsewhere"', "", True).encode())
        check_end(attacker, 107)


def test_a_session_ident_stays_taken_after_an_error_until_unbind(site: Site) -> None:
    with site.attacker() as attacker:
        attacker.send_message(c2s.Bind(1, "no JSON", "", True).encode())
        check_error(attacker.next(), 204, 1, BUG)
        attacker.send_message(c2s.Bind(1, SHARED, "", True).encode())
        check_end(attacker, 107)


def test_one_client_file_in_two_sessions_of_a_connection_is_108(site: Site) -> None:
    with site.attacker() as attacker:
        file, _ = attacker.join(SHARED)
        attacker.rejoin(SHARED, file, sid=2)
        check_end(attacker, 108)


IDENT_TOO_SOON: Final = c2s.Bind(1, SHARED, "", True).encode(), c2s.Ident(1, 2, 3).encode()
BOUND: Final = c2s.Bind(1, SHARED, "", False).encode()


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(IDENT_TOO_SOON, id="IDENT before the server's"),
        *(pytest.param((BOUND, GOOD[verb]), id=f"{verb} before IDENT") for verb in ("upload", "mark", "alloc")),
        pytest.param((BOUND, GOOD["json_error"]), id="json_error before IDENT"),
    ],
)
def test_messages_before_their_time_are_109(site: Site, messages: tuple[bytes, ...]) -> None:
    with site.attacker() as attacker:
        attacker.send_message(*messages)
        check_end(attacker, 109)


def test_a_second_state_request_is_109(site: Site) -> None:
    with site.attacker() as attacker:
        attacker.send_message(BOUND, GOOD["state_request"], GOOD["state_request"])
        assert attacker.next() == s2c.State(1)
        check_end(attacker, 109)


@pytest.mark.parametrize("verb", ["ident", "state_request", "client_version_request"])
def test_what_belongs_before_ident_is_109_after_it(site: Site, verb: str) -> None:
    with site.attacker() as attacker:
        attacker.join(SHARED)
        attacker.send_message(GOOD[verb])
        check_end(attacker, 109)


def test_a_client_is_no_sub_server(site: Site) -> None:
    with site.attacker() as attacker:
        attacker.join(SHARED)
        attacker.send_message(c2s.Alloc(1).encode())
        check_session_error(attacker, 206, BUG)
        attacker.send_message(c2s.Bind(1, SHARED, "", True, is_subserver=True).encode())
        check_session_error(attacker, 206, BUG)


def test_who_could_not_integrate_a_download_is_sent_away_for_a_while(site: Site) -> None:
    with site.attacker() as attacker:
        attacker.join(SHARED)
        attacker.send_message(c2s.ClientError(1, 212, "bad \x1b[2J\n changeset").encode())
        backoff = {"backoffIntervalSec": 60, "backoffMaxDelaySec": 3600, "backoffMultiplier": 2}
        check_session_error(attacker, 201, content("Transient", try_again=True) | backoff)


# UPLOAD bodies.


def upload(body: bytes, size: int | None = None, compressed: int | None = None) -> bytes:
    """An UPLOAD with ``body`` as it is, whatever it claims: ``size`` inflated, ``compressed`` (if given) as sent."""
    size = len(body) if size is None else size
    return b"upload 1 %d %d %d 2 0 0\n" % (compressed is not None, size, compressed or 0) + body


BODY: Final = b"2 0 178000000000 0 2000 " + b"x" * 2000
PACKED: Final = zlib.compress(BODY)


def packed(data: bytes, size: int = len(BODY)) -> bytes:
    return upload(data, size, len(data))


def with_dictionary() -> bytes:
    deflater = zlib.compressobj(zdict=b"xxxxxxxx")
    return deflater.compress(BODY) + deflater.flush()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        pytest.param(upload(BODY, len(BODY) + 1), 103, id="cut off"),
        pytest.param(upload(BODY, len(BODY) - 1), 103, id="too long"),
        pytest.param(upload(BODY, MAX_UPLOAD), 103, id="almost all of it missing"),
        pytest.param(b"upload 1 0 2 2 2 0 0\nxx", 103, id="a compressed size without compression"),
        pytest.param(upload(PACKED, len(BODY), len(PACKED) + 1), 103, id="compressed, cut off"),
        pytest.param(upload(PACKED, len(BODY), len(PACKED) - 1), 103, id="compressed, too long"),
        pytest.param(packed(b"", 0), 101, id="compressed nothing"),
        pytest.param(packed(b"\0" * 100), 101, id="no zlib stream"),
        pytest.param(packed(PACKED[2:-4]), 101, id="raw deflate"),
        pytest.param(packed(gzip.compress(BODY)), 101, id="gzip"),
        pytest.param(packed(PACKED[:-6]), 101, id="a stream cut off"),
        pytest.param(packed(PACKED[:-1] + bytes([PACKED[-1] ^ 1])), 101, id="a wrong checksum"),
        pytest.param(packed(PACKED + b"x"), 101, id="bytes after the stream"),
        pytest.param(packed(PACKED * 2), 101, id="two streams"),
        pytest.param(packed(with_dictionary()), 101, id="a dictionary"),
        pytest.param(packed(PACKED, len(BODY) - 1), 101, id="inflating to more than it says"),
        pytest.param(packed(PACKED, len(BODY) + 1), 101, id="inflating to less than it says"),
        pytest.param(packed(PACKED, 0), 101, id="inflating to something instead of nothing"),
        pytest.param(upload(b"2 0 178000000000 0 "), 103, id="an entry header cut off"),
        pytest.param(upload(b"2 0 178000000000 0 5 abcd"), 103, id="a changeset cut off"),
        pytest.param(upload(b"2 0 178000000000 0 3 abcd"), 103, id="a changeset too long"),
        pytest.param(upload(b"2 0 178000000000 0 -1 "), 103, id="a negative size"),
        pytest.param(upload(b"2 0 178000000000 0 18446744073709551617 x"), 103, id="a size that overflows"),
        pytest.param(upload(b"9223372036854775808 0 178000000000 0 1 x"), 103, id="a version that overflows"),
        pytest.param(upload(b"2 0 178000000000 0 " + b"0" * 40 + b"1 x"), 103, id="a number without end"),
        pytest.param(upload(b"2  0 178000000000 0 1 x"), 103, id="a double blank in an entry"),
        pytest.param(upload(b"+2 0 178000000000 0 1 x"), 103, id="a plus sign in an entry"),
        pytest.param(upload(b"2 0 178000000000 0 1\nx"), 103, id="a line feed in an entry"),
        pytest.param(
            packed(zlib.compress(b"1 0 0 0 0 " * (MAX_UPLOAD_ENTRIES + 1)), 655_370), 103, id="too many entries"
        ),
    ],
)
def test_a_broken_upload_ends_the_connection(site: Site, message: bytes, code: int) -> None:
    with site.attacker() as attacker:
        attacker.join(SHARED)
        attacker.send_message(message)
        check_end(attacker, code, VIOLATION if code == 103 else content("Transient", try_again=True))


def test_an_upload_that_is_too_big_is_refused_by_close_code(site: Site) -> None:
    before = site.forget_peak()
    for message in (upload(b"", MAX_UPLOAD + 1), packed(PACKED, MAX_UPLOAD + 1), packed(PACKED, (1 << 63) - 1)):
        with site.attacker() as attacker:
            attacker.join(SHARED)
            attacker.send_message(message)
            messages, closed = attacker.to_the_end()
            assert (messages, closed.code) == ([], 1009)
    assert site.peak_memory() - before < 8 * MEBIBYTE


def bomb(mebibytes: int) -> bytes:
    """A zlib stream of so many MiB of zeros, without its end."""
    deflater = zlib.compressobj(9)
    head = deflater.compress(b"") + deflater.flush(zlib.Z_FULL_FLUSH)
    block = deflater.compress(bytes(MEBIBYTE)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return head + block * mebibytes


@pytest.mark.parametrize("claimed", [1000, 16 * MEBIBYTE, MAX_UPLOAD])
def test_a_zip_bomb_costs_no_more_than_twice_what_it_claims(site: Site, claimed: int) -> None:
    data = bomb(4096)
    before = site.forget_peak()
    with site.attacker() as attacker:
        attacker.join(SHARED)
        attacker.send_message(packed(data, claimed))
        check_end(attacker, 101, content("Transient", try_again=True))
    assert site.peak_memory() - before < 2 * claimed + 4 * len(data) + 8 * MEBIBYTE  # inflated in pieces, then joined


def test_the_largest_legal_body_of_nonsense_is_refused_within_bounds(site: Site) -> None:
    changeset = bytes(MAX_UPLOAD - 64)
    body = b"2 0 178000000000 0 %d " % len(changeset) + changeset
    message = packed(zlib.compress(body, 1), len(body))
    before = site.forget_peak()
    with site.attacker() as attacker:
        attacker.join(SHARED)
        attacker.send_message(message)
        check_session_error(attacker, 212, BUG)
    assert site.peak_memory() - before < BOMB_MEMORY


# Cursors that cannot be: spec/protocol.md 3.4 and 3.5.


class History:
    """A Realm with three versions and a client file that has integrated all of them and uploaded up to version 5."""

    def __init__(self, site: Site) -> None:
        self.path = f'"history {random.randrange(1 << 60)}"'
        self.site = site
        author = GoodClient(site.port, site.login, self.path)
        for changeset in (new_table(), new_object(1), new_object(2)):
            author.write(changeset)
        author.close()
        with site.attacker() as client:
            self.file, head = client.join(self.path)
            client.upload([], UploadCursor(5, 2), 2)
            assert client.is_alive()
        self.latest = head.latest
        self.here = DownloadCursor(3, 0)


@pytest.fixture(scope="module")
def history(house: Site) -> History:
    return History(house)


@pytest.mark.parametrize(
    ("row", "uploads", "code"),
    [
        (1, [([], (5, 0), 0), ([], (4, 0), 0)], 210),
        (2, [([], (2, 4), 0)], 209),
        (3, [([], (0, 1), 0)], 209),
        (5, [([], (5, 2), 0), ([], (6, 1), 0)], 209),
        (5, [([], (5, 2), 0), ([], (5, 3), 0)], 209),
        (6, [([], (2, 2), 2), ([], (3, 2), 1)], 209),
        (7, [([], (2, 0), 4)], 209),
        (8, [([entry(2), entry(2)], (2, 0), 0)], 210),
        (8, [([entry(3), entry(2)], (3, 0), 0)], 210),
        (8, [([], (5, 0), 0), ([entry(5)], (5, 0), 0)], 210),
        (9, [([entry(3, 2), entry(4, 1)], (4, 2), 0)], 209),
        (10, [([entry(3)], (2, 0), 0)], 210),
        (11, [([entry(3, 2)], (4, 1), 0)], 209),
        (11, [([entry(3, 2)], (3, 1), 0)], 209),
    ],
)
def test_an_upload_whose_cursors_cannot_be_demands_a_reset(
    site: Site, history: History, row: int, uploads: list[Any], code: int
) -> None:
    with site.attacker() as attacker:
        attacker.join(history.path)
        for entries, progress, locked in uploads:
            attacker.upload(entries, UploadCursor(*progress), locked)
        error = attacker.expect(s2c.JsonError)
        check_error(error, code, 1, RESET)
        assert f"rule {row}:" in str(error.content["message"])
        assert attacker.is_alive()


@pytest.mark.parametrize(
    ("row", "entries", "progress"),
    [(4, [], (6, 1)), (4, [], (3, 3)), (4, [], (5, 3)), (9, [entry(3, 3)], (6, 3))],
)
def test_an_upload_may_not_contradict_what_is_integrated(
    site: Site, history: History, row: int, entries: list[UploadEntry], progress: tuple[int, int]
) -> None:
    with site.attacker() as attacker:
        attacker.rejoin(history.path, history.file, history.here, history.latest)
        attacker.upload(entries, UploadCursor(*progress), 2)
        error = attacker.expect(s2c.JsonError)
        check_error(error, 209, 1, RESET)
        assert f"rule {row}:" in str(error.content["message"])
        assert attacker.is_alive()


def test_a_client_file_may_not_upload_for_another(site: Site, history: History) -> None:
    for origin in (1, 2, 999):
        with site.attacker() as attacker:
            attacker.join(history.path)
            attacker.upload([entry(2, 0, new_object(9), origin)], UploadCursor(2, 0))
            check_session_error(attacker, 216, VIOLATION)


def test_an_ident_that_cannot_be_demands_a_reset(site: Site, history: History) -> None:
    file, latest, here = history.file, history.latest, history.here
    stranger = s2c.Ident(1, 999_999, 1)
    cases: list[tuple[int, int, s2c.Ident, DownloadCursor, SaltedVersion]] = [
        (1, 209, file, here, SaltedVersion(4, latest.salt)),
        (1, 209, stranger, DownloadCursor(), SaltedVersion(4, 1)),
        (2, 208, stranger, DownloadCursor(), SaltedVersion()),
        (2, 208, s2c.Ident(1, 0, 0), DownloadCursor(), SaltedVersion()),
        (3, 211, s2c.Ident(1, file.ident, file.salt ^ 1), here, latest),
        (3, 211, s2c.Ident(1, file.ident, 0), here, latest),
        (3, 211, s2c.Ident(1, 1, 0), DownloadCursor(), SaltedVersion()),
        (4, 209, file, DownloadCursor(1, 0), latest),
        (6, 209, file, DownloadCursor(4, 0), latest),
        (7, 210, file, DownloadCursor(3, 6), latest),
        (8, 209, file, here, SaltedVersion(2, latest.salt)),
        (9, 211, file, here, SaltedVersion(3, latest.salt ^ 1)),
        (9, 211, file, here, SaltedVersion(3, 0)),
    ]
    with site.attacker() as attacker:
        for row, code, claimed, download, newest in cases:
            attacker.rejoin(history.path, claimed, download, newest)
            try:
                check_session_error(attacker, code, RESET)
            except AssertionError as error:
                raise AssertionError(f"row {row}: {claimed}, {download}, {newest}") from error
        attacker.rejoin(history.path, file, here, latest)
        assert attacker.expect(s2c.Download).head.upload == UploadCursor(5, 2)


def test_version_0_has_no_salt(site: Site, history: History) -> None:
    with site.attacker() as attacker:
        file = attacker.bind(history.path)
        attacker.send_message(c2s.Ident(1, file.ident, file.salt, DownloadCursor(), SaltedVersion(0, 1)).encode())
        check_session_error(attacker, 211, RESET)


def test_a_client_file_of_another_user_is_not_lent(site: Site, history: History) -> None:
    login = log_in(site.port)
    site.secrets |= {login.access_token, login.refresh_token}
    with site.attacker(login=login) as thief:
        thief.rejoin(history.path, history.file, history.here, history.latest)
        check_session_error(thief, 223, BUG)


# Changesets that are none.


def rejected() -> list[bytes]:
    with gzip.open(VECTORS / "malformed.jsonl.gz", "rt") as lines:
        cases = [json.loads(line) for line in lines]
    return [b64decode(case["changeset"]) for case in cases if not case["accepted"]]


def test_every_changeset_that_the_reference_rejects_is_212_and_leaves_no_trace(site: Site) -> None:
    changesets = rejected()
    assert len(changesets) > 100
    with site.attacker() as attacker:
        file, _ = attacker.join(SHARED)
        attacker.send_message(c2s.Unbind(1).encode())
        attacker.expect(s2c.Unbound)
        for number, changeset in enumerate(changesets):
            attacker.rejoin(SHARED, file)
            assert attacker.expect(s2c.Download).head.upload == UploadCursor()
            attacker.upload([entry(2, 0, changeset)], UploadCursor(2, 0))
            check_session_error(attacker, 212, BUG)
            if number % 20 == 0:
                site.neighbours.talk()


def test_a_bad_changeset_takes_the_good_ones_of_its_upload_with_it_and_no_others(site: Site) -> None:
    bad = b"\x3f\x00"
    with site.attacker() as attacker:
        file, _ = attacker.join(SHARED)
        for entries in (
            [(2, new_object(-1)), (3, bad)],
            [(2, bad), (3, new_object(-1))],
            [(2, new_object(-1)), (3, b"\xff")],
        ):
            attacker.upload([entry(version, 0, changeset) for version, changeset in entries], UploadCursor(3, 0))
            check_session_error(attacker, 212, BUG)
            attacker.rejoin(SHARED, file)
            assert attacker.expect(s2c.Download).head.upload == UploadCursor()


def test_a_changeset_that_cannot_be_applied_is_212(site: Site) -> None:
    with site.attacker() as attacker:
        attacker.join('"empty"')
        attacker.upload([entry(2, 0, new_object(1))], UploadCursor(2, 0))
        check_session_error(attacker, 212, BUG)


def test_damaged_changesets_are_either_refused_or_readable(site: Site) -> None:
    """In a Realm of their own, since some of them are harmless. What is stored is read by a client that checks it."""
    generator = random.Random(2)
    path, seeds = '"damaged"', [new_table(), new_object(5, b"some data"), new_object(6)]
    author = GoodClient(site.port, site.login, path)
    author.write(seeds[0])
    stored = 0
    with site.attacker() as attacker:
        file, version = attacker.bind(path), 1
        attacker.send_message(c2s.Unbind(1).encode())
        attacker.expect(s2c.Unbound)
        for _ in range(200):
            changeset = bytearray(generator.choice(seeds))
            for _ in range(generator.randint(1, 3)):
                changeset[generator.randrange(len(changeset))] = generator.randrange(256)
            attacker.rejoin(path, file)
            attacker.expect(s2c.Download)
            attacker.upload([entry(version + 1, 0, bytes(changeset))], UploadCursor(version + 1, 0))
            answer = attacker.next()
            while isinstance(answer, s2c.Download) and answer.head.upload.client_version <= version:
                answer = attacker.next()
            if isinstance(answer, s2c.Download):
                version, stored = version + 1, stored + 1
            else:
                check_error(answer, 212, 1, BUG)
            attacker.send_message(c2s.Unbind(1).encode())
            if isinstance(answer, s2c.Download):
                attacker.expect(s2c.Unbound)
    author.mark()
    reader = GoodClient(site.port, site.login, path)
    assert reader.version == author.version == 1 + stored
    assert 0 < stored < 200
    for each in reader.log.values():
        decode(each.changeset)
    reader.close()
    author.close()


# Who brings a token in BIND, as clients of the 1.x era do.


def bind_token(keys: Keys, **fields: object) -> str:
    """A token of a user with all rights to /legacy, changed by field (None leaves one out)."""
    payload = {"identity": "someone", "path": "/legacy", "access": ["download", "upload"]} | fields
    return signed_wire_form(
        keys, json.dumps({key: value for key, value in payload.items() if value is not None}).encode()
    )


def legacy(site: Site, subprotocol: str = "com.mongodb.realm-sync#14") -> RawSync:
    """A connection that nobody has asked for a token yet."""
    return RawSync(site.port, upgrade_request("/realm-sync", subprotocol))


def test_a_signed_token_opens_the_realm_it_is_for(site: Site) -> None:
    token = bind_token(site.keys)
    site.secrets.add(token)
    with legacy(site) as client:
        client.join("/legacy", token=token)
        client.upload([entry(2, 0, new_table())], UploadCursor(2, 0))
        assert client.expect(s2c.Download).head.upload == UploadCursor(2, 0)


@pytest.mark.parametrize(
    ("subprotocol", "code"), [("com.mongodb.realm-sync#14", 4001), ("com.mongodb.realm-sync/7", 1008)]
)
def test_a_token_in_bind_that_is_no_good_closes_the_connection(
    site: Site, tmp_path: Path, subprotocol: str, code: int
) -> None:
    """Never error 202 or 203, which would abort the process of clients that connect with such names (4.2)."""
    good = bind_token(site.keys)
    forged = bind_token(make_keys(tmp_path / "key.pub", tmp_path / "key"))
    expired = bind_token(site.keys, expires=int(time.time()) - 60)
    refused = {
        "missing": "",
        "garbage": "gar:bage",
        "unsigned": good.partition(":")[0],
        "another's signature": f"{good.partition(':')[0]}:{forged.partition(':')[2]}",
        "forged": forged,
        "expired": expired,
        "a refresh token": site.login.refresh_token,
        "without identity": bind_token(site.keys, identity=None),
        "not ASCII": "é:é",
    }
    site.secrets |= {token for token in refused.values() if len(token) > 20}
    for fault, token in refused.items():
        with legacy(site, subprotocol) as client:
            client.send_message(c2s.Bind(1, "/legacy", token, True).encode())
            messages, closed = client.to_the_end()
            assert (messages, closed.code) == ([], code), fault


def test_a_token_opens_nothing_that_it_does_not_name(site: Site) -> None:
    wrong: list[tuple[dict[str, object], str]] = [
        ({}, "/another"),
        ({}, "/legacy/below"),
        ({"access": ["upload"]}, "/legacy"),
        ({"access": []}, "/legacy"),
        ({"access": None}, "/legacy"),
    ]
    with legacy(site) as client:
        for fields, path in wrong:
            client.send_message(c2s.Bind(1, path, bind_token(site.keys, **fields), True).encode())
            check_session_error(client, 206, BUG)
        client.send_message(c2s.Bind(1, "/legacy", bind_token(site.keys), True, is_subserver=True).encode())
        check_session_error(client, 206, BUG)


def test_a_token_to_read_does_not_let_write(site: Site) -> None:
    with legacy(site) as client:
        client.join("/legacy", token=bind_token(site.keys, access=["download"]))
        client.upload([], UploadCursor(2, 0))
        assert client.is_alive()
        client.upload([entry(3, 0, new_object(1))], UploadCursor(3, 0))
        check_session_error(client, 206, BUG)


def test_a_token_that_expires_meanwhile_ends_the_connection(site: Site) -> None:
    with legacy(site) as client:
        expires = time.time() + 0.5
        client.join("/legacy", token=bind_token(site.keys, expires=expires))
        time.sleep(max(0.0, expires - time.time()) + 0.01)
        client.upload([entry(2, 0, new_object(1))], UploadCursor(2, 0))
        messages, closed = client.to_the_end()
        assert (messages, closed.code) == ([], 4001)


ILLEGAL_PATHS: Final = [
    *("/", "/a/", "//a", "/.a", "/a/..", "/a.realm", "/a.realm.lock", "/a.realm.management", "/~/../a", "/a b"),
    *("/a%20b", "/é", '{"$oid":"5f"}', "a", "/__admin", "/x/__partial/y", "/__partition/my-app/string-shared", "/a\0b"),
]


def test_illegal_paths_are_204_and_create_nothing(site: Site) -> None:
    before = sorted(site.process.root.rglob("*.realm"))
    with legacy(site) as client:
        for path in ILLEGAL_PATHS:
            token = bind_token(site.keys, path=None, admin=True)
            client.send_message(c2s.Bind(1, path, token, True).encode())
            check_session_error(client, 204, BUG)
    partitions = ["", "shared", "[1]", "{}", "true", "1.5", '{"$oid":"5f"}', '{"$uuid":"1"}', '"\\ud800"', "9" * 40]
    with site.attacker() as attacker:
        for partition in (*partitions[1:], "[" * 1000, '{"$oid":"5f3c","x":1}', "NaN"):
            attacker.send_message(c2s.Bind(1, partition, "", True).encode())
            check_session_error(attacker, 204, BUG)
    assert sorted(site.process.root.rglob("*.realm")) == before


# Logins that end.


@pytest.mark.parametrize("with_session", [True, False])
@pytest.mark.parametrize("end", [log_out, delete_user])
def test_the_end_of_a_login_ends_its_connections_with_4001(site: Site, end: Any, with_session: bool) -> None:
    login = log_in(site.port)
    site.secrets |= {login.access_token, login.refresh_token}
    with site.attacker(login=login) as client, site.attacker() as another:
        if with_session:
            client.join(SHARED)
        assert client.is_alive()
        end(site.port, login)
        messages, closed = client.to_the_end()
        assert (messages, closed.code) == ([], 4001)
        assert another.is_alive()


def test_before_version_8_the_close_code_is_one_that_clients_know(site: Site) -> None:
    login = log_in(site.port)
    with site.attacker("com.mongodb.realm-sync/7", login) as client:
        assert client.is_alive()
        log_out(site.port, login)
        assert client.to_the_end() == ([], Closed(1008, "the login has ended"))


# What is left of it all.


def test_the_realm_holds_what_its_good_clients_wrote_and_nothing_else(site: Site) -> None:
    assert site.neighbours.version > 2
    site.neighbours.check_log()


def test_the_log_tells_no_secret_and_of_no_fault_of_ours(site: Site) -> None:
    password = "correct horse battery staple"
    user = register(site.port, "user@example.com", password)
    site.secrets |= {password, user.access_token, user.refresh_token}
    with site.attacker(login=user) as client:
        client.join(SHARED)
    log_out(site.port, user)
    site.check_log()
