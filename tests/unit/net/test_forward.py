"""HTTP through to a backend: what arrives on either side, and what clients are told when nothing comes back."""

import json

import pytest
from forward_wires import REFUSED, TIMED_OUT, Proxy, logged
from twisted.internet.error import DNSLookupError

from realmserver.net.backend import ANSWER_TIMEOUT
from realmserver.net.forward import STALL_TIMEOUT

GET = b"GET /auth?token=5ecret HTTP/1.1\r\nHost: sync.example.com\r\n\r\n"
API = b"GET /api/client/v2.0/app/a/location HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture
def proxy() -> Proxy:
    return Proxy()


def head_of(message: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The first line and the headers, names in lower case."""
    first, *lines = message.partition(b"\r\n\r\n")[0].split(b"\r\n")
    pairs = (line.partition(b": ") for line in lines)
    return first, {name.lower(): value for name, _, value in pairs}


def test_a_request_arrives_whole(proxy: Proxy) -> None:
    arrived = proxy.ask(
        b"POST /auth?token=5ecret HTTP/1.1\r\nHost: sync.example.com\r\nContent-Length: 4\r\nExpect: 100-continue\r\n"
        b"Connection: X-Private\r\nX-Private: 1\r\nX-Forwarded-For: 192.0.2.1\r\nAuthorization: abc\r\n\r\nbody"
    )
    first, headers = head_of(arrived)
    assert first == b"POST /auth?token=5ecret HTTP/1.1"
    assert headers == {
        b"host": b"sync.example.com",
        b"content-length": b"4",
        b"authorization": b"abc",
        b"x-forwarded-for": b"203.0.113.7",
        b"x-forwarded-proto": b"http",
        b"x-forwarded-host": b"sync.example.com",
    }
    assert arrived.endswith(b"\r\n\r\nbody")


def test_a_request_in_chunks_arrives_with_its_length(proxy: Proxy) -> None:
    arrived = proxy.ask(
        b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
    )
    assert head_of(arrived)[1][b"content-length"] == b"4"
    assert arrived.endswith(b"\r\n\r\nbody")


def test_an_answer_comes_back_whole(proxy: Proxy) -> None:
    proxy.ask(GET)
    answer = proxy.answer(
        b"HTTP/1.1 201 Made\r\nContent-Length: 2\r\nContent-Type: application/json\r\nServer: theirs\r\n"
        b"Keep-Alive: timeout=5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n{}"
    )
    first, headers = head_of(answer)
    assert first == b"HTTP/1.1 201 Made"
    assert headers[b"content-length"] == b"2"
    assert headers[b"server"] == b"theirs"
    assert b"keep-alive" not in headers
    assert answer.count(b"Set-Cookie: ") == 2
    assert answer.endswith(b"\r\n\r\n{}")


def test_an_answer_in_chunks_goes_on_in_chunks(proxy: Proxy) -> None:
    proxy.ask(GET)
    first = proxy.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    assert head_of(first)[1][b"transfer-encoding"] == b"chunked"
    assert first.endswith(b"\r\n\r\n3\r\nabc\r\n")
    assert proxy.answer(b"1\r\nd\r\n0\r\n\r\n") == b"1\r\nd\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("request_head", "answer_head", "length"),
    [
        (b"HEAD / HTTP/1.1", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n", b"7"),
        (b"GET / HTTP/1.1", b"HTTP/1.1 204 No Content\r\n", None),
        (b"GET / HTTP/1.1", b"HTTP/1.1 304 Not Modified\r\n", None),
    ],
)
def test_an_answer_without_a_body_stays_one(
    proxy: Proxy, request_head: bytes, answer_head: bytes, length: bytes | None
) -> None:
    proxy.ask(request_head + b"\r\nHost: h\r\n\r\n")
    answer = proxy.answer(answer_head + b"\r\n")
    assert answer.endswith(b"\r\n\r\n")
    headers = head_of(answer)[1]
    assert headers.get(b"content-length") == length
    assert b"transfer-encoding" not in headers
    assert b"content-type" not in headers


def test_the_head_of_an_answer_does_not_wait_for_its_body(proxy: Proxy) -> None:
    proxy.ask(GET)
    assert proxy.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n").endswith(b"\r\n\r\n")
    assert proxy.answer(b"abc") == b"abc"


def test_connections_to_the_backend_are_used_again(proxy: Proxy) -> None:
    for _ in range(2):
        assert proxy.ask(GET)
        assert proxy.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert len(proxy.endpoint.wires) == 1


def test_a_slow_reader_slows_the_backend_down(proxy: Proxy) -> None:
    proxy.ask(GET)
    proxy.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    assert proxy.client.producer is not None
    proxy.client.producer.pauseProducing()
    assert proxy.wire.producerState == "paused"
    proxy.client.producer.resumeProducing()
    assert proxy.wire.producerState == "producing"


def test_an_answer_that_breaks_off_does_not_look_whole(proxy: Proxy) -> None:
    proxy.ask(GET)
    proxy.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    proxy.wire.lose()
    proxy.settle()
    assert proxy.client.is_lost
    assert proxy.client.read() == b""


def test_an_answer_that_gets_no_further_is_ended(proxy: Proxy) -> None:
    proxy.ask(GET)
    proxy.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    proxy.after(STALL_TIMEOUT - 1)
    proxy.answer(b"def")
    proxy.after(STALL_TIMEOUT - 1)
    assert not proxy.client.is_lost
    proxy.after(1)
    assert proxy.client.is_lost
    assert proxy.wire.is_lost


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (REFUSED, 502),
        (DNSLookupError("no such host"), 502),
        (TIMED_OUT, 504),
    ],
)
def test_a_backend_that_cannot_be_reached_is_told(proxy: Proxy, failure: Exception, status: int) -> None:
    proxy.endpoint.failure = failure
    proxy.client.receive(GET)
    proxy.settle()
    first, headers = head_of(proxy.client.read())
    assert first.startswith(b"HTTP/1.1 %d " % status)
    assert headers[b"content-type"] == b"application/json; charset=utf-8"


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 2", b"SSH-2.0-OpenSSH\r\n"])
def test_a_backend_that_breaks_off_before_an_answer_is_told(proxy: Proxy, data: bytes) -> None:
    proxy.ask(GET.replace(b"GET", b"POST"))
    proxy.wire.receive(data)
    proxy.wire.lose()
    proxy.settle()
    assert proxy.client.read().startswith(b"HTTP/1.1 502 ")


def test_a_backend_that_does_not_answer_is_waited_for_with_a_limit(proxy: Proxy) -> None:
    proxy.ask(GET)
    assert proxy.after(ANSWER_TIMEOUT - 1) == b""
    assert proxy.after(1).startswith(b"HTTP/1.1 504 ")
    assert proxy.wire.is_lost


def test_a_connection_that_does_not_come_about_is_waited_for_with_a_limit(proxy: Proxy) -> None:
    proxy.endpoint.is_silent = True
    proxy.ask(GET)
    assert proxy.after(ANSWER_TIMEOUT).startswith(b"HTTP/1.1 504 ")
    assert proxy.endpoint.is_cancelled


def body_of(proxy: Proxy, request: bytes) -> tuple[dict[bytes, bytes], dict[str, object]]:
    proxy.endpoint.failure = REFUSED
    proxy.client.receive(request)
    proxy.settle()
    answer = proxy.client.read()
    body: dict[str, object] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return head_of(answer)[1], body


def test_errors_have_the_form_of_the_api_that_was_asked(proxy: Proxy) -> None:
    headers, body = body_of(proxy, GET)
    assert headers[b"content-type"] == b"application/json; charset=utf-8"
    assert body == {
        "type": "https://realm.io/docs/object-server/problems/bad-gateway",
        "title": "The service behind this server cannot be reached.",
        "status": 502,
        "code": 502,
    }
    headers, body = body_of(proxy, API)
    assert headers[b"content-type"] == b"application/json"
    assert set(body) == {"error", "error_code", "link"}


def test_a_client_that_leaves_is_not_asked_for_any_more(proxy: Proxy) -> None:
    proxy.ask(GET)
    proxy.client.lose()
    proxy.settle()
    assert proxy.wire.is_lost
    stopped = proxy.backend.stopService()
    assert stopped.called


def test_a_client_that_leaves_within_an_answer_ends_it(proxy: Proxy) -> None:
    proxy.ask(GET)
    proxy.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    proxy.client.lose()
    proxy.settle()
    assert proxy.wire.is_lost
    assert proxy.backend.stopService().called


@pytest.mark.parametrize("target", [b"http://elsewhere/x", b"/\xff"])
def test_only_addresses_of_ours_are_forwarded(proxy: Proxy, target: bytes) -> None:
    proxy.client.receive(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    proxy.settle()
    assert proxy.client.read().startswith(b"HTTP/1.1 400 ")
    assert proxy.endpoint.wires == []


def test_a_stopping_server_sends_new_requests_away_and_finishes_old_ones(proxy: Proxy) -> None:
    proxy.ask(GET)
    stopped = proxy.backend.stopService()
    other = proxy.connect()
    other.receive(GET)
    first, headers = head_of(other.read())
    assert first.startswith(b"HTTP/1.1 503 ")
    assert headers[b"retry-after"] == b"1"
    assert not stopped.called
    assert proxy.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    proxy.wire.lose()
    assert stopped.called


def test_a_stopping_server_does_not_wait_for_ever(proxy: Proxy) -> None:
    proxy.ask(GET)
    stopped = proxy.backend.stopService()
    assert proxy.after(10).startswith(b"HTTP/1.1 503 ")
    proxy.wire.lose()
    assert stopped.called


def test_no_token_in_an_address_reaches_the_log(proxy: Proxy) -> None:
    with logged() as lines:
        proxy.ask(GET)
        proxy.wire.lose()
        proxy.settle()
    assert any("203.0.113.7: GET /auth 502, backend backend.example:27080: " in line for line in lines)
    assert not any("5ecret" in line for line in lines)
