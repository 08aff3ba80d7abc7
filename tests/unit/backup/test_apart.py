"""Work in a process of its own: what comes back from it, and what is told of how it ends."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

import pytest

from realmserver.backup.apart import Tell, apart
from realmserver.store.interface import StoreFull


def test_the_result_and_what_the_work_tells_come_back() -> None:
    def work(tell: Tell) -> int:
        tell(1)
        tell(2)
        return os.getpid()

    told: list[int] = []
    assert apart("it", work, told.append) != os.getpid()
    assert told == [1, 2]


def raised(work: Callable[[Tell], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 (the kind is what is asked)
        apart("it", work)
    return caught.value


def test_errors_of_the_store_and_the_system_keep_their_kind() -> None:
    def full(_: Tell) -> None:
        raise StoreFull("no room")

    def denied(_: Tell) -> None:
        raise PermissionError(13, "Permission denied", "/file")

    assert (type(raised(full)), str(raised(full))) == (StoreFull, "no room")
    found = raised(denied)
    assert isinstance(found, PermissionError)
    assert (found.errno, found.filename) == (13, "/file")


def test_a_fault_of_ours_is_named() -> None:
    def faulty(_: Tell) -> None:
        raise KeyError("x")

    assert str(raised(faulty)) == "reading it failed by a fault of this program: KeyError('x')"


def test_the_end_of_the_process_is_an_error() -> None:
    def killed(_: Tell) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def gone(_: Tell) -> None:
        os._exit(3)

    assert str(raised(killed)) == "it: the file is damaged: the process that read it was ended by SIGSEGV"
    assert str(raised(gone)) == "it: the process that read it has vanished"


def test_whoever_waits_may_give_up() -> None:
    children: list[int] = []

    def endless(tell: Tell) -> None:
        tell(os.getpid())
        signal.pause()

    def give_up() -> None:
        if children:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        apart("it", endless, children.append, give_up)
    with pytest.raises(ProcessLookupError):  # nothing is left of it
        os.kill(children[0], 0)


def test_a_signal_that_comes_while_the_process_is_made_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    fork = os.fork

    def fork_at_a_bad_moment() -> int:
        with suppress(SystemExit):  # as Python does around a fork
            signal.raise_signal(signal.SIGTERM)
        return fork()

    monkeypatch.setattr(os, "fork", fork_at_a_bad_moment)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with pytest.raises(SystemExit):
            apart("it", lambda tell: None)
    finally:
        signal.signal(signal.SIGTERM, before)
