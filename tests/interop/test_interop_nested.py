"""Lists and dictionaries in Mixed places, inside each other: what clients from protocol 13 on can write."""

from __future__ import annotations

from typing import Any, Final

import pytest
from interop_devices import Devices, assert_equal, change_and_compare
from interop_model import Model
from interop_schema import MIXED_SAMPLES, NESTED
from realm_client import at_once, settle
from server_process import ServerProcess

pytestmark = pytest.mark.interop

Json = Any

NEW: Final = "2.3.0"
PLAIN: Final[list[Json]] = [
    {"$link": "1", "class": "Box"} if "$link" in str(value) else value for value in MIXED_SAMPLES
]
"""A value of every type that a Mixed can hold besides collections."""

DEEP_LIST: Final[list[Json]] = ["a", [1, [], [2, {"x": []}]], {"k": {"l": ["m", {}]}, "": None}, *PLAIN]
DEEP_DICTIONARY: Final[dict[str, Json]] = {
    "list": [[["deep"], 2], {"z": PLAIN}],
    "dictionary": {"inner": {"innermost": {"n": 1}, "list": []}},
    "plain": 5,
    **{f"value {number}": value for number, value in enumerate(PLAIN)},
}

CREATED: Final[list[tuple[Any, ...]]] = [
    ("create", "Box", "1", {}),
    ("create", "Box", "list", {"any": DEEP_LIST, "list": [DEEP_LIST, {}, []], "dict": {"a": DEEP_LIST, "b": []}}),
    (
        "create",
        "Box",
        "dictionary",
        {"any": DEEP_DICTIONARY, "list": [DEEP_DICTIONARY, 7], "dict": {"a": DEEP_DICTIONARY, "b": {}}},
    ),
]

CHANGED_IN_PLACE: Final[list[tuple[Any, ...]]] = [
    (verb, "Box", key, [*place, *rest], *arguments)
    for key, place in (("list", ["any"]), ("list", ["list", 0]), ("list", ["dict", "a"]))
    for verb, rest, *arguments in (
        ("insert", [], 0, {"first": [1]}),
        ("append", [], ["last"]),
        ("insert", [2, 2], 0, "deep"),
        ("append", [2, 2, 2, "x"], [{"$double": 3.5}]),
        ("set", [2, 2, 2, "y"], {"four": {"five": []}}),
        ("erase", [2, 0]),
        ("set", [1], ["was plain"]),
        ("set", [3, "k", "l", 1, "n"], 9),
        ("set", [3, "k", "l", 0], None),
        ("erase", [3, ""]),
        ("clear", [0, "first"]),
    )
] + [
    (verb, "Box", key, [*place, *rest], *arguments)
    for key, place in (("dictionary", ["any"]), ("dictionary", ["list", 0]), ("dictionary", ["dict", "a"]))
    for verb, rest, *arguments in (
        ("append", ["list", 0, 0], {"n": 1}),
        ("insert", ["list"], 0, []),
        ("erase", ["list", 2, "z", 1]),
        ("set", ["dictionary", "inner", "innermost"], [1]),
        ("set", ["dictionary", "inner", "list"], "plain"),
        ("erase", ["plain"]),
        ("clear", ["dictionary", "inner", "innermost"]),
        ("set", ["new"], {"": [{}]}),
    )
]  # fmt: skip

REPLACED: Final[list[tuple[Any, ...]]] = [
    ("set", "Box", "list", "any", DEEP_DICTIONARY),
    ("set", "Box", "list", "list", [[], DEEP_DICTIONARY]),
    ("set", "Box", "list", ["list", 0], {"a": [1]}),
    ("set", "Box", "list", ["dict", "a"], {"was": "a list"}),
    ("set", "Box", "dictionary", "any", 1),
    ("erase", "Box", "dictionary", ["list", 0]),
    ("erase", "Box", "dictionary", ["dict", "a"]),
]

EMPTIED: Final[list[tuple[Any, ...]]] = [
    ("clear", "Box", "list", "any"),
    ("clear", "Box", "list", ["list", 1]),
    ("clear", "Box", "list", "list"),
    ("clear", "Box", "list", "dict"),
    ("delete", "Box", "dictionary"),
    ("delete", "Box", "list"),
]


def test_collections_in_mixed_places_sync_both_ways(devices: Devices) -> None:
    clients = devices.open(NEW, NEW, schema=NESTED)
    model = Model(NESTED)
    for writer, reader in (clients, clients[::-1]):
        for commands in (CREATED, CHANGED_IN_PLACE, REPLACED, EMPTIED):
            change_and_compare(model, writer, [reader], commands)
    assert_equal(clients)


