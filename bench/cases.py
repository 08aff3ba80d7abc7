"""What there is to measure: workloads, each with cases; and what a case is given to measure with."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, Literal, Protocol

from attrs import frozen

from bench.load.client import Place
from bench.load.crew import Generator, Report
from bench.usage import Usage

Size = Literal["full", "quick", "tiny"]
"""How much work: ``full`` for figures to be published, ``quick`` for a first look, ``tiny`` to see that all works."""

Figures = dict[str, float]
"""By name and unit, such as ``changesets/s``. The first is what targets are compared by."""

NOT_POSSIBLE: Final[Figures] = {}
"""What cannot be measured with this target, such as a restart of a server that somebody else has started."""


@frozen
class Timed:
    """Generators at work: seconds from the first that began to the last that ended, and what they have counted.
    ``usage``: what the server has taken by the end, with all connections still open; None if that cannot be seen."""

    seconds: float
    reports: tuple[Report, ...]
    usage: Usage | None = None

    def total(self, name: str) -> float:
        """The sum of what they have counted under this name."""
        return sum(sum(report.counted.get(name, ())) for report in self.reports)

    def series(self, name: str) -> list[float]:
        """All that they have counted under this name."""
        return [value for report in self.reports for value in report.counted.get(name, ())]


class Stage(Protocol):
    """A server that was just started, for one case. ``prefix`` begins the paths of its Realms: nobody has used them
    before."""

    @property
    def place(self) -> Place: ...

    @property
    def prefix(self) -> str: ...

    @property
    def generators(self) -> int:
        """Into how many processes a load is to be divided, where it can be."""

    def work(self, jobs: Sequence[tuple[Generator, tuple[object, ...]]]) -> Timed:
        """Run load generators; what the server takes meanwhile is noted, of the last call only."""

    def usage(self) -> Usage | None:
        """What the server has taken by now; None if that cannot be seen."""

    def restart(self) -> float | None:
        """Stop the server in order and start it again with its data; what time.perf_counter said at the start, None if
        this server cannot be restarted from here. ``place`` is another then."""

    def served(self, seconds: float) -> None:
        """Without load generators: a restarted server has done what is measured, in so many seconds."""


@frozen
class Case:
    """One thing to measure. Cases of one ``line`` are the same at different amounts of ``work``: they make a plot."""

    workload: str
    name: str
    measure: Callable[[Stage], Figures]
    line: str = ""
    work: float = 0


def is_more_better(figure: str) -> bool:
    """Rates are better when they are higher, times and memory when they are lower."""
    return figure.endswith("/s")


def shares(count: int, parts: int) -> list[range]:
    """The numbers below ``count``, divided into ``parts`` (fewer if there are not so many)."""
    parts = min(count, parts)
    bounds = [count * part // parts for part in range(parts + 1)]
    return [range(low, high) for low, high in pairwise(bounds)]
