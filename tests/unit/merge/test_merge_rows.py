"""Rows keep incoming instructions in order, and never step over a tombstone twice."""

from merge_tools import create

from realmserver.changeset.instructions import Changeset, Instruction
from realmserver.merge.rows import GAP, Entry, Row, earlier

SIDE = Changeset()


def row_of(count: int) -> tuple[Row, list[Entry]]:
    row = Row()
    entries = [Entry(create(), SIDE, place * GAP) for place in range(1, count + 1)]
    for entry in entries:
        row.add(entry)
    return row, entries


def swept(row: Row, *, until: Instruction | None = None, **between: int) -> list[int]:
    """The places of what a sweep came across. It discards all but ``until``, where it ends."""
    met = []

    def meet(entry: Entry) -> bool:
        met.append(entry.sequence)
        if entry.instruction is until:
            return True
        entry.instruction.discarded = True
        return False

    row.sweep(meet, **between)
    return met


def test_the_first_is_the_first_that_is_not_discarded() -> None:
    row, entries = row_of(3)
    assert row.first() is entries[0]
    entries[0].instruction.discarded = entries[1].instruction.discarded = True
    assert row.first() is entries[2]
    entries[2].instruction.discarded = True
    assert row.first() is None
    assert len(row) == 0


def test_the_first_behind_a_place_is_live_too() -> None:
    row, entries = row_of(4)
    entries[2].instruction.discarded = True
    assert row.first(after=GAP) is entries[1]
    assert row.first(after=2 * GAP) is entries[3]
    assert row.first(after=4 * GAP) is None


def test_a_sweep_takes_what_it_discards_out_of_the_row() -> None:
    row, _ = row_of(5)
    assert swept(row, after=GAP, before=4 * GAP) == [2 * GAP, 3 * GAP]
    assert len(row) == 3
    assert swept(row) == [GAP, 4 * GAP, 5 * GAP]
    assert len(row) == 0


def test_what_ended_a_sweep_is_met_by_the_next_one() -> None:
    row, entries = row_of(3)
    assert swept(row, until=entries[1].instruction) == [GAP, 2 * GAP]
    assert swept(row) == [2 * GAP, 3 * GAP]


def test_a_new_instruction_comes_between_its_neighbours() -> None:
    row, entries = row_of(3)
    for number in (1, 2):
        row.add(Entry(create(), SIDE, 3 * GAP - GAP + number))
    assert row.first(after=2 * GAP) is not entries[2]
    assert swept(row) == [GAP, 2 * GAP, 2 * GAP + 1, 2 * GAP + 2, 3 * GAP]


def test_a_new_instruction_is_found_before_all_that_are_left() -> None:
    row, entries = row_of(3)
    assert swept(row, before=3 * GAP) == [GAP, 2 * GAP]
    row.add(Entry(create(), SIDE, GAP + 1))
    assert len(row) == 2
    assert swept(row) == [GAP + 1, 3 * GAP]
    assert row.first() is None
    assert entries[2].instruction.discarded


def test_earlier_is_the_one_with_the_lower_place() -> None:
    one, other = Entry(create(), SIDE, 1), Entry(create(), SIDE, 2)
    assert earlier(one, other) is earlier(other, one) is one
    assert earlier(None, other) is earlier(other, None) is other
    assert earlier(None, None) is None
