"""A server of several processes: to clients it is one, whichever of them dies."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from faults.run import LoadEnded, Run, one_line
from faults.shim import require_shim, wait_for
from promtool import figures
from raw_sync import RawSync, ask, log_in, sync_path, upgrade_request
from running_reactor import reactor, run
from server_process import ServerProcess
from sync_verdicts import check_error, content
from test_limits import LATER

from realmserver.client.app import App, partition
from realmserver.client.connection import Client
from realmserver.client.synced import SyncedRealm
from realmserver.net.relay import owner_of
from realmserver.realms.paths import partition_realm
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c

pytestmark = pytest.mark.system

APP = "my-app"
TWO_WORKERS = "performance: {workers: 2}\n"
REALMS = 6
LOAD = {"clients": 12, "realms": 4, "seed": 8, "pause": 0.1}


def owner(name: str) -> int:
    return owner_of(partition_realm(APP, partition(name)), 2)


def names(worker: int, count: int = 1) -> list[str]:
    """Names of partitions that are ``worker``'s."""
    return [name for name in (f"realm {number}" for number in range(50)) if owner(name) == worker][:count]


NAMES = names(0, REALMS // 2) + names(1, REALMS // 2)


@pytest.fixture
def server(server_process: ServerProcess) -> ServerProcess:
    server_process.settings = TWO_WORKERS
    server_process.start()
    return server_process


def of(server: ServerProcess) -> dict[str, float]:
    answer = ask(server.port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.status == 200
    return figures(answer.body)


def are_gone(pids: list[int]) -> bool:
    """Whether the processes have ended; nobody may have taken note of it yet."""
    return all(not path.exists() or ") Z " in path.read_text() for path in (Path(f"/proc/{pid}/stat") for pid in pids))


class Device:
    """One client with all Realms open on one connection."""

    def __init__(self) -> None:
        self.client: Client
        self.realms: dict[str, SyncedRealm] = {}

    async def open(self, server: ServerProcess) -> None:
        user = await App(reactor, server.url, APP).login_anonymous()
        self.client = Client(reactor, user, delays=lambda _: 0.2)
        self.realms = {name: self.client.open(partition(name)) for name in NAMES}
        await self.downloaded()

    def write(self, name: str, number: int) -> None:
        with self.realms[name].write() as tx:
            tx.add_class("Dog", "_id", "int")
            tx.create("Dog", number)

    async def uploaded(self) -> None:
        for realm in self.realms.values():
            await realm.uploaded()

    async def downloaded(self) -> None:
        for realm in self.realms.values():
            await realm.downloaded()

    def dogs(self, name: str) -> set[object]:
        return {key[1] for key in self.realms[name].values.objects("Dog")}


async def write_and_compare(server: ServerProcess) -> None:
    one, other = Device(), Device()
    for device in (one, other):
        await device.open(server)
    for number, device in enumerate((one, other)):
        for name in NAMES:
            device.write(name, number)
        await device.uploaded()
    for device in (one, other):
        await device.downloaded()
        assert {name: device.dogs(name) for name in NAMES} == {name: {0, 1} for name in NAMES}
    assert of(server)["ros_sync_connection_online"] == 2, "all Realms of a device are on one connection"
    assert of(server)["ros_sync_session_online"] == 2 * REALMS
    for device in (one, other):
        await device.client.close()


def test_realms_of_all_workers_sync_over_one_connection_and_are_counted_together(server: ServerProcess) -> None:
    assert len(server.worker_pids()) == 2
    run(write_and_compare(server))
    found = of(server)
    assert found["ros_workers"] == 2
    assert found["ros_sync_session_started_total"] == found["ros_sync_session_terminated_total"] == 2 * REALMS
    assert found["ros_sync_connection_started_total"] == 2
    assert found["ros_sync_changeset_integrated_total"] == 2 * REALMS
    assert found["ros_sync_conn_term_end_of_input_total"] == 2
    assert server.stop() == 0


async def outlive(server: ServerProcess) -> None:
    device, untouched = Device(), Device()
    await device.open(server)
    user = await App(reactor, server.url, APP).login_anonymous()
    untouched.client = Client(reactor, user)
    (name,) = names(1)
    untouched.realms = {name: untouched.client.open(partition(name))}
    await untouched.downloaded()
    os.kill(server.worker_pids()[0], signal.SIGKILL)  # worker 0
    untouched.write(name, 1)
    await untouched.uploaded()
    for each in NAMES:
        device.write(each, 0)
    await device.uploaded()
    await untouched.downloaded()
    assert untouched.dogs(name) == {0, 1}
    found = of(server)
    assert found["ros_workers"] == 2
    assert found["ros_worker_restarts_total"] == 1
    assert found["ros_sync_conn_term_error_of_unexpected_category_total"] == 1, "the one that had Realms of worker 0"
    await device.client.close()
    await untouched.client.close()


def test_a_worker_that_is_killed_comes_back_and_the_realms_of_others_go_on(server: ServerProcess) -> None:
    run(outlive(server))
    assert "worker 0 has ended by itself: signal SIGKILL" in server.text()


@pytest.fixture
def hasty_server(server_process: ServerProcess) -> ServerProcess:
    """Its clock is fast (``hasty/sitecustomize.py``): a minute is two seconds, which a busy machine may well take away
    from any worker."""
    server_process.settings = f"{TWO_WORKERS}limits: {{idle_timeout: 3600}}\n"
    server_process.environment["PYTHONPATH"] = str(Path(__file__).parent / "hasty")
    server_process.start()
    return server_process


async def outlive_one_that_hangs(server: ServerProcess) -> None:
    device = Device()
    await device.open(server)
    hung = server.worker_pids()[0]
    os.kill(hung, signal.SIGSTOP)
    for each in NAMES:
        device.write(each, 0)
    await device.uploaded()
    assert hung not in server.worker_pids()
    found = of(server)
    assert found["ros_worker_kills_total"] >= 1
    assert found["ros_worker_restarts_total"] >= 1
    await device.client.close()


def test_a_worker_that_hangs_is_killed_and_comes_back(hasty_server: ServerProcess) -> None:
    run(outlive_one_that_hangs(hasty_server))
    text = hasty_server.text()
    assert "worker 0 has not answered for 60 seconds: it is killed" in text
    assert "worker 0 has ended since it was killed. Its clients come again by themselves" in text


def test_a_worker_that_does_not_stop_does_not_keep_the_server_from_it(hasty_server: ServerProcess) -> None:
    workers = hasty_server.worker_pids()
    os.kill(workers[1], signal.SIGSTOP)
    assert hasty_server.stop() == 0
    assert are_gone(workers)
    assert "worker 1 has not come to its end within 15 seconds: it is killed" in hasty_server.text()


@contextmanager
def under_load(directory: Path) -> Iterator[Run]:
    """Clients at work with a server of two workers; whatever happens to it, nothing is to be lost or doubled."""
    require_shim()
    with Run(directory) as load:
        load.server.settings = TWO_WORKERS
        load.begin(**LOAD)
        yield load
        verdict = load.verdict()
        print(verdict)
        assert verdict.problems == [], one_line(verdict)


def test_what_was_acknowledged_outlives_workers_that_die_under_load(tmp_path: Path) -> None:
    with under_load(tmp_path) as load:
        try:
            for number in range(4):
                os.kill(load.server.worker_pids()[number % 2], signal.SIGKILL)
                load.load.wait_for_more(20)
        except LoadEnded as error:
            print(error)


def test_after_a_front_that_was_killed_a_server_may_start_at_once(tmp_path: Path) -> None:
    with under_load(tmp_path) as load:
        for _ in range(2):
            workers = load.server.worker_pids()
            load.server.kill_front()
            load.server.start()
            assert are_gone(workers), "nobody else had the Realms when they were opened"
            load.load.wait_for_more(20)


def test_a_stop_under_load_waits_for_the_workers(tmp_path: Path) -> None:
    with under_load(tmp_path) as load:
        for _ in range(2):
            workers = load.server.worker_pids()
            assert load.server.stop() == 0
            assert are_gone(workers)
            load.server.start()
            load.load.wait_for_more(20)
    assert "ended by itself" not in load.server.text()


def test_what_a_user_may_have_is_counted_over_all_workers(server_process: ServerProcess) -> None:
    server_process.settings = f"{TWO_WORKERS}limits: {{realms_per_user: 3, new_realms_per_user: 4}}\n"
    server_process.start()
    port, login = server_process.port, log_in(server_process.port)
    paths = [partition(name) for name in (*names(0, 4), *names(1, 4))]
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(RawSync(port, upgrade_request(sync_path(login.access_token)))) for _ in range(2)
        )
        one.bind(paths[0], 1)
        one.bind(paths[4], 2)
        other.bind(paths[5], 1)
        for path in (paths[1], paths[6]):
            other.send_message(c2s.Bind(2, path, "", True).encode())
            check_error(other.next(), 201, 2, content("Transient", try_again=True) | LATER)
            other.send_message(c2s.Unbind(2).encode())
        other.bind(paths[0], 3)
        one.send_message(c2s.Unbind(2).encode())
        assert one.next() == s2c.Unbound(2)
        other.bind(paths[1], 4)
        one.send_message(c2s.Unbind(1).encode())
        assert one.next() == s2c.Unbound(1)
        other.send_message(c2s.Unbind(3).encode())
        assert other.next() == s2c.Unbound(3)
        time.sleep(0.2)  # workers tell each other what was made, a moment later
        one.send_message(c2s.Bind(5, paths[7], "", True).encode())
        check_error(one.next(), 201, 5, content("Transient", try_again=True) | LATER)
        one.send_message(c2s.Unbind(5).encode())
        one.bind(paths[4], 6)
    found = of(server_process)
    assert found['ros_limit_refused_total{limit="realms_per_user"}'] == 2
    assert found['ros_limit_refused_total{limit="new_realms_per_user"}'] == 1


def test_signals_for_all_processes_stop_the_server_in_order(server: ServerProcess) -> None:
    workers = server.worker_pids()
    for pid in workers:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
    time.sleep(0.2)
    assert not are_gone(workers)
    assert server.stop(signal.SIGINT) == 0
    assert are_gone(workers)
    assert "ended by itself" not in server.text()


@pytest.mark.parametrize("by", ["the configuration", "twistd"])
def test_the_log_file_is_everybodys_and_so_is_a_new_one(server_process: ServerProcess, tmp_path: Path, by: str) -> None:
    path = tmp_path / "server.log"
    server_process.settings = f"{TWO_WORKERS}logging: {{level: debug}}\n"
    if by == "twistd":
        server_process.twistd_options = (f"--logfile={path}",)
    else:
        server_process.settings = f"{TWO_WORKERS}logging: {{level: debug, path: {path}}}\n"
    server_process.start()
    wait_for(lambda: path.read_text().count("a worker is there") == 2, "lines of both workers")
    path.rename(tmp_path / "old.log")
    os.kill(server_process.pid, signal.SIGHUP)
    wait_for(lambda: path.exists() and "reloaded on SIGHUP" in path.read_text(), "new log file")
    run(write_and_compare(server_process))
    text = path.read_text()
    for name in (*names(0), *names(1)):
        assert f"bound to Realm {partition_realm(APP, partition(name))}" in text
    assert server_process.stop() == 0


def test_workers_know_no_secrets_and_none_is_on_their_command_line(server: ServerProcess) -> None:
    key = (server.root / "keys" / "token-signature.key").read_text().split("\n")[1]
    for pid in server.worker_pids():
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert key.encode() not in command
        assert str(server.root).encode() not in command
        targets = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]
        assert not [each for each in targets if "/system/" in each or "system.lock" in each]
        assert [each for each in targets if each.endswith("server.lock")]
