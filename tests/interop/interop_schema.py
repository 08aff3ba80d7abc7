"""The classes that the interop tests use: one with a property of every type, one for each kind of primary key, and the
small world in which clients edit at random. Values are in the driver's notation (``driver/src/Values.java``).
"""

from __future__ import annotations

from typing import Any, Final

Json = Any
Schema = dict[str, dict[str, Any]]

SAMPLES: Final[dict[str, list[Json]]] = {
    "int": [0, 2**63 - 1, -(2**63), -1, 127, 128],
    "bool": [True, False],
    "string": ["", "plain", 'quoted " and \\ and \n', "snow ☃ and face 😀", "k" * 2000],
    "binary": [{"$binary": ""}, {"$binary": "AAEC/w=="}, {"$binary": "QUFB" * 500}],
    "date": [{"$date": "0.0"}, {"$date": "1600000000.123456789"}, {"$date": "-5.-7"}],
    "float": [{"$float": 1.5}, {"$float": -0.25}, {"$float": 1024.0}],
    "double": [{"$double": 2.5}, {"$double": -1.0e300}, {"$double": float("inf")}, {"$double": 0.1}],
    "decimal128": [{"$decimal": "1.25"}, {"$decimal": "-9999999999999999999999999999999999"}, {"$decimal": "1E+5"}],
    "objectId": [{"$oid": "0" * 24}, {"$oid": "5f00112233445566778899aa"}],
    "uuid": [{"$uuid": "00112233445566778899aabbccddeeff"}, {"$uuid": "f" * 32}],
}
"""At least two different values of every plain type, their limits among them."""

MIXED_SAMPLES: Final[list[Json]] = [None, *(values[1] for values in SAMPLES.values()), {"$link": 1, "class": "All"}]

KEY_TYPES: Final = ("int", "string", "objectId", "uuid")


def _all_properties() -> dict[str, str]:
    properties = {"_id": "int"}
    for base in SAMPLES:
        for name, shape in (("", ""), ("_list", "[]"), ("_set", "<>"), ("_dict", "{}")):
            properties[base + name] = base + shape
            properties[f"{base}_opt{name}"] = f"{base}?{shape}"
    for base, type_ in (("mixed", "mixed"), ("link", "All")):
        for name, shape in (("", ""), ("_list", "[]"), ("_set", "<>"), ("_dict", "{}")):
            properties[base + name] = type_ + shape
    return properties | {"emb": "Part", "emb_list": "Part[]", "emb_dict": "Part{}"}


ALL_TYPES: Final[Schema] = {
    "All": {"pk": "_id", "props": _all_properties()},
    "Part": {
        "embedded": True,
        "props": {"x": "int", "s": "string?", "nums": "int[]", "any": "mixed", "one": "Piece", "more": "Piece[]"},
    },
    "Piece": {"embedded": True, "props": {"n": "int", "to": "All"}},
    **{
        f"Key_{base}{name}": {"pk": "_id", "props": {"_id": base + mark, "n": "int", "next": f"Key_{base}{name}"}}
        for base in KEY_TYPES
        for name, mark in (("", ""), ("_opt", "?"))
    },
}

WORLD: Final[Schema] = {
    "Thing": {
        "pk": "_id",
        "props": {
            "_id": "string",
            "name": "string?",
            "count": "int",
            "ratio": "double",
            "any": "mixed",
            "tags": "string[]",
            "nums": "int?[]",
            "marks": "int<>",
            "ids": "uuid<>",
            "names": "string<>",
            "map": "int{}",
            "info": "mixed{}",
            "friend": "Thing",
            "friends": "Thing[]",
            "pals": "Thing<>",
            "home": "Home",
            "rooms": "Home[]",
            "doors": "Home{}",
        },
    },
    "Home": {"embedded": True, "props": {"x": "int", "s": "string?", "nums": "int[]"}},
    "Ledger": {"pk": "_id", "props": {"_id": "int", "total": "int", "entries": "string[]"}},
}

NESTED: Final[Schema] = {
    "Box": {"pk": "_id", "props": {"_id": "string", "any": "mixed", "list": "mixed[]", "dict": "mixed{}", "n": "int"}}
}
"""Every Mixed place that can hold a list or dictionary."""

BULK: Final[Schema] = {"Row": {"pk": "_id", "props": {"_id": "int", "text": "string"}}}
