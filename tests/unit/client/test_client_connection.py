"""The shell of the client: sessions, reconnecting, tokens and what its owner is told, over a server in memory."""

from collections.abc import Iterator
from typing import Any

import pytest
from client_network import Host, Network
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from realmserver.client.access import AccessEnded, SignedToken, Unreachable
from realmserver.client.connection import (
    MAX_DELAY,
    PING_INTERVAL,
    PONG_TIMEOUT,
    Client,
    growing_delay,
)
from realmserver.client.errors import Closed, ConnectionRefused, SyncFailed
from realmserver.client.local import IntegrationFailed, LocalRealm
from realmserver.client.synced import SyncedRealm
from realmserver.client.websocket import Ended
from realmserver.realms.requests import DownloadCursor, SaltedVersion
from realmserver.sync.client_checks import ServerViolation
from realmserver.sync.versions import MISMATCH

DELAY = 5.0


class Ticket:
    """An Access that counts: each renewal gives the next ticket."""

    bind_token = ""

    def __init__(self) -> None:
        self.number = 0
        self.trouble: Exception | None = None

    async def url(self) -> str:
        return f"ws://server/{self.number}"

    async def renew(self) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.number += 1


class World:
    """A network, a clock, and clients whose errors are kept."""

    def __init__(self) -> None:
        self.network = Network()
        self.clock = Clock()
        self.ticket = Ticket()
        self.errors: list[tuple[SyncedRealm | None, Exception]] = []
        self.clients: list[Client] = []

    def client(self, access: Any = None) -> Client:
        client = Client(
            self.clock,
            access or self.ticket,
            on_error=lambda realm, error: self.errors.append((realm, error)),
            delays=lambda failures: DELAY * (failures + 1),
            clock=lambda: 1_700_000_000.0,
            dial=self.network.dial,
        )
        self.clients.append(client)
        return client

    @property
    def host(self) -> Host:
        (host,) = self.network.hosts
        return host

    def error(self) -> Exception:
        ((_, error),) = self.errors
        return error


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    for client in world.clients:
        client.close()
    assert world.clock.getDelayedCalls() == [], "a closed client leaves a timer"


def has_fired(waiting: Deferred[None]) -> bool:
    """Whether it fired, without an error."""
    if not waiting.called:
        return False
    results: list[object] = []
    waiting.addBoth(results.append)
    assert results == [None]
    return True


def error_of(waiting: Deferred[None]) -> Exception:
    found: list[Any] = []
    waiting.addErrback(found.append)
    (failure,) = found
    error: Exception = failure.value
    return error


def write(realm: SyncedRealm, number: int) -> None:
    with realm.write() as tx:
        tx.add_class("T", "_id", "int")
        tx.create("T", number)


def numbers(realm: SyncedRealm) -> list[object]:
    return sorted(key[1] for key in realm.values.objects("T"))  # type: ignore[type-var]


def test_a_realm_is_opened_asked_for_an_ident_and_uploaded_after_the_first_mark(world: World) -> None:
    realm = world.client().open("/a")
    write(realm, 1)
    uploaded = realm.uploaded()
    assert world.host.verbs() == ["bind"]
    world.host.deliver_one()  # the server's greeting
    world.host.deliver_one()
    assert world.host.verbs() == ["bind", "ident", "mark"]
    assert not uploaded.called
    world.network.deliver()
    assert world.host.verbs()[:4] == ["bind", "ident", "mark", "upload"]
    assert has_fired(uploaded)


def test_what_one_client_writes_the_other_reads(world: World) -> None:
    one, two = world.client().open("/a"), world.client().open("/a")
    write(one, 1)
    world.network.deliver()
    write(two, 2)
    downloaded = one.downloaded()
    world.network.deliver()
    assert has_fired(downloaded)
    assert numbers(one) == numbers(two) == [1, 2]
    assert one.get("T", 2) == {"_id": 2}


def test_nothing_goes_back_and_forth_when_all_is_quiet(world: World) -> None:
    one, two = world.client().open("/a"), world.client().open("/a")
    write(one, 1)
    world.network.deliver()
    before = [len(host.sent) for host in world.network.hosts]
    world.network.deliver()
    assert [len(host.sent) for host in world.network.hosts] == before
    assert two.local.is_uploaded


def test_waiting_for_what_is_already_so_ends_at_once(world: World) -> None:
    realm = world.client().open("/a")
    assert has_fired(realm.uploaded())
    assert not realm.downloaded().called


