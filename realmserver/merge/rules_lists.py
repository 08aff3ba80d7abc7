"""The rules of lists: how insertions, moves and erasures shift the indices of the other side (``spec/merge.md`` 7, the
L rules, and the rows of 3 for them).

Both operands of each rule are on one property of one object. Signature: see :mod:`realmserver.merge.rules`. A list has
one size on both sides when two instructions on it meet, because what came before has been transformed; instructions
that say otherwise, or reach beyond the list, raise TransformError. Some rules do not look: neither do the clients.
"""

from realmserver.changeset.instructions import (
    ArrayErase,
    ArrayInsert,
    ArrayMove,
    Changeset,
    PathInstruction,
    Update,
)
from realmserver.merge.errors import TransformError
from realmserver.merge.places import describe, index_at, is_container_prefix, is_prefix, same_container
from realmserver.merge.sides import discard, is_older

# Nested rules (section 3): the inner path goes through the list.


def erase_over(outer: ArrayErase, inner: PathInstruction, outer_side: Changeset, inner_side: Changeset) -> None:
    """Nested: what lies below the erased element falls, elements behind it come one place nearer."""
    if is_prefix(outer.path, inner.path):
        discard(inner, inner_side)
    elif is_container_prefix(outer.path, inner.path):
        position = len(outer.path) - 1
        index = index_at(inner, position)
        if index_at(outer, -1) < index:
            inner.path[position] = index - 1
            inner_side.dirty = True


def insert_over(outer: ArrayInsert, inner: PathInstruction, outer_side: Changeset, inner_side: Changeset) -> None:
    """Nested: elements from the insertion on go one place further."""
    if is_container_prefix(outer.path, inner.path):
        position = len(outer.path) - 1
        index = index_at(inner, position)
        if index >= index_at(outer, -1):
            inner.path[position] = index + 1
            inner_side.dirty = True


def move_over(outer: ArrayMove, inner: PathInstruction, outer_side: Changeset, inner_side: Changeset) -> None:
    """Nested: the fault of all clients that this rule keeps (section 3). Where the inner path should follow the moved
    element, the source of the move is changed instead."""
    if not is_container_prefix(outer.path, inner.path):
        return
    through = index_at(inner, len(outer.path) - 1)
    source = index_at(outer, -1)
    changed = source
    if source == through:
        changed = outer.destination
    else:
        if source > through:
            changed -= 1
        if changed >= outer.destination:
            changed += 1
    if changed != source:
        outer.path[-1] = changed
        outer_side.dirty = True


# Regular rules (section 7): both act on elements of one list.


def insert_update(left: ArrayInsert, right: Update, left_side: Changeset, right_side: Changeset) -> None:
    """L1: an update behind the insertion goes one place further."""
    if not same_container(left.path, right.path):
        return
    index = left.path[-1]
    other = right.path[-1]
    if isinstance(index, str) or isinstance(other, str):
        raise _not_a_list(left)
    if left.prior_size != right.prior_size:
        raise _sizes_differ(left)
    if index > left.prior_size or other >= right.prior_size:
        raise _out_of_range(left)
    right.prior_size += 1
    if other >= index:
        right.path[-1] = other + 1
    right_side.dirty = True


def insert_insert(left: ArrayInsert, right: ArrayInsert, left_side: Changeset, right_side: Changeset) -> None:
    """L2: at one index the older element comes first."""
    if not same_container(left.path, right.path):
        return
    if left.prior_size != right.prior_size:
        raise _sizes_differ(left)
    index = left.path[-1]
    other = right.path[-1]
    if isinstance(index, str) or isinstance(other, str):
        raise _not_a_list(left)
    left.prior_size += 1
    right.prior_size += 1
    if index > other or (index == other and not is_older(left_side, right_side)):
        left.path[-1] = index + 1
    else:
        right.path[-1] = other + 1
    left_side.dirty = True
    right_side.dirty = True


