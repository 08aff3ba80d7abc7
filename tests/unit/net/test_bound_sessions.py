"""Sessions of connections and the Realms they are bound to: who is told of what, and when it is over."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from raw_sync import BINARY, frame
from test_connection import APP, Fixture
from worker_ends import WorkersFixture

from realmserver.auth.keys import load_keys, signed_wire_form
from realmserver.config.limits import Limits
from realmserver.net import owner, service
from realmserver.realms.requests import UploadCursor, UploadEntry
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c
from realmserver.sync.syntax import CLIENT_LIMITS

T = TypeVar("T")

SHARED = '"shared"'


class HeldWorkers:
    """In place of threads: work runs when the test says so, and timers never fire."""

    def __init__(self, reactor: object, on_failure: object) -> None:
        self.waiting: deque[Callable[[], None]] = deque()

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def later(self, delay: float, call: Callable[[], None]) -> None: ...

    def report(self, realm: str, error: Exception) -> None:
        raise error

    def run(self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        self.waiting.append(lambda: done(work()))

    run_heavy = run

    def run_all(self) -> None:
        while self.waiting:
            self.waiting.popleft()()


class Client:
    """The client end of a WebSocket in memory."""

    def __init__(self, server: Fixture, path: bytes = APP) -> None:
        known = set(server.service._connections)
        self.transport = server.connect(path)
        (self.connection,) = server.service._connections - known
        self._workers: Any = server.owner._workers

    def say(self, *messages: bytes) -> None:
        """Send messages, and let nothing happen at the Realms."""
        self.connection.dataReceived(b"".join(frame(BINARY, message) for message in messages))

    def heard(self) -> list[s2c.ServerMessage]:
        """What the server has sent since the last call, once all work is done; DOWNLOADs and close frames left out."""
        self._workers.run_all()
        data: bytes = self.transport.value()
        self.transport.clear()
        found: list[s2c.ServerMessage] = []
        while data:
            opcode, size, start = data[0] & 0x0F, data[1], 2
            if size == 126:
                size, start = int.from_bytes(data[2:4], "big"), 4
            if opcode == BINARY:
                found.append(s2c.decode_server_message(data[start : start + size], CLIENT_LIMITS))
            data = data[start + size :]
        return [message for message in found if not isinstance(message, s2c.Download)]

    def new_file(self, path: str = SHARED, token: str = "") -> s2c.Ident:
        """A client file, in a session that waits for its IDENT."""
        self.say(c2s.Bind(1, path, token, need_ident=True).encode())
        (ident,) = self.heard()
        assert isinstance(ident, s2c.Ident)
        return ident


@pytest.fixture
def limits() -> Limits | None:
    """None: the server's own."""
    return None


@pytest.fixture(params=[Fixture, WorkersFixture], ids=["one process", "workers"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits | None
) -> Fixture:
    """A server, in both forms that it has: a client cannot tell which it is."""
    monkeypatch.setattr(owner, "PoolWorkers", HeldWorkers)
    made: Fixture = request.param(tmp_path, limits)
    return made


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits | None) -> Fixture:
    """One process: what is counted is counted for all Realms together."""
    monkeypatch.setattr(owner, "PoolWorkers", HeldWorkers)
    return Fixture(tmp_path, limits)


def rejoin(file: s2c.Ident, sid: int = 1, path: str = SHARED) -> list[bytes]:
    """BIND and IDENT for a client file that has seen nothing yet."""
    return [c2s.Bind(sid, path, "", need_ident=False).encode(), c2s.Ident(sid, file.ident, file.salt).encode()]


def test_a_session_that_ends_before_its_ident_is_looked_at_is_forgotten(server: Fixture) -> None:
    """Otherwise its connection would be ended when the client file comes back on another one."""
    older = Client(server)
    file = older.new_file()
    older.say(c2s.Ident(1, file.ident, file.salt).encode(), c2s.Unbind(1).encode())
    assert older.heard() == [s2c.Unbound(1)]
    newer = Client(server)
    newer.say(*rejoin(file))
    assert newer.heard() == []
    older.say(c2s.Ping(7, 0).encode())
    assert older.heard() == [s2c.Pong(7)]


def test_a_client_file_may_come_back_on_the_connection_that_it_left_in_haste(server: Fixture) -> None:
    client = Client(server)
    file = client.new_file()
    client.say(c2s.Ident(1, file.ident, file.salt).encode(), c2s.Unbind(1).encode(), *rejoin(file))
    assert client.heard() == [s2c.Unbound(1)]
    client.say(c2s.Mark(1, 1).encode())
    assert client.heard() == [s2c.Mark(1, 1)]


@pytest.mark.parametrize("spelling", [SHARED, '"sh\\u0061red"', ' "shared"'])
def test_a_client_file_is_bound_once_on_a_connection_however_its_path_is_spelt(server: Fixture, spelling: str) -> None:
    client = Client(server)
    file = client.new_file()
    client.say(c2s.Ident(1, file.ident, file.salt).encode(), *rejoin(file, 2, spelling))
    (error,) = client.heard()
    assert isinstance(error, s2c.JsonError)
    assert (error.code, error.session) == (108, 0)


