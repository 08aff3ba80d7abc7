"""A real server process: how it starts, what it says, how it ends."""

import http.client
import os
import re
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from server_process import LAST_LINE, PATIENCE, REPOSITORY, TWISTD, ServerProcess, free_ports

from realmserver._build import BUILD
from realmserver._version import __version__

pytestmark = pytest.mark.system


def status(port: int, path: str = "/", host: str = "127.0.0.1") -> int:
    """The HTTP status that the server answers."""
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_it_listens_on_all_its_ports_and_says_where(server_process: ServerProcess) -> None:
    server_process.start()
    ports = (server_process.port, server_process.sync_port, server_process.http_port)
    assert [status(port) for port in ports] == [200, 404, 200]
    # The sync service asks for a WebSocket; where it is not reached, nobody knows the address.
    assert [status(port, "/realm-sync") for port in ports] == [400, 400, 404]
    for port in ports:
        assert f":{port} " in server_process.text()
    if has_ipv6():
        assert status(server_process.port, host="::1") == 200
    text = server_process.text()
    assert f"http://localhost:{server_process.port}" in text
    assert str(server_process.root) in text
    assert "every authenticated user may open every Realm" in text
    assert len(text.splitlines()) < 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(server_process: ServerProcess, number: signal.Signals) -> None:
    server_process.start()
    with socket.create_connection(("127.0.0.1", server_process.port)):
        assert server_process.stop(number) == 0
    assert f"stopping on {number.name}" in server_process.text()
    assert server_process.text().endswith("Stopped.\n")
    assert "Traceback" not in server_process.text()


