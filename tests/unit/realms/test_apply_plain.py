"""Plain changesets applied as a whole: as their instructions one by one, or not at all."""

from random import Random

import pytest
from apply_model import Rows, link, schema, text

from realmserver.changeset import instructions as ins
from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import BadChangeset, Changeset, CreateObject, Instruction, Key, Payload, Update
from realmserver.realms import apply_plain
from realmserver.realms.core import parse
from realmserver.realms.shape import Shape

KEYS: list[tuple[str, Key]] = [
    *(("T", (ins.TYPE_INT, number)) for number in range(4)),
    *(("N", (ins.TYPE_STRING, name)) for name in ("", "a")),
    ("N", (ins.TYPE_NULL, None)),
    ("U", (ins.TYPE_GLOBAL_KEY, (1, 2))),
    ("A", (ins.TYPE_INT, 1)),
]
WRONG_KEYS: list[tuple[str, Key]] = [
    ("T", (ins.TYPE_STRING, "a")),
    ("T", (ins.TYPE_NULL, None)),
    ("N", (ins.TYPE_INT, 1)),
    ("U", (ins.TYPE_INT, 1)),
    ("E", (ins.TYPE_INT, 1)),
    ("Nowhere", (ins.TYPE_INT, 1)),
]
VALUES = [
    Payload(ins.TYPE_INT, 1),
    Payload(ins.TYPE_NULL),
    text("x"),
    link("T", (ins.TYPE_INT, 1)),
    link("T", (ins.TYPE_NULL, None)),
    link("N", (ins.TYPE_NULL, None)),
    link("E", (ins.TYPE_INT, 1)),
    Payload(ins.TYPE_OBJECT_VALUE),
    Payload(ins.TYPE_LIST),
]
GOOD = [("i", VALUES[0]), ("ni", VALUES[0]), ("ni", VALUES[1]), ("s", VALUES[2]), ("o", VALUES[3]), ("o", VALUES[1])]


def changeset(*instructions: Instruction) -> bytes:
    return encode(Changeset(list(instructions)))


def open_shape() -> Shape:
    shape = Rows().open()
    shape.applier.apply_all([*schema(), CreateObject("T", KEYS[0][1]), CreateObject("N", KEYS[4][1])])
    shape.begin()
    return shape


def random_changeset(random: Random) -> bytes:
    """Good as a whole for the most part."""
    instructions: list[Instruction] = []
    for _ in range(random.randrange(1, 6)):
        table, key = random.choice(KEYS if random.random() < 0.97 else WRONG_KEYS)
        field, value = random.choice(GOOD)
        if random.random() < 0.05:
            field, value = (
                random.choice(["i", "s", "o", "mx", "e", "li", "di", "_id", "nothing"]),
                random.choice(VALUES),
            )
        if random.random() < 0.8:
            instructions.append(CreateObject(table, key))
        if table == "T" or random.random() < 0.05:
            instructions.append(Update(table, key, field, [], value))
    return changeset(*instructions)


@pytest.mark.parametrize("seed", range(20))
def test_as_a_whole_or_one_by_one_is_the_same(seed: int) -> None:
    random = Random(seed)
    whole, single = open_shape(), open_shape()
    outcomes: list[bool | None] = []
    for _ in range(100):
        data = random_changeset(random)
        plain = parse(data, 0, 2, True).plain()
        single.begin()
        try:
            single.applier.apply_all(decode(data).instructions)
        except BadChangeset:
            single.rollback()
            is_good = False
        else:
            single.commit()
            is_good = True
        before = layers(whole)
        if plain is None:
            if is_good:
                whole.applier.apply_all(decode(data).instructions)
            outcomes.append(None)
            continue
        done = whole.plain_applier.apply(*plain)
        outcomes.append(done)
        if not done:
            assert layers(whole) == before, "and nothing is changed"
            if is_good:
                whole.applier.apply_all(decode(data).instructions)
        assert is_good or not done, "what is bad is left to the other"
        assert layers(whole) == layers(single)
    assert outcomes.count(True) > 20, "otherwise nothing was tried"
    assert outcomes.count(False) > 5


def layers(shape: Shape) -> dict[object, object]:
    return {key: record for layer in shape._layers for key, record in layer.items()}


def test_a_kind_is_judged_anew_when_the_schema_has_changed() -> None:
    shape = open_shape()
    plain = parse(changeset(Update("T", KEYS[0][1], "i", [], VALUES[0])), 0, 2, True).plain()
    assert plain is not None
    assert shape.plain_applier.apply(*plain)
    shape.applier.apply(ins.EraseColumn("T", "i"))
    assert not shape.plain_applier.apply(*plain)
    shape.rollback()
    assert shape.plain_applier.apply(*plain)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply_plain, "MAX_KINDS", 3)
    shape = open_shape()
    for field, value in GOOD * 3:
        plain = parse(changeset(Update("T", KEYS[0][1], field, [], value)), 0, 2, True).plain()
        assert plain is not None
        assert shape.plain_applier.apply(*plain)
        assert len(shape.plain_applier._good) <= 3 + 2


def test_an_object_that_is_written_before_it_is_created_is_not_plain() -> None:
    key = KEYS[1][1]
    late = changeset(Update("T", key, "i", [], VALUES[0]), CreateObject("T", key))
    assert parse(late, 0, 2, True).plain() is None


def test_each_object_and_each_kind_of_write_is_told_once() -> None:
    (table, first), (_, second) = KEYS[:2]
    data = changeset(
        CreateObject(table, second),
        Update(table, second, "i", [], VALUES[0]),
        Update(table, first, "o", [], VALUES[3]),
        Update(table, first, "i", [], Payload(ins.TYPE_INT, 7)),
        Update(table, second, "ni", [], VALUES[1]),
        CreateObject(table, second),
    )
    assert parse(data, 0, 2, True).plain() == (
        ((table, second, True), (table, first, False)),
        (
            ("T", "i", ins.TYPE_INT, "", 0),
            ("T", "o", ins.TYPE_LINK, "T", ins.TYPE_INT),
            ("T", "ni", ins.TYPE_NULL, "", 0),
        ),
    )
