"""The site: a body that is too long never arrives, and no query reaches the log."""

from typing import Any, cast

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import Request

from realmserver import log
from realmserver.http.extended_json import MAX_BODY
from realmserver.http.site import QuietSite


class Echo(Resource):
    """Answers with the length of the body."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        assert request.content is not None
        return str(len(request.content.read())).encode()


class Connection:
    """A connection to the site, from the client's end."""

    def __init__(self) -> None:
        self._transport: Any = StringTransport()  # type: ignore[no-untyped-call]
        self._protocol: Any = QuietSite(Echo(), Clock()).buildProtocol(None)  # type: ignore[no-untyped-call]
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
