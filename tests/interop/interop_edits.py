"""Random edits of one client that are valid for what it sees, from a seed.

Everything that a typed Realm offers is drawn, but for what the rules of real clients are known not to survive
(``spec/merge.md`` 8.6), because then clients differ whatever the server does:

- F1: no move in a list of embedded objects;
- F6: no second creation of an embedded object at a dictionary key: keys are never used again;
- C5: no erase from a set of strings or links;
- core 13.10.0 (SDK 1.8.0) fails at times, also on its own, to make an object anew to which one that is gone had linked
  (the same edits on newer SDKs go on and end equal): without ``anew`` every key is used once;
- F2 to F5: no collections in Mixed places; no counter on a Mixed value, which clients before core 14.3 cannot merge.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final

from interop_model import Command, Model, differences, text
from interop_schema import WORLD
from realm_client import RealmClient

Json = Any

KEYS: Final = [f"t{i}" for i in range(6)]
"""Few objects, so that clients meet."""

WORDS: Final = ["", "ash", "birch", "cedar", "dogwood", "elm"]


class Editor:
    """Draws transactions for one client; its model is what that client holds."""

    def __init__(self, rng: random.Random, model: Model, fresh: Iterator[int], *, anew: bool) -> None:
        """Args:
        rng: the only source of chance.
        model: the client's view; each drawn command is applied to it.
        fresh: numbers that no other editor of this Realm uses.
        anew: whether objects that were deleted may be made again.
        """
        self.rng = rng
        self.model = model
        self.fresh = fresh
        self.anew = anew

    def transaction(self) -> list[Command]:
        """Up to six commands, for the driver's ``batch``. A creation is the last of them: an object that comes back
        brings links back that are in no dump, so what the client holds then must be read again.
        """
        commands: list[Command] = []
        for _ in range(self.rng.randint(1, 6)):
            commands += self._draw()
            if commands and commands[-1][0] == "create":
                break
        return commands

    def _draw(self) -> list[Command]:
        things = self.model.objects["Thing"]
        if len(things) < 2 or self.rng.random() < 0.08:
            key = self.rng.choice(KEYS) if self.anew else f"new{next(self.fresh)}"
            return [self.model.do("create", "Thing", key, {"name": self._word(), "count": self._int()})]
        thing = things[self.rng.choice(sorted(things))]
        if self.rng.random() < 0.05:
            return [self.model.do("delete", "Thing", thing["_id"])]
        kinds: list[Callable[[Json], list[Command]]] = [
            self._scalar, self._scalar, self._counter, self._counter, self._list, self._list, self._links, self._links,
            self._set, self._dictionary, self._home, self._rooms, self._rooms, self._doors,
        ]  # fmt: skip
        return self.rng.choice(kinds)(thing)

    # Values.

    def _word(self) -> str:
        return self.rng.choice(WORDS)

    def _int(self) -> int:
        return self.rng.choice([0, 1, -1, 5, 40, 2**40, self.rng.randrange(100)])

    def _other(self) -> Json:
        return {"$link": self.rng.choice(list(self.model.objects["Thing"].values()))["_id"], "class": "Thing"}

    def _mixed(self) -> Json:
        return self.rng.choice(
            [None, self._int(), self._word(), True, {"$double": 0.5}, {"$decimal": "2.5"}, self._other()]
        )

    def _home_value(self) -> Json:
        return {
            "x": self._int(),
            "s": self.rng.choice([None, *WORDS]),
            "nums": [self._int() for _ in range(self.rng.randrange(3))],
        }

    # Kinds of edits.

    def _do(self, verb: str, thing: Json, place: Json, *arguments: Any) -> list[Command]:
        return [self.model.do(verb, "Thing", thing["_id"], place, *arguments)]

    def _scalar(self, thing: Json) -> list[Command]:
        name, value = self.rng.choice(
            [
                ("name", self.rng.choice([None, *WORDS])),
                ("count", self._int()),
                ("ratio", {"$double": self.rng.randrange(8) / 4}),
                ("any", self._mixed()),
                ("friend", self.rng.choice([None, self._other()])),
            ]
        )
        return self._do("set", thing, name, value)

    def _counter(self, thing: Json) -> list[Command]:
        return self._do("add", thing, "count", self.rng.randint(-9, 9))

    def _list(self, thing: Json) -> list[Command]:
        if self.rng.random() < 0.5:
            return self._edit_list(thing, "tags", self._word)
        return self._edit_list(thing, "nums", lambda: self.rng.choice([None, self._int()]))

    def _links(self, thing: Json) -> list[Command]:
        if self.rng.random() < 0.3:
            return self._do("set_insert", thing, "pals", self._other())
        return self._edit_list(thing, "friends", self._other)

    def _edit_list(self, thing: Json, place: Json, value: Callable[[], Json], moves: bool = True) -> list[Command]:
        held = thing
        for step in place if isinstance(place, list) else [place]:
            held = held[step]
        size, path = len(held), place if isinstance(place, list) else [place]
        verb = self.rng.choice(["insert", "insert", "insert", "move", "move", "set", "erase", "erase", "clear"])
        if size == 0 or verb == "insert":
            return self._do("insert", thing, place, self.rng.randint(0, size), value())
        if verb == "move":
            source, target = self.rng.randrange(size), self.rng.randrange(size)
            return self._do("move", thing, place, source, target) if moves and source != target else []
        if verb == "clear":
            return self._do("clear", thing, place) if self.rng.random() < 0.3 else []
        element = [*path, self.rng.randrange(size)]
        return self._do("erase", thing, element) if verb == "erase" else self._do("set", thing, element, value())

    def _set(self, thing: Json) -> list[Command]:
        name = self.rng.choice(["marks", "ids", "names"])
        value: Json = {
            "marks": self.rng.randrange(8),
            "ids": {"$uuid": f"{self.rng.randrange(8):032x}"},
            "names": self._word(),
        }[name]
        verb = self.rng.choice(["set_insert", "set_insert", "set_erase", "clear"])
        if verb == "clear":
            return self._do("clear", thing, name) if self.rng.random() < 0.2 else []
        if verb == "set_erase" and name == "names":
            return []
        return self._do(verb, thing, name, value)

    def _dictionary(self, thing: Json) -> list[Command]:
        name = self.rng.choice(["map", "info"])
        key = self.rng.choice(["", "a", "b", "c"])
        verb = self.rng.choice(["set", "set", "erase", "clear"])
        if verb == "clear":
            return self._do("clear", thing, name) if self.rng.random() < 0.2 else []
        if verb == "erase":
            return self._do("erase", thing, [name, key]) if key in thing[name] else []
        return self._do("set", thing, [name, key], self._int() if name == "map" else self._mixed())

    def _home(self, thing: Json) -> list[Command]:
        if thing["home"] is None or self.rng.random() < 0.15:
            return self._do("set", thing, "home", self._home_value())
        if self.rng.random() < 0.1:
            return self._do("set", thing, "home", None)
        return self._inside(thing, ["home"])

    def _rooms(self, thing: Json) -> list[Command]:
        if thing["rooms"] and self.rng.random() < 0.5:
            return self._inside(thing, ["rooms", self.rng.randrange(len(thing["rooms"]))])
        return self._edit_list(thing, "rooms", self._home_value, moves=False)

    def _doors(self, thing: Json) -> list[Command]:
        if not thing["doors"] or self.rng.random() < 0.3:
            return self._do("set", thing, ["doors", f"door{next(self.fresh)}"], self._home_value())
        key = self.rng.choice(sorted(thing["doors"]))
        if self.rng.random() < 0.15:
            return self._do("erase", thing, ["doors", key])
        if self.rng.random() < 0.1:
            return self._do("set", thing, ["doors", key], None)
        return self._inside(thing, ["doors", key]) if thing["doors"][key] is not None else []

    def _inside(self, thing: Json, place: list[Json]) -> list[Command]:
        """An edit of an embedded object."""
        kind = self.rng.choice(["x", "add", "s", "nums", "nums"])
        if kind == "nums":
            return self._edit_list(thing, [*place, "nums"], self._int)
        if kind == "add":
            return self._do("add", thing, [*place, "x"], self.rng.randint(-9, 9))
        return self._do("set", thing, [*place, kind], self._int() if kind == "x" else self._word())


def edit(
    client: RealmClient, rng: random.Random, fresh: Iterator[int], transactions: int, *, anew: bool = False
) -> str:
    """Has the client, which must be offline, do random transactions, and checks that it holds what the model says.

    Returns what it did, for the message of a failed round.
    """
    story = f"{client}:\n"
    for number in range(transactions):
        model = Model(WORLD, client.dump())
        commands = Editor(rng, model, fresh, anew=anew).transaction()
        story += f"  {number}: {text(commands)}\n"
        client.cmd("batch", commands)
        if not any(verb == "create" for verb, *_ in commands):
            found = differences(model.objects, client.dump())
            assert not found, f"the model says otherwise: {found[:5]}\n{story}"
    return story
