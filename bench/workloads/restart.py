"""Restart: from the start of the server's process to the first DOWNLOAD at a client, with many Realms on the disk."""

from functools import partial
from time import perf_counter
from typing import Final

from bench.cases import NOT_POSSIBLE, Case, Figures, Size, Stage, shares
from bench.load.client import Place, Session, open_all
from bench.load.crew import Counted, Gate
from bench.load.wire import Loop
from bench.workloads.establish import come_and_go, fill

REALMS: Final[dict[Size, list[int]]] = {"full": [1, 10_000], "quick": [1, 500], "tiny": [5]}


def cases(size: Size) -> list[Case]:
    return [Case("restart", f"{count:,} Realm{'s' * (count > 1)}", partial(measure, count)) for count in REALMS[size]]


def measure(count: int, stage: Stage) -> Figures:
    stage.work([(make, (stage.place, stage.prefix, list(share))) for share in shares(count, stage.generators)])
    begun = stage.restart()
    if begun is None:
        return NOT_POSSIBLE
    open_all(Loop(), stage.place, [Session(f"/{stage.prefix}-0", stage.place.tokens[0])])
    seconds = perf_counter() - begun
    stage.served(seconds)
    return {"seconds to the first client": seconds}


def make(gate: Gate, place: Place, prefix: str, realms: list[int]) -> Counted:
    """Make the Realms; the first has something in it. Not what is measured."""
    loop = Loop()
    gate.open()
    sessions = [Session(f"/{prefix}-{realm}", place.tokens[realm % len(place.tokens)]) for realm in realms]
    fill(loop, place, sessions[:1])
    if sessions[1:]:
        come_and_go(loop, place, sessions[1:])
    gate.close()
    return {}
