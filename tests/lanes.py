"""The steps of ``run-tests``, side by side in two lanes, since what starts servers or devices mostly waits.

``python tests/lanes.py FAILED [pytest arguments]``; ``FAILED`` names what is known to be amiss, or is empty. Keeps
true: all steps run even if one fails; the output of a lane is kept together; both end on Ctrl-C; the last line says how
it ended. Every test is in one of the lanes, those in directories to come as well. With arguments there is one lane,
with them for pytest.

Two lanes at once may share what is here: ports are picked among free ones, directories are pytest's own, and what tests
bound is either the memory of a server's process or time with much room.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Final

from attrs import define, field, frozen

ROOT: Final = Path(__file__).resolve().parents[1]

BIN: Final = Path(sys.executable).parent

SERVERS: Final = "tests/system"
"""Where tests start servers: with the checks and the pure run, half of all work."""

DEVICES: Final = "tests/interop"
"""Where tests drive real SDKs besides. Those that only compute come before them, and are the sooner known to fail."""

RUST: Final = "native/Cargo.toml"

SHOWN: Final = 0.2
"""Seconds between two looks for more output."""

INTERRUPTED: Final = 130


@frozen
class Step:
    """One command. ``tests/conftest.py`` and the like are checked by themselves (``setup.cfg``)."""

    name: str
    command: Sequence[str | Path]


def has_rust_tools() -> bool:
    return shutil.which("cargo") is not None and all(
        subprocess.run(("cargo", tool, "--version"), capture_output=True, check=False).returncode == 0
        for tool in ("fmt", "clippy")
    )


def rust_checks() -> Iterator[Step]:
    """Style of what is in Rust, if anything is."""
    if not (ROOT / RUST).exists():
        return
    if not has_rust_tools():
        print("note: cargo, its fmt or its clippy is missing, so nothing looks at the style of native/.", flush=True)
        return
    yield Step("cargo fmt", ("cargo", "fmt", "--manifest-path", RUST, "--check"))
    clippy = ("cargo", "clippy", "--manifest-path", RUST, "--release", "--locked", "--quiet")
    # Beside what the build has there, which it would build anew each time otherwise.
    where = ("--target-dir", "native/target/clippy")
    yield Step("cargo clippy", ("env", f"PYO3_PYTHON={sys.executable}", *clippy, *where, "--", "-D", "warnings"))


def checks() -> Iterator[Step]:
    """Style, types and the manual."""
    yield Step("ruff check", (BIN / "ruff", "check", "."))
    yield Step("ruff format", (BIN / "ruff", "format", "--check", "."))
    yield Step("mypy", (BIN / "mypy", "--strict"))
    for conftest in sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("conftest.py")):
        yield Step(f"mypy {conftest}", (BIN / "mypy", "--strict", "--no-error-summary", conftest))
    yield from rust_checks()
    # From scratch, or warnings about pages that have not changed would be told only once.
    options = ("--fresh-env", "--quiet", "--fail-on-warning")
    yield Step("manual", (BIN / "sphinx-build", *options, "docs", ".build/docs"))


def pytest(name: str, *arguments: str) -> Step:
    return Step(name, (sys.executable, "-m", "pytest", *arguments))


def lanes(arguments: Sequence[str]) -> list["Lane"]:
    """What is to be done. Where a compiler is, tests are of machine code (``setup.py``), and those that concern it run
    in pure Python as well: all of them, or none."""
    if arguments:
        return [Lane("everything", [*checks(), pytest("pytest", *arguments)])]
    one = [*checks(), pytest("pytest, servers", SERVERS)]
    if any((ROOT / "realmserver").glob("*.sha256")):
        one.append(Step("pytest, pure Python", (sys.executable, "tests/pure.py")))
    other = [pytest("pytest", f"--ignore={SERVERS}", f"--ignore={DEVICES}"), pytest("pytest, real SDKs", DEVICES)]
    return [Lane("checks, servers", one), Lane("units, real SDKs", other)]


def environment() -> dict[str, str]:
    """Ours, but what was compiled to bytecode is kept: some hundred servers are started."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@define(eq=False)
class Lane:
    """Steps one after the other. ``failed``: names of those that have, or have not been done. ``output``: where it
    goes; None: as it comes, to where ours goes."""

    name: str
    steps: Sequence[Step]
    failed: list[str] = field(init=False)
    output: IO[bytes] | None = None
    _running: subprocess.Popen[bytes] | None = None
    _is_stopped: bool = False

    def __attrs_post_init__(self) -> None:
        self.failed = [step.name for step in self.steps]

    def run(self) -> None:
        """Do all steps."""
        for step in self.steps:
            if self._is_stopped:
                return
            self._say(f"== {step.name}")
            begun = time.monotonic()
            try:
                if self._call(step.command) == 0:
                    self.failed.remove(step.name)
            except OSError as error:
                self._say(f"{error.filename}: {error.strerror}")
            self._say(f"-- {step.name}: {time.monotonic() - begun:.0f} s")

    def _call(self, command: Sequence[str | Path]) -> int:
        # Beside others in a group of its own, so that Ctrl-C comes to it once, by way of us. Alone it has the terminal.
        group = None if self.output is None else 0
        self._running = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdout=self.output, stderr=self.output, process_group=group
        )
        if self._is_stopped:  # just now
            self.stop(signal.SIGTERM)
        return self._running.wait()

    def stop(self, number: int) -> None:
        """Begin nothing more, and end what runs as Ctrl-C would, unless that was it."""
        self._is_stopped = True
        has_heard = self.output is None and number == signal.SIGINT
        if self._running is not None and self._running.poll() is None and not has_heard:
            self._running.send_signal(signal.SIGINT)

    def _say(self, text: str) -> None:
        output = self.output or sys.stdout.buffer
        output.write(f"{text}\n".encode())
        output.flush()


def run(planned: Sequence[Lane], failed: Sequence[str] = ()) -> int:
    """Have all lanes do their steps; returns the exit code. ``failed``: what is amiss besides."""
    stopped: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopped.append(number)
        for lane in planned:
            lane.stop(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    with tempfile.TemporaryDirectory() as directory:
        if len(planned) > 1:
            for index, lane in enumerate(planned):
                lane.output = (Path(directory) / str(index)).open("wb")
        threads = [threading.Thread(target=lane.run) for lane in planned]
        for thread in threads:
            thread.start()
        for lane, thread in zip(planned, threads, strict=True):
            if lane.output is not None:
                with lane.output:
                    print(f"==== {lane.name}", flush=True)
                    _show(lane.output.name, thread)
            thread.join()
    for number, handler in before.items():
        signal.signal(number, handler)
    if stopped:
        print("run-tests: stopped")
        return INTERRUPTED
    names = [*failed, *(name for lane in planned for name in lane.failed)]
    print(f"run-tests: FAILED: {', '.join(names)}" if names else "run-tests: passed")
    return 1 if names else 0


def _show(path: str, thread: threading.Thread) -> None:
    """Copy what a lane says to our output, until it is over."""
    with open(path, "rb") as reading:
        while True:
            is_over = not thread.is_alive()
            sys.stdout.buffer.write(reading.read())
            sys.stdout.buffer.flush()
            if is_over:
                return
            thread.join(SHOWN)


def main(failed: str, *arguments: str) -> int:
    return run(lanes(arguments), [failed] if failed else [])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
