"""Every row of the table in spec/merge.md 8.5, on values and shape at once."""

from collections.abc import Iterable
from typing import Any

import pytest
from apply_model import (
    DICTIONARY,
    ERASED,
    LIST,
    NULL,
    OBJECT_VALUE,
    ONE,
    SET,
    TWO,
    Twins,
    integer,
    link,
    schema,
    text,
)

from realmserver.changeset import instructions as ins
from realmserver.changeset.instructions import BadChangeset, Instruction, Payload
from realmserver.realms.apply import may_drop
from realmserver.realms.checks import MAX_PATH

GLOBAL = (ins.TYPE_GLOBAL_KEY, (1, 2))


@pytest.fixture
def realm() -> Twins:
    twins = Twins()
    twins.apply(*schema(), ins.CreateObject("T", ONE))
    twins.persist()
    return twins


def update(field: str, payload: Payload, *path: int | str, prior_size: int = 0) -> ins.Update:
    return ins.Update("T", ONE, field, list(path), payload, prior_size=prior_size)


def insert(field: str, payload: Payload, *path: int | str, prior_size: int) -> ins.ArrayInsert:
    return ins.ArrayInsert("T", ONE, field, list(path), payload, prior_size)


def move(field: str, *path: int | str, to: int, prior_size: int) -> ins.ArrayMove:
    return ins.ArrayMove("T", ONE, field, list(path), to, prior_size)


def erase(field: str, *path: int | str, prior_size: int) -> ins.ArrayErase:
    return ins.ArrayErase("T", ONE, field, list(path), prior_size)


def add(field: str, value: int, *path: int | str) -> ins.AddInteger:
    return ins.AddInteger("T", ONE, field, list(path), value)


def clear(field: str, collection: int, *path: int | str) -> ins.Clear:
    return ins.Clear("T", ONE, field, list(path), collection)


def set_insert(field: str, payload: Payload, *path: int | str) -> ins.SetInsert:
    return ins.SetInsert("T", ONE, field, list(path), payload)


def set_erase(field: str, payload: Payload) -> ins.SetErase:
    return ins.SetErase("T", ONE, field, [], payload)


def read(realm: Twins, field: str, key: ins.Key = ONE, table: str = "T") -> Any:
    content = realm.values.get(table, key)
    assert content is not None
    return content[field]


def refuse(realm: Twins, instruction: Instruction, *reasons: str) -> None:
    """``instruction`` is bad, the text says why, and nothing has changed, not even in the shape."""
    before = realm.values.state()
    realm.persist()
    with pytest.raises(BadChangeset) as caught:
        realm.apply(instruction)
    message = str(caught.value)
    assert message.startswith(type(instruction).__name__)
    assert all(reason in message for reason in reasons), message
    assert realm.values.state() == before
    assert realm.shape.changes() == ({}, {}, [])


def each_refused(realm: Twins, instructions: Iterable[Instruction]) -> None:
    for instruction in instructions:
        refuse(realm, instruction)


# AddTable, EraseTable


def test_adding_a_class_again_is_nothing_if_it_is_the_same(realm: Twins) -> None:
    realm.apply(*schema()[:5])
    assert realm.shape.changes() == ({}, {}, [])


@pytest.mark.parametrize(
    "other",
    [
        ins.AddTable("T", ins.TABLE_TOP_LEVEL, "id", ins.TYPE_INT, False),
        ins.AddTable("T", ins.TABLE_TOP_LEVEL, "_id", ins.TYPE_INT, True),
        ins.AddTable("T", ins.TABLE_TOP_LEVEL, "_id", ins.TYPE_STRING, False),
        ins.AddTable("T", ins.TABLE_TOP_LEVEL),
        ins.AddTable("U", ins.TABLE_TOP_LEVEL, "_id", ins.TYPE_INT, False),
        ins.AddTable("T", ins.TABLE_ASYMMETRIC, "_id", ins.TYPE_INT, False),
        ins.AddTable("T", ins.TABLE_EMBEDDED),
        ins.AddTable("E", ins.TABLE_TOP_LEVEL),
    ],
)
def test_adding_a_class_that_differs_is_bad(realm: Twins, other: Instruction) -> None:
    refuse(realm, other, "exists")


