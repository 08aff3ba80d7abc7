"""Runs cases against targets, in turns, each on a server that was just started with an empty directory.

What the server takes of the machine is that of the measured part alone: CPU seconds and the most memory from the moment
when the load generators' clocks start until all of them have finished.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import Factory, asdict, define, frozen

from bench.cases import Case, Figures, Timed
from bench.load.client import Place
from bench.load.crew import Generator, work
from bench.load.wire import Trouble
from bench.targets import Running, Target
from bench.usage import Usage, forget_peak, usage

SETTLE: Final = 1.0
"""Seconds after a start in which the server finishes what it does only once."""


MOST_SHOWN: Final = 2000
"""Characters of the end of a server's output that are shown when it has failed."""


@frozen
class Run:
    """One run of one case. ``seconds``: of the measured part; ``load_cpu``: CPU seconds of the load generators; the
    server's figures are None where its processes cannot be seen. ``resident``: MiB before any client came."""

    figures: Figures
    seconds: float
    load_cpu: float
    server_cpu: float | None
    peak: float | None
    resident: float | None


@define
class OnStage:
    """One server for one case: see :class:`bench.cases.Stage`."""

    target: Target
    directory: Path
    generators: int
    running: Running
    prefix: str = ""
    timed: Timed = Factory(lambda: Timed(0.0, ()))
    before: Usage | None = None
    after: Usage | None = None

    @property
    def place(self) -> Place:
        return self.running.place

    def work(self, jobs: Sequence[tuple[Generator, tuple[object, ...]]]) -> Timed:
        reports = work(jobs, self._ready, self._done)
        begun, ended = min(report.begun for report in reports), max(report.ended for report in reports)
        self.timed = Timed(ended - begun, tuple(reports), self.after)
        return self.timed

    def served(self, seconds: float) -> None:
        self.timed = Timed(seconds, ())
        self.before, self.after = Usage(0.0, 0.0, 0.0, 0.0), self.usage()

    def usage(self) -> Usage | None:
        pid = self.running.pid
        return None if pid is None else usage(pid)

    def restart(self) -> float | None:
        if not self.target.can_start:
            return None
        self.running.stop()
        begun = time.perf_counter()
        self.running = self.target.start(self.directory)
        return begun

    def _ready(self) -> None:
        if self.running.pid is not None:
            forget_peak(self.running.pid)
        self.before = self.usage()

    def _done(self) -> None:
        self.after = self.usage()


@contextmanager
def on_stage(target: Target, directory: Path, generators: int) -> Iterator[OnStage]:
    """A server that was just started; its data goes away at the end."""
    stage = OnStage(target, directory, generators, target.start(directory), f"b{os.urandom(5).hex()}")
    try:
        yield stage
    finally:
        stage.running.stop()
        if directory.exists():
            shutil.rmtree(directory)


def run_case(case: Case, target: Target, directory: Path, generators: int, settle: float) -> Run | None:
    """Measure once, ``settle`` seconds after the start; None where ``target`` does not allow it.

    Raises :class:`Trouble` with the end of the server's output if it does not do what it should.
    """
    with on_stage(target, directory, generators) as stage:
        time.sleep(settle if target.can_start else 0)
        at_rest = stage.usage()
        try:
            figures = case.measure(stage)
        except Trouble as trouble:
            output = directory / "output.txt"
            end = output.read_text(errors="replace")[-MOST_SHOWN:] if output.exists() else ""
            raise Trouble(f"{trouble}\n{end}") from trouble
        if not figures:
            return None
        before, after = stage.before, stage.after
        return Run(
            figures,
            stage.timed.seconds,
            sum(report.cpu for report in stage.timed.reports),
            after.cpu - before.cpu if before and after else None,
            after.peak if after else None,
            at_rest.resident if at_rest else None,
        )


@frozen
class Result:
    """A case's runs, by target; and what went wrong, where a target could not be measured to the end."""

    case: Case
    runs: Mapping[str, Sequence[Run]]
    failures: Mapping[str, str] = Factory(dict)

    def content(self) -> dict[str, object]:
        """For the JSON file."""
        return {
            "workload": self.case.workload,
            "case": self.case.name,
            "line": self.case.line,
            "work": self.case.work,
            "runs": {target: [asdict(run) for run in runs] for target, runs in self.runs.items()},
            "failures": dict(self.failures),
        }


def run_all(
    cases: Sequence[Case],
    targets: Sequence[Target],
    runs: int,
    directory: Path,
    generators: int,
    settle: float,
    began: Callable[[str], None],
) -> Iterator[Result]:
    """Each case ``runs`` times with each of ``targets``, which take turns; one that has failed gets no more in that
    case. ``began`` is told of each run."""
    for case in cases:
        results: dict[str, list[Run]] = {target.name: [] for target in targets}
        failures: dict[str, str] = {}
        for number in range(runs):
            for target in targets:
                began(f"{case.workload}: {case.name}, {target.name}, run {number + 1}")
                if target.name in failures:
                    continue
                try:
                    run = run_case(case, target, directory / "server", generators, settle)
                except Trouble as trouble:
                    failures[target.name] = str(trouble)
                    results[target.name] = []
                else:
                    results[target.name] += [run] if run is not None else []
        yield Result(case, results, failures)
