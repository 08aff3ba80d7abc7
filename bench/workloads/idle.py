"""Idle: what sessions cost that are open and have nothing to do.

Two sessions in each Realm. Once all are there, they are left alone for a while; each connection sends its PING once a
minute, as real clients do. Memory is that of the whole server at the end of it, less what it had at the start, divided
by the sessions; ``without files`` is the part that is not pages of its databases, which the system takes back when it
needs them. ``server CPU s`` is what the while has cost.
"""

import resource
from collections.abc import Sequence
from functools import partial
from typing import Final

from bench.cases import NOT_POSSIBLE, Case, Figures, Size, Stage, shares
from bench.load.client import Client, Place, Session, open_all
from bench.load.crew import Counted, Gate
from bench.load.wire import Loop, Trouble, frame

PING_INTERVAL: Final = 60.0
"""Seconds between the PINGs of a client (``spec/protocol.md`` 1.5)."""

SPARE_FILES: Final = 200
"""File handles of a load generator besides its connections."""

KINDS: Final[dict[Size, list[tuple[int, int, float]]]] = {
    "full": [(10_000, 1, 20.0), (10_000, 10, 20.0)],
    "quick": [(1_000, 1, 5.0)],
    "tiny": [(10, 1, 0.5), (10, 5, 0.5)],
}
"""Sessions, how many of them on each connection, and the seconds in which nothing happens."""


def cases(size: Size) -> list[Case]:
    return [
        Case("idle", f"{count:,} sessions, {each} on a connection", partial(measure, count, each, seconds))
        for count, each, seconds in KINDS[size]
    ]


def measure(count: int, each: int, seconds: float, stage: Stage) -> Figures:
    before = stage.usage()
    parts = shares(count, stage.generators)
    after = stage.work([(stay, (stage.place, stage.prefix, list(part), each, seconds)) for part in parts]).usage
    if before is None or after is None:
        return NOT_POSSIBLE
    return {
        "KiB for each session": (after.resident - before.resident) * 1024 / count,
        "without files": (after.own - before.own) * 1024 / count,
        "MiB in all": after.resident,
    }


def stay(gate: Gate, place: Place, prefix: str, sessions: Sequence[int], each: int, seconds: float) -> Counted:
    """The load generator."""
    needed = len(sessions) // each + SPARE_FILES
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if needed > allowed:
        raise Trouble(f"{needed} file handles are needed, and the system allows {allowed} (ulimit -n)")
    loop = Loop()
    opened = open_all(
        loop,
        place,
        [Session(f"/{prefix}-{number // 2}", place.tokens[number % len(place.tokens)]) for number in sessions],
        each,
    )
    ping = frame(b"ping 1 0\n")

    def say(client: Client) -> None:
        client.wire.send(ping)

    gate.open()
    for number, client in enumerate(opened):
        when = (number + 0.5) * PING_INTERVAL / len(opened)
        if when < seconds:
            loop.at(gate.begun + when, partial(say, client))
    loop.at(gate.begun + seconds, loop.stop)
    loop.run("nothing")
    gate.close()
    return {}