def test_names_are_bounded_in_bytes(realm: Twins) -> None:
    realm.apply(ins.AddTable("c" * 57, ins.TABLE_TOP_LEVEL))
    realm.apply(ins.AddColumn("T", "f" * 63, ins.TYPE_INT, False, ins.COLLECTION_SINGLE))
    each_refused(
        realm,
        [
            ins.AddTable("c" * 58, ins.TABLE_TOP_LEVEL),
            ins.AddTable("ü" * 29, ins.TABLE_EMBEDDED),
            ins.AddTable("", ins.TABLE_TOP_LEVEL),
            ins.AddTable("X", ins.TABLE_TOP_LEVEL, "p" * 64, ins.TYPE_INT, False),
            ins.AddColumn("T", "f" * 64, ins.TYPE_INT, False, ins.COLLECTION_SINGLE),
        ],
    )


def test_an_erased_class_is_gone_with_its_objects_and_comes_back_empty(realm: Twins) -> None:
    realm.apply(
        ins.AddTable("X", ins.TABLE_TOP_LEVEL, "_id", ins.TYPE_INT, False),
        ins.AddColumn("X", "l", ins.TYPE_INT, False, ins.COLLECTION_LIST),
        ins.CreateObject("X", ONE),
        ins.ArrayInsert("X", ONE, "l", [0], integer(1), 0),
    )
    realm.persist()
    realm.apply(ins.EraseTable("X"))
    refuse(realm, ins.CreateObject("X", ONE), "no such class")
    realm.apply(ins.AddTable("X", ins.TABLE_TOP_LEVEL, "_id", ins.TYPE_INT, False))
    realm.reopen()
    assert realm.values.state()["X"] == []
    refuse(realm, ins.Update("X", ONE, "l", [], NULL), "no such object")


def test_erasing_a_class_that_is_not_there_is_bad(realm: Twins) -> None:
    refuse(realm, ins.EraseTable("X"), "no such class")


def test_a_class_that_another_links_to_cannot_be_erased(realm: Twins) -> None:
    refuse(realm, ins.EraseTable("E"), "links to it")
    realm.apply(update("mx", link("U", GLOBAL)), update("mx", integer(1)))
    refuse(realm, ins.EraseTable("U"), "links to it")
    realm.apply(ins.EraseTable("T"), ins.EraseTable("N"))
    refuse(realm, ins.EraseTable("U"), "links to it")  # clients keep what the Mixed link has left


def test_a_class_that_links_only_to_itself_can_be_erased(realm: Twins) -> None:
    realm.apply(update("mx", link("T", TWO)), ins.EraseTable("T"), ins.EraseTable("E"))
    assert realm.values.classes() == ["A", "N", "U"]


# AddColumn, EraseColumn


def test_adding_a_column_again_is_nothing_if_it_is_the_same(realm: Twins) -> None:
    realm.apply(*schema())
    realm.apply(ins.AddColumn("T", "i", ins.TYPE_INT, True, ins.COLLECTION_SINGLE))  # nullability is not compared
    realm.apply(ins.AddColumn("T", "_id", ins.TYPE_INT, False, ins.COLLECTION_SINGLE))
    assert realm.shape.changes() == ({}, {}, [])


@pytest.mark.parametrize(
    "other",
    [
        ins.AddColumn("T", "i", ins.TYPE_STRING, False, ins.COLLECTION_SINGLE),
        ins.AddColumn("T", "i", ins.TYPE_INT, False, ins.COLLECTION_LIST),
        ins.AddColumn("T", "i", ins.TYPE_INT, False, ins.COLLECTION_SET),
        ins.AddColumn("T", "di", ins.TYPE_INT, False, ins.COLLECTION_SINGLE),
        ins.AddColumn("T", "o", ins.TYPE_LINK, True, ins.COLLECTION_SINGLE, "U"),
        ins.AddColumn("T", "o", ins.TYPE_LINK, True, ins.COLLECTION_SINGLE, ""),
    ],
)
def test_adding_a_column_that_differs_is_bad(realm: Twins, other: Instruction) -> None:
    refuse(realm, other, "exists")


