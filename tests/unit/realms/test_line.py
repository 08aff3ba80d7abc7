"""A queue that is small while it is empty."""

import sys

import pytest

from realmserver.realms.line import Line


def test_first_come_first_served() -> None:
    line: Line[int] = Line()
    assert (bool(line), len(line), list(line)) == (False, 0, [])
    line.append(1)
    line.append(2)
    line.append(3)
    assert (bool(line), len(line), list(line), line[0], line[-1]) == (True, 3, [1, 2, 3], 1, 3)
    assert [line.popleft() for _ in range(3)] == [1, 2, 3]
    assert not line
    line.append(4)
    assert list(line) == [4]
    line.clear()
    assert not line


def test_an_empty_one_has_no_first() -> None:
    line: Line[int] = Line()
    with pytest.raises(IndexError):
        line.popleft()
    with pytest.raises(IndexError):
        line[0]


def test_it_takes_next_to_nothing_before_and_after_use() -> None:
    line: Line[int] = Line()
    line.append(1)
    line.popleft()
    assert sys.getsizeof(line) < 64
    assert not hasattr(line, "__dict__")
