"""Real SDKs and a server that was restored from a backup made while they wrote: those that are ahead reset by
themselves, keep what they had not uploaded where their mode can, and are in sync again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest
from interop_devices import ANONYMOUS, Devices
from realm_client import SYNC_SECONDS, RealmClient, settle
from server_process import PATIENCE, ServerProcess

pytestmark = pytest.mark.interop

VERSIONS: Final = ("1.11.0", "2.3.0")
REALM_BACKUP: Final = Path(sys.executable).parent / "realm-backup"
POLL: Final = 0.1

AHEAD: Final = 10
"""Versions made anew beyond those that may have been lost."""

Json = Any


def open_device(devices: Devices, version: str, resync: str) -> RealmClient:
    client = devices.start(version, resync=resync)
    client.cmd("login", *ANONYMOUS)
    client.cmd("open", devices.partition)
    return client


def back_up_under_load(server: ServerProcess, target: Path, writer: RealmClient) -> set[str]:
    """Back up while ``writer`` creates things; the names of those that were acknowledged before the backup began."""
    writer.cmd("create", "Thing", "before", {"name": "in the backup"})
    writer.wait_upload()
    process = subprocess.Popen([REALM_BACKUP, "--verify", server.root, target], stdout=subprocess.PIPE, text=True)
    number = 0
    while process.poll() is None:
        writer.cmd("create", "Thing", f"during {number}", {"count": number})
        writer.wait_upload()
        number += 1
    assert number > 0
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    return {"before"}


def restore(server: ServerProcess, backup: Path) -> None:
    server.kill()
    shutil.rmtree(server.root)
    shutil.copytree(backup, server.root)
    server.start()


def things(client: RealmClient) -> dict[str, Json]:
    held: dict[str, Json] = client.dump()["Thing"]
    return {name.strip('"'): value for name, value in held.items()}


def wait_for(client: RealmClient, wanted: str, unwanted: str) -> None:
    """Wait until the reset is done: it swaps the content of the file that is open."""
    end = time.monotonic() + SYNC_SECONDS
    while True:
        held = things(client)
        if wanted in held and unwanted not in held:
            return
        assert time.monotonic() < end, f"{client} holds {sorted(held)}\n{client.log_tail()}"
        time.sleep(POLL)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("resync", "keeps"), [("recover", True), ("recover_or_discard", True), ("discard", False)])
def test_devices_that_are_ahead_reset_and_go_on(
    server: ServerProcess, devices: Devices, tmp_path: Path, version: str, resync: str, keeps: bool
) -> None:
    ahead, other = (open_device(devices, version, resync) for _ in range(2))
    in_backup = back_up_under_load(server, tmp_path / "backup", ahead)
    ahead.cmd("create", "Thing", "lost", {"name": "acknowledged after the backup"})
    settle(ahead, other)
    ahead.cmd("pause")
    ahead.cmd("create", "Thing", "unsynced", {"name": "never uploaded"})
    restore(server, tmp_path / "backup")
    ahead.cmd("resume")
    for client in (ahead, other):
        client.cmd("reconnect")
    for client in (ahead, other):
        wait_for(client, "before", "lost")
    (fresh,) = devices.open(version)
    settle(ahead, other)
    settle(ahead, other, fresh)
    held = things(fresh)
    assert things(ahead) == things(other) == held
    assert in_backup <= set(held)
    assert "lost" not in held
    assert ("unsynced" in held) == keeps
    for client in (ahead, other):  # and they go on
        client.cmd("create", "Thing", f"after by {client.name}", {})
    settle(ahead, other, fresh)
    settle(ahead, other, fresh)
    assert things(ahead) == things(other) == things(fresh)
    assert len(things(fresh)) == len(held) + 2
    errors = [error for client in (ahead, other) for error in client.cmd("errors") if error["isClientResetRequested"]]
    assert errors == [], "the SDK did it by itself"


@pytest.mark.parametrize("version", VERSIONS)
def test_in_manual_mode_the_app_is_told_and_nothing_is_touched(
    server: ServerProcess, devices: Devices, tmp_path: Path, version: str
) -> None:
    ahead = open_device(devices, version, "manual")
    back_up_under_load(server, tmp_path / "backup", ahead)
    ahead.cmd("create", "Thing", "lost", {})
    ahead.wait_upload()
    restore(server, tmp_path / "backup")
    ahead.cmd("reconnect")
    end = time.monotonic() + SYNC_SECONDS
    while not (told := [error for error in ahead.cmd("errors") if error["isClientResetRequested"]]):
        assert time.monotonic() < end, ahead.log_tail()
        time.sleep(POLL)
    assert len(told) == 1
    assert "lost" in things(ahead)
    (fresh,) = devices.open(version)
    fresh.wait_download()
    assert "lost" not in things(fresh)
    assert "before" in things(fresh)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_device_that_comes_when_as_many_versions_were_made_again_resets_too(
    server: ServerProcess, devices: Devices, tmp_path: Path, version: str
) -> None:
    """Its numbers are all right then: only the salt of the newest version that it knows tells its history apart."""
    writer, late = (open_device(devices, version, "discard") for _ in range(2))
    back_up_under_load(server, tmp_path / "backup", writer)
    writer.cmd("create", "Thing", "lost", {"name": "acknowledged after the backup"})
    settle(writer, late)
    lost = things(late)
    late.cmd("pause")
    writer.quit()
    restore(server, tmp_path / "backup")
    (other,) = devices.open(version)
    for number in range(len(lost) + AHEAD):
        other.cmd("create", "Thing", f"anew {number}", {"count": number})
    settle(other)
    late.cmd("resume")
    late.cmd("reconnect")
    wait_for(late, "anew 0", "lost")
    settle(other, late)
    assert things(late) == things(other)