@pytest.mark.parametrize(
    "column",
    [
        ins.AddColumn("X", "c", ins.TYPE_INT, False, ins.COLLECTION_SINGLE),
        ins.AddColumn("T", "", ins.TYPE_INT, False, ins.COLLECTION_SINGLE),
        ins.AddColumn("T", "c", ins.TYPE_INT, False, ins.COLLECTION_DICTIONARY, key_type=ins.TYPE_INT),
        ins.AddColumn("T", "c", ins.TYPE_LINK, True, ins.COLLECTION_SINGLE, "X"),
        ins.AddColumn("T", "c", ins.TYPE_LINK, True, ins.COLLECTION_SINGLE, ""),
        ins.AddColumn("T", "c", ins.TYPE_LINK, False, ins.COLLECTION_DICTIONARY, ""),
        ins.AddColumn("T", "c", ins.TYPE_LINK, True, ins.COLLECTION_SINGLE, "A"),
        ins.AddColumn("T", "c", ins.TYPE_LINK, False, ins.COLLECTION_SET, "E"),
        ins.AddColumn("T", "c", ins.TYPE_NULL, False, ins.COLLECTION_SINGLE),
        *(ins.AddColumn("T", "c", kind, True, ins.COLLECTION_SINGLE) for kind in (*range(-6, 0), 12)),
    ],
)
def test_columns_that_no_client_can_add_are_bad(realm: Twins, column: Instruction) -> None:
    refuse(realm, column)


def test_an_erased_column_comes_back_with_defaults(realm: Twins) -> None:
    realm.apply(update("i", integer(7)), insert("lm", LIST, 0, prior_size=0))
    realm.apply(ins.EraseColumn("T", "i"), ins.EraseColumn("T", "lm"))
    refuse(realm, update("i", integer(1)), "no column 'i'")
    realm.apply(ins.AddColumn("T", "i", ins.TYPE_INT, False, ins.COLLECTION_SINGLE))
    realm.apply(ins.AddColumn("T", "lm", ins.TYPE_NULL, True, ins.COLLECTION_LIST))
    realm.reopen()
    assert (read(realm, "i"), read(realm, "lm")) == (0, [])
    refuse(realm, erase("lm", 0, prior_size=1), "the list has 0")


def test_erasing_a_column_that_is_not_there_or_is_the_key_is_bad(realm: Twins) -> None:
    refuse(realm, ins.EraseColumn("T", "x"), "no such column")
    refuse(realm, ins.EraseColumn("T", "_id"), "primary key")


# CreateObject, EraseObject


def test_creating_an_object_again_keeps_its_values(realm: Twins) -> None:
    realm.apply(update("i", integer(7)), ins.CreateObject("T", ONE))
    assert read(realm, "i") == 7


def test_new_objects_have_the_defaults_of_their_types(realm: Twins) -> None:
    simple = [ins.TYPE_INT, *range(ins.TYPE_BOOL, ins.TYPE_LINK), ins.TYPE_OBJECT_ID, ins.TYPE_UUID]
    for kind in simple:
        for nullable in (False, True):
            realm.apply(ins.AddColumn("U", f"{kind}{nullable}", kind, nullable, ins.COLLECTION_SINGLE))
    realm.apply(ins.CreateObject("U", GLOBAL))
    ((key, content),) = realm.values.state()["U"]
    assert key == {"gk": [1, 2]}
    assert isinstance(content, dict)
    assert {value for name, value in content.items() if name.endswith("True")} == {None}
    assert [content[f"{kind}False"] for kind in simple] == [
        0,
        False,
        "",
        {"bin": ""},
        {"ts": [0, 0]},
        {"float": "0x0.0p+0"},
        {"double": "0x0.0p+0"},
        {"decimal": "0"},
        {"oid": "00" * 12},
        {"uuid": "00000000-0000-0000-0000-000000000000"},
    ]


def test_keys_must_fit_the_primary_key(realm: Twins) -> None:
    wrong = [
        ("T", (ins.TYPE_STRING, "1")),
        ("T", (ins.TYPE_NULL, None)),
        ("T", GLOBAL),
        ("U", ONE),
        ("U", (ins.TYPE_NULL, None)),
        ("N", ONE),
        ("E", GLOBAL),
        ("X", ONE),
    ]
    for table, key in wrong:
        refuse(realm, ins.CreateObject(table, key))
        refuse(realm, ins.EraseObject(table, key))
        refuse(realm, ins.Update(table, key, "i", [], integer(1)))
    realm.apply(ins.CreateObject("N", (ins.TYPE_NULL, None)), ins.CreateObject("N", (ins.TYPE_STRING, "")))
    assert [row[0] for row in realm.values.state()["N"]] == ["", None]