def test_many_waiters_of_marks_are_answered_in_order(world: World) -> None:
    realm = world.client().open("/a")
    early = realm.downloaded()
    world.network.deliver()
    late = [realm.downloaded(), realm.downloaded()]
    assert has_fired(early)
    assert not any(each.called for each in late)
    world.network.deliver()
    assert all(has_fired(each) for each in late)


def test_a_lost_connection_is_opened_again_after_a_delay_and_goes_on_where_it_was(world: World) -> None:
    realm = world.client().open("/a")
    write(realm, 1)
    world.network.deliver()
    world.network.drop_all()
    write(realm, 2)
    waiting = [realm.uploaded(), realm.downloaded()]
    world.clock.advance(DELAY - 0.1)
    assert len(world.network.urls) == 1
    world.clock.advance(0.1)
    world.network.deliver()
    assert all(has_fired(each) for each in waiting)
    (ident,) = world.host.idents
    assert ident.ident == realm.local.file.ident
    assert ident.download != DownloadCursor()


def test_an_upload_that_was_integrated_but_not_acknowledged_counts_once(world: World) -> None:
    realm = world.client().open("/a")
    world.network.deliver()
    write(realm, 1)
    with realm.write() as tx:
        tx.add_property("T", "n", "int")
        tx.increment("T", 1, "n")
    uploaded = realm.uploaded()
    world.network.drop_all()
    world.clock.advance(DELAY)
    world.network.deliver()
    assert has_fired(uploaded)
    other = world.client().open("/a")
    world.network.deliver()
    assert other.get("T", 1) == {"_id": 1, "n": 1}


def test_delays_grow_until_a_download_comes(world: World) -> None:
    world.network.refusals.extend([Ended("no route"), Ended("", status=503), Ended("no route")])
    realm = world.client().open("/a")
    for dials, delay in ((2, DELAY), (3, 2 * DELAY), (4, 3 * DELAY)):
        world.clock.advance(delay - 0.1)
        assert len(world.network.urls) == dials - 1
        world.clock.advance(0.1)
        assert len(world.network.urls) == dials
    waiting = realm.downloaded()
    world.network.deliver()
    assert has_fired(waiting)
    world.network.drop_all()
    world.clock.advance(DELAY)
    assert len(world.network.urls) == 5


def test_the_default_delays_grow_to_a_limit() -> None:
    assert 0.75 <= growing_delay(0) <= 1
    assert 3 <= growing_delay(2) <= 4
    assert 0.75 * MAX_DELAY <= growing_delay(1000) <= MAX_DELAY


@pytest.mark.parametrize("ended", [Ended("", status=401), Ended("expired", code=4001)])
def test_a_refused_token_is_renewed_at_once_and_then_with_delays(world: World, ended: Ended) -> None:
    world.network.refusals.extend([ended, ended])
    realm = world.client().open("/a")
    world.clock.advance(0)
    assert world.network.urls == ["ws://server/0", "ws://server/1"]
    world.clock.advance(DELAY)
    assert len(world.network.urls) == 2
    world.clock.advance(DELAY)
    assert world.network.urls[2:] == ["ws://server/2"]
    waiting = realm.downloaded()
    world.network.deliver()
    assert has_fired(waiting)


def test_where_the_token_cannot_be_renewed_just_now_it_is_tried_again(world: World) -> None:
    world.network.refusals.extend([Ended("", status=401), Ended("", status=401)])
    world.ticket.trouble = Unreachable("no route")
    world.client().open("/a")
    world.clock.advance(0)
    world.clock.advance(2 * DELAY)
    assert world.errors == []
    world.ticket.trouble = None
    world.clock.advance(3 * DELAY)
    assert world.network.urls[-1] == "ws://server/1"


@pytest.mark.parametrize(
    ("ended", "kind"),
    [
        (Ended("", status=403, body="disabled"), AccessEnded),
        (Ended("go", code=4002), AccessEnded),
        (Ended("", code=4005), ConnectionRefused),
        (Ended("", status=400, body=f"too old\n\n{MISMATCH}:CLIENT_TOO_OLD"), ConnectionRefused),
    ],
)
def test_a_final_refusal_ends_the_client_and_all_that_waits(world: World, ended: Ended, kind: type) -> None:
    world.network.refusals.append(ended)
    client = world.client()
    realm = client.open("/a")
    assert isinstance(world.error(), kind)
    assert error_of(realm.downloaded()) is client.failure
    with pytest.raises(kind):
        client.open("/b")
    with pytest.raises(kind):
        realm.resume()
    assert world.clock.getDelayedCalls() == []


