"""The devices of one test: started together, logged in, each in a Realm of the test's own, ended together."""

from __future__ import annotations

import itertools
import json
import os
import random
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from interop_model import Model, differences
from interop_schema import WORLD, Schema
from realm_client import RealmClient, at_once, settle

Json = Any

APP: Final = "interop"
ANONYMOUS: Final = ("anonymous",)
SEED: Final = "INTEROP_SEED"
"""Environment variable: repeats a failed random test."""

_numbers = itertools.count(1)


class Devices:
    """Starts clients against one server and remembers them."""

    def __init__(self, url: str, directory: Path, partition: str) -> None:
        """Args:
        url: the server's public HTTP address.
        directory: for the devices' files.
        partition: the Realm that ``open`` uses unless told otherwise; no other test has it.
        """
        self.url = url
        self.directory = directory
        self.partition = partition
        self.all: list[RealmClient] = []

    def start(
        self, version: str, *, schema: Schema = WORLD, name: str | None = None, resync: str = "manual"
    ) -> RealmClient:
        """Starts a device that is not logged in yet. A name used before means the same device with its old files."""
        name = name or f"{chr(ord('A') + len(self.all) % 26)}{len(self.all)}-{version}"
        home = self.directory / name
        home.mkdir(parents=True, exist_ok=True)
        classes = home / "schema.json"
        classes.write_text(json.dumps(schema))
        client = RealmClient(version, self.url, home, classes, app=APP, name=name, resync=resync)
        self.all.append(client)
        return client

    def open(
        self, *versions: str, schema: Schema = WORLD, login: tuple[str, ...] = ANONYMOUS, partition: Json = ...
    ) -> list[RealmClient]:
        """A new device for each version, logged in, with the Realm open; all start at the same time."""
        started = [self.start(version, schema=schema) for version in versions]
        for client in started:
            client.send("login", *login)
            client.send("open", self.partition if partition is ... else partition)
        for client in started:
            client.recv()
            client.recv()
        return started

    def end(self) -> None:
        for client in self.all:
            client.quit()


def new_account() -> tuple[str, str]:
    """An e-mail address that nobody has registered yet, and a password."""
    return f"user{os.getpid()}-{next(_numbers)}@example.com", "correct horse"


def new_partition(test: str) -> str:
    """A partition value that no test used before, with the test's name for those who read the server's log."""
    return f"{test} {os.getpid()}-{next(_numbers)}"


def new_seed() -> int:
    """A seed for one test, printed: the one of ``INTEROP_SEED`` if set, else by chance, but always the same one in CI,
    which is to judge the change before it and not the luck of the day."""
    fixed = zlib.crc32(os.environ["PYTEST_CURRENT_TEST"].encode()) if os.environ.get("CI") else None
    seed = int(os.environ.get(SEED, random.randrange(2**32) if fixed is None else fixed))
    print(f"repeat with {SEED}={seed}")
    return seed


def assert_equal(devices: Iterable[RealmClient], story: str = "", *, interrupted: bool = False) -> Json:
    """All devices hold the same objects, and none reported an error to its application. Returns what they hold.

    Args:
        story: what led here, for the message.
        interrupted: the server was away for a while, and the devices may have told so; a reset or a fatal error counts.
    """
    everyone = list(devices)
    reported = [error for found in at_once(everyone, "errors") for error in found]
    if interrupted:
        reported = [error for error in reported if error["isFatal"] or error["isClientResetRequested"]]
    assert not reported, f"{json.dumps(reported, indent=1)}\n{story}"
    first, *others = everyone
    held = first.dump()
    for other in others:
        found = differences(held, other.dump())
        assert not found, f"{first} and {other} differ:\n" + "\n".join(found[:20]) + f"\n{story}"
    return held


def change_and_compare(
    model: Model, writer: RealmClient, readers: list[RealmClient], commands: list[tuple[Any, ...]]
) -> None:
    """The writer commits the commands at once; every reader must then hold what the model says."""
    writer.cmd("batch", [model.do(*command) for command in commands])
    settle(writer, *readers)
    for client in (writer, *readers):
        found = differences(model.objects, client.dump())
        assert not found, f"{client} differs from what {writer} wrote:\n" + "\n".join(found[:20])
