"""Takes over into the corpus what long runs have reached: ``python -m fuzz.keep TARGET [FILE ...]``.

From ``fuzz/work/TARGET``, or the files named, the smallest inputs are kept that go from one line of ``realmserver`` to
another which no input of the corpus has gone to from there. So the corpus stays small, and the short runs of the test
suite begin where the long ones have come.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

from fuzz.guided import WORK
from fuzz.pure import run_pure
from fuzz.runner import CORPUS, corpus_of
from fuzz.target import Check
from fuzz.targets import load
from realmserver import _build

PACKAGE: Final = str(_build.PACKAGE)

LONGEST: Final = 600
"""Bytes of an input that is kept."""

Step = tuple[str, int, int]
"""A file, and two line numbers reached one after the other within a function."""


def steps_of(check: Check, data: bytes) -> set[Step]:
    """The steps through our lines that ``check`` takes with ``data``."""
    steps: set[Step] = set()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGE):
            return None
        last = frame.f_lineno

        def line(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last
            steps.add((name, last, frame.f_lineno))
            last = frame.f_lineno
            return line

        return line

    sys.settrace(trace)
    try:
        check(data)
    finally:
        sys.settrace(None)
    return steps


def main(arguments: Sequence[str]) -> int:
    name, *files = arguments
    check = load(name).check
    known: set[Step] = set()
    for data in corpus_of(name):
        known |= steps_of(check, data)
    found = [Path(file) for file in files] or sorted((WORK / name).iterdir(), key=lambda file: file.stat().st_size)
    kept = 0
    for data in (file.read_bytes() for file in found):
        steps = steps_of(check, data) if len(data) <= LONGEST else set()
        if not steps <= known:
            known |= steps
            kept += 1
            (CORPUS / name / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    print(f"{name}: {kept} of {len(found)} inputs kept, {len(known)} steps")
    return 0


if __name__ == "__main__":
    sys.exit(run_pure("fuzz.keep", main, sys.argv[1:]))
