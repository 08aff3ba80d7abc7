"""A WebSocket from its upgrade to its end, over a transport in memory: what the shell does besides carrying bytes."""

import gc
import os
import socket
import struct
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from realmserver._version import __version__
from realmserver.auth.gate import AppUser
from realmserver.auth.keys import make_keys
from realmserver.auth.tokens import Tokens
from realmserver.config.limits import Limits
from realmserver.http.site import QuietSite
from realmserver.net.connection import MAX_FRAGMENTS, SyncConnection
from realmserver.net.conversation import Conversation
from realmserver.net.owner import Owner
from realmserver.net.service import CHECK_INTERVAL, SyncService
from realmserver.store.memory import MemoryStore
from realmserver.sync.decisions import Send

REQUEST = (
    b"GET %s HTTP/1.1\r\nHost: server\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: com.mongodb.realm-sync/%d\r\n\r\n"
)
APP = b"/api/client/v2.0/app/my-app/realm-sync"
RSV_FRAME = b"\xc2\x80\0\0\0\0"
CLOSE_FRAME = b"\x88\x80\0\0\0\0"
PING_FRAME = b"\x89\x80\0\0\0\0"
STOP_TIMEOUT = 3
IDLE_TIMEOUT = 30 * 60
USER = AppUser("user", "my-app", "login", 0)


class OpenDoor:
    """Lets everybody in, and out when ``ended``."""

    def __init__(self) -> None:
        self.ended = False
        self.looks: list[Deferred[None]] = []

    async def is_alive(self, user: AppUser, now: float) -> bool:
        for look in self.looks:
            await look
        return not self.ended

    def authenticate_upgrade(self, *_: object) -> Deferred[AppUser]:
        return succeed(USER)


class Fixture:
    def __init__(self, keys: Path, limits: Limits | None = None) -> None:
        reactor: Any = MemoryReactorClock()  # type: ignore[no-untyped-call]
        self.reactor = reactor
        self.door = OpenDoor()
        gate: Any = self.door
        store = MemoryStore(random_bytes=os.urandom)
        tokens = Tokens(make_keys(keys / "key.pub", keys / "key"))
        self.service = SyncService(reactor, store, tokens, gate, stop_timeout=STOP_TIMEOUT, limits=limits)
        self.site = QuietSite(self.service.resource(), reactor)

    @property
    def owner(self) -> Owner:
        """What has the Realms of the service."""
        assert self.service._owner is not None
        return self.service._owner

    def ask(self, path: bytes = APP, version: int = 9, early: bytes = b"", transport: Any = None) -> Any:
        """The transport over which an upgrade has been asked for."""
        transport = transport or StringTransport()  # type: ignore[no-untyped-call]
        channel = self.site.buildProtocol(None)  # type: ignore[no-untyped-call]
        transport.protocol = channel
        channel.makeConnection(transport)
        channel.dataReceived(REQUEST % (path, version) + early)
        return transport

    def connect(self, path: bytes = APP, version: int = 9, early: bytes = b"") -> Any:
        """The transport of a WebSocket that is open; what was sent so far is forgotten."""
        transport = self.ask(path, version, early)
        self.reactor.advance(0)  # its turn
        assert transport.value().startswith(b"HTTP/1.1 101 ")
        transport.clear()
        return transport


@pytest.fixture
def limits() -> Limits | None:
    """None: the server's own."""
    return None


@pytest.fixture
def server(tmp_path: Path, limits: Limits | None) -> Iterator[Fixture]:
    fixture = Fixture(tmp_path, limits)
    yield fixture
    if fixture.service.running:
        fixture.owner._workers.stop()


def conversation(connection: SyncConnection) -> Conversation:
    """What the connection carries."""
    assert isinstance(connection.conversation, Conversation)
    return connection.conversation


def close_code(transport: Any) -> int:
    """The code of the close frame, which is all that was sent."""
    sent = transport.value()
    assert sent[0] == 0x88
    assert sent[1] == len(sent) - 2
    (code,) = struct.unpack("!H", sent[2:4])
    return int(code)


