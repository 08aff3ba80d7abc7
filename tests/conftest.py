"""Fixtures for all rooms, and the guard against machine code of other sources than those that are tested."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import ServerProcess

from realmserver._build import BUILD, PACKAGE, complaint


def pytest_report_header() -> str:
    return f"realmserver: {BUILD}, {PACKAGE}"


def pytest_sessionstart() -> None:
    if foreign := complaint():
        raise pytest.UsageError(foreign)


@pytest.fixture
def server_process(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of its own for one test, not yet started; it is killed at the end if it still runs."""
    process = ServerProcess(tmp_path)
    yield process
    process.kill()
