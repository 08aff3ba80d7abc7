"""Work in threads: results come back, errors too, and a full queue says so at once."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from thread_reactor import ThreadReactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from realmserver.auth.workers import BoundedWorker, TooBusy


def outcome(deferred: "Deferred[Any]") -> list[Any]:
    """A list that receives the result or the exception of ``deferred``."""
    results: list[Any] = []

    def record(result: object) -> None:
        results.append(result.value if isinstance(result, Failure) else result)

    deferred.addBoth(record)
    return results


@pytest.fixture
def reactor() -> ThreadReactor:
    return ThreadReactor()


@pytest.fixture
def worker(reactor: ThreadReactor) -> Iterator[BoundedWorker]:
    """One thread, and room for one more piece of work."""
    worker = BoundedWorker(reactor, threads=1, queue=1, name="test")
    worker.startService()
    yield worker
    if worker.running:
        worker.stopService()


def test_functions_run_in_another_thread(worker: BoundedWorker, reactor: ThreadReactor) -> None:
    got = outcome(worker.run(threading.get_ident))
    assert got == []
    reactor.deliver()
    assert got[0] != threading.get_ident()


def test_arguments_are_passed_on(worker: BoundedWorker, reactor: ThreadReactor) -> None:
    got = outcome(worker.run(int, "ff", base=16))
    reactor.deliver()
    assert got == [255]


def test_what_a_function_raises_comes_back(worker: BoundedWorker, reactor: ThreadReactor) -> None:
    got = outcome(worker.run(int, "x"))
    reactor.deliver()
    assert isinstance(got[0], ValueError)


def test_a_full_queue_refuses_and_takes_work_again_later(worker: BoundedWorker, reactor: ThreadReactor) -> None:
    gate = threading.Event()
    first = outcome(worker.run(gate.wait, 10))
    second = outcome(worker.run(int, "2"))
    refused = outcome(worker.run(int, "3"))
    assert isinstance(refused[0], TooBusy)
    gate.set()
    reactor.deliver()
    fourth = outcome(worker.run(int, "4"))
    reactor.deliver()
    reactor.deliver()
    assert [first, second, fourth] == [[True], [2], [4]]


def test_who_gives_up_does_not_make_room(worker: BoundedWorker, reactor: ThreadReactor) -> None:
    gate = threading.Event()
    for _ in range(2):
        abandoned = worker.run(gate.wait, 10)
        got = outcome(abandoned)
        abandoned.cancel()
        assert isinstance(got[0], CancelledError)
    assert isinstance(outcome(worker.run(int, "3"))[0], TooBusy)
    gate.set()
    reactor.deliver()
    accepted = outcome(worker.run(int, "4"))
    reactor.deliver()
    reactor.deliver()
    assert accepted == [4]


def test_a_stopped_worker_refuses(worker: BoundedWorker) -> None:
    worker.stopService()
    assert isinstance(outcome(worker.run(int, "1"))[0], TooBusy)
