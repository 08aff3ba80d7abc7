"""Real SDKs and a Realm whose history was folded (``history.ttl``): new devices begin with the squash, those that were
away go on if they know what it stands for, and those that stayed away for longer reset and go on.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import lmdb
import pytest
from interop_devices import ANONYMOUS, Devices, assert_equal
from interop_model import Command, Model, differences, text
from interop_schema import ALL_TYPES, KEY_TYPES, NESTED, SAMPLES, Schema
from realm_client import SYNC_SECONDS, RealmClient, at_once, settle
from server_process import ServerProcess
from test_interop_live import emptied, every_property, single_changes
from test_interop_nested import CHANGED_IN_PLACE, CREATED, NEW, REPLACED

from realmserver.store.interface import Head
from realmserver.store.records import unpack_head

pytestmark = pytest.mark.interop

VERSIONS: Final = ("1.8.0", "1.11.0", "2.3.0")
RESET: Final = ("1.11.0", "2.3.0")
"""SDKs that are seen to reset."""

LITTLE_HISTORY: Final = "history: {ttl: 1}\n"
FILLER: Final = ["x" * 20_000, "y" * 20_000, "z" * 20_000, "a" * 20_000]
"""Values that replace each other: what is written makes folding worth while, not what is left."""

POLL: Final = 0.1

Json = Any


def realm_head(server: ServerProcess) -> Head:
    """Where the server's only Realm stands on the disk."""
    (file,) = (server.root / "user_data").rglob("data.mdb")
    directory: Path = file.parent
    with (
        lmdb.open(str(directory), readonly=True, lock=False, max_dbs=8) as env,
        env.begin(db=env.open_db(b"meta", create=False)) as txn,
    ):
        return unpack_head(txn.get(b"head") or b"", bytes(16))


def fold(server: ServerProcess, *connected: RealmClient) -> None:
    """Have the server keep a second of history, and wait until all that is there is folded: but for the empty version
    with which the squash began to count."""
    server.settings = LITTLE_HISTORY
    server.restart()
    at_once(connected, "reconnect")
    settle(*connected)
    end = time.monotonic() + SYNC_SECONDS
    while (head := realm_head(server)).base_version != head.version - 1:
        assert time.monotonic() < end, f"the history was not folded: {head}"
        time.sleep(POLL)


def write(model: Model, writer: RealmClient, steps: list[list[Command]]) -> None:
    """Each step is a commit of ``writer``."""
    for commands in steps:
        writer.cmd("batch", [model.do(*command) for command in commands])
    writer.wait_upload()


def assert_hold(model: Model, *clients: RealmClient) -> None:
    for client in clients:
        found = differences(model.objects, client.dump())
        assert not found, f"{client} holds something else:\n" + "\n".join(found[:20])


def keys_of_every_kind() -> list[Command]:
    commands: list[Command] = []
    for base in KEY_TYPES:
        for table, keys in ((f"Key_{base}", SAMPLES[base]), (f"Key_{base}_opt", [*SAMPLES[base], None])):
            commands += [("create", table, key, {"n": number}) for number, key in enumerate(keys)]
            commands += [("set", table, keys[-1], "next", {"$link": keys[0], "class": table})]
            commands += [("add", table, keys[0], "n", 5), ("delete", table, keys[1])]
    return commands


EVERYTHING: Final[list[list[Command]]] = [
    [("create", "All", key, {}) for key in (1, 2, 4)] + [("create", "All", 3, every_property(0))],
    [("create", "All", 1, every_property(0)), ("create", "All", 5, every_property(1))],
    [(verb, "All", 1, *rest) for verb, *rest in single_changes(0)],
    [("create", "All", 4, every_property(1)), ("set", "All", 4, "int", 10), ("delete", "All", 2)],
    [(verb, "All", 5, *rest) for verb, *rest in emptied()],
    keys_of_every_kind(),
    *([("set", "All", 3, "string", value)] for value in FILLER),
]
"""Every type in every shape, edited and deleted from. Links to object 2, which is gone, are left in the file."""


def test_a_folded_realm_is_whole_for_new_devices_and_those_that_were_away_merge(
    server: ServerProcess, devices: Devices
) -> None:
    writer, *away = devices.open("1.8.0", *VERSIONS, schema=ALL_TYPES)
    model = Model(ALL_TYPES)
    write(model, writer, EVERYTHING)
    settle(*away)
    at_once(away, "pause")
    for number, client in enumerate(away):
        client.cmd("append", "All", 4, "int_list", 1000 + number)
        client.cmd("add", "All", 4, "int", 1)
    fold(server, writer)

    fresh = devices.open(*VERSIONS, schema=ALL_TYPES)
    settle(*fresh)
    assert_hold(model, writer, *fresh)

    write(model, writer, [[("create", "All", 2, {}), ("create", "All", 6, every_property(1))]])
    settle(writer, *fresh)
    for client in fresh:
        client.cmd(*model.do("add", "All", 1, "int", 7))
        client.cmd(*model.do("append", "All", 1, "string_list", client.name))
        client.cmd(*model.do("set", "All", 1, ["emb", "one", "n"], len(client.name)))
        settle(writer, *fresh)
    assert_hold(model, writer, *fresh)

    at_once(away, "resume")
    everyone = [writer, *fresh, *away]
    settle(*everyone)
    held = assert_equal(everyone, interrupted=True)["All"]["4"]
    before = model.objects["All"]["4"]
    assert held["int"] == before["int"] + len(away)
    assert sorted(held["int_list"]) == sorted([*before["int_list"], *(1000 + number for number in range(len(away)))])

    fresh[0].cmd("create", "All", 2, {})  # and links to it come back, with everyone the same
    settle(*everyone)
    assert_equal(everyone, interrupted=True)