def move_update(left: ArrayMove, right: Update, left_side: Changeset, right_side: Changeset) -> None:
    """L3: the update follows the element. Prior sizes are neither compared nor changed."""
    if not same_container(left.path, right.path):
        return
    source = left.path[-1]
    index = right.path[-1]
    if isinstance(source, str) or isinstance(index, str):
        raise _not_a_list(left)
    if source >= left.prior_size or index >= right.prior_size:
        raise _out_of_range(left)
    if index == source:
        moved = left.destination
    else:
        moved = index - 1 if index > source else index
        if moved >= left.destination:
            moved += 1
    if moved != index:
        right.path[-1] = moved
        right_side.dirty = True


def move_insert(left: ArrayMove, right: ArrayInsert, left_side: Changeset, right_side: Changeset) -> None:
    """L4: at the move's destination the newer of the two comes first, unlike in L2 and L5. The insertion's prior size
    does not change: a move leaves the size alone."""
    if not same_container(left.path, right.path):
        return
    source = left.path[-1]
    index = right.path[-1]
    if isinstance(source, str) or isinstance(index, str):
        raise _not_a_list(left)
    left.prior_size += 1
    left_side.dirty = True
    inserted = index
    if inserted > source:
        inserted -= 1
    else:
        left.path[-1] = source + 1
    if inserted < left.destination or (inserted == left.destination and is_older(left_side, right_side)):
        left.destination += 1
    else:
        inserted += 1
    if inserted != index:
        right.path[-1] = inserted
        right_side.dirty = True


def move_move(left: ArrayMove, right: ArrayMove, left_side: Changeset, right_side: Changeset) -> None:
    """L5: the newer of two moves of one element wins; two elements both arrive, the older move's first at one place."""
    if not same_container(left.path, right.path):
        return
    source = left.path[-1]
    other = right.path[-1]
    if isinstance(source, str) or isinstance(other, str):
        raise _not_a_list(left)
    if left.prior_size != right.prior_size:
        raise _sizes_differ(left)
    size = left.prior_size
    if source >= size or other >= size or left.destination >= size or right.destination >= size:
        raise _out_of_range(left)
    if source == other:
        _move_one_element(left, right, left_side, right_side)
    else:
        _move_two_elements(left, source, right, other, left_side, right_side)


def _move_one_element(left: ArrayMove, right: ArrayMove, left_side: Changeset, right_side: Changeset) -> None:
    """The newer move wins; it begins where the older one has put the element."""
    if is_older(left_side, right_side):
        loser, loser_side, winner, winner_side = left, left_side, right, right_side
    else:
        loser, loser_side, winner, winner_side = right, right_side, left, left_side
    if winner.path[-1] != loser.destination:
        winner.path[-1] = loser.destination
        winner_side.dirty = True
    discard(loser, loser_side)
    if winner.destination == loser.destination:
        discard(winner, winner_side)


def _move_two_elements(
    left: ArrayMove, source: int, right: ArrayMove, other_source: int, left_side: Changeset, right_side: Changeset
) -> None:
    """The elements are not the same. ``source`` and ``other_source`` are where the moves begin."""
    destination = left.destination
    other_destination = right.destination
    # Both elements are taken out …
    if source < other_source:
        other_source -= 1
    else:
        source -= 1
    # … and each is put back for the other one.
    if destination > other_source:
        destination -= 1
    else:
        other_source += 1
    if source < other_destination:
        other_destination -= 1
    else:
        source += 1
    if destination < other_destination or (destination == other_destination and is_older(left_side, right_side)):
        other_destination += 1
    else:
        destination += 1
    _set_move(left, source, destination, left_side)
    _set_move(right, other_source, other_destination, right_side)


def _set_move(move: ArrayMove, source: int, destination: int, side: Changeset) -> None:
    """Give a move its new indices; one that moves nothing any more is discarded."""
    if move.path[-1] != source or move.destination != destination:
        move.path[-1] = source
        move.destination = destination
        side.dirty = True
    if source == destination:
        discard(move, side)


