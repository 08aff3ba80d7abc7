"""Transactions: what they write is what is read, what they record is what every other client can apply."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from client_tools import add_schema

from realmserver.changeset.decode import decode, decode_canonical
from realmserver.changeset.instructions import (
    TYPE_INT,
    AddColumn,
    ArrayErase,
    ArrayInsert,
    Changeset,
    Clear,
    Instruction,
    Update,
)
from realmserver.client.local import LocalRealm
from realmserver.client.transaction import Transaction
from realmserver.realms.reading import Link, ObjectId, Timestamp
from realmserver.realms.values import Values

Edit = Callable[[Transaction], None]


class Scene:
    """A Realm with the schema of ``add_schema`` and two Things, whose changesets are replayed on the side."""

    def __init__(self) -> None:
        self.local = LocalRealm()
        self.copy = Values()
        self.last = Changeset()
        self.write(add_schema)
        self.write(lambda tx: tx.create("Thing", "a"))
        self.write(lambda tx: tx.create("Thing", "b"))

    def write(self, edit: Edit) -> list[Instruction]:
        """What the transaction recorded, read back from its bytes. It must mean the same to who applies it."""
        before = self.local.version
        with self.local.write(1) as tx:
            edit(tx)
        changesets = [entry.changeset for batch in self.local.uploads(before) for entry in batch.entries]
        self.last = Changeset()
        for changeset in changesets:
            self.last, canonical = decode_canonical(changeset)
            assert canonical == changeset
            self.copy.apply(decode(changeset))
        assert self.copy.state() == self.local.values.state()
        return self.last.instructions

    def get(self, name: str, key: str = "a") -> Any:
        held = self.local.get("Thing", key)
        assert held is not None
        return held[name]

    def kinds(self) -> list[str]:
        return [type(each).__name__ for each in self.last.instructions]


@pytest.fixture
def scene() -> Scene:
    return Scene()


ROOM: dict[str, object] = {"x": 0, "s": None, "nums": [], "owner": None}

VALUES: list[tuple[str, object, object]] = [
    ("name", "Ash", "Ash"),
    ("name", None, None),
    ("name", "\udc80", "\udc80"),
    ("count", -(2**63), -(2**63)),
    ("ratio", 1.5, 1.5),
    ("ratio", 2, 2.0),
    ("day", Timestamp(-5, -7), Timestamp(-5, -7)),
    ("day", datetime(2017, 6, 2, 19, 7, 17, 703000, tzinfo=UTC), Timestamp(1496430437, 703000000)),
    ("day", datetime(1969, 12, 31, 23, 59, 59, 500000, tzinfo=UTC), Timestamp(0, -500000000)),
    ("friend", Link("Thing", (3, "b")), Link("Thing", (3, "b"))),
    ("friend", Link("Thing", "b"), Link("Thing", (3, "b"))),  # type: ignore[arg-type]
    ("friend", None, None),
    ("any", None, None),
    ("any", True, True),
    ("any", 5, 5),
    ("any", "five", "five"),
    ("any", b"\0\1", b"\0\1"),
    ("any", 0.1, 0.1),
    ("any", Decimal("-12.50"), Decimal("-12.50")),
    ("any", Decimal("1E+6112"), Decimal("1E+6112")),
    ("any", Decimal("-Infinity"), Decimal("-Infinity")),
    ("any", ObjectId(bytes(range(12))), ObjectId(bytes(range(12)))),
    ("any", uuid.UUID(int=7), uuid.UUID(int=7)),
    ("any", Timestamp(5, 7), Timestamp(5, 7)),
    ("any", Link("Thing", (3, "b")), Link("Thing", (3, "b"))),
    ("any", [1, [2, {"k": None}], {}], [1, [2, {"k": None}], {}]),
    ("any", {"a": {"b": [1]}, "c": 2}, {"a": {"b": [1]}, "c": 2}),
    ("tags", ["x", "y"], ["x", "y"]),
    ("tags", [], []),
    ("nums", (1, None), [1, None]),
    ("marks", {7}, [7]),
    ("marks", [3, 1, 3], [3, 1]),
    ("map", {"a": 1, "b": 2}, {"a": 1, "b": 2}),
    ("info", {"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}),
    ("home", {"x": 4, "nums": [1, 2]}, {**ROOM, "x": 4, "nums": [1, 2]}),
    ("home", None, None),
    ("rooms", [{}, {"x": 1}], [ROOM, {**ROOM, "x": 1}]),
    ("doors", {"n": {"s": "t"}, "z": None}, {"n": {**ROOM, "s": "t"}, "z": None}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "expected"), VALUES, ids=lambda value: ascii(value)[:30])
def test_a_value_is_read_as_it_was_written_whatever_was_there(
    scene: Scene, name: str, value: object, expected: object
) -> None:
    scene.write(lambda tx: tx.set("Thing", "a", name, value))
    assert scene.get(name) == expected
    for _, other, _ in [each for each in VALUES if each[0] == name]:
        scene.write(lambda tx, other=other: tx.set("Thing", "a", name, other))  # type: ignore[misc]
        scene.write(lambda tx: tx.set("Thing", "a", name, value))
        assert scene.get(name) == expected


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("name", 5, TypeError),
        ("name", "\ud800", ValueError),
        ("count", None, ValueError),
        ("count", True, TypeError),
        ("count", 2**63, ValueError),
        ("count", 1.0, TypeError),
        ("ratio", "1", TypeError),
        ("day", datetime(2017, 6, 2), ValueError),
        ("day", Timestamp(5, -1), ValueError),
        ("friend", "b", TypeError),
        ("friend", Link("Room", (3, "b")), ValueError),
        ("friend", Link("Nobody", (3, "b")), KeyError),
        ("friend", Link("Thing", (1, 5)), TypeError),
        ("any", object(), TypeError),
        ("any", Decimal("1" * 35), ValueError),
        ("any", ObjectId(b"short"), ValueError),
        ("any", {"a.b": 1}, ValueError),
        ("any", {5: 1}, TypeError),
        ("home", 5, TypeError),
        ("home", {"nothing": 1}, ValueError),
        ("map", {"$a": 1}, ValueError),
        ("map", [1], TypeError),
        ("tags", "text", TypeError),
        ("tags", {"a": 1}, TypeError),
        ("marks", {"a": 1}, TypeError),
        ("rooms", [None], TypeError),
        ("_id", "c", ValueError),
    ],
    ids=ascii,
)
def test_a_value_that_does_not_fit_is_refused_by_name(
    scene: Scene, name: str, value: object, error: type[Exception]
) -> None:
    before = scene.local.values.state()
    with pytest.raises(error) as caught, scene.local.write(1) as tx:
        tx.set("Thing", "a", name, value)
    assert "Thing" in str(caught.value) or "Nobody" in str(caught.value)
    assert scene.local.values.state() == before


def test_keys_of_all_types_name_objects(scene: Scene) -> None:
    keys: dict[str, list[object]] = {
        "int": [5, -1, None, (TYPE_INT, 6)],
        "string": ["x", None, (3, "y")],
        "object_id": [ObjectId(bytes(12)), None, (10, bytes(range(12)))],
        "uuid": [uuid.UUID(int=1), None, (11, bytes(range(16)))],
    }

    def edit(tx: Transaction) -> None:
        for type, each in keys.items():
            tx.add_class(f"K_{type}", "_id", type, nullable=True)  # type: ignore[arg-type]
            for key in each:
                tx.create(f"K_{type}", key)
        tx.add_class("NoKey")
        tx.create("NoKey", (1, 200))
        tx.create("NoKey", (-1, (2, 3)))

    scene.write(edit)
    for type, each in keys.items():
        assert len(scene.local.values.objects(f"K_{type}")) == len(each)
        for key in [*each, *scene.local.values.objects(f"K_{type}")]:
            assert scene.local.get(f"K_{type}", key) is not None
    assert list(scene.local.values.objects("NoKey")) == [(-1, (1, 200)), (-1, (2, 3))]
    assert scene.local.get("NoKey", (2, 3)) == {}


@pytest.mark.parametrize(
    ("class_name", "key", "error"),
    [
        ("Thing", 5, TypeError),
        ("Thing", None, ValueError),
        ("Thing", (1, 5), TypeError),
        ("Thing", (3, 5), TypeError),
        ("Thing", (0, None), ValueError),
        ("Thing", "nobody", KeyError),
        ("Nothing", "a", KeyError),
        ("Room", "a", ValueError),
    ],
)
def test_a_wrong_key_is_refused_by_name(scene: Scene, class_name: str, key: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=class_name), scene.local.write(1) as tx:
        tx.delete(class_name, key)


def test_a_missing_property_is_named(scene: Scene) -> None:
    with pytest.raises(KeyError, match=r"Thing\['a'\]\.colour"), scene.local.write(1) as tx:
        tx.set("Thing", "a", "colour", 1)


def test_a_schema_that_is_there_already_writes_nothing(scene: Scene) -> None:
    assert scene.write(add_schema) == []
    assert scene.local.version == 4


@pytest.mark.parametrize(
    "edit",
    [
        lambda tx: tx.add_class("Thing", "_id", "int"),
        lambda tx: tx.add_class("Thing", kind="embedded"),
        lambda tx: tx.add_class("Thing", "_id", "string", kind="asymmetric"),
        lambda tx: tx.add_class("New", "_id", "double"),
        lambda tx: tx.add_class("New", "_id", "int", kind="embedded"),
        lambda tx: tx.add_property("Thing", "name", "string"),
        lambda tx: tx.add_property("Thing", "name", "int", nullable=True),
        lambda tx: tx.add_property("Thing", "tags", "string"),
        lambda tx: tx.add_property("Thing", "friend", "link", target="Room"),
        lambda tx: tx.add_property("Thing", "new", "link"),
        lambda tx: tx.add_property("Thing", "new", "int", target="Thing"),
        lambda tx: tx.add_property("Thing", "new", "link", collection="set", target="Room"),
    ],
)
def test_a_schema_that_contradicts_is_refused(scene: Scene, edit: Edit) -> None:
    with pytest.raises(ValueError, match=r"Thing|New"), scene.local.write(1) as tx:
        edit(tx)


def test_columns_are_nullable_as_real_clients_make_them() -> None:
    scene = Scene()
    with scene.local.write(1) as tx:
        tx.add_property("Thing", "m", "mixed", collection="dictionary")
        tx.add_property("Thing", "ls", "link", target="Thing", collection="list", nullable=True)
        tx.add_property("Thing", "ld", "link", target="Thing", collection="dictionary")
    batch = next(scene.local.uploads(scene.local.version - 1))
    columns = [each for each in decode(batch.entries[0].changeset).instructions if isinstance(each, AddColumn)]
    assert [(each.field, each.nullable) for each in columns] == [("m", True), ("ls", False), ("ld", True)]


def test_lists_are_edited_by_index_with_the_right_prior_size(scene: Scene) -> None:
    def edit(tx: Transaction) -> None:
        for word in ("a", "b", "c"):
            tx.list_append("Thing", "a", "tags", word)
        tx.list_insert("Thing", "a", "tags", 0, "z")
        tx.list_set("Thing", "a", "tags", 1, "A")
        tx.list_move("Thing", "a", "tags", 0, 3)
        tx.list_move("Thing", "a", "tags", 2, 2)
        tx.list_erase("Thing", "a", "tags", 1)

    found = scene.write(edit)
    assert scene.get("tags") == ["A", "c", "z"]
    assert [getattr(each, "prior_size", None) for each in found] == [0, 1, 2, 3, 4, 4, 4]


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_out_of_range_is_refused(scene: Scene, index: int) -> None:
    scene.write(lambda tx: tx.set("Thing", "a", "tags", ["x", "y"]))
    edits: list[Edit] = [
        lambda tx: tx.list_insert("Thing", "a", "tags", index, "z"),
        lambda tx: tx.list_set("Thing", "a", "tags", index, "z"),
        lambda tx: tx.list_erase("Thing", "a", "tags", index),
        lambda tx: tx.list_move("Thing", "a", "tags", 0, index),
    ]
    for edit in edits:
        with pytest.raises(ValueError, match=r"tags: index"), scene.local.write(1) as tx:
            edit(tx)
    assert scene.get("tags") == ["x", "y"]


def test_indices_of_links_are_those_that_reading_shows(scene: Scene) -> None:
    def links(*keys: str) -> list[Link]:
        return [Link("Thing", (3, key)) for key in keys]

    scene.write(lambda tx: tx.set("Thing", "a", "friends", links("gone", "a", "gone", "b", "gone")))
    assert scene.get("friends") == links("a", "b")
    scene.write(lambda tx: tx.list_insert("Thing", "a", "friends", 1, tx.link("Thing", "a")))
    assert scene.get("friends") == links("a", "a", "b")
    scene.write(lambda tx: tx.list_move("Thing", "a", "friends", 2, 0))
    assert scene.get("friends") == links("b", "a", "a")
    scene.write(lambda tx: tx.list_set("Thing", "a", "friends", 2, tx.link("Thing", "b")))
    assert scene.get("friends") == links("b", "a", "b")
    scene.write(lambda tx: tx.list_erase("Thing", "a", "friends", 0))
    scene.write(lambda tx: tx.list_append("Thing", "a", "friends", tx.link("Thing", "a")))
    assert scene.get("friends") == links("a", "b", "a")
    (move,) = scene.write(lambda tx: tx.list_move("Thing", "a", "friends", 0, 2))
    assert getattr(move, "prior_size", None) == 6
    scene.write(lambda tx: tx.create("Thing", "gone"))
    assert len(scene.get("friends")) == 6


def test_counters_add_up_and_wrap(scene: Scene) -> None:
    scene.write(lambda tx: tx.increment("Thing", "a", "count"))
    scene.write(lambda tx: tx.increment("Thing", "a", "count", 2**63 - 1))
    assert scene.get("count") == -(2**63)
    scene.write(lambda tx: tx.set("Thing", "a", "any", 5))
    scene.write(lambda tx: tx.increment("Thing", "a", "any", -7))
    assert scene.get("any") == -2


@pytest.mark.parametrize(
    ("name", "path", "by", "error"),
    [
        ("any", (), 1, ValueError),
        ("name", (), 1, ValueError),
        ("nums", (0,), 1, ValueError),
        ("count", (), "1", TypeError),
        ("count", (), None, TypeError),
        ("count", (), 2**63, ValueError),
        ("home", ("x",), 1, ValueError),
    ],
)
def test_what_is_no_integer_is_not_incremented(
    scene: Scene, name: str, path: tuple[str], by: Any, error: type[Exception]
) -> None:
    scene.write(lambda tx: tx.set("Thing", "a", "nums", [1]))
    with pytest.raises(error, match="Thing"), scene.local.write(1) as tx:
        tx.increment("Thing", "a", name, by, path)


def test_sets_and_dictionaries_are_edited_by_element(scene: Scene) -> None:
    def edit(tx: Transaction) -> None:
        for mark in (1, 2, 3):
            tx.set_add("Thing", "a", "marks", mark)
        tx.set_discard("Thing", "a", "marks", 2)
        tx.set_discard("Thing", "a", "marks", 9)
        tx.dictionary_set("Thing", "a", "map", "x", 1)
        tx.dictionary_set("Thing", "a", "map", "y", 2)
        tx.dictionary_erase("Thing", "a", "map", "x")

    scene.write(edit)
    assert (scene.get("marks"), scene.get("map")) == ([1, 3], {"y": 2})
    refused: list[tuple[type[Exception], Edit]] = [
        (KeyError, lambda tx: tx.dictionary_erase("Thing", "a", "map", "x")),
        (ValueError, lambda tx: tx.dictionary_erase("Thing", "a", "home", "x")),
        (ValueError, lambda tx: tx.set_add("Thing", "a", "tags", "x")),
        (TypeError, lambda tx: tx.set_add("Thing", "a", "marks", "x")),
    ]
    for error, wrong in refused:
        with pytest.raises(error), scene.local.write(1) as tx:
            wrong(tx)
    scene.write(lambda tx: tx.clear("Thing", "a", "marks"))
    scene.write(lambda tx: tx.clear("Thing", "a", "map"))
    assert (scene.get("marks"), scene.get("map")) == ([], {})
    with pytest.raises(ValueError, match="no list"), scene.local.write(1) as tx:
        tx.clear("Thing", "a", "name")


def test_paths_lead_into_embedded_objects_and_nested_collections(scene: Scene) -> None:
    def edit(tx: Transaction) -> None:
        tx.set("Thing", "a", "rooms", [{"x": 1}, {}])
        tx.increment("Thing", "a", "rooms", 4, (0, "x"))
        tx.list_append("Thing", "a", "rooms", 7, (1, "nums"))
        tx.list_insert("Thing", "a", "rooms", 0, 6, (1, "nums"))
        tx.set("Thing", "a", "rooms", tx.link("Thing", "b"), (1, "owner"))
        tx.set("Thing", "a", "any", {"list": [1], "dict": {}})
        tx.list_append("Thing", "a", "any", [2], ("list",))
        tx.list_set("Thing", "a", "any", 0, {"deep": True}, ("list", 1))
        tx.dictionary_set("Thing", "a", "any", "k", 5, ("dict",))
        tx.dictionary_erase("Thing", "a", "any", "k", ("dict",))
        tx.set("Thing", "a", "any", "new", ("dict", "n"))

    scene.write(edit)
    rooms = scene.get("rooms")
    assert (rooms[0]["x"], rooms[1]["nums"], rooms[1]["owner"]) == (5, [6, 7], Link("Thing", (3, "b")))
    assert scene.get("any") == {"list": [1, [{"deep": True}]], "dict": {"n": "new"}}
    for path in ((5, "x"), ("x",), (0, 0), (0, "nothing")):
        with pytest.raises(ValueError, match=r"Thing\['a'\].rooms"), scene.local.write(1) as tx:
            tx.set("Thing", "a", "rooms", 1, path)


def test_embedded_objects_are_replaced_as_real_clients_do(scene: Scene) -> None:
    scene.write(lambda tx: tx.set("Thing", "a", "home", {"x": 1, "s": "old"}))
    scene.write(lambda tx: tx.set("Thing", "a", "home", {"x": 2}))
    assert scene.get("home") == {**ROOM, "x": 2}
    assert scene.kinds() == ["Update", "Update", "Update"]
    scene.write(lambda tx: tx.set("Thing", "a", "rooms", [{"s": "old"}]))
    found = scene.write(lambda tx: tx.list_set("Thing", "a", "rooms", 0, {"x": 3}))
    assert scene.get("rooms") == [{**ROOM, "x": 3}]
    assert [type(each) for each in found] == [ArrayErase, ArrayInsert, Update]


def test_a_collection_that_is_replaced_is_cleared_first(scene: Scene) -> None:
    found = scene.write(lambda tx: tx.set("Thing", "a", "tags", ["x"]))
    assert [type(each) for each in found] == [ArrayInsert]
    found = scene.write(lambda tx: tx.set("Thing", "a", "tags", ["y"]))
    assert [type(each) for each in found] == [Clear, ArrayInsert]
    scene.write(lambda tx: tx.set("Thing", "a", "any", [1]))
    found = scene.write(lambda tx: tx.set("Thing", "a", "any", []))
    assert [type(each) for each in found] == [Clear]
    assert scene.get("any") == []


def test_a_transaction_reads_its_own_writes(scene: Scene) -> None:
    with scene.local.write(1) as tx:
        tx.create("Thing", "c", {"name": "new"})
        held = tx.values.get("Thing", (3, "c"))
        assert held is not None
        assert held["name"] == "new"


def test_an_object_is_created_once_and_deleted(scene: Scene) -> None:
    with pytest.raises(ValueError, match=r"Thing\['a'\] exists"), scene.local.write(1) as tx:
        tx.create("Thing", "a")
    scene.write(lambda tx: tx.delete("Thing", "a"))
    assert scene.local.get("Thing", "a") is None
    assert scene.kinds() == ["EraseObject"]


def test_links_to_missing_objects_are_hidden_until_these_exist(scene: Scene) -> None:
    scene.write(lambda tx: tx.set("Thing", "b", "friend", tx.link("Thing", "later")))
    assert scene.get("friend", "b") is None
    scene.write(lambda tx: tx.create("Thing", "later"))
    assert scene.get("friend", "b") == Link("Thing", (3, "later"))


def test_what_links_to_a_deleted_object_is_nullified_first(scene: Scene) -> None:
    def link_everywhere(tx: Transaction) -> None:
        a, b, gone = tx.link("Thing", "a"), tx.link("Thing", "b"), tx.link("Thing", "gone")
        tx.add_property("Thing", "by name", "link", target="Thing", collection="dictionary")
        tx.add_property("Thing", "bag", "mixed", collection="set")
        tx.set("Thing", "b", "friend", a)
        tx.set("Thing", "b", "friends", [gone, a, b, a])
        tx.set("Thing", "b", "pals", [a, b, gone])
        tx.set("Thing", "b", "by name", {"one": a, "two": b})
        tx.set("Thing", "b", "bag", [1, a, b])
        tx.set("Thing", "b", "any", [a, {"deep": [1, a]}, b])
        tx.set("Thing", "b", "info", {"here": a})
        tx.set("Thing", "b", "home", {"x": 1, "owner": a})
        tx.set("Thing", "b", "rooms", [{"x": 2, "owner": b}, {"x": 3, "owner": a}])
        tx.set("Thing", "a", "friend", a)

    scene.write(link_everywhere)
    written = scene.write(lambda tx: tx.delete("Thing", "a"))
    b = Link("Thing", (3, "b"))

    def check() -> None:
        held = scene.local.get("Thing", "b")
        assert held is not None
        assert [held[name] for name in ("friend", "friends", "pals", "by name")] == [
            None,
            [b],
            [b],
            {"one": None, "two": b},
        ]
        assert [held[name] for name in ("bag", "any", "info")] == [
            [1, b],
            [None, {"deep": [1, None]}, b],
            {"here": None},
        ]
        assert held["home"] == ROOM | {"x": 1}
        assert held["rooms"] == [ROOM | {"x": 2, "owner": b}, ROOM | {"x": 3}]

    check()
    assert [type(each).__name__ for each in written].count("ArrayErase") == 2
    assert type(written[-1]).__name__ == "EraseObject"
    assert "a" not in {each.key[1] for each in written[:-1] if isinstance(each, Update)}
    scene.write(lambda tx: tx.create("Thing", "a"))
    check()


def test_deleting_looks_only_where_links_can_be(scene: Scene) -> None:
    def edit(tx: Transaction) -> None:
        tx.add_class("Plain", "_id", "int")
        tx.add_class("Owner", "_id", "int")
        tx.add_property("Owner", "rooms", "link", target="Room", collection="dictionary")
        tx.create("Plain", 1)
        tx.create("Owner", 1, {"rooms": {"top": {"owner": tx.link("Thing", "a")}}})

    scene.write(edit)
    scene.write(lambda tx: tx.delete("Plain", 1))
    assert scene.kinds() == ["EraseObject"]
    scene.write(lambda tx: tx.delete("Thing", "a"))
    assert scene.kinds() == ["Update", "EraseObject"]
    assert scene.local.get("Owner", 1) == {"_id": 1, "rooms": {"top": ROOM}}


def test_asymmetric_objects_are_made_but_not_deleted(scene: Scene) -> None:
    def edit(tx: Transaction) -> None:
        tx.add_class("Event", "_id", "int", kind="asymmetric")
        tx.create("Event", 1)

    scene.write(edit)
    with pytest.raises(ValueError, match="Event"), scene.local.write(1) as tx:
        tx.delete("Event", 1)


def test_a_call_that_failed_halfway_makes_the_transaction_void(scene: Scene) -> None:
    before = scene.local.values.state()

    def edit(tx: Transaction) -> None:
        with pytest.raises(TypeError):
            tx.set("Thing", "a", "tags", ["good", 5])
        tx.set("Thing", "a", "name", "later")

    with pytest.raises(ValueError, match="void"):
        scene.write(edit)
    assert scene.local.values.state() == before


def test_a_call_that_failed_at_once_may_be_caught(scene: Scene) -> None:
    def edit(tx: Transaction) -> None:
        with pytest.raises(TypeError):
            tx.set("Thing", "a", "name", 5)
        tx.set("Thing", "a", "name", "good")

    scene.write(edit)
    assert scene.get("name") == "good"


def test_a_transaction_cannot_be_written_to_when_it_is_over(scene: Scene) -> None:
    with scene.local.write(1) as tx:
        pass
    with pytest.raises(ValueError, match="over"):
        tx.set("Thing", "a", "name", "late")
    assert scene.get("name") is None
