"""Connections whose Realms are with workers: which message is whose, what waits on the way, and who hears of an end.

That a client cannot tell a server with workers from one without is shown in ``test_bound_sessions``.
"""

from pathlib import Path
from typing import Any

import pytest
from raw_sync import BINARY, frame
from test_bound_sessions import Client, HeldWorkers
from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from worker_ends import WorkersFixture, path_of

from realmserver.auth.gate import AppUser
from realmserver.config.limits import Limits
from realmserver.net import owner
from realmserver.net.conversation import Upgrade
from realmserver.net.link import WINDOW
from realmserver.net.relay import owner_of, upgrade_from_json, upgrade_to_json
from realmserver.net.seat import Seat
from realmserver.realms.requests import LimitReached, UploadCursor, UploadEntry
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c
from realmserver.sync.versions import Negotiated

ONES, OTHERS = path_of(0), path_of(1)
"""Partitions of which worker 0 and worker 1 have the Realms."""


@pytest.fixture
def limits() -> Limits | None:
    """None: the server's own."""
    return None


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits | None) -> WorkersFixture:
    monkeypatch.setattr(owner, "PoolWorkers", HeldWorkers)
    return WorkersFixture(tmp_path, limits)


def seats(server: WorkersFixture, number: int) -> list[Seat]:
    """Who has sessions with the worker."""
    return list(server.worker(number).desk._seats.values())


def bind(sid: int, path: str) -> bytes:
    return c2s.Bind(sid, path, "", need_ident=True).encode()


def the_error(client: Client) -> tuple[int, int]:
    """Code and session of the one error that was sent."""
    (error,) = [each for each in client.heard() if isinstance(each, s2c.JsonError)]
    return error.code, error.session


def test_a_realm_is_always_the_same_workers() -> None:
    assert [owner_of("/__partition/my-app/string-a", count) for count in (1, 2, 3)] == [0, 0, 1]


def test_sessions_of_one_connection_are_with_the_workers_of_their_realms(server: WorkersFixture) -> None:
    client = Client(server)
    client.say(bind(1, ONES))
    assert [type(each) for each in client.heard()] == [s2c.Ident]
    assert [len(seats(server, number)) for number in (0, 1)] == [1, 0]
    client.say(bind(2, OTHERS))
    (ident,) = client.heard()
    assert isinstance(ident, s2c.Ident)
    assert ident.session == 2
    assert [len(seats(server, number)) for number in (0, 1)] == [1, 1]
    client.say(c2s.Ident(2, ident.ident, ident.salt).encode(), c2s.Mark(2, 7).encode())
    assert client.heard() == [s2c.Mark(2, 7)]


def test_what_is_no_sessions_needs_no_worker(server: WorkersFixture) -> None:
    client = Client(server)
    client.say(c2s.Ping(7, 0).encode())
    assert client.heard() == [s2c.Pong(7)]
    assert not seats(server, 0)


@pytest.mark.parametrize(
    "message",
    [
        b"nonsense",
        b"upload -1 0 0 0 0 0 0\n",
        b"bind 1 9999 0 0 0\n",
        b"json_error 1 2\n",
        b"mark " + b"9" * 20 + b" 1\n",
    ],
)
def test_what_breaks_the_rules_ends_the_sessions_with_all_workers(server: WorkersFixture, message: bytes) -> None:
    client = Client(server)
    client.say(bind(1, ONES), bind(2, OTHERS))
    client.heard()
    client.say(message)
    assert the_error(client) == (103, 0)
    server.run_all()
    assert not seats(server, 0)
    assert not seats(server, 1)


def test_an_ident_in_use_cannot_be_bound_to_a_realm_elsewhere(server: WorkersFixture) -> None:
    client = Client(server)
    client.say(bind(1, ONES), bind(1, OTHERS))
    assert the_error(client) == (107, 0)


def test_an_ident_that_is_free_again_can(server: WorkersFixture) -> None:
    client = Client(server)
    client.say(bind(1, ONES))
    client.heard()
    client.say(c2s.Unbind(1).encode())
    assert client.heard() == [s2c.Unbound(1)]
    client.say(bind(1, OTHERS))
    assert [type(each) for each in client.heard()] == [s2c.Ident]
    assert len(seats(server, 1)) == 1


@pytest.mark.parametrize("message", [c2s.Mark(5, 1), c2s.ClientError(1, 5, "text"), c2s.Unbind(5)])
def test_a_message_of_a_session_that_is_not_there_is_told(server: WorkersFixture, message: Any) -> None:
    client = Client(server)
    client.say(message.encode())
    assert the_error(client) == (106, 0)


