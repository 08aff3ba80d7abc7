"""The merge as it is specified, every instruction against every other (``spec/merge.md`` 2).

Slow and plain: the measure of :mod:`realmserver.merge.walk`, which must give the same result and takes
:func:`merge_pair` from here.
"""

from collections.abc import Sequence

from realmserver.changeset.instructions import Changeset, Instruction, ObjectInstruction, PathInstruction
from realmserver.merge.places import level
from realmserver.merge.rules import NESTED, REGULAR


def merge_all_pairs(incoming: Sequence[Changeset], local: Sequence[Changeset]) -> None:
    """As :func:`realmserver.merge.walk.merge`: same arguments, same result, same error."""
    for side in local:
        position = 0
        while position < len(side.instructions):
            if not side.instructions[position].discarded:
                position = _walk(side, position, incoming)
            position += 1


def _walk(
    local_side: Changeset, position: int, incoming: Sequence[Changeset], first_side: int = 0, first_position: int = 0
) -> int:
    """Let the local instruction at ``position`` meet the incoming ones from a place on, as they are now.

    Returns where the instruction stands afterwards: rule S4 may have put others before it. Such a new one meets at once
    the incoming instructions after the one that caused it (2.1).
    """
    instruction = local_side.instructions[position]
    for number in range(first_side, len(incoming)):
        incoming_side = incoming[number]
        others = incoming_side.instructions
        other_position = first_position if number == first_side else 0
        while other_position < len(others):
            other = others[other_position]
            other_position += 1
            if other.discarded:
                continue
            merge_pair(instruction, other, local_side, incoming_side)
            if local_side.instructions[position] is not instruction:
                position = _walk(local_side, position, incoming, number, other_position) + 1
            if instruction.discarded:
                return position
    return position


def merge_pair(local: Instruction, incoming: Instruction, local_side: Changeset, incoming_side: Changeset) -> None:
    """One step of the merge: the nested rule if one acts deeper than the other, then the regular one."""
    if isinstance(local, ObjectInstruction) and isinstance(incoming, ObjectInstruction):
        # No rule is about two objects, and none about two properties. The rules on paths rely on this.
        if local.key != incoming.key or local.table != incoming.table:
            return
        if (
            isinstance(local, PathInstruction)
            and isinstance(incoming, PathInstruction)
            and local.field != incoming.field
        ):
            return
    local_level = level(local)
    incoming_level = level(incoming)
    if incoming_level < local_level:
        nested = NESTED.get(incoming.op)
        if nested is not None:
            nested(incoming, local, incoming_side, local_side)
            if local.discarded:
                return
    elif incoming_level > local_level:
        nested = NESTED.get(local.op)
        if nested is not None:
            nested(local, incoming, local_side, incoming_side)
            if incoming.discarded:
                return
    if local.op >= incoming.op:
        regular = REGULAR.get((local.op, incoming.op))
        if regular is not None:
            regular(local, incoming, local_side, incoming_side)
    else:
        regular = REGULAR.get((incoming.op, local.op))
        if regular is not None:
            regular(incoming, local, incoming_side, local_side)
