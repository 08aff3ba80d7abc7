"""Which headers a proxy passes on."""

from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.web.http_headers import Headers
from twisted.web.server import Request
from twisted.web.test.requesthelper import DummyChannel

from realmserver.net.headers import end_to_end, pairs_of, to_backend, wants_websocket


def request(headers: dict[bytes, list[bytes]], method: bytes = b"GET") -> Any:
    made: Any = Request(DummyChannel(), False)  # type: ignore[no-untyped-call]
    made.method, made.clientproto = method, b"HTTP/1.1"
    made.requestHeaders = Headers(headers)
    made.client = IPv4Address("TCP", "203.0.113.7", 4711)
    return made


def test_what_concerns_one_connection_stays_behind() -> None:
    pairs = [
        (b"Connection", b"keep-alive, X-Private"),
        (b"Keep-Alive", b"timeout=5"),
        (b"X-Private", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"h2c"),
        (b"TE", b"trailers"),
        (b"Expect", b"100-continue"),
        (b"Proxy-Authorization", b"secret"),
        (b"Accept", b"a"),
        (b"Accept", b"b"),
        (b"Authorization", b"Bearer x"),
    ]
    assert list(end_to_end(pairs)) == [(b"Accept", b"a"), (b"Accept", b"b"), (b"Authorization", b"Bearer x")]


def test_no_client_can_have_the_host_left_out() -> None:
    assert list(end_to_end([(b"Connection", b"Host"), (b"Host", b"h")])) == [(b"Host", b"h")]


def test_a_backend_is_told_who_asks_and_how() -> None:
    headers = to_backend(request({b"Host": [b"sync.example.com"], b"X-Forwarded-For": [b"192.0.2.1"]}))
    assert sorted(pairs_of(headers)) == [
        (b"Host", b"sync.example.com"),
        (b"X-Forwarded-For", b"203.0.113.7"),
        (b"X-Forwarded-Host", b"sync.example.com"),
        (b"X-Forwarded-Proto", b"http"),
    ]


def test_a_host_that_is_none_is_not_vouched_for() -> None:
    assert not to_backend(request({b"Host": [b"a b"], b"X-Forwarded-Host": [b"x"]})).hasHeader(b"X-Forwarded-Host")


@pytest.mark.parametrize(
    ("upgrade", "connection", "method", "expected"),
    [
        (b"websocket", b"Upgrade", b"GET", True),
        (b"WebSocket", b"keep-alive, Upgrade", b"GET", True),
        (b"websocket", b"Upgrade", b"POST", False),
        (b"h2c", b"Upgrade", b"GET", False),
        (b"websocket", b"keep-alive", b"GET", False),
    ],
)
def test_an_upgrade_to_a_websocket_is_one_by_both_headers(
    upgrade: bytes, connection: bytes, method: bytes, expected: bool
) -> None:
    assert wants_websocket(request({b"Upgrade": [upgrade], b"Connection": [connection]}, method)) is expected