def test_a_session_that_ends_with_an_error_leaves_those_elsewhere_alone(server: WorkersFixture) -> None:
    client = Client(server)
    file = client.new_file(ONES)
    client.say(c2s.Ident(1, file.ident, file.salt).encode(), bind(2, OTHERS))
    client.heard()
    client.say(c2s.ClientError(1, 5, "text").encode())
    assert the_error(client)[1] == 1
    client.say(c2s.Unbind(2).encode())
    assert client.heard() == [s2c.Unbound(2)]


def test_workers_hear_that_a_client_is_gone(server: WorkersFixture) -> None:
    client = Client(server)
    client.say(bind(1, ONES), bind(2, OTHERS))
    client.heard()
    client.connection.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    server.run_all()
    assert not seats(server, 0)
    assert not seats(server, 1)
    assert server.worker(0).metrics.session_online._value.get() == 0


def test_the_end_of_a_login_ends_the_sessions_everywhere(server: WorkersFixture) -> None:
    client = Client(server)
    client.say(bind(1, OTHERS))
    client.heard()
    server.service.login_ended("user", None)
    server.run_all()
    assert not seats(server, 1)
    assert client.transport.value()[:1] == b"\x88"


@pytest.mark.parametrize("limits", [Limits(bind_timeout=60)])
def test_a_connection_whose_last_session_is_over_counts_as_one_without(server: WorkersFixture) -> None:
    client = Client(server)
    client.say(bind(1, OTHERS))
    client.heard()
    talk = client.connection.conversation
    assert talk.has_sessions
    server.reactor.advance(30)
    client.say(c2s.Unbind(1).encode())
    client.heard()
    assert not talk.has_sessions
    assert talk.last_bound == server.reactor.seconds()


def test_a_client_that_waits_too_little_for_its_worker_is_not_read_from(server: WorkersFixture) -> None:
    client = Client(server)
    client.say(bind(1, ONES))
    client.heard()
    upload = c2s.Upload(1, UploadCursor(2, 0), 0, (UploadEntry(2, 0, 1, 0, bytes(WINDOW)),)).encode()
    noise = frame(BINARY, upload + bytes(WINDOW))  # its body is wrong, but that is found by the worker
    client.connection.dataReceived(noise)
    assert client.transport.producerState == "paused"
    server.run_all()
    assert client.transport.producerState == "producing"


def test_a_worker_sends_no_more_than_a_window_to_a_client_that_does_not_read(server: WorkersFixture) -> None:
    client = Client(server)
    client.say(bind(1, ONES))
    client.heard()
    (seat,) = seats(server, 0)
    room: list[bool] = []
    seat.line._room = room.append
    client.connection.pauseProducing()
    seat.send(bytes(WINDOW))
    server.run_all()
    assert room == [False]
    client.connection.resumeProducing()
    server.run_all()
    assert room == [False, True]


def test_while_the_link_is_full_a_client_that_says_something_is_not_read_from(server: WorkersFixture) -> None:
    client, silent = Client(server), Client(server)
    for each in (client, silent):
        each.say(bind(1, ONES))
        each.heard()
    near, _ = server.worker(0).pipes
    near.producer.pauseProducing()
    client.say(c2s.Mark(1, 1).encode())
    assert client.transport.producerState == "paused"
    assert silent.transport.producerState == "producing"
    near.producer.resumeProducing()
    assert client.transport.producerState == "producing"


def test_when_a_worker_ends_its_clients_are_dropped_and_the_others_stay(server: WorkersFixture) -> None:
    ones, others = Client(server), Client(server)
    ones.say(bind(1, ONES))
    others.say(bind(1, OTHERS))
    ones.heard()
    others.heard()
    with capturedLogs():
        server.worker(0).die()
    assert ones.transport.disconnected
    assert not others.transport.disconnected
    others.say(c2s.Unbind(1).encode())
    assert others.heard() == [s2c.Unbound(1)]
    value = server.service.metrics.registry.get_sample_value
    ones.connection.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    assert value("ros_sync_conn_term_error_of_unexpected_category_total") == 1


def test_a_client_that_wants_a_realm_whose_worker_is_not_there_is_dropped(server: WorkersFixture) -> None:
    client = Client(server)
    server.worker(0).pipes[1].abortConnection()
    client.say(bind(1, ONES))
    assert client.transport.disconnected


