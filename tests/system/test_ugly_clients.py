"""Ugly clients, which keep to the letter of HTTP, WebSockets and the protocol and mean no good: they hurt nobody.

Slow ones, half-open ones, storms, thieves and replays. Everything goes through a real server process, its port and a
real login. While each of them is at it, two good clients of one Realm talk to each other, and the tests at the end read
their Realm and the server's log. What such clients cost in time is measured by ``bench``; here it is memory and
descriptors, with bounds that only something that grows with the attack exceeds.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest
from raw_sync import (
    APP,
    BINARY,
    PATIENCE,
    Closed,
    RawSocket,
    RawSync,
    ask,
    frame,
    log_in,
    log_out,
    sync_path,
    upgrade_request,
)
from sync_neighbours import SHARED, GoodClient, Site, new_object, new_table, serving
from sync_verdicts import BUG, RESET, check_end, check_error, check_session_error, entry

from realmserver.auth.keys import signed_wire_form
from realmserver.realms.registry import SPARE
from realmserver.realms.requests import DownloadCursor, UploadCursor
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c
from realmserver.sync.server import MAX_SESSIONS
from realmserver.sync.syntax import MAX_PATH

pytestmark = pytest.mark.system

MEBIBYTE: Final = 1 << 20

SLACK: Final = 24 * MEBIBYTE
"""Bytes that the server's memory may grow for reasons of its own, such as a Realm that it opens."""