def test_a_login_that_has_ended_ends_the_client(world: World) -> None:
    world.network.refusals.append(Ended("", status=401))
    world.ticket.trouble = AccessEnded("logged out")
    waiting = world.client().open("/a").downloaded()
    world.clock.advance(0)
    assert error_of(waiting) is world.error() is world.ticket.trouble


def test_a_violation_is_told_to_everyone_and_ends_the_client(world: World) -> None:
    client = world.client()
    realm = client.open("/a")
    waiting = realm.downloaded()
    world.host.inbox.append(b"mark 1 7\n")
    world.network.deliver()
    assert isinstance(world.error(), ServerViolation)
    assert error_of(waiting) is world.error()
    assert not client.is_connected
    assert world.network.hosts == []
    with pytest.raises(ServerViolation):
        client.open("/b")


def test_an_expired_bind_token_is_renewed(world: World) -> None:
    world.network.expired_tokens.add("old")

    async def fresh() -> str:
        return "new"

    realm = world.client(SignedToken("http://server", "old", fresh)).open("/a")
    waiting = realm.downloaded()
    world.network.deliver()
    world.clock.advance(0)
    world.network.deliver()
    assert has_fired(waiting)
    assert world.network.urls == ["ws://server/realm-sync"] * 2
    assert b"new" in world.host.sent[0]


def test_a_session_error_ends_its_realm_only(world: World) -> None:
    client = world.client()
    good = client.open("/good")
    local = LocalRealm()
    local.identified(77, 5)
    bad = client.open("/bad", local)
    waiting, other = bad.downloaded(), good.downloaded()
    world.network.deliver()
    ((realm, error),) = world.errors
    assert realm is bad
    assert isinstance(error, SyncFailed)
    assert (error.code, error.needs_reset) == (208, True)
    assert error_of(waiting) is error
    assert error_of(bad.downloaded()) is error
    assert has_fired(other)


def test_a_realm_that_needs_it_is_reset_and_downloaded_anew(world: World) -> None:
    client = world.client()
    source = world.client().open("/a")
    write(source, 1)
    local = LocalRealm()
    local.identified(77, 5)
    realm = client.open("/a", local)
    write(realm, 9)
    world.network.deliver()
    lost = realm.reset()
    assert len(lost) == 1
    waiting = realm.downloaded()
    world.network.deliver()
    assert has_fired(waiting)
    assert numbers(realm) == [1]
    write(realm, 2)
    world.network.deliver()
    assert numbers(source) == [1, 2]


def test_a_reset_may_be_called_from_the_error_callback(world: World) -> None:
    local = LocalRealm()
    local.identified(77, 5)

    def reset(realm: SyncedRealm | None, error: Exception) -> None:
        assert realm is not None
        realm.reset()

    client = Client(world.clock, world.ticket, on_error=reset, dial=world.network.dial)
    world.clients.append(client)
    realm = client.open("/a", local)
    world.network.deliver()
    assert realm.failure is None
    assert realm.local.file.ident not in (0, 77)
    waiting = realm.downloaded()
    world.network.deliver()
    assert has_fired(waiting)


def test_a_reset_in_the_middle_of_a_session_begins_another(world: World) -> None:
    realm = world.client().open("/a")
    write(realm, 1)
    world.network.deliver()
    first = realm.local.file.ident
    realm.reset()
    world.network.deliver()
    assert realm.local.file.ident not in (0, first)
    assert numbers(realm) == [1]


def test_a_changeset_that_cannot_be_integrated_is_told_to_owner_and_server(world: World) -> None:
    one, two = world.client().open("/a"), world.client().open("/a")
    world.network.deliver()
    write(one, 1)
    two.values.schema.put(two_class(two))
    waiting = two.downloaded()
    world.network.deliver()
    ((realm, error),) = world.errors
    assert realm is two
    assert isinstance(error, IntegrationFailed)
    assert error_of(waiting) is error
    assert "json_error" in world.network.hosts[1].verbs()
    two.reset()
    world.network.deliver()
    assert numbers(two) == [1]


def two_class(realm: SyncedRealm) -> Any:
    """A class T of another kind, as if the client's own state were damaged."""
    scratch = LocalRealm()
    with scratch.write(1) as tx:
        tx.add_class("T", kind="embedded")
    return scratch.values.schema.tables["T"]


def test_a_paused_realm_sends_and_receives_nothing_until_it_is_resumed(world: World) -> None:
    one, two = world.client().open("/a"), world.client().open("/a")
    world.network.deliver()
    two.pause()
    sent = len(world.network.hosts[1].sent)
    write(one, 1)
    write(two, 2)
    waiting = [two.uploaded(), two.downloaded()]
    world.network.deliver()
    assert len(world.network.hosts[1].sent) == sent
    assert numbers(two) == [2]
    two.resume()
    world.network.deliver()
    assert all(has_fired(each) for each in waiting)
    assert numbers(one) == numbers(two) == [1, 2]


