"""Frozen values that are cheap to make: equal and hashed by what is in them, and not to be changed."""

import pytest

from realmserver.frozen import frozen


@frozen
class Point:
    x: int
    y: int = 0


@frozen(eq=False)
class Thing:
    x: int


def test_what_is_equal_is_one_key() -> None:
    assert Point(1) == Point(1, 0) != Point(1, 2)
    assert {Point(1): "here"}[Point(1, 0)] == "here"


def test_a_thing_is_only_itself() -> None:
    one = Thing(1)
    assert one != Thing(1)
    assert {one: "it"}[one] == "it"


def test_who_changes_one_hears_it_from_the_type_checker() -> None:
    """mypy would call the comment superfluous if it had nothing against this."""
    point = Point(1)
    point.x = 2  # type: ignore[misc]


def test_there_is_no_room_for_more() -> None:
    with pytest.raises(AttributeError):
        Point(1).z = 3  # type: ignore[attr-defined]
