"""WebSockets from the client's end, many in one thread: one epoll loop, and sockets that never block.

What this module keeps true: a load generator costs less than the server that it drives. So frames are masked with zeros
(RFC 6455, 5.3, leaves the key to the client), which leaves the payload as it was prepared; and of a message that comes
in only the first bytes are handed on, enough for every head line and every error of ``spec/protocol.md`` 2.4. It knows
the form of frames, and nothing of sync.
"""

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

CHUNK: Final = 1 << 18
"""Bytes to read at a time."""

HEAD: Final = 1024
"""Bytes of a message that are looked at: a head line has 250 at most, and an error's text fits as well."""

PATIENCE: Final = 300.0
"""Seconds without any answer after which a server is taken for stuck; large merges take a minute in pure Python."""

BINARY: Final = 0x82
CLOSE: Final = 0x88

REQUEST: Final = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
)


class Trouble(Exception):
    """The server did not do what it should: the measurement is worth nothing, and the text says why."""


def frame(payload: bytes) -> bytes:
    """``payload`` as the one binary frame that a client sends for it."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB4x", BINARY, 0x80 | size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH4x", BINARY, 0xFE, size) + payload
    return struct.pack("!BBQ4x", BINARY, 0xFF, size) + payload


class Loop:
    """Waits for sockets and times. :meth:`run` until somebody calls :meth:`stop`. ``scratch``: where its wires read."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wires: dict[int, Wire] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0
        self._is_running = False
        self.scratch: memoryview = memoryview(bytearray(CHUNK))

    def run(self, waiting_for: str, patience: float = PATIENCE) -> None:
        """Serve until :meth:`stop`. Raises :class:`Trouble`, which names ``waiting_for``, after ``patience`` seconds in
        which nothing has come."""
        self._is_running = True
        poll, wires, timers = self._epoll.poll, self._wires, self._timers
        quiet_since = time.perf_counter()
        while self._is_running:
            timeout = patience
            if timers:
                timeout = max(0.0, min(timeout, timers[0][0] - time.perf_counter()))
            events = poll(timeout)
            for descriptor, event in events:
                wire = wires.get(descriptor)
                if wire is None:
                    continue  # closed by what came before it
                if event & select.EPOLLOUT:
                    wire.writable()
                if event & ~select.EPOLLOUT and not wire.is_closed:
                    wire.readable()
            now = time.perf_counter()
            due = []
            while timers and timers[0][0] <= now:
                due.append(heappop(timers)[2])
            for call in due:
                call()
            if events:
                quiet_since = now
            elif now - quiet_since > patience:
                raise Trouble(f"nothing has come for {patience:.0f} s, waiting for {waiting_for}")

    def stop(self) -> None:
        """Let :meth:`run` return."""
        self._is_running = False

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call ``call`` at ``when``, in the seconds of time.perf_counter."""
        self._timer_count += 1
        heappush(self._timers, (when, self._timer_count, call))

    def add(self, wire: "Wire", events: int) -> None:
        self._wires[wire.descriptor] = wire
        self._epoll.register(wire.descriptor, events)

    def change(self, wire: "Wire", events: int) -> None:
        self._epoll.modify(wire.descriptor, events)

    def remove(self, wire: "Wire") -> None:
        del self._wires[wire.descriptor]
        self._epoll.unregister(wire.descriptor)


class Wire:
    """One WebSocket. ``on_open`` is called when it is open, ``on_message`` with the beginning of each message."""

    __slots__ = ("_begins", "_buffer", "_loop", "_needed", "_out", "_socket", "descriptor", "is_closed", "on_message")

    def __init__(
        self,
        loop: Loop,
        address: tuple[str, int],
        request: bytes,
        on_open: Callable[[], None],
        on_message: Callable[[bytes], None],
    ) -> None:
        self.on_message = on_message
        self.is_closed = False
        self._loop = loop
        self._begins: Callable[[], None] | None = on_open
        self._buffer = bytearray()
        self._needed = 2
        self._out = bytearray(request)
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.descriptor = self._socket.fileno()
        code = self._socket.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            raise Trouble(f"cannot connect: {os.strerror(code)}")
        loop.add(self, select.EPOLLIN | select.EPOLLOUT)

    def send(self, data: bytes) -> None:
        """Send frames, now or as soon as the server takes them."""
        if self._out:
            self._out += data
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise Trouble(f"the server has cut a connection: {error}") from error
        if sent < len(data):
            self._out += memoryview(data)[sent:]
            self._loop.change(self, select.EPOLLIN | select.EPOLLOUT)

    def close(self) -> None:
        """Cut the connection, without a word."""
        self.is_closed = True
        self._loop.remove(self)
        self._socket.close()

    def writable(self) -> None:
        """The server takes more."""
        out = self._out
        try:
            with memoryview(out) as view, view[: 1 << 20] as piece:
                sent = self._socket.send(piece)
        except BlockingIOError:
            return
        except OSError as error:
            raise Trouble(f"the server has cut a connection: {error}") from error
        del out[:sent]
        if not out:
            self._loop.change(self, select.EPOLLIN)

    def readable(self) -> None:
        """Something has come."""
        scratch = self._loop.scratch
        try:
            size = self._socket.recv_into(scratch)
        except BlockingIOError:
            return
        except OSError as error:
            raise Trouble(f"the server has cut a connection: {error}") from error
        if not size:
            raise Trouble("the server has ended a connection")
        self.received(scratch[:size])

    def received(self, data: bytes | memoryview) -> None:
        """Cut ``data``, and what has come before it, into messages, and hand them on."""
        buffer = self._buffer
        buffer += data
        if len(buffer) < self._needed:
            return
        at, end = 0, len(buffer)
        if self._begins is not None:
            at = self._opened(buffer)
            if not at:
                return
        while not self.is_closed:
            self._needed = 2
            if end - at < 2:
                break
            size, start = buffer[at + 1], at + 2
            if size >= 126:
                extra = 2 if size == 126 else 8
                size = int.from_bytes(buffer[start : start + extra], "big")
                start += extra
                if start > end:
                    self._needed = start - at
                    break
            if start + size > end:
                self._needed = start + size - at
                break
            message = bytes(buffer[start : start + min(size, HEAD)])
            if buffer[at] != BINARY:
                raise Trouble(f"a frame of kind {buffer[at]:#x}: {message[2:]!r}")
            at = start + size
            self.on_message(message)
        del buffer[:at]

    def _opened(self, buffer: bytearray) -> int:
        """Where the answer to the upgrade ends; 0 if that is still to come."""
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return 0
        if not buffer.startswith(b"HTTP/1.1 101"):
            raise Trouble(f"the upgrade is answered: {bytes(buffer[:HEAD])!r}")
        begins, self._begins = self._begins, None
        if begins is not None:
            begins()
        return end + 4