BEFORE: Final[dict[str, Json]] = {
    "any": {"list": ["x", ["y", {"deep": ["z"]}]], "dict": {"in": {"n": 0}}},
    "list": [["x"], {"in": {"list": ["y"]}}],
    "dict": {"a": {"list": [["x"], "y"]}},
}


def offline_edits(front: bool, who: str) -> list[tuple[Any, ...]]:
    """One device's edits in every collection of ``BEFORE``: keys of its own, list elements at its own end."""
    end: tuple[Any, ...] = ("insert", 0) if front else ("append",)

    def put(place: list[Any], value: Json) -> tuple[Any, ...]:
        verb, *index = end
        return (verb, "Box", "shared", place, *index, value)

    def key(place: list[Any], value: Json) -> tuple[Any, ...]:
        return ("set", "Box", "shared", [*place, who], value)

    # The outer lists last: until then both devices find the inner ones where ``BEFORE`` has them.
    return [
        put(["any", "list", 1, 1, "deep"], {who: [who]}),
        key(["any", "list", 1, 1], [who, {}]),
        put(["any", "list", 1], who),
        put(["any", "list"], [who, [who]]),
        key(["any", "dict", "in"], {"n": [1]}),
        key(["any", "dict"], who),
        key(["any"], {who: {who: who}}),
        put(["list", 1, "in", "list"], [[who]]),
        key(["list", 1, "in"], []),
        put(["list", 0], {}),
        put(["list"], [who]),
        put(["dict", "a", "list", 0], who),
        put(["dict", "a", "list"], {who: 1}),
        key(["dict", "a"], [who]),
        key(["dict"], {"of": who}),
    ]


def merged() -> dict[str, Json]:
    """``BEFORE`` after the edits of "first" in front and those of "second" at the end."""
    model = Model(NESTED)
    model.do("create", "Box", "shared", BEFORE)
    # An append does not shift what the other one finds, an insert in front does: so that comes last.
    for command in offline_edits(False, "second") + offline_edits(True, "first"):
        model.do(*command)
    box: dict[str, Json] = model.objects["Box"]['"shared"']
    return box


def test_offline_edits_of_one_nested_collection_merge_and_a_late_device_is_equal(
    server: ServerProcess, devices: Devices
) -> None:
    clients = devices.open(NEW, NEW, schema=NESTED)
    clients[0].cmd("create", "Box", "shared", BEFORE)
    settle(*clients)
    at_once(clients, "pause")
    clients[0].cmd("batch", offline_edits(True, "first"))
    clients[1].cmd("batch", offline_edits(False, "second"))
    server.restart()
    at_once(clients, "resume")
    at_once(clients, "reconnect")
    settle(*clients)
    held = assert_equal(clients, interrupted=True)["Box"]['"shared"']
    assert held == merged()
    server.restart()
    late = devices.open(NEW, schema=NESTED)
    everyone = [*clients, *late]
    at_once(clients, "reconnect")
    settle(*everyone)
    assert assert_equal(everyone, interrupted=True)["Box"]['"shared"'] == held
    for client in everyone:
        client.cmd("append", "Box", "shared", ["any", "list", 2, 2, "deep"], [client.name])
    settle(*everyone)
    deepest = assert_equal(everyone, interrupted=True)["Box"]['"shared"']["any"]["list"][2][2]["deep"]
    assert sorted(name for (name,) in deepest[-3:]) == [client.name for client in everyone]


def test_a_nested_element_that_one_device_erases_takes_the_other_ones_edits_along(devices: Devices) -> None:
    clients = devices.open(NEW, NEW, schema=NESTED)
    first, second = clients
    first.cmd("create", "Box", "shared", BEFORE)
    settle(*clients)
    at_once(clients, "pause")
    first.cmd("batch", [
        ("erase", "Box", "shared", ["any", "list", 1]),
        ("erase", "Box", "shared", ["dict", "a"]),
        ("insert", "Box", "shared", "list", 0, "new"),
    ])  # fmt: skip
    second.cmd("batch", [
        ("append", "Box", "shared", ["any", "list", 1, 1, "deep"], "lost"),
        ("append", "Box", "shared", ["any", "list"], "kept"),
        ("set", "Box", "shared", ["dict", "a", "lost"], []),
        ("set", "Box", "shared", ["list", 1, "in", "list", 0], "kept"),
    ])  # fmt: skip
    at_once(clients, "resume")
    settle(*clients)
    held = assert_equal(clients)["Box"]['"shared"']
    assert held["any"]["list"] == ["x", "kept"]
    assert held["dict"] == {}
    assert held["list"] == ["new", ["x"], {"in": {"list": ["kept"]}}]
