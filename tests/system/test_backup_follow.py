"""Continuous backup: a follower beside a server under load, both killed again and again; then the target takes over."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import lmdb
import pytest
from faults.shim import wait_for
from promtool import figures
from raw_sync import RawSocket, UpgradeFailed, ask, log_in, register
from server_process import PATIENCE, ServerProcess, free_ports
from sync_neighbours import GoodClient, new_object, new_table
from test_backup import load, run

from realmserver.backup import frames
from realmserver.backup.frames import FrameReader, frame
from realmserver.realms.idle_work import FOLD_DELAY
from realmserver.store.records import unpack_head

pytestmark = pytest.mark.system

BIN: Final = Path(sys.executable).parent
KILLS: Final = 12
LATEST: Final = 0.7
"""Seconds after which one of the two is killed at the latest."""


TWO_WORKERS: Final = "performance: {workers: 2}\n"

with_or_without_workers = pytest.mark.parametrize("settings", ["", TWO_WORKERS], ids=["one process", "workers"])


@pytest.fixture
def settings() -> str:
    """Further lines of the server's configuration."""
    return ""


@pytest.fixture
def source(server_process: ServerProcess, settings: str) -> tuple[ServerProcess, int]:
    """A running server with a backup listener, and its port."""
    (port,) = free_ports(1)
    server_process.settings = f"{settings}backup: {{enable: true, network: {{listen_port: {port}}}}}\n"
    server_process.start()
    return server_process, port


class Follower:
    """A follower as a process."""

    def __init__(self, server: ServerProcess, port: int, target: Path) -> None:
        self.target = target
        self.output = target.with_suffix(".txt")
        self._command = [
            str(BIN / "realm-backup"), "--follow", f"127.0.0.1:{port}",
            "--token", str(server.root / "admin_token.base64"), str(target),
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._before = 0

    def start(self) -> None:
        self._before = self.output.stat().st_size if self.output.exists() else 0
        with self.output.open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=out)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(PATIENCE)

    def ended(self) -> int:
        assert self._process is not None
        return self._process.wait(PATIENCE)

    def text(self) -> str:
        """What it has said since it was started last."""
        return self.output.read_bytes()[self._before :].decode()


@contextmanager
def following(server: ServerProcess, port: int, target: Path) -> Iterator[Follower]:
    follower = Follower(server, port, target)
    follower.start()
    try:
        yield follower
    finally:
        follower.stop(signal.SIGKILL)


