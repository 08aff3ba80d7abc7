"""The process around the server: who runs it, who watches it, its PID file, and both commands."""

import json
import os
import pwd
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from server_process import LAST_LINE, PATIENCE, ServerProcess

pytestmark = pytest.mark.system

BIN = Path(sys.executable).parent
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who may change the user of a process")


class Supervisor:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: Path) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(address))
        self._socket.settimeout(PATIENCE)

    def next(self) -> list[str]:
        """What is said next, the watchdog's food apart."""
        while True:
            lines = self._socket.recv(4096).decode().split("\n")
            if lines != ["WATCHDOG=1"]:
                return lines

    def wait_for_watchdog(self) -> None:
        while self._socket.recv(4096) != b"WATCHDOG=1":
            pass


def test_a_supervisor_hears_of_start_reload_and_stop(server_process: ServerProcess, tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "notify")
    server_process.environment = {"NOTIFY_SOCKET": str(supervisor.address), "WATCHDOG_USEC": "200000"}
    server_process.start()
    ports = f"{server_process.port}, {server_process.sync_port}, {server_process.http_port}"
    ready = ["READY=1", f"STATUS=Listening on {ports}"]
    assert supervisor.next() == ready
    supervisor.wait_for_watchdog()
    os.kill(server_process.pid, signal.SIGHUP)
    assert supervisor.next()[0] == "RELOADING=1"
    assert supervisor.next() == ready
    assert server_process.stop() == 0
    assert supervisor.next()[0] == "STOPPING=1"


def run_to_its_end(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False)


@AS_ROOT
def test_root_is_refused_by_both_commands(tmp_path: Path) -> None:
    for command in ((BIN / "realm-object-server",), (BIN / "twistd", "-n", "--pidfile=", "realm-object-server")):
        ended = run_to_its_end(*command, "--root", tmp_path / "data", cwd=tmp_path)
        assert ended.returncode == 1
        assert ended.stderr.startswith("error: the server does not run as root")
        assert "Traceback" not in ended.stderr
    assert not (tmp_path / "data").exists()


@AS_ROOT
def test_root_opens_the_ports_and_the_log_and_then_becomes_another_user(server_process: ServerProcess) -> None:
    nobody = pwd.getpwnam("nobody")
    server_process.settings = f"logging: {{path: {server_process.root.parent}/log/server.log}}\n"
    for directory in (server_process.root, server_process.root.parent / "log"):
        directory.mkdir()
    for directory in (server_process.root, *server_process.root.parents):
        directory.chmod(directory.stat().st_mode | 0o011)  # pytest's own directories are closed to others
    os.chown(server_process.root, nobody.pw_uid, nobody.pw_gid)
    server_process.twistd_options = (f"--uid={nobody.pw_uid}", f"--gid={nobody.pw_gid}")
    server_process.start()
    status = Path(f"/proc/{server_process.pid}/status").read_text()
    (uids,) = [line.split()[1:] for line in status.splitlines() if line.startswith("Uid:")]
    assert set(uids) == {str(nobody.pw_uid)}
    for path in (*server_process.root.rglob("*"), server_process.root.parent / "log" / "server.log"):
        assert path.stat().st_uid == nobody.pw_uid, path
    assert server_process.stop() == 0


def test_the_command_stays_in_the_foreground_or_leaves_a_pid_file(
    server_process: ServerProcess, tmp_path: Path
) -> None:
    server_process.start()  # writes the configuration with the free ports, and the keys
    assert server_process.stop() == 0
    options: list[str | Path] = ["--allow-root", "-c", server_process.configuration, "--root", server_process.root]
    with subprocess.Popen([BIN / "realm-object-server", *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == LAST_LINE:
                process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    pid_file = tmp_path / "server.pid"
    background = [BIN / "realm-object-server", *options, "--daemon", "--pidfile", pid_file]
    assert run_to_its_end(*background, cwd=tmp_path).returncode == 0
    pid = int(pid_file.read_text())
    try:
        again = run_to_its_end(*background, cwd=tmp_path)
        assert again.returncode == 1
        assert "running" in again.stdout + again.stderr
    finally:
        end(pid)
    assert not pid_file.exists()


def end(pid: int) -> None:
    """Stop a process that is not our child, and wait until it is gone."""
    watch = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGTERM)
        assert select.select([watch], [], [], PATIENCE)[0], "the process does not end"
    finally:
        os.close(watch)


def test_a_log_for_programs_is_alone_on_the_standard_output(server_process: ServerProcess, tmp_path: Path) -> None:
    server_process.settings = "logging: {format: json}\n"
    assert server_process.run("--check-configuration", str(server_process.configuration)) == 0  # writes it, too
    options = ["--allow-root", "-c", str(server_process.configuration), "--root", str(tmp_path / "data")]
    with subprocess.Popen([BIN / "realm-object-server", *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        messages = []
        for line in process.stdout:
            event = json.loads(line)
            messages.append(f"{event['level']}: {event['message']}")
            if event["message"] == "ready":
                process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert f"info: network.sync listening on 127.0.0.1:{server_process.sync_port}" in messages
    assert "warn: In this version every authenticated user may open every Realm." in messages
    assert messages[-1] == "info: stopped"


def test_keys_that_realm_admin_makes_are_the_servers(server_process: ServerProcess, tmp_path: Path) -> None:
    made = run_to_its_end(BIN / "realm-admin", "keys", "generate", "keys", cwd=tmp_path)
    assert made.returncode == 0
    pair = [
        "--public-key",
        str(tmp_path / "keys" / "token-signature.pub"),
        "--private-key",
        str(tmp_path / "keys" / "token-signature.key"),
    ]
    server_process.start(*pair)
    assert "made a new key pair" not in server_process.text()
    token = run_to_its_end(BIN / "realm-admin", "token", *pair, cwd=tmp_path).stdout
    assert token == (server_process.root / "admin_token.base64").read_text()
