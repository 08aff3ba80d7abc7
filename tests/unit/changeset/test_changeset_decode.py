"""What ``decode`` takes, gives and refuses: ``spec/changeset.md`` 2 to 8, example by example."""

import cProfile
from typing import Any

import pytest
from built import needs_pure
from changeset_strategies import changesets, content
from client_writer import integer
from hypothesis import given
from hypothesis import strategies as st

from realmserver.changeset import decode as decode_module
from realmserver.changeset.decode import MAX_CLASS_NAME, MAX_COLUMN_NAME, decode, decode_canonical
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    COLLECTION_DICTIONARY,
    COLLECTION_LIST,
    COLLECTION_SINGLE,
    TABLE_EMBEDDED,
    TABLE_TOP_LEVEL,
    TYPE_DECIMAL,
    TYPE_ERASED,
    TYPE_FLOAT,
    TYPE_GLOBAL_KEY,
    TYPE_INT,
    TYPE_LINK,
    TYPE_NULL,
    TYPE_OBJECT_ID,
    TYPE_OBJECT_VALUE,
    TYPE_STRING,
    TYPE_TIMESTAMP,
    TYPE_UUID,
    AddColumn,
    AddInteger,
    AddTable,
    ArrayErase,
    ArrayInsert,
    ArrayMove,
    BadChangeset,
    Clear,
    CreateObject,
    EraseObject,
    Instruction,
    Payload,
    SetErase,
    SetInsert,
    Update,
)
from realmserver.changeset.reader import MAX_PATH, MAX_STRING

FOO = "3f0003466f6f"
FOO_BAR = FOO + "3f0103626172"
K = (TYPE_INT, 123)


def head(op: str, path: str = "00") -> str:
    """The strings Foo and bar, ``op`` on Foo[123].bar, and the path."""
    return FOO_BAR + op + "00" + "01fb00" + "01" + path


def update(value: str) -> str:
    """An Update of Foo[123].bar with a payload in hexadecimal."""
    return head("04") + value + "00"


def one(data: str, **options: Any) -> Instruction:
    (instruction,) = decode(bytes.fromhex(data), **options).instructions
    return instruction


def refuse(data: str | bytes, what: str, **options: Any) -> str:
    """Check that ``data`` is refused with a text that has ``what`` in it; the whole text."""
    with pytest.raises(BadChangeset) as caught:
        decode(bytes.fromhex(data) if isinstance(data, str) else data, **options)
    assert what in str(caught.value)
    return str(caught.value)


def value_of(payload: str) -> Any:
    instruction = one(update(payload))
    assert isinstance(instruction, Update)
    return instruction.payload.value


def updated(type: int, value: object) -> Update:
    return Update("Foo", K, "bar", [], Payload(type, value))


