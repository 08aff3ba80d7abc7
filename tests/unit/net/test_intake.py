"""How a connection is read from: in turns, and not while there is a reason against it."""

from twisted.internet.task import Clock

from realmserver.net.intake import SLICE, TURN, Intake


class Reading:
    """A transport that is read from, and what came of it. Each slice takes ``cost`` seconds."""

    def __init__(self, cost: float = 0.0) -> None:
        self.clock = Clock()
        self.is_on = True
        self.cost = cost
        self.taken: list[int] = []
        self._now = 0.0
        self.intake = Intake(self.clock, self._take, lambda: self._now)
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


def test_who_has_had_a_turn_waits_as_long_as_it_took() -> None:
    reading = Reading(cost=2 * TURN)
    reading.intake.received(bytes(3 * SLICE))
    assert reading.taken == [SLICE]
    assert not reading.is_on
    reading.clock.advance(2 * TURN)
    assert reading.taken == [SLICE] * 2
    reading.cost = 0
    reading.clock.advance(2 * TURN)
    assert reading.taken == [SLICE] * 3
    assert reading.is_on
    assert reading.clock.getDelayedCalls() == []


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


def test_when_it_is_over_nothing_is_left() -> None:
    reading = Reading(cost=2 * TURN)
    reading.intake.received(bytes(3 * SLICE))
    reading.intake.stop()
    reading.clock.advance(1)
    assert reading.taken == [SLICE]
    assert reading.clock.getDelayedCalls() == []
