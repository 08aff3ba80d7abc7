"""Cost against work: the same again with twice the Realms, clients or history, to see whether it costs twice as much.

Each line is one kind of work at several amounts, each twice the one before, and gives a plot. The work of the second
line is history that is there already: what is then uploaded is always the same, so it should not cost more at all.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from bench.cases import Case, Figures, Size, Stage
from bench.load.client import Place, Session, open_all
from bench.load.content import FIRST_VERSION, schema, small_changesets, upload_many, upload_one
from bench.load.crew import Counted, Gate
from bench.load.wire import Loop
from bench.workloads import bootstrap, fanout, merge, upload
from bench.workloads.upload import EVERYTHING, Writer, write_all

CaseOf = Callable[[int], Callable[[Stage], Figures]]

STEPS: Final[dict[Size, int]] = {"full": 4, "quick": 3, "tiny": 2}
SCALE: Final[dict[Size, int]] = {"full": 50, "quick": 10, "tiny": 1}
"""What the amounts below are multiplied by."""


def cases(size: Size) -> list[Case]:
    found: list[Case] = []
    scale = SCALE[size]

    def line(unit: str, smallest: int, case_of: CaseOf) -> None:
        for step in range(STEPS[size]):
            work = smallest << step
            found.append(Case("scaling", f"{work:,} {unit}", case_of(work), unit, work))

    line("Realms that are uploaded to", scale, lambda work: partial(upload.measure, "bulk", work, 2 * scale))
    line("changesets of history before an upload", 100 * scale, lambda work: partial(after_history, work, 40 * scale))
    line("writers of one Realm", 2, lambda work: partial(merge.measure, merge.Kind(work, 10 * scale, False)))
    line("readers", scale, lambda work: partial(fanout.measure, work, "one at a time", 2 * scale))
    line("objects downloaded", 200 * scale, lambda work: partial(bootstrap.measure, work, False))
    return found


def after_history(history: int, changesets: int, stage: Stage) -> Figures:
    timed = stage.work([(upload_after, (stage.place, stage.prefix, history, changesets))])
    return {"changesets/s": changesets / timed.seconds}


def upload_after(gate: Gate, place: Place, prefix: str, history: int, changesets: int) -> Counted:
    """The load generator: a second client of a Realm whose history the first has made."""
    loop = Loop()
    first = Session(f"/{prefix}", place.tokens[0])
    open_all(loop, place, [first])
    write_all(loop, [Writer(first, [upload_one(FIRST_VERSION, 0, schema())], 1)])
    write_all(loop, [Writer(first, upload_many(FIRST_VERSION + 1, 1, small_changesets(0, history)), EVERYTHING)])
    second = Session(f"/{prefix}", place.tokens[-1])
    open_all(loop, place, [second])
    uploads = upload_many(FIRST_VERSION, second.version, small_changesets(1, changesets))
    gate.open()
    write_all(loop, [Writer(second, uploads, EVERYTHING)])
    gate.close()
    return {}
