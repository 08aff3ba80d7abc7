"""Load generators begin together, and what goes wrong in one of them is told."""

import time

import pytest

from bench.cases import Timed
from bench.load.crew import Counted, Gate, work
from bench.load.wire import Trouble


def counting(gate: Gate, number: int) -> Counted:
    gate.open()
    begun = time.perf_counter()
    gate.close()
    return {"number": [number], "begun": [begun]}


def in_trouble(gate: Gate) -> Counted:
    gate.open()
    raise Trouble("the server says no")


def failing(gate: Gate) -> Counted:
    raise KeyError("a bug")


def test_clocks_start_when_all_are_ready_and_all_is_added_up() -> None:
    told: list[float] = []
    reports = work(
        [(counting, (1,)), (counting, (2,))],
        lambda: told.append(time.perf_counter()),
        lambda: told.append(time.perf_counter()),
    )
    timed = Timed(1.0, tuple(reports))
    assert timed.total("number") == 3
    assert timed.total("nothing") == 0
    ready, done = told
    assert all(ready < begun < done for begun in timed.series("begun"))
    assert all(ready < report.begun <= report.ended < done for report in reports)


def test_trouble_is_handed_on() -> None:
    with pytest.raises(Trouble, match="the server says no"):
        work([(counting, (1,)), (in_trouble, ())], lambda: None, lambda: None)


def test_a_bug_is_told_with_its_place() -> None:
    with pytest.raises(Trouble, match="in failing"):
        work([(failing, ())], lambda: None, lambda: None)
