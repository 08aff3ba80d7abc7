"""Clients that send garbage get the error that the protocol names, and others on the same Realm notice nothing.

Everything goes through a real server process, its port and a real login. After every test the good clients talk to each
other (``site``); the tests at the end read the Realm and the server's log.
"""

import gzip
import random
import zlib
from collections.abc import Iterator
from typing import Final

import pytest
from sync_neighbours import SHARED, Site, serving
from sync_verdicts import (
    BUG,
    RESET,
    VIOLATION,
    check_end,
    check_error,
    check_session_error,
    content,
    entry,
)

from realmserver.realms.requests import UploadCursor
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c
from realmserver.sync.syntax import MAX_HEAD, MAX_TOKEN, MAX_UPLOAD, MAX_UPLOAD_ENTRIES

pytestmark = pytest.mark.system

MEBIBYTE: Final = 1 << 20

BOMB_MEMORY: Final = 2 * MAX_UPLOAD + 32 * MEBIBYTE
"""Bytes that the largest legal body may cost the server: once inflated, once as a changeset, and what goes with it."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("hostile"), "logging: {level: trace}\n") as site:
        yield site


@pytest.fixture
def site(house: Site) -> Iterator[Site]:
    """The server; whatever a test does to it, its good clients go on."""
    yield house
    house.neighbours.talk()


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
def test_a_zip_bomb_costs_no_more_than_it_claims(site: Site, claimed: int) -> None:
    data = bomb(4096)
    before = site.forget_peak()
    with site.attacker() as attacker:
        attacker.join(SHARED)
        attacker.send_message(packed(data, claimed))
        check_end(attacker, 101, content("Transient", try_again=True))
    assert site.peak_memory() - before < claimed + 4 * len(data) + 8 * MEBIBYTE


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


# What is left of it all.


def test_the_realm_holds_what_its_good_clients_wrote_and_nothing_else(site: Site) -> None:
    assert site.neighbours.version > 2
    site.neighbours.check_log()


def test_the_log_tells_of_no_fault_of_ours(site: Site) -> None:
    site.check_log()
