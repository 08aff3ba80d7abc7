"""Each limit, at a real server: what whoever reaches it is answered, that others go on, and that it passes.

The good clients (``site``) talk to each other after every test.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from raw_sync import BINARY, Answer, RawSocket, RawSync, ask, frame, log_in, sync_path, upgrade_request
from server_process import ServerProcess
from sync_neighbours import SHARED, Site, new_object, new_table, serving
from sync_verdicts import check_error, content

from realmserver.realms.requests import UploadCursor, UploadEntry
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c

pytestmark = pytest.mark.system

MEBIBYTE: Final = 1 << 20

SETTINGS: Final = (
    "limits:\n  connections: 60\n  connections_per_address: 8\n  sessions_per_connection: 3\n  realms_per_user: 3\n"
    "  new_realms_per_user: 5\n  request_timeout: 2\n  keep_alive_timeout: 3\n  receive_buffer: 17\n"
    "  download_buffer: 17\n  message_size: 17\n  disk_reserve: 1\n"
)

LATER: Final = {"backoffIntervalSec": 10, "backoffMaxDelaySec": 300, "backoffMultiplier": 2}
MUCH_LATER: Final = {"backoffIntervalSec": 60, "backoffMaxDelaySec": 3600, "backoffMultiplier": 2}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("limits"), SETTINGS) as site:
        yield site


@pytest.fixture
def site(house: Site) -> Iterator[Site]:
    """The server; whatever a test does to it, its good clients go on."""
    yield house
    house.neighbours.talk()


def figures(port: int) -> dict[str, float]:
    """What /metrics says now."""
    text = ask(port, b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").body.decode()
    return {name: float(value) for name, value in re.findall(r"^(ros_\S+) (\S+)$", text, re.MULTILINE)}


def refused(site: Site, limit: str) -> float:
    """How often ``limit`` was reached so far."""
    return figures(site.port)[f'ros_limit_refused_total{{limit="{limit}"}}']


def eventually(found: Callable[[], bool], patience: float = 15.0) -> None:
    until = time.monotonic() + patience
    while not found():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.05)


def upgrade(site: Site, **headers: str) -> Answer:
    """The answer to an upgrade of a good client."""
    with RawSocket(site.port) as connection:
        connection.send(upgrade_request(sync_path(site.login.access_token), **headers))
        return connection.answer()


# Connections


def test_silent_connections_make_room_for_those_who_ask(site: Site) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(RawSocket(site.port)) for _ in range(70)]
        eventually(
            lambda: ask(site.port, b"GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").status == 200
        )
        site.neighbours.talk()
        assert sum(_is_closed(each) for each in crowd) >= 10
    eventually(lambda: figures(site.port)["ros_connections_online"] < 10)
    assert refused(site, "connections") > 0


def _is_closed(connection: RawSocket) -> bool:
    connection.socket.setblocking(False)
    try:
        return connection.socket.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_websockets_beyond_the_limit_are_told_to_come_again_while_http_goes_on(site: Site) -> None:
    before = refused(site, "connections")
    with ExitStack() as stack:
        while True:
            connection = stack.enter_context(RawSocket(site.port))
            connection.send(upgrade_request(sync_path(site.login.access_token)))
            answer = connection.answer()
            if answer.status != 101:
                break
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert refused(site, "connections") > before
        log_in(site.port)
    eventually(lambda: upgrade(site).status == 101)


def test_a_client_behind_a_trusted_proxy_is_counted_by_its_own_address(site: Site) -> None:
    before = refused(site, "connections_per_address")
    with ExitStack() as stack:
        statuses = []
        for _ in range(10):
            connection = stack.enter_context(RawSocket(site.port))
            connection.send(upgrade_request(sync_path(site.login.access_token), X_Forwarded_For="192.0.2.1"))
            statuses.append(connection.answer().status)
        assert statuses == [101] * 8 + [503] * 2
        assert upgrade(site, X_Forwarded_For="192.0.2.2").status == 101
        assert refused(site, "connections_per_address") == before + 2
    eventually(lambda: upgrade(site, X_Forwarded_For="192.0.2.1").status == 101)


def test_an_address_that_is_no_proxys_has_its_share_of_sockets(tmp_path: Path) -> None:
    server = ServerProcess(
        tmp_path, "limits: {connections_per_address: 5}\n", network={"trusted_proxies": ["192.0.2.0/24"]}
    )
    try:
        server.start()
        with ExitStack() as stack:
            crowd = [stack.enter_context(RawSocket(server.port)) for _ in range(8)]
            eventually(lambda: sum(_is_closed(each) for each in crowd) == 3)
        eventually(lambda: ask(server.port, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").status == 200)
        assert "limits.connections_per_address is reached" in server.text()
    finally:
        server.kill()


# Time


@pytest.mark.parametrize(
    "begin",
    [b"GET / HTTP/1.1\r\nHost: h\r\nX: ", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n"],
    ids=["head", "body"],
)
def test_a_request_that_trickles_is_cut_off(site: Site, begin: bytes) -> None:
    before = refused(site, "request_timeout")
    begun = time.monotonic()
    with RawSocket(site.port) as slow:
        slow.send(begin)
        while time.monotonic() - begun < 10 and not _readable(slow):
            slow.send(b"x")
            time.sleep(0.1)
        assert slow.read_all().startswith(b"HTTP/1.1 408 ")
    assert 1.5 < time.monotonic() - begun < 8
    assert refused(site, "request_timeout") == before + 1


def _readable(connection: RawSocket) -> bool:
    import select

    return bool(select.select([connection.socket], [], [], 0)[0])


def test_who_asks_nothing_is_closed_after_a_while(site: Site) -> None:
    with RawSocket(site.port) as silent:
        assert silent.read_all() == b""


# Sessions and Realms


def test_sessions_of_a_connection_are_limited_and_come_back_with_unbind(site: Site) -> None:
    before = refused(site, "sessions_per_connection")
    with site.attacker() as client:
        for sid in (1, 2, 3):
            client.bind(SHARED, sid)
        client.send_message(c2s.Bind(4, SHARED, "", True).encode())
        check_error(client.next(), 201, 4, content("Transient", try_again=True) | MUCH_LATER)
        assert refused(site, "sessions_per_connection") == before + 1
        client.send_message(c2s.Unbind(4).encode(), c2s.Unbind(3).encode())
        assert client.next() == s2c.Unbound(3)
        client.bind(SHARED, 5)


def test_realms_of_a_user_are_limited_on_all_his_connections_together(site: Site) -> None:
    login = log_in(site.port)
    with ExitStack() as stack:
        one, other = (stack.enter_context(site.attacker(login=login)) for _ in range(2))
        for sid, path in enumerate(('"a"', '"b"', SHARED), 1):
            one.bind(path, sid)
        other.send_message(c2s.Bind(1, '"c"', "", True).encode())
        check_error(other.next(), 201, 1, content("Transient", try_again=True) | LATER)
        other.bind('"a"', 2)  # which he has open anyway
        one.send_message(c2s.Unbind(2).encode())
        assert one.next() == s2c.Unbound(2)
        other.send_message(c2s.Unbind(1).encode())
        other.bind('"c"', 3)
    with site.attacker() as another:
        another.bind('"d"')
    assert refused(site, "realms_per_user") == 1


def test_a_user_makes_only_so_many_realms_within_an_hour(site: Site) -> None:
    login = log_in(site.port)
    for number in range(5):
        with site.attacker(login=login) as client:
            client.bind(f'"new {number}"')
    with site.attacker(login=login) as client:
        client.send_message(c2s.Bind(1, '"new 5"', "", True).encode())
        check_error(client.next(), 201, 1, content("Transient", try_again=True) | LATER)
        client.bind('"new 4"', 2)
    assert not (site.process.root / "user_data/__partition/my-app/string-new 5.realm").exists()
    with site.attacker() as another:
        another.bind('"new 5"')
    assert refused(site, "new_realms_per_user") == 1


# Memory


def test_a_message_over_the_limit_is_refused_by_close_code(site: Site) -> None:
    with site.attacker() as client:
        client.join(SHARED)
        client.send_frame(BINARY, b"", declared=18 * MEBIBYTE)
        messages, closed = client.to_the_end()
    assert (messages, closed.code) == ([], 1009)
    assert refused(site, "message_size") > 0


def test_of_those_who_leave_messages_unfinished_the_oldest_go(site: Site) -> None:
    before = refused(site, "receive_buffer")
    part = frame(BINARY, bytes(6 * MEBIBYTE), declared=16 * MEBIBYTE)
    with ExitStack() as stack:
        holders: list[RawSync] = []
        for _ in range(4):
            holder = stack.enter_context(site.attacker())
            holder.socket.sendall(part)
            holders.append(holder)
        eventually(lambda: _is_closed(holders[0]))
        site.neighbours.talk()
        assert refused(site, "receive_buffer") >= before + 1
        assert figures(site.port)["ros_sync_receiving_bytes"] < 18 * MEBIBYTE
    eventually(lambda: figures(site.port)["ros_sync_receiving_bytes"] == 0)


def test_of_those_who_do_not_read_the_oldest_go(site: Site) -> None:
    with site.attacker() as writer:
        writer.join('"large"')
        body = os.urandom(2 * MEBIBYTE)
        changesets = [new_table(), *(new_object(number, body) for number in range(4))]
        for version, changeset in enumerate(changesets, 2):
            writer.upload([UploadEntry(version, 0, 178_000_000_000, 0, changeset)], UploadCursor(version, 0))
        writer.send_message(c2s.Mark(1, 1).encode())
        writer.expect(s2c.Mark)
    before, memory = refused(site, "download_buffer"), site.forget_peak()
    token = site.login.access_token
    with ExitStack() as stack:
        lazy: list[RawSync] = []
        for _ in range(40):
            client = stack.enter_context(RawSync(site.port, upgrade_request(sync_path(token)), receive_buffer=4096))
            file = client.bind('"large"')
            client.send_message(c2s.Ident(1, file.ident, file.salt).encode())
            lazy.append(client)
        eventually(lambda: refused(site, "download_buffer") >= before + 30)
        site.neighbours.talk()
        assert figures(site.port)["ros_sync_unread_bytes"] <= 17 * MEBIBYTE
        assert site.peak_memory() - memory < (17 + 8 * 2) * MEBIBYTE, "they are gone, and so is what they left unread"
    eventually(lambda: figures(site.port)["ros_sync_unread_bytes"] == 0)


# The disk


def test_below_the_reserve_nothing_is_written_until_there_is_room_again(tmp_path: Path) -> None:
    """On a small filesystem of its own."""
    disk = tmp_path / "data"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("a filesystem can be mounted by root only, and not in every container")
    server = ServerProcess(tmp_path, "limits: {disk_reserve: 16}\n")
    try:
        server.start()
        site = Site(server)
        with site.attacker() as client:
            client.join(SHARED, 7)
            filler = disk / "filler"
            filler.write_bytes(bytes(50 * MEBIBYTE))
            _check_read_only(site)
            filler.unlink()
            eventually(
                lambda: (
                    (_health(site)["problems"] != [] and "reserve" not in str(_health(site)["problems"]))
                    or not _health(site)["problems"]
                )
            )
            client.send_message(c2s.Unbind(7).encode())
        site.neighbours.talk()
        log_in(site.port)
        assert figures(site.port)["ros_sync_disk_read_only"] == 0
        assert "writing goes on" in server.text()
    finally:
        server.kill()
        subprocess.run(["umount", "-l", str(disk)], check=False)


def _health(site: Site) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        ask(site.port, b"GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").body
    )
    return found


def _check_read_only(site: Site) -> None:
    eventually(lambda: "disk_reserve" in str(_health(site)["problems"]))
    assert figures(site.port)["ros_sync_disk_read_only"] == 1
    request = (
        b"POST /api/client/v2.0/app/my-app/auth/providers/anon-user/login HTTP/1.1\r\nHost: h\r\n"
        b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert ask(site.port, request).status == 503
    neighbour = site.neighbours.one
    with site.attacker() as client:  # who is logged in may connect; a new client file would have to be written
        client.send_message(c2s.Bind(1, SHARED, "", True).encode())
        check_error(client.next(), 201, 1, content("Transient", try_again=True) | LATER)
    neighbour.mark()  # reading goes on
    assert refused(site, "disk_reserve") >= 2
