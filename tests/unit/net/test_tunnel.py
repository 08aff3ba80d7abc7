"""WebSockets through to a backend: how they are opened, what goes through, and how they end."""

import json

import pytest
from forward_wires import REFUSED, Proxy, logged
from test_forward import head_of

from realmserver.net.backend import ANSWER_TIMEOUT
from realmserver.net.tunnel import CLOSE_TIMEOUT, IDLE_TIMEOUT

UPGRADE = (
    b"GET /api/client/v2.0/app/a/realm-sync?baas_at=5ecret HTTP/1.1\r\nHost: sync.example.com\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k==\r\n"
    b"Sec-WebSocket-Protocol: com.mongodb.realm-sync#14\r\n\r\n"
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nServer: RealmSync\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: x=\r\nSec-WebSocket-Protocol: com.mongodb.realm-sync#14\r\n\r\n"
)


@pytest.fixture
def proxy() -> Proxy:
    return Proxy()


@pytest.fixture
def tunnel(proxy: Proxy) -> Proxy:
    """One with a WebSocket that is open."""
    proxy.ask(UPGRADE)
    assert proxy.answer(ACCEPTED).startswith(b"HTTP/1.1 101 ")
    return proxy


def test_the_upgrade_is_handed_on(proxy: Proxy) -> None:
    first, headers = head_of(proxy.ask(UPGRADE))
    assert first == b"GET /api/client/v2.0/app/a/realm-sync?baas_at=5ecret HTTP/1.1"
    assert headers == {
        b"host": b"sync.example.com",
        b"connection": b"Upgrade",
        b"upgrade": b"websocket",
        b"sec-websocket-version": b"13",
        b"sec-websocket-key": b"k==",
        b"sec-websocket-protocol": b"com.mongodb.realm-sync#14",
        b"x-forwarded-for": b"203.0.113.7",
        b"x-forwarded-proto": b"http",
        b"x-forwarded-host": b"sync.example.com",
    }


def test_the_client_gets_the_backends_101(proxy: Proxy) -> None:
    proxy.ask(UPGRADE)
    answer = proxy.answer(ACCEPTED + b"\x82\x01a")
    first, headers = head_of(answer)
    assert first == b"HTTP/1.1 101 Switching Protocols"
    assert headers == {
        b"server": b"RealmSync",
        b"connection": b"Upgrade",
        b"upgrade": b"websocket",
        b"sec-websocket-accept": b"x=",
        b"sec-websocket-protocol": b"com.mongodb.realm-sync#14",
    }
    assert answer.endswith(b"\r\n\r\n\x82\x01a")


def test_bytes_go_both_ways(tunnel: Proxy) -> None:
    tunnel.client.receive(b"\x82\x81up")
    assert tunnel.wire.read() == b"\x82\x81up"
    assert tunnel.answer(b"\x82\x01down") == b"\x82\x01down"
    assert tunnel.backend.tunnels == 1


@pytest.mark.parametrize("end", [b"Content-Length: 7\r\n\r\nexpired", b"\r\nexpired"])
def test_a_refusal_comes_back_with_a_body_that_sdks_can_read(proxy: Proxy, end: bytes) -> None:
    proxy.ask(UPGRADE)
    proxy.wire.receive(b"HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\n" + end)
    proxy.wire.lose()
    proxy.settle()
    answer = proxy.client.read()
    first, headers = head_of(answer)
    assert first == b"HTTP/1.1 401 Unauthorized"
    assert headers[b"content-length"] == b"7"
    assert headers[b"content-type"] == b"text/plain"
    assert answer.endswith(b"\r\n\r\nexpired")
    assert proxy.backend.tunnels == 0
    assert not proxy.client.is_lost, "the client may ask for something else"


def test_each_side_is_read_as_fast_as_the_other_takes_it(tunnel: Proxy) -> None:
    for slow, other in ((tunnel.client, tunnel.wire), (tunnel.wire, tunnel.client)):
        assert slow.producer is not None
        slow.producer.pauseProducing()
        assert other.producerState == "paused"
        slow.producer.resumeProducing()
        assert other.producerState == "producing"


@pytest.mark.parametrize("side", ["client", "backend"])
def test_when_one_side_ends_the_other_is_closed(tunnel: Proxy, side: str) -> None:
    one, other = (tunnel.client, tunnel.wire) if side == "client" else (tunnel.wire, tunnel.client)
    one.receive(b"last words")
    one.lose()
    assert other.read() == b"last words"
    tunnel.settle()
    assert other.is_lost
    assert not other.disconnected
    assert tunnel.backend.tunnels == 0
    assert tunnel.backend.stopService().called


