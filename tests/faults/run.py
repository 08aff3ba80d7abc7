"""A server and the clients that load it, each a process of its own, and what is wrong with the store afterwards."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from server_process import REPOSITORY, ServerProcess

from faults.shim import Shim, wait_for
from faults.verdict import Verdict, check

SOURCE: Final = "FAULTS_SOURCE"
"""The environment variable that names another source tree for the server: a copy of this one with a fault in it, which
is to be found. The clients and the checks stay those of this tree."""

SETTLING: Final = 240.0
"""Seconds for all clients to come to rest, on a busy machine."""

_TESTS: Final = REPOSITORY / "tests"


class LoadEnded(AssertionError):
    """The clients ended by themselves: a bug, or the server told one of them something that cannot be."""


class Load:
    """The process that ``faults.load`` is, with ``figures`` as its options. Its journal, its states and what it printed
    are in ``directory``."""

    def __init__(self, url: str, directory: Path, figures: Mapping[str, float]) -> None:
        self.directory = directory
        self._output = directory / "load.txt"
        self._lines: list[str] = []
        self._read_to = self._counted = 0  # bytes of the journal, and acknowledgements in them
        options = [text for name, value in figures.items() for text in (f"--{name}", str(value))]
        path = os.pathsep.join([str(_TESTS), str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.load", url, directory, *options],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output.open("ab"),
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.wait_for("ready")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.strip())

    def wait_for(self, line: str) -> None:
        """Wait until it says ``line``. Raises :class:`LoadEnded`."""

        def said() -> bool:
            if line not in self._lines:
                self.check()
            return line in self._lines

        wait_for(said, f"{line!r} of the clients", SETTLING)

    def check(self) -> None:
        """Raise :class:`LoadEnded` if it has ended."""
        if self._process.poll() is not None:
            raise LoadEnded(f"the clients ended with {self._process.returncode}:\n{self._output.read_text()}")

    @property
    def acknowledgements(self) -> int:
        """How many there are in the journal."""
        with (self.directory / "journal").open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):  # it is being written
                    break
                self._read_to += len(line)
                self._counted += line.startswith(b'["Acknowledgement"')
        return self._counted

    def wait_for_more(self, number: int) -> None:
        """Wait until so many more changes are acknowledged."""
        wanted = self.acknowledgements + number

        def come() -> bool:
            self.check()
            return self.acknowledgements >= wanted

        wait_for(come, f"{number} acknowledgements more", SETTLING)

    def finish(self) -> None:
        """Let it come to rest and tell what every client holds."""
        self._say()
        self.wait_for("finished")
        self._say()
        assert self._process.wait(SETTLING) == 0, self._output.read_text()

    def end(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def _say(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # who reads its answer sees that it has ended
            self._process.stdin.write("\n")
            self._process.stdin.flush()


class Run:
    """A server with the shim and a load, in ``directory``. The server is started here, the load with :meth:`begin`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = ServerProcess(directory)
        source = os.environ.get(SOURCE)
        if source:
            self._use_source(Path(source))
        self.shim = Shim(self.server, directory)
        self._load: Load | None = None

    def _use_source(self, source: Path) -> None:
        """Let the server be that of another tree, and make sure that it is."""
        self.server.environment["PYTHONPATH"] = str(source)
        command = [sys.executable, "-c", "import realmserver; print(realmserver.__file__)"]
        environment = {**os.environ, "PYTHONPATH": str(source)}
        found = subprocess.check_output(command, env=environment, cwd=self.directory, text=True)
        assert Path(found.strip()).resolve().is_relative_to(source.resolve()), f"{found} is not below {source}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._load is not None:
            self._load.end()
        self.server.kill()

    @property
    def load(self) -> Load:
        assert self._load is not None
        return self._load

    def begin(self, **figures: float) -> None:
        """Start the server and the clients, and wait until all of these have been acknowledged once. ``figures`` are
        options of ``faults.load``."""
        self.server.start()
        self._load = Load(self.server.url, self.directory, figures)

    def verdict(self) -> Verdict:
        """Let the clients come to rest, kill the server and look at what it left."""
        self.shim.disarm()
        trouble = ""
        try:
            self.load.finish()
        except AssertionError as error:
            trouble = str(error)
            self.load.end()
        self.server.kill()
        verdict = check(self.server.root, self.directory, is_settled=not trouble)
        if trouble:
            verdict.problems.append(trouble)
        return verdict


def one_line(verdict: Verdict) -> str:
    """The verdict for people: its figures, and the first of what is wrong."""
    return "\n".join([str(verdict), *(json.dumps(each)[:400] for each in verdict.problems[:10])])
