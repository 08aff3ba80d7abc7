"""The reserve on the disk: writing ends below it, and goes on by itself above it."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from realmserver.store.reserve import DiskReserve

RESERVE = 16_000


class Disk:
    """A filesystem with ``free`` bytes; None cannot be looked at."""

    def __init__(self, free: int | None) -> None:
        self.free = free
        self.told: list[tuple[bool, int]] = []

    def statvfs(self, path: Path) -> os.statvfs_result:
        if self.free is None:
            raise OSError(5, "Input/output error")
        found: Any = SimpleNamespace(f_bavail=self.free // 10, f_frsize=10)
        return found  # type: ignore[no-any-return]

    def reserve(self, size: int = RESERVE) -> DiskReserve:
        return DiskReserve(
            Path("/data"), size, lambda is_read_only, free: self.told.append((is_read_only, free)), self.statvfs
        )


def test_writing_ends_when_less_is_free_and_goes_on_when_there_is_room_again() -> None:
    disk = Disk(RESERVE)
    reserve = disk.reserve()
    assert not reserve.look()
    disk.free = RESERVE - 10
    assert reserve.look()
    assert reserve.is_read_only
    disk.free = RESERVE
    assert reserve.look()
    disk.free = RESERVE + 1000
    assert not reserve.look()
    assert not reserve.is_read_only
    assert disk.told == [(True, RESERVE - 10), (False, RESERVE + 1000)]


@pytest.mark.parametrize("before", [RESERVE, 0])
def test_a_disk_that_cannot_be_looked_at_changes_nothing(before: int) -> None:
    disk = Disk(before)
    reserve = disk.reserve()
    was = reserve.look()
    disk.free = None
    assert reserve.look() is was


def test_without_a_reserve_nothing_is_asked() -> None:
    assert not Disk(None).reserve(0).look()
    assert not Disk(0).reserve(0).look()
