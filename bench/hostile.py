"""What a good client notices of bad ones: its round trips while each of them does its worst, and the server's memory.

``python -m bench.hostile [--seconds 8] [--only NAME]``

A good client, on connections of its own, sends PINGs and uploads small changes, one after the other, and measures the
time until the PONG and until the acknowledgement. First nobody else is there; then each bad client in turn, in
processes of its own with the lowest priority, since in the field they would not use the server's processors. The ratio
is that of the medians. Memory is the most that the server had while the bad client was there, and what it had before.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "system")]

from raw_sync import (  # noqa: E402
    BINARY,
    Login,
    RawSocket,
    RawSync,
    ask,
    frame,
    log_in,
    log_out,
    sync_path,
    upgrade_request,
)
from sync_neighbours import GoodClient, new_object, new_table  # noqa: E402

from bench.processes import running  # noqa: E402
from realmserver.changeset.encode import encode  # noqa: E402
from realmserver.changeset.instructions import (  # noqa: E402
    TYPE_INT,
    TYPE_NULL,
    AddInteger,
    Changeset,
    CreateObject,
    Instruction,
    Payload,
    Update,
)
from realmserver.realms.requests import UploadCursor, UploadEntry  # noqa: E402
from realmserver.sync import client_messages as c2s  # noqa: E402
from realmserver.sync import server_messages as s2c  # noqa: E402

MEBIBYTE: Final = 1 << 20
TIMESTAMP: Final = 178_000_000_000
WARM_UP: Final = 1.0
"""Seconds that a bad client is at work before anything is measured."""

PATIENCE: Final = 120.0
"""Seconds in which a bad client must have begun."""

MOST: Final = 3.0
"""How many times its quiet figure a good client's round trip may take."""

AT_WORK: Final = multiprocessing.get_context("fork").Event()
"""Set by the first bad client that has done what it came for: some take long to make what they send."""

Attack = Callable[[int, Login], None]


# The bad ones: each runs until its process is ended.


def slow_loris(port: int, login: Login) -> None:
    """300 requests of which a byte comes now and then."""
    crowd: list[RawSocket] = []
    while True:
        while len(crowd) < 300:
            crowd.append(_begun(port, b"GET / HTTP/1.1\r\nHost: h\r\nX: "))
        for each in list(crowd):
            try:
                each.socket.sendall(b"x")
            except OSError:
                each.close()
                crowd.remove(each)
        time.sleep(0.5)


def half_open(port: int, login: Login) -> None:
    """1000 connections that say nothing at all, and 200 WebSockets that say nothing more."""
    crowd: list[RawSocket] = [_begun(port, b"") for _ in range(1000)]
    head = upgrade_request(sync_path(login.access_token))
    crowd += [RawSync(port, head) for _ in range(200)]
    while True:
        time.sleep(1)


def never_reading(port: int, login: Login) -> None:
    """Clients that ask for a large Realm and do not read it, again and again."""
    head = upgrade_request(sync_path(login.access_token))
    with RawSync(port, head) as writer:
        writer.join('"large"')
        body = os.urandom(2 * MEBIBYTE)
        for version, changeset in enumerate([new_table(), *(new_object(each, body) for each in range(10))], 2):
            writer.upload([_entry(version, changeset)], UploadCursor(version, 0))
        writer.is_alive(1)
    crowd: list[RawSync] = []
    while True:
        client = RawSync(port, head, receive_buffer=4096)
        file = client.bind('"large"')
        client.send_message(c2s.Ident(1, file.ident, file.salt).encode())
        crowd.append(client)
        if len(crowd) > 200:
            crowd.pop(0).close()
        time.sleep(0.02)


def endless_headers(port: int, login: Login) -> None:
    """Headers that never end, as fast as the server takes them."""
    line = b"X-Header: " + b"x" * 4000 + b"\r\n"
    while True:
        with _begun(port, b"GET / HTTP/1.1\r\nHost: h\r\n") as connection, suppress(OSError):
            for _ in range(10_000):
                connection.socket.sendall(line)


def bind_storm(port: int, login: Login) -> None:
    """BIND and UNBIND without a pause and without waiting for answers, of Realms that exist and of new ones."""
    head = upgrade_request(sync_path(login.access_token))
    number = 0
    while True:
        with RawSync(port, head) as client, suppress(OSError):
            client.socket.settimeout(5)
            for _ in range(50):
                batch = bytearray()
                for _ in range(50):
                    number += 1
                    path = f'"storm {number % 20}"'
                    batch += frame(BINARY, c2s.Bind(number, path, "", number % 5 == 0).encode())
                    batch += frame(BINARY, c2s.Unbind(number).encode())
                client.socket.sendall(batch)
                client.is_alive(number)


