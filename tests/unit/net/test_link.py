"""The way between a front and a worker: what is told arrives, in one piece, and never more of it than there is room."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from worker_ends import Pipe, join

from realmserver.net.link import AMOUNT, HEAD, MESSAGE, TAKEN, WINDOW, Line, Link

Frame = tuple[int, int, bytes]

FRAMES = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 255), st.binary(max_size=300)), max_size=12)


class End:
    """A link, and what it heard."""

    def __init__(self, clock: Any) -> None:
        self.frames: list[Frame] = []
        self.rounds = self.ends = 0
        self.link = Link(clock, lambda *frame: self.frames.append(frame), self._round_over, self._ended)

    def _round_over(self) -> None:
        self.rounds += 1

    def _ended(self) -> None:
        self.ends += 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Ends:
    def __init__(self, clock: Any) -> None:
        self.one, self.other = End(clock), End(clock)
        self.pipe, self.far = join(self.one.link, self.other.link)

    def line(self, number: int = 1) -> tuple[Line, list[bool]]:
        """One that sends, and what it was told of room."""
        room: list[bool] = []
        return Line(self.one.link, number, room.append), room


@pytest.fixture
def ends(clock: Clock) -> Ends:
    return Ends(clock)


def written(frames: Sequence[Frame]) -> bytes:
    return b"".join(HEAD.pack(len(payload), number, kind) + payload for number, kind, payload in frames)


@given(frames=FRAMES, cuts=st.lists(st.integers(0, 4000), max_size=20))
def test_frames_arrive_however_the_stream_is_cut(frames: list[Frame], cuts: list[int]) -> None:
    end, data = End(Clock()), written(frames)
    Pipe(end.link)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, stop in pairwise(places):
        if start < stop:
            end.link.dataReceived(data[start:stop])
    assert end.frames == frames


def test_what_is_told_in_one_round_goes_out_in_one_piece(ends: Ends, clock: Clock) -> None:
    for number in range(100):
        ends.one.link.tell(number, MESSAGE, b"payload")
    assert ends.pipe.written == 0
    clock.advance(0)
    assert ends.pipe.written == 1
    ends.far.deliver()
    assert ends.other.frames == [(number, MESSAGE, b"payload") for number in range(100)]
    assert ends.other.rounds == 1


def test_much_does_not_wait_for_the_end_of_the_round(ends: Ends) -> None:
    ends.one.link.tell(1, MESSAGE, bytes(1 << 20))
    assert ends.pipe.written == 1


def test_little_traffic_needs_no_word_about_room(ends: Ends, clock: Clock) -> None:
    line, room = ends.line()
    line.send(b"message")
    clock.advance(0)
    ends.far.deliver()
    taking, _ = Line(ends.other.link, 1, room.append), None
    taking.took(len(b"message"))
    clock.advance(0)
    assert room == []
    assert not ends.pipe.deliver()


def test_a_line_is_full_when_its_window_is_and_free_when_the_other_end_has_taken(ends: Ends, clock: Clock) -> None:
    line, room = ends.line()
    back = Line(ends.other.link, 1, room.append)
    line.send(bytes(WINDOW // 2))
    assert room == []
    line.send(bytes(WINDOW // 2))
    assert room == [False]
    for _ in range(2):
        back.took(WINDOW // 2)
    clock.advance(0)
    ends.pipe.deliver()
    for _, kind, payload in ends.one.frames:
        assert kind == TAKEN
        line.taken(payload)
    assert room == [False, True]


def test_who_has_taken_all_never_leaves_the_other_without_room(ends: Ends, clock: Clock) -> None:
    """What is not yet told of is less than the window."""
    line, room = ends.line()
    back = Line(ends.other.link, 1, room.append)
    for size in range(0, 3 * WINDOW, 997):
        line.send(bytes(size))
        back.took(size)
        clock.advance(0)
        ends.pipe.deliver()
        for _, _, payload in ends.one.frames:
            line.taken(payload)
        ends.one.frames.clear()
        assert room[-1:] != [False]


def test_where_the_link_is_full_every_line_that_sends_is(ends: Ends) -> None:
    (line, room), (idle, idles) = ends.line(1), ends.line(2)
    ends.pipe.producer.pauseProducing()
    line.send(b"message")
    assert room == [False]
    ends.pipe.producer.resumeProducing()
    assert room == [False, True]
    assert idles == []
    idle.end()


def test_a_line_that_has_ended_is_told_nothing_more(ends: Ends) -> None:
    line, room = ends.line()
    ends.pipe.producer.pauseProducing()
    line.send(b"message")
    line.end()
    ends.pipe.producer.resumeProducing()
    line.taken(AMOUNT.pack(0))
    assert room == [False]


def test_a_fault_about_one_connection_costs_the_others_nothing(clock: Clock) -> None:
    heard: list[int] = []

    def hear(number: int, kind: int, payload: bytes) -> None:
        if number == 1:
            raise ZeroDivisionError
        heard.append(number)

    link = Link(clock, hear, lambda: None, lambda: None)
    with capturedLogs() as logged:
        link.dataReceived(written([(1, MESSAGE, b""), (2, MESSAGE, b"")]))
    assert heard == [2]
    assert len(logged) == 1


def test_when_one_end_is_gone_the_other_is_told_and_tells_nobody(ends: Ends, clock: Clock) -> None:
    ends.one.link.tell(1, MESSAGE, b"never sent")
    ends.other.link.end()
    assert ends.one.ends == ends.other.ends == 1
    ends.one.link.tell(1, MESSAGE, b"either")
    clock.advance(0)
    assert ends.pipe.written == 0