def test_after_a_restart_realms_are_there_again(server: WorkersFixture) -> None:
    with capturedLogs():
        server.worker(0).die()
    server.reactor.advance(0)
    client = Client(server)
    client.say(bind(1, ONES))
    assert [type(each) for each in client.heard()] == [s2c.Ident]


def test_a_fault_of_a_worker_in_one_connection_drops_that_one(server: WorkersFixture) -> None:
    client, other = Client(server), Client(server)
    for each in (client, other):
        each.say(bind(1, ONES))
        each.heard()
    seat, _ = seats(server, 0)
    with capturedLogs() as logged:
        seat.talk.feed(lambda machine: 1 / 0)  # type: ignore[arg-type, return-value]
    assert any("log_failure" in event for event in logged)
    server.run_all()
    assert client.transport.disconnected
    assert not other.transport.disconnected


def test_a_connection_that_says_much_lets_others_have_their_turn(server: WorkersFixture) -> None:
    greedy, other = Client(server), Client(server)
    for each in (greedy, other):
        each.say(bind(1, ONES))
        each.heard()
    heard: list[Seat] = []
    for seat in seats(server, 0):

        def receive(payload: bytes, seat: Seat = seat) -> None:
            heard.append(seat)
            server.reactor.rightNow += 0.0002  # one such message is most of a turn

        seat.talk.receive = receive
    greedy.say(*(c2s.Mark(1, each).encode() for each in range(1, 7)))
    other.say(c2s.Mark(1, 1).encode())
    server.run_all()
    assert len(heard) == 7
    assert heard.index(seats(server, 0)[1]) == 2


def answers(client: Client) -> list[int]:
    """Of each BIND: 0 or the code of the error."""
    return [each.code if isinstance(each, s2c.JsonError) else 0 for each in client.heard()]


@pytest.mark.parametrize("limits", [Limits(realms_per_user=2)])
def test_realms_of_a_user_are_counted_over_all_workers_and_connections(server: WorkersFixture) -> None:
    one, other = Client(server), Client(server)
    one.say(bind(1, ONES), bind(2, OTHERS))
    assert answers(one) == [0, 0]
    other.say(bind(1, path_of(0, 1)), bind(2, ONES))
    assert sorted(answers(other)) == [0, 201], "the second one is open anyway"
    one.say(c2s.Unbind(2).encode())
    one.heard()
    other.say(c2s.Unbind(1).encode(), bind(3, path_of(1, 1)))
    assert answers(other) == [0]
    one.say(bind(4, OTHERS))
    assert answers(one) == [201]
    other.connection.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    one.say(c2s.Unbind(4).encode(), bind(5, OTHERS))
    assert answers(one) == [0]
    server.run_all()
    one.connection.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    assert server.service.shared.bound._of == {}


@pytest.mark.parametrize("limits", [Limits(sessions_per_connection=2)])
def test_sessions_of_a_connection_are_counted_over_all_workers(server: WorkersFixture) -> None:
    client = Client(server)
    client.say(bind(1, ONES), bind(2, OTHERS))
    assert answers(client) == [0, 0]
    client.say(bind(3, path_of(0, 1)))
    assert answers(client) == [201]
    client.say(c2s.Unbind(3).encode(), c2s.Unbind(1).encode())
    client.heard()
    client.say(bind(4, path_of(1, 1)))
    assert answers(client) == [0]
    client.say(bind(5, ONES), bind(6, OTHERS), bind(7, path_of(0, 1)))
    assert 100 in answers(client), "twice as many end the connection"


@pytest.mark.parametrize("limits", [Limits(new_realms_per_user=2)])
def test_realms_that_a_user_makes_are_counted_over_all_workers(server: WorkersFixture) -> None:
    client = Client(server)
    for sid, path in enumerate((ONES, OTHERS), 1):
        client.say(bind(sid, path))
        assert answers(client) == [0]
    for sid, path in enumerate((path_of(0, 1), path_of(1, 1)), 3):
        client.say(bind(sid, path))
        with pytest.raises(LimitReached):
            client.heard()


def test_what_a_worker_hears_of_a_connection_is_what_the_front_knows() -> None:
    for login in (None, AppUser("user", "my-app", "login", 7)):
        upgrade = Upgrade(Negotiated("io.realm.sync-9", 9), login, "id", "127.0.0.1:1", "127.0.0.1")
        assert upgrade_from_json(upgrade_to_json(upgrade)) == upgrade
