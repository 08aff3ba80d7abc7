"""Live sync, both ways, of every property type and every kind of primary key: each SDK version, and all together."""

from __future__ import annotations

from typing import Any

import pytest
from interop_devices import Devices, assert_equal, change_and_compare
from interop_model import Model
from interop_schema import ALL_TYPES, KEY_TYPES, MIXED_SAMPLES, SAMPLES

pytestmark = pytest.mark.interop


def every_property(generation: int) -> dict[str, Any]:
    """Values for all properties of class All; another generation has other values."""
    values: dict[str, Any] = {}
    for base, samples in SAMPLES.items():
        some = samples[generation % len(samples) :] + samples[: generation % len(samples)]
        values |= collections(base, some) | collections(f"{base}_opt", [*some[:1], None, *some[1:]])
    values |= collections("mixed", MIXED_SAMPLES[generation:] + MIXED_SAMPLES[:generation])
    values |= collections("link", [1, 2] if generation else [2, 1])
    values["link_list"] = [1, 2, 1, 1]
    piece = {"n": generation, "to": 2}
    part = {
        "x": generation,
        "s": "part",
        "nums": [3, 2, 1],
        "any": {"$link": 1, "class": "All"},
        "one": piece,
        "more": [piece],
    }
    return values | {"emb": part, "emb_list": [part, {"x": 8}, part], "emb_dict": {"k": part, "": {"s": None}}}


def collections(name: str, values: list[Any]) -> dict[str, Any]:
    """A property and its list, set and dictionary with these values."""
    keyed = {f"key {i}": value for i, value in enumerate(values)}
    return {name: values[0], f"{name}_list": values + values[:1], f"{name}_set": values, f"{name}_dict": keyed}


def single_changes(generation: int) -> list[tuple[Any, ...]]:
    """One change of one element for each collection and each embedded object of object 1."""
    changes: list[tuple[Any, ...]] = [("add", "int", 41), ("add", "int_opt", -7)]
    values = every_property(generation)
    for name, value in values.items():
        if name.startswith("emb"):
            continue
        if name.endswith("_list"):
            changes += [
                ("insert", name, 0, value[-1]),
                ("set", [name, 1], value[1]),
                ("move", name, 0, 2),
                ("erase", [name, 1]),
            ]
        elif name.endswith("_set"):
            changes += [("set_erase", name, value[0]), ("set_insert", name, value[0]), ("set_erase", name, value[-1])]
        elif name.endswith("_dict"):
            changes += [
                ("set", [name, "new"], value["key 0"]),
                ("set", [name, "key 0"], value["key 1"]),
                ("erase", [name, "key 1"]),
            ]
    return [
        *changes,
        ("set", ["emb", "one", "n"], -1),
        ("add", ["emb", "x"], 5),
        ("append", ["emb", "more"], {"n": 6}),
        ("insert", "emb_list", 1, {"x": 1, "more": [{"n": 1}]}),
        ("set", ["emb_list", 1, "more", 0, "to"], 1),
        ("append", ["emb_list", 0, "nums"], 9),
        ("erase", ["emb_list", 2]),
        ("move", "emb_list", 0, 1),
        ("set", ["emb_list", 2], {"x": 77}),
        ("set", ["emb_dict", "k", "any"], {"$decimal": "1.5"}),
        ("set", ["emb_dict", "other"], {"x": 3}),
        ("erase", ["emb_dict", ""]),
    ]


def emptied() -> list[tuple[Any, ...]]:
    """Nothing is left in object 1: null where it may be, empty collections."""
    props = ALL_TYPES["All"]["props"]
    clears = [("clear", name) for name, type_ in props.items() if type_.endswith(("[]", "<>", "{}"))]
    singles = [name for name in props if name.endswith("_opt") or name in ("mixed", "link", "emb")]
    return [*clears, *(("set", name, None) for name in singles)]


def test_every_property_type_syncs_both_ways(devices: Devices, versions: tuple[str, ...]) -> None:
    clients = devices.open(*versions, schema=ALL_TYPES)
    model = Model(ALL_TYPES)
    steps: list[list[tuple[Any, ...]]] = [
        [("create", "All", 1, {}), ("create", "All", 2, {}), ("create", "All", 3, every_property(0))],
        [("create", "All", 1, every_property(0))],
        [(verb, "All", 1, *rest) for verb, *rest in single_changes(0)],
        [("create", "All", 1, every_property(1)), ("delete", "All", 2)],
        [(verb, "All", 1, *rest) for verb, *rest in emptied()],
        [("delete", "All", 1), ("delete", "All", 3)],
    ]
    for writer in clients:
        for commands in steps:
            change_and_compare(model, writer, [client for client in clients if client is not writer], commands)
    assert_equal(clients)


def test_objects_with_every_kind_of_primary_key_sync(devices: Devices, versions: tuple[str, ...]) -> None:
    clients = devices.open(*versions, schema=ALL_TYPES)
    model = Model(ALL_TYPES)
    creations: list[tuple[Any, ...]] = []
    links: list[tuple[Any, ...]] = []
    for base in KEY_TYPES:
        for table, keys in ((f"Key_{base}", SAMPLES[base]), (f"Key_{base}_opt", [*SAMPLES[base], None])):
            creations += [("create", table, key, {"n": number}) for number, key in enumerate(keys)]
            links += [("set", table, keys[-1], "next", {"$link": keys[0], "class": table})]
            links += [("add", table, keys[0], "n", 5), ("delete", table, keys[1])]
    change_and_compare(model, clients[0], clients[1:], creations)
    change_and_compare(model, clients[-1], clients[:-1], links)
    assert_equal(clients)
