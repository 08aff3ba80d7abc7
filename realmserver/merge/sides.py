"""What a rule does to the changeset that an instruction stands in: discard, change, insert; and who is older.

Every change of an instruction marks its changeset dirty, and nothing else does (``spec/merge.md`` 2).
"""

from realmserver.changeset.instructions import Changeset, Instruction


def is_older(side: Changeset, other: Changeset) -> bool:
    """Whether ``side`` was made before ``other``: the tie-break of all rules (``spec/merge.md`` 0).

    Origin timestamp first, then origin file ident. Two changesets of one file never meet, so a tie can only be made by
    hand; neither is older then.
    """
    if side.timestamp != other.timestamp:
        return side.timestamp < other.timestamp
    return side.origin < other.origin


def discard(instruction: Instruction, side: Changeset) -> None:
    """Remove an instruction. Its place stays, so that the positions of the others do not change."""
    instruction.discarded = True
    side.dirty = True


def discard_older(left: Instruction, right: Instruction, left_side: Changeset, right_side: Changeset) -> None:
    """Keep the newer of the two; the left one in a tie."""
    if is_older(left_side, right_side):
        discard(left, left_side)
    else:
        discard(right, right_side)


def insert_before(new: Instruction, present: Instruction, side: Changeset) -> None:
    """Put ``new`` directly before ``present`` (``spec/merge.md`` 2.1). Instructions are compared by identity."""
    side.instructions.insert(side.instructions.index(present), new)
    side.dirty = True
