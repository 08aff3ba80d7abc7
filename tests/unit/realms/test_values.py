"""The content in memory: the golden histories end in the golden states; reading."""

import uuid
from decimal import Decimal

import pytest
from apply_model import LIST, ONE, TWO, integer, link, schema, text
from apply_vectors import FILES, comparable, server_history, sessions

from realmserver.changeset import instructions as ins
from realmserver.changeset.instructions import BadChangeset, Changeset, Payload
from realmserver.realms.content import sameness
from realmserver.realms.reading import Link, ObjectId, Timestamp
from realmserver.realms.values import Values


@pytest.mark.parametrize("file", FILES)
def test_the_servers_history_gives_the_golden_state(file: str) -> None:
    compared = 0
    for session in sessions(file):
        values = Values()
        for changeset in server_history(session):
            values.apply(changeset)  # no instruction of these histories needs to be dropped
        if session["state"] is not None:
            assert comparable(values.state()) == comparable(session["state"]), session["name"]
            compared += 1
    assert compared > 10


def test_there_are_golden_histories() -> None:
    assert len(FILES) == 14


def test_reading_gives_pythons_own_types() -> None:
    values = Values()
    for instruction in schema():
        values.applier.apply(instruction)
    values.apply(Changeset([ins.CreateObject("T", ONE), ins.CreateObject("T", TWO)]))
    payloads = {
        "a": (Payload(ins.TYPE_DOUBLE, bytes.fromhex("000000000000f83f")), 1.5),
        "b": (Payload(ins.TYPE_FLOAT, bytes.fromhex("0000c03f")), 1.5),
        "c": (Payload(ins.TYPE_DECIMAL, (125, -1, True)), Decimal("-12.5")),
        "d": (Payload(ins.TYPE_DECIMAL, (0, 9184, True)), Decimal("-Infinity")),
        "e": (Payload(ins.TYPE_TIMESTAMP, (1, 2)), Timestamp(1, 2)),
        "f": (Payload(ins.TYPE_OBJECT_ID, bytes(12)), ObjectId(bytes(12))),
        "g": (Payload(ins.TYPE_UUID, bytes(16)), uuid.UUID(int=0)),
        "h": (Payload(ins.TYPE_BINARY, b"x", 0), b"x"),
        "i": (link("T", TWO), Link("T", TWO)),
        "j": (LIST, []),
        "k": (Payload(ins.TYPE_NULL), None),
    }
    for key, (payload, _) in payloads.items():
        values.applier.apply(ins.Update("T", ONE, "dm", [key], payload))
    content = values.get("T", ONE)
    assert content is not None
    assert content["dm"] == {key: expected for key, (_, expected) in payloads.items()}
    assert (content["_id"], content["si"], content["e"]) == (1, [], None)


def test_objects_of_a_class_are_a_live_mapping() -> None:
    values = Values()
    for instruction in schema():
        values.applier.apply(instruction)
    objects = values.objects("T")
    assert len(objects) == 0
    values.apply(Changeset([ins.CreateObject("T", ONE), ins.Update("T", ONE, "s", [], text("x"))]))
    assert [(key, content["s"]) for key, content in objects.items()] == [(ONE, "x")]
    assert TWO not in objects
    assert values.classes() == ["A", "N", "T", "U"]
    assert values.get("T", TWO) is None
    with pytest.raises(KeyError):
        values.objects("X")


def test_a_history_merged_elsewhere_can_be_applied_without_what_its_faults_made_impossible() -> None:
    values = Values()
    values.apply(Changeset([*schema(), ins.CreateObject("T", ONE)]))
    faulty = ins.Clear("T", ONE, "dm", ["gone"], ins.COLLECTION_LIST)
    fine = ins.Update("T", ONE, "i", [], integer(3))
    assert values.apply_tolerantly(Changeset([faulty, fine])) == [faulty]
    assert values.objects("T")[ONE]["i"] == 3
    with pytest.raises(BadChangeset):
        values.apply_tolerantly(Changeset([ins.Update("T", ONE, "i", [], text("x"))]))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((ins.TYPE_INT, 3), (ins.TYPE_FLOAT, bytes.fromhex("00004040")), True),
        ((ins.TYPE_INT, 2**60 + 1), (ins.TYPE_DOUBLE, bytes.fromhex("000000000000b043")), False),
        ((ins.TYPE_DOUBLE, bytes.fromhex("9a9999999999b93f")), (ins.TYPE_DECIMAL, (1, -1, False)), True),
        ((ins.TYPE_DOUBLE, bytes(8)), (ins.TYPE_DOUBLE, bytes(7) + b"\x80"), True),
        ((ins.TYPE_DOUBLE, bytes.fromhex("000000000000f07f")), (ins.TYPE_DECIMAL, (0, 9184, False)), True),
        ((ins.TYPE_INT, 1), (ins.TYPE_BOOL, True), False),
        ((ins.TYPE_STRING, "a"), (ins.TYPE_BINARY, b"a"), False),
        ((ins.TYPE_LINK, ("T", ONE)), (ins.TYPE_LINK, ("T", TWO)), False),
        (None, (ins.TYPE_INT, 0), False),
    ],
)
def test_sameness_in_mixed_sets(one: tuple[int, object], other: tuple[int, object], same: bool) -> None:
    assert (sameness(one) == sameness(other)) is same
