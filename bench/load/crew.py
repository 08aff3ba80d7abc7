"""Load generators as processes of their own, which begin together and are measured together.

A generator is a function; it prepares what it needs, calls :meth:`Gate.open`, works, calls :meth:`Gate.close`, and
returns what it has counted. Between its two calls the clock runs; its connections stay open until the server's figures
have been read.
"""

import multiprocessing
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final

from attrs import frozen

from bench.load.wire import Trouble

PREPARATION: Final = 3600.0
"""Seconds for what a generator does before it opens its gate."""

Counted = dict[str, list[float]]
"""What a generator has counted, by name: one number, or one for each event. Numbers are added up over the generators,
series joined."""

Ready = Callable[[], None]


@frozen
class Report:
    """One generator's work: when the clock ran, in seconds of time.perf_counter, and its own CPU seconds meanwhile."""

    begun: float
    ended: float
    cpu: float
    counted: Counted


class Gate:
    """Where a generator waits for the others."""

    def __init__(self, pipe: "Connection[object, object]") -> None:
        self._pipe = pipe
        self.begun = self.ended = self.cpu = 0.0

    def open(self) -> None:
        """All is prepared: wait for the others, and let the clock run."""
        self._pipe.send("ready")
        self._pipe.recv()
        self.cpu = time.process_time()
        self.begun = time.perf_counter()

    def close(self) -> None:
        """The work is done."""
        self.ended = time.perf_counter()
        self.cpu = time.process_time() - self.cpu


Generator = Callable[..., Counted]
"""Called with a :class:`Gate` and its arguments. A function of a module, since another process has to find it."""


def work(jobs: Sequence[tuple[Generator, tuple[object, ...]]], ready: Ready, done: Ready) -> list[Report]:
    """Run the generators of ``jobs``. ``ready`` is called before their clocks start, ``done`` when all have finished.

    Raises :class:`Trouble` with the text of the first that met with any.
    """
    context = multiprocessing.get_context("spawn")
    members: list[tuple[BaseProcess, Connection[object, object]]] = []
    try:
        for generator, arguments in jobs:
            here, there = context.Pipe()
            process: BaseProcess = context.Process(target=_run, args=(there, generator, arguments), daemon=True)
            process.start()
            there.close()
            members.append((process, here))
        for _, pipe in members:
            _receive(pipe)
        ready()
        for _, pipe in members:
            pipe.send("go")
        reports = [_receive(pipe) for _, pipe in members]
        done()
        for process, pipe in members:
            pipe.send("enough")
            process.join()
        return [report for report in reports if isinstance(report, Report)]
    finally:
        for process, pipe in members:
            pipe.close()
            process.kill()
            process.join()


def _receive(pipe: "Connection[object, object]") -> object:
    if not pipe.poll(PREPARATION):
        raise Trouble("a load generator is stuck")
    try:
        received = pipe.recv()
    except EOFError:
        raise Trouble("a load generator has died") from None
    if isinstance(received, Trouble):
        raise received
    return received


def _run(pipe: "Connection[object, object]", generator: Generator, arguments: tuple[object, ...]) -> None:
    gate = Gate(pipe)
    try:
        counted = generator(gate, *arguments)
        pipe.send(Report(gate.begun, gate.ended, gate.cpu, counted))
    except Trouble as trouble:
        pipe.send(trouble)
    except Exception:  # noqa: BLE001 - told to the process that started this one
        pipe.send(Trouble(f"a load generator has failed:\n{traceback.format_exc()}"))
    with suppress(EOFError, KeyboardInterrupt):
        pipe.recv()  # the connections of this process end with it
