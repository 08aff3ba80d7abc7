"""Fifty thousand objects from one client to a fresh one, and what that costs the server in memory."""

from __future__ import annotations

import time
from typing import Final

import pytest
from interop_devices import Devices
from interop_schema import BULK
from realm_client import at_once
from server_process import ServerProcess

pytestmark = pytest.mark.interop

OBJECTS: Final = 50_000
BATCH: Final = 5_000
TEXT: Final = 100
"""Characters in each object, besides its key."""

SECONDS: Final = 200.0
MEGABYTES: Final = 300


def peak_megabytes(pid: int) -> float:
    """The most memory that a process ever had resident."""
    with open(f"/proc/{pid}/status") as status:
        (line,) = (line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def test_fifty_thousand_objects_reach_a_fresh_client(server: ServerProcess, devices: Devices) -> None:
    (writer,) = devices.open("2.3.0", schema=BULK)
    before = peak_megabytes(server.pid)
    started = time.monotonic()
    for first in range(0, OBJECTS, BATCH):
        writer.cmd("create_many", "Row", first, BATCH, "text", TEXT)
    writer.wait_upload(SECONDS)
    uploaded = time.monotonic()
    (reader,) = devices.open("1.8.0", schema=BULK)
    reader.wait_download(SECONDS)
    downloaded = time.monotonic()
    peak = peak_megabytes(server.pid)
    print(
        f"{OBJECTS} objects: written and uploaded in {uploaded - started:.1f} s, "
        f"downloaded in {downloaded - uploaded:.1f} s; "
        f"server's peak memory {peak:.0f} MB, {before:.0f} MB at the start"
    )
    assert reader.cmd("count", "Row") == OBJECTS
    assert len(set(at_once([writer, reader], "digest", timeout=SECONDS))) == 1
    assert at_once([writer, reader], "errors") == [[], []]
    assert peak < MEGABYTES