EXAMPLES: list[tuple[str, Instruction]] = [
    (FOO + "3f01035f6964000000010a00", AddTable("Foo", TABLE_TOP_LEVEL, "_id", TYPE_OBJECT_ID, False)),
    ("3f0003456d62000001", AddTable("Emb", TABLE_EMBEDDED)),
    (
        FOO + "3f0101643f02034261720600010901020203",
        AddColumn("Foo", "d", TYPE_LINK, True, COLLECTION_DICTIONARY, "Bar", TYPE_STRING),
    ),
    (FOO + "3f01016d060001000100", AddColumn("Foo", "m", TYPE_NULL, True, COLLECTION_SINGLE)),
    (FOO + "02004001c801", CreateObject("Foo", (TYPE_GLOBAL_KEY, (1, 200)))),
    (FOO + "3f01026b3103000301", EraseObject("Foo", (TYPE_STRING, "k1"))),
    (head("04") + "014001", Update("Foo", K, "bar", [], Payload(TYPE_INT, -1), True)),
    (head("04") + "0302486900", updated(TYPE_STRING, "Hi")),
    (
        FOO_BAR + "3f02016e040001fb000103c600400202070000000000000c40ac02",
        Update("Foo", K, "bar", [70, "n", 2], Payload(7, bytes.fromhex("0000000000000c40")), prior_size=300),
    ),
    (FOO_BAR + "3f02036b6579040001fb00010140024300", Update("Foo", K, "bar", ["key"], Payload(TYPE_ERASED))),
    (FOO_BAR + "3f0203426172" + "040001fb00010009" + "02010700", updated(TYPE_LINK, ("Bar", (TYPE_INT, 7)))),
    (update("0580e2cfaa06959aef3a"), updated(TYPE_TIMESTAMP, (1700000000, 123456789))),
    (update("08fd004001"), updated(TYPE_DECIMAL, (125, -1, True))),
    (update("08ffffffffbfcce3c6b7809feceab7c2f601df2f00"), updated(TYPE_DECIMAL, (10**34 - 1, 6111, False))),
    (update("0800e0c70001"), updated(TYPE_DECIMAL, (0, 9184, True))),
    (update("0800e0cb0000"), updated(TYPE_DECIMAL, (0, 9696, False))),
    (
        update("0b3b241101e2bb42558caf4136c566a962"),
        updated(TYPE_UUID, bytes.fromhex("3b241101e2bb42558caf4136c566a962")),
    ),
    (update("0a0102030405060708090a0b0c"), updated(TYPE_OBJECT_ID, bytes(range(1, 13)))),
    (update("060000c03f"), updated(TYPE_FLOAT, bytes.fromhex("0000c03f"))),
    (head("05") + "f403", AddInteger("Foo", K, "bar", [], 500)),
    (head("08", "0105") + "4105", ArrayInsert("Foo", K, "bar", [5], Payload(TYPE_OBJECT_VALUE), 5)),
    (head("09", "0101") + "0405", ArrayMove("Foo", K, "bar", [1], 4, 5)),
    (head("0a", "0101") + "05", ArrayErase("Foo", K, "bar", [1], 5)),
    (head("0b") + "00", Clear("Foo", K, "bar", [], COLLECTION_SINGLE)),
    (head("0b") + "01", Clear("Foo", K, "bar", [], COLLECTION_LIST)),
    (head("0c") + "0201", SetInsert("Foo", K, "bar", [], Payload(2, True))),
    (head("0d") + "00", SetErase("Foo", K, "bar", [], Payload(TYPE_NULL))),
]


@pytest.mark.parametrize(("data", "instruction"), EXAMPLES, ids=[type(e[1]).__name__ + e[0][-8:] for e in EXAMPLES])
def test_worked_examples(data: str, instruction: Instruction) -> None:
    assert content(one(data)) == content(instruction)
    assert encode(decode(bytes.fromhex(data))).hex() == data


def test_nothing_is_the_empty_changeset() -> None:
    changeset = decode(b"", timestamp=7, origin=3)
    assert (changeset.instructions, changeset.strings) == ([], [])
    assert (changeset.timestamp, changeset.origin) == (7, 3)


def test_strings_without_instructions_have_empty_canonical_bytes() -> None:
    changeset, canonical = decode_canonical(bytes.fromhex(FOO))
    assert changeset.strings == ["Foo"]
    assert canonical == b""


def test_canonical_bytes_of_the_specification() -> None:
    """Section 6: interleaved strings, bool 05, Clear value 7 of an old client, an over-long key type."""
    data = """3f0003466f6f 02000101 3f0103626172 04000101 0100 0102 05 3f0206756e75736564 0b0001010100 07
        0400 8100 01 01 00 03024869 00"""
    expected = """3f0003466f6f 3f0103626172 3f0206756e75736564 02000101 0400010101000102 01 0b0001010100 00
        04000101010003024869 00"""
    _, canonical = decode_canonical(bytes.fromhex(data), clear_types=False)
    assert canonical == bytes.fromhex(expected)


def test_canonical_input_is_handed_back_itself() -> None:
    data = bytes.fromhex(head("0b") + "01")
    assert decode_canonical(data)[1] is data