def test_erasing_an_object_takes_all_it_owns_and_is_idempotent(realm: Twins) -> None:
    realm.apply(
        update("e", OBJECT_VALUE),
        update("e", integer(3), "n"),
        insert("le", OBJECT_VALUE, 0, prior_size=0),
        insert("le", OBJECT_VALUE, 0, "kids", 0, prior_size=0),
        ins.EraseObject("T", ONE),
        ins.EraseObject("T", ONE),
    )
    refuse(realm, update("i", integer(1)), "no such object")
    realm.apply(ins.CreateObject("T", ONE))
    assert (read(realm, "e"), read(realm, "le")) == (None, [])


# Links


def test_links_to_missing_objects_show_as_nothing_keep_their_slots_and_come_back(realm: Twins) -> None:
    there = link("T", TWO)
    realm.apply(
        update("o", there),
        insert("lo", there, 0, prior_size=0),
        insert("lm", there, 0, prior_size=0),
        update("do", there, "k"),
        set_insert("so", there),
        set_insert("sm", there),
        update("mx", there),
    )
    fields = ("o", "lo", "lm", "do", "so", "sm", "mx")
    assert [read(realm, field) for field in fields] == [None, [], [None], {"k": None}, [], [None], None]
    refuse(realm, insert("lo", there, 0, prior_size=0), "the list has 1")
    realm.apply(ins.CreateObject("T", TWO))
    assert all("key=(1, 2)" in str(read(realm, field)) for field in fields)
    realm.apply(ins.EraseObject("T", TWO))
    assert [read(realm, field) for field in fields] == [None, [], [None], {"k": None}, [], [None], None]


@pytest.mark.parametrize(
    "payload",
    [
        link("X", ONE),
        link("E", GLOBAL),
        link("A", ONE),
        link("U", GLOBAL),
        link("T", GLOBAL),
        link("T", (ins.TYPE_STRING, "1")),
    ],
)
def test_links_must_go_to_the_columns_class_with_a_key_that_fits(realm: Twins, payload: Payload) -> None:
    refuse(realm, update("o", payload))
    refuse(realm, insert("lo", payload, 0, prior_size=0))
    refuse(realm, update("do", payload, "k"))
    refuse(realm, set_insert("so", payload))
    if payload.value != ("U", GLOBAL):
        refuse(realm, update("mx", payload))


def test_asymmetric_classes_hold_no_links(realm: Twins) -> None:
    realm.apply(ins.CreateObject("A", ONE), ins.Update("A", ONE, "mx", [], integer(1)))
    refuse(realm, ins.Update("A", ONE, "mx", [], link("T", ONE)), "asymmetric")


# Update of a property


def test_values_must_fit_the_column(realm: Twins) -> None:
    realm.apply(update("i", integer(3)), update("ni", NULL), update("s", text("x")))
    each_refused(
        realm,
        [
            update("i", NULL),
            update("i", text("x")),
            update("i", link("T", ONE)),
            update("i", OBJECT_VALUE),
            update("i", LIST),
            update("i", DICTIONARY),
            update("i", SET),
            update("i", ERASED),
            update("o", OBJECT_VALUE),
            update("o", integer(1)),
            update("mx", OBJECT_VALUE),
            update("mx", SET),
            update("mx", ERASED),
            update("e", integer(1)),
            update("e", link("E", GLOBAL)),
            update("e", ERASED),
            update("x", integer(1)),
            update("_id", integer(5)),
            update("li", NULL),
            update("si", NULL),
            update("di", NULL),
            ins.Update("T", TWO, "i", [], integer(1)),
            ins.Update("X", ONE, "i", [], integer(1)),
        ],
    )


def test_mixed_takes_all_plain_values_and_null(realm: Twins) -> None:
    for payload in (integer(1), text("x"), Payload(ins.TYPE_BOOL, True), NULL):
        realm.apply(update("mx", payload))
        assert read(realm, "mx") == payload.value


def test_an_embedded_object_in_a_property_is_created_once_and_removed_by_null(realm: Twins) -> None:
    realm.apply(update("e", OBJECT_VALUE), update("e", integer(3), "n"), update("e", OBJECT_VALUE))
    assert read(realm, "e")["n"] == 3
    realm.apply(update("e", NULL))
    assert read(realm, "e") is None
    refuse(realm, update("e", integer(3), "n"), "which is null")


