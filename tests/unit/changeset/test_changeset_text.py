"""What a log shows of an instruction, beyond what the golden changesets hold."""

import struct

import pytest
from changeset_strategies import changesets
from hypothesis import given

from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    COLLECTION_DICTIONARY,
    COLLECTION_SET,
    COLLECTION_SINGLE,
    TABLE_ASYMMETRIC,
    TABLE_EMBEDDED,
    TYPE_DECIMAL,
    TYPE_DICTIONARY,
    TYPE_DOUBLE,
    TYPE_ERASED,
    TYPE_FLOAT,
    TYPE_GLOBAL_KEY,
    TYPE_INT,
    TYPE_LINK,
    TYPE_LIST,
    TYPE_NULL,
    TYPE_STRING,
    TYPE_TIMESTAMP,
    AddColumn,
    AddTable,
    Changeset,
    CreateObject,
    EraseColumn,
    EraseTable,
    Instruction,
    Payload,
    Update,
)
from realmserver.changeset.text import MAX_TEXT, describe, describe_changeset


def shown(type: int, value: object = None) -> str:
    line = describe(Update("T", (TYPE_INT, 1), "f", [], Payload(type, value)))
    start, end = "Update          path=T[Int(1)].f, value=", ", default=0"
    assert line.startswith(start)
    assert line.endswith(end)
    return line[len(start) : -len(end)]


@pytest.mark.parametrize(
    ("instruction", "line"),
    [
        (AddTable("E", TABLE_EMBEDDED), 'AddTable        path="E", embedded=1'),
        (
            AddTable("A", TABLE_ASYMMETRIC, "_id", TYPE_GLOBAL_KEY, True),
            'AddTable        path="A", pk_field="_id", pk_type=GlobalKey, pk_nullable=1, is_asymmetric=1',
        ),
        (EraseTable("T"), 'EraseTable      path="T"'),
        (EraseColumn("T", "f"), 'EraseColumn     table="T", field="f"'),
        (
            AddColumn("T", "f", TYPE_LINK, True, COLLECTION_SET, "U"),
            'AddColumn       table="T", field="f", type=Link, nullable=1, collection_type=Set, target_table="U"',
        ),
        (
            AddColumn("T", "f", TYPE_NULL, False, COLLECTION_DICTIONARY),
            'AddColumn       table="T", field="f", type=Null, nullable=0, collection_type=Dictionary, key_type=String',
        ),
        (
            AddColumn("T", "f", TYPE_INT, False, COLLECTION_SINGLE, "not shown"),
            'AddColumn       table="T", field="f", type=Int, nullable=0, collection_type=Single',
        ),
        (
            CreateObject("T", (TYPE_GLOBAL_KEY, (0xABCDE, 1))),
            "CreateObject    path=T[GlobalKey{{abcde-0001}}]",
        ),
        (
            Update("T", (TYPE_NULL, None), "f", ["a", 3], Payload(TYPE_LIST), prior_size=4),
            "Update          path=T[NULL].f.a[3], value=List(), prior_size=4",
        ),
    ],
)
def test_lines(instruction: Instruction, line: str) -> None:
    assert describe(instruction) == line


@pytest.mark.parametrize(
    ("type", "value", "text"),
    [
        (TYPE_DICTIONARY, None, "Dictionary()"),
        (TYPE_ERASED, None, "Erased()"),
        (TYPE_FLOAT, struct.pack("<f", 0.1), "Float(0.100000001)"),
        (TYPE_DOUBLE, struct.pack("<d", 0.1), "Double(0.1)"),
        (TYPE_DOUBLE, struct.pack("<d", -0.0), "Double(-0)"),
        (TYPE_DOUBLE, bytes.fromhex("010000000000f8ff"), "Double(nan 0xfff8000000000001)"),
        (TYPE_DECIMAL, (125, -1, True), "Decimal(-12.5)"),
        (TYPE_DECIMAL, (10**34 - 1, 6111, False), "Decimal(9.999999999999999999999999999999999E+6144)"),
        (TYPE_DECIMAL, (0, 9184, True), "Decimal(-Inf)"),
        (TYPE_DECIMAL, (0, 9184, False), "Decimal(Inf)"),
        (TYPE_DECIMAL, (7, 9696, True), "Decimal(NaN)"),
        (TYPE_TIMESTAMP, (-1, -5), "Timestamp(1969-12-31 23:59:58.999999995)"),
        (TYPE_TIMESTAMP, (2**63 - 1, 7), "Timestamp(9223372036854775807 s, 7 ns)"),
    ],
)
def test_values(type: int, value: object, text: str) -> None:
    assert shown(type, value) == text


def test_text_from_outside_cannot_forge_a_line() -> None:
    assert shown(TYPE_STRING, 'a\nb\udcff"é') == 'String("a\\nb\\udcff"é")'
    assert "\n" not in describe(EraseTable("T\nEraseTable"))


def test_long_text_is_cut() -> None:
    assert shown(TYPE_STRING, "x" * MAX_TEXT) == f'String("{"x" * MAX_TEXT}")'
    assert shown(TYPE_STRING, "x" * 5000) == f'String("{"x" * MAX_TEXT}... (5000 characters)")'


def test_a_changeset_shows_its_strings_and_no_tombstones() -> None:
    gone = EraseTable("a")
    gone.discarded = True
    changeset = Changeset([gone, EraseTable("b")], ["a", "b"])
    assert describe_changeset(changeset) == ['InternStrings   0="a", 1="b"', 'EraseTable      path="b"']
    assert describe_changeset(Changeset()) == []


@given(changesets())
def test_every_changeset_can_be_shown(changeset: Changeset) -> None:
    encode(changeset)
    lines = describe_changeset(changeset)
    assert len(lines) == len(changeset.instructions) + bool(changeset.strings)
    assert all(line.isprintable() for line in lines)