REFUSED = [
    ("3e", "unknown instruction type 62"),
    ("3f010146", "unexpected intern index 1"),
    ("3f0001463f010146", "unexpected intern string 1"),
    ("0105", "invalid interned string 5"),
    ("3f000346", "truncated input"),
    (FOO + "000000000000", "invalid primary key type 0"),
    (FOO + "000003", "unknown table type 3"),
    (head("08", "00") + "4105", "ArrayInsert without an index"),
    (head("09", "00") + "0405", "ArrayMove without an index"),
    (head("0a", "014000") + "05", "ArrayErase without an index"),
    (head("04") + "4000", "unsupported payload data type"),
    # Stricter than the reference (sections 4 and 8).
    ("8002", "unknown instruction type 256"),
    ("41", "unknown instruction type -2"),
    ("01" + "40", "integer -1"),
    (FOO + "0141", "integer -2"),
    (update("8302"), "unsupported data type 259"),
    (update("46"), "unsupported data type -7"),
    (update("0c"), "unsupported data type 12"),
    (head("04", "014100") + "0000", "invalid path element -2"),
    (head("04", "018080808010") + "0000", "invalid path element 4294967296"),
    (update("05" + "01" + "44"), "opposite sign"),
    (update("05" + "44" + "01"), "opposite sign"),
    (update("0500" + integer(10**9).hex()), "out of range"),
    (update("0500" + integer(-(10**9)).hex()), "out of range"),
    (update("08" + integer(10**34).hex() + "0000"), "decimal out of range"),
    (update("0801" + integer(6112).hex() + "00"), "decimal out of range"),
    (update("0801" + integer(-6177).hex() + "00"), "decimal out of range"),
    (update("0801" + integer(9184).hex() + "00"), "decimal out of range"),
    (update("0800" + integer(9952).hex() + "00"), "decimal out of range"),
    (update("08" + integer(0xAA).hex() + integer(9696).hex() + "00"), "decimal out of range"),
    (update("08" + integer(2**113).hex() + integer(9696).hex() + "00"), "decimal out of range"),
    (FOO + "020002", "unsupported object key type 2"),
    (FOO + "020041", "unsupported object key type -2"),
    (FOO_BAR + "060001410000", "not the type of a column"),
    (FOO_BAR + "060001000000", "Mixed column must be nullable"),
    (FOO_BAR + "3f020006000109010302", "without a target class"),
    (FOO_BAR + "3f02000600010901020203", "without a target class"),
    (FOO_BAR + "060001010104", "unsupported collection type 4"),
    (FOO_BAR + "06000101010240", "not the type of a dictionary's keys"),
    (head("0b") + "04", "unsupported collection type 4"),
]


@pytest.mark.parametrize(("data", "what"), REFUSED, ids=[row[0][-16:] for row in REFUSED])
def test_refused(data: str, what: str) -> None:
    refuse(data, what)


def test_the_text_of_an_error_has_place_and_number() -> None:
    assert refuse(FOO + "01000105", "").startswith("byte 10, instruction 2: ")


def test_class_and_column_names_have_the_length_that_clients_can_hold() -> None:
    def table(name: int) -> str:
        return "3f00" + integer(name).hex() + "61" * name + "000001"

    def column(name: int) -> str:
        return FOO + "3f01" + integer(name).hex() + "61" * name + "060001010000"

    def key_column(name: int) -> str:
        return FOO + "3f01" + integer(name).hex() + "61" * name + "000000010100"

    assert isinstance(one(table(MAX_CLASS_NAME)), AddTable)
    refuse(table(MAX_CLASS_NAME + 1), "class name of 58 bytes")
    assert isinstance(one(column(MAX_COLUMN_NAME)), AddColumn)
    refuse(column(MAX_COLUMN_NAME + 1), "column name of 64 bytes")
    assert isinstance(one(key_column(MAX_COLUMN_NAME)), AddTable)
    refuse(key_column(MAX_COLUMN_NAME + 1), "column name of 64 bytes")


# Integers.


@pytest.mark.parametrize("value", [0, 63, 64, 127, 300, -1, -64, -65, 2**63 - 1, -(2**63)])
def test_signed_integers(value: int) -> None:
    assert value_of("01" + integer(value).hex()) == value


@pytest.mark.parametrize(
    ("code", "value"),
    [("00", 0), ("3f", 63), ("c000", 64), ("ff00", 127), ("ac02", 300), ("40", -1), ("7f", -64), ("c040", -65)],
)
def test_integer_codes_of_the_specification(code: str, value: int) -> None:
    assert integer(value).hex() == code
    assert value_of("01" + code) == value


@pytest.mark.parametrize("code", ["80808080808080808001", "ffffffffffffffffff41", "8080808080808080808000"])
def test_signed_integers_beyond_64_bits(code: str) -> None:
    refuse(update("01" + code), "integer")


def test_unsigned_64_bits() -> None:
    key = one(FOO + "020040ffffffffffffffffff0100")
    assert isinstance(key, CreateObject)
    assert key.key == (TYPE_GLOBAL_KEY, (2**64 - 1, 0))
    refuse(FOO + "020040ffffffffffffffffff0200", "18446744073709551615 is allowed")
    refuse(FOO + "0200400040", "integer -1")


