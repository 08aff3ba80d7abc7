"""What must hold for every merge (``spec/merge.md`` 10)."""

import random
from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from merge_generators import schema_sides, sides
from merge_tools import all_live, copies_of, copy_of, facts

from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import AddColumn, Changeset, EraseObject, Instruction, SetErase
from realmserver.merge import TransformError
from realmserver.merge.all_pairs import merge_all_pairs
from realmserver.merge.walk import merge

Sides = list[Changeset]

many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

INCOMING = sides(origin=2)
LOCAL = sides(origin=3)


def outcome(run: Callable[[Sequence[Changeset], Sequence[Changeset]], None], incoming: Sides, local: Sides) -> object:
    """Everything observable after a merge of copies: bytes, interned strings, dirty marks, what stays in memory for a
    later merge with the same changesets; or that it failed."""
    incoming = copies_of(incoming)
    local = copies_of(local)
    try:
        run(incoming, local)
    except TransformError:
        return "transform"
    return [
        (encode(side), side.strings, side.dirty, [(facts(one), one.discarded) for one in side.instructions])
        for side in incoming + local
    ]


@many
@given(sides(origin=2, destructive=False), sides(origin=3, destructive=False))
def test_the_index_changes_nothing(incoming: Sides, local: Sides) -> None:
    assert outcome(merge, incoming, local) == outcome(merge_all_pairs, incoming, local)


@many
@given(sides(origin=2, destructive=False, fields=1), sides(origin=3, destructive=False, fields=1))
def test_the_index_changes_nothing_in_one_property(incoming: Sides, local: Sides) -> None:
    assert outcome(merge, incoming, local) == outcome(merge_all_pairs, incoming, local)


@many
@given(INCOMING, LOCAL)
def test_the_index_changes_nothing_where_classes_and_columns_are_erased(incoming: Sides, local: Sides) -> None:
    assert outcome(merge, incoming, local) == outcome(merge_all_pairs, incoming, local)


@settings(many, max_examples=500)
@given(schema_sides(origin=2), schema_sides(origin=3))
def test_the_index_changes_nothing_where_most_is_about_schema(incoming: Sides, local: Sides) -> None:
    assert outcome(merge, incoming, local) == outcome(merge_all_pairs, incoming, local)


@settings(many, max_examples=300)
@given(schema_sides(origin=2, linking=True), schema_sides(origin=3, linking=True))
def test_the_index_changes_nothing_where_rule_s4_makes_new_instructions(incoming: Sides, local: Sides) -> None:
    assert outcome(merge, incoming, local) == outcome(merge_all_pairs, incoming, local)


@many
@given(schema_sides(origin=2), schema_sides(origin=3), schema_sides(origin=2))
def test_the_index_changes_nothing_in_a_second_merge_with_what_the_first_left(
    first: Sides, local: Sides, second: Sides
) -> None:
    """Reciprocal changesets stay in memory between the runs of an upload, with tombstones and new instructions."""
    if not _fails(first, local):
        assert outcome(merge, second, local) == outcome(merge_all_pairs, second, local)


@many
@given(sides(origin=2, timestamps=(1, 3)), sides(origin=3, timestamps=(2, 4)))
def test_both_peers_compute_the_same(ours: Sides, theirs: Sides) -> None:
    """Side symmetry: the server merges A as incoming, the client merges A as local."""
    on_server = copies_of(ours), copies_of(theirs)
    on_client = copies_of(ours), copies_of(theirs)
    server_failed = _fails(on_server[0], on_server[1])
    client_failed = _fails(on_client[1], on_client[0])
    assert server_failed == client_failed
    if not server_failed:
        assert all_live(on_server[0]) == all_live(on_client[0])
        assert all_live(on_server[1]) == all_live(on_client[1])


def _fails(incoming: Sides, local: Sides) -> bool:
    try:
        merge(incoming, local)
    except TransformError:
        return True
    return False