@pytest.mark.parametrize("side", ["client", "backend"])
def test_a_side_that_does_not_take_the_rest_is_dropped(tunnel: Proxy, side: str) -> None:
    one, other = (tunnel.client, tunnel.wire) if side == "client" else (tunnel.wire, tunnel.client)
    other.takes_data = False
    one.lose()
    tunnel.after(CLOSE_TIMEOUT - 1)
    assert not other.is_lost
    tunnel.after(1)
    assert other.is_lost
    assert tunnel.backend.tunnels == 0


def test_a_tunnel_without_a_byte_is_ended(tunnel: Proxy) -> None:
    tunnel.after(IDLE_TIMEOUT - 1)
    tunnel.client.receive(b"x")
    tunnel.after(IDLE_TIMEOUT - 1)
    tunnel.wire.receive(b"x")
    tunnel.after(IDLE_TIMEOUT - 1)
    assert not tunnel.client.is_lost
    tunnel.after(1)
    assert tunnel.client.is_lost
    assert tunnel.wire.is_lost
    assert tunnel.backend.tunnels == 0


def test_a_stopping_server_closes_tunnels(tunnel: Proxy) -> None:
    stopped = tunnel.backend.stopService()
    assert not stopped.called
    tunnel.settle()
    assert tunnel.client.is_lost
    assert tunnel.wire.is_lost
    assert stopped.called


def test_a_stopping_server_does_not_wait_for_the_other_sides(tunnel: Proxy) -> None:
    tunnel.client.takes_data = False
    stopped = tunnel.backend.stopService()
    tunnel.after(10)
    assert stopped.called


def test_a_websocket_that_is_accepted_while_the_server_stops_is_sent_away(proxy: Proxy) -> None:
    proxy.ask(UPGRADE)
    stopped = proxy.backend.stopService()
    assert proxy.answer(ACCEPTED).startswith(b"HTTP/1.1 503 ")
    assert proxy.wire.is_lost
    assert stopped.called


def test_without_a_backend_the_upgrade_is_answered(proxy: Proxy) -> None:
    proxy.endpoint.failure = REFUSED
    proxy.client.receive(UPGRADE)
    proxy.settle()
    answer = proxy.client.read()
    first, headers = head_of(answer)
    assert first.startswith(b"HTTP/1.1 502 ")
    assert headers[b"content-type"] == b"application/json"
    assert "error_code" in json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 101", b"HTTP/1.1 401 No\r\nContent-Length: 9\r\n\r\nexp", b"x\r\n\r\n"]
)
def test_a_backend_that_breaks_off_before_its_answer_is_told(proxy: Proxy, data: bytes) -> None:
    proxy.ask(UPGRADE)
    proxy.wire.receive(data)
    proxy.wire.lose()
    proxy.settle()
    assert proxy.client.read().startswith(b"HTTP/1.1 502 ")
    assert proxy.backend.stopService().called


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_backend_that_does_not_answer_is_waited_for_with_a_limit(proxy: Proxy, is_connected: bool) -> None:
    proxy.endpoint.is_silent = not is_connected
    proxy.ask(UPGRADE)
    assert proxy.after(ANSWER_TIMEOUT).startswith(b"HTTP/1.1 504 ")
    assert proxy.wire.is_lost if is_connected else proxy.endpoint.is_cancelled


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_client_that_leaves_is_not_asked_for_any_more(proxy: Proxy, is_connected: bool) -> None:
    proxy.endpoint.is_silent = not is_connected
    proxy.ask(UPGRADE)
    proxy.client.lose()
    proxy.settle()
    assert proxy.wire.is_lost if is_connected else proxy.endpoint.is_cancelled
    assert proxy.backend.stopService().called


def test_what_comes_before_the_answer_is_dropped(proxy: Proxy) -> None:
    proxy.ask(UPGRADE + b"x" * 100_000)
    proxy.answer(ACCEPTED)
    assert proxy.client.producerState == "producing"
    proxy.client.receive(b"frame")
    assert proxy.wire.read() == b"frame"


def test_no_token_reaches_the_log(proxy: Proxy) -> None:
    with logged() as lines:
        proxy.ask(UPGRADE)
        proxy.answer(ACCEPTED)
        proxy.client.receive(b"5ecret")
        proxy.client.lose()
        proxy.settle()
    assert any("203.0.113.7: WebSocket to backend backend.example:27080" in line for line in lines)
    assert not any("5ecret" in line for line in lines)
