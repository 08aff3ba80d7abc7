"""The codec in machine code gives for every input what the Python modules give."""

from typing import Any

import pytest
from changeset_strategies import FIELDS, TABLES, changesets, keys, payloads
from changeset_vectors import changeset_bytes, lines
from client_writer import ClientWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_tools import said

from realmserver.changeset.decode import MAX_CLASS_NAME, MAX_COLUMN_NAME
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    TYPE_BINARY,
    TYPE_INT,
    TYPE_STRING,
    AddColumn,
    AddTable,
    BadChangeset,
    Changeset,
    CreateObject,
    Instruction,
    Payload,
    Update,
)
from realmserver.changeset.reader import MAX_PATH, MAX_STRING
from realmserver.merge import compact

native: Any = pytest.importorskip("realmserver._native")

many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def accepted(data: bytes, *, clear_types: bool = True) -> bool:
    """Compare all that the two say of ``data``; whether they take it."""
    found = native.parse(data, 7, 3, clear_types)
    try:
        expected = compact.parse(data, 7, 3, clear_types)
    except BadChangeset:
        assert found is None
        return False
    assert found is not None
    assert said(found) == said(expected)
    assert (found.canonical() is data) == (expected.canonical() is data) or not data
    found.settle()
    expected.settle()
    assert said(found) == said(expected)
    return True


@pytest.mark.parametrize("name", ["changeset.jsonl.gz", "malformed.jsonl.gz"])
def test_every_golden_changeset_gets_the_same_verdict(name: str) -> None:
    for line in lines(name):
        accepted(changeset_bytes(line["changeset"]))
        accepted(changeset_bytes(line["changeset"]), clear_types=False)


def test_every_golden_changeset_cut_short_gets_the_same_verdict() -> None:
    for line in lines("changeset.jsonl.gz"):
        data = changeset_bytes(line["changeset"])
        for size in range(min(len(data), 400)):
            accepted(data[:size])


@many
@given(changesets())
def test_what_the_server_writes_is_read_the_same(changeset: Changeset) -> None:
    assert accepted(encode(changeset))


@many
@given(changesets(), st.randoms(use_true_random=False), st.booleans())
def test_what_clients_write_is_read_the_same(changeset: Changeset, random: Any, clear_types: bool) -> None:
    """Strings between the instructions, and numbers that are not in their shortest form."""
    writer = ClientWriter(lambda: random.random() < 0.1)
    accepted(writer.changeset(changeset), clear_types=clear_types)


PLAIN = st.builds(CreateObject, TABLES, keys()) | st.builds(
    Update, TABLES, keys(), FIELDS, st.just([]), payloads().filter(lambda payload: payload.type >= 0), st.booleans()
)


@many
@given(changesets(PLAIN, max_size=40))
def test_what_only_creates_and_sets_is_read_the_same(changeset: Changeset) -> None:
    assert accepted(encode(changeset))


PIECES = (b"", b"\0", b"\x01", b"\x80\0", b"\xff\x3f", b"\x40", b"\x3f", b"\xff\xff\xff\xff\x0f", b"\x81\x40")


@many
@given(changesets(min_size=1, max_size=5), st.randoms(use_true_random=False), st.booleans())
def test_what_is_broken_gets_the_same_verdict(changeset: Changeset, random: Any, clear_types: bool) -> None:
    """A few bytes changed, put in, taken out or said twice."""
    whole = encode(changeset)
    for _ in range(20):
        data = bytearray(whole)
        for _ in range(random.randint(1, 3)):
            start = random.randint(0, len(data))
            end = min(len(data), start + random.randint(0, 3))
            piece = random.choice([*PIECES, bytes(data[start : start + 8]), bytes([random.randrange(256)])])
            data[start:end] = piece
        accepted(bytes(data), clear_types=clear_types)


@settings(many, max_examples=500)
@given(st.binary(max_size=60))
def test_any_bytes_get_the_same_verdict(data: bytes) -> None:
    accepted(data)


def test_every_single_opcode_gets_the_same_verdict() -> None:
    strings = b"\x3f\0\x01a" + b"\x3f\x01\x01b"
    for op in range(256):
        for rest in (b"", b"\0", bytes(12), b"\x01\x01\x02\0\0\0\0", b"\0\x01\x02\x01\0\x40\0\0\0\0"):
            accepted(strings + bytes([op]) + rest)


@pytest.mark.parametrize("past", [0, 1])
def test_names_and_paths_have_the_same_limits(past: int) -> None:
    class_name = "C" * (MAX_CLASS_NAME + past)
    field = "ü" * (MAX_COLUMN_NAME // 2) + "f" * (1 + past)
    key = (TYPE_INT, 1)
    for each in (
        AddTable(class_name, 0, "_id", TYPE_INT),
        AddTable("C", 0, field, TYPE_INT),
        AddColumn("C", field, TYPE_INT, False, 0),
        Update("C", key, "f", [1] * (MAX_PATH + past), Payload(TYPE_INT, 1)),
        Update("C", key, "f", ["n"] * (MAX_PATH + past), Payload(TYPE_INT, 1)),
    ):
        assert accepted(encode(Changeset([each]))) == (not past)


def test_strings_have_the_same_limit() -> None:
    def update(type: int, value: object) -> bytes:
        return encode(Changeset([Update("C", (TYPE_INT, 1), "f", [], Payload(type, value))]))

    assert accepted(update(TYPE_STRING, "s" * MAX_STRING))
    assert not accepted(update(TYPE_STRING, "s" * (MAX_STRING + 1)))
    assert accepted(update(TYPE_BINARY, b"s" * (MAX_STRING + 1)))


def test_many_strings_are_known_apart() -> None:
    """Few are compared one by one, many by a set."""
    for count in (15, 16, 17, 40):
        texts = [str(number) for number in range(count)]
        data = encode(Changeset([CreateObject(texts[-1], (TYPE_INT, 1))], texts))
        assert accepted(data)
        for index in (0, count - 1):
            again = encode(Changeset([CreateObject(texts[index], (TYPE_INT, 1))], [*texts, texts[index]]))
            assert not accepted(again)


def test_a_changeset_without_instructions_is_no_bytes() -> None:
    strings = b"\x3f\0\x01a"
    assert accepted(b"")
    assert accepted(strings)
    assert native.parse(strings, 0, 0, True).canonical() == b""


def test_many_objects_and_writes_are_counted_once() -> None:
    made: list[Instruction] = []
    for number in [*range(40), *range(40)]:
        made.append(CreateObject("C", (TYPE_INT, number)))
        made.append(Update("C", (TYPE_INT, number), f"f{number}", [], Payload(TYPE_INT, 1)))
    assert accepted(encode(Changeset(list(made))))
    made.append(Update("C", (TYPE_INT, 77), "f", [], Payload(TYPE_INT, 1)))
    made.append(CreateObject("C", (TYPE_INT, 77)))
    assert accepted(encode(Changeset(list(made))))
    assert native.parse(encode(Changeset(list(made))), 0, 0, True).plain() is None


def test_long_input_is_read_the_same() -> None:
    """Longer than what is read with the interpreter held."""
    made = [Update("C", (TYPE_STRING, f"key {n}"), "f", [], Payload(TYPE_STRING, "v" * 50)) for n in range(3000)]
    assert accepted(encode(Changeset(list(made))))
    assert accepted(ClientWriter(lambda: False).changeset(Changeset(list(made))))
