"""What users write: small transactions in a small schema, so that clients meet.

Left out, unless the history may have the known faults of the merge rules (``spec/merge.md`` 8.6): collections in Mixed
places (F2 to F5), moves in a list of embedded objects (F1), a second embedded object at a dictionary's key (F6), and
erasing strings from a set (C5).
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from realmserver.client.transaction import Transaction

from .choices import Choices

KEYS: Final = ("a", "b", "c")
WORDS: Final = ("", "ash", "birch")
ENTRIES: Final = ("k", "l")

Edit = Callable[[Transaction, str, dict[str, Any]], None]


PROPERTIES: Final[dict[str, dict[str, Any]]] = {
    "name": {"type": "string", "nullable": True},
    "count": {"type": "int"},
    "any": {"type": "mixed"},
    "friend": {"type": "link", "target": "Thing"},
    "tags": {"type": "string", "collection": "list"},
    "marks": {"type": "int", "collection": "set"},
    "names": {"type": "string", "collection": "set"},
    "map": {"type": "int", "collection": "dictionary"},
    "home": {"type": "link", "target": "Room"},
    "rooms": {"type": "link", "target": "Room", "collection": "list"},
    "doors": {"type": "link", "target": "Room", "collection": "dictionary"},
}
"""The properties of Thing, one for every kind of edit. Each comes with the first edit that needs it: so there are few
in a history, and clients add the same ones without knowing of each other."""


def add_classes(tx: Transaction) -> None:
    """Class Thing, and class Room embedded."""
    tx.add_class("Thing", "_id", "string")
    tx.add_class("Room", kind="embedded")
    tx.add_property("Room", "x", "int")
    tx.add_property("Room", "nums", "int", collection="list")
    tx.add_property("Thing", "name", **PROPERTIES["name"])


def _has_classes(tx: Transaction) -> bool:
    """Where history shrinks, classes may come before their properties."""
    thing, room = (tx.values.schema.tables.get(name) for name in ("Thing", "Room"))
    return thing is not None and room is not None and {"name"} <= {*thing.columns} and {"x", "nums"} <= {*room.columns}


class Editor:
    """Draws edits. ``fresh`` gives numbers that nobody else uses; ``known_faults``: nothing is left out.
    ``lists_only``: edits of lists, in which nearly every two meet."""

    def __init__(self, choices: Choices, fresh: Iterator[int], *, known_faults: bool, lists_only: bool) -> None:
        self._choices = choices
        self._fresh = fresh
        self._keys = KEYS[: 1 + choices.below(len(KEYS))]
        self._edits: tuple[tuple[str, Edit], ...] = (
            ("name", self._name),
            ("count", self._count),
            ("tags", self._tags),
            ("tags", self._tags),
            ("tags", self._tags),
            ("names", self._add),
            ("marks", self._marks),
            ("map", self._map),
            ("any", self._any),
            ("friend", self._friend),
            ("home", self._home),
            ("rooms", self._rooms),
            ("rooms", self._rooms),
            ("doors", self._doors),
            ("", self._delete),
        )
        if known_faults:
            self._edits += (
                ("any", self._nested),
                ("any", self._nested),
                ("any", self._nested),
                ("rooms", self._moves),
                ("doors", self._door_again),
                ("names", self._names),
            )
        if lists_only:
            self._keys = KEYS[:1]
            self._edits = (("tags", self._tags), ("rooms", self._rooms))
        elif choices.below(3):
            # Most histories have few kinds of edits: all kinds would seldom meet their like.
            self._edits = tuple(choices.pick(self._edits) for _ in range(1 + choices.below(3)))

    def edit(self, tx: Transaction) -> None:
        """One to three edits."""
        if not _has_classes(tx):
            add_classes(tx)
        for _ in range(1 + self._choices.below(3)):
            self._one(tx)

    def _one(self, tx: Transaction) -> None:
        key = self._choices.pick(self._keys)
        held = tx.values.get("Thing", (3, key))
        if held is None:
            tx.create("Thing", key, {"name": self._word()})
            return
        name, edit = self._choices.pick(self._edits)
        if name and name not in held:
            tx.add_property("Thing", name, **PROPERTIES[name])
            held = tx.values.get("Thing", (3, key)) or {}
        edit(tx, key, held)

    def _word(self) -> str:
        return self._choices.pick(WORDS)

    def _number(self) -> int:
        return self._choices.pick((0, 1, 7, 2**63 - 1))

    def _room(self) -> dict[str, object]:
        return {"x": self._number(), "nums": [1, 2]}

    # The kinds of edits. ``held`` is what the object is now.

    def _name(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        tx.set("Thing", key, "name", self._choices.pick((None, *WORDS)))

    def _count(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        if self._choices.below(3):
            tx.increment("Thing", key, "count", 1 + self._choices.below(9))
        else:
            tx.set("Thing", key, "count", self._number())

    def _any(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        tx.set("Thing", key, "any", self._choices.pick((None, 1, "x", True, 0.5)))

    def _friend(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        tx.set("Thing", key, "friend", self._choices.pick((None, *(tx.link("Thing", other) for other in KEYS))))

    def _delete(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        tx.delete("Thing", key)

    def _tags(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        self._list(tx, key, "tags", len(held["tags"]), self._word)

    def _list(
        self,
        tx: Transaction,
        key: str,
        name: str,
        size: int,
        value: Callable[[], object],
        path: tuple[str | int, ...] = (),
        moves: bool = True,
    ) -> None:
        verb = self._choices.weighted((4, 2, 2, 2, 1))
        if size == 0 or verb == 0:
            tx.list_insert("Thing", key, name, self._choices.below(size + 1), value(), path)
        elif verb == 1:
            tx.list_erase("Thing", key, name, self._choices.below(size), path)
        elif verb == 2:
            tx.list_set("Thing", key, name, self._choices.below(size), value(), path)
        elif verb == 4:
            tx.clear("Thing", key, name, path)
        elif moves:
            tx.list_move("Thing", key, name, self._choices.below(size), self._choices.below(size), path)

    def _add(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        tx.set_add("Thing", key, "names", self._word())

    def _marks(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        verb, value = self._choices.weighted((4, 3, 1)), self._choices.below(3)
        if verb == 0:
            tx.set_add("Thing", key, "marks", value)
        elif verb == 1:
            tx.set_discard("Thing", key, "marks", value)
        else:
            tx.clear("Thing", key, "marks")

    def _map(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        verb, entry = self._choices.weighted((4, 2, 1)), self._choices.pick(ENTRIES)
        if verb == 1 and entry in held["map"]:
            tx.dictionary_erase("Thing", key, "map", entry)
        elif verb == 2:
            tx.clear("Thing", key, "map")
        else:
            tx.dictionary_set("Thing", key, "map", entry, self._number())

    def _home(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        if held["home"] is None or self._choices.one_in(5):
            tx.set("Thing", key, "home", self._room())
        elif self._choices.one_in(6):
            tx.set("Thing", key, "home", None)
        else:
            self._inside(tx, key, "home", (), held["home"])

    def _rooms(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        rooms = held["rooms"]
        if rooms and self._choices.below(2):
            place = self._choices.below(len(rooms))
            self._inside(tx, key, "rooms", (place,), rooms[place])
        else:
            self._list(tx, key, "rooms", len(rooms), self._room, moves=False)

    def _doors(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        doors = held["doors"]
        if not doors or self._choices.one_in(3):
            tx.dictionary_set("Thing", key, "doors", f"door{next(self._fresh)}", self._room())
            return
        door = self._choices.pick(sorted(doors))
        if doors[door] is None or self._choices.one_in(5):
            tx.dictionary_erase("Thing", key, "doors", door)
        elif self._choices.one_in(6):
            tx.dictionary_set("Thing", key, "doors", door, None)
        else:
            self._inside(tx, key, "doors", (door,), doors[door])

    def _inside(self, tx: Transaction, key: str, name: str, path: tuple[str | int, ...], room: dict[str, Any]) -> None:
        """An edit of an embedded object."""
        kind = self._choices.below(3)
        if kind == 0:
            tx.increment("Thing", key, name, 1 + self._choices.below(9), (*path, "x"))
        elif kind == 1:
            tx.set("Thing", key, name, self._number(), (*path, "x"))
        else:
            self._list(tx, key, name, len(room["nums"]), self._number, (*path, "nums"))

    # Those with known faults.

    def _nested(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        value = held["any"]
        if isinstance(value, list) and self._choices.below(5):
            self._list(tx, key, "any", len(value), self._mixed)
        elif isinstance(value, dict) and self._choices.below(5):
            entry = self._choices.pick(ENTRIES)
            if entry in value and self._choices.one_in(3):
                tx.dictionary_erase("Thing", key, "any", entry)
            else:
                tx.dictionary_set("Thing", key, "any", entry, self._mixed())
        else:
            tx.set("Thing", key, "any", self._mixed())

    def _mixed(self) -> object:
        return self._choices.pick((1, "x", [1, 2], {"k": 1}, [[3]], None))

    def _moves(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        size = len(held["rooms"])
        if size:
            tx.list_move("Thing", key, "rooms", self._choices.below(size), self._choices.below(size))

    def _door_again(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        tx.dictionary_set("Thing", key, "doors", self._choices.pick(ENTRIES), self._room())

    def _names(self, tx: Transaction, key: str, held: dict[str, Any]) -> None:
        tx.set_discard("Thing", key, "names", self._word())
