"""Runs a target and keeps what breaks it: each finding once, made small, in a file with the command to repeat it."""

import hashlib
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import Factory, define, field

from fuzz.target import Check, Target

FOUND: Final = Path(__file__).parent / "found"
"""Where findings are put; not under version control."""

SLOW: Final = 10.0
"""Seconds of computing after which one input is a finding by itself: nothing that a stranger may send within the
targets' lengths takes a tenth of a second."""

SHRINKING: Final = 400
"""Runs that making one finding smaller may take."""


class TooSlow(Exception):
    """An input costs more time than a stranger may take."""


def place_of(error: BaseException) -> str:
    """Where ``error`` comes from: its type, and file and line that raised it. Findings of one place count once."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "nowhere"
    return f"{type(error).__name__} at {where}"


@define
class Recorder:
    """Calls ``target`` for one input after the other. ``findings`` are the files written, by place."""

    name: str
    target: Target
    directory: Path = FOUND
    say: Callable[[str], None] = print
    clock: Callable[[], float] = time.process_time
    runs: int = 0
    findings: dict[str, Path] = Factory(dict)
    _check: Check = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._check = self.target.check

    def run(self, data: bytes) -> None:
        """Give ``data`` to the target; nothing is raised, whatever it does."""
        self.runs += 1
        error = self._error_of(data)
        if error is not None and place_of(error) not in self.findings:
            self._keep(data, error)

    def _error_of(self, data: bytes) -> Exception | None:
        start = self.clock()
        try:
            self._check(data)
            if self.clock() - start > SLOW:
                raise TooSlow(f"{self.clock() - start:.1f} s for {len(data)} bytes")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we are looking for
            return error
        return None

    def _keep(self, data: bytes, error: Exception) -> None:
        place = place_of(error)
        small = data if isinstance(error, TooSlow) else self._shrunk(data, place)
        self.directory.mkdir(parents=True, exist_ok=True)
        file = self.directory / f"{self.name}-{hashlib.sha256(small).hexdigest()[:16]}"
        file.write_bytes(small)
        self.findings[place] = file
        self.say(f"\n{'=' * 20} {self.name}: {place} {'=' * 20}")
        self.say("".join(traceback.format_exception(self._error_of(small) or error)))
        self.say(f"input ({len(small)} bytes): {small[:400]!r}")
        self.say(f"repeat: python -m fuzz {self.name} --repeat {_shown(file)}")

    def _shrunk(self, data: bytes, place: str) -> bytes:
        """``data`` without the parts that ``place`` does not need: halves, quarters and so on are left out in turn."""
        budget = SHRINKING
        size = len(data) // 2
        while size and budget:
            start = 0
            while start < len(data) and budget:
                budget -= 1
                shorter = data[:start] + data[start + size :]
                error = self._error_of(shorter)
                if error is not None and place_of(error) == place:
                    data = shorter
                else:
                    start += size
            size //= 2
        return data


def _shown(file: Path) -> str:
    """``file`` as one can type it where one stands."""
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