OPEN_REALMS: Final = 8
FILES_OF_REALM: Final = 3
"""Descriptors of an open Realm."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = f"logging: {{level: trace}}\nperformance: {{max_open_files: {OPEN_REALMS}}}\n"
    with serving(tmp_path_factory.mktemp("ugly"), settings) as site:
        yield site


@pytest.fixture
def site(house: Site) -> Iterator[Site]:
    """The server; whatever a test does to it, its good clients go on, and it keeps no more open than Realms it may."""
    house.neighbours.talk()
    before = house.open_files() + (OPEN_REALMS + 1) * FILES_OF_REALM
    yield house
    house.neighbours.talk()
    deadline = time.monotonic() + PATIENCE
    while house.open_files() > before and time.monotonic() < deadline:
        house.neighbours.talk()
    assert house.open_files() <= before, "descriptors are left over"


# Slow, and half there.


LOGIN: Final = f"/api/client/v2.0/app/{APP}/auth/providers/anon-user/login"


def test_many_who_trickle_their_headers_are_each_answered_in_the_end(site: Site) -> None:
    """A slow loris sends a line now and then for as long as it is let. Here each is done after some, and the answer is
    as good as any."""
    count, lines = 100, 6
    before = site.forget_peak()
    with ExitStack() as stack:
        slow = [stack.enter_context(RawSocket(site.port)) for _ in range(count)]
        for peer in slow:
            peer.send(f"GET /api/client/v2.0/app/{APP}/location HTTP/1.1\r\nHost: x\r\n".encode())
        for number in range(lines):
            for peer in slow:
                peer.send(f"X-Line-{number}: ".encode() + b"v" * 100 + b"\r\n")
            site.neighbours.talk()
        for peer in slow:
            peer.send(b"\r\n")
            assert peer.answer().status == 200
        assert site.peak_memory() - before < SLACK


def test_headers_that_trickle_without_end_are_cut_off_as_those_that_flow(site: Site) -> None:
    with RawSocket(site.port) as slow:
        slow.send(b"GET / HTTP/1.1\r\n")
        for number in range(2000):
            slow.send(b"X-%d: %s\r\n" % (number, b"v" * 100))
            if number % 400 == 0:
                site.neighbours.talk()
        answer = slow.read_all()
    assert not answer or answer.startswith(b"HTTP/1.1 400 ")


def test_many_who_trickle_their_bodies_are_each_answered_in_the_end(site: Site) -> None:
    count, body = 50, b'{"options": {"device": {}}}'
    before = site.forget_peak()
    with ExitStack() as stack:
        slow = [stack.enter_context(RawSocket(site.port)) for _ in range(count)]
        for peer in slow:
            peer.send(f"POST {LOGIN} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        for position in range(len(body)):
            for peer in slow:
                peer.send(body[position : position + 1])
            if position % 9 == 0:
                site.neighbours.talk()
        for peer in slow:
            assert peer.answer().status == 200
        assert site.peak_memory() - before < SLACK


def test_those_who_connect_and_say_nothing_cost_next_to_nothing(site: Site) -> None:
    count = 200
    before = site.forget_peak()
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(RawSocket(site.port))
        site.neighbours.talk()
        site.neighbours.newcomer().close()
        assert site.peak_memory() - before < SLACK


def test_who_goes_within_a_message_is_gone(site: Site) -> None:
    """Half a frame, half an UPLOAD, half a handshake; then the end, or a reset."""
    before = site.forget_peak()
    upload = c2s.Upload(1, UploadCursor(2, 0), 0, (entry(2, 0, bytes(50_000)),)).encode()
    for number in range(20):
        peer = site.attacker()
        peer.join(SHARED)
        peer.send(frame(BINARY, upload)[:40_000] if number % 2 else frame(BINARY, upload[:100], fin=False))
        if number % 4 < 2:
            peer.end_sending()
            peer.read_all()
            peer.close()
        else:
            peer.reset()
    half = upgrade_request(sync_path(site.login.access_token))
    for number in range(20):
        with RawSocket(site.port) as socket:
            socket.send(half[: 10 + number * 7])
    site.neighbours.talk()
    assert site.peak_memory() - before < SLACK


def test_pings_at_full_speed_are_all_answered(site: Site) -> None:
    count, before = 5_000, site.forget_peak()
    with site.attacker() as hasty:
        for start in range(0, count, 500):
            hasty.send_message(*(c2s.Ping(number, 0).encode() for number in range(start, start + 500)))
            for number in range(start, start + 500):
                assert hasty.next() == s2c.Pong(number)
            if start % 1000 == 0:
                site.neighbours.talk()
    assert site.peak_memory() - before < SLACK


# Storms.


def test_a_storm_of_bind_and_unbind_is_answered_in_full(site: Site) -> None:
    rounds, at_once = 20, 100
    with site.attacker() as stormy:
        file, _ = stormy.join(SHARED)
        stormy.send_message(c2s.Unbind(1).encode())
        stormy.expect(s2c.Unbound)
        before = site.forget_peak()
        for _ in range(rounds):
            for sid in range(1, at_once + 1):
                stormy.rejoin(SHARED, file, sid=sid)
                stormy.send_message(c2s.Unbind(sid).encode())
            for sid in range(1, at_once + 1):
                assert stormy.expect(s2c.Unbound) == s2c.Unbound(sid)
            site.neighbours.talk()
        assert site.peak_memory() - before < SLACK
        assert stormy.is_alive()


def test_a_storm_of_new_client_files_keeps_nobody_waiting(site: Site) -> None:
    """Each costs a commit. Those that are unbound before they have their ident are never told one."""
    count, before = 200, site.forget_peak()
    with site.attacker() as stormy:
        for sid in range(1, count + 1):
            stormy.send_message(c2s.Bind(sid, SHARED, "", True).encode(), c2s.Unbind(sid).encode())
        site.neighbours.talk()
        unbound: list[int] = []
        while len(unbound) < count:
            message = stormy.next()
            if isinstance(message, s2c.Unbound):
                unbound.append(message.session)
            else:
                assert isinstance(message, s2c.Ident)
                assert message.session not in unbound
        assert unbound == list(range(1, count + 1))
        file, _ = stormy.join(SHARED)
        assert file.ident > 2
    assert site.peak_memory() - before < SLACK


def test_a_storm_of_realms_keeps_no_more_of_them_open_than_are_allowed(site: Site) -> None:
    count, before, files = 200, site.forget_peak(), site.open_files()
    allowed = files + (OPEN_REALMS + SPARE) * FILES_OF_REALM + 4
    with site.attacker() as stormy:
        stormy.send_message(*(c2s.Bind(number + 1, f'"storm {number}"', "", True).encode() for number in range(count)))
        for number in range(count):
            stormy.expect(s2c.Ident)
            if number % 20 == 0:
                assert site.open_files() <= allowed
            if number == 100:
                site.neighbours.talk()
        assert site.peak_memory() - before < (OPEN_REALMS + SPARE) * 4 * MEBIBYTE + SLACK


def test_too_many_sessions_are_refused_one_by_one_and_then_all(site: Site) -> None:
    before = site.forget_peak()
    with site.attacker() as greedy:
        greedy.join(SHARED, sid=10_000)
        bind = [c2s.Bind(sid, SHARED, "", False).encode() for sid in range(1, MAX_SESSIONS + 100)]
        for start in range(0, len(bind), 200):
            greedy.send_message(*bind[start : start + 200])
        error = greedy.expect(s2c.JsonError)
        assert (error.code, error.session, error.content["action"]) == (201, MAX_SESSIONS, "Transient")
        site.neighbours.talk()
        more = [c2s.Bind(sid, SHARED, "", False).encode() for sid in range(20_000, 20_000 + MAX_SESSIONS)]
        for start in range(0, len(more), 200):
            greedy.send_message(*more[start : start + 200])
        messages, closed = greedy.to_the_end()
        errors = [message.code for message in messages if isinstance(message, s2c.JsonError)]
        assert set(errors[:-1]) == {201}
        assert (errors[-1], closed.code) == (100, 1000)
    assert site.peak_memory() - before < 2 * SLACK


# Thieves.


def test_whoever_guesses_at_a_salt_learns_and_takes_nothing(site: Site) -> None:
    victim = site.neighbours.one.session.file
    with site.attacker() as thief:
        for guess in range(300):
            claimed = s2c.Ident(1, victim.ident, victim.salt ^ (1 << guess % 63) if guess % 2 else guess)
            thief.rejoin(SHARED, claimed)
            check_session_error(thief, 211, RESET)
            if guess % 100 == 0:
                site.neighbours.talk()
        assert thief.is_alive()


def test_another_users_client_file_with_its_right_salt_is_not_taken_from_him(site: Site) -> None:
    """Nor does it end the owner's session, as a second connection of his own would."""
    login = log_in(site.port)
    site.secrets |= {login.access_token, login.refresh_token}
    victim = site.neighbours.one.session.file
    with site.attacker(login=login) as thief:
        for _ in range(20):
            here = DownloadCursor(victim.download.server_version, 0)
            thief.rejoin(SHARED, s2c.Ident(1, victim.ident, victim.salt), here, victim.latest)
            check_session_error(thief, 223, BUG)
        site.neighbours.talk()
        assert thief.is_alive()


