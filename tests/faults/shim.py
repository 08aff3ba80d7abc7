"""Faults at a chosen system call of a server: the C source beside this, compiled when tests run, and how it is told.

The server knows nothing of it: the shim is preloaded, sits between LMDB or Python and the system, and without a rule
passes every call on. ``shim.c`` says what a rule can do.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from attrs import frozen
from server_process import ServerProcess

SOURCE: Final = Path(__file__).with_name("shim.c")

REALMS: Final = "*/user_data/*/data.mdb"
"""The files of Realms that exist."""

NEW_REALMS: Final = "*/creating/*"
"""The files of Realms that are being made."""

SYSTEM: Final = "*/system/data.mdb"
"""Accounts and tokens."""

WRITE, COMMIT, SYNC, TRUNCATE, RENAME, LINK, MKDIR = "w", "h", "s", "t", "r", "l", "m"

FOR_EVER: Final = 0

PATIENCE: Final = 30.0
"""Seconds for a rule to find its call, where clients write all the time."""


@frozen
class Rule:
    """What happens at which call: ``shim.c`` says what the fields mean. ``pause`` in milliseconds."""

    action: str
    calls: str
    pattern: str
    nth: int = 1
    count: int = 1
    pause: int = 0

    def line(self) -> str:
        return f"{self.nth} {self.count} {self.pause} {self.action} {self.calls} {self.pattern}\n"


def compiler() -> str | None:
    """The C compiler, if there is one."""
    return shutil.which(os.environ.get("CC", "cc"))


def require_shim() -> None:
    """Skips the test where the shim cannot be made; where CI is set that is a failure."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the shim that makes faults is for Linux")
    if compiler() is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no C compiler for the shim that makes faults")


@cache
def _directory() -> TemporaryDirectory[str]:
    """Lasts as long as the process."""
    return TemporaryDirectory(prefix="faults-")


@cache
def library() -> Path:
    """The compiled shim."""
    program = compiler()
    assert program is not None, "there is no C compiler"
    path = Path(_directory().name) / "shim.so"
    options = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([program, *options, "-o", str(path), str(SOURCE), "-ldl", "-lpthread"], check=True)
    return path


class Shim:
    """The shim of one server; to be made before that is started. ``directory`` is for its files."""

    def __init__(self, server: ServerProcess, directory: Path) -> None:
        self._server = server
        self._rule = directory / "rule"
        self._fired = directory / "fired"
        server.environment |= {
            "LD_PRELOAD": str(library()),
            "FAULTS_ROOT": str(server.root),
            "FAULTS_RULE": str(self._rule),
            "FAULTS_FIRED": str(self._fired),
        }

    def arm(self, rule: Rule) -> None:
        """From now on ``rule`` holds, in the place of any other; its calls are counted anew."""
        draft = self._rule.with_suffix(".new")
        draft.write_text(rule.line())
        draft.rename(self._rule)

    def disarm(self) -> None:
        """From now on nothing happens."""
        self._rule.unlink(missing_ok=True)

    def fired(self) -> list[str]:
        """A line for each fault so far: action, call and path."""
        return self._fired.read_text().splitlines() if self._fired.exists() else []

    def wait_until_fired(self, times: int = 1, seconds: float = PATIENCE) -> None:
        """Wait until there were so many faults in all."""
        wait_for(lambda: len(self.fired()) >= times, f"{times} faults, there were {self.fired()}", seconds)


def wait_for(holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait until something holds in another process; AssertionError if it does not come to it."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.01)
