"""The small golden pairs of ``spec/merge.md`` 10, and some that show one rule each. Each was run on real clients' code
or is stated by a rule."""

from collections.abc import Sequence

import pytest
from merge_tools import (
    DICTIONARY,
    LIST,
    NULL,
    OBJECT,
    ONE,
    add,
    changeset,
    clear,
    clear_list,
    copy_of,
    create,
    erase,
    erase_object,
    facts,
    insert,
    live,
    move,
    set_erase,
    set_insert,
    text,
    update,
)

from realmserver.changeset.instructions import (
    COLLECTION_DICTIONARY,
    COLLECTION_LIST,
    COLLECTION_SINGLE,
    TABLE_ASYMMETRIC,
    TABLE_EMBEDDED,
    TABLE_TOP_LEVEL,
    TYPE_DOUBLE,
    TYPE_ERASED,
    TYPE_INT,
    TYPE_LINK,
    TYPE_SET,
    TYPE_STRING,
    AddColumn,
    AddTable,
    EraseColumn,
    EraseTable,
    Instruction,
    Payload,
)
from realmserver.merge import TransformError
from realmserver.merge.all_pairs import merge_all_pairs
from realmserver.merge.walk import merge

Side = list[Instruction]

ONE_AND_A_HALF = Payload(TYPE_DOUBLE, b"\0\0\0\0\0\0\xf8\x3f")
ERASED = Payload(TYPE_ERASED)
SET = Payload(TYPE_SET)


def link_column(target: str, field: str = "l") -> AddColumn:
    return AddColumn("Foo", field, TYPE_LINK, True, COLLECTION_SINGLE, target)


def check(
    incoming: Side, incoming_time: int, local: Side, local_time: int, incoming_after: Side, local_after: Side
) -> None:
    for run in (merge, merge_all_pairs):
        theirs = changeset(*_fresh(incoming), timestamp=incoming_time, origin=2)
        ours = changeset(*_fresh(local), timestamp=local_time, origin=2)
        run([theirs], [ours])
        assert live(theirs) == [facts(instruction) for instruction in incoming_after]
        assert live(ours) == [facts(instruction) for instruction in local_after]


def _fresh(side: Sequence[Instruction]) -> Side:
    return copy_of(changeset(*side, timestamp=0)).instructions


