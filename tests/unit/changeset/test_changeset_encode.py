"""The canonical form: what ``encode`` writes, what ``decode`` reads again, what ``reset_offsets`` keeps true."""

from random import Random

from changeset_strategies import I64, changesets, content, instructions
from client_writer import ClientWriter, integer
from hypothesis import given
from hypothesis import strategies as st

from realmserver.changeset.decode import decode, decode_canonical
from realmserver.changeset.encode import encode, reset_offsets
from realmserver.changeset.instructions import (
    TYPE_BINARY,
    TYPE_INT,
    TYPE_LINK,
    TYPE_NULL,
    TYPE_STRING,
    AddInteger,
    Changeset,
    EraseTable,
    Instruction,
    Payload,
    SetErase,
    Update,
)

KEY = (TYPE_NULL, None)


def erase_string(text: str) -> SetErase:
    return SetErase("T", KEY, "f", [], Payload(TYPE_STRING, text))


def offsets(changeset: Changeset) -> list[int]:
    return [getattr(i, "payload", Payload(TYPE_NULL)).offset for i in changeset.instructions if not i.discarded]


def discard_some(changeset: Changeset, draw: st.DataObject) -> None:
    for instruction in changeset.instructions:
        instruction.discarded = draw.draw(st.booleans())


@given(changesets())
def test_what_is_written_reads_the_same(changeset: Changeset) -> None:
    data = encode(changeset)
    again = decode(data, timestamp=changeset.timestamp, origin=changeset.origin)
    assert content(again.instructions) == content(changeset.instructions)
    assert again.strings == (changeset.strings if data else [])
    assert (again.timestamp, again.origin) == (changeset.timestamp, changeset.origin)
    assert encode(again) == data
    assert decode_canonical(data)[1] is data or not data


@given(instructions())
def test_every_instruction_reads_the_same(instruction: Instruction) -> None:
    (again,) = decode(encode(Changeset([instruction]))).instructions
    assert content(again) == content(instruction)


@given(changesets())
def test_clients_bytes_become_the_servers(changeset: Changeset) -> None:
    """Interleaved strings are all that a client's writer does otherwise."""
    theirs = ClientWriter(lambda: False).changeset(changeset)
    ours = encode(Changeset(changeset.instructions))
    assert decode_canonical(theirs)[1] == ours
    assert sorted(theirs) == sorted(ours)


@given(changesets(), st.randoms(use_true_random=False), st.booleans())
def test_loosely_written_bytes_become_canonical(changeset: Changeset, random: Random, rare: bool) -> None:
    theirs = ClientWriter(lambda: random.random() < (0.02 if rare else 0.5)).changeset(changeset)
    decoded, canonical = decode_canonical(theirs)
    assert canonical == encode(Changeset(changeset.instructions))
    assert canonical == encode(decode(theirs))
    assert content(decoded.instructions) == content(changeset.instructions)


@given(changesets(), st.data())
def test_tombstones_leave_no_trace_but_their_strings(changeset: Changeset, draw: st.DataObject) -> None:
    encode(changeset)
    discard_some(changeset, draw)
    live = [instruction for instruction in changeset.instructions if not instruction.discarded]
    assert encode(changeset) == encode(Changeset(live, list(changeset.strings)))


def test_without_a_live_instruction_nothing_is_written() -> None:
    gone = EraseTable("T")
    gone.discarded = True
    assert encode(Changeset([gone], ["T"])) == b""
    assert encode(Changeset([], ["T"])) == b""


def test_unused_strings_stay_and_new_ones_go_to_the_end() -> None:
    changeset = Changeset([EraseTable("b"), EraseTable("a"), EraseTable("c")], ["unused", "a"])
    assert encode(changeset).hex() == "3f0006756e757365643f0101613f0201623f030163010201010103"
    assert changeset.strings == ["unused", "a", "b", "c"]


def test_strings_are_interned_in_the_order_of_the_fields() -> None:
    link = Payload(TYPE_LINK, ("target", (TYPE_STRING, "target key")))
    changeset = Changeset([Update("table", (TYPE_STRING, "key"), "field", [0, "step"], link)])
    encode(changeset)
    assert changeset.strings == ["table", "key", "field", "step", "target", "target key"]


@given(I64)
def test_integers_take_the_shortest_code(value: int) -> None:
    data = encode(Changeset([AddInteger("T", (TYPE_INT, 0), "f", [], value)]))
    assert data.endswith(b"\x00" + integer(value))


def test_large_numbers_of_strings() -> None:
    changeset = Changeset([EraseTable(f"table {number}") for number in range(300)])
    data = encode(changeset)
    assert content(decode(data).instructions) == content(changeset.instructions)
    assert data.endswith(b"\x01" + integer(299))


# Offsets (sections 3 and 6).


@given(changesets(), st.data())
def test_reset_offsets_are_those_of_a_reparse(changeset: Changeset, draw: st.DataObject) -> None:
    discard_some(changeset, draw)
    data = encode(changeset)
    reset_offsets(changeset)
    assert offsets(changeset) == offsets(decode(data))


def test_offsets_change_when_strings_move_to_the_front_and_instructions_go() -> None:
    first, second = erase_string("é"), erase_string("x")
    client = ClientWriter(lambda: False)
    data = client.changeset(Changeset([first, second, EraseTable("later")]))
    changeset = decode(data)
    assert offsets(changeset) == [2, 4, -1]
    encode(changeset)
    reset_offsets(changeset)
    assert offsets(changeset) == [7, 9, -1]
    changeset.instructions[0].discarded = True
    reset_offsets(changeset)
    assert offsets(changeset) == [7, -1]


def test_binaries_count_in_the_offsets_and_other_values_do_not() -> None:
    def erase(type: int, value: object) -> SetErase:
        return SetErase("T", KEY, "f", [], Payload(type, value))

    changeset = Changeset([erase(TYPE_BINARY, b"\x00\xff"), erase(TYPE_INT, 5), erase(TYPE_STRING, "a")])
    encode(changeset)
    reset_offsets(changeset)
    assert offsets(changeset) == [2, -1, 4]
