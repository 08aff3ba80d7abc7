"""A planned stop while 200 clients upload: nothing acknowledged is lost, and all come back by themselves."""

import random
import signal
from collections.abc import Iterator
from typing import Final

import pytest
from running_reactor import reactor, run
from server_process import ServerProcess
from twisted.internet.defer import Deferred, gatherResults

from realmserver.client.app import App, partition
from realmserver.client.connection import Client

pytestmark = pytest.mark.system

CLIENTS: Final = 200
REALMS: Final = 50
BEFORE: Final = 3
"""Writes that every client has acknowledged when the stop begins, all of them still uploading."""
AFTER: Final = 2
"""And more of them once the server is back."""


class Uploader:
    """Writes one object after the other, each when the last was acknowledged, and remembers the acknowledged ones."""

    def __init__(self, app: App, number: int) -> None:
        self.name = f"{number:03}"
        self.path = partition(f"realm-{number % REALMS}")
        self.acknowledged: list[str] = []
        self.errors: list[Exception] = []
        self._app = app
        self._is_ending = False
        self._marks: list[tuple[int, Deferred[None]]] = []
        self._random = random.Random(number)
        self.client: Client

    async def begin(self) -> None:
        """Log in and open the Realm."""
        user = await self._app.login_anonymous()
        self.client = Client(
            reactor,
            user,
            on_error=lambda _, error: self.errors.append(error),
            delays=lambda _: 0.2 + self._random.random() / 5,
        )
        self.realm = self.client.open(self.path)
        await self.realm.downloaded()

    def write(self) -> None:
        """Begin to write."""
        self.done = Deferred.fromCoroutine(self._write_on())

    def reached(self, count: int) -> Deferred[None]:
        """Fires when so many writes have been acknowledged."""
        reached: Deferred[None] = Deferred()
        self._marks.append((count, reached))
        self._tell()
        return reached

    async def end(self) -> None:
        """Let the last write be acknowledged, and close."""
        self._is_ending = True
        await self.done
        await self.client.close()

    async def _write_on(self) -> None:
        for key in self._keys():
            with self.realm.write() as tx:
                if "Thing" not in self.realm.values.classes():
                    tx.add_class("Thing", "_id", "string")
                    tx.add_property("Thing", "writer", "string")
                tx.create("Thing", key, {"writer": self.name})
            await self.realm.uploaded()
            self.acknowledged.append(key)
            self._tell()
            if self._is_ending:
                return

    def _keys(self) -> Iterator[str]:
        number = 0
        while True:
            yield f"{self.name}-{number}"
            number += 1

    def _tell(self) -> None:
        for mark in [mark for mark in self._marks if mark[0] <= len(self.acknowledged)]:
            self._marks.remove(mark)
            mark[1].callback(None)


def test_two_hundred_uploading_clients_survive_a_planned_stop(server_process: ServerProcess) -> None:
    server_process.settings = "logging: {level: warn}\n"
    server_process.start()
    app = App(reactor, server_process.url, "drain")
    uploaders = [Uploader(app, number) for number in range(CLIENTS)]

    async def all_reached(more: int) -> None:
        await gatherResults([each.reached(len(each.acknowledged) + more) for each in uploaders], consumeErrors=True)

    async def begin() -> None:
        for each in uploaders:
            await each.begin()
        for each in uploaders:
            each.write()
        await all_reached(BEFORE)

    async def come_back() -> None:
        await all_reached(AFTER)

    async def end() -> None:
        await gatherResults([Deferred.fromCoroutine(each.end()) for each in uploaders], consumeErrors=True)

    async def content() -> dict[str, set[str]]:
        """The keys that a new client finds, by Realm."""
        client = Client(reactor, await app.login_anonymous())
        found: dict[str, set[str]] = {}
        for path in sorted({each.path for each in uploaders}):
            realm = client.open(path)
            await realm.downloaded()
            found[path] = {str(key) for key, _ in realm.values.state()["Thing"]}
        await client.close()
        return found

    run(begin())
    assert server_process.stop(signal.SIGTERM) == 0
    server_process.start()
    run(come_back())
    run(end())
    assert [error for each in uploaders for error in each.errors] == []
    found = run(content())
    for each in uploaders:
        mine = {key for key in found[each.path] if key.startswith(f"{each.name}-")}
        assert set(each.acknowledged) <= mine
        assert mine == set(each.acknowledged)
    assert "Traceback" not in server_process.text()