def test_an_upload_under_a_stolen_ident_is_not_even_looked_at(site: Site) -> None:
    victim = site.neighbours.one.session.file
    with site.attacker() as thief:
        thief.rejoin(SHARED, s2c.Ident(1, victim.ident, 1))
        thief.upload([entry(1000, 0, new_object(666))], UploadCursor(1000, 0))
        check_session_error(thief, 211, RESET)


# Replays.


def test_tokens_are_worth_nothing_after_their_login_has_ended(site: Site) -> None:
    login = log_in(site.port)
    site.secrets |= {login.access_token, login.refresh_token}
    log_out(site.port, login)
    for method, path, token in (
        ("POST", "/auth/session", login.refresh_token),
        ("GET", "/auth/profile", login.access_token),
        ("GET", "/auth/profile", login.refresh_token),
        ("DELETE", "/auth/delete", login.access_token),
    ):
        head = f"{method} /api/client/v2.0{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        assert ask(site.port, head.encode()).status == 401, path


def test_no_token_in_a_message_makes_a_session_another_users(site: Site) -> None:
    """The login of the connection counts, whatever REFRESH brings."""
    other = log_in(site.port)
    site.secrets |= {other.access_token, other.refresh_token}
    victim = GoodClient(site.port, other, '"his own"')
    file = victim.session.file
    with site.attacker() as client:
        client.join(SHARED)
        client.send_message(c2s.Refresh(1, other.access_token).encode())
        assert client.is_alive()
        here = DownloadCursor(file.download.server_version, 0)
        client.rejoin('"his own"', s2c.Ident(2, file.ident, file.salt), here, file.latest, sid=2)
        check_session_error(client, 223, BUG, session=2)
    victim.mark()
    victim.close()


