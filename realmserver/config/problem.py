"""What is wrong with a configuration, as a value, and how a terminal shows it.

A problem has a place in the file, or comes from an option, or belongs to a key that nobody gave. Its form is that of
compilers, which editors know: ``FILE:LINE:COLUMN: KEY: what is wrong; what to write``, the line, and a mark below it.
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

MAX_LINE_SHOWN: Final = 100
"""Characters of a faulty line that a message repeats: with the indentation it fits on most terminals."""

INDENT: Final = "    "
CUT: Final = "…"

_BOLD, _RED, _PLAIN = "\x1b[1m", "\x1b[1;31m", "\x1b[0m"


@frozen
class Problem:
    """``text`` says what is wrong and what to write, ``key`` is the dotted key it is about ("" where it is none).

    ``file`` is None for what no file says; ``line`` and ``column`` count from 1 and are 0 where the problem has no
    place in the file; ``shown`` is that line as it stands. ``option`` is the command-line option that gave the value.
    """

    key: str
    text: str
    file: str | None = None
    line: int = 0
    column: int = 0
    shown: str = ""
    option: str | None = None

    @property
    def place(self) -> str:
        """``FILE:LINE:COLUMN``, an option, or nothing."""
        if self.file is None:
            return self.option or ""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    @property
    def headline(self) -> str:
        """The problem in one line, for a log."""
        return _printable(": ".join(part for part in (self.place, self.key, self.text) if part))

    def __str__(self) -> str:
        return "\n".join((self.headline, *self._picture()))

    def _picture(self) -> tuple[str, ...]:
        """The line, and the mark under the column."""
        if not self.line or not self.shown.strip():
            return ()
        start = 0
        if len(self.shown) > MAX_LINE_SHOWN and self.column > MAX_LINE_SHOWN // 2:
            start = min(self.column - MAX_LINE_SHOWN // 2, len(self.shown) - MAX_LINE_SHOWN)
        part = self.shown[start : start + MAX_LINE_SHOWN]
        before = (CUT if start else "") + self.shown[start : self.column - 1]
        line = (CUT if start else "") + part + (CUT if start + len(part) < len(self.shown) else "")
        # Tabs stay, in the line and below it, so that the mark is in its place however wide they are.
        return INDENT + _printable(line), INDENT + "".join(map(_blank, before)) + "^"


def _printable(text: str) -> str:
    """``text`` without what would do something to a terminal."""
    return "".join(each if each.isprintable() or each == "\t" else "\N{REPLACEMENT CHARACTER}" for each in text)


def _blank(character: str) -> str:
    """Blanks as wide as ``character`` is on a terminal."""
    if character == "\t":
        return "\t"
    if unicodedata.combining(character):
        return ""
    return "  " if unicodedata.east_asian_width(character) in "WF" else " "


def render(problem: Problem, colour: bool) -> str:
    """``problem`` for the standard error; with ``colour`` for a terminal that knows the usual codes."""
    if not colour:
        return f"error: {problem}"
    first, *picture = str(problem).split("\n")
    place = f"{_BOLD}{_printable(problem.place)}{_PLAIN}" if problem.place else ""
    lines = [f"{_RED}error:{_PLAIN} {place}{first.removeprefix(_printable(problem.place))}"]
    if picture:
        lines += [picture[0], picture[1].replace("^", f"{_RED}^{_PLAIN}")]
    return "\n".join(lines)


class ConfigurationError(Exception):
    """The configuration is wrong. ``log_path`` is the log that the problems belong into as well (section 6.1), None
    where none is configured."""

    def __init__(self, problems: Sequence[Problem], log_path: Path | None = None) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.log_path: Path | None = log_path
