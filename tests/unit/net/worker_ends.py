"""A front and its workers in one process: real services, links and Realms, with pipes of memory between them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from test_connection import STOP_TIMEOUT, Fixture, OpenDoor
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from realmserver.auth.keys import make_keys
from realmserver.auth.tokens import Tokens
from realmserver.config.limits import Limits
from realmserver.figures import Figures, figures_of
from realmserver.http.site import QuietSite
from realmserver.metrics import Metrics
from realmserver.net.link import Link
from realmserver.net.owner import Owner
from realmserver.net.refusals import Refusals
from realmserver.net.relay import owner_of
from realmserver.net.seat import Desk
from realmserver.net.service import SyncService
from realmserver.net.workforce import Workforce
from realmserver.realms.paths import partition_realm
from realmserver.store.memory import MemoryStore

WORKERS = 2


class Pipe:
    """One end of a way between two links; what is written waits until the other end is told to look."""

    bufferSize = 0

    def __init__(self, link: Link) -> None:
        self.link = link
        self.came: list[bytes] = []
        self.written = 0
        self.is_cut = False
        self.other: Pipe
        self.producer: Any = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def write(self, data: bytes) -> None:
        self.written += 1
        self.other.came.append(data)

    def deliver(self) -> bool:
        """Let the link hear what has come; whether that was anything."""
        data = b"".join(self.came)
        self.came.clear()
        if data and not self.is_cut:
            self.link.dataReceived(data)
        return bool(data)

    def abortConnection(self) -> None:
        for end in (self, self.other):
            if not end.is_cut:
                end.is_cut = True
                end.link.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]


def join(one: Link, other: Link) -> tuple[Pipe, Pipe]:
    """A way between two links."""
    pipes = Pipe(one), Pipe(other)
    for end, far in (pipes, pipes[::-1]):
        end.other = far
    for end in pipes:
        end.link.makeConnection(end)  # type: ignore[no-untyped-call]
    return pipes


class MemoryWorker:
    """What the process of a worker has."""

    def __init__(self, fixture: "WorkersFixture", link: Link, ended: Callable[[str], None], limits: Limits) -> None:
        self.metrics = Metrics()
        self.ended = ended
        self.hangs = False
        self.logs = self.stops = 0
        self.is_followed = False
        self.owner = Owner(
            fixture.reactor,
            MemoryStore(random_bytes=os.urandom),
            fixture.tokens,
            max_open_files=10,
            history_ttl=0,
            limits=limits,
            refused=Refusals(self.metrics, fixture.reactor.seconds),
            crowded=lambda is_crowded: self.desk.crowded(is_crowded),
            metrics=self.metrics,
            on_failure=lambda realm: self.desk.realm_failed(realm),
        )
        self.desk = Desk(self.owner, self)
        self.owner.shared.new.on_make = self.desk.made
        self.link = Link(fixture.reactor, self.desk.heard, lambda: None, self.desk.end)
        self.desk.serve(self.link)
        self.pipes = join(link, self.link)

    def die(self, how: str = "signal SIGKILL") -> None:
        """End as a process does."""
        self.pipes[1].abortConnection()
        self.ended(how)

    def kill(self) -> None:
        self.die()

    def stop(self) -> None:
        self.stops += 1
        if not self.hangs:
            self.die("exit status 0")

    def reopen_log(self) -> None:
        self.logs += 1

    def figures(self) -> Figures:
        return figures_of(self.metrics.registry)

    def followed(self, is_followed: bool) -> None:
        self.is_followed = is_followed


class HeardCommits:
    """What a follower would have heard."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, ...]] = []

    def publish(self, path: str, data: bytes) -> None:
        self.heard.append((path, data.decode()))

    def written_anew(self, path: str) -> None:
        self.heard.append((path,))

    def send_away(self, why: str) -> None:
        self.heard.append((why,))


class WorkersFixture(Fixture):
    """A service whose Realms are with WORKERS workers. ``started``: all that were ever started, with their numbers."""

    def __init__(self, keys: Path, limits: Limits | None = None) -> None:
        reactor: Any = MemoryReactorClock()  # type: ignore[no-untyped-call]
        self.reactor = reactor
        self.door = OpenDoor()
        gate: Any = self.door
        self.tokens = Tokens(make_keys(keys / "key.pub", keys / "key"))
        self.started: list[tuple[int, MemoryWorker]] = []
        self.failed: list[str] = []

        def hire(number: int, link: Link, ended: Callable[[str], None]) -> Callable[[], None]:
            worker = MemoryWorker(self, link, ended, limits or Limits())
            self.started.append((number, worker))
            return worker.kill

        metrics = Metrics()
        self.feed = HeardCommits()
        self.workforce = Workforce(reactor, WORKERS, hire, metrics, self.failed.append, self.feed)
        self.service = SyncService(
            reactor, self.workforce, self.tokens, gate, stop_timeout=STOP_TIMEOUT, limits=limits, metrics=metrics
        )
        self.site = QuietSite(self.service.resource(), reactor)
        self.service.startService()

    @property
    def owner(self) -> Any:
        """Stands for all owners, of which tests use the threads only."""
        return self

    @property
    def _workers(self) -> Any:
        return self

    def realm(self, name: str) -> Any:
        """The Realm of this name, at its owner's."""
        return self.worker(owner_of(name, WORKERS)).owner.realm(name)

    def worker(self, number: int) -> MemoryWorker:
        """The worker of this number that was started last."""
        return next(worker for each, worker in reversed(self.started) if each == number)

    def pump(self) -> bool:
        """Let what is on its way arrive; whether there was anything."""
        self.reactor.advance(0)
        moved = [pipe.deliver() for _, worker in self.started for pipe in worker.pipes]
        return any(moved)

    def run_all(self) -> None:
        """Let everything come to rest."""
        while True:
            moved = self.pump()
            for _, worker in self.started:
                held: Any = worker.owner._workers
                moved = moved or bool(held.waiting)
                held.run_all()
            if not moved:
                return


def path_of(worker: int, number: int = 0) -> str:
    """The partition of some Realm that is ``worker``'s."""
    paths = (f'"realm {each}"' for each in range(1000))
    owned = [path for path in paths if owner_of(partition_realm("my-app", path), WORKERS) == worker]
    return owned[number]