def test_a_value_over_a_collection_drops_its_content(realm: Twins) -> None:
    realm.apply(update("mx", LIST), insert("mx", integer(1), 0, prior_size=0), update("mx", integer(5)))
    refuse(realm, insert("mx", integer(1), 0, prior_size=1))
    realm.apply(update("mx", LIST))
    assert read(realm, "mx") == []


def test_making_a_place_the_collection_it_is_keeps_the_content_anything_else_does_not(realm: Twins) -> None:
    realm.apply(update("mx", LIST), insert("mx", integer(1), 0, prior_size=0))
    realm.apply(ins.Update("T", ONE, "mx", [], LIST, is_default=True))
    assert read(realm, "mx") == [1]
    realm.apply(update("mx", DICTIONARY))
    assert read(realm, "mx") == {}


# Update of a slot and of a key


def test_slots_are_set_within_the_list(realm: Twins) -> None:
    realm.apply(insert("li", integer(1), 0, prior_size=0), update("li", integer(2), 0, prior_size=1))
    assert read(realm, "li") == [2]
    each_refused(
        realm,
        [
            update("li", integer(2), 1, prior_size=1),
            update("li", text("x"), 0, prior_size=1),
            update("li", NULL, 0, prior_size=1),
            update("li", ERASED, 0, prior_size=1),
            update("li", LIST, 0, prior_size=1),
            update("li", integer(2), "k"),
            update("li", integer(2), 0, 0, prior_size=1),
        ],
    )


def test_a_slot_set_with_a_wrong_prior_size_is_refused_for_it_would_break_merges(realm: Twins) -> None:
    """The reference applies both; whoever edits the list at the same time could then merge nothing any more."""
    realm.apply(insert("li", integer(1), 0, prior_size=0), insert("le", OBJECT_VALUE, 0, prior_size=0))
    refuse(realm, update("li", integer(2), 0, prior_size=77), "prior size 77, the list has 1")
    refuse(realm, update("le", OBJECT_VALUE, 0, prior_size=0), "prior size 0, the list has 1")
    refuse(realm, update("le", OBJECT_VALUE, 9, prior_size=1), "index 9 in a list of 1")


def test_an_embedded_object_set_in_a_slot_is_nothing(realm: Twins) -> None:
    realm.apply(insert("le", OBJECT_VALUE, 0, prior_size=0), update("le", integer(3), 0, "n"))
    realm.apply(update("le", OBJECT_VALUE, 0, prior_size=1))
    assert [each["n"] for each in read(realm, "le")] == [3]
    refuse(realm, update("le", NULL, 0, prior_size=1))


def test_mixed_slots_become_collections_and_back(realm: Twins) -> None:
    realm.apply(insert("lm", integer(1), 0, prior_size=0), update("lm", LIST, 0, prior_size=1))
    realm.apply(insert("lm", integer(5), 0, 0, prior_size=0), update("lm", LIST, 0, prior_size=1))
    assert read(realm, "lm") == [[5]]
    realm.apply(update("lm", DICTIONARY, 0, prior_size=1), update("lm", NULL, 0, "k"))
    assert read(realm, "lm") == [{"k": None}]
    realm.apply(update("lm", NULL, 0, prior_size=1))
    refuse(realm, update("lm", integer(1), 0, "k"))
    each_refused(
        realm,
        [
            update("lm", SET, 0, prior_size=1),
            update("lm", ERASED, 0, prior_size=1),
            update("lm", LIST, 1, prior_size=1),
        ],
    )


def test_keys_are_set_and_erased(realm: Twins) -> None:
    realm.apply(update("di", integer(1), ""), update("di", integer(2), "k"), update("di", ERASED, "absent"))
    realm.apply(update("di", ERASED, "k"))
    assert read(realm, "di") == {"": 1}
    each_refused(
        realm,
        [
            update("di", integer(1), "$k"),
            update("di", integer(1), "a.b"),
            update("di", text("x"), "k"),
            update("di", NULL, "k"),
            update("di", OBJECT_VALUE, "k"),
            update("di", LIST, "k"),
            update("di", integer(1), 0),
            update("di", integer(1), "", "x"),
            update("dm", SET, "k"),
            update("dm", OBJECT_VALUE, "k"),
            update("de", integer(1), "k"),
            update("de", LIST, "k"),
        ],
    )


