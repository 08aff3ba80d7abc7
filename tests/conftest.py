"""Fixtures for all rooms."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import ServerProcess


@pytest.fixture
def server_process(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of its own for one test, not yet started; it is killed at the end if it still runs."""
    process = ServerProcess(tmp_path)
    yield process
    process.kill()
