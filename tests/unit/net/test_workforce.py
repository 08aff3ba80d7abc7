"""Workers that end and are started again, and what is heard of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_bound_sessions import HeldWorkers
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from worker_ends import WORKERS, Pipe, WorkersFixture, join

from realmserver.figures import Summed
from realmserver.metrics import Metrics
from realmserver.net import owner
from realmserver.net.link import ALIVE, Link
from realmserver.net.seat import OF_THE_PROCESS
from realmserver.net.workforce import (
    FIRST_PAUSE,
    LAST_WORK,
    LONGEST_PAUSE,
    LOOK,
    LOOKS,
    LOOKS_AT_START,
    PATIENCE,
    STEADY,
    Workforce,
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkersFixture:
    monkeypatch.setattr(owner, "PoolWorkers", HeldWorkers)
    return WorkersFixture(tmp_path)


class OneWorker:
    """A workforce of one whose processes are nothing but their ends."""

    def __init__(self) -> None:
        self.clock: Any = Clock()
        self.metrics = Metrics()
        self.ends: list[Callable[[str], None]] = []
        self.kills: list[float] = []
        self.link: Link
        self.pipes: tuple[Pipe, Pipe]
        self.workforce = Workforce(self.clock, 1, self._hire, self.metrics)
        self.workforce.start()

    def _hire(self, number: int, link: Link, ended: Callable[[str], None]) -> Callable[[], None]:
        self.link = Link(self.clock, lambda *_: None, lambda: None, lambda: None)
        self.pipes = join(link, self.link)
        self.ends.append(ended)
        return lambda: self.kills.append(self.clock.seconds())

    def answer(self) -> None:
        """Say something to the front."""
        self.link.tell(OF_THE_PROCESS, ALIVE)
        self.link.flush()
        self.pipes[0].deliver()

    def pass_time(self, looks: int) -> None:
        """Let the front look so many times."""
        for _ in range(looks):
            self.clock.advance(LOOK)

    def end(self) -> None:
        with capturedLogs() as logged:
            self.ends[-1]("signal SIGKILL")
        (event,) = logged
        assert event["how"] == "by itself: signal SIGKILL"


def test_a_worker_that_ends_again_and_again_is_started_after_a_growing_pause() -> None:
    one = OneWorker()
    for pause in (0.0, FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE):
        started = len(one.ends)
        one.end()
        assert one.metrics.registry.get_sample_value("ros_workers") == 0
        if pause:
            one.clock.advance(pause * 0.9)
            assert len(one.ends) == started
        one.clock.advance(pause * 0.2)
        assert len(one.ends) == started + 1
    for _ in range(10):
        one.end()
        one.clock.advance(LONGEST_PAUSE)
    one.clock.advance(STEADY)
    one.end()
    one.clock.advance(0)
    assert len(one.ends) == 16
    assert one.metrics.registry.get_sample_value("ros_workers") == 1
    assert one.metrics.registry.get_sample_value("ros_worker_restarts_total") == 15


def test_a_worker_that_does_not_answer_any_more_is_killed_and_started_again() -> None:
    one = OneWorker()
    one.answer()
    one.pass_time(LOOKS)
    assert one.kills == []
    with capturedLogs() as logged:
        one.pass_time(1)
    assert len(one.kills) == 1
    assert [event["why"] for event in logged] == [f"has not answered for {LOOKS * LOOK:.0f} seconds"]
    assert one.metrics.registry.get_sample_value("ros_worker_kills_total") == 1
    with capturedLogs() as logged:
        one.ends[-1]("signal SIGKILL")
    assert [event["how"] for event in logged] == ["since it was killed"]
    one.clock.advance(0)
    assert len(one.ends) == 2
    one.pass_time(LOOKS + 1)
    assert len(one.kills) == 1, "its successor is being loaded"


def test_a_worker_that_answers_now_and_then_is_left_alone() -> None:
    one = OneWorker()
    for _ in range(5):
        one.answer()
        one.pass_time(LOOKS)
    assert one.kills == []


def test_a_worker_that_is_being_loaded_has_more_time() -> None:
    one = OneWorker()
    one.pass_time(LOOKS_AT_START - 1)
    assert one.kills == []
    with capturedLogs():
        one.pass_time(1)
    assert len(one.kills) == 1


def test_where_the_front_itself_was_away_workers_are_not_blamed() -> None:
    one = OneWorker()
    one.answer()
    one.clock.advance(10 * LOOKS * LOOK)
    assert one.kills == []


def test_real_workers_answer(server: WorkersFixture) -> None:
    server.run_all()
    for _ in range(3 * LOOKS):
        server.reactor.advance(LOOK)
        server.run_all()
    assert len(server.started) == WORKERS
    server.reactor.advance(LOOK)
    assert server.service.metrics.registry.get_sample_value("ros_worker_kills_total") == 0


def test_a_worker_that_does_not_come_to_its_end_is_killed_and_the_stop_goes_on(server: WorkersFixture) -> None:
    server.worker(1).hangs = True
    stopped = Deferred.fromCoroutine(server.workforce.stop())
    server.run_all()
    server.reactor.advance(LAST_WORK * 0.9)
    assert not stopped.called
    with capturedLogs():
        server.reactor.advance(LAST_WORK * 0.2)
    assert stopped.called
    server.reactor.advance(LONGEST_PAUSE)
    assert len(server.started) == WORKERS


def test_a_worker_whose_link_has_broken_has_to_end() -> None:
    one = OneWorker()
    one.pipes[1].abortConnection()
    one.clock.advance(LAST_WORK * 0.9)
    assert one.kills == []
    with capturedLogs():
        one.clock.advance(LAST_WORK * 0.2)
    assert len(one.kills) == 1


def test_nobody_who_has_ended_is_killed() -> None:
    one = OneWorker()
    one.end()
    one.clock.advance(LAST_WORK + LOOKS_AT_START * LOOK - 1)
    assert one.kills == []


def test_commits_are_followed_when_all_workers_know_that_they_have_to_tell(server: WorkersFixture) -> None:
    followed = server.workforce.followed(True)
    server.pump()
    assert not followed.called
    assert server.worker(0).is_followed
    server.run_all()
    assert followed.called
    server.worker(1).desk.committed("user_data/a.realm", b"a commit")
    server.worker(1).desk.exchanged("user_data/a.realm")
    server.run_all()
    assert server.feed.heard == [("user_data/a.realm", "a commit"), ("user_data/a.realm",)]
    server.workforce.followed(False)
    server.run_all()
    assert not server.worker(0).is_followed


def test_a_worker_that_dies_may_have_told_too_little_and_its_successor_tells_at_once(server: WorkersFixture) -> None:
    server.workforce.followed(True)
    server.run_all()
    with capturedLogs():
        server.worker(0).die()
    assert len(server.feed.heard) == 1
    server.run_all()
    assert server.worker(0).is_followed


def test_whoever_follows_does_not_wait_for_a_worker_that_dies(server: WorkersFixture) -> None:
    followed = server.workforce.followed(True)
    server.worker(1).pipes[1].abortConnection()
    server.run_all()
    assert not followed.called, "it may still commit what it was told before"
    with capturedLogs():
        server.worker(1).ended("exit status 1")
    assert followed.called


def test_a_follower_too_many_does_not_hear_the_answer_to_another(server: WorkersFixture) -> None:
    first = server.workforce.followed(True)
    server.workforce.followed(False)
    second = server.workforce.followed(True)
    server.run_all()
    assert first.called
    assert second.called
    assert server.worker(0).is_followed


def test_who_dies_unfollowed_is_no_followers_concern(server: WorkersFixture) -> None:
    with capturedLogs():
        server.worker(0).die()
    assert server.feed.heard == []


def test_a_stop_waits_for_all_and_starts_none(server: WorkersFixture) -> None:
    stopped = Deferred.fromCoroutine(server.workforce.stop())
    assert not stopped.called
    server.run_all()
    assert stopped.called
    assert [worker.stops for _, worker in server.started] == [1] * WORKERS
    server.reactor.advance(LONGEST_PAUSE)
    assert len(server.started) == WORKERS


def test_a_stop_does_not_wait_for_a_worker_that_was_to_be_started_again() -> None:
    one = OneWorker()
    one.end()
    stopped = Deferred.fromCoroutine(one.workforce.stop())
    assert stopped.called
    one.clock.advance(LONGEST_PAUSE)
    assert len(one.ends) == 1


def test_all_begin_new_log_files(server: WorkersFixture) -> None:
    server.workforce.reload()
    server.run_all()
    assert [worker.logs for _, worker in server.started] == [1] * WORKERS


def test_what_workers_tell_of_realms_is_heard(server: WorkersFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = server.worker(1)
    worker.owner._realm_failed("/a")
    monkeypatch.setattr(type(worker.owner), "quarantined", 3)
    worker.desk.look()
    server.run_all()
    assert server.failed == ["/a"]
    assert server.service.quarantined == 3
    with capturedLogs():
        worker.die()
    assert server.service.quarantined == 0, "its successor tells anew"


def total(server: WorkersFixture) -> float:
    """The changesets that all have counted."""
    asked: list[Any] = []
    server.workforce.figures().addCallback(asked.append)
    server.run_all()
    (figures,) = asked
    summed = Summed(server.service.metrics.registry, figures)
    samples = [sample for metric in summed.collect() for sample in metric.samples]
    return next(sample.value for sample in samples if sample.name == "ros_sync_changeset_integrated_total")


def test_figures_of_all_are_added_up_and_outlive_a_worker(server: WorkersFixture) -> None:
    for number, worker in server.started:
        worker.metrics.changeset_integrated.inc(10 + number)
    assert total(server) == 21
    with capturedLogs():
        server.worker(1).die()
    assert total(server) == 21, "while it is away"
    server.reactor.advance(0)
    server.worker(1).metrics.changeset_integrated.inc(100)
    assert total(server) == 121


def test_a_worker_that_does_not_answer_holds_nobody_up(server: WorkersFixture) -> None:
    asked: list[Any] = []
    server.workforce.figures().addCallback(asked.append)
    server.reactor.advance(PATIENCE)
    assert len(asked) == 1
    server.run_all()  # what comes late hurts nobody