def test_collections_in_mixed_places_survive_folding(server: ServerProcess, devices: Devices) -> None:
    writer, away = devices.open(NEW, NEW, schema=NESTED)
    model = Model(NESTED)
    filler: list[list[Command]] = [[("set", "Box", "1", "any", [value])] for value in FILLER]
    write(model, writer, [CREATED, CHANGED_IN_PLACE, *filler, [("create", "Box", "list 2", CREATED[1][3])]])
    settle(away)
    away.cmd("pause")
    away.cmd("append", "Box", "list 2", ["any", 1], "from afar")
    fold(server, writer)
    (fresh,) = devices.open(NEW, schema=NESTED)
    settle(fresh)
    assert_hold(model, writer, fresh)
    for client in (fresh, writer):
        write(model, client, [REPLACED[:4], [("insert", "Box", "list 2", ["any", 1], 0, client.name)]])
        settle(fresh, writer)
    assert_hold(model, writer, fresh)
    away.cmd("resume")
    settle(fresh, writer, away)
    held = assert_equal([fresh, writer, away], interrupted=True)["Box"][text("list 2")]["any"][1]
    assert held[:2] == [writer.name, fresh.name]
    assert held[-1] == "from afar"


def open_device(devices: Devices, version: str, resync: str, schema: Schema = ALL_TYPES) -> RealmClient:
    client = devices.start(version, schema=schema, resync=resync)
    client.cmd("login", *ANONYMOUS)
    client.cmd("open", devices.partition)
    return client


KEEPS: Final = {"recover": True, "discard": False}
"""Ways to reset, and whether what was not uploaded stays."""


def test_devices_older_than_the_history_reset_and_go_on(server: ServerProcess, devices: Devices) -> None:
    writer, *told = devices.open("2.3.0", *RESET, schema=ALL_TYPES)  # those open in manual mode
    old = {(version, resync): open_device(devices, version, resync) for version in RESET for resync in KEEPS}
    model = Model(ALL_TYPES)
    write(model, writer, EVERYTHING[:3])
    settle(*told, *old.values())
    at_once([*told, *old.values()], "pause")
    kept = []
    for number, ((_, resync), client) in enumerate(old.items()):
        client.cmd("create", "All", 100 + number, {"string": "never uploaded"})
        client.cmd("append", "All", 3, "string_list", client.name)
        if KEEPS[resync]:
            kept.append(client.name)
    write(model, writer, EVERYTHING[3:])
    fold(server, writer)
    at_once([*told, *old.values()], "resume")
    for client in old.values():
        wait_for_reset(client)
    (fresh,) = devices.open("1.8.0", schema=ALL_TYPES)
    everyone = [writer, fresh, *old.values()]
    settle(*everyone)
    settle(*everyone)
    held = assert_equal(everyone, interrupted=True)["All"]
    for number, (_, resync) in enumerate(old):
        assert (str(100 + number) in held) == KEEPS[resync]
    written = model.objects["All"]["3"]["string_list"]
    assert held["3"]["string_list"][: len(written)] == written
    assert sorted(held["3"]["string_list"][len(written) :]) == sorted(kept)
    assert "2" not in held
    for client in everyone:
        client.cmd("add", "All", 4, "int", 1)
        client.cmd("create", "All", 200 + everyone.index(client), {})
    settle(*everyone)
    after = assert_equal(everyone, interrupted=True)["All"]
    assert after["4"]["int"] == held["4"]["int"] + len(everyone)
    assert len(after) == len(held) + len(everyone)
    for client in told:
        (error,) = client.wait_errors(1)
        assert error["isClientResetRequested"]
        assert "2" in client.dump()["All"], "in manual mode nothing is touched"


def wait_for_reset(client: RealmClient) -> None:
    """Wait until the content of the file that is open has been exchanged: object 2 is gone then."""
    end = time.monotonic() + SYNC_SECONDS
    while "2" in client.dump()["All"]:
        assert time.monotonic() < end, f"{client} has not reset\n{client.log_tail()}"
        time.sleep(POLL)