def ident_theft(port: int, login: Login) -> None:
    """IDENTs of client files that others own, with salts that are guessed, in Realms that others use."""
    head = upgrade_request(sync_path(login.access_token))
    guess = 0
    while True:
        with RawSync(port, head) as client, suppress(OSError, AssertionError):
            for _ in range(500):
                guess += 1
                client.rejoin('"good"', s2c.Ident(guess, 2, guess), sid=guess)
                client.next()
                client.send_message(c2s.Unbind(guess).encode())
                client.expect(s2c.Unbound)


def replayed_tokens(port: int, login: Login) -> None:
    """Upgrades and refreshes with tokens of a login that has ended."""
    ended = log_in(port)
    log_out(port, ended)
    upgrade = upgrade_request(sync_path(ended.access_token))
    refresh = (
        f"POST /api/client/v2.0/auth/session HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {ended.refresh_token}\r\n\r\n"
    ).encode()
    while True:
        with suppress(OSError, AssertionError):
            for request in (upgrade, refresh):
                assert ask(port, request).status == 401


def rewritten_versions(port: int, login: Login) -> None:
    """UPLOADs of versions that are there already, with other bytes."""
    head = upgrade_request(sync_path(login.access_token))
    with RawSync(port, head) as client:
        file, _ = client.join('"rewritten"')
        client.upload([_entry(2, new_table())], UploadCursor(2, 0))
        client.is_alive(1)
    number = 0
    while True:
        with RawSync(port, head) as client, suppress(OSError, AssertionError):
            client.rejoin('"rewritten"', file)
            for _ in range(1000):
                number += 1
                client.upload([_entry(2, new_object(number))], UploadCursor(2, 0))
                if number % 50 == 0:
                    client.is_alive(number)


def bombs(port: int, login: Login) -> None:
    """UPLOADs of 64 MiB in 64 KiB, nonsense inside."""
    body = b"2 0 178000000000 0 %d " % (64 * MEBIBYTE - 64)
    body += bytes(64 * MEBIBYTE - len(body) - 16)
    data = zlib.compress(body, 6)
    message = b"upload 1 1 %d %d 2 0 0\n" % (len(body), len(data)) + data
    _again_and_again(port, login, message)


def deep_paths(port: int, login: Login) -> None:
    """Changesets whose paths are 100,000 elements long."""
    path: list[int | str] = [0] * 100_000
    changeset = encode(Changeset([Update("Item", (TYPE_INT, 1), "data", path, Payload(TYPE_NULL, None))]))
    _again_and_again(port, login, c2s.Upload(1, UploadCursor(2, 0), 0, (_entry(2, changeset),)).encode())


def tiny_instructions(port: int, login: Login) -> None:
    """Uploads of 1,000,000 instructions each, all of them good."""
    key = (TYPE_INT, 1)
    base: list[Instruction] = [CreateObject("Item", key)]
    data = encode(Changeset(base + [AddInteger("Item", key, "_id", [], 1)] * 10))
    one = encode(Changeset(base + [AddInteger("Item", key, "_id", [], 1)] * 11))
    piece = one[len(data) :]
    changeset = data + piece * 1_000_000
    head = upgrade_request(sync_path(login.access_token))
    number = 0
    while True:
        number += 1
        with RawSync(port, head) as client, suppress(OSError, AssertionError):
            client.join(f'"tiny {number % 3} {os.getpid()}"')
            client.upload([_entry(2, new_table()), _entry(3, changeset)], UploadCursor(3, 0))
            AT_WORK.set()
            client.is_alive(1)
            client.next()


def connection_flood(port: int, login: Login) -> None:
    """Connections opened and closed as fast as that goes."""
    while True:
        with suppress(OSError):
            crowd = [RawSocket(port) for _ in range(20)]
            for each in crowd:
                each.reset()


def message_flood(port: int, login: Login) -> None:
    """PINGs without end on one connection."""
    with RawSync(port, upgrade_request(sync_path(login.access_token))) as client:
        batch = frame(BINARY, c2s.Ping(1, 1).encode()) * 200
        while True:
            client.socket.sendall(batch)
            client.socket.recv(1 << 20)


