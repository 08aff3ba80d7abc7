"""Establish: connect, upgrade, BIND, IDENT, and the first DOWNLOAD, some clients at a time; then the connection is cut.

``existing Realms``: new client files, each in one of some Realms that are there. ``returning``: client files that were
here before, as after a break of the network. ``new Realms``: each client is the first of its Realm.
"""

from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Final

from bench.cases import Case, Figures, Size, Stage, shares
from bench.load.client import AT_ONCE, Client, Place, Session, nothing, open_all
from bench.load.content import FIRST_VERSION, new_objects, schema, upload_many
from bench.load.crew import Counted, Gate
from bench.load.wire import Loop
from bench.summary import percentile
from bench.workloads.upload import Writer, write_all

EXISTING, RETURNING, NEW = "existing Realms", "returning clients", "new Realms"

AMOUNTS: Final[dict[Size, dict[str, int]]] = {
    "full": {EXISTING: 4_000, RETURNING: 4_000, NEW: 2_000},
    "quick": {EXISTING: 500, RETURNING: 500, NEW: 300},
    "tiny": {EXISTING: 10, RETURNING: 10, NEW: 10},
}
"""How many clients come."""

REALMS: Final = 100
"""Realms that exist, with a changeset in each."""


def cases(size: Size) -> list[Case]:
    return [Case("establish", way, partial(measure, way, clients)) for way, clients in AMOUNTS[size].items()]


def measure(way: str, clients: int, stage: Stage) -> Figures:
    jobs = [
        (establish, (stage.place, f"{stage.prefix}-{number}", list(share), way))
        for number, share in enumerate(shares(clients, stage.generators))
    ]
    timed = stage.work(jobs)
    waits = timed.series("wait")
    return {
        "sessions/s": clients / timed.seconds,
        "p50 ms": percentile(waits, 50) * 1000,
        "p99 ms": percentile(waits, 99) * 1000,
    }


def establish(gate: Gate, place: Place, prefix: str, clients: Sequence[int], way: str) -> Counted:
    """The load generator. Each of these processes has Realms of its own."""
    loop = Loop()
    realms = len(clients) if way == NEW else min(REALMS, len(clients))
    sessions = [Session(f"/{prefix}-{client % realms}", place.tokens[client % len(place.tokens)]) for client in clients]
    if way != NEW:
        fill(loop, place, [Session(f"/{prefix}-{realm}", place.tokens[0]) for realm in range(realms)])
    if way == RETURNING:
        for client in open_all(loop, place, sessions):
            client.wire.close()
        sessions = [session.again() for session in sessions]
    gate.open()
    waits = come_and_go(loop, place, sessions)
    gate.close()
    return {"wait": waits}


def fill(loop: Loop, place: Place, sessions: Sequence[Session]) -> None:
    """Give the Realm of each of ``sessions`` a schema and some objects, and leave."""
    clients = open_all(loop, place, sessions)
    uploads = upload_many(FIRST_VERSION, 0, [schema(), new_objects(0)])
    write_all(loop, [Writer(session, uploads, len(uploads)) for session in sessions])
    for client in clients:
        client.wire.close()


def come_and_go(loop: Loop, place: Place, sessions: Sequence[Session]) -> list[float]:
    """Open each session on a connection of its own and leave when it has all there is, :data:`AT_ONCE` at a time; the
    seconds that each took."""
    waits: list[float] = []
    coming = iter(sessions)

    def next_one() -> None:
        session = next(coming, None)
        if session is None:
            return
        begun = perf_counter()

        def downloaded(session: Session) -> None:
            if not session.is_caught_up:
                return
            session.on_download = nothing
            waits.append(perf_counter() - begun)
            client.wire.close()
            if len(waits) == len(sessions):
                loop.stop()
            else:
                next_one()

        session.on_download = downloaded
        client = Client(loop, place, [session])

    for _ in range(AT_ONCE):
        next_one()
    loop.run("sessions to begin")
    return waits
