"""Servers to measure: real processes with their data in a directory that goes away with them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

PATIENCE: Final = 120.0
"""Seconds for a start."""

HERE: Final = Path(__file__).resolve().parents[1]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now, all different."""
    with closing_all([socket.create_server(("127.0.0.1", 0)) for _ in range(count)]) as servers:
        return [server.getsockname()[1] for server in servers]


@contextmanager
def closing_all(sockets: list[socket.socket]) -> Iterator[list[socket.socket]]:
    try:
        yield sockets
    finally:
        for each in sockets:
            each.close()


class Launched:
    """A server's process, started when this is made. What it prints goes to ``output.txt`` in ``directory``. ``begun``:
    what time.perf_counter said. ``environment``: variables besides this process's own; ``stop``: what ends it."""

    def __init__(
        self,
        command: Sequence[str | Path],
        directory: Path,
        *,
        environment: Mapping[str, str] | None = None,
        working_directory: Path | None = None,
        stop: signal.Signals = signal.SIGTERM,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._stop = stop
        self._output = (directory / "output.txt").open("wb")
        self.begun: float = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=working_directory,
        )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def stop(self) -> None:
        """Stop it in order."""
        self._process.send_signal(self._stop)
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._output.close()

    def wait_for(self, port: int, path: str, subprotocol: str) -> None:
        """Until it lets a WebSocket in: ports may be open before anything is accepted."""
        head = (
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        )
        answer = b""
        while time.perf_counter() < self.begun + PATIENCE and self._process.poll() is None:
            try:
                with closing(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)) as probe:
                    probe.sendall(head.encode())
                    answer = probe.recv(1000)
                    if answer.startswith(b"HTTP/1.1 101"):
                        return
            except ConnectionError:
                pass
            time.sleep(0.002)
        self._process.kill()
        output = Path(self._output.name).read_text(errors="replace")
        raise SystemExit(f"the server did not start; it answers {answer!r} and says:\n{output}")


class Server:
    """This server, running. ``ports``: proxy, sync service, http service; ``started_in``: seconds from the start of the
    process to the first WebSocket that it let in.

    ``settings`` replaces what its configuration file says of the ports of the services; ``sections`` is added to it.
    ``python`` and ``checkout``: the interpreter and the sources to use, this process's own unless told otherwise.
    """

    def __init__(
        self,
        directory: Path,
        settings: str = "",
        *,
        sections: Mapping[str, object] | None = None,
        python: Path = Path(sys.executable),
        checkout: Path = HERE,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.ports: list[int] = free_ports(3)
        proxy, sync, http = self.ports
        configuration = directory / "configuration.yml"
        base: dict[str, object] = {
            "storage": {"root_path": str(directory / "data")},
            "proxy": {"http": {"listen_address": "127.0.0.1", "listen_port": proxy}},
        }
        if not settings:
            base["network"] = {"sync": {"listen_port": sync}, "http": {"listen_port": http}}
        content = merged(base, sections or {})
        configuration.write_text(
            settings + "".join(f"{name}: {json.dumps(section)}\n" for name, section in content.items())
        )
        twistd = python.parent / "twistd"
        options = ["--allow-root", "--configuration", str(configuration.resolve())]
        self.process = Launched(
            [twistd, "--nodaemon", "--pidfile=", "realm-object-server", *options],
            directory,
            working_directory=checkout,
        )
        self.process.wait_for(proxy, "/realm-sync", "com.mongodb.realm-sync#10")
        self.started_in: float = time.perf_counter() - self.process.begun

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    def stop(self) -> None:
        """Stop it in order."""
        self.process.stop()


def merged(base: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Both in one; ``changes`` win where both say something."""
    result = dict(base)
    for name, value in changes.items():
        before = result.get(name)
        is_section = isinstance(before, Mapping) and isinstance(value, Mapping)
        result[name] = merged(before, value) if is_section else value  # type: ignore[arg-type]
    return result


@contextmanager
def running(directory: Path, settings: str = "") -> Iterator[Server]:
    """A server for the length of a ``with`` block."""
    server = Server(directory, settings)
    try:
        yield server
    finally:
        server.stop()