ATTACKS: Final[dict[str, tuple[Attack, int]]] = {
    "slow loris": (slow_loris, 1),
    "half-open": (half_open, 1),
    "never reading": (never_reading, 1),
    "endless headers": (endless_headers, 2),
    "bind/unbind storm": (bind_storm, 2),
    "ident theft": (ident_theft, 2),
    "replayed tokens": (replayed_tokens, 2),
    "rewritten versions": (rewritten_versions, 2),
    "decompression bombs": (bombs, 2),
    "deep paths": (deep_paths, 2),
    "10^6 tiny instructions": (tiny_instructions, 2),
    "connection flood": (connection_flood, 2),
    "message flood": (message_flood, 1),
}
"""Each bad client, and in how many processes it comes."""


def _begun(port: int, data: bytes) -> RawSocket:
    connection = RawSocket(port)
    connection.send(data)
    return connection


def _entry(version: int, changeset: bytes) -> UploadEntry:
    return UploadEntry(version, 0, TIMESTAMP, 0, changeset)


def _again_and_again(port: int, login: Login, message: bytes) -> None:
    """Send ``message`` in a session of a new client file each time, and wait for what comes of it."""
    head = upgrade_request(sync_path(login.access_token))
    while True:
        with RawSync(port, head) as client, suppress(OSError, AssertionError):
            client.join('"bad"')
            client.send_message(message)
            AT_WORK.set()
            client.next()


def _run(attack: Attack, port: int, login: Login) -> None:
    os.nice(19)
    if attack not in (bombs, deep_paths, tiny_instructions):
        AT_WORK.set()
    while True:
        with suppress(Exception):
            attack(port, login)
        time.sleep(0.1)


# The good one, and the figures.


class Good:
    """A client that measures."""

    def __init__(self, port: int) -> None:
        login = log_in(port)
        self._pinging = RawSync(port, upgrade_request(sync_path(login.access_token)))
        self._pinging.bind('"good"')
        self._writing = GoodClient(port, login, '"good"')
        self._writing.write(new_table())
        self._number = 0

    def measure(self, seconds: float) -> tuple[list[float], list[float]]:
        """Milliseconds of each PING, and of each upload, for so long."""
        pings: list[float] = []
        uploads: list[float] = []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            for _ in range(5):
                self._number += 1
                begun = time.perf_counter()
                if not self._pinging.is_alive(self._number):
                    raise SystemExit("the good client was cut off")
                pings.append((time.perf_counter() - begun) * 1000)
                time.sleep(0.004)
            begun = time.perf_counter()
            self._writing.write(new_object(self._number))
            uploads.append((time.perf_counter() - begun) * 1000)
        return pings, uploads


def memory(pid: int, name: str) -> float:
    """MiB; ``name`` as in /proc."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def forget_peak(pid: int) -> None:
    """Let the system begin anew to remember the most memory."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def show(
    name: str, pings: list[float], uploads: list[float], quiet: tuple[float, float], before: float, peak: float
) -> None:
    ping, upload = statistics.median(pings), statistics.median(uploads)
    p95 = statistics.quantiles(pings, n=20)[18], statistics.quantiles(uploads, n=20)[18]
    ratios = ping / quiet[0], upload / quiet[1]
    mark = " <" if max(ratios) > MOST else ""
    print(
        f"{name:<24} {ping:8.2f} {p95[0]:8.2f} {ratios[0]:6.1f}  {upload:8.2f} {p95[1]:8.2f} {ratios[1]:6.1f}"
        f"  {before:7.0f} {peak:7.0f}{mark}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", choices=ATTACKS, action="append")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(
            f"{'':<24} {'ping ms':>8} {'p95':>8} {'ratio':>6}  {'upload':>8} {'p95':>8} {'ratio':>6}"
            f"  {'MiB':>7} {'peak':>7}"
        )
        for name in given.only or ATTACKS:
            attack, count = ATTACKS[name]
            with running(Path(directory) / name.replace("/", " ")) as server, ExitStack() as stack:
                port, pid = server.ports[0], server.pid
                good = Good(port)
                good.measure(1.0)
                quiet = good.measure(given.seconds / 2)
                medians = statistics.median(quiet[0]), statistics.median(quiet[1])
                before = memory(pid, "VmRSS")
                show("(quiet)", *quiet, medians, before, before)
                forget_peak(pid)
                AT_WORK.clear()
                bad: list[BaseProcess] = []
                for _ in range(count):
                    process = multiprocessing.get_context("fork").Process(
                        target=_run, args=(attack, port, log_in(port)), daemon=True
                    )
                    process.start()
                    stack.callback(process.kill)
                    bad.append(process)
                if not AT_WORK.wait(PATIENCE):
                    raise SystemExit(f"{name} never came to work")
                time.sleep(WARM_UP)
                show(name, *good.measure(given.seconds), medians, before, memory(pid, "VmHWM"))


if __name__ == "__main__":
    main()