def test_an_embedded_object_at_a_key_is_replaced_by_a_new_one(realm: Twins) -> None:
    realm.apply(update("de", OBJECT_VALUE, "k"), update("de", integer(3), "k", "n"), update("de", OBJECT_VALUE, "k"))
    assert read(realm, "de")["k"]["n"] == 0
    realm.apply(update("de", NULL, "k"))
    assert read(realm, "de") == {"k": None}
    refuse(realm, update("de", integer(3), "k", "n"))
    realm.apply(update("de", ERASED, "k"))
    assert read(realm, "de") == {}


def test_mixed_keys_become_collections(realm: Twins) -> None:
    realm.apply(update("dm", LIST, "k"), insert("dm", integer(1), "k", 0, prior_size=0), update("dm", LIST, "k"))
    assert read(realm, "dm") == {"k": [1]}
    realm.apply(update("dm", DICTIONARY, "k"), update("dm", ERASED, "k", "absent"))
    assert read(realm, "dm") == {"k": {}}


# AddInteger


def test_integers_are_added_and_wrap(realm: Twins) -> None:
    realm.apply(update("i", integer(2**63 - 1)), add("i", 1))
    assert read(realm, "i") == -(2**63)
    realm.apply(add("ni", 5))
    assert read(realm, "ni") is None
    realm.apply(add("mx", 5), update("mx", integer(1)), add("mx", -3))
    assert read(realm, "mx") == -2
    realm.apply(update("e", OBJECT_VALUE), add("e", 4, "n"))
    assert read(realm, "e")["n"] == 4


def test_only_integer_properties_are_incremented(realm: Twins) -> None:
    realm.apply(insert("li", integer(1), 0, prior_size=0), update("di", integer(1), "k"), update("mx", text("x")))
    each_refused(
        realm,
        [add("s", 1), add("mx", 1), add("li", 1, 0), add("di", 1, "k"), add("li", 1), add("o", 1), add("_id", 1)],
    )
    realm.apply(update("mx", LIST))
    refuse(realm, add("mx", 1))


# Lists


def test_insertions_must_know_the_list(realm: Twins) -> None:
    realm.apply(insert("li", integer(1), 0, prior_size=0), insert("li", integer(2), 1, prior_size=1))
    assert read(realm, "li") == [1, 2]
    each_refused(
        realm,
        [
            insert("li", integer(3), 3, prior_size=2),
            insert("li", integer(3), 0, prior_size=1),
            insert("li", integer(3), 0, prior_size=3),
            insert("li", text("x"), 0, prior_size=2),
            insert("li", NULL, 0, prior_size=2),
            insert("li", OBJECT_VALUE, 0, prior_size=2),
            insert("li", LIST, 0, prior_size=2),
            insert("li", ERASED, 0, prior_size=2),
            insert("lo", NULL, 0, prior_size=0),
            insert("lm", SET, 0, prior_size=0),
            insert("le", integer(1), 0, prior_size=0),
            insert("di", integer(1), "k", 0, prior_size=0),
            insert("si", integer(1), 0, prior_size=0),
            insert("i", integer(1), 0, prior_size=0),
            insert("mx", integer(1), 0, prior_size=0),
        ],
    )


def test_moves_take_the_content_along(realm: Twins) -> None:
    realm.apply(insert("lm", LIST, 0, prior_size=0), insert("lm", integer(3), 0, 0, prior_size=0))
    realm.apply(insert("lm", integer(1), 1, prior_size=1), move("lm", 0, to=1, prior_size=2))
    assert read(realm, "lm") == [1, [3]]
    realm.apply(insert("lm", integer(4), 1, 1, prior_size=1), move("lm", 1, to=0, prior_size=2))
    assert read(realm, "lm") == [[3, 4], 1]
    each_refused(
        realm,
        [
            move("lm", 0, to=0, prior_size=2),
            move("lm", 2, to=0, prior_size=2),
            move("lm", 0, to=2, prior_size=2),
            move("lm", 0, to=1, prior_size=3),
            move("mx", 0, to=1, prior_size=2),
        ],
    )