def erase_update(left: ArrayErase, right: Update, left_side: Changeset, right_side: Changeset) -> None:
    """L6: an update of the erased element falls, one behind it comes one place nearer."""
    if not same_container(left.path, right.path):
        return
    index = left.path[-1]
    other = right.path[-1]
    if isinstance(index, str) or isinstance(other, str):
        raise _not_a_list(left)
    if left.prior_size != right.prior_size:
        raise _sizes_differ(left)
    if index >= left.prior_size or other >= right.prior_size:
        raise _out_of_range(left)
    right.prior_size -= 1
    right_side.dirty = True
    if index == other:
        right.discarded = True
    elif other > index:
        right.path[-1] = other - 1


def erase_insert(left: ArrayErase, right: ArrayInsert, left_side: Changeset, right_side: Changeset) -> None:
    """L7: an insertion at the erased element's index comes before it."""
    if not same_container(left.path, right.path):
        return
    index = left.path[-1]
    other = right.path[-1]
    if isinstance(index, str) or isinstance(other, str):
        raise _not_a_list(left)
    if left.prior_size != right.prior_size:
        raise _sizes_differ(left)
    if index >= left.prior_size or other > right.prior_size:
        raise _out_of_range(left)
    left.prior_size += 1
    right.prior_size -= 1
    if other <= index:
        left.path[-1] = index + 1
    else:
        right.path[-1] = other - 1
    left_side.dirty = True
    right_side.dirty = True


def erase_move(left: ArrayErase, right: ArrayMove, left_side: Changeset, right_side: Changeset) -> None:
    """L8: the erasure wins and follows the element. Its own prior size does not change."""
    if not same_container(left.path, right.path):
        return
    index = left.path[-1]
    source = right.path[-1]
    if isinstance(index, str) or isinstance(source, str):
        raise _not_a_list(left)
    if left.prior_size != right.prior_size:
        raise _sizes_differ(left)
    if index >= left.prior_size or source >= right.prior_size:
        raise _out_of_range(left)
    right.prior_size -= 1
    right_side.dirty = True
    erased = index
    if index == source:
        erased = right.destination
        right.discarded = True
    else:
        if erased > source:
            erased -= 1
        else:
            source -= 1
            right.path[-1] = source
        if erased >= right.destination:
            erased += 1
        else:
            right.destination -= 1
        right.discarded = source == right.destination
    if erased != index:
        left.path[-1] = erased
        left_side.dirty = True


def erase_erase(left: ArrayErase, right: ArrayErase, left_side: Changeset, right_side: Changeset) -> None:
    """L9: an element that both sides erase is erased once."""
    if not same_container(left.path, right.path):
        return
    index = left.path[-1]
    other = right.path[-1]
    if isinstance(index, str) or isinstance(other, str):
        raise _not_a_list(left)
    if left.prior_size != right.prior_size:
        raise _sizes_differ(left)
    if index >= left.prior_size or other >= right.prior_size:
        raise _out_of_range(left)
    left.prior_size -= 1
    right.prior_size -= 1
    left_side.dirty = True
    right_side.dirty = True
    if index > other:
        left.path[-1] = index - 1
    elif index < other:
        right.path[-1] = other - 1
    else:
        left.discarded = True
        right.discarded = True


def _not_a_list(instruction: PathInstruction) -> TransformError:
    return TransformError(f"A list on one side, a dictionary on the other: {describe(instruction)}")


def _sizes_differ(instruction: PathInstruction) -> TransformError:
    return TransformError(f"A list has different sizes on the two sides: {describe(instruction)}")


def _out_of_range(instruction: PathInstruction) -> TransformError:
    return TransformError(f"An index lies beyond its list on one of the two sides: {describe(instruction)}")