@many
@given(INCOMING, LOCAL, st.integers(0, 12), st.integers(0, 2))
def test_a_run_may_be_merged_in_two_calls(incoming: Sides, local: Sides, cut: int, at: int) -> None:
    """Solubility: A then B against the transformed C is A and B at once, wherever the run is split."""
    at = min(at, len(incoming) - 1)
    whole = copies_of(incoming)
    whole_local = copies_of(local)
    parts = copies_of(incoming)
    parts_local = copies_of(local)
    first, second = _split(parts[at], cut)
    whole_failed = _fails(whole, whole_local)
    parts_failed = _fails([*parts[:at], first], parts_local) or _fails([second, *parts[at + 1 :]], parts_local)
    assert whole_failed == parts_failed
    if not whole_failed:
        assert all_live(whole_local) == all_live(parts_local)
        flat = [said for side in all_live(whole) for said in side]
        assert flat == [said for side in all_live([*parts[:at], first, second, *parts[at + 1 :]]) for said in side]


def _split(side: Changeset, cut: int) -> tuple[Changeset, Changeset]:
    parts = []
    for instructions in (side.instructions[:cut], side.instructions[cut:]):
        parts.append(Changeset(instructions, list(side.strings), side.timestamp, side.origin))
    return parts[0], parts[1]


@many
@given(INCOMING, LOCAL, st.integers(0, 2**32))
def test_the_numbers_of_interned_strings_mean_nothing(incoming: Sides, local: Sides, seed: int) -> None:
    """… but to rule C5, so without SetErase."""
    for side in incoming + local:
        side.instructions = [one for one in side.instructions if not isinstance(one, SetErase)]
    shuffled_incoming = [_renumbered(side, seed) for side in incoming]
    shuffled_local = [_renumbered(side, seed + 1) for side in local]
    failed = _fails(incoming, local)
    assert _fails(shuffled_incoming, shuffled_local) == failed
    if not failed:
        assert all_live(shuffled_incoming) == all_live(incoming)
        assert all_live(shuffled_local) == all_live(local)


def _renumbered(side: Changeset, seed: int) -> Changeset:
    made = copy_of(side)
    random.Random(seed).shuffle(made.strings)
    made.numbers = {text: number for number, text in enumerate(made.strings)}
    return made


@many
@given(INCOMING, LOCAL)
def test_what_is_not_dirty_has_not_changed(incoming: Sides, local: Sides) -> None:
    before = [encode(side) for side in incoming + local]
    if not _fails(incoming, local):
        for side, data in zip(incoming + local, before, strict=True):
            if not side.dirty:
                assert encode(side) == data


@many
@given(INCOMING, LOCAL)
def test_sides_about_different_classes_stay_as_they_are(incoming: Sides, local: Sides) -> None:
    _keep_class(incoming, "A")
    _keep_class(local, "B")
    before = all_live(incoming), all_live(local)
    merge(incoming, local)
    assert (all_live(incoming), all_live(local)) == before
    assert not any(side.dirty for side in incoming + local)


def _keep_class(side: Sides, table: str) -> None:
    """Only what is about ``table``; no AddColumn, which may be about a linked class, too."""
    for changeset in side:
        changeset.instructions = [
            one for one in changeset.instructions if one.table == table and not isinstance(one, AddColumn)
        ]


@many
@given(INCOMING, st.lists(st.just(0), max_size=2))
def test_an_empty_side_changes_nothing(run: Sides, empties: list[int]) -> None:
    before = all_live(run)
    empty = [Changeset(origin=3) for _ in empties]
    merge(run, empty)
    merge(empty, run)
    assert all_live(run) == before
    assert not any(side.dirty for side in run + empty)


@many
@given(INCOMING, LOCAL)
def test_nothing_survives_an_erasure_that_stays(incoming: Sides, local: Sides) -> None:
    """Erase wins: where an EraseObject of one side is left, the other side has nothing left for that object."""
    if _fails(incoming, local):
        return
    for one, other in ((incoming, local), (local, incoming)):
        erased = {(said.table, said.key) for said in _live_instructions(one) if isinstance(said, EraseObject)}
        for said in _live_instructions(other):
            place = (said.table, getattr(said, "key", None))
            assert place not in erased


def _live_instructions(side: Sides) -> list[Instruction]:
    return [one for changeset in side for one in changeset.instructions if not one.discarded]
