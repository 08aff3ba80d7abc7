"""Servers to measure: real processes with their data in a directory that goes away with them."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

COMMAND: Final = (
    str(Path(sys.executable).parent / "twistd"),
    "--nodaemon",
    "--pidfile=",
    "realm-object-server",
    "--allow-root",
)
PATIENCE: Final = 120.0
"""Seconds for a start."""


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


class Server:
    """One running server. ``ports``: proxy, sync service, http service; ``started_in``: seconds from the start of the
    process to the first accepted connection on the last of them to open."""

    def __init__(self, directory: Path, settings: str = "") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.ports: list[int] = free_ports(3)
        proxy, sync, http = self.ports
        configuration = directory / "configuration.yml"
        configuration.write_text(
            f"storage: {{root_path: {directory / 'data'}}}\n"
            f"proxy: {{http: {{listen_address: 127.0.0.1, listen_port: {proxy}}}}}\n"
            + (settings or f"network: {{sync: {{listen_port: {sync}}}, http: {{listen_port: {http}}}}}\n")
        )
        self._waits_for = proxy
        self._output = (directory / "output.txt").open("wb")
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            [*COMMAND, "--configuration", configuration], stdout=self._output, stderr=subprocess.STDOUT
        )
        self._wait(begun + PATIENCE, Path(self._output.name))
        self.started_in: float = time.perf_counter() - begun

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def stop(self) -> None:
        """Stop it in order."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE)
        self._output.close()

    def _wait(self, until: float, output: Path) -> None:
        """Until the server answers: its ports are open before it accepts anything."""
        while time.perf_counter() < until and self._process.poll() is None:
            try:
                with closing(socket.create_connection(("127.0.0.1", self._waits_for), timeout=PATIENCE)) as probe:
                    probe.sendall(b"GET /realm-sync HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    if probe.recv(100):
                        return
            except ConnectionError:
                pass
            time.sleep(0.002)
        raise SystemExit(f"the server did not start:\n{output.read_text()}")


@contextmanager
def running(directory: Path, settings: str = "") -> Iterator[Server]:
    """A server for the length of a ``with`` block."""
    server = Server(directory, settings)
    try:
        yield server
    finally:
        server.stop()