SPECIFIED: dict[str, tuple[Side, int, Side, int, Side, Side]] = {
    "insert insert tie": ([insert(1, size=3)], 7, [insert(1, size=3)], 7, [insert(1, size=4)], [insert(2, size=4)]),
    "update update tie": ([update(1)], 7, [update(2)], 7, [], [update(2)]),
    "erase object twice tie": ([erase_object()], 7, [erase_object()], 7, [erase_object()], []),
    "set insert, set erase tie": ([set_insert(1)], 7, [set_erase(1)], 7, [], [set_erase(1)]),
    "newer move of one element": (
        [move(1, to=3, size=4)], 9, [move(1, to=0, size=4)], 1,
        [move(0, to=3, size=4)], [],
    ),
    "equal moves": ([move(1, to=3, size=4)], 9, [move(1, to=3, size=4)], 1, [], []),
    "move and insert": (
        [move(1, to=3, size=4)], 9, [insert(3, size=4)], 1, [move(1, to=4, size=5)], [insert(2, size=4)],
    ),
    "erase follows move": ([erase(1, size=4)], 9, [move(1, to=3, size=4)], 1, [erase(3, size=4)], []),
    "erase above updates": (
        [erase(0, size=3)], 1, [update(1, 0, "n"), update(1, 2, "n")], 9, [erase(0, size=3)], [update(1, 1, "n")],
    ),
    "insert above update": (
        [insert(1, size=3, value=OBJECT)], 1, [update(1, 1, "n")], 9,
        [insert(1, size=3, value=OBJECT)], [update(1, 2, "n")],
    ),
    "newer increment": ([add(3)], 2, [update(10)], 1, [add(3)], [update(13)]),
    "older increment": ([add(3)], 1, [update(10)], 2, [], [update(10)]),
    "increment of a default": (
        [add(3)], 1, [update(10, default=True)], 9, [add(3)], [update(13, default=True)],
    ),
    "newer increment of null": ([add(3)], 9, [update(NULL)], 1, [add(3)], [update(NULL)]),
    "older increment of null": ([add(3)], 1, [update(NULL)], 9, [], [update(NULL)]),
    "newer default": ([update(1, default=True)], 9, [update(2)], 1, [], [update(2)]),
    "null beats a new embedded object": (
        [update(NULL)], 1, [update(OBJECT), update(3, "n")], 2, [update(NULL)], [],
    ),
    "older clear": (
        [clear()], 1, [insert(0, size=3), clear(), insert(0, size=0)], 2, [], [clear(), insert(0, size=0)],
    ),
    "newer clear": ([clear()], 3, [insert(0, size=3), clear(), insert(0, size=0)], 2, [clear()], []),
    "re-creation": ([create(), update(1)], 9, [erase_object(), create()], 1, [], [erase_object(), create()]),
    "erase column takes updates only": (
        [EraseColumn("Foo", "bar")], 1, [insert(0, size=0), add(1), update(1), update(1, 0, "n")], 9,
        [EraseColumn("Foo", "bar")], [insert(0, size=0), add(1)],
    ),
    "the same class": ([AddTable("Foo", TABLE_EMBEDDED)], 1, [AddTable("Foo", TABLE_EMBEDDED)], 2, [], []),
    "both make a list": (
        [update(LIST), insert(0, size=0)], 3, [update(LIST), insert(0, size=0)], 1,
        [update(LIST), insert(1, size=1)], [update(LIST), insert(0, size=1)],
    ),
    "list against dictionary": (
        [update(LIST), insert(0, size=0)], 3, [update(DICTIONARY), update(2, "k")], 1,
        [update(LIST), insert(0, size=0)], [],
    ),
    "clear of a list agrees with its making": (
        [clear_list(), insert(0, size=0)], 3, [update(LIST), insert(0, size=1)], 1,
        [clear_list(), insert(0, size=0)], [update(LIST)],
    ),
    "clear of a list against a dictionary": (
        [clear_list()], 3, [update(DICTIONARY), update(1, "k")], 1, [clear_list()], [],
    ),
    "newer value against clear": (
        [clear_list(), insert(0, size=0)], 1, [update(5)], 3, [], [update(5)],
    ),
    "increment against a list": (
        [add(3)], 3, [update(LIST), insert(0, size=0)], 1, [], [update(LIST), insert(0, size=0)],
    ),
    "increment of a double": ([add(3)], 9, [update(ONE_AND_A_HALF)], 1, [], [update(ONE_AND_A_HALF)]),
    "list in an erased slot": (
        [update(LIST, 0, size=1), insert(0, 0, size=0)], 3, [erase(0, size=1)], 1, [], [erase(0, size=1)],
    ),
    "F2: clear of a slot is not shifted": (
        [clear_list(1)], 1, [insert(0, size=2)], 2, [clear_list(1)], [insert(0, size=2)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECIFIED)
def test_golden_pair(name: str) -> None:
    check(*SPECIFIED[name])


BY_RULE: dict[str, tuple[Side, int, Side, int, Side, Side]] = {
    "S4 incoming column": (
        [link_column("Bar")], 1, [EraseTable("Bar")], 2,
        [], [EraseColumn("Foo", "l"), EraseTable("Bar")],
    ),
    "S4 local column": (
        [EraseTable("Bar")], 1, [link_column("Bar")], 2,
        [EraseColumn("Foo", "l"), EraseTable("Bar")], [],
    ),
    "S4 two columns": (
        [link_column("Bar", "l"), link_column("Bar", "m")], 1, [EraseTable("Bar")], 2,
        [], [EraseColumn("Foo", "l"), EraseColumn("Foo", "m"), EraseTable("Bar")],
    ),
    "S4 the new instruction meets what follows": (
        [link_column("Bar", "bar"), update(1), update(2)], 9, [EraseTable("Bar")], 1,
        [], [EraseColumn("Foo", "bar"), EraseTable("Bar")],
    ),
    "S4 the new instruction does not meet what came before": (
        [update(1), link_column("Bar", "bar")], 9, [EraseTable("Bar")], 1,
        [update(1)], [EraseColumn("Foo", "bar"), EraseTable("Bar")],
    ),
    "S4 the new instruction meets the class's own erasure": (
        [link_column("Bar"), EraseTable("Foo")], 9, [EraseTable("Bar")], 1,
        [EraseTable("Foo")], [EraseTable("Bar")],
    ),
    "S4 later local instructions meet the new one": (
        [EraseTable("Bar")], 1, [link_column("Bar", "bar"), update(1)], 2,
        [EraseColumn("Foo", "bar"), EraseTable("Bar")], [],
    ),
    "S4 the new instruction ends at its class's erasure and meets nothing behind it": (
        [link_column("Bar", "bar"), EraseTable("Foo"), update(1)], 9, [EraseTable("Bar")], 1,
        [EraseTable("Foo"), update(1)], [EraseTable("Bar")],
    ),
    "S4 new incoming instructions come one after the other, before what caused them": (
        [update(1), EraseTable("Bar"), update(2)], 1,
        [link_column("Bar"), link_column("Bar", "bar"), link_column("Bar", "m"), EraseColumn("Foo", "l"), update(3)], 9,
        [EraseColumn("Foo", "bar"), EraseColumn("Foo", "m"), EraseTable("Bar"), update(2)], [],
    ),
    "S4 the new instruction falls with a column erased on the other side": (
        [EraseTable("Bar")], 1, [link_column("Bar"), EraseColumn("Foo", "l")], 2, [EraseTable("Bar")], [],
    ),
    "S4 not for a link of the erased class to itself": (
        [EraseTable("Foo")], 1, [link_column("Foo")], 2, [EraseTable("Foo")], [],
    ),
    "an erased class ends an object's erasure": (
        [EraseTable("Foo"), create()], 1, [erase_object()], 2, [EraseTable("Foo"), create()], [],
    ),
    "an erased class ends a column's erasure": (
        [EraseTable("Foo"), update(1)], 1, [EraseColumn("Foo", "bar")], 2, [EraseTable("Foo"), update(1)], [],
    ),
    "an erased column ends an update, which changes what came before": (
        [insert(0, size=2, value=1), EraseColumn("Foo", "bar"), update(5, 0, size=3)], 9,
        [erase(0, size=2), update(7, 0, size=1)], 9,
        [insert(0, size=1, value=1), EraseColumn("Foo", "bar"), update(5, 0, size=2)], [erase(1, size=3)],
    ),
    "S3 each erasure takes one of the other side and what came before it": (
        [EraseTable("Foo"), create(), EraseTable("Foo"), create()], 1, [EraseTable("Foo"), EraseTable("Foo")], 2,
        [create()], [],
    ),
    "S4 not for links to another class": (
        [link_column("Baz")], 1, [EraseTable("Bar")], 2, [link_column("Baz")], [EraseTable("Bar")],
    ),
    "S2 erase beats add": ([AddTable("Foo", TABLE_EMBEDDED)], 9, [EraseTable("Foo")], 1, [], [EraseTable("Foo")]),
    "S3 erased twice": ([EraseTable("Foo")], 9, [EraseTable("Foo")], 1, [], []),
    "nested: an erased class takes all of it": (
        [EraseTable("Foo")], 1,
        [create(), erase_object(), link_column("Bar"), EraseColumn("Foo", "x"), set_insert(1), create(ONE, "Bar")], 2,
        [EraseTable("Foo")], [create(ONE, "Bar")],
    ),
    "S7 erase column beats add column": (
        [link_column("Bar")], 9, [EraseColumn("Foo", "l")], 1,
        [], [EraseColumn("Foo", "l")],
    ),
    "S8 column erased twice": ([EraseColumn("Foo", "l")], 9, [EraseColumn("Foo", "l")], 1, [], []),
    "O1 erase beats create, also an older one": ([create()], 9, [erase_object()], 1, [], [erase_object()]),
    "O2 the newer erase stays and takes the re-creation": (
        [erase_object()], 9, [erase_object(), create()], 1, [erase_object()], [],
    ),
    "O2 the older erase goes": (
        [erase_object()], 1, [erase_object(), create()], 9, [], [erase_object(), create()],
    ),
    "nested: an erased object takes newer writes": (
        [erase_object()], 1, [update(1), create((TYPE_INT, 2)), set_insert(1)], 9,
        [erase_object()], [create((TYPE_INT, 2))],
    ),
    "U1 anything beats a new object, whatever its age": ([update(OBJECT)], 9, [update(1)], 1, [], [update(1)]),
    "U1 two new objects": ([update(OBJECT)], 9, [update(OBJECT)], 1, [update(OBJECT)], []),
    "U1 two dictionaries stay, whatever the defaults": (
        [update(DICTIONARY)], 9, [update(DICTIONARY, default=True)], 1,
        [update(DICTIONARY)], [update(DICTIONARY, default=True)],
    ),
    "U1 two sets do not": ([update(SET)], 9, [update(SET)], 1, [update(SET)], []),
    "U2 wraps in 64 bits": (
        [add(1)], 2, [update(2**63 - 1)], 1, [add(1)], [update(-(2**63))],
    ),
    "U2 a newer increment of an erased key goes": (
        [add(1, "k")], 9, [update(ERASED, "k")], 1,
        [], [update(ERASED, "k")],
    ),
    "U3 dictionaries agree": (
        [clear(collection=COLLECTION_DICTIONARY)], 1, [update(DICTIONARY)], 9,
        [clear(collection=COLLECTION_DICTIONARY)], [update(DICTIONARY)],
    ),
    "U3 an unknown kind agrees with nothing": ([clear()], 1, [update(DICTIONARY)], 9, [], [update(DICTIONARY)]),
    "U4 clear takes the increment": ([clear()], 1, [add(1)], 9, [clear()], []),
    "increments add up": ([add(1)], 1, [add(2)], 9, [add(1)], [add(2)]),
    "nested: increment takes what is below": ([add(1)], 1, [update(1, "k")], 9, [add(1)], []),
    "nested: list stays over index": ([update(LIST)], 9, [update(1, 0, "n")], 1, [update(LIST)], [update(1, 0, "n")]),
    "nested: list takes names": ([update(LIST)], 1, [update(1, "k")], 9, [update(LIST)], []),
    "nested: dictionary stays over names": (
        [update(DICTIONARY)], 9, [update(1, "k")], 1,
        [update(DICTIONARY)], [update(1, "k")],
    ),
    "nested: dictionary takes indices": ([update(DICTIONARY)], 1, [erase(0, size=1)], 9, [update(DICTIONARY)], []),
    "nested: move changes its own source": (
        [move(1, to=3, size=4)], 1, [update(1, 1, "n")], 9, [move(3, to=3, size=4)], [update(1, 1, "n")],
    ),
    "nested: move changes its own source, from behind": (
        [move(2, to=0, size=4)], 1, [update(1, 1, "n")], 9, [move(2, to=0, size=4)], [update(1, 1, "n")],
    ),
    "nested: move changes its own source, to behind": (
        [move(2, to=3, size=4)], 1, [update(1, 1, "n")], 9, [move(1, to=3, size=4)], [update(1, 1, "n")],
    ),
    "an increment of an element is not shifted": (
        [insert(0, size=2)], 1, [add(1, 1)], 2, [insert(0, size=2)], [add(1, 1)],
    ),
    "L3 sizes are not compared": (
        [move(0, to=2, size=3)], 1, [update(1, 0, size=9)], 2, [move(0, to=2, size=3)], [update(1, 2, size=9)],
    ),
    "L6 erased element": ([erase(1, size=3)], 1, [update(1, 1, size=3)], 2, [erase(1, size=3)], []),
    "L7 erase behind an insertion": (
        [erase(1, size=3)], 1, [insert(1, size=3)], 2,
        [erase(2, size=4)], [insert(1, size=2)],
    ),
    "L9 the same element": ([erase(1, size=3)], 1, [erase(1, size=3)], 2, [], []),
    "C2 clear takes a newer set insertion": ([clear()], 1, [set_insert(1), set_erase(2)], 9, [clear()], []),
    "C3 equal insertions": (
        [set_insert(1)], 1, [set_insert(1), set_insert(2)], 9,
        [], [set_insert(1), set_insert(2)],
    ),
    "C4 the newer one decides": ([set_insert(1)], 9, [set_erase(1)], 1, [set_insert(1)], []),
    "C5 one text at one place": (
        [set_erase(text("x", 6))], 2, [set_erase(text("x", 6))], 1, [set_erase(text("x"))], [],
    ),
    "C5 two texts of one size at one place": (
        [set_erase(text("x", 6))], 2, [set_erase(text("y", 6))], 1, [set_erase(text("x"))], [],
    ),
    "C5 one text at two places": (
        [set_erase(text("x", 6))], 2, [set_erase(text("x", 7))], 1, [set_erase(text("x"))], [set_erase(text("x"))],
    ),
    "C5 two sizes at one place": (
        [set_erase(text("x", 6))], 2, [set_erase(text("é", 6))], 1, [set_erase(text("x"))], [set_erase(text("é"))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_RULE)
def test_rule(name: str) -> None:
    check(*BY_RULE[name])


def table(kind: int, name: str = "_id", key_type: int = TYPE_INT, nullable: bool = False) -> AddTable:
    return AddTable("Foo", kind, name, key_type, nullable)


def column(type: int, nullable: bool = False, collection: int = COLLECTION_SINGLE, target: str = "") -> AddColumn:
    return AddColumn("Foo", "bar", type, nullable, collection, target)


CONTRADICTIONS: dict[str, tuple[Instruction, Instruction]] = {
    "embedded and top-level": (table(TABLE_EMBEDDED), table(TABLE_TOP_LEVEL)),
    "name of the key": (table(TABLE_TOP_LEVEL), table(TABLE_TOP_LEVEL, "id")),
    "type of the key": (table(TABLE_TOP_LEVEL), table(TABLE_TOP_LEVEL, key_type=TYPE_STRING)),
    "nullable key": (table(TABLE_TOP_LEVEL), table(TABLE_TOP_LEVEL, nullable=True)),
    "asymmetric": (table(TABLE_TOP_LEVEL), table(TABLE_ASYMMETRIC)),
    "type of the column": (column(TYPE_INT), column(TYPE_STRING)),
    "nullable column": (column(TYPE_INT), column(TYPE_INT, True)),
    "collection": (column(TYPE_INT), column(TYPE_INT, collection=COLLECTION_LIST)),
    "target": (column(TYPE_LINK, target="A"), column(TYPE_LINK, target="B")),
    "U1 size": (update(1, 0, size=1), update(1, 0, size=2)),
    "L1 size": (insert(0, size=1), update(1, 0, size=2)),
    "L1 index": (insert(2, size=1), update(1, 0, size=1)),
    "L1 other index": (insert(0, size=1), update(1, 1, size=1)),
    "L2 size": (insert(0, size=1), insert(0, size=2)),
    "L3 index": (move(1, to=0, size=1), update(1, 0, size=1)),
    "L5 destination": (move(0, to=1, size=2), move(1, to=2, size=2)),
    "L6 index": (erase(1, size=1), update(1, 0, size=1)),
    "L7 index": (erase(1, size=1), insert(0, size=1)),
    "L8 index": (erase(0, size=1), move(1, to=0, size=1)),
    "L9 index": (erase(0, size=1), erase(1, size=1)),
    "dictionary key against list index": (insert(0, size=1), update(1, "k")),
    "name where the list has an index": (insert(0, size=1), update(1, "k", "n")),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradiction_is_a_transform_error_whichever_side_it_is_on(name: str) -> None:
    for run in (merge, merge_all_pairs):
        for one, other in (CONTRADICTIONS[name], reversed(CONTRADICTIONS[name])):
            theirs = changeset(*_fresh([one]), timestamp=1, origin=2)
            ours = changeset(*_fresh([other]), timestamp=2, origin=3)
            with pytest.raises(TransformError, match="'Foo'"):
                run([theirs], [ours])


def test_two_equal_embedded_classes_are_not_compared_by_key() -> None:
    check([AddTable("Foo", TABLE_EMBEDDED, "a")], 1, [AddTable("Foo", TABLE_EMBEDDED, "b")], 2, [], [])


def test_the_new_instruction_of_s4_has_its_names_at_the_end_of_the_table_of_strings() -> None:
    erasing = changeset(EraseTable("Bar"), timestamp=1)
    merge([changeset(link_column("Bar"), timestamp=2)], [erasing])
    assert erasing.strings == ["Bar", "Foo", "l"]
    assert erasing.dirty


def test_c5_compares_the_numbers_of_a_links_strings() -> None:
    def erasing(target: str, *strings: str) -> Instruction:
        return set_erase(Payload(TYPE_LINK, (target, (TYPE_STRING, "k"))))

    for strings, same in ((["k", "A"], True), (["A", "k"], False)):
        theirs = changeset(erasing("A"), timestamp=2)
        ours = changeset(erasing("B"), timestamp=1)
        theirs.strings, theirs.numbers = strings, {text: number for number, text in enumerate(strings)}
        ours.strings, ours.numbers = ["k", "B"], {"k": 0, "B": 1}
        merge([theirs], [ours])
        assert len(live(ours)) == (0 if same else 1)
