"""One connection in the network: two streams of messages in order, each of which may end at any message.

Nothing arrives by itself: the scheduler delivers one message after the other. A message of which only a part arrives is
none, as WebSocket has it. After a cut either end may hear of it at once, or not until the world is healed (half open).
"""

from collections import deque
from typing import Protocol

from attrs import Factory, define, field, frozen


@frozen
class Closed:
    """The server's close frame, in the stream like a message."""

    code: int


class ServerEnd(Protocol):
    def received(self, data: bytes) -> None: ...

    def lost(self) -> None: ...

    def drained(self) -> None: ...

    @property
    def is_reading(self) -> bool: ...


class ClientEnd(Protocol):
    def received(self, wire: "Wire", data: bytes) -> None: ...

    def lost(self, wire: "Wire") -> None: ...


@frozen
class Claim:
    """What a client file says of itself in IDENT, and in which runs of the server it learnt it: what the simulator
    needs to know whether the server can still know the same. ``received``: what it has downloaded up to ``cursor``, as
    version, timestamp and changeset."""

    ident: int
    ident_run: int
    version: int
    version_run: int
    acknowledged: int
    cursor: int
    received: tuple[tuple[int, int, bytes], ...]


@define(eq=False)
class Wire:
    """``run``: which run of the server it leads to. An end is None once it is gone. ``is_cut``: nothing new gets
    through. ``server_knows``, ``client_knows``: whether that end is told of the cut before the world is healed. While a
    direction is stalled nothing arrives, but nothing is lost either."""

    number: int
    run: int
    client: ClientEnd | None
    server: ServerEnd | None = None
    to_server: deque[bytes] = Factory(deque)
    to_client: deque[bytes | Closed] = Factory(deque)
    claims: dict[int, Claim] = field(factory=dict)
    is_cut: bool = False
    server_knows: bool = True
    client_knows: bool = True
    is_stalled_up: bool = False
    is_stalled_down: bool = False

    def say(self, data: bytes) -> None:
        """The client sends."""
        if not self.is_cut and self.server is not None:
            self.to_server.append(data)

    def answer(self, data: bytes | Closed) -> None:
        """The server sends."""
        if not self.is_cut and self.client is not None:
            self.to_client.append(data)

    def cut(self, to_server: int, to_client: int, *, server_knows: bool = True, client_knows: bool = True) -> None:
        """The connection is lost; so many of the messages on their way still arrive."""
        if self.is_cut:
            return
        self.is_cut = True
        self.server_knows, self.client_knows = server_knows, client_knows
        while len(self.to_server) > to_server:
            self.to_server.pop()
        while len(self.to_client) > to_client:
            self.to_client.pop()

    def heal(self) -> None:
        """Whoever does not know yet that the connection is lost shall hear of it, and what stands still goes on."""
        self.server_knows = self.client_knows = True
        self.is_stalled_up = self.is_stalled_down = False
        if self.client is None and self.server is not None and not self.server.is_reading:
            self.to_server.clear()  # what it writes to a machine where nobody listens is answered with a reset

    @property
    def is_over(self) -> bool:
        """Both ends are gone."""
        return self.client is None and self.server is None

    # What can happen next, for the scheduler.

    def can_reach_server(self) -> bool:
        if self.server is None or self.is_stalled_up:
            return False
        if self.to_server:
            return self.server.is_reading
        return self.is_cut and self.server_knows

    def can_reach_client(self) -> bool:
        if self.client is None or self.is_stalled_down:
            return False
        return bool(self.to_client or (self.is_cut and self.client_knows))

    def reach_server(self) -> str:
        """Deliver what comes next to the server; returns what it was."""
        assert self.server is not None
        if self.to_server:
            data = self.to_server.popleft()
            self.server.received(data)
            return brief(data)
        server, self.server = self.server, None
        server.lost()
        return "the end"

    def reach_client(self) -> str:
        """Deliver what comes next to the client; returns what it was."""
        assert self.client is not None
        client = self.client
        if self.to_client:
            data = self.to_client.popleft()
            if isinstance(data, bytes):
                if self.server is not None:
                    self.server.drained()
                client.received(self, data)
                return brief(data)
        self.client = None
        self.to_client.clear()
        if not self.is_cut:
            self.cut(0, 0)
        client.lost(self)
        return "the end"


def brief(data: bytes) -> str:
    """A message's header, for people."""
    head, _, body = data.partition(b"\n")
    return head.decode() + (f" +{len(body)}" if body else "")