def test_after_an_upload_that_was_refused_no_progress_is_taken(server: Fixture, tmp_path: Path) -> None:
    """It would claim that the refused changeset is integrated, and the client could never send it again."""
    keys = load_keys(tmp_path / "key.pub", tmp_path / "key")
    token = signed_wire_form(keys, b'{"identity": "reader", "path": "/shared", "access": ["download"]}')
    client = Client(server, b"/realm-sync")
    file = client.new_file("/shared", token)
    changeset = UploadEntry(2, 0, 1, 0, b"")
    client.say(
        c2s.Ident(1, file.ident, file.salt).encode(),
        c2s.Upload(1, UploadCursor(2, 0), 0, (changeset,)).encode(),
        c2s.Upload(1, UploadCursor(3, 0), 0).encode(),
    )
    (error,) = client.heard()
    assert isinstance(error, s2c.JsonError)
    assert (error.code, error.session) == (206, 1)
    client.say(
        c2s.Unbind(1).encode(),
        c2s.Bind(2, "/shared", token, need_ident=False).encode(),
        c2s.ClientVersionRequest(2, file.ident, file.salt).encode(),
    )
    server.owner.realm("/shared").flush()
    assert client.heard() == [s2c.ClientVersion(2, 0)]


def test_a_path_that_cannot_be_is_told_before_a_right_that_is_missing(server: Fixture) -> None:
    client = Client(server)
    for sid, path, code in [(1, "no JSON", 204), (2, SHARED, 206)]:
        client.say(c2s.Bind(sid, path, "", need_ident=True, is_subserver=True).encode())
        (error,) = client.heard()
        assert isinstance(error, s2c.JsonError)
        assert (error.code, error.session) == (code, sid)


MEBIBYTE = 1 << 20


def large(version: int, size: int) -> bytes:
    """An UPLOAD of ``size`` bytes of nonsense; nobody looks at it here."""
    return c2s.Upload(1, UploadCursor(version, 0), 0, (UploadEntry(version, 0, 1, 0, bytes(size)),)).encode()


def identified(client: Client, path: str) -> None:
    file = client.new_file(path)
    client.say(c2s.Ident(1, file.ident, file.salt).encode())
    client.heard()


@pytest.mark.parametrize("limits", [Limits(upload_backlog=17)])
def test_while_much_waits_only_those_are_read_from_of_whom_nothing_does(alone: Fixture) -> None:
    one, other, idle = Client(alone), Client(alone), Client(alone)
    workers: Any = alone.owner._workers
    for number, client in enumerate((one, other, idle)):
        identified(client, f'"{number}"')
    one.say(large(2, 10 * MEBIBYTE))
    workers.waiting.popleft()()  # it is decoded, and not integrated
    assert one.transport.producerState == "producing"
    other.say(large(2, 10 * MEBIBYTE))
    workers.waiting.pop()()
    assert one.transport.producerState == other.transport.producerState == "paused"
    assert idle.transport.producerState == "producing"
    one.heard()
    other.heard()
    assert one.transport.producerState == other.transport.producerState == "producing"


@pytest.mark.parametrize("limits", [Limits(upload_backlog=17)])
def test_what_comes_on_top_of_far_too_much_is_told_to_come_again(alone: Fixture) -> None:
    clients = [Client(alone) for _ in range(4)]
    workers: Any = alone.owner._workers
    for number, client in enumerate(clients):
        identified(client, f'"{number}"')
    for client in clients:
        client.say(large(2, 10 * MEBIBYTE))
        workers.waiting.pop()()
    answers = [client.heard() for client in clients]
    errors = [each for answer in answers for each in answer if isinstance(each, s2c.JsonError) and each.code != 212]
    assert [each.code for each in errors] == [201]
    assert errors[0].content["tryAgain"] is True
    counted = alone.service.metrics.registry.get_sample_value("ros_limit_refused_total", {"limit": "upload_backlog"})
    assert counted is not None
    assert counted >= 2


@pytest.mark.parametrize("limits", [Limits(receive_buffer=17)])
def test_of_unfinished_messages_the_oldest_makes_room(server: Fixture) -> None:
    slow, quick = Client(server), Client(server)
    part = frame(BINARY, bytes(9 * MEBIBYTE), declared=16 * MEBIBYTE)
    slow.connection.dataReceived(part)
    assert not slow.transport.disconnecting
    quick.connection.dataReceived(part)
    assert slow.transport.disconnecting
    assert not quick.transport.disconnecting


@pytest.mark.parametrize("limits", [Limits(bind_timeout=60)])
def test_a_connection_without_sessions_is_closed_and_one_with_a_session_is_not(server: Fixture) -> None:
    if not server.service.running:
        server.service.startService()
    empty, bound = Client(server), Client(server)
    bound.new_file()
    for _ in range(2):
        server.reactor.advance(service.CHECK_INTERVAL)
    assert empty.transport.disconnecting
    assert not bound.transport.disconnecting


@pytest.mark.parametrize("limits", [Limits(realms_per_user=1)])
def test_a_user_has_only_so_many_realms_open(server: Fixture) -> None:
    client = Client(server)
    client.new_file('"a"')
    client.say(c2s.Bind(2, '"b"', "", need_ident=True).encode())
    (refusal,) = client.heard()
    assert isinstance(refusal, s2c.JsonError)
    assert (refusal.code, refusal.content["action"]) == (201, "Transient")
    client.say(c2s.Unbind(1).encode(), c2s.Bind(3, '"b"', "", need_ident=True).encode())
    assert [type(each) for each in client.heard()] == [s2c.Unbound, s2c.Ident]
