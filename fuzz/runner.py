"""The loop of a fuzz run without atheris: the corpus first, then random mutations of it for a while."""

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from fuzz.mutate import Mutator
from fuzz.recorder import Recorder

CORPUS: Final = Path(__file__).parent / "corpus"
"""Inputs that reach much, by target; small, and part of the repository."""


@frozen
class Outcome:
    """How many inputs were tried in how many seconds."""

    runs: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.runs} inputs in {self.seconds:.1f} s, {self.runs / max(self.seconds, 1e-9):.0f} a second"


def corpus_of(name: str, directory: Path = CORPUS) -> list[bytes]:
    """The inputs of the target's corpus, always in the same order."""
    return [file.read_bytes() for file in sorted((directory / name).glob("*"))]


def run_plain(
    recorder: Recorder,
    corpus: Sequence[bytes],
    *,
    seconds: float,
    seed: int,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Try all of ``corpus``, then mutations of it for ``seconds``. The same ``seed`` tries the same inputs in the same
    order; how far it comes depends on the machine."""
    start = clock()
    for data in corpus:
        recorder.run(data)
    target = recorder.target
    mutator = Mutator(random.Random(seed), corpus or [b""], target.tokens, target.longest)
    before = clock()
    while clock() - before < seconds:
        recorder.run(mutator())
    return Outcome(recorder.runs, clock() - start)
