"""The rules of tables, columns and whole objects (``spec/merge.md`` 5, and the rows of 3 for them).

Each rule asks itself whether its two operands are about the same thing. Signature and operands: see
:mod:`realmserver.merge.rules`.
"""

from realmserver.changeset.instructions import (
    TABLE_ASYMMETRIC,
    TABLE_EMBEDDED,
    TYPE_LINK,
    AddColumn,
    AddTable,
    Changeset,
    CreateObject,
    EraseColumn,
    EraseObject,
    EraseTable,
    Instruction,
    PathInstruction,
    Update,
)
from realmserver.merge.errors import TransformError
from realmserver.merge.places import describe, same_object
from realmserver.merge.sides import discard, insert_before, is_older


def erase_table_over(outer: EraseTable, inner: Instruction, outer_side: Changeset, inner_side: Changeset) -> None:
    """Nested: nothing of an erased class survives."""
    if outer.table == inner.table:
        discard(inner, inner_side)


def erase_object_over(outer: EraseObject, inner: Instruction, outer_side: Changeset, inner_side: Changeset) -> None:
    """Nested: no write to an erased object survives, whatever the timestamps."""
    if isinstance(inner, PathInstruction) and same_object(outer, inner):
        discard(inner, inner_side)


def add_table_add_table(left: AddTable, right: AddTable, left_side: Changeset, right_side: Changeset) -> None:
    """S1: the class is there on both sides already, so neither needs the other's instruction. Raises TransformError if
    the two mean different classes (5.1)."""
    if left.table != right.table:
        return
    problem = _table_difference(left, right)
    if problem:
        raise TransformError(f"{problem} on the two sides: {describe(left)}")
    discard(left, left_side)
    discard(right, right_side)


def _table_difference(left: AddTable, right: AddTable) -> str:
    if (left.kind == TABLE_EMBEDDED) != (right.kind == TABLE_EMBEDDED):
        return "A class is embedded and top-level"
    if left.kind == TABLE_EMBEDDED:
        return ""
    if left.pk_field != right.pk_field:
        return "The primary key has different names"
    if left.pk_type != right.pk_type:
        return "The primary key has different types"
    if left.pk_nullable != right.pk_nullable:
        return "The primary key is nullable and required"
    if (left.kind == TABLE_ASYMMETRIC) != (right.kind == TABLE_ASYMMETRIC):
        return "A class is asymmetric and not"
    return ""


def erase_table_add_table(left: EraseTable, right: AddTable, left_side: Changeset, right_side: Changeset) -> None:
    """S2: the erasure wins."""
    if left.table == right.table:
        discard(right, right_side)


def erase_table_erase_table(left: EraseTable, right: EraseTable, left_side: Changeset, right_side: Changeset) -> None:
    """S3: gone on both sides."""
    if left.table == right.table:
        discard(left, left_side)
        discard(right, right_side)


def add_column_erase_table(left: AddColumn, right: EraseTable, left_side: Changeset, right_side: Changeset) -> None:
    """S4: a link to a class that the other side erased cannot be added; where it was added already it is erased first.

    The only rule that adds an instruction: an EraseColumn, directly before the EraseTable (2.1). What becomes of it is
    the business of who walks.
    """
    if linked_class(left) == right.table:
        insert_before(erase_linking_column(left, left_side, right_side), right, right_side)


def linked_class(column: AddColumn) -> str | None:
    """The class that a column links to; None if it is of another type."""
    return column.target if column.type == TYPE_LINK else None


def erase_linking_column(left: AddColumn, left_side: Changeset, right_side: Changeset) -> EraseColumn:
    """What S4 does, except that the EraseColumn which it returns must still be put into ``right_side``."""
    right_side.intern(left.table)
    right_side.intern(left.field)
    right_side.dirty = True
    discard(left, left_side)
    return EraseColumn(left.table, left.field)


def add_column_add_column(left: AddColumn, right: AddColumn, left_side: Changeset, right_side: Changeset) -> None:
    """S5: the column is there on both sides already. Raises TransformError if the two mean different columns (5.1)."""
    if left.field != right.field or left.table != right.table:
        return
    problem = _column_difference(left, right)
    if problem:
        raise TransformError(f"{problem} on the two sides: {describe(left)}")
    discard(left, left_side)
    discard(right, right_side)


def _column_difference(left: AddColumn, right: AddColumn) -> str:
    # The key type of dictionaries is not compared: the clients do not either.
    if left.type != right.type:
        return "A property has different types"
    if left.nullable != right.nullable:
        return "A property is nullable and required"
    if left.collection != right.collection:
        return "A property has different collection types"
    if left.type == TYPE_LINK and left.target != right.target:
        return "A property links to different classes"
    return ""


def erase_column_update(left: EraseColumn, right: Update, left_side: Changeset, right_side: Changeset) -> None:
    """S6: values of an erased column fall. List, set and integer instructions do not (a fault of all clients)."""
    if left.field == right.field and left.table == right.table:
        discard(right, right_side)


def erase_column_add_column(left: EraseColumn, right: AddColumn, left_side: Changeset, right_side: Changeset) -> None:
    """S7: the erasure wins."""
    if left.field == right.field and left.table == right.table:
        discard(right, right_side)


def erase_column_erase_column(
    left: EraseColumn, right: EraseColumn, left_side: Changeset, right_side: Changeset
) -> None:
    """S8: gone on both sides."""
    if left.field == right.field and left.table == right.table:
        discard(left, left_side)
        discard(right, right_side)


def erase_object_create_object(
    left: EraseObject, right: CreateObject, left_side: Changeset, right_side: Changeset
) -> None:
    """O1: the erasure wins, whatever the timestamps."""
    if same_object(left, right):
        discard(right, right_side)


def erase_object_erase_object(
    left: EraseObject, right: EraseObject, left_side: Changeset, right_side: Changeset
) -> None:
    """O2: the newer one stays, because it must still remove a later re-creation by the other side. In a tie the local
    (left) one goes, unlike everywhere else."""
    if same_object(left, right):
        if is_older(right_side, left_side):
            discard(right, right_side)
        else:
            discard(left, left_side)