def test_unsigned_32_bits() -> None:
    erase = one(head("0a", "0100") + "808080800f")
    assert isinstance(erase, ArrayErase)
    assert erase.prior_size == 0xF0000000
    refuse(head("0a", "0100") + "8080808010", "integer")
    refuse(head("0a", "0100") + "808080808000", "more than 5 bytes")


def test_unsigned_8_bits() -> None:
    assert value_of("02ff01") is True
    refuse(update("028002"), "integer 256")
    refuse(update("0280808000"), "more than 2 bytes")


def test_signed_32_bits() -> None:
    assert value_of("080000" + integer(-(2**31)).hex()) == (0, 0, True)
    refuse(update("080000" + integer(2**31).hex()), "32 bits")


@pytest.mark.parametrize(
    ("code", "value"),
    [("40", 64), ("7f", 127), ("c000", 64), ("8040", 2**13), ("ff7f", 2**14 - 1), ("80" * 16 + "00", 0)],
)
def test_a_coefficient_has_seven_bits_in_its_last_byte(code: str, value: int) -> None:
    assert value_of("08" + code + "0000") == (value, 0, False)


def test_a_coefficient_of_eighteen_bytes_is_refused() -> None:
    refuse(update("08" + "80" * 17 + "000000"), "more than 17 bytes")


@pytest.mark.parametrize(
    ("data", "canonical"),
    [
        (FOO + "81008000", FOO + "0100"),
        (FOO + "018000", FOO + "0100"),
        ("3f80008300466f6f0100", FOO + "0100"),
        (update("01808000"), update("0100")),
        (update("01c08000"), update("01c000")),
        (update("018040"), update("0140")),
        (update("0207"), update("0201")),
        (update("028000"), update("0200")),
        (update("08400000"), update("08c0000000")),
        (update("08c080000000"), update("08c0000000")),
        (update("08010005"), update("08010001")),
        (update("08010040"), update("08010001")),
        (head("04") + "0201" + "3f", head("04") + "0201" + "01"),
        (FOO_BAR + "0600010103" + "8000", FOO_BAR + "0600010101" + "00"),
        (head("04", "01804000") + "0000", head("04", "014000") + "0000"),
        (head("04", "018500") + "0000", head("04", "0105") + "0000"),
        (head("0b") + "8100", head("0b") + "01"),
    ],
)
def test_forms_that_are_not_canonical_are_taken_and_written_anew(data: str, canonical: str) -> None:
    assert decode_canonical(bytes.fromhex(data))[1].hex() == canonical
    assert decode_canonical(bytes.fromhex(canonical))[1].hex() == canonical


# Clear.


def test_old_clients_put_anything_into_clear() -> None:
    data = bytes.fromhex(head("0b") + "ac02")
    changeset, canonical = decode_canonical(data, clear_types=False)
    assert content(changeset.instructions[0]) == content(Clear("Foo", K, "bar", [], COLLECTION_SINGLE))
    assert canonical.hex() == head("0b") + "00"
    refuse(data, "integer 300")
    refuse(head("0b") + "40", "integer -1", clear_types=False)


def test_an_old_clients_clear_with_a_known_type_is_still_single() -> None:
    instruction = one(head("0b") + "01", clear_types=False)
    assert isinstance(instruction, Clear)
    assert instruction.collection == COLLECTION_SINGLE


# Strings.


def test_any_bytes_survive_in_strings() -> None:
    data = bytes.fromhex("3f0004ff00c3a90100")
    assert decode(data).strings == ["\udcff\x00é"]
    assert encode(decode(data)) == data


def test_strings_are_compared_as_bytes() -> None:
    """A lone surrogate in its three-byte form is not the byte that stands for it in memory."""
    data = bytes.fromhex("3f0001ff3f0103edb3bf0101")
    assert len(decode(data).strings) == 2
    assert encode(decode(data)) == data


def test_a_later_definition_does_not_help() -> None:
    refuse("0100" + FOO, "invalid interned string 0, 0 are defined")


def test_offsets_count_every_string_and_binary_in_order_of_appearance() -> None:
    data = FOO + "3f0103626172" + ("040001fb0001000302486900") + "3f0202c3a9" + ("0c0001fb0001000403000102")
    data += "0c0001fb000200030148" + "0d0001fb0002000105"
    payloads = [instruction.payload for instruction in decode(bytes.fromhex(data)).instructions]  # type: ignore[attr-defined]
    assert [payload.offset for payload in payloads] == [6, 10, 13, -1]


