"""TP1: two sides that edited one list at the same time end with the same list (``spec/merge.md`` 10).

Lists of integers have no known fault of the rules, so there is no exception here. Whole histories with all types are
checked where changesets are applied to Realms.
"""

import random
from collections.abc import Iterator

import pytest
from merge_tools import changeset, clear_list, copy_of, erase, insert, move, number, update

from realmserver.changeset.instructions import (
    ArrayErase,
    ArrayInsert,
    ArrayMove,
    Changeset,
    Clear,
    Instruction,
    Update,
)
from realmserver.merge.walk import merge


def every_edit(size: int, value: int) -> Iterator[Instruction]:
    """Every single edit of a list of ``size`` elements."""
    yield clear_list()
    for index in range(size + 1):
        yield insert(index, size=size, value=value)
    for index in range(size):
        yield erase(index, size=size)
        yield update(number(value), index, size=size)
        for destination in range(size):
            if destination != index:
                yield move(index, to=destination, size=size)


def applied(state: list[object], *sides: Changeset) -> list[object]:
    """The list after all instructions, each of which must be valid on it."""
    state = list(state)
    for side in sides:
        for edit in side.instructions:
            if not edit.discarded:
                _apply(state, edit)
    return state


def _apply(state: list[object], edit: Instruction) -> None:
    if isinstance(edit, Clear):
        state.clear()
        return
    assert isinstance(edit, ArrayInsert | ArrayErase | ArrayMove | Update)
    assert edit.prior_size == len(state)
    index = edit.path[-1]
    assert isinstance(index, int)
    if isinstance(edit, ArrayInsert):
        assert index <= len(state)
        state.insert(index, edit.payload.value)
    elif isinstance(edit, ArrayErase):
        del state[index]
    elif isinstance(edit, ArrayMove):
        assert index != edit.destination < len(state)
        state.insert(edit.destination, state.pop(index))
    else:
        state[index] = edit.payload.value


def check(base: list[object], ours: Changeset, theirs: Changeset) -> None:
    our_list = applied(base, ours)
    their_list = applied(base, theirs)
    merge([theirs], [ours])
    assert applied(our_list, theirs) == applied(their_list, ours)


@pytest.mark.parametrize("times", [(1, 2), (2, 1)])
@pytest.mark.parametrize("size", [0, 1, 4])
def test_every_two_single_edits_converge(size: int, times: tuple[int, int]) -> None:
    base: list[object] = list(range(size))
    for ours in every_edit(size, 100):
        for theirs in every_edit(size, 200):
            one = changeset(ours, timestamp=times[0], origin=2)
            other = changeset(theirs, timestamp=times[1], origin=3)
            check(base, copy_of(one), copy_of(other))


@pytest.mark.parametrize("seed", range(20))
def test_random_runs_of_edits_converge(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(50):
        base: list[object] = list(range(chance.randrange(7)))
        ours = _random_run(chance, base, 100, origin=2)
        theirs = _random_run(chance, base, 200, origin=3)
        check(base, ours, theirs)


def _random_run(chance: random.Random, base: list[object], value: int, origin: int) -> Changeset:
    state = list(base)
    run = []
    for step in range(chance.randrange(1, 6)):
        edits = list(every_edit(len(state), value + step))
        edit = chance.choice(edits if chance.random() < 0.1 else edits[1:] or edits)
        _apply(state, edit)
        run.append(edit)
    return changeset(*run, timestamp=chance.randrange(5), origin=origin)
