"""Many clients that write all the time, as a process of its own: it outlives the deaths of the server it talks to.

    PYTHONPATH=tests python -m faults.load URL DIRECTORY [--clients 50] [--realms 10] [--seed 1] [--pause 0.5] ...

Each client has one Realm and shares it with others. Each of its transactions makes an entry that occurs once, appends
its key to a list that all of the Realm share, and adds an amount to a counter: three ways to see one that is lost or
doubled. Now and then a client drops its connection and comes back on another, as the same client file; and visitors
come, each a new user with a new Realm, so that there is always one being made. What was acknowledged is in
``DIRECTORY/journal`` (``journal``).

Prints "ready" when every client has been acknowledged once. After a line on the standard input it stops writing, waits
until all is uploaded and downloaded, looks at each Realm through a fresh client as well, and writes what every client
holds to ``DIRECTORY/states.json``; then it prints "finished". Another line ends it.
"""

import argparse
import hashlib
import json
import random
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from faults.journal import APP, Acknowledgement, Journal, Record, Trouble, Write
from realmserver.client.access import Unreachable
from realmserver.client.app import App, AppError, User, partition
from realmserver.client.connection import Client
from realmserver.client.errors import Closed, SyncFailed
from realmserver.client.local import LocalRealm
from realmserver.client.synced import SyncedRealm
from realmserver.realms.reading import json_text

MAX_DELAY: Final = 0.5
"""Seconds between two attempts to reach the server: it comes back soon, and clients are to be there at once."""

LARGE: Final = 40_000
"""Bytes of a large entry: a few of them make a Realm's file grow."""

COMEBACK_SHARE: Final = 0.03
WAIT_SHARE: Final = 0.3
"""How often a client comes back on another connection, and waits for its acknowledgement."""

VISIT_PAUSE: Final = 0.4
"""Seconds between visitors."""

VISIT_WRITES: Final = 3

reactor: Any = installed


def later(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds, lambda: None)


def delays(failures: int) -> float:
    return min(MAX_DELAY, 0.02 * 2.0 ** min(failures, 16))


class Load:
    """All of it. ``failures`` are what nobody foresaw; one makes the process end with 1."""

    def __init__(self, url: str, journal: Journal, chance: random.Random, pause: float, large: float) -> None:
        self.app = App(reactor, url, APP)
        self.journal = journal
        self.chance = chance
        self.pause = pause
        self.large = large
        self.is_writing = True
        self.devices: list[Device] = []
        self.visits = 0

    async def user(self) -> User:
        """A new user, however long it takes."""
        for failures in count():
            try:
                return await self.app.login_anonymous()
            except Unreachable:
                pass
            except AppError as error:
                if error.status < 500:
                    raise
            await later(delays(failures))
        raise AssertionError

    async def device(self, name: str, realm: str) -> "Device":
        return Device(self, name, realm, await self.user())

    async def run(self, clients: int, realms: int) -> None:
        """Let all clients write until they are told to stop."""
        self.devices = [await self.device(f"c{number}", f"r{number % realms}") for number in range(clients)]
        await gatherResults([Deferred.fromCoroutine(device.write_first()) for device in self.devices])
        print("ready", flush=True)
        work = [device.write_all_the_time() for device in self.devices]
        await gatherResults([Deferred.fromCoroutine(each) for each in [*work, self.visit_all_the_time()]])

    async def visit_all_the_time(self) -> None:
        while self.is_writing:
            self.visits += 1
            visitor = await self.device(f"v{self.visits}", f"new{self.visits}")
            for _ in range(VISIT_WRITES):
                visitor.write()
            await visitor.settled()
            visitor.end()
            await later(VISIT_PAUSE)

    async def settle(self) -> None:
        """Wait until everybody has everything."""
        for device in self.devices:
            await device.settled()
        for device in self.devices:
            await device.realm.downloaded()

    async def states(self) -> dict[str, dict[str, object]]:
        """What every client holds, and a fresh one for each Realm."""
        realms = {device.path for device in self.devices}
        fresh = [await self.device("fresh", realm) for realm in sorted(realms)]
        for device in fresh:
            await device.realm.downloaded()
        states: dict[str, dict[str, object]] = {}
        for device in [*self.devices, *fresh]:
            states.setdefault(device.path, {})[device.name] = digest(device.realm.values.state())
            device.end()
        return states