# Hostile input.


@pytest.mark.parametrize("size", [MAX_STRING + 1, 2**32, 2**64 - 1])
def test_strings_too_long_are_refused_before_they_are_read(size: int) -> None:
    refuse("3f00" + integer(size).hex(), "string too long")
    refuse(update("03" + integer(size).hex()), "string too long")


def test_the_longest_string_is_taken() -> None:
    data = b"\x3f\x00" + integer(MAX_STRING) + b"a" * MAX_STRING + b"\x01\x00"
    assert len(decode(data).strings[0]) == MAX_STRING


@pytest.mark.parametrize("size", [1, MAX_STRING + 1, 2**62, 2**64 - 1])
def test_binaries_longer_than_the_rest_are_refused(size: int) -> None:
    text = refuse(head("04") + "04" + integer(size).hex(), "truncated input")
    assert f"{size} bytes expected, 0 left" in text


def test_a_binary_may_be_longer_than_a_string() -> None:
    size = MAX_STRING + 1
    data = bytes.fromhex(head("0c") + "04") + integer(size) + bytes(size)
    assert decode_canonical(data)[1] is data


def test_how_much_is_missing_of_a_short_string() -> None:
    refuse("3f00054142", "5 bytes expected, 2 left")


def test_paths_are_bounded() -> None:
    def deep(length: int) -> str:
        return head("05", integer(length).hex() + "00" * length) + "01"

    instruction = one(deep(MAX_PATH))
    assert isinstance(instruction, AddInteger)
    assert len(instruction.path) == MAX_PATH
    refuse(deep(MAX_PATH + 1), "a path of 257 elements")
    refuse(head("05", integer(2**32 - 1).hex()), "a path of 4294967295 elements")


@needs_pure
def test_the_number_of_instructions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "MAX_INSTRUCTIONS", 3)
    assert len(decode(bytes.fromhex(FOO + "0100" * 3)).instructions) == 3
    refuse(FOO + "0100" * 4, "more than 3 instructions")


@needs_pure
def test_the_number_of_strings_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "MAX_INTERNED_STRINGS", 2)
    assert len(decode(bytes.fromhex("3f0001613f010162")).strings) == 2
    refuse("3f0001613f0101623f020163", "more than 2 interned strings")


@needs_pure
def test_the_work_is_linear_in_the_input() -> None:
    """Eight times the input takes eight times the calls."""

    def data(size: int) -> bytes:
        strings = b"".join(b"\x3f" + integer(i) + b"\x04%04x" % i for i in range(size))
        updates = b"".join(b"\x04\x00\x03" + integer(i) + b"\x00\x00\x03\x05hello\x00" for i in range(size))
        return strings + updates + b"\x3f" + integer(size) + b"\x05tail!"

    def calls(size: int) -> int:
        encoded = data(size)
        profile = cProfile.Profile()
        profile.runcall(decode_canonical, encoded)
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(16_000) < 8.1 * calls(2_000)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_decoded_or_refused(data: bytes, clear_types: bool) -> None:
    check(data, clear_types)


@given(changesets(min_size=1), st.data())
def test_any_damage_is_decoded_or_refused(changeset: Any, draw: st.DataObject) -> None:
    data = bytearray(encode(changeset))
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, len(data) - 1))
        cut = draw.draw(st.integers(0, 2))
        data[place : place + cut] = draw.draw(st.binary(max_size=2))
        if not data:
            break
    check(bytes(data), True)


@given(changesets(min_size=1), st.data())
def test_a_prefix_is_refused_unless_it_ends_between_two_records(changeset: Any, draw: st.DataObject) -> None:
    data = encode(changeset)
    cut = data[: draw.draw(st.integers(0, len(data) - 1))]
    error = error_of(cut)
    if error:
        assert "truncated input" in error
    else:
        assert encode(decode(cut)) in (cut, b"")


def error_of(data: bytes) -> str:
    try:
        decode(data)
    except BadChangeset as bad:
        return str(bad)
    return ""


def check(data: bytes, clear_types: bool) -> None:
    try:
        changeset, canonical = decode_canonical(data, clear_types=clear_types)
    except BadChangeset:
        return
    assert canonical == encode(changeset)
    assert content(decode(canonical).instructions) == content(changeset.instructions)
