"""Threads for Realms: how many there are, and where results and errors come back."""

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Barrier, current_thread
from typing import Any, cast

import pytest

from realmserver.net.workers import THREADS, PoolWorkers


class Reactor:
    """Takes what comes from threads, and calls it here."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = SimpleQueue()

    def callFromThread(self, call: Callable[..., None], *args: Any) -> None:
        self._calls.put((call, args))

    def take(self, number: int) -> None:
        """Make the next calls, as many as this."""
        for _ in range(number):
            call, args = self._calls.get()
            call(*args)


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def workers(reactor: Reactor) -> Iterator[PoolWorkers]:
    found = PoolWorkers(cast(Any, reactor), lambda realm: None)
    yield found
    found.stop()


def unexpected(error: Exception) -> None:
    raise error


def test_what_comes_one_by_one_is_done_by_one_thread(reactor: Reactor, workers: PoolWorkers) -> None:
    names: list[str] = []
    for _ in range(3):
        workers.run(lambda: current_thread().name, names.append, unexpected)
        reactor.take(1)
    assert names == ["realms_0"] * 3


def test_what_comes_at_once_is_done_at_once_up_to_a_limit(reactor: Reactor, workers: PoolWorkers) -> None:
    barrier, names = Barrier(THREADS), set[str]()

    def meet() -> str:
        barrier.wait()
        return current_thread().name

    for _ in range(2 * THREADS):
        workers.run(meet, names.add, unexpected)
    reactor.take(2 * THREADS)
    assert names == {f"realms_{number}" for number in range(THREADS)}


def test_an_error_is_told_to_who_waits_and_costs_nobody_else(reactor: Reactor, workers: PoolWorkers) -> None:
    told: list[object] = []
    workers.run(lambda: 1 // 0, told.append, told.append)
    reactor.take(1)
    workers.run(lambda: "fine", told.append, unexpected)
    reactor.take(1)
    assert [type(told[0]), told[1]] == [ZeroDivisionError, "fine"]


def test_a_panic_in_rust_is_an_error_like_others(reactor: Reactor, workers: PoolWorkers) -> None:
    class PanicException(BaseException):
        """As pyo3's, which nothing but a panic makes."""

    def panic() -> None:
        raise PanicException("out of reach")

    told: list[object] = []
    workers.run(panic, told.append, told.append)
    reactor.take(1)
    (error,) = told
    assert isinstance(error, RuntimeError)
    assert str(error) == "PanicException: out of reach"


def test_a_stop_waits_for_what_is_running(reactor: Reactor) -> None:
    workers = PoolWorkers(cast(Any, reactor), lambda realm: None)
    begun, finish, done = Barrier(2), Barrier(2), list[str]()

    def work() -> str:
        begun.wait()
        finish.wait()
        return "done"

    workers.run(work, done.append, unexpected)
    workers.run(lambda: "later", done.append, unexpected)
    begun.wait()
    finish.wait()
    workers.stop()
    reactor.take(2)
    assert sorted(done) == ["done", "later"]