def test_an_upgrade_is_answered_with_the_subprotocol_and_the_proof_that_it_was_understood(server: Fixture) -> None:
    transport = server.ask(version=9)
    server.reactor.advance(0)
    first, *headers = transport.value().decode().split("\r\n")
    assert first == "HTTP/1.1 101 Switching Protocols"
    assert dict(header.split(": ") for header in headers if header and header.isprintable()) == {
        "Server": f"RealmSync/{__version__}",
        "Upgrade": "WebSocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Protocol": "com.mongodb.realm-sync/9",
        "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",  # of RFC 6455, 1.3
    }


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (b"Host: server\r\nHost: other\r\n", b"Host"),
        (b"", b"Host"),
        (b"Host: a:b:c\r\n", b"Host"),
        (b"Host: server\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"Sec-WebSocket-Key"),
        (b"Host: server\r\nSec-WebSocket-Version: 13\r\n", b"Sec-WebSocket-Version"),
    ],
)
def test_headers_that_must_be_there_once_and_in_order_are(server: Fixture, header: bytes, text: bytes) -> None:
    transport: Any = StringTransport()  # type: ignore[no-untyped-call]
    channel = server.site.buildProtocol(None)  # type: ignore[no-untyped-call]
    channel.makeConnection(transport)
    channel.dataReceived((REQUEST % (APP, 9)).replace(b"Host: server\r\n", header))
    assert transport.value().startswith(b"HTTP/1.1 400 ")
    assert text in transport.value().partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("host", [b"server:9080", b"192.0.2.1", b"[2001:db8::1]", b"[::1]:9080", b""])
def test_a_host_may_be_called_in_any_way(server: Fixture, host: bytes) -> None:
    transport: Any = StringTransport()  # type: ignore[no-untyped-call]
    channel = server.site.buildProtocol(None)  # type: ignore[no-untyped-call]
    channel.makeConnection(transport)
    channel.dataReceived((REQUEST % (APP, 9)).replace(b"Host: server", b"Host: " + host))
    server.reactor.advance(0)
    assert transport.value().startswith(b"HTTP/1.1 101 ")


def test_an_upgrade_is_of_http_1_1(server: Fixture) -> None:
    transport: Any = StringTransport()  # type: ignore[no-untyped-call]
    channel = server.site.buildProtocol(None)  # type: ignore[no-untyped-call]
    channel.makeConnection(transport)
    channel.dataReceived((REQUEST % (APP, 9)).replace(b" HTTP/1.1", b" HTTP/1.0"))
    assert b" 400 " in transport.value().partition(b"\r\n")[0]


def test_nothing_of_the_request_stays_behind(server: Fixture) -> None:
    transport: Any = StringTransport()  # type: ignore[no-untyped-call]
    channel = server.site.buildProtocol(None)  # type: ignore[no-untyped-call]
    transport.protocol = channel
    channel.makeConnection(transport)
    channel.dataReceived(REQUEST % (APP, 9))
    request = weakref.ref(channel.requests[0])
    gc.disable()
    try:
        server.reactor.advance(0)
        assert request() is None
    finally:
        gc.enable()


def test_a_connection_waits_for_its_turn_to_be_opened(server: Fixture) -> None:
    transport = server.ask()
    assert not transport.value()
    server.reactor.advance(0)
    assert transport.value().startswith(b"HTTP/1.1 101 ")


def test_who_has_gone_before_his_turn_is_not_opened(server: Fixture) -> None:
    transport = server.ask()
    transport.protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    server.reactor.advance(0)
    assert not server.service._connections


def test_the_options_of_connections_are_kept_once(server: Fixture) -> None:
    server.connect()
    connection: Any
    (connection,) = server.service._connections
    assert connection.maxMessagePayloadSize == server.service.shared.messages.message
    assert connection.autoPingInterval == 0
    assert not set(SyncConnection.CONFIG_ATTRS) & set(vars(connection))


def masked(payload: bytes) -> bytes:
    """A frame as clients send it."""
    return bytes([0x82, 0x80 | len(payload)]) + bytes(4) + payload


