"""How the front starts the process of a worker: what it inherits, and what it is told.

Keeps true: settings go through a pipe and never over the command line, where every user of the machine could read them;
the process has the link, the log's streams and the lock of the data directory, and nothing else that was open. The lock
is what makes a new server wait for workers that outlive a front which was killed.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import attrs
from attrs import frozen
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.python.failure import Failure

from realmserver.config.limits import LEAST_MESSAGE, Limits
from realmserver.net.link import Link

LINK: Final = 3
LOCK: Final = 4
"""The descriptors that a worker inherits, besides the standard ones."""

COMMAND: Final = (sys.executable, "-P", "-m", "realmserver.worker")
"""``-P``: nothing is imported from the directory that the server happens to have been started in."""

FOR_THE_FRONT: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a terminal or a supervisor sends to all processes of a server, and workers leave to the front."""

OF_THE_FRONT: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""Variables of the environment that are for the process that a supervisor has started."""


@frozen
class Settings:
    """What a worker is told of the configuration: its ``number``, what it may take (its share of ``limits`` and of
    ``max_open_files``), where its Realms and its log are, whether a backup may follow. ``public_key`` is PEM; it makes
    no tokens."""

    number: int
    root: str
    public_key: str
    max_open_files: int
    history_ttl: int
    has_backup: bool
    limits: Limits
    level: str
    log_path: str | None
    as_json: bool

    def to_json(self) -> bytes:
        return json.dumps(attrs.asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Settings":
        """The inverse of :meth:`to_json`."""
        found = json.loads(data)
        return cls(limits=Limits(**found.pop("limits")), **found)


def share_of(limits: Limits, workers: int) -> Limits:
    """The part of ``limits`` that each of so many workers may take. What is counted for a user or for a connection is
    counted over all of them, and stays as it is."""
    return attrs.evolve(limits, upload_backlog=max(LEAST_MESSAGE, limits.upload_backlog // workers))


class Hiring:
    """A :class:`~realmserver.net.workforce.Hire` of real processes. ``settings`` gives those of each worker; ``lock``
    is the descriptor of the data directory's lock; ``environment`` is the front's."""

    def __init__(
        self, reactor: Any, settings: Callable[[int], Settings], lock: int, environment: Mapping[str, str]
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._lock = lock
        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (package, environment.get("PYTHONPATH", ""))))
        self._environment = {name: value for name, value in environment.items() if name not in OF_THE_FRONT}
        self._environment["PYTHONPATH"] = path

    def __call__(self, number: int, link: Link, ended: Callable[[str], None]) -> Callable[[], None]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs, _blocked():
            process = self._reactor.spawnProcess(
                _Hired(self._settings(number).to_json(), ended),
                COMMAND[0],
                COMMAND,
                env=self._environment,
                childFDs={0: "w", 1: 1, 2: 2, LINK: theirs.fileno(), LOCK: self._lock},
            )
            adopt(self._reactor, ours, link)

        def kill() -> None:
            with suppress(ProcessExitedAlready):
                process.signalProcess("KILL")

        return kill


@contextmanager
def _blocked() -> Iterator[None]:
    """A process that is started meanwhile gets none of FOR_THE_FRONT until it has said that it ignores them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_FRONT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_signals_to_the_front() -> None:
    """In the process that was started: ignore what is not for it."""
    for number in FOR_THE_FRONT:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_FRONT)


def adopt(reactor: Any, stream: socket.socket, link: Link) -> None:
    """Let ``link`` have its own descriptor of ``stream``."""
    stream.setblocking(False)
    reactor.adoptStreamConnection(stream.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: link))


class _Hired(ProcessProtocol):
    def __init__(self, settings: bytes, ended: Callable[[str], None]) -> None:
        self._settings = settings
        self._ended = ended

    def connectionMade(self) -> None:
        self.transport.write(self._settings)  # type: ignore[union-attr]
        self.transport.closeStdin()  # type: ignore[union-attr]

    def processExited(self, reason: Failure) -> None:
        self._ended(_how(reason))


def _how(reason: Failure) -> str:
    error = reason.value
    if isinstance(error, ProcessTerminated) and error.signal:
        return f"signal {signal.Signals(error.signal).name}"
    return f"exit status {getattr(error, 'exitCode', '?')}"
