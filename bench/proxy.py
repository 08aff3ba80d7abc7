"""What the proxy adds to a round trip: mounted in the server's process, and forwarding to another process.

``python -m bench.proxy [--rounds 4000]``

Round trips of one client, one after the other: an HTTP request (``location``, kept alive), and a sync PING with its
PONG on an open WebSocket. The ways are measured in turns, so that all see the same machine.
"""

import argparse
import base64
import os
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tqdm import tqdm

from bench.processes import running

ROUNDS_AT_A_TIME: Final = 100

HANDSHAKE: Final = (
    "GET /realm-sync HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: com.mongodb.realm-sync#14\r\nSec-WebSocket-Key: {key}\r\n\r\n"
)
LOCATION: Final = b"GET /api/client/v2.0/app/bench/location HTTP/1.1\r\nHost: localhost\r\n\r\n"

Trip = Callable[[], None]


def connect(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=30)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def http_trip(port: int) -> Trip:
    """One request and its answer, on one connection."""
    connection = connect(port)

    def trip() -> None:
        connection.sendall(LOCATION)
        data = b""
        while b"}" not in data:
            data += received(connection)
        if not data.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"port {port} answers {data!r}")

    return trip


def sync_trip(port: int) -> Trip:
    """One PING and its PONG, on one WebSocket (``spec/protocol.md`` 1.5)."""
    connection = connect(port)
    connection.sendall(HANDSHAKE.format(key=base64.b64encode(os.urandom(16)).decode()).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += received(connection)
    if not head.startswith(b"HTTP/1.1 101"):
        raise SystemExit(f"port {port} answers {head!r}")

    def trip() -> None:
        payload = b"ping 1 0\n"
        # A frame of RFC 6455, 5.2: final, binary, masked (with zeros, which leave the payload as it is).
        connection.sendall(struct.pack("!BB4x", 0x82, 0x80 | len(payload)) + payload)
        data = b""
        while b"pong 1\n" not in data:
            data += received(connection)

    return trip


def received(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise SystemExit("the server ended a connection")
    return data


def measure(ways: dict[str, Trip], rounds: int) -> dict[str, list[float]]:
    """Microseconds of each round trip, by way."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for trip in ways.values():
        for _ in range(ROUNDS_AT_A_TIME):  # not counted: caches fill, connections warm up
            trip()
    for _ in tqdm(range(rounds // ROUNDS_AT_A_TIME), leave=False, disable=None):
        for name, trip in ways.items():
            for _ in range(ROUNDS_AT_A_TIME):
                begun = time.perf_counter()
                trip()
                times[name].append((time.perf_counter() - begun) * 1e6)
    return times


def show(title: str, times: dict[str, list[float]]) -> None:
    """A table; the first way is what the others are compared to."""
    base = statistics.median(next(iter(times.values())))
    print(f"{title:<28} {'median us':>10} {'p99 us':>9} {'ratio':>6}")
    for name, each in times.items():
        median = statistics.median(each)
        p99 = statistics.quantiles(each, n=100)[98]
        print(f"  {name:<26} {median:10.0f} {p99:9.0f} {median / base:6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4000)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as temporary, running(Path(temporary) / "server") as server:
        proxy, sync, http = server.ports
        elsewhere = (
            f"sync: {{servers: [{{id: '0', address: 127.0.0.1, port: {sync}}}]}}\n"
            f"network: {{http: {{forward_to: '127.0.0.1:{http}'}}}}\n"
        )
        with running(Path(temporary) / "front", elsewhere) as front:
            forwarding = front.ports[0]
            ways = {"bare backend": http, "mounted proxy": proxy, "forwarding proxy": forwarding}
            show("HTTP request", measure({name: http_trip(port) for name, port in ways.items()}, rounds))
            ways["bare backend"] = sync
            show("sync PING", measure({name: sync_trip(port) for name, port in ways.items()}, rounds))


if __name__ == "__main__":
    main()
