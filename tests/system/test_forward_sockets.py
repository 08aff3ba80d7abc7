"""The forwarder on real sockets, TCP and TLS: what one side does not take, the other cannot send without end."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from authority import Authority
from raw_sync import upgrade_request
from running_reactor import PATIENCE, reactor, run

from realmserver.http.site import QuietSite
from realmserver.net.backend import Backend
from realmserver.net.forward import Forwarder
from realmserver.net.listeners import Listener
from realmserver.net.tls import ServerTls

pytestmark = pytest.mark.system

MOST_BUFFERED: Final = 32 << 20
"""Bytes that sockets may hold on the way: the systems' buffers of four sockets, and little of ours."""

BLOCKED: Final = 1.0
"""Seconds without progress after which a sender counts as blocked."""

PIECE: Final = bytes(range(256)) * 256

ACCEPTED: Final = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
STREAM: Final = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


class Front:
    """A listener that forwards everything to ``server``, a socket of the test's."""

    def __init__(self, authority: Authority | None) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(PATIENCE)
        tls = None if authority is None else ServerTls(*authority.issue(), datetime.now(UTC))
        self._context = None if authority is None else ssl.create_default_context(cafile=authority.certificate)
        self.backend = Backend(reactor, "localhost", self.server.getsockname()[1], stop_timeout=1)
        self.listener = Listener(reactor, "proxy", "127.0.0.1", 0, tls)

    async def start(self) -> None:
        self.listener.privilegedStartService()
        self.listener.serve(QuietSite(Forwarder(self.backend), reactor))

    async def stop(self) -> None:
        stopped: Any = self.listener.stopService()
        await stopped
        await self.backend.stopService()

    def connect(self, request: bytes, answer: bytes) -> tuple[socket.socket, socket.socket]:
        """The client's and the backend's end of a request that is answered with ``answer``."""
        client: socket.socket = socket.create_connection(("127.0.0.1", self.listener.port), timeout=PATIENCE)
        if self._context is not None:
            client = self._context.wrap_socket(client, server_hostname="localhost")
        client.sendall(request)
        behind, _ = self.server.accept()
        received = b""
        while b"\r\n\r\n" not in received:
            received += behind.recv(65536)
        behind.sendall(answer)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        return client, behind


@pytest.fixture(params=["TCP", "TLS"])
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Front]:
    made = Front(Authority(tmp_path) if request.param == "TLS" else None)
    run(made.start())
    yield made
    run(made.stop())
    made.server.close()


def fill(sender: socket.socket) -> int:
    """Send until nothing more is taken; how many bytes that were."""
    sent = 0
    sender.settimeout(BLOCKED)
    with suppress(TimeoutError):
        while sent < 2 * MOST_BUFFERED:
            sent += sender.send(PIECE[sent % len(PIECE) :])
    sender.settimeout(PATIENCE)
    return sent


def drain(receiver: socket.socket, size: int) -> None:
    """Read ``size`` bytes, which must be the right ones."""
    received = 0
    while received < size:
        data = receiver.recv(min(65536, size - received))
        assert data, f"the connection ends after {received} of {size} bytes"
        start = received % len(PIECE)
        assert data == (PIECE + PIECE)[start : start + len(data)]
        received += len(data)


def test_a_tunnel_holds_back_whoever_sends_to_one_that_does_not_read(front: Front) -> None:
    client, behind = front.connect(upgrade_request("/realm-sync"), ACCEPTED)
    with client, behind:
        for sender, receiver in ((behind, client), (client, behind)):
            sent = fill(sender)
            assert sent < MOST_BUFFERED
            drain(receiver, sent)


def test_a_tunnel_brings_the_last_bytes_of_either_side(front: Front) -> None:
    for closing in ("client", "backend"):
        client, behind = front.connect(upgrade_request("/realm-sync"), ACCEPTED)
        one, other = (client, behind) if closing == "client" else (behind, client)
        with other:
            with one:
                sender = threading.Thread(target=one.sendall, args=(PIECE * 32,))
                sender.start()
                drain(other, len(PIECE) * 31)
                sender.join()
            drain(other, len(PIECE))
            assert other.recv(1) == b""


def test_an_answer_waits_for_a_client_that_does_not_read(front: Front) -> None:
    client, behind = front.connect(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", STREAM % (4 * MOST_BUFFERED))
    with client, behind:
        sent = fill(behind)
        assert sent < MOST_BUFFERED
        drain(client, sent)
