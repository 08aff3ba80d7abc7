"""Latency: the time from one client's UPLOAD to the DOWNLOAD at the others that have the same Realm open.

All clients are in one process, so one clock sees both ends. They write at fixed times, whether the server keeps up or
not, each in its turn, and behave as real clients do: what they upload names what they have seen, and they report their
progress after each DOWNLOAD. ``idle``: two clients of one Realm, and nobody else. Otherwise many Realms at once.
"""

from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Final

from attrs import frozen

from bench.cases import Case, Figures, Size, Stage
from bench.load.client import Place, Session, open_all
from bench.load.content import FIRST_VERSION, new_objects, schema, upload_one
from bench.load.crew import Counted, Gate
from bench.load.wire import Loop, Trouble, frame
from bench.summary import percentile
from bench.workloads.upload import Writer, write_all


@frozen
class Kind:
    """``rate``: changesets a second, of all clients together; ``writes``: how many."""

    name: str
    realms: int
    clients: int
    rate: int
    writes: int


KINDS: Final[dict[Size, list[Kind]]] = {
    "full": [Kind("idle", 1, 2, 20, 400), Kind("500 Realms of 3 clients, 100/s", 500, 3, 100, 3_000)],
    "quick": [Kind("idle", 1, 2, 20, 100), Kind("50 Realms of 3 clients, 50/s", 50, 3, 50, 300)],
    "tiny": [Kind("idle", 1, 2, 20, 4), Kind("3 Realms of 3 clients", 3, 3, 100, 10)],
}


def cases(size: Size) -> list[Case]:
    return [Case("latency", kind.name, partial(measure, kind)) for kind in KINDS[size]]


def measure(kind: Kind, stage: Stage) -> Figures:
    timed = stage.work([(exchange, (stage.place, stage.prefix, kind))])
    waits = timed.series("wait")
    if len(waits) != kind.writes * (kind.clients - 1):
        raise Trouble(f"{len(waits)} deliveries of {kind.writes} changesets")
    return {"p50 ms": percentile(waits, 50) * 1000, "p99 ms": percentile(waits, 99) * 1000}


class Room:
    """A Realm and its clients. ``base``: the server version at which the writing begins; each changeset makes the next,
    whoever writes it. ``waits``: seconds of each delivery, for all Realms."""

    def __init__(self, sessions: Sequence[Session], base: int, waits: list[float]) -> None:
        self._sessions = sessions
        self._base = base
        self._waits = waits
        self._seen = dict.fromkeys(sessions, base)
        self._own = dict.fromkeys(sessions, FIRST_VERSION)
        self._written: list[tuple[float, Session]] = []
        for session in sessions:
            session.on_download = self._downloaded

    def write(self, number: int, changeset: bytes) -> None:
        """The client whose turn it is writes."""
        session = self._sessions[number % len(self._sessions)]
        own = self._own[session] = self._own[session] + 1
        self._written.append((perf_counter(), session))
        session.wire.send(upload_one(own, session.version, changeset).data)

    def _downloaded(self, session: Session) -> None:
        now = perf_counter()
        own = self._own[session] = self._own[session] + 1
        session.wire.send(frame(b"upload 1 0 0 0 %d %d %d\n" % (own, session.version, session.version)))
        for version in range(self._seen[session], session.version):
            sent_at, writer = self._written[version - self._base]
            if writer is not session:
                self._waits.append(now - sent_at)
        self._seen[session] = session.version


def exchange(gate: Gate, place: Place, prefix: str, kind: Kind) -> Counted:
    """The load generator."""
    loop = Loop()
    waits: list[float] = []
    rooms = [Room(sessions, 1, waits) for sessions in gathered(loop, place, prefix, kind.realms, kind.clients)]
    changesets = [new_objects(number * 3) for number in range(kind.writes)]

    def write(number: int) -> None:
        rooms[number % len(rooms)].write(number // len(rooms), changesets[number])

    def look() -> None:
        if len(waits) == kind.writes * (kind.clients - 1):
            loop.stop()
        else:
            loop.at(perf_counter() + 0.01, look)

    gate.open()
    for number in range(kind.writes):
        loop.at(gate.begun + number / kind.rate, partial(write, number))
    loop.at(gate.begun + kind.writes / kind.rate, look)
    loop.run("deliveries")
    gate.close()
    return {"wait": waits}


def gathered(loop: Loop, place: Place, prefix: str, realms: int, clients: int) -> list[list[Session]]:
    """``clients`` sessions in each of ``realms``, on connections of their own; all have the schema, and no more."""
    rooms = [
        [Session(f"/{prefix}-{realm}", place.tokens[(realm + client) % len(place.tokens)]) for client in range(clients)]
        for realm in range(realms)
    ]
    firsts = [room[0] for room in rooms]
    open_all(loop, place, firsts)
    write_all(loop, [Writer(first, [upload_one(FIRST_VERSION, 0, schema())], 1) for first in firsts])
    open_all(loop, place, [session for room in rooms for session in room[1:]])
    return rooms