def test_what_is_secret_is_readable_by_the_owner_only(server_process: ServerProcess) -> None:
    server_process.start()
    root = server_process.root
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert stat.S_IMODE((root / "keys" / "token-signature.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((root / "admin_token.base64").stat().st_mode) == 0o600
    for path in root.rglob("*"):
        if path.suffix != ".pub":
            assert path.stat().st_mode & 0o007 == 0, path


def test_a_second_start_keeps_the_keys_and_the_ports(server_process: ServerProcess) -> None:
    server_process.start()
    files = ["keys/token-signature.key", "keys/token-signature.pub", "admin_token.base64"]
    before = [(server_process.root / name).read_bytes() for name in files]
    server_process.restart()
    assert status(server_process.port) == 200
    server_process.kill()
    server_process.start()
    assert [(server_process.root / name).read_bytes() for name in files] == before
    assert server_process.text().count("made a new key pair") == 1


def test_a_wrong_configuration_is_told_with_file_and_line(server_process: ServerProcess) -> None:
    server_process.settings = "logging:\n  level: loud\nstorrage: {}\n"
    assert server_process.run() == 1
    lines = server_process.text().splitlines()
    assert lines == [
        f"error: {server_process.configuration}:4:10: logging.level: must be one of all, trace, debug, detail, info, "
        "warn, error, fatal, off",
        "      level: loud",
        "             ^",
        f"error: {server_process.configuration}:5:1: storrage: there is no such key; did you mean storage?",
        "    storrage: {}",
        "    ^",
    ]
    assert not server_process.root.exists()


def test_a_taken_port_is_told_with_the_process_that_has_it(server_process: ServerProcess) -> None:
    with socket.create_server(("127.0.0.1", server_process.sync_port)):
        assert server_process.run() == 1
    (line,) = [line for line in server_process.text().splitlines() if line.startswith("error:")]
    port = server_process.sync_port
    assert f": network.sync.listen_port: 127.0.0.1:{port} is taken by " in line
    assert f"(process {os.getpid()}); stop that process" in line
    assert "Traceback" not in server_process.text()
    assert LAST_LINE not in server_process.text()
    server_process.start()


def test_a_data_directory_serves_one_server(server_process: ServerProcess, tmp_path: Path) -> None:
    server_process.start()
    (tmp_path / "other").mkdir()
    other = ServerProcess(tmp_path / "other")
    assert other.run("--root", str(server_process.root)) == 1
    assert "another server" in other.text()
    assert "Traceback" not in other.text()


def test_unusable_keys_are_told(server_process: ServerProcess) -> None:
    server_process.start()
    server_process.stop()
    (server_process.root / "keys" / "token-signature.pub").write_text("rubbish")
    server_process.output.unlink()
    assert server_process.run() == 1
    (line,) = server_process.text().splitlines()
    told = f"error: auth.public_key_path: {server_process.root}/keys/token-signature.pub is not a public key"
    assert line.startswith(told)


def test_a_relative_root_is_below_the_current_directory(server_process: ServerProcess, tmp_path: Path) -> None:
    server_process.start("--root", "here/there")
    assert (tmp_path / "here" / "there" / "admin_token.base64").exists()


def test_the_log_may_go_to_a_file_and_be_rotated(server_process: ServerProcess, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    server_process.settings = f"logging: {{level: debug, path: {log}}}\n"
    server_process.start()
    log.rename(tmp_path / "server.log.1")
    os.kill(server_process.pid, signal.SIGHUP)
    assert server_process.stop() == 0
    assert "stopping on SIGTERM" in log.read_text()
    for line in (tmp_path / "server.log.1").read_text().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z - [a-z]+: [^:]+: ", line), line
    for told in (
        f"info: server: version {__version__} ({BUILD}), log level debug\n",
        f"info: server: proxy.http listening on [::]:{server_process.port}\n",
        "warn: server: In this version every authenticated user may open every Realm.\n",
        "info: server: ready\n",
    ):
        assert told in (tmp_path / "server.log.1").read_text()
    assert "server: ready" not in server_process.text()


def test_a_configuration_can_be_checked_without_a_start(server_process: ServerProcess) -> None:
    assert server_process.run("--check-configuration", str(server_process.configuration)) == 0
    assert server_process.text() == f"{server_process.configuration}: the configuration is valid\n"
    server_process.settings = "proxy: {}\n"
    assert server_process.run("--check-configuration", str(server_process.configuration)) == 1
    assert f"{server_process.configuration}:3:1: proxy: given twice" in server_process.text()
    assert not server_process.root.exists()


def test_a_running_server_does_not_disturb_the_check_of_its_configuration(server_process: ServerProcess) -> None:
    server_process.start()
    command = [str(TWISTD), "realm-object-server", "--default-root", str(server_process.root)]
    ended = subprocess.run(
        [*command, "--check-configuration", str(server_process.configuration)],
        timeout=PATIENCE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_it_also_runs_as_a_daemon(server_process: ServerProcess, tmp_path: Path) -> None:
    server_process.start()  # writes the configuration
    server_process.stop()
    command = [str(TWISTD), "--pidfile=server.pid", "realm-object-server", "--allow-root"]
    started = subprocess.run(
        [*command, "--configuration", "configuration.yml", "--root", "data"],
        cwd=tmp_path,
        timeout=PATIENCE,
        check=False,
    )
    assert started.returncode == 0
    pid = int((tmp_path / "server.pid").read_text())
    try:
        assert status(server_process.port) == 200
    finally:
        os.kill(pid, signal.SIGTERM)
    assert "every authenticated user may open every Realm" in (tmp_path / "twistd.log").read_text()


def test_a_daemon_that_cannot_start_says_why(server_process: ServerProcess, tmp_path: Path) -> None:
    """What only shows when it starts: here, that another server has the data."""
    server_process.start()
    ports = free_ports(3)
    (tmp_path / "d.yml").write_text(
        "proxy: {{http: {{listen_port: {}}}}}\n"
        "network: {{sync: {{listen_port: {}}}, http: {{listen_port: {}}}}}\n".format(*ports)
    )
    options = [f"--root={server_process.root}", "--configuration=d.yml"]
    ended = subprocess.run(
        [str(TWISTD), "--pidfile=server.pid", "--logfile=d.log", "realm-object-server", "--allow-root", *options],
        cwd=tmp_path,
        timeout=PATIENCE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "Please look at log file" in ended.stderr
    (line,) = (tmp_path / "d.log").read_text().splitlines()
    assert "fatal: server: " in line
    assert f"another server (process {server_process.pid}) uses this data directory" in line
    assert not (tmp_path / "server.pid").exists()


def test_a_stale_admin_token_is_told(server_process: ServerProcess) -> None:
    server_process.start()
    server_process.stop()
    for path in (server_process.root / "keys").iterdir():
        path.unlink()
    server_process.start()
    (line,) = [line for line in server_process.text().splitlines() if "admin_token.base64 does not fit" in line]
    assert " - warn: server: " in line


def test_the_start_script_serves_from_any_directory(server_process: ServerProcess, tmp_path: Path) -> None:
    if not (REPOSITORY / ".venv" / ".runtime-installed").exists():
        pytest.skip("run-tests has not prepared .venv: the script would install it first")
    server_process.start()  # writes the configuration with the free ports, and the keys
    assert server_process.stop() == 0
    process = subprocess.Popen(
        [REPOSITORY / "start-object-server", "--allow-root", "--configuration", "configuration.yml", "--root", "data"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.strip() == LAST_LINE:
                process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0, "".join(lines)
    assert any(str(tmp_path / "data") in line for line in lines)
    assert not any("installing" in line.lower() for line in lines), "nothing is installed twice"


def test_an_old_python_is_told_and_leaves_nothing_behind(tmp_path: Path) -> None:
    for name in (
        "tools/environment",
        "pyproject.toml",
        "requirements.lock",
        "requirements-test.lock",
        "setup.cfg",
        "setup.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    old = tmp_path / "python2"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    ended = subprocess.run(
        ["sh", tmp_path / "tools" / "environment", "runtime"],
        env={**os.environ, "PYTHON": str(old)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == f"error: PYTHON names {old}, which is not Python 3.11 or later.\n"
    assert not (tmp_path / ".venv").exists()
