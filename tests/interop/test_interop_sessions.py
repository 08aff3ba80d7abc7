"""The life of sessions: late joiners, pauses, restarts of a device, logging out and in, several devices and Realms."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from interop_devices import Devices, assert_equal, new_account, new_seed
from interop_edits import edit
from realm_client import RealmClient, settle
from realm_driver import VERSIONS

pytestmark = pytest.mark.interop

each_version = pytest.mark.parametrize("version", VERSIONS)

PARTITIONS: list[Any] = [
    "",
    "text",
    'with "quotes", / and ☃',
    {"$numberInt": "42"},
    {"$numberLong": "9000000000"},
    {"$oid": "5f00112233445566778899aa"},
    {"$uuid": "00112233-4455-6677-8899-aabbccddeeff"},
    None,
]
"""Extended JSON, as the SDKs send it."""


def things(client: RealmClient) -> set[str]:
    return {thing["_id"] for thing in client.dump()["Thing"].values()}


@each_version
def test_a_client_that_joins_late_is_equal(devices: Devices, version: str) -> None:
    seed = new_seed()
    rng, fresh = random.Random(seed), itertools.count()
    early = devices.open(*(other for other in VERSIONS if other != version))
    for client in early * 2:
        client.cmd("pause")
        edit(client, rng, fresh, 10)
        client.cmd("resume")
        settle(*early)
    late = devices.open(version)
    settle(*late)
    assert len(things(late[0])) >= 2
    assert_equal([*early, *late], f"seed {seed}")


@each_version
def test_a_paused_client_gets_and_gives_nothing_until_it_resumes(devices: Devices, version: str) -> None:
    paused, reader, writer = devices.open(version, version, "2.3.0")
    settle(paused, reader, writer)
    paused.cmd("pause")
    paused.cmd("create", "Thing", "from the paused one", {})
    writer.cmd("create", "Thing", "from the other", {})
    settle(reader, writer)
    assert things(paused) == {"from the paused one"}
    assert things(reader) == {"from the other"}
    paused.cmd("resume")
    settle(paused, reader, writer)
    assert things(reader) == {"from the paused one", "from the other"}
    assert_equal([paused, reader, writer])


@each_version
def test_a_device_that_crashed_keeps_what_it_had_not_sent(devices: Devices, version: str) -> None:
    other, crashed = devices.open(VERSIONS[0], version)
    crashed.cmd("create", "Thing", "sent", {})
    settle(crashed, other)
    crashed.cmd("pause")
    crashed.cmd("create", "Thing", "not sent", {"count": 1})
    crashed.cmd("add", "Thing", "sent", "count", 7)
    crashed.kill()
    other.cmd("add", "Thing", "sent", "count", 30)
    settle(other)
    restarted = devices.start(version, name=crashed.name)  # it remembers its user
    restarted.cmd("open", devices.partition)
    settle(restarted, other)
    assert assert_equal([restarted, other])["Thing"]['"sent"']["count"] == 37
    assert things(other) == {"sent", "not sent"}


@each_version
def test_edits_made_while_logged_out_arrive_after_logging_in_again(devices: Devices, version: str) -> None:
    (other,) = devices.open(VERSIONS[-1])
    client = devices.start(version)
    email, password = new_account()
    client.cmd("register", email, password)
    user = client.cmd("login", "email", email, password)["user"]
    client.cmd("open", devices.partition)
    client.cmd("create", "Thing", "before", {"count": 1})
    settle(client, other)
    client.cmd("logout")
    client.cmd("add", "Thing", "before", "count", 10)
    client.cmd("create", "Thing", "while logged out", {})
    other.cmd("add", "Thing", "before", "count", 100)
    settle(other)
    assert client.cmd("get", "Thing", "before")["count"] == 11
    assert client.cmd("login", "email", email, password)["user"] == user
    client.cmd("close")
    client.cmd("open", devices.partition)
    settle(client, other)
    assert assert_equal([client, other])["Thing"]['"before"']["count"] == 111
    assert things(other) == {"before", "while logged out"}


def test_one_user_on_two_devices(devices: Devices) -> None:
    account = new_account()
    first, second = devices.start("2.3.0"), devices.start("1.8.0")
    first.cmd("register", *account)
    users = {client.cmd("login", "email", *account)["user"] for client in (first, second)}
    assert len(users) == 1
    for client in (first, second):
        client.cmd("open", devices.partition)
        client.cmd("create", "Thing", client.name, {})
    settle(first, second)
    assert things(first) == {first.name, second.name}
    assert_equal([first, second])


@pytest.mark.parametrize("pair", [("1.8.0", "2.3.0"), ("2.3.0", "1.11.0")], ids="+".join)
def test_each_partition_value_is_a_realm_of_its_own(devices: Devices, pair: tuple[str, str]) -> None:
    """All Realms are open at the same time: the newer versions carry their sessions over one connection."""
    writer, reader = clients = [devices.start(version) for version in pair]
    for client in clients:
        client.cmd("login", "anonymous")
    for number, partition in enumerate(PARTITIONS):
        for client in clients:
            client.cmd("open", partition)
        writer.cmd("create", "Thing", f"{devices.partition} {number}", {})
    for number, partition in enumerate(PARTITIONS):
        for client in clients:
            client.cmd("use", partition)
        settle(writer, reader)
        mine = {thing for thing in things(reader) if thing.startswith(devices.partition)}
        assert mine == {f"{devices.partition} {number}"}, partition
        assert_equal(clients)
