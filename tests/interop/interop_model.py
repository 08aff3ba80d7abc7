"""What a Realm must hold after commands: a plain picture of a client's own view, in the notation of its dumps.

The model knows the SDK as its user does (an object that goes takes the links to it along, a new embedded object starts
empty) and nothing of changesets or merging: it says what to expect before clients meet, and which commands are valid.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from interop_schema import Schema

Json = Any
Command = tuple[Any, ...]

_EMPTY: dict[str, Json] = {
    "int": 0,
    "bool": False,
    "string": "",
    "binary": {"$binary": ""},
    "date": {"$date": "0.0"},
    "float": {"$float": 0.0},
    "double": {"$double": 0.0},
    "decimal128": {"$decimal": "0"},
    "objectId": {"$oid": "0" * 24},
    "uuid": {"$uuid": "0" * 32},
}


def text(value: Json) -> str:
    """A value as the driver writes it: compact JSON. Also the key of an object in a dump, and the order of sets."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


class Model:
    """The objects of a Realm as ``dump`` shows them: ``{class: {key as JSON: {property: value}}}``."""

    def __init__(self, schema: Schema, objects: Json = None) -> None:
        self.schema = schema
        self.objects: dict[str, dict[str, Json]] = (
            {name: {} for name, table in schema.items() if not table.get("embedded")}
            if objects is None
            else copy.deepcopy(objects)
        )

    def do(self, *command: Any) -> Command:
        """Applies a command of the driver and gives it back, for the client to do the same."""
        verb, table, *rest = command
        if verb == "create":
            key, values = rest
            fresh = self._empty(table) | {self.schema[table]["pk"]: key}
            self._fill(table, self.objects[table].setdefault(text(key), fresh), values)
        elif verb == "delete":
            del self.objects[table][text(rest[0])]
            self._forget({"$link": rest[0], "class": table})
        else:
            key, place, *arguments = rest
            self._change(verb, table, self.objects[table][text(key)], place, arguments)
        return command

    def _change(self, verb: str, table: str, target: Json, place: Json, arguments: list[Any]) -> None:
        path = place if isinstance(place, list) else [place]
        last, *path = path
        declared = self.schema[table]["props"][last]
        while path:  # one step deeper: into a collection's element, or into an embedded object's property
            target, last, *path = target[last], *path
            if declared.endswith(("[]", "{}")):
                declared = declared.rstrip("[]{}")
            elif declared != "mixed":  # what a Mixed place holds is Mixed again
                declared = self.schema[declared.rstrip("?")]["props"][last]
        base = declared.rstrip("?[]{}<>")
        if verb == "set":
            target[last] = self._property(declared, arguments[0])
        elif verb == "add":
            if target[last] is not None:
                target[last] += arguments[0]
        elif verb == "erase":
            del target[last]
        elif verb == "insert":
            target[last].insert(arguments[0], self._value(base, arguments[1]))
        elif verb == "append":
            target[last].append(self._value(base, arguments[0]))
        elif verb == "move":
            target[last].insert(arguments[1], target[last].pop(arguments[0]))
        elif verb == "clear":
            target[last].clear()
        elif verb == "set_insert":
            target[last] = _members([*target[last], self._value(base, arguments[0])])
        elif verb == "set_erase":
            gone = text(self._value(base, arguments[0]))
            target[last] = [value for value in target[last] if text(value) != gone]
        else:
            raise ValueError(verb)

    def _property(self, declared: str, value: Json) -> Json:
        base = declared.rstrip("?[]{}<>")
        if declared.endswith("{}"):
            return {key: self._value(base, each) for key, each in value.items()}
        if declared.endswith("[]"):
            return [self._value(base, each) for each in value]
        if declared.endswith("<>"):
            return _members([self._value(base, each) for each in value])
        return self._value(base, value)

    def _value(self, base: str, value: Json) -> Json:
        """One value for a place of that base type: links by bare key are spelt out, embedded objects completed."""
        if value is None or base not in self.schema:
            return copy.deepcopy(value)
        if self.schema[base].get("embedded"):
            fresh = self._empty(base)
            self._fill(base, fresh, value)
            return fresh
        return value if isinstance(value, dict) and "$link" in value else {"$link": value, "class": base}

    def _fill(self, table: str, target: dict[str, Json], values: dict[str, Json]) -> None:
        for name, value in values.items():
            target[name] = self._property(self.schema[table]["props"][name], value)

    def _empty(self, table: str) -> dict[str, Json]:
        def empty(declared: str) -> Json:
            if declared.endswith("{}"):
                return {}
            if declared.endswith(("[]", "<>")):
                return []
            return None if declared.endswith("?") else copy.deepcopy(_EMPTY.get(declared))

        return {name: empty(declared) for name, declared in self.schema[table]["props"].items()}

    def _forget(self, link: Json) -> None:
        """Nothing in view refers to a deleted object: typed lists and sets shrink, elsewhere the link reads as null."""
        for table, objects in self.objects.items():
            for target in objects.values():
                self._unlink(table, target, link)

    def _unlink(self, table: str, target: dict[str, Json], link: Json) -> None:
        for name, declared in self.schema[table]["props"].items():
            base, value = declared.rstrip("?[]{}<>"), target[name]
            if self.schema.get(base, {}).get("embedded"):
                for child in _children(value, declared):
                    self._unlink(base, child, link)
            elif value == link:
                target[name] = None
            elif declared.endswith("{}"):
                target[name] = {key: None if each == link else each for key, each in value.items()}
            elif declared.endswith(("[]", "<>")) and base in self.schema:
                target[name] = [each for each in value if each != link]
            elif declared.endswith(("[]", "<>")):
                replaced = [None if each == link else each for each in value]
                target[name] = _members(replaced) if declared.endswith("<>") else replaced


def _members(values: list[Json]) -> list[Json]:
    return [value for _, value in sorted({text(value): value for value in values}.items())]


def _children(value: Json, declared: str) -> Iterator[dict[str, Json]]:
    if declared.endswith("{}"):
        value = list(value.values())
    for child in value if isinstance(value, list) else [value]:
        if child is not None:
            yield child


def differences(left: Json, right: Json, where: str = "") -> list[str]:
    """Where two dumps differ, one line for each place: short enough to read in a failed test."""
    if isinstance(left, dict) and isinstance(right, dict):
        found = []
        for key in sorted(left.keys() | right.keys()):
            if key not in left or key not in right:
                found.append(
                    f"{where}.{key}: only {'right' if key in right else 'left'}: {left.get(key, right.get(key))}"
                )
            else:
                found += differences(left[key], right[key], f"{where}.{key}")
        return found
    return [] if text(left) == text(right) else [f"{where}: {text(left)[:300]} != {text(right)[:300]}"]
