"""Devices edit the same objects while they are offline, and are equal when they are back: what each rule must give,
then random rounds.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import frozen
from interop_devices import Devices, assert_equal, new_seed
from interop_edits import edit
from interop_model import text
from realm_client import RealmClient, at_once, settle

pytestmark = pytest.mark.interop

ROUNDS = 20

GONE = None


@frozen
class Meeting:
    """Two edits of one Thing that do not know of each other; the second one has the later timestamp.

    Attributes:
        before: what both start from.
        first, second: commands without class and key.
        after: the properties that both must hold in the end, or ``GONE``.
    """

    before: dict[str, Any]
    first: list[tuple[Any, ...]]
    second: list[tuple[Any, ...]]
    after: dict[str, Any] | None


def home(x: int, s: str | None = None, nums: tuple[int, ...] = ()) -> dict[str, Any]:
    return {"x": x, "s": s, "nums": list(nums)}


MEETINGS = {
    "of one property the later value stays": Meeting({}, [("set", "name", "1")], [("set", "name", "2")], {"name": "2"}),
    "two properties do not meet": Meeting(
        {}, [("set", "name", "1")], [("set", "ratio", {"$double": 0.5})], {"name": "1", "ratio": {"$double": 0.5}}
    ),
    "a later null wins": Meeting({"name": "0"}, [("set", "name", "1")], [("set", "name", None)], {"name": None}),
    "counters add up": Meeting({"count": 10}, [("add", "count", 5)], [("add", "count", -2)], {"count": 13}),
    "a later increment adds to the value": Meeting({}, [("set", "count", 100)], [("add", "count", 5)], {"count": 105}),
    "a later value drops the increment": Meeting({}, [("add", "count", 5)], [("set", "count", 100)], {"count": 100}),
    "of a Mixed the later value stays": Meeting({}, [("set", "any", 1)], [("set", "any", "two")], {"any": "two"}),
    "inserts at one place: the older is first": Meeting(
        {"tags": ["x", "y"]}, [("insert", "tags", 1, "a")], [("insert", "tags", 1, "b")], {"tags": ["x", "a", "b", "y"]}
    ),
    "appends stay both": Meeting(
        {}, [("append", "tags", "a")], [("append", "tags", "b"), ("append", "tags", "c")], {"tags": ["a", "b", "c"]}
    ),
    "an element erased twice is gone once": Meeting(
        {"nums": [1, 2, 3]}, [("erase", ["nums", 1])], [("erase", ["nums", 1])], {"nums": [1, 3]}
    ),
    "an erased element is not set": Meeting(
        {"nums": [1, 2, 3]}, [("erase", ["nums", 1])], [("set", ["nums", 1], 9)], {"nums": [1, 3]}
    ),
    "a set element moves along": Meeting(
        {"nums": [1, 2, 3]}, [("insert", "nums", 0, 0)], [("set", ["nums", 2], 9)], {"nums": [0, 1, 2, 9]}
    ),
    "a move and an insert": Meeting(
        {"nums": [1, 2, 3, 4]}, [("move", "nums", 0, 3)], [("insert", "nums", 0, 9)], {"nums": [9, 2, 3, 4, 1]}
    ),
    "of two moves of one element the later stays": Meeting(
        {"nums": [1, 2, 3, 4]}, [("move", "nums", 0, 3)], [("move", "nums", 0, 2)], {"nums": [2, 3, 1, 4]}
    ),
    "an erased element is not moved": Meeting(
        {"nums": [1, 2, 3]}, [("move", "nums", 0, 2)], [("erase", ["nums", 0])], {"nums": [2, 3]}
    ),
    "clearing takes concurrent inserts along": Meeting(
        {"tags": ["x"]}, [("append", "tags", "a")], [("clear", "tags")], {"tags": []}
    ),
    "members of a set add up": Meeting(
        {"marks": [1]},
        [("set_insert", "marks", 2)],
        [("set_insert", "marks", 3), ("set_insert", "marks", 2)],
        {"marks": [1, 2, 3]},
    ),
    "a later insert into a set beats the erase": Meeting(
        {"marks": [1, 2]},
        [("set_erase", "marks", 2)],
        [("set_erase", "marks", 2), ("set_insert", "marks", 2)],
        {"marks": [1, 2]},
    ),
    "keys of a dictionary add up": Meeting(
        {"map": {"a": 1}},
        [("set", ["map", "b"], 2), ("set", ["map", "a"], 5)],
        [("set", ["map", "c"], 3), ("erase", ["map", "a"])],
        {"map": {"b": 2, "c": 3}},
    ),
    "properties of an embedded object do not meet": Meeting(
        {"home": home(1, "s")}, [("set", ["home", "x"], 5)], [("set", ["home", "s"], "t")], {"home": home(5, "t")}
    ),
    "counters in an embedded object add up": Meeting(
        {"home": home(1)}, [("add", ["home", "x"], 5)], [("add", ["home", "x"], 7)], {"home": home(13)}
    ),
    "an embedded object that is gone takes edits along": Meeting(
        {"home": home(1)}, [("set", ["home", "x"], 5)], [("set", "home", None)], {"home": None}
    ),
    "an edit follows its embedded object in a list": Meeting(
        {"rooms": [home(1), home(2)]},
        [("insert", "rooms", 0, home(0)), ("erase", ["rooms", 1])],
        [("append", ["rooms", 1, "nums"], 7), ("set", ["rooms", 0, "x"], 9)],
        {"rooms": [home(0), home(2, nums=(7,))]},
    ),
    "embedded objects at different keys stay both": Meeting(
        {"doors": {"a": home(1)}},
        [("set", ["doors", "b"], home(2)), ("set", ["doors", "a", "s"], "oak")],
        [("set", ["doors", "c"], home(3)), ("add", ["doors", "a", "x"], 4)],
        {"doors": {"a": home(5, "oak"), "b": home(2), "c": home(3)}},
    ),
    "a deleted object takes edits along": Meeting(
        {}, [("delete",)], [("set", "name", "late"), ("append", "tags", "x")], GONE
    ),
    "a deletion beats an earlier edit too": Meeting({}, [("set", "name", "early")], [("delete",)], GONE),
    "created again after the newer deletion, it stays": Meeting(
        {"name": "old"}, [("delete",)], [("delete",), ("create", {"count": 3})], {"name": None, "count": 3}
    ),
}


def perform(client: RealmClient, title: str, commands: list[tuple[Any, ...]]) -> None:
    client.cmd("batch", [(verb, "Thing", title, *rest) for verb, *rest in commands])


def test_edits_that_meet_give_what_the_rules_say(devices: Devices, versions: tuple[str, ...]) -> None:
    clients = devices.open(*versions)
    first, second = clients[:2]
    first.cmd("batch", [("create", "Thing", title, meeting.before) for title, meeting in MEETINGS.items()])
    settle(*clients)
    at_once([first, second], "pause")
    for title, meeting in MEETINGS.items():
        perform(first, title, meeting.first)
    time.sleep(0.01)  # timestamps are milliseconds: all of the second device are later
    for title, meeting in MEETINGS.items():
        perform(second, title, meeting.second)
    at_once([first, second], "resume")
    settle(*clients)
    things = assert_equal(clients)["Thing"]
    for title, meeting in MEETINGS.items():
        thing = things.get(text(title))
        found = thing if meeting.after is GONE else thing and {name: thing[name] for name in meeting.after}
        assert found == meeting.after, title


def offline_round(clients: list[RealmClient], rng: random.Random, fresh: Iterator[int], *, anew: bool = False) -> str:
    """All pause, edit at random what they see, and resume. Returns what they did."""
    at_once(clients, "pause")
    story = "".join(edit(client, rng, fresh, rng.randint(1, 4), anew=anew) for client in clients)
    at_once(clients, "resume")
    return story


def test_twenty_random_rounds_offline_end_equal(devices: Devices, versions: tuple[str, ...]) -> None:
    seed = new_seed()
    rng, fresh = random.Random(seed), itertools.count()
    clients = devices.open(*versions)
    for number in range(ROUNDS):
        story = offline_round(clients, rng, fresh, anew="1.8.0" not in versions)
        settle(*clients)
        assert_equal(clients, f"seed {seed}, round {number}\n{story}")


def test_many_rounds_before_the_devices_meet_again(devices: Devices) -> None:
    """One device stays away for long: its many changesets meet as many of the others."""
    seed = new_seed()
    rng, fresh = random.Random(seed), itertools.count()
    away, *present = clients = devices.open("1.8.0", "1.11.0", "2.3.0")
    settle(*clients)
    away.cmd("pause")
    story = ""
    for _ in range(10):
        story += offline_round(present, rng, fresh)
        settle(*present)
        story += edit(away, rng, fresh, 1)
    away.cmd("resume")
    settle(*clients)
    assert_equal(clients, f"seed {seed}\n{story}")
