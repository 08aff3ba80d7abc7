"""What must work for an app whatever way it takes to the server: asked of each route by the same code.

The client is the product's own in Python, over HTTP and WebSockets, with TLS where the address says so.
"""

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.request import Request, urlopen

from running_reactor import PATIENCE, reactor, run

from realmserver.client.app import PREFIX, App, partition
from realmserver.client.connection import Client
from realmserver.client.synced import SyncedRealm
from realmserver.client.trust import SYSTEM, Trust, authorities

SHARED = partition("shared")

APP = "my-app"

Headers = Mapping[str, str]


class Device:
    """A client with one Realm, at ``url``; ``errors`` holds what it was told. ``authority``: whom it trusts."""

    def __init__(self, url: str, authority: Path | None = None) -> None:
        self.url = url
        self.errors: list[Exception] = []
        self._trust: Trust = SYSTEM if authority is None else authorities(authority)
        self.client: Client
        self.realm: SyncedRealm

    async def start(self) -> "Device":
        user = await App(reactor, self.url, APP, trust=self._trust).login_anonymous()
        self.client = Client(
            reactor,
            user,
            on_error=lambda _, error: self.errors.append(error),
            trust=self._trust,
            delays=lambda _: 0.05,
        )
        self.realm = self.client.open(SHARED)
        await self.realm.downloaded()
        return self

    async def write(self, name: str) -> None:
        """Add a dog, and wait until the server has it."""
        with self.realm.write() as tx:
            tx.add_class("Dog", "_id", "string")
            tx.create("Dog", name)
        await self.realm.uploaded()

    async def has(self, name: str) -> bool:
        await self.realm.downloaded()
        return self.realm.get("Dog", name) is not None

    async def close(self) -> None:
        await self.client.close()
        assert self.errors == []


def start(url: str, authority: Path | None = None) -> Device:
    """A device that is in sync."""
    return run(Device(url, authority).start())


def close(*devices: Device) -> None:
    for device in devices:
        run(device.close())


def hear_each_other(*devices: Device) -> None:
    """What any of the devices writes, all others get."""
    for number, writer in enumerate(devices):
        name = f"{writer.url} {number} {id(writer)}"
        run(writer.write(name))
        for reader in devices:
            assert run(reader.has(name)), f"{reader.url} has not heard of {writer.url}"


def location(url: str, authority: Path | None = None, headers: Headers = MappingProxyType({})) -> dict[str, Any]:
    """Where the server says that it is, to a client at ``url``."""
    answer: dict[str, Any] = json.loads(get(f"{url}{PREFIX}/app/{APP}/location", authority, headers))
    return answer


def get(url: str, authority: Path | None = None, headers: Headers = MappingProxyType({})) -> bytes:
    """The body of an answer; urllib's HTTPError unless it is a success."""
    request = Request(url, headers=dict(headers))
    context = None if authority is None else ssl.create_default_context(cafile=authority)
    with urlopen(request, timeout=PATIENCE, context=context) as answer:
        body: bytes = answer.read()
        return body