def test_erasures_must_know_the_list(realm: Twins) -> None:
    realm.apply(insert("le", OBJECT_VALUE, 0, prior_size=0), insert("le", OBJECT_VALUE, 1, prior_size=1))
    realm.apply(update("le", integer(3), 1, "n"), erase("le", 0, prior_size=2))
    assert [each["n"] for each in read(realm, "le")] == [3]
    each_refused(realm, [erase("le", 1, prior_size=1), erase("le", 0, prior_size=2), erase("li", 0, prior_size=0)])


# Clear


def test_columns_are_cleared_by_their_kind_or_none(realm: Twins) -> None:
    realm.apply(insert("li", integer(1), 0, prior_size=0), set_insert("si", integer(1)), update("di", integer(1), "k"))
    realm.apply(insert("le", OBJECT_VALUE, 0, prior_size=0), update("dm", LIST, "k"))
    kinds = {
        "li": ins.COLLECTION_LIST,
        "le": ins.COLLECTION_LIST,
        "si": ins.COLLECTION_SET,
        "di": ins.COLLECTION_DICTIONARY,
        "dm": ins.COLLECTION_DICTIONARY,
    }
    for field, kind in kinds.items():
        for other in {1, 2, 3} - {kind}:
            refuse(realm, clear(field, other))
        realm.apply(clear(field, kind))
        assert not read(realm, field)
        realm.apply(clear(field, ins.COLLECTION_SINGLE))
    each_refused(realm, [clear(field, kind) for field in ("i", "o", "e", "x") for kind in range(4)])


def test_clear_makes_a_mixed_place_an_empty_collection_whatever_was_there(realm: Twins) -> None:
    realm.apply(clear("mx", ins.COLLECTION_LIST), insert("mx", integer(1), 0, prior_size=0))
    realm.apply(clear("mx", ins.COLLECTION_LIST))
    assert read(realm, "mx") == []
    realm.apply(update("mx", text("x")), clear("mx", ins.COLLECTION_DICTIONARY))
    assert read(realm, "mx") == {}
    realm.apply(insert("lm", integer(1), 0, prior_size=0), clear("lm", ins.COLLECTION_DICTIONARY, 0))
    realm.apply(update("dm", NULL, "k"), clear("dm", ins.COLLECTION_LIST, "k"))
    assert (read(realm, "lm"), read(realm, "dm")) == ([{}], {"k": []})
    realm.apply(insert("li", integer(1), 0, prior_size=0), update("di", integer(1), "k"))
    each_refused(
        realm,
        [
            clear("mx", ins.COLLECTION_SINGLE),
            clear("mx", ins.COLLECTION_SET),
            clear("lm", ins.COLLECTION_LIST, 1),
            clear("lm", ins.COLLECTION_SINGLE, 0),
            clear("dm", ins.COLLECTION_LIST, "absent"),
            clear("li", ins.COLLECTION_LIST, 0),
            clear("di", ins.COLLECTION_LIST, "k"),
        ],
    )


# Sets


def test_set_changes_are_idempotent_and_checked(realm: Twins) -> None:
    realm.apply(set_insert("si", integer(1)), set_insert("si", integer(1)), set_erase("si", integer(2)))
    assert read(realm, "si") == [1]
    realm.apply(set_erase("si", integer(1)), set_erase("si", integer(1)))
    assert read(realm, "si") == []
    wrong = (text("x"), NULL, OBJECT_VALUE, LIST, SET, DICTIONARY, ERASED)
    each_refused(realm, [make("si", payload) for payload in wrong for make in (set_insert, set_erase)])
    each_refused(realm, [set_insert(field, integer(1)) for field in ("i", "li", "di", "mx", "e", "x")])
    refuse(realm, set_insert("si", integer(1), 0))


def test_numbers_in_a_mixed_set_are_equal_by_value_and_the_first_stays(realm: Twins) -> None:
    three = Payload(ins.TYPE_DOUBLE, bytes.fromhex("0000000000000840"))
    decimal = Payload(ins.TYPE_DECIMAL, (300, -2, False))
    realm.apply(set_insert("sm", integer(3)), set_insert("sm", three), set_insert("sm", decimal))
    realm.apply(set_insert("sm", text("3")), set_insert("sm", Payload(ins.TYPE_BINARY, b"3", 0)))
    assert read(realm, "sm") == [3, "3", b"3"]
    realm.apply(set_erase("sm", decimal))
    assert read(realm, "sm") == ["3", b"3"]


# Paths


