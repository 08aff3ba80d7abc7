"""The edges of the network: upgrade requests, HTTP and frames that break the rules, and peers that are slow or gone.

A real server process on a real port. After every test two good clients of one Realm talk to each other (``site``).
"""

import json
import random
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import jwt
import pytest
from raw_sync import (
    APP,
    BINARY,
    CLOSE,
    CONTINUATION,
    NEWEST,
    PATIENCE,
    PING,
    PONG,
    TEXT,
    Answer,
    Closed,
    RawSocket,
    RawSync,
    RawWebSocket,
    UpgradeFailed,
    ask,
    frame,
    log_in,
    log_out,
    sync_path,
    upgrade_request,
)
from sync_neighbours import SHARED, GoodClient, Site, new_object, new_table, serving

from realmserver.auth.keys import make_keys
from realmserver.auth.tokens import Tokens
from realmserver.net.websocket import CLOSE_TIMEOUT
from realmserver.realms.realm import DOWNLOAD_SIZE
from realmserver.realms.requests import DownloadCursor
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c
from realmserver.sync.syntax import MAX_UPLOAD, SERVER_LIMITS

pytestmark = pytest.mark.system

MEBIBYTE: Final = 1 << 20

MOST_HEADERS: Final = 64 * 1024
"""Bytes of a header block after which the server must have had enough."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("edges"), "logging: {level: trace}\n") as site:
        yield site


@pytest.fixture
def site(house: Site) -> Iterator[Site]:
    """The server; whatever a test does to it, its good clients go on."""
    yield house
    house.neighbours.talk()


def refusal(site: Site, path: str, subprotocol: str | None = NEWEST, **headers: str | None) -> Answer:
    """The answer to an upgrade request, which must be readable by a client: plain text with a length."""
    answer = ask(site.port, upgrade_request(path, subprotocol, **headers))
    assert answer.status != 101
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["content-type"].startswith("text/plain")
    return answer


# Upgrade requests.


def other_tokens(site: Site, directory: Path) -> dict[str, tuple[str, int]]:
    """Tokens that must not get in, each with the status it is worth (see auth/gate.py)."""
    claims = jwt.decode(site.login.access_token, options={"verify_signature": False})
    who = {
        "user_id": claims["sub"],
        "app_id": APP,
        "device_id": claims["baas_device_id"],
        "session_id": claims["baas_session_id"],
    }
    now = time.time()
    foreign = Tokens(make_keys(directory / "key.pub", directory / "key"))
    head, body, signature = site.login.access_token.split(".")
    richer = urlsafe_b64encode(json.dumps(claims | {"sub": "0" * 24}).encode()).decode().rstrip("=")
    public = (site.process.root / "keys" / "token-signature.pub").read_text()
    unsigned = urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    symmetric = urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    return {
        "signed with another key": (foreign.issue_access(**who, now=now), 401),
        "expired": (site.tokens.issue_access(**who, now=now - 7 * 24 * 3600), 401),
        "of a login that never was": (site.tokens.issue_access(**{**who, "session_id": "0" * 24}, now=now), 401),
        "of a user who never was": (site.tokens.issue_access(**{**who, "user_id": "0" * 24}, now=now), 401),
        "for another app": (log_in(site.port, "another-app").access_token, 403),
        "a refresh token": (site.login.refresh_token, 401),
        "changed after signing": (f"{head}.{richer}.{signature}", 401),
        "without a signature": (f"{head}.{body}.", 401),
        "with algorithm none": (f"{unsigned}.{body}.", 401),
        "with the public key as a secret": (f"{symmetric}.{body}.{signature}", 401),
        "the administrator's": ((site.process.root / "admin_token.base64").read_text(), 401),
        "the public key itself": (public, 401),
        "garbage": ("garbage.garbage.garbage", 401),
        "with a line feed": (f"{site.login.access_token[:-1]}\n", 401),
        "not ASCII": ("é" * 50, 401),
        "too long": ("a" * 15_000, 401),
    }


def test_tokens_that_prove_nothing_are_refused(site: Site, tmp_path: Path) -> None:
    refused = other_tokens(site, tmp_path)
    site.secrets |= {token for token, _ in refused.values() if len(token) > 100 and "KEY" not in token}
    for fault, (token, status) in refused.items():
        assert refusal(site, sync_path(token)).status == status, fault
        if token.isascii() and "\n" not in token:
            path = sync_path(None)
            assert refusal(site, path, Authorization=f"Bearer {token}").status == status, fault


def test_without_a_token_nobody_gets_in(site: Site) -> None:
    for path in (sync_path(None), sync_path(""), f"{sync_path(None)}?other={site.login.access_token}"):
        assert refusal(site, path).status == 401, path
    for header in ("", "Bearer", "Bearer ", "Basic abc", f"bearer{site.login.access_token}"):
        assert refusal(site, sync_path(None), Authorization=header).status == 401, header


def test_a_good_token_gets_in_by_either_way(site: Site) -> None:
    token = site.login.access_token
    for request in (
        upgrade_request(sync_path(token)),
        upgrade_request(sync_path(None), Authorization=f"Bearer {token}"),
    ):
        with RawSync(site.port, request) as client:
            assert client.is_alive()


def test_a_token_is_worth_nothing_after_its_login_has_ended(site: Site) -> None:
    login = log_in(site.port)
    with site.attacker(login=login) as client:
        assert client.is_alive()
    log_out(site.port, login)
    assert refusal(site, sync_path(login.access_token)).status == 401


@pytest.mark.parametrize("path", ["/realm-sync", "/realm-sync/%2Ftest", "app"])
@pytest.mark.parametrize(
    ("offer", "marker"),
    [
        ("com.mongodb.realm-sync/1", b"REALM_SYNC_PROTOCOL_MISMATCH:CLIENT_TOO_OLD"),
        ("io.realm.sync-30", b"REALM_SYNC_PROTOCOL_MISMATCH:CLIENT_TOO_OLD"),
        ("com.mongodb.realm-sync#15, com.mongodb.realm-sync#16", b"REALM_SYNC_PROTOCOL_MISMATCH:CLIENT_TOO_NEW"),
        ("com.mongodb.realm-sync/1, com.mongodb.realm-sync/15", b"REALM_SYNC_PROTOCOL_MISMATCH\n"),
        ("com.mongodb.realm-query-sync#14", b""),
        ("com.mongodb.realm-query-sync#14, com.mongodb.realm-query-sync#13", b""),
        ("com.mongodb.realm-sync#" + "9" * 1000, b""),
        ("com.mongodb.realm-sync#-1, com.mongodb.realm-sync#1e1, com.mongodb.realm-sync#", b""),
        ("chat, ,,;=", b""),
        ("", b""),
        (None, b""),
    ],
)
def test_a_client_with_no_version_in_common_is_told_why(
    site: Site, path: str, offer: str | None, marker: bytes
) -> None:
    answer = refusal(site, sync_path(site.login.access_token) if path == "app" else path, offer)
    assert answer.status == 400
    assert marker in answer.body
    assert (b"REALM_SYNC_PROTOCOL_MISMATCH" in answer.body) == bool(marker)


def test_the_version_is_answered_in_the_clients_own_spelling(site: Site) -> None:
    offers = {
        "com.mongodb.realm-sync#9, com.mongodb.realm-sync#10": "com.mongodb.realm-sync#10",
        "chat, com.mongodb.realm-sync/3": "com.mongodb.realm-sync/3",
        "com.mongodb.realm-sync/1-5": "com.mongodb.realm-sync/5",
        "com.mongodb.realm-sync#2-99": "com.mongodb.realm-sync#14",
        "com.mongodb.realm-query-sync#14,com.mongodb.realm-sync#12": "com.mongodb.realm-sync#12",
    }
    for offer, chosen in offers.items():
        with site.attacker(offer) as client:
            assert client.subprotocol == chosen
            assert client.is_alive()


@pytest.mark.parametrize(
    "change",
    [
        {"Upgrade": None},
        {"Upgrade": "h2c"},
        {"Connection": None},
        {"Connection": "close"},
        {"Sec_WebSocket_Version": None},
        {"Sec_WebSocket_Version": "8"},
        {"Sec_WebSocket_Version": "thirteen"},
        {"Sec_WebSocket_Key": None},
        {"Sec_WebSocket_Key": "short"},
        {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="},
        {"Host": None},
        {"Host": "a:b:c"},
    ],
)
def test_a_handshake_that_is_none_is_400(site: Site, change: dict[str, str | None]) -> None:
    request = upgrade_request(sync_path(site.login.access_token), **change)
    assert ask(site.port, request).status == 400


# HTTP that is none.


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\n\r\n",
        b"GET http://example.com/realm-sync HTTP/1.1\r\n\r\n",
        b"GET /" + b"a/" * 4000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /realm-sync?baas_at=%zz%00%ff HTTP/1.1\r\nHost: \xff\r\n\r\n",
    ],
)
def test_http_garbage_is_answered_with_an_error_or_the_end(site: Site, request_bytes: bytes) -> None:
    with RawSocket(site.port) as peer:
        peer.send(request_bytes)
        peer.end_sending()
        answer = peer.read_all()
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer


def test_random_bytes_instead_of_http_do_no_harm(site: Site) -> None:
    generator = random.Random(3)
    for _ in range(60):
        with RawSocket(site.port) as peer:
            peer.send(generator.randbytes(generator.choice([1, 10, 500, 20_000, 200_000])))
            peer.end_sending()
            answer = peer.read_all()
            assert not answer or answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "endless",
    [b"a", b"X-Header: value\r\n", b" ", b"X-Header: " + b"v" * 900 + b"\r\n"],
    ids=["name", "lines", "blanks", "long"],
)
def test_a_header_block_without_end_is_cut_off(site: Site, endless: bytes) -> None:
    before = site.forget_peak()
    with RawSocket(site.port) as peer:
        peer.send(b"GET / HTTP/1.1\r\n" + endless * (MOST_HEADERS // len(endless) + 1))
        answer = peer.read_all()
    assert not answer or answer.startswith(b"HTTP/1.1 400 ")
    assert site.peak_memory() - before < 4 * MEBIBYTE


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_without_end_is_cut_off(site: Site, chunked: bool) -> None:
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {1 << 40}"
    head = f"POST /api/client/v2.0/app/{APP}/auth/providers/anon-user/login HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n"
    piece = b"10000\r\n" + bytes(65536) + b"\r\n" if chunked else bytes(65536)
    before = site.forget_peak()
    with RawSocket(site.port) as peer:
        peer.send(head.encode())
        for _ in range(200):
            peer.send(piece)
        assert peer.answer().status in (0, 413)
    assert site.peak_memory() - before < 8 * MEBIBYTE


# Peers that take their time, or are gone.


def test_a_handshake_byte_by_byte_succeeds_while_others_stall(site: Site) -> None:
    request = upgrade_request(sync_path(site.login.access_token))
    with ExitStack() as stack:
        for size in range(0, 200, 4):
            stack.enter_context(RawSocket(site.port)).send(request[:size])
        slow = stack.enter_context(RawSocket(site.port))
        for byte in request:
            slow.send(bytes([byte]))
        assert slow.answer().status == 101
        site.neighbours.talk()


def test_a_message_byte_by_byte_is_one_message(site: Site) -> None:
    with site.attacker() as slow:
        for byte in frame(BINARY, c2s.Ping(77, 0).encode()):
            slow.send(bytes([byte]))
        assert slow.next() == s2c.Pong(77)


def test_what_comes_before_the_answer_to_the_upgrade_ties_nothing_up(site: Site) -> None:
    """The descriptors of such connections are given back when they end."""
    before = site.open_files()
    for path in ("/realm-sync", sync_path(site.login.access_token)):
        for early in (b"x", bytes(40_000)):
            for _ in range(5):
                RawWebSocket(site.port, upgrade_request(path), early=early).close()
    deadline = time.monotonic() + PATIENCE
    while site.open_files() > before and time.monotonic() < deadline:
        site.neighbours.talk()
    assert site.open_files() <= before


def test_clients_that_vanish_leave_nothing_behind(site: Site) -> None:
    before = site.open_files()
    for number in range(10):
        client = site.attacker()
        client.join(SHARED)
        if number % 2:
            client.reset()
        else:
            client.end_sending()
            assert client.read_all() == b""
            client.close()
        site.neighbours.talk()
    assert site.open_files() <= before


def test_one_client_file_on_two_connections_belongs_to_the_newer(site: Site) -> None:
    with site.attacker() as older, site.attacker() as newer:
        file, head = older.join(SHARED)
        newer.rejoin(SHARED, file, DownloadCursor(head.cursor.server_version, 0), head.latest)
        assert newer.catch_up().cursor == head.cursor
        assert older.receive() == Closed(None)  # not a word
        site.neighbours.talk()
        assert newer.catch_up().cursor.server_version == head.cursor.server_version + 1


LARGE: Final = '"large"'
PIECE: Final = MEBIBYTE
PIECES: Final = 32


@pytest.fixture(scope="module")
def large(house: Site) -> list[bytes]:
    """A Realm of some size, which does not compress: the changesets in it."""
    generator = random.Random(4)
    author = GoodClient(house.port, house.login, LARGE)
    author.write(new_table())
    for number in range(PIECES):
        author.write(new_object(number, generator.randbytes(PIECE)))
    author.close()
    return author.written


def read_large(site: Site, large: list[bytes]) -> None:
    """Somebody reads the whole Realm."""
    reader = GoodClient(site.port, site.login, LARGE)
    assert [entry.changeset for _, entry in sorted(reader.log.items())] == large
    reader.close()


def test_clients_that_never_read_cost_a_window_each_and_delay_nobody(site: Site, large: list[bytes]) -> None:
    """One window, however large the Realm is. What others read at the same time has its room, too."""
    count, window = 12, DOWNLOAD_SIZE + PIECE
    allowed = count * window + 8 * window
    assert allowed < 0.4 * count * PIECES * PIECE
    read_large(site, large)
    before = site.forget_peak()
    with ExitStack() as stack:
        stubborn: list[RawSync] = []
        for _ in range(count):
            request = upgrade_request(sync_path(site.login.access_token))
            client = stack.enter_context(RawSync(site.port, request, receive_buffer=4096))
            file = client.bind(LARGE)
            client.send_message(c2s.Ident(1, file.ident, file.salt).encode(), c2s.Mark(1, 1).encode())
            stubborn.append(client)
            site.neighbours.talk()
        read_large(site, large)
        assert site.peak_memory() - before < allowed
        # One of them begins to read after all, and gets everything.
        received: list[bytes] = []
        while isinstance(message := stubborn[0].next(), s2c.Download):
            received += [entry.changeset for entry in message.entries]
        assert message == s2c.Mark(1, 1)
        assert received == large


def test_who_asks_without_reading_the_answers_is_not_listened_to(site: Site) -> None:
    request = upgrade_request(sync_path(site.login.access_token))
    flood = (frame(PING, bytes(125)) * 20 + frame(BINARY, c2s.Ping(1 << 60, 0).encode())) * 20
    before = site.forget_peak()
    with RawSync(site.port, request, receive_buffer=4096) as deaf:
        deaf.socket.settimeout(0.5)
        sent = 0
        with suppress(TimeoutError):
            while sent < 32 * MEBIBYTE:
                sent += deaf.socket.send(flood)
        assert sent < 32 * MEBIBYTE, "the server goes on reading"
        site.neighbours.talk()
        # The values of the large Realm, which may be folded just now, are some 10 MiB of it.
        assert site.peak_memory() - before < 24 * MEBIBYTE


# Frames that break the rules.


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frame(BINARY, b"ping 1 0\n", masked=False), 1002, id="not masked"),
        *(pytest.param(frame(BINARY, b"ping 1 0\n", rsv=rsv), 1002, id=f"RSV {rsv}") for rsv in (1, 2, 4, 7)),
        *(pytest.param(frame(opcode), 1002, id=f"opcode {opcode}") for opcode in (3, 7, 11, 15)),
        pytest.param(frame(CONTINUATION, b"x"), 1002, id="a continuation of nothing"),
        pytest.param(frame(BINARY, b"p", fin=False) + frame(BINARY, b"x"), 1002, id="a message within a message"),
        pytest.param(frame(PING, b"x", fin=False), 1002, id="a fragmented ping"),
        pytest.param(frame(PING, bytes(126)), 1002, id="a long ping"),
        pytest.param(frame(TEXT, b"\xff\xff"), 1007, id="text that is not UTF-8"),
        pytest.param(frame(BINARY, declared=SERVER_LIMITS.message + 1), 1009, id="longer than the limit"),
        pytest.param(frame(BINARY, declared=(1 << 63) - 1), 1009, id="longer than any disk"),
        pytest.param(frame(BINARY, declared=1 << 63), 1002, id="longer than a length can be"),
        pytest.param(
            frame(BINARY, b"x", fin=False) + frame(CONTINUATION, declared=SERVER_LIMITS.message),
            1009,
            id="longer than the limit together",
        ),
    ],
)
def test_a_frame_that_breaks_the_rules_ends_the_connection_and_nobody_misses_news(
    site: Site, data: bytes, code: int
) -> None:
    """Also while the offender does not answer the close frame, as a polite one would."""
    with site.attacker() as attacker:
        attacker.join(SHARED)
        attacker.send(data)
        received = attacker.receive_frame()
        assert received is not None
        opcode, payload = received
        assert (opcode, int.from_bytes(payload[:2])) == (CLOSE, code)
        after = site.neighbours.newcomer()
        site.neighbours.talk()
        after.hear_of(site.neighbours.version)
        after.close()


@pytest.mark.parametrize("payload", [b"x", b"\x03\xe8\xff", b"\xff\xff", b"\0\0", bytes(126)])
def test_a_close_frame_that_breaks_the_rules_is_the_end_all_the_same(site: Site, payload: bytes) -> None:
    with site.attacker() as attacker:
        attacker.join(SHARED)
        attacker.send_frame(CLOSE, payload)
        attacker.end_sending()
        answer = attacker.read_all()
        assert answer[:1] in (b"", bytes([0x80 | CLOSE]))


def test_a_huge_frame_that_never_comes_costs_nothing(site: Site) -> None:
    before = site.forget_peak()
    with ExitStack() as stack:
        for _ in range(20):
            attacker = stack.enter_context(site.attacker())
            attacker.send(frame(BINARY, declared=MAX_UPLOAD) + bytes(1000))
        site.neighbours.talk()
    assert site.peak_memory() - before < 8 * MEBIBYTE


def test_fragments_text_and_control_frames_are_what_the_standard_says(site: Site) -> None:
    with site.attacker() as client:
        client.send_frame(TEXT, b"ping 1 0\n")  # ignored (spec/protocol.md 1.5)
        message = c2s.Ping(5, 0).encode()
        client.send_frame(BINARY, message[:1], fin=False)
        client.send_frame(PONG, b"unasked")
        for byte in message[1:]:
            client.send_frame(CONTINUATION, bytes([byte]), fin=False)
        client.send_frame(CONTINUATION)
        received = [client.receive_frame() for _ in range(2)]
        assert received[0] is not None
        assert received[0][1].startswith(b"log_message ")
        assert received[1] == (BINARY, s2c.Pong(5).encode())
        client.send_frame(PING, b"123 0\n")
        assert client.receive_frame() == (PONG, b"123 0\n")


def test_random_frames_do_no_harm(site: Site) -> None:
    generator = random.Random(5)
    for _ in range(60):
        with site.attacker() as attacker:
            attacker.join(SHARED)
            attacker.send(generator.randbytes(generator.choice([1, 2, 14, 300, 5000])))
            attacker.end_sending()
            attacker.read_all()


def test_a_polite_close_is_answered(site: Site) -> None:
    with site.attacker() as client:
        client.join(SHARED)
        client.send_frame(CLOSE, b"\x03\xe8bye")
        assert client.receive() == Closed(1000)
        assert client.read_all() == b""


def test_who_does_not_answer_a_close_frame_is_dropped(site: Site) -> None:
    with site.attacker() as attacker:
        begin = time.monotonic()
        attacker.send_message(b"rubbish")
        opcodes = []
        while (received := attacker.receive_frame()) is not None:
            opcodes.append(received[0])
        assert opcodes == [BINARY, BINARY, CLOSE]
        assert CLOSE_TIMEOUT - 1 < time.monotonic() - begin < CLOSE_TIMEOUT + 5


# What is left of it all.


def test_the_realm_holds_what_its_good_clients_wrote_and_nothing_else(site: Site) -> None:
    site.neighbours.check_log()


def test_the_log_tells_no_secret_and_of_no_fault_of_ours(site: Site) -> None:
    with pytest.raises(UpgradeFailed):
        RawSync(site.port, upgrade_request(sync_path(site.login.refresh_token)))
    site.check_log()