@pytest.mark.parametrize(
    "fault", ["another user's", "expired", "a refresh token", "an access token", "garbage", "none"]
)
def test_a_session_with_a_token_of_its_own_takes_no_foreign_one(site: Site, fault: str) -> None:
    def token(identity: str, expires: int) -> str:
        content = {"identity": identity, "path": "/ugly", "access": ["download"], "expires": expires}
        return signed_wire_form(site.keys, json.dumps(content).encode())

    later = int(time.time()) + 1000
    fresh = {
        "another user's": token("somebody", later),
        "expired": token("ugly", 1_000_000_000),
        "a refresh token": site.login.refresh_token,
        "an access token": site.login.access_token,
        "garbage": "a.b.c",
        "none": "",
    }[fault]
    own = token("ugly", later)
    site.secrets |= {each for each in (own, fresh) if len(each) > 40}
    with RawSync(site.port, upgrade_request("/realm-sync")) as client:
        client.join("/ugly", token=own)
        client.send_message(c2s.Refresh(1, fresh).encode())
        messages, closed = client.to_the_end()
        assert (messages, closed.code) == ([], 4001)


def test_a_version_that_was_uploaded_already_is_not_changed_by_other_bytes(site: Site) -> None:
    path = '"sent twice"'
    author = GoodClient(site.port, site.login, path)
    author.write(new_table())
    author.write(new_object(1))
    file = s2c.Ident(1, author.session.file.ident, author.session.file.salt)
    latest = author.session.file.latest
    author.close()
    with site.attacker() as forger:
        forger.rejoin(path, file, DownloadCursor(2, 3), latest)
        forger.upload([entry(3, 1, new_object(666))], UploadCursor(3, 1), 2)
        assert forger.is_alive()  # passed over, as what was sent again is
        forger.upload([entry(3, 1, new_object(667))], UploadCursor(3, 1), 2)
        check_session_error(forger, 210, RESET)
        forger.rejoin(path, file, DownloadCursor(2, 3), latest)
        assert forger.expect(s2c.Download).head.latest == latest
    reader = GoodClient(site.port, site.login, path)
    assert [each.changeset for each in reader.log.values()] == [new_table(), new_object(1)]
    reader.close()


def test_one_version_with_two_contents_at_once_is_taken_once(site: Site) -> None:
    """A client file that was copied: two connections send the same version, each with bytes of its own."""
    path = '"copied"'
    author = GoodClient(site.port, site.login, path)
    author.write(new_table())
    author.close()
    contents = [new_object(1), new_object(2)]
    with site.attacker() as one:
        file, _ = one.join(path)
        with site.attacker() as other:
            other.rejoin(path, file)
            other.upload([entry(2, 0, contents[1])], UploadCursor(2, 0))
            one.upload([entry(2, 0, contents[0])], UploadCursor(2, 0))
            assert one.to_the_end()[1] == Closed(None)
            assert other.is_alive()
    reader = GoodClient(site.port, site.login, path)
    assert len(reader.log) == 2
    assert reader.log[2].changeset in contents
    reader.close()


# Names.


def test_the_longest_partition_values_are_realms_and_longer_ones_are_no_message(site: Site) -> None:
    with site.attacker() as client:
        for sid, letter in enumerate("aé", 1):
            text = letter * ((MAX_PATH - 2) // len(letter.encode()))
            client.bind(f'"{text}"', sid)
    with site.attacker() as client:
        client.send_message(c2s.Bind(1, '"' + "a" * MAX_PATH + '"', "", True).encode())
        check_end(client, 103)


def test_a_partition_value_of_brackets_only_is_refused(site: Site) -> None:
    with site.attacker() as client:
        for text in ("[" * MAX_PATH, '{"a":' * 200, '"' + "\\u0000" * 150 + '"', "1" * MAX_PATH, '{"$oid":' * 100):
            client.send_message(c2s.Bind(1, text, "", True).encode())
            message = client.next()
            if isinstance(message, s2c.Ident):  # NULs are a string like others
                client.send_message(c2s.Unbind(1).encode())
                client.expect(s2c.Unbound)
                continue
            check_error(message, 204, 1, BUG)
            client.send_message(c2s.Unbind(1).encode())


# What is left of it all.


def test_the_realm_holds_what_its_good_clients_wrote_and_nothing_else(site: Site) -> None:
    assert site.neighbours.version > 2
    site.neighbours.check_log()


def test_the_log_tells_no_secret_and_of_no_fault_of_ours(site: Site) -> None:
    site.check_log()
