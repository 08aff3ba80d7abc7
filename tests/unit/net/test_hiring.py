"""What the process of a worker is given: its settings through a pipe, few descriptors, an environment of its own."""

import json
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.python.failure import Failure

from realmserver.config.limits import LEAST_MESSAGE, Limits
from realmserver.net.hiring import COMMAND, LINK, LOCK, Hiring, Settings, share_of
from realmserver.net.link import Link

SETTINGS = Settings(1, "/data", "PEM", 128, 60, True, Limits(upload_backlog=100), "info", None, as_json=False)


class Spawning:
    """A reactor that starts nothing."""

    def __init__(self) -> None:
        self.spawned: list[tuple[Any, tuple[str, ...], dict[str, str], dict[int, Any]]] = []
        self.adopted = 0
        self.signals: list[str] = []

    def spawnProcess(
        self, protocol: Any, executable: str, args: tuple[str, ...], env: dict[str, str], childFDs: dict[int, Any]
    ) -> "Spawning":
        assert executable == args[0]
        self.spawned.append((protocol, args, env, childFDs))
        return self

    def signalProcess(self, name: str) -> None:
        """As a process that has ended."""
        self.signals.append(name)
        raise ProcessExitedAlready

    def adoptStreamConnection(self, fileno: int, family: int, factory: Any) -> None:
        self.adopted += 1


def hire(environment: dict[str, str]) -> tuple[Spawning, list[str]]:
    reactor: Any = Spawning()
    ends: list[str] = []
    link = Link(reactor, lambda *_: None, lambda: None, lambda: None)
    Hiring(reactor, lambda _: SETTINGS, 77, environment)(1, link, ends.append)
    return reactor, ends


def test_settings_arrive_as_they_were() -> None:
    assert Settings.from_json(SETTINGS.to_json()) == SETTINGS
    assert json.loads(SETTINGS.to_json())["limits"]["upload_backlog"] == 100


def test_a_worker_inherits_its_link_and_the_lock_and_nothing_of_the_supervisors() -> None:
    reactor, _ = hire({"NOTIFY_SOCKET": "/run/notify", "HOME": "/home", "PYTHONPATH": "/more"})
    ((_, args, environment, descriptors),) = reactor.spawned
    assert args == COMMAND
    assert "NOTIFY_SOCKET" not in environment
    assert environment["HOME"] == "/home"
    assert environment["PYTHONPATH"].endswith(":/more")
    assert sorted(descriptors) == [0, 1, 2, LINK, LOCK]
    assert descriptors[LOCK] == 77
    assert reactor.adopted == 1


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (ProcessDone(0), "exit status 0"),  # type: ignore[no-untyped-call]
        (ProcessTerminated(1, None, 256), "exit status 1"),  # type: ignore[no-untyped-call]
        (ProcessTerminated(None, 9, 9), "signal SIGKILL"),  # type: ignore[no-untyped-call]
    ],
)
def test_how_a_worker_ended_is_told_in_words(reason: Exception, told: str) -> None:
    reactor, ends = hire({})
    reactor.spawned[0][0].processExited(Failure(reason))  # type: ignore[no-untyped-call]
    assert ends == [told]


def test_a_worker_that_has_ended_meanwhile_may_be_killed() -> None:
    reactor: Any = Spawning()
    Hiring(reactor, lambda _: SETTINGS, 77, {})(1, Link(reactor, *[lambda *_: None] * 3), lambda _: None)()
    assert reactor.signals == ["KILL"]


def test_each_worker_has_its_share_of_what_all_may_take() -> None:
    assert share_of(Limits(upload_backlog=100), 4) == Limits(upload_backlog=25)
    assert share_of(Limits(upload_backlog=20), 4).upload_backlog == LEAST_MESSAGE
