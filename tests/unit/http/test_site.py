"""The site: a body that is too long never arrives, no query reaches the log, and clients are known behind proxies."""

import json
from typing import Any, cast

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import Request

from realmserver import log
from realmserver.http.answers import base_url
from realmserver.http.extended_json import MAX_BODY
from realmserver.http.site import QuietSite, came_directly

IDLE = 30
PATIENCE = 10


class Echo(Resource):
    """Answers with the length of the body."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        assert request.content is not None
        return str(len(request.content.read())).encode()


class Mirror(Resource):
    """Answers with how the request looks."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        client: Any = request.getClientAddress()  # type: ignore[no-untyped-call]
        names = sorted(name.decode() for name, _ in request.requestHeaders.getAllRawHeaders())
        seen = [client.host, base_url(request), base_url(request, "ws"), came_directly(request), names]
        return json.dumps(seen).encode()


class Connection:
    """A connection to the site, from the client's end."""

    def __init__(self, resource: Resource | None = None, peer: IAddress | None = None) -> None:
        self.clock = Clock()
        self.too_slow: list[str] = []
        self.asked: list[object] = []
        site = QuietSite(
            Echo() if resource is None else resource,  # type: ignore[no-untyped-call]
            self.clock,
            idle_timeout=IDLE,
            request_timeout=PATIENCE,
            too_slow=self.too_slow.append,
            has_asked=self.asked.append,
        )
        self._transport: Any = StringTransport(peerAddress=peer)  # type: ignore[no-untyped-call]
        self._protocol: Any = site.buildProtocol(None)  # type: ignore[no-untyped-call]
        self._protocol.makeConnection(self._transport)

    def send(self, *pieces: bytes) -> bytes:
        """All that the site has answered after ``pieces``."""
        for piece in pieces:
            self._protocol.dataReceived(piece)
        value: bytes = self._transport.value()
        return value

    @property
    def is_closing(self) -> bool:
        return bool(self._transport.disconnecting)


@pytest.fixture
def connection() -> Connection:
    return Connection()


def test_bodies_up_to_the_limit_arrive(connection: Connection) -> None:
    answer = connection.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % MAX_BODY, b"x" * MAX_BODY)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n%d" % MAX_BODY)


@pytest.mark.parametrize("content_type", [b"text/\x1cplain", b"\x85", b"multipart/form-data; boundary=x", b";;=\xff"])
def test_no_content_type_is_too_odd_for_an_answer(connection: Connection, content_type: bytes) -> None:
    """Twisted must not take it for a form's: it raises on some of them, and then nobody answers."""
    head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: 2\r\n\r\n" % content_type
    assert connection.send(head, b"{}").startswith(b"HTTP/1.1 200")


def test_a_longer_body_is_refused_before_it_is_sent(connection: Connection) -> None:
    answer = connection.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1))
    assert answer.startswith(b"HTTP/1.1 413")
    assert connection.is_closing


def test_a_longer_body_in_chunks_is_cut_off(connection: Connection) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = connection.send(head, *[chunk] * (MAX_BODY // 0x10000))
    assert answer == b""
    answer = connection.send(chunk, chunk, b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.count(b"HTTP/1.1") == 1
    assert connection.is_closing


def test_what_was_asked_is_logged_without_its_query(connection: Connection) -> None:
    events: list[LogEvent] = []
    observer = cast(ILogObserver, events.append)
    globalLogPublisher.addObserver(observer)
    log.set_level("all")
    try:
        connection.send(b"GET /x?baas_at=5ecret HTTP/1.1\r\nHost: h\r\n\r\n")
    finally:
        log.set_level("info")
        globalLogPublisher.removeObserver(observer)
    lines = [formatEvent(event) for event in events]
    assert any("GET /x 200, 1 bytes" in line for line in lines)
    assert not any("5ecret" in line for line in lines)


FORWARDED = b"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: sync.example.com\r\n"
LOCAL = IPv4Address("TCP", "127.0.0.1", 4711)
STRANGER = IPv4Address("TCP", "198.51.100.9", 4711)


def seen(peer: IAddress, headers: bytes = b"") -> list[Any]:
    """How a request of ``peer`` looks to a resource."""
    connection = Connection(Mirror(), peer)  # type: ignore[no-untyped-call]
    answer = connection.send(b"GET / HTTP/1.1\r\nHost: inner:9080\r\n" + headers + b"\r\n")
    found: list[Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


def test_behind_a_trusted_proxy_a_request_is_its_clients() -> None:
    expected = ["203.0.113.7", "https://sync.example.com", "wss://sync.example.com", False, ["Host"]]
    assert seen(LOCAL, FORWARDED) == expected


def test_an_untrusted_peer_says_nothing_about_others() -> None:
    expected = ["198.51.100.9", "http://inner:9080", "ws://inner:9080", False, ["Host"]]
    assert seen(STRANGER, FORWARDED) == expected
    assert seen(STRANGER) == expected


def test_a_request_of_this_machine_comes_directly() -> None:
    assert seen(LOCAL) == ["127.0.0.1", "http://inner:9080", "ws://inner:9080", True, ["Host"]]
    assert seen(IPv6Address("TCP", "::ffff:127.0.0.1", 1)) == seen(LOCAL)
    assert seen(LOCAL, b"Via: 1.1 somewhere\r\n")[3] is False


HEAD = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n"


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\nX: ", HEAD.replace(b"4", b"40")], ids=["head", "body"])
def test_a_request_must_be_there_in_time_however_steadily_it_trickles(connection: Connection, begin: bytes) -> None:
    connection.send(begin)
    for _ in range(PATIENCE - 1):
        connection.clock.advance(1)
        assert connection.send(b"x") == b""
    assert connection.too_slow == []
    connection.clock.advance(1)
    assert len(connection.too_slow) == 1
    assert connection.is_closing


def test_each_request_of_a_connection_has_its_own_time(connection: Connection) -> None:
    for number in range(1, 4):
        connection.send(HEAD[:-10])
        connection.clock.advance(PATIENCE - 1)
        answer = connection.send(HEAD[-10:], b"body")
        assert answer.count(b"HTTP/1.1 200") == number
        connection.clock.advance(PATIENCE)  # nothing has begun yet
    assert connection.too_slow == []
    assert len(connection.asked) == 3
    assert not connection.is_closing


def test_the_time_of_a_request_that_came_with_the_one_before_counts_too(connection: Connection) -> None:
    assert connection.send(HEAD + b"body" + HEAD[:-10]).count(b"HTTP/1.1 200") == 1
    connection.clock.advance(PATIENCE)
    assert len(connection.too_slow) == 1


def test_a_connection_without_a_request_is_closed_after_a_while(connection: Connection) -> None:
    connection.clock.advance(IDLE)
    assert connection.is_closing
    assert connection.too_slow == []
