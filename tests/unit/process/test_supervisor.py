"""What a supervisor hears (sd_notify)."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from realmserver.process.supervisor import Supervisor


class Ear:
    """A supervisor's end of the socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(address)

    def heard(self) -> list[list[str]]:
        found: list[list[str]] = []
        try:
            while True:
                found.append(self.socket.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return found


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    made = Ear(str(tmp_path / "notify"))
    yield made
    made.socket.close()


def supervisor(ear: Ear, **environment: str) -> Supervisor:
    return Supervisor({"NOTIFY_SOCKET": ear.socket.getsockname(), **environment}, lambda: 12.5)


def test_it_hears_of_every_stage(ear: Ear) -> None:
    told = supervisor(ear)
    told.ready("Listening on 9080")
    told.reloading()
    told.stopping()
    assert ear.heard() == [
        ["READY=1", "STATUS=Listening on 9080"],
        ["RELOADING=1", "MONOTONIC_USEC=12500000"],
        ["STOPPING=1", "STATUS=Stopping"],
    ]


def test_an_abstract_socket_is_reached() -> None:
    name = f"realm-object-server-{os.getpid()}"
    ear = Ear("\0" + name)
    Supervisor({"NOTIFY_SOCKET": "@" + name}, lambda: 0.0).stopping()
    assert len(ear.heard()) == 1
    ear.socket.close()


def test_the_watchdog_is_fed_twice_as_often_as_it_wants(ear: Ear) -> None:
    clock = Clock()
    service = supervisor(ear, WATCHDOG_USEC="20000000", WATCHDOG_PID=str(os.getpid())).watchdog(clock)
    assert service is not None
    service.startService()  # type: ignore[no-untyped-call]
    assert ear.heard() == [["WATCHDOG=1"]]
    clock.advance(9)
    assert ear.heard() == []
    clock.advance(1)
    assert ear.heard() == [["WATCHDOG=1"]]
    service.stopService()  # type: ignore[no-untyped-call]
    clock.advance(100)
    assert ear.heard() == []


def test_a_watchdog_of_another_process_is_not_fed(ear: Ear) -> None:
    clock = Clock()
    for environment in ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {}):
        assert supervisor(ear, **environment).watchdog(clock) is None
    assert Supervisor({"WATCHDOG_USEC": "1000000"}, lambda: 0.0).watchdog(clock) is None


def test_without_a_supervisor_or_with_one_that_is_gone_nothing_happens(tmp_path: Path) -> None:
    Supervisor({}, lambda: 0.0).ready("x")
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}, lambda: 0.0).ready("x")
