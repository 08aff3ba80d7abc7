"""The server is killed in the middle of rounds and started again: nothing acknowledged is lost, nothing comes twice.

A ledger shows it: each device adds to one counter and appends entries that occur once. Ahead of every restart the
devices are paused, so that a fresh device sees what the server kept by itself, before anyone could send it again.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from typing import Any, Final

import pytest
from attrs import define, field
from interop_devices import Devices, assert_equal, new_seed
from interop_edits import edit
from realm_client import ClientError, RealmClient, at_once, settle
from server_process import ServerProcess

pytestmark = pytest.mark.interop

KILLS: Final = 6
LATEST: Final = 0.6
"""Seconds after the resumption at which the server is killed at the latest."""

ACKNOWLEDGEMENT_SECONDS: Final = 0.5
"""How long a device waits before it gives up on an acknowledgement; a live server answers in a few milliseconds."""


@define
class Ledger:
    """What the devices wrote, and how much of it the server had acknowledged.

    Attributes:
        amounts: each entry with what it added to the counter.
        acknowledged: the entries of finished uploads.
    """

    amounts: dict[str, int] = field(factory=dict)
    acknowledged: set[str] = field(factory=set)

    def write(self, client: RealmClient, rng: random.Random) -> str:
        """One transaction: an entry, and its amount on the counter."""
        entry, amount = f"{client.name} {len(self.amounts)}", rng.randint(1, 1000)
        self.amounts[entry] = amount
        client.cmd("batch", [("add", "Ledger", 0, "total", amount), ("append", "Ledger", 0, "entries", entry)])
        return entry

    def check(self, held: Any) -> None:
        """Compares with a Realm into which all devices have uploaded all."""
        ledger = held["Ledger"]["0"]
        times = Counter(ledger["entries"])
        assert set(times) == set(self.amounts)
        assert [entry for entry, number in times.items() if number > 1] == []
        assert ledger["total"] == sum(self.amounts.values())

    def check_acknowledged(self, held: Any) -> None:
        """Compares with what the server alone has."""
        ledger = held["Ledger"]["0"]
        times = Counter(ledger["entries"])
        assert self.acknowledged - set(times) == set(), "acknowledged changes are missing"
        assert [entry for entry, number in times.items() if number > 1] == []
        assert ledger["total"] == sum(self.amounts[entry] for entry in times)


def write_until_killed(clients: list[RealmClient], ledger: Ledger, rng: random.Random, killed: threading.Event) -> int:
    """Writes to the ledger while the devices sync. Returns how many uploads were acknowledged."""
    waiting: dict[str, list[str]] = {
        client.name: [entry for entry in ledger.amounts if entry.startswith(f"{client.name} ")] for client in clients
    }
    acknowledgements = 0
    while not killed.is_set():
        client = rng.choice(clients)
        waiting[client.name].append(ledger.write(client, rng))
        if rng.random() < 0.5:
            try:
                client.wait_upload(ACKNOWLEDGEMENT_SECONDS)
            except ClientError as error:
                if error.error != "timeout":
                    raise
            else:
                ledger.acknowledged.update(waiting[client.name])
                acknowledgements += 1
    return acknowledgements


def kill(server: ServerProcess, killed: threading.Event) -> None:
    server.kill()
    killed.set()


def test_a_killed_server_loses_nothing_acknowledged_and_doubles_nothing(
    server: ServerProcess, devices: Devices
) -> None:
    seed = new_seed()
    rng, fresh, ledger = random.Random(seed), itertools.count(), Ledger()
    clients = devices.open("1.8.0", "1.11.0", "2.3.0")
    clients[0].cmd("create", "Ledger", 0, {})
    settle(*clients)
    acknowledgements = 0
    for number in range(KILLS):
        at_once(clients, "pause")
        story = f"seed {seed}, kill {number}\n"
        for client in clients:
            story += edit(client, rng, fresh, rng.randint(1, 4))
            ledger.write(client, rng)
        killed = threading.Event()
        at_once(clients, "resume")
        timer = threading.Timer(rng.uniform(0, LATEST), kill, [server, killed])
        timer.start()
        acknowledgements += write_until_killed(clients, ledger, rng, killed)
        timer.join()
        at_once(clients, "pause")
        server.start()
        (fresh_device,) = devices.open(rng.choice(["1.8.0", "2.3.0"]))
        fresh_device.wait_download()
        ledger.check_acknowledged(fresh_device.dump())
        at_once(clients, "resume")
        at_once(clients, "reconnect")
        settle(*clients)
        settle(*clients, fresh_device)
        ledger.check(assert_equal([*clients, fresh_device], story, interrupted=True))
        fresh_device.quit()
    print(f"{KILLS} kills, {len(ledger.amounts)} entries, {acknowledgements} acknowledgements")
    assert acknowledgements > 0
