"""How connections are read from: in turns, and not while there is a reason against it."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from realmserver.net.intake import SLICE, TURN, Intake, Turns


class Rounds:
    """A reactor whose rounds are counted by hand: what is put off comes in the next one."""

    def __init__(self) -> None:
        self.put_off: list[Callable[[], None]] = []

    def callLater(self, delay: float, call: Callable[[], None]) -> None:
        assert delay == 0
        self.put_off.append(call)

    def go_round(self) -> None:
        now, self.put_off = self.put_off, []
        for call in now:
            call()


class Reading:
    """A transport that is read from, and what came of it. Each slice takes ``cost`` seconds; ``message`` of
    the next bytes are one message."""

    def __init__(self, cost: float = 0.0, beside: "Reading | None" = None) -> None:
        self.reactor: Rounds = beside.reactor if beside is not None else Rounds()
        self.turns: Turns = beside.turns if beside is not None else Turns(cast(Any, self.reactor))
        self.is_on = True
        self.cost = cost
        self.message = SLICE
        self.taken: list[int] = []
        self._now = 0.0
        self.intake = Intake(self.turns, self._take, lambda left, place: self.message, lambda: self._now)
        self.intake.transport = self

    def pauseProducing(self) -> None:
        assert self.is_on
        self.is_on = False

    def resumeProducing(self) -> None:
        assert not self.is_on
        self.is_on = True

    def _take(self, data: bytes) -> None:
        self.taken.append(len(data))
        self._now += self.cost


def test_what_is_cheap_is_taken_at_once() -> None:
    reading = Reading()
    reading.intake.received(bytes(3 * SLICE + 1))
    assert reading.taken == [SLICE, SLICE, SLICE, 1]
    assert reading.is_on


def test_what_only_adds_to_a_message_is_taken_as_a_whole() -> None:
    reading = Reading()
    reading.message = 10 * SLICE
    reading.intake.received(bytes(15 * SLICE))
    assert reading.taken == [10 * SLICE, 5 * SLICE]


def test_who_has_had_a_turn_waits_for_the_next() -> None:
    reading = Reading(cost=2 * TURN)
    reading.intake.received(bytes(3 * SLICE))
    assert reading.taken == [SLICE]
    assert not reading.is_on
    reading.reactor.go_round()
    assert reading.taken == [SLICE] * 2
    reading.cost = 0
    reading.reactor.go_round()
    assert reading.taken == [SLICE] * 3
    assert reading.is_on
    assert not reading.reactor.put_off


def test_who_has_had_a_turn_and_has_said_all_is_read_from_after_the_others() -> None:
    reading = Reading(cost=2 * TURN)
    reading.intake.received(bytes(SLICE))
    assert reading.is_on  # it may have no more to say, and is not bothered
    reading.intake.received(bytes(10))
    assert reading.taken == [SLICE]
    assert not reading.is_on
    reading.reactor.go_round()
    assert reading.taken == [SLICE, 10]
    reading.reactor.go_round()
    assert reading.is_on


def test_in_one_round_one_has_a_turn_and_each_comes_to_it() -> None:
    first = Reading(cost=2 * TURN)
    second, third = Reading(2 * TURN, first), Reading(2 * TURN, first)
    everyone = [first, second, third]
    for each in everyone:
        each.intake.received(bytes(3 * SLICE))
    for number in range(6):
        before = [len(each.taken) for each in everyone]
        first.reactor.go_round()
        turns = [len(each.taken) - count for each, count in zip(everyone, before, strict=True)]
        assert turns == [number % 3 == 0, number % 3 == 1, number % 3 == 2]


def test_who_says_little_does_not_wait_for_those_who_say_much() -> None:
    busy = [Reading(cost=2 * TURN)]
    busy += [Reading(2 * TURN, busy[0]) for _ in range(20)]
    for each in busy:
        each.intake.received(bytes(3 * SLICE))
    quiet = Reading(0, busy[0])
    quiet.intake.received(bytes(10))
    assert quiet.taken == [10]


def test_nothing_is_taken_while_any_reason_stands() -> None:
    reading = Reading()
    reading.intake.pause("one")
    reading.intake.pause("another")
    reading.intake.received(b"late")  # TLS may have had it already
    reading.intake.resume("one")
    assert reading.taken == []
    reading.intake.resume("one")
    reading.intake.resume("another")
    assert reading.taken == [4]
    assert reading.is_on


def test_a_turn_that_comes_while_another_reason_stands_is_not_taken() -> None:
    reading = Reading(cost=2 * TURN)
    reading.intake.received(bytes(2 * SLICE))
    reading.intake.pause("one")
    reading.reactor.go_round()
    assert reading.taken == [SLICE]
    reading.intake.resume("one")
    assert reading.taken == [SLICE] * 2


def test_when_it_is_over_nothing_is_left() -> None:
    reading = Reading(cost=2 * TURN)
    reading.intake.received(bytes(3 * SLICE))
    reading.intake.stop()
    reading.reactor.go_round()
    assert reading.taken == [SLICE]
    assert not reading.reactor.put_off


def test_a_fault_in_one_connection_does_not_stop_the_turns_of_others() -> None:
    bad = Reading(cost=2 * TURN)
    good = Reading(2 * TURN, bad)
    for each in (bad, good):
        each.intake.received(bytes(2 * SLICE))

    def fail(data: bytes) -> None:
        raise ValueError("a fault")

    bad.intake._take = fail
    with pytest.raises(ValueError, match="a fault"):
        bad.reactor.go_round()
    bad.reactor.go_round()
    assert good.taken == [SLICE] * 2