def test_paths_lead_through_what_is_there(realm: Twins) -> None:
    realm.apply(
        update("e", OBJECT_VALUE),
        insert("e", OBJECT_VALUE, "kids", 0, prior_size=0),
        update("e", OBJECT_VALUE, "kids", 0, "e"),
        update("e", DICTIONARY, "kids", 0, "e", "mx"),
        update("e", LIST, "kids", 0, "e", "mx", "k"),
        insert("e", integer(8), "kids", 0, "e", "mx", "k", 0, prior_size=0),
    )
    assert read(realm, "e")["kids"][0]["e"]["mx"] == {"k": [8]}
    each_refused(
        realm,
        [
            update("e", integer(1), 0),
            update("e", integer(1), "x"),
            update("e", integer(1), "kids", "n"),
            update("e", integer(1), "kids", 1, "n"),
            update("e", integer(1), "kids", 0, 0),
            update("e", integer(1), "kids", 0, "e", "e", "n"),
            update("e", integer(1), "kids", 0, "e", "mx", 0),
            update("e", integer(1), "kids", 0, "e", "mx", "absent", "k"),
            update("e", integer(1), "kids", 0, "e", "mx", "k", "0"),
            update("e", integer(1), "kids", 0, "e", "mx", "k", 0, 0),
            update("e", integer(1), "kids", 0, "e", "mx", "k", 1, 0),
            update("o", integer(1), "i"),
            update("lo", integer(1), 0, "i"),
            update("do", integer(1), "k", "i"),
            update("i", integer(1), "i"),
            update("si", integer(1), 0, 0),
            update("mx", integer(1), 0),
            update("de", integer(1), "absent", "n"),
        ],
    )


def test_paths_of_a_hundred_nested_lists_work_and_longer_ones_end(realm: Twins) -> None:
    realm.apply(update("mx", LIST))
    path: list[int | str] = []
    for _ in range(MAX_PATH):
        path.append(0)
        realm.apply(insert("mx", LIST, *path, prior_size=0))
    refuse(realm, insert("mx", LIST, *path, 0, prior_size=0), "elements")
    realm.reopen()
    refuse(realm, insert("mx", LIST, *path, prior_size=0), "the list has 1")


# Known faults of the merge rules


def test_what_may_be_dropped_touches_a_mixed_place_or_a_list_of_embedded_objects(realm: Twins) -> None:
    tables = realm.values.schema
    may = [
        update("mx", NULL),
        update("lm", NULL, 0),
        clear("dm", ins.COLLECTION_LIST, "k"),
        move("le", 0, to=1, prior_size=3),
        update("le", integer(1), 0, "n"),
        update("e", NULL, "mx", 0),
        update("e", NULL, "kids", 0, "n"),
        update("de", NULL, "k", "mx", 0),
    ]
    may_not = [
        update("i", NULL),
        update("li", NULL, 0),
        update("e", NULL, "li", 0),
        update("de", NULL, "k", "n"),
        update("de", NULL, "k"),
        update("x", NULL),
        ins.Update("X", ONE, "mx", [], NULL),
        ins.CreateObject("X", ONE),
        ins.EraseColumn("T", "x"),
    ]
    assert [may_drop(each, tables) for each in may] == [True] * len(may)
    assert [may_drop(each, tables) for each in may_not] == [False] * len(may_not)


def test_a_clear_of_an_erased_key_is_replaced_by_the_collection(realm: Twins) -> None:
    failed = clear("dm", ins.COLLECTION_LIST, "k")
    for applier in (realm.values.applier, realm.shape.applier):
        instead = applier.replacement(failed)
        assert isinstance(instead, ins.Update)
        assert (instead.path, instead.payload.type) == (["k"], ins.TYPE_LIST)
    update_instead = realm.values.applier.replacement(failed)
    assert update_instead is not None
    realm.apply(update_instead)
    assert read(realm, "dm") == {"k": []}
    for other in (
        failed,
        clear("di", ins.COLLECTION_LIST, "k"),
        clear("lm", ins.COLLECTION_LIST, 0),
        update("mx", SET),
    ):
        assert realm.values.applier.replacement(other) is None
        assert realm.shape.applier.replacement(other) is None


def test_a_discarded_instruction_does_nothing(realm: Twins) -> None:
    tombstone = update("i", text("x"))
    tombstone.discarded = True
    realm.apply(tombstone)
    assert read(realm, "i") == 0
