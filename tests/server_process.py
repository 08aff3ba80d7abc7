"""The server as a real process, for tests: started as start-object-server starts it, on free ports of 127.0.0.1."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

TWISTD: Final = Path(sys.executable).parent / "twistd"
REPOSITORY: Final = Path(__file__).resolve().parents[1]

LAST_LINE: Final = "Ctrl-C stops the server."
"""Ends the announcement: the ports are open then."""

PATIENCE: Final = 60.0
"""Seconds for a start or a stop on a busy machine; nothing waits this long where all is well."""


WORKERS: Final = int(os.environ.get("REALMSERVER_TEST_WORKERS", "0"))
"""``performance.workers`` of every server that a test starts and that does not say so itself: so the whole suite may be
run against a server of several processes."""

ONE_PROCESS: Final = ("workers", "upload_backlog")
"""Settings that say something of WORKERS, or are divided among them."""

PORTS: Final = range(15_000, 32_000)
"""Below those that systems give to the outgoing connections of clients. While a server is away, a client that tries to
reach it must neither take its port nor meet itself there."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now, all different."""
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


Section = Mapping[str, Any]
"""A section of the configuration file, as JSON would have it."""


class ServerProcess:
    """A server with its data below ``directory``. Its ports stay the same for every start.

    ``url`` is the base URL for SDKs; ``root`` the data directory; ``output`` the file with all that it printed, log
    included, over all starts. ``settings`` are further lines of its configuration file; ``proxy`` and ``network`` add
    to what it says of these sections, which are there already. ``environment``: variables that it gets besides the
    test's own; ``twistd_options``: what stands before the word realm-object-server.
    """

    def __init__(
        self, directory: Path, settings: str = "", *, proxy: Section | None = None, network: Section | None = None
    ) -> None:
        self.root = directory / "data"
        self.output = directory / "output.txt"
        self.configuration = directory / "configuration.yml"
        self.port, self.https_port, self.sync_port, self.http_port = free_ports(4)
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = settings
        self.proxy: Section = proxy or {}
        self.network: Section = network or {}
        self.environment: dict[str, str] = {}
        self.twistd_options: tuple[str, ...] = ()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started, and has neither been ended nor waited for."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The running server's process."""
        assert self._process is not None
        return self._process.pid

    def start(self, *options: str) -> None:
        """Start it and wait until it listens; AssertionError with its output if it ends instead."""
        listening = self._launch(options)
        assert listening.wait(PATIENCE), f"the server does not say that it runs:\n{self.text()}"
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the server ended with {self._process.returncode}:\n{self.text()}")

    def run(self, *options: str) -> int:
        """Start it where it is expected to end by itself, and return its exit code."""
        self._launch(options)
        return self.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it by a signal and return its exit code."""
        os.kill(self.pid, number)
        return self.wait()

    def kill(self) -> None:
        """End all its processes as a crash of the machine would; nothing happens if it does not run."""
        if self._process is not None:
            for pid in (self.pid, *self._children()):
                with suppress(ProcessLookupError):  # a start that failed
                    os.kill(pid, signal.SIGKILL)
            self.wait()

    def kill_front(self) -> None:
        """End the process that was started, and leave its workers to themselves."""
        assert self._process is not None
        process, self._process = self._process, None
        process.kill()
        process.wait(PATIENCE)

    def worker_pids(self) -> list[int]:
        """The worker processes, if there are any, the one that was started first first."""
        return [pid for pid in self._children() if not _copies(pid)]

    def restart(self) -> None:
        """Stop it in order and start it again."""
        assert self.stop() == 0
        self.start()

    def wait(self) -> int:
        """The exit code, once it has ended."""
        assert self._process is not None
        assert self._reader is not None
        process, self._process = self._process, None
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            self._reader.join(PATIENCE)

    def text(self) -> str:
        """All output so far."""
        return self.output.read_text() if self.output.exists() else ""

    def _children(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in children.read_text().split()] if children.exists() else []

    def _launch(self, options: tuple[str, ...]) -> threading.Event:
        assert self._process is None, "it runs already"
        proxy: Section = {"http": {"listen_port": self.port}, "https": {"listen_port": self.https_port}}
        network: Section = {"sync": {"listen_port": self.sync_port}, "http": {"listen_port": self.http_port}}
        lines = f"proxy: {_merged(proxy, self.proxy)}\nnetwork: {_merged(network, self.network)}\n"
        self.configuration.write_text(lines + _with_workers(self.settings))
        command = [str(TWISTD), "--nodaemon", "--pidfile=", *self.twistd_options, "realm-object-server", "--allow-root"]
        process = subprocess.Popen(
            [*command, "--default-root", self.root, "--configuration", self.configuration, *options],
            cwd=self._directory,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        listening = threading.Event()

        def read() -> None:
            assert process.stdout is not None
            with self.output.open("ab", buffering=0) as file, process.stdout:
                for line in process.stdout:
                    file.write(line)
                    if line.strip() == LAST_LINE.encode():
                        listening.set()
            process.wait()
            listening.set()  # it has ended: nothing more to wait for

        self._process = process
        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        return listening


def _copies(pid: int) -> bool:
    """Whether the process is one that copies for a follower."""
    try:
        return b"realmserver.backup.sender" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def _with_workers(settings: str) -> str:
    """``settings`` with WORKERS, unless they say something of it or cannot have it."""
    if not WORKERS or any(text in settings for text in ONE_PROCESS):
        return settings
    if "performance: {" in settings:
        return settings.replace("performance: {", f"performance: {{workers: {WORKERS}, ")
    return f"{settings}performance: {{workers: {WORKERS}}}\n"


def _merged(section: Section, changes: Section) -> str:
    """Both in one, as JSON, which YAML includes."""
    merged = dict(section)
    for name, value in changes.items():
        merged[name] = {**merged.get(name, {}), **value} if isinstance(value, Mapping) else value
    return json.dumps(merged, default=str)
