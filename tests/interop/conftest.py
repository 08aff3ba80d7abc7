"""Fixtures of the interop tests: the built driver, real server processes, and the devices of a test."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import realm_driver
from interop_devices import Devices, new_partition
from server_process import ServerProcess

VERSION_SETS = [*((version, version) for version in realm_driver.VERSIONS), realm_driver.VERSIONS]
"""Two devices of one version, for each, and all versions in one Realm."""

LOG_LINES = 40


@pytest.fixture(params=VERSION_SETS, ids="+".join)
def versions(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The SDK versions of a test's devices."""
    chosen: tuple[str, ...] = request.param
    return chosen


@pytest.fixture(scope="session")
def driver() -> None:
    """The built driver. Without Java and Maven the tests are skipped; with ``CI`` set they fail."""
    reason = realm_driver.why_unavailable()
    if reason is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    realm_driver.build()


@pytest.fixture(scope="session")
def shared_server(driver: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that leave it alone."""
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    process.start()
    yield process
    process.kill()


@pytest.fixture
def server(driver: None, server_process: ServerProcess) -> ServerProcess:
    """A running server for one test, to be killed and measured."""
    server_process.start()
    return server_process


@pytest.fixture
def devices(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Devices]:
    """Starts devices against the test's own server if it asks for one, else against the shared one."""
    own = "server" in request.fixturenames
    running: ServerProcess = request.getfixturevalue("server" if own else "shared_server")
    name = re.sub(r"\W+", " ", request.node.name).strip()
    logged = len(running.text())
    made = Devices(running.url, tmp_path / "devices", new_partition(name))
    yield made
    made.end()
    if request.node.stash.get(FAILED, False):
        lines = running.text()[logged:].splitlines()
        print("\n".join(["--- log of the server ---", *lines[-LOG_LINES:]]))
        for client in made.all:
            print(client.log_tail(LOG_LINES))


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remembers a failure for the fixture that shows logs when the test is over."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report
