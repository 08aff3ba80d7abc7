"""Random edits of one client, valid for what it sees, without the known faults of the merge rules.

Left out, because with these real clients differ too (``spec/merge.md`` 8.6): moves in a list of embedded objects (F1),
a second creation of an embedded object at a dictionary key (F6), erasing strings or links from sets (C5), and
collections in Mixed places (F2 to F5). The classes and properties are those of ``client_tools.add_schema``.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

from realmserver.changeset.instructions import PathElement
from realmserver.client.transaction import Transaction
from realmserver.realms.reading import Timestamp

KEYS = [f"t{number}" for number in range(5)]
"""Few objects, so that clients meet."""

WORDS = [None, "", "ash", "birch", "cedar"]
NEW_PROPERTIES = ["alpha", "beta"]

Path = tuple[PathElement, ...]


class Editor:
    """Draws edits from ``chance``; ``fresh`` gives numbers that no other editor of the Realm uses."""

    def __init__(self, chance: random.Random, fresh: Iterator[int]) -> None:
        self.chance = chance
        self.fresh = fresh

    def edit(self, tx: Transaction) -> None:
        """One to five edits."""
        for _ in range(self.chance.randint(1, 5)):
            self._one(tx)

    def _one(self, tx: Transaction) -> None:
        chance = self.chance
        keys = sorted(str(key[1]) for key in tx.values.objects("Thing"))
        missing = [key for key in KEYS if key not in keys]
        if len(keys) < 2 or (missing and chance.random() < 0.1):
            tx.create("Thing", chance.choice(missing), {"name": self._word(), "count": self._int()})
            return
        key = chance.choice(keys)
        if chance.random() < 0.05:
            tx.delete("Thing", key)
            return
        if chance.random() < 0.03:
            self._property(tx, key)
            return
        kinds: list[Callable[[Transaction, str], None]] = [
            self._scalar, self._scalar, self._counter, self._counter, self._list, self._list, self._list,
            self._set, self._dictionary, self._home, self._rooms, self._rooms, self._doors,
        ]  # fmt: skip
        chance.choice(kinds)(tx, key)

    def _word(self) -> str | None:
        return self.chance.choice(WORDS)

    def _int(self) -> int:
        return self.chance.choice([0, 1, -1, 2**63 - 1, -(2**63), self.chance.randrange(100)])

    def _other(self, tx: Transaction) -> Any:
        return tx.link("Thing", self.chance.choice(KEYS))  # which may be missing

    def _mixed(self, tx: Transaction) -> Any:
        return self.chance.choice([None, self._int(), self._word(), True, 0.5, b"\0", self._other(tx)])

    def _room(self) -> dict[str, object]:
        return {"x": self._int(), "s": self._word(), "nums": [self._int() for _ in range(self.chance.randrange(3))]}

    def _held(self, tx: Transaction, key: str) -> Any:
        held = tx.values.get("Thing", (3, key))
        assert held is not None
        return held

    # Kinds of edits.

    def _property(self, tx: Transaction, key: str) -> None:
        name = self.chance.choice(NEW_PROPERTIES)
        tx.add_property("Thing", name, "int")
        tx.set("Thing", key, name, self._int())

    def _scalar(self, tx: Transaction, key: str) -> None:
        name, value = self.chance.choice(
            [
                ("name", self._word()),
                ("count", self._int()),
                ("ratio", self.chance.randrange(8) / 4),
                ("day", Timestamp(self.chance.randrange(9), 5)),
                ("any", self._mixed(tx)),
                ("friend", self.chance.choice([None, self._other(tx)])),
            ]
        )
        tx.set("Thing", key, name, value)

    def _counter(self, tx: Transaction, key: str) -> None:
        tx.increment("Thing", key, "count", self.chance.randint(-9, 9))

    def _list(self, tx: Transaction, key: str) -> None:
        name = self.chance.choice(["tags", "nums", "friends"])
        value: dict[str, Callable[[], object]] = {
            "tags": lambda: self._word() or "",
            "nums": lambda: self.chance.choice([None, self._int()]),
            "friends": lambda: self._other(tx),
        }
        self._edit_list(tx, key, name, (), len(self._held(tx, key)[name]), value[name])

    def _edit_list(
        self,
        tx: Transaction,
        key: str,
        name: str,
        path: Path,
        size: int,
        value: Callable[[], object],
        moves: bool = True,
    ) -> None:
        chance = self.chance
        verb = chance.choice(["insert", "insert", "insert", "append", "move", "move", "set", "erase", "erase", "clear"])
        if verb == "append":
            tx.list_append("Thing", key, name, value(), path)
        elif size == 0 or verb == "insert":
            tx.list_insert("Thing", key, name, chance.randint(0, size), value(), path)
        elif verb == "move":
            if moves:
                tx.list_move("Thing", key, name, chance.randrange(size), chance.randrange(size), path)
        elif verb == "clear":
            if chance.random() < 0.3:
                tx.clear("Thing", key, name, path)
        elif verb == "erase":
            tx.list_erase("Thing", key, name, chance.randrange(size), path)
        else:
            tx.list_set("Thing", key, name, chance.randrange(size), value(), path)

    def _set(self, tx: Transaction, key: str) -> None:
        name = self.chance.choice(["marks", "names", "pals"])
        value = {"marks": self.chance.randrange(6), "names": self._word() or "", "pals": self._other(tx)}[name]
        if self.chance.random() < 0.1:
            tx.clear("Thing", key, name)
        elif name == "marks" and self.chance.random() < 0.4:
            tx.set_discard("Thing", key, name, value)
        else:
            tx.set_add("Thing", key, name, value)

    def _dictionary(self, tx: Transaction, key: str) -> None:
        name = self.chance.choice(["map", "info"])
        entry = self.chance.choice(["", "a", "b"])
        verb = self.chance.choice(["set", "set", "erase", "clear"])
        if verb == "clear":
            if self.chance.random() < 0.3:
                tx.clear("Thing", key, name)
        elif verb == "erase" and entry in self._held(tx, key)[name]:
            tx.dictionary_erase("Thing", key, name, entry)
        else:
            tx.dictionary_set("Thing", key, name, entry, self._int() if name == "map" else self._mixed(tx))

    def _home(self, tx: Transaction, key: str) -> None:
        if self._held(tx, key)["home"] is None or self.chance.random() < 0.15:
            tx.set("Thing", key, "home", self._room())
        elif self.chance.random() < 0.1:
            tx.set("Thing", key, "home", None)
        else:
            self._inside(tx, key, "home", ())

    def _rooms(self, tx: Transaction, key: str) -> None:
        size = len(self._held(tx, key)["rooms"])
        if size and self.chance.random() < 0.5:
            self._inside(tx, key, "rooms", (self.chance.randrange(size),))
        else:
            self._edit_list(tx, key, "rooms", (), size, self._room, moves=False)

    def _doors(self, tx: Transaction, key: str) -> None:
        doors = self._held(tx, key)["doors"]
        if not doors or self.chance.random() < 0.3:
            tx.dictionary_set("Thing", key, "doors", f"door{next(self.fresh)}", self._room())
            return
        door = self.chance.choice(sorted(doors))
        if self.chance.random() < 0.15:
            tx.dictionary_erase("Thing", key, "doors", door)
        elif self.chance.random() < 0.1:
            tx.dictionary_set("Thing", key, "doors", door, None)
        elif doors[door] is not None:
            self._inside(tx, key, "doors", (door,))

    def _inside(self, tx: Transaction, key: str, name: str, path: Path) -> None:
        """An edit of an embedded object."""
        kind = self.chance.choice(["x", "add", "s", "owner", "nums", "nums"])
        if kind == "nums":
            held = self._held(tx, key)[name]
            for step in path:
                held = held[step]
            self._edit_list(tx, key, name, (*path, "nums"), len(held["nums"]), self._int)
        elif kind == "add":
            tx.increment("Thing", key, name, self.chance.randint(-9, 9), (*path, "x"))
        else:
            value = {"x": self._int(), "s": self._word(), "owner": self._other(tx)}[kind]
            tx.set("Thing", key, name, value, (*path, kind))