class Device:
    """One client file, named ``name``, of the partition ``path``."""

    def __init__(self, load: Load, name: str, path: str, user: User) -> None:
        self.name = name
        self.path = path
        self._load = load
        self._user = user
        self._local = LocalRealm()
        self._numbers: Iterator[int] = count()
        self._pending: deque[Write] = deque()
        self._open()

    def _open(self) -> None:
        self._client = Client(reactor, self._user, on_error=self._trouble, delays=delays)
        self.realm: SyncedRealm = self._client.open(partition(self.path), self._local)

    def end(self) -> None:
        self._client.close()

    def come_back(self) -> None:
        """The same client file on a new connection, without waiting for the end of the old one."""
        self._client.close()
        self._open()
        self._watch()

    async def settled(self) -> None:
        """All that was written is acknowledged."""
        while self._pending:
            try:
                await self.realm.uploaded()
            except Closed:  # and opened again
                continue
            self._acknowledged()

    def write(self) -> None:
        """One transaction, and a watch for its acknowledgement."""
        chance, key = self._load.chance, f"{self.name} {next(self._numbers)}"
        amount = chance.randint(1, 1000)
        size = LARGE if chance.random() < self._load.large else chance.randrange(200)
        with self.realm.write() as tx:
            tx.add_class("Entry", "_id", "string")
            tx.add_property("Entry", "content", "binary")
            tx.add_class("Ledger", "_id", "int")
            tx.add_property("Ledger", "total", "int")
            tx.add_property("Ledger", "entries", "string", collection="list")
            tx.create("Entry", key, {"content": chance.randbytes(size)})
            if self.realm.get("Ledger", 0) is None:
                tx.create("Ledger", 0)
            tx.increment("Ledger", 0, "total", amount)
            tx.list_append("Ledger", 0, "entries", key)
        write = Write(self.name, self.path, key, amount, self._local.last_written)
        self._load.journal.add([write])
        self._pending.append(write)
        self._watch()

    async def write_first(self) -> None:
        await self.realm.downloaded()
        self.write()
        await self.settled()

    async def write_all_the_time(self) -> None:
        chance = self._load.chance
        while self._load.is_writing:
            await later(chance.uniform(0, 2 * self._load.pause))
            self.write()
            if chance.random() < COMEBACK_SHARE:
                self.come_back()
            if chance.random() < WAIT_SHARE:
                await self.settled()

    def _watch(self) -> None:
        self.realm.uploaded().addCallbacks(lambda _: self._acknowledged(), self._given_up)

    def _acknowledged(self) -> None:
        """The server has all up to some version: that is on our disk before anything else happens."""
        file = self._local.file
        records: list[Record] = []
        while self._pending and self._pending[0].version <= file.upload.client_version:
            write = self._pending.popleft()
            records.append(Acknowledgement(self.name, self.path, write.key, file.ident, write.version))
        self._load.journal.add(records)

    def _given_up(self, failure: Failure) -> None:
        failure.trap(Closed)  # type: ignore[no-untyped-call]

    def _trouble(self, _: SyncedRealm | None, error: Exception) -> None:
        reset = isinstance(error, SyncFailed) and error.needs_reset
        self._load.journal.add([Trouble(self.name, self.path, f"{type(error).__name__}: {error}", reset)])


def digest(state: object) -> str:
    """What tells whether two states are the same."""
    return hashlib.sha256(json_text(state).encode()).hexdigest()


async def story(load: Load, clients: int, realms: int, states: Path, asked: "Asked") -> None:
    """The life of the process."""

    async def stop() -> None:
        await asked.once()
        load.is_writing = False

    await gatherResults([Deferred.fromCoroutine(load.run(clients, realms)), Deferred.fromCoroutine(stop())])
    await load.settle()
    states.write_text(json.dumps(await load.states()))
    print("finished", flush=True)
    await asked.once()


class Asked:
    """Lines of the standard input."""

    def __init__(self) -> None:
        self._waiting: deque[Deferred[None]] = deque()
        self._lines = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for _ in sys.stdin:
            reactor.callFromThread(self._come)
        reactor.callFromThread(self._end)

    def _come(self) -> None:
        if self._waiting:
            self._waiting.popleft().callback(None)
        else:
            self._lines += 1

    def _end(self) -> None:
        """Whoever started us is gone."""
        if reactor.running:
            reactor.stop()

    def once(self) -> Deferred[None]:
        """The next line."""
        done: Deferred[None] = Deferred()
        if self._lines:
            self._lines -= 1
            done.callback(None)
        else:
            self._waiting.append(done)
        return done


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run the reactor for ``main``; the exit code."""
    failures: list[Failure] = []

    def begin() -> None:
        Deferred.fromCoroutine(main()).addErrback(failures.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    for each in failures:
        print(each.getTraceback(), file=sys.stderr)
    return 1 if failures else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults.load", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--realms", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two writes of a client, on average")
    parser.add_argument("--large", type=float, default=0.02, help="the share of entries that are large")
    return parser.parse_args()


if __name__ == "__main__":
    options = parse()
    journal, chance = Journal(options.directory / "journal"), random.Random(options.seed)
    load = Load(options.url, journal, chance, options.pause, options.large)
    states = options.directory / "states.json"
    asked = Asked()
    sys.exit(run(lambda: story(load, options.clients, options.realms, states, asked)))