class Wire(Connection):
    """A socket's transport of which the system takes ``room`` bytes at a time."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(socket.socket(), cast(Any, None), reactor)
        self.connected = 1
        self.taken: list[bytes] = []
        self.room = 1 << 20

    def writeSomeData(self, data: bytes) -> int:
        self.taken.append(bytes(data[: self.room]))
        return min(len(data), self.room)

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 1)

    getHost = getPeer


def test_all_answers_to_one_input_are_given_to_the_system_at_once_in_one_piece(server: Fixture) -> None:
    wire = Wire(server.reactor)
    server.ask(transport=wire)
    server.reactor.advance(0)
    wire.doWrite()  # type: ignore[no-untyped-call]
    wire.taken.clear()
    (connection,) = server.service._connections
    conversation(connection).feed(lambda machine: [Send(b"one"), Send(b"two")])
    assert wire.taken == [b"\x82\x03one\x82\x03two"]
    wire.room = 2
    conversation(connection).feed(lambda machine: [Send(b"three")])
    assert wire.taken[1:] == [b"\x82\x05"]
    wire.room = 100
    wire.doWrite()  # type: ignore[no-untyped-call]  # the reactor, when there is room
    assert wire.taken[2:] == [b"three"]


def test_frames_are_taken_whole_however_the_stream_is_cut(server: Fixture) -> None:
    stream = b"".join(masked(b"ping %d 0\n" % number) for number in range(1, 4))
    for cut in range(len(stream)):
        transport = server.connect(b"/realm-sync")
        (connection,) = [each for each in server.service._connections if each.transport is transport]
        connection.dataReceived(stream[:cut])
        connection.dataReceived(stream[cut:])
        assert transport.value() == b"".join(b"\x82\x07pong %d\n" % number for number in range(1, 4))


@pytest.mark.parametrize(("version", "code"), [(8, 4001), (7, 1008)])
def test_the_end_of_a_login_closes_a_connection_that_has_no_session_yet(
    server: Fixture, version: int, code: int
) -> None:
    transport = server.connect(version=version)
    server.service.login_ended("user", "another login")
    assert transport.value() == b""
    server.service.login_ended("user", "login")
    assert close_code(transport) == code


@pytest.mark.parametrize(("frame", "code"), [(RSV_FRAME, 1002), (CLOSE_FRAME, 1000)])
def test_after_a_close_frame_nothing_is_sent_whatever_happens(server: Fixture, frame: bytes, code: int) -> None:
    transport = server.connect()
    (connection,) = server.service._connections
    connection.dataReceived(frame)
    assert close_code(transport) == code
    transport.clear()
    connection.conversation.shutdown()
    server.service.login_ended("user", None)
    assert transport.value() == b""


@pytest.mark.parametrize("path", [b"/realm-sync", APP])
def test_what_comes_with_the_upgrade_request_does_not_stop_the_connection_from_being_read(
    server: Fixture, path: bytes
) -> None:
    transport = server.connect(path, early=bytes(100_000))
    assert transport.producerState == "producing"
    (connection,) = server.service._connections
    connection.dataReceived(CLOSE_FRAME)
    assert close_code(transport) == 1000


@pytest.mark.parametrize("limits", [Limits(idle_timeout=IDLE_TIMEOUT, bind_timeout=86_400)])
def test_a_client_that_is_not_heard_of_for_long_is_dropped_and_others_are_not(server: Fixture) -> None:
    server.service.startService()
    silent, alive = server.connect(), server.connect()
    connections = {connection.transport: connection for connection in server.service._connections}
    for _ in range(IDLE_TIMEOUT // CHECK_INTERVAL):
        server.reactor.advance(CHECK_INTERVAL)
        connections[alive].dataReceived(PING_FRAME)
    assert not silent.disconnecting
    server.reactor.advance(CHECK_INTERVAL)
    assert silent.disconnecting
    assert silent.value() == b""
    assert not alive.disconnecting
    for connection in connections.values():
        connection.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    assert server.service.stopService().called
    assert server.reactor.getDelayedCalls() == []


def test_a_login_that_ended_behind_our_back_ends_its_connections_within_a_minute(server: Fixture) -> None:
    server.service.startService()
    one, other, legacy = server.connect(), server.connect(), server.connect(b"/realm-sync")
    server.reactor.advance(CHECK_INTERVAL)
    assert one.value() == b""
    server.door.ended = True
    server.reactor.advance(CHECK_INTERVAL)
    assert [close_code(one), close_code(other)] == [4001, 4001]
    assert legacy.value() == b""


def test_logins_are_not_looked_at_again_before_the_last_look_is_over(server: Fixture) -> None:
    server.service.startService()
    server.connect()
    look: Deferred[None] = Deferred()
    server.door.looks.append(look)
    server.reactor.advance(CHECK_INTERVAL)
    server.reactor.advance(CHECK_INTERVAL)
    assert server.reactor.getDelayedCalls() == []
    server.door.looks.clear()
    look.callback(None)
    assert len(server.reactor.getDelayedCalls()) == 1


def test_a_message_of_endless_fragments_ends_the_connection(server: Fixture) -> None:
    transport = server.connect()
    (connection,) = server.service._connections
    connection.dataReceived(b"\x02\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * (MAX_FRAGMENTS - 1))
    assert transport.value() == b""
    connection.dataReceived(b"\x00\x80\0\0\0\0")
    assert close_code(transport) == 1002


def test_a_fault_of_ours_ends_one_connection_and_is_logged(server: Fixture) -> None:
    transport = server.connect()
    (connection,) = server.service._connections
    with capturedLogs() as logged:
        conversation(connection).feed(lambda machine: 1 / 0)  # type: ignore[arg-type, return-value]
    failures = [event["log_failure"] for event in logged if "log_failure" in event]
    assert [failure.type for failure in failures] == [ZeroDivisionError]
    assert transport.disconnected


def test_a_stop_waits_for_clients_as_long_as_it_was_told_and_no_longer(server: Fixture) -> None:
    server.service.startService()
    transport = server.connect()
    (connection,) = server.service._connections
    stopped = server.service.stopService()
    server.reactor.advance(STOP_TIMEOUT - 1)
    assert not transport.disconnected
    server.reactor.advance(1)
    assert transport.disconnected  # the fixture's transport tells nobody of its end
    connection.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    assert stopped.called