def metric(server: ServerProcess, name: str) -> float:
    answer = ask(server.port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    return figures(answer.body)[name]


def wait_until_in_step(server: ServerProcess, realms: int, follower: Follower) -> None:
    """Wait until the follower has everything, as the server sees it."""
    end = time.monotonic() + PATIENCE
    while True:
        found = len(list((follower.target / "user_data").rglob("*.realm"))) if follower.target.exists() else 0
        is_here = metric(server, "ros_sync_backup_followers") == 1
        if found == realms and is_here and metric(server, "ros_sync_backup_lag_commits") == 0:
            text = follower.text().splitlines()
            if any("in step" in line for line in text) and "copied" not in text[-1]:
                return
        assert time.monotonic() < end, f"it does not get in step:\n{follower.text()}\n{server.text()[-3000:]}"
        time.sleep(0.1)


def fail_over(server: ServerProcess, target: Path) -> None:
    """The target takes the place of the data directory."""
    server.kill()
    server.root = target
    server.settings = ""
    server.start()


@with_or_without_workers
def test_the_target_is_a_server_that_goes_on_where_the_other_ended(
    source: tuple[ServerProcess, int], tmp_path: Path
) -> None:
    server, port = source
    account = ("user@example.com", "correct horse")
    target = tmp_path / "target"
    with following(server, port, target) as follower, load(server.port) as writers:
        register(server.port, *account)
        time.sleep(2)
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join(PATIENCE)
        wait_until_in_step(server, len(writers), follower)
        assert follower.stop() == 0
        checked = run("realm-admin", "verify", target)
        assert (checked.returncode, checked.stderr) == (0, "")
        fail_over(server, target)
        for writer in writers:
            # The client file of before goes on without an error: nothing that was acknowledged is lost.
            reader = GoodClient(server.port, writer.login, writer.path)
            assert [entry.changeset for entry in reader.log.values()] == writer.client.written
            reader.write(new_object(reader.version + 1000))
            reader.close()
    assert "copied system" in follower.text()


def test_killed_and_resumed_many_times_the_target_is_whole_every_time(
    source: tuple[ServerProcess, int], tmp_path: Path
) -> None:
    server, port = source
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    login = log_in(server.port)
    paths = [f'"realm {number}"' for number in range(3)]
    target = tmp_path / "target"
    counts = dict.fromkeys(paths, 0)
    for path in paths:
        client = GoodClient(server.port, login, path)
        client.write(new_table())
        client.close()
    for number in range(KILLS):
        follower = Follower(server, port, target)
        follower.start()
        stopping = threading.Event()

        def write(stopping: threading.Event = stopping) -> None:
            clients = {path: GoodClient(server.port, login, path) for path in paths}
            while not stopping.is_set():
                path = rng.choice(paths)
                counts[path] += 1
                try:
                    clients[path].write(new_object(counts[path]))
                except AssertionError:
                    return  # the server is gone

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        time.sleep(0.8 + rng.uniform(0, LATEST))
        if number % 4 == 3:
            server.kill()
            stopping.set()
            writer.join(PATIENCE)
            follower.stop(signal.SIGKILL)
            server.start()
        else:
            follower.stop(signal.SIGKILL)
            stopping.set()
            writer.join(PATIENCE)
        if number % 5 == 4 and (target / "user_data").exists():
            checked = run("realm-admin", "verify", target)
            assert (checked.returncode, checked.stderr) == (0, ""), f"kill {number}"
    with following(server, port, target) as follower:
        wait_until_in_step(server, len(paths), follower)
    expected = {}
    for path in paths:
        reader = GoodClient(server.port, login, path)
        expected[path] = [(entry.server_version, entry.changeset) for entry in reader.log.values()]
        reader.close()
    fail_over(server, target)
    for path in paths:
        reader = GoodClient(server.port, login, path)
        assert [(entry.server_version, entry.changeset) for entry in reader.log.values()] == expected[path]
        reader.close()
    checked = run("realm-admin", "verify", target)
    assert (checked.returncode, checked.stderr) == (0, "")


def newest_versions(root: Path) -> dict[str, int]:
    """Of all Realms below ``root``, as far as they can be read now."""
    found = {}
    for file in (root / "user_data").rglob("data.mdb"):
        with (
            suppress(lmdb.Error),
            lmdb.open(str(file.parent), readonly=True, lock=False, max_dbs=8) as env,
            env.begin(db=env.open_db(b"meta", create=False)) as txn,
        ):
            found[file.parent.name] = unpack_head(txn.get(b"head") or b"", bytes(16)).version
    return found


class Scribe(threading.Thread):
    """Writes to one Realm until ``stopping``, and comes again after each end of its connection."""

    def __init__(self, port: int, path: str) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.login = log_in(port)
        self.stopping = threading.Event()
        self.written = 0
        self._port = port
        client = GoodClient(port, self.login, path)
        client.write(new_table())
        client.close()

    def run(self) -> None:
        client: GoodClient | None = None
        number = 0
        while not self.stopping.is_set():
            number += 1
            try:
                client = client or GoodClient(self._port, self.login, self.path)
                client.write(new_object(number))
                self.written += 1
            except (AssertionError, OSError, UpgradeFailed):  # its worker is gone
                client = None

    def wait_for_more(self) -> None:
        until, end = self.written + 5, time.monotonic() + PATIENCE
        while self.written < until:
            assert time.monotonic() < end, f"nothing more can be written to {self.path}"
            time.sleep(0.02)


@pytest.mark.parametrize("settings", [TWO_WORKERS], ids=["workers"])
def test_the_target_lacks_nothing_although_workers_die(source: tuple[ServerProcess, int], tmp_path: Path) -> None:
    server, port = source
    target = tmp_path / "target"
    scribes = [Scribe(server.port, f'"realm {number}"') for number in range(4)]  # of both workers
    with following(server, port, target) as follower:
        wait_until_in_step(server, len(scribes), follower)
        for scribe in scribes:
            scribe.start()
        for number in range(6):
            for scribe in scribes:
                scribe.wait_for_more()
            wait_for(lambda: len(server.worker_pids()) == 2, "two workers")
            os.kill(server.worker_pids()[number % 2], signal.SIGKILL)
        for scribe in scribes:
            scribe.wait_for_more()
            scribe.stopping.set()
        for scribe in scribes:
            scribe.join(PATIENCE)
        wait_for(lambda: newest_versions(target) == newest_versions(server.root), "target that has everything")
        assert "has ended, and may not have told of its last commits" in server.text()
        assert follower.stop() == 0
    logs = []
    for _ in range(2):
        readers = [GoodClient(server.port, scribe.login, scribe.path) for scribe in scribes]
        logs.append([{version: entry.changeset for version, entry in reader.log.items()} for reader in readers])
        for reader in readers:
            reader.close()
        if len(logs) == 1:
            fail_over(server, target)
    assert logs[1] == logs[0]
    assert all(len(log) > scribe.written for log, scribe in zip(logs[0], scribes, strict=True))


def wait_until_still(root: Path) -> None:
    """Until the stored values of all Realms have followed their logs: nothing is written any more."""
    files = list((root / "user_data").rglob("data.mdb"))
    end = time.monotonic() + PATIENCE
    seen, since = [0], time.monotonic()
    while time.monotonic() - since < 2 * FOLD_DELAY:
        assert time.monotonic() < end, "the server does not stop writing"
        found = [file.stat().st_mtime_ns for file in files]
        if found != seen:
            seen, since = found, time.monotonic()
        time.sleep(0.1)


def test_what_has_not_changed_is_not_copied_again(source: tuple[ServerProcess, int], tmp_path: Path) -> None:
    server, port = source
    login = log_in(server.port)
    one, other = (GoodClient(server.port, login, f'"{name}"') for name in "ab")
    one.write(new_table())
    other.write(new_table())
    target = tmp_path / "target"
    with following(server, port, target) as follower:
        wait_until_in_step(server, 2, follower)
        assert follower.text().count("copied user_data") == 2
        one.write(new_object(1))
        wait_until_in_step(server, 2, follower)
        assert follower.text().count("copied user_data") == 2, "a commit is no reason for a copy"
        wait_until_still(server.root)
        wait_until_in_step(server, 2, follower)
        follower.stop()
    one.write(new_object(2))
    with following(server, port, target) as follower:
        wait_until_in_step(server, 2, follower)
        assert follower.text().count("copied user_data") == 1
    one.close()
    other.close()


def test_nobody_is_let_in_without_the_admin_token(source: tuple[ServerProcess, int], tmp_path: Path) -> None:
    server, port = source
    (tmp_path / "token").write_text(log_in(server.port).access_token)
    follower = Follower(server, port, tmp_path / "target")
    follower._command[4] = str(tmp_path / "token")
    follower.start()
    assert follower.ended() == 1
    assert "ERROR: " in follower.text()
    assert not (tmp_path / "target" / "user_data").exists() or not list((tmp_path / "target" / "user_data").iterdir())
    for data in (b"GET / HTTP/1.1\r\n\r\n", frame(frames.HAVE, {}), b"\xff" * 100, frame(frames.HELLO, [])):
        with RawSocket(port) as stranger:
            stranger.send(data)
            stranger.end_sending()
            assert stranger.read_all() == b""


def test_followers_may_have_a_log_of_their_own(server_process: ServerProcess, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    path = tmp_path / "backup.log"
    server_process.settings = (
        f"backup: {{enable: true, network: {{listen_port: {port}}}, logging: {{level: warn, path: {path}}}}}\n"
    )
    server_process.start()
    with following(server_process, port, tmp_path / "target") as follower:
        wait_until_in_step(server_process, 0, follower)
    with RawSocket(port) as stranger:
        stranger.send(frame(frames.HELLO, {"protocol": 1, "token": "none"}))
        while stranger.read(1):
            pass
    (line,) = path.read_text().splitlines()
    assert " - warn: backup: follower 127.0.0.1 is refused: " in line
    assert "backup: follower" not in server_process.text()


def test_a_follower_that_does_not_read_is_sent_away_and_nobody_waits_for_it(
    source: tuple[ServerProcess, int], tmp_path: Path
) -> None:
    server, port = source
    token = (server.root / "admin_token.base64").read_text()
    client = GoodClient(server.port, log_in(server.port))
    client.write(new_table())
    with RawSocket(port, receive_buffer=4096) as lazy:
        lazy.send(frame(frames.HELLO, {"protocol": 1, "token": token}) + frame(frames.HAVE, {}))
        reader = FrameReader()
        kinds: set[int] = set()
        while frames.END not in kinds or frames.STATUS not in kinds:
            kinds |= {kind for kind, _, _ in reader.feed(lazy.socket.recv(65536))}
        for number in range(1, 40):
            client.write(new_object(number))
        assert metric(server, "ros_sync_backup_lag_commits") > 30
    client.close()


def test_a_target_in_use_is_refused_and_so_is_a_foreign_one(source: tuple[ServerProcess, int], tmp_path: Path) -> None:
    server, port = source
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    foreign = Follower(server, port, tmp_path / "full")
    foreign.start()
    assert foreign.ended() == 1
    assert foreign.text() == f"ERROR: {tmp_path / 'full'} is not empty.\n"
    with following(server, port, tmp_path / "target") as follower:
        wait_until_in_step(server, 0, follower)
        second = Follower(server, port, tmp_path / "target")
        second.output = tmp_path / "second.txt"
        second.start()
        assert second.ended() == 1
        assert "uses this data directory" in second.text()
