"""Summaries leave out only what a merge cannot touch, and the index finds exactly what the summaries say."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from merge_generators import schema_sides, sides
from merge_tools import all_live, changeset, copies_of, create, update

from realmserver.changeset.instructions import (
    TABLE_EMBEDDED,
    TYPE_INT,
    AddColumn,
    AddTable,
    Changeset,
    EraseColumn,
    EraseTable,
)
from realmserver.merge import TransformError
from realmserver.merge.summaries import HistoryIndex, Reference, Summary, summarize
from realmserver.merge.walk import merge

many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

INCOMING = sides(origin=2) | schema_sides(origin=2)
LOCAL = sides(origin=3) | schema_sides(origin=3)

NOTHING = Summary(frozenset(), False)


def touching(*references: Reference, destructive: bool = False) -> Summary:
    return Summary(frozenset(references), destructive)


def test_summary_names_objects_and_what_is_added() -> None:
    summary = summarize(
        changeset(
            create((TYPE_INT, 1)),
            create((TYPE_INT, 2), "Bar"),
            update(5),
            AddTable("Baz", TABLE_EMBEDDED),
            AddColumn("Baz", "x", TYPE_INT, False, 0),
            timestamp=1,
        )
    )
    assert summary.references == {("Foo", (TYPE_INT, 1)), ("Bar", (TYPE_INT, 2)), "Baz", ("Baz", "x")}
    assert not summary.destructive
    assert not summary.is_empty()


def test_erasing_a_class_or_a_column_is_destructive() -> None:
    assert summarize(changeset(EraseTable("Foo"), timestamp=1)).destructive
    assert summarize(changeset(EraseColumn("Foo", "x"), timestamp=1)).destructive


def test_discarded_instructions_do_not_count() -> None:
    side = changeset(create(), EraseTable("Foo"), timestamp=1)
    for instruction in side.instructions:
        instruction.discarded = True
    assert summarize(side).is_empty()


@many
@given(INCOMING, LOCAL)
def test_merging_with_the_candidates_alone_gives_the_same(incoming: list[Changeset], local: list[Changeset]) -> None:
    index = HistoryIndex(10)
    for number, side in enumerate(local):
        index.add(11 + number, summarize(side))
    candidates = index.candidates([summarize(side) for side in incoming], 10)
    assert candidates is not None
    some, some_local = copies_of(incoming), copies_of(local)
    try:
        merge(incoming, local)
    except TransformError:
        with pytest.raises(TransformError):
            merge(some, [some_local[version - 11] for version in candidates])
        return
    merge(some, [some_local[version - 11] for version in candidates])
    assert all_live(some) == all_live(incoming)
    assert all_live(some_local) == all_live(local)
    assert [side.dirty for side in some + some_local] == [side.dirty for side in incoming + local]


@many
@given(INCOMING, LOCAL)
def test_a_summary_stays_valid_for_the_transformed_changeset(incoming: list[Changeset], local: list[Changeset]) -> None:
    before = [summarize(side) for side in local]
    try:
        merge(incoming, local)
    except TransformError:
        return
    for side, summary in zip(local, before, strict=True):
        after = summarize(side)
        assert after.references <= summary.references
        assert summary.destructive or not after.destructive


REFERENCES = st.sampled_from(["A", "B", ("A", "f"), ("A", (TYPE_INT, 1)), ("A", (TYPE_INT, 2)), ("B", (TYPE_INT, 1))])
SUMMARIES = st.builds(
    Summary, st.frozensets(REFERENCES, max_size=3), st.sampled_from([False, False, False, False, True])
)


@many
@given(
    st.integers(0, 5),
    st.lists(SUMMARIES, max_size=30),
    st.lists(st.tuples(st.lists(SUMMARIES, max_size=2), st.integers(0, 40)), max_size=8),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_candidates_are_what_a_scan_of_all_versions_finds(
    floor: int,
    history: list[Summary],
    questions: list[tuple[list[Summary], int]],
    max_references: int,
    max_versions: int,
) -> None:
    index = HistoryIndex(floor, max_references=max_references, max_versions=max_versions)
    known: dict[int, Summary] = {}
    for version, summary in enumerate(history, floor + 1):
        index.add(version, summary)
        known[version] = summary
        held = [known[number] for number in range(index.floor + 1, version + 1)]
        assert len(held) <= max_versions
        assert sum(len(one.references) for one in held) <= max_references
    for run, above in questions:
        found = index.candidates(run, above)
        if above < index.floor:
            assert found is None
        else:
            assert found == [
                version for version, summary in sorted(known.items()) if version > above and _can_meet(run, summary)
            ]


def _can_meet(run: list[Summary], summary: Summary) -> bool:
    if summary.is_empty() or all(one.is_empty() for one in run):
        return False
    if summary.destructive or any(one.destructive for one in run):
        return True
    return any(one.references & summary.references for one in run)


def test_versions_must_follow_each_other() -> None:
    index = HistoryIndex(3)
    index.add(4, NOTHING)
    for version in (4, 6):
        with pytest.raises(ValueError, match="does not follow 4"):
            index.add(version, NOTHING)


def test_dropping_keeps_the_newest_and_raises_the_floor() -> None:
    index = HistoryIndex(max_references=8)
    for version in range(1, 10):
        index.add(version, touching("A"))
    assert index.floor == 3
    assert index.candidates([touching("A")], 3) == [4, 5, 6, 7, 8, 9]
    assert index.candidates([touching("A")], 2) is None


def test_one_version_that_is_too_big_empties_the_index() -> None:
    index = HistoryIndex(max_references=2)
    index.add(1, touching("A"))
    index.add(2, touching("A", "B", "C"))
    assert index.floor == 2
    assert index.candidates([touching("A")], 2) == []
    index.add(3, touching("A"))
    assert index.candidates([touching("A")], 2) == [3]


def test_forgetting_begins_again() -> None:
    index = HistoryIndex()
    index.add(1, touching("A", destructive=True))
    index.add(2, touching("B"))
    index.forget()
    assert index.floor == 2
    assert index.candidates([touching("A")], 1) is None
    assert index.candidates([touching("A", destructive=True)], 2) == []
    index.forget(floor=1)
    index.add(2, touching("B"))
    assert index.candidates([touching("B")], 1) == [2]


def test_a_question_costs_what_it_finds() -> None:
    """A run about one new object in a long history looks at no version of other objects."""
    index = HistoryIndex()
    for version in range(1, 5001):
        index.add(version, touching(("A", (TYPE_INT, _Counted(version)))))
    _Counted.compared = 0
    assert index.candidates([touching(("A", (TYPE_INT, _Counted(5000)))), NOTHING], 0) == [5000]
    assert _Counted.compared < 20


class _Counted:
    """A key that counts how often it is compared."""

    compared = 0

    def __init__(self, value: int) -> None:
        self.value = value

    def __hash__(self) -> int:
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        _Counted.compared += 1
        return isinstance(other, _Counted) and self.value == other.value