def test_a_realm_resumed_before_the_server_has_answered_the_pause_goes_on(world: World) -> None:
    realm = world.client().open("/a")
    world.network.deliver()
    realm.pause()
    realm.resume()
    waiting = realm.downloaded()
    world.network.deliver()
    assert has_fired(waiting)
    assert world.errors == []


def test_a_closed_realm_fails_what_waits_and_leaves_the_others(world: World) -> None:
    client = world.client()
    one, two = client.open("/a"), client.open("/b")
    waiting = one.downloaded()
    one.close()
    assert isinstance(error_of(waiting), Closed)
    other = two.downloaded()
    world.network.deliver()
    assert has_fired(other)
    assert world.errors == []


def test_closing_a_client_fails_what_waits_and_tells_no_error(world: World) -> None:
    client = world.client()
    waiting = client.open("/a").downloaded()
    closed = client.close()
    assert has_fired(closed)
    assert isinstance(error_of(waiting), Closed)
    assert world.errors == []
    with pytest.raises(Closed):
        client.open("/b")


def test_a_client_closed_between_two_connections_stays_closed(world: World) -> None:
    client = world.client()
    client.open("/a")
    world.network.drop_all()
    assert has_fired(client.close())
    world.clock.advance(1000)
    assert len(world.network.urls) == 1


def test_pings_go_out_while_it_is_quiet_and_a_missing_pong_ends_the_connection(world: World) -> None:
    realm = world.client().open("/a")
    world.network.deliver()
    for _ in range(3):
        world.clock.advance(PING_INTERVAL)
        world.network.deliver()
    assert world.host.verbs().count("ping") == 3
    world.host.is_silent = True
    world.clock.advance(PING_INTERVAL)
    world.clock.advance(PONG_TIMEOUT - 1)
    assert len(world.network.hosts) == 1
    world.clock.advance(1)
    assert world.network.hosts == []
    world.clock.advance(DELAY)
    waiting = realm.downloaded()
    world.network.deliver()
    assert has_fired(waiting)


def test_an_error_of_the_connection_without_try_again_ends_the_client(world: World) -> None:
    realm = world.client().open("/a")
    world.network.deliver()
    world.host.inbox.append(b"error 102 7 0 0\nUnknown")
    world.network.deliver()
    error = world.error()
    assert isinstance(error, SyncFailed)
    assert error.code == 102
    assert realm.failure is error


def test_a_stopping_server_is_come_back_to(world: World) -> None:
    realm = world.client().open("/a")
    world.network.deliver()
    world.host.carry_out(world.host.machine.shutdown())
    world.network.deliver()
    assert world.network.hosts == []
    assert world.errors == []
    world.clock.advance(DELAY)
    waiting = realm.downloaded()
    world.network.deliver()
    assert has_fired(waiting)


def test_a_realm_may_be_opened_while_the_connection_is_closing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = world.client()
    client.open("/a")
    world.network.deliver()
    host = world.host
    monkeypatch.setattr(host, "close", lambda: None)
    host.inbox.append(b"error 100 3 1 0\nbye")
    world.network.deliver()
    waiting = client.open("/b").downloaded()
    host.end(Ended("closed", 1000))
    world.clock.advance(DELAY)
    world.network.deliver()
    assert has_fired(waiting)
    assert world.errors == []


def test_a_large_backlog_travels_in_several_uploads(world: World) -> None:
    realm = world.client().open("/a")
    with realm.write() as tx:
        tx.add_class("T", "_id", "int")
        tx.add_property("T", "text", "string")
    for number in range(10):
        with realm.write() as tx:
            tx.create("T", number, {"text": "x" * 50_000})
    uploaded = realm.uploaded()
    world.network.deliver()
    assert has_fired(uploaded)
    assert world.host.verbs().count("upload") >= 4
    other = world.client().open("/a")
    world.network.deliver()
    assert other.values.state() == realm.values.state()


def test_errors_without_a_callback_are_still_raised_by_what_follows(world: World) -> None:
    world.network.refusals.append(Ended("", status=403))
    client = Client(world.clock, world.ticket, dial=world.network.dial)
    realm = client.open("/a")
    assert isinstance(error_of(realm.downloaded()), AccessEnded)
    write(realm, 1)
    assert isinstance(error_of(realm.uploaded()), AccessEnded)
    assert realm.local.file.latest == SaltedVersion()
