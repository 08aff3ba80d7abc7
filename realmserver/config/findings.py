"""What a check finds, before it is known where in a file that is."""

import os
from collections.abc import Callable
from pathlib import Path

from attrs import frozen


@frozen
class Finding:
    """``text`` is wrong about ``key``. ``others`` are the keys that play a part: what was found means nothing if one of
    them is wrong by itself, and the first of them that was given is the place where ``key`` was not."""

    key: str
    text: str
    others: tuple[str, ...] = ()


Where = Callable[[str], str]
"""The place of a key in brackets, for a text about another (" (line 12)"), or nothing where it was not given."""


def user() -> str:
    return f"the server's user (number {os.geteuid()})"


def unreachable(path: Path, error: OSError) -> str:
    """For a name that is too long, or a directory on the way that is closed to the server."""
    return f"{user()} cannot get at {path}: {error.strerror}; open the way to it or name another"


def with_cure(text: str) -> str:
    """A text of ``auth`` ("What is wrong. What to do") in the form of this room's."""
    fault, stop, cure = text.partition(". ")
    return f"{fault}; {cure[:1].lower()}{cure[1:]}" if stop else text
