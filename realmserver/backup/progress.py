"""How far a long command has come: a bar on a terminal, plain lines elsewhere.

Sizes are bytes. The work knows :class:`Progress` only; a test listens to it with one of its own.
"""

import sys
from collections.abc import Callable
from typing import Final, NoReturn, Protocol, TextIO

from tqdm import tqdm

_PARTS: Final = 10
"""Plain lines tell every tenth: enough to see that it goes on, few enough for a log."""


class Progress(Protocol):
    """Hears of a command's progress."""

    def begin(self, label: str, total: int) -> None:
        """``total`` bytes are to be worked through; ``label`` says what is done with them."""

    def at(self, done: int) -> None:
        """``done`` bytes are behind; never fewer than before, perhaps more than the total."""

    def problem(self, text: str) -> None:
        """Something is wrong, and the work goes on."""

    def end(self) -> None:
        """The work that has begun is over, one way or the other."""


class Bar:
    """A :class:`Progress` on a terminal."""

    def __init__(self, screen: TextIO) -> None:
        self._screen = screen
        self._bar: tqdm[NoReturn] | None = None

    def begin(self, label: str, total: int) -> None:
        tqdm.monitor_interval = 0  # its thread would stand in the way of fork
        self._bar = tqdm(total=total, desc=label, unit="B", unit_scale=True, file=self._screen, leave=False)

    def at(self, done: int) -> None:
        if self._bar is not None:
            self._bar.total = max(self._bar.total or 0, done)
            self._bar.update(done - self._bar.n)

    def problem(self, text: str) -> None:
        tqdm.write(text, file=self._screen)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Lines:
    """A :class:`Progress` for logs: ``write`` takes a line of progress, ``complain`` one of a problem."""

    def __init__(self, write: Callable[[str], None], complain: Callable[[str], None]) -> None:
        self._write = write
        self._complain = complain
        self._label = ""
        self._total = 0
        self._told = 0

    def begin(self, label: str, total: int) -> None:
        self._label, self._total, self._told = label, total, 0

    def at(self, done: int) -> None:
        part = min(done, self._total) * _PARTS // self._total if self._total else _PARTS
        if part > self._told and part < _PARTS:  # the end has lines of its own
            self._write(f"{self._label}: {part * 100 // _PARTS} %")
        self._told = max(self._told, part)

    def problem(self, text: str) -> None:
        self._complain(text)

    def end(self) -> None:
        pass


def for_screen(write: Callable[[str], None], complain: Callable[[str], None]) -> Progress:
    """A bar if the standard error is a terminal, lines otherwise."""
    return Bar(sys.stderr) if sys.stderr.isatty() else Lines(write, complain)
