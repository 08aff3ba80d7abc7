"""All rules of the merge in two tables (``spec/merge.md`` 3 and 4).

A rule is called with its two operands and the changesets they stand in, and edits them in place. In NESTED the first
operand is the outer one, of strictly lower level; in REGULAR it is L, the one with the higher opcode, and the local one
where both are of one kind. The rules between two path instructions (opcodes 4, 5, 8 to 13) take for granted that both
are on one property of one object; all others look for themselves.

The codes S1, U1, L5 … are those of the specification.
"""

from collections.abc import Callable
from typing import Any, Final

from realmserver.changeset.instructions import (
    ADD_COLUMN,
    ADD_INTEGER,
    ADD_TABLE,
    ARRAY_ERASE,
    ARRAY_INSERT,
    ARRAY_MOVE,
    CLEAR,
    CREATE_OBJECT,
    ERASE_COLUMN,
    ERASE_OBJECT,
    ERASE_TABLE,
    SET_ERASE,
    SET_INSERT,
    UPDATE,
    Changeset,
)
from realmserver.merge import rules_lists as lists
from realmserver.merge import rules_schema as schema
from realmserver.merge import rules_values as values

Rule = Callable[[Any, Any, Changeset, Changeset], None]
"""(first operand, second operand, first one's changeset, second one's changeset); may raise TransformError."""

NESTED: Final[dict[int, Rule]] = {
    ERASE_TABLE: schema.erase_table_over,
    ERASE_OBJECT: schema.erase_object_over,
    UPDATE: values.update_over,
    ADD_INTEGER: values.take_away_below,
    CLEAR: values.take_away_below,
    ARRAY_INSERT: lists.insert_over,
    ARRAY_MOVE: lists.move_over,
    ARRAY_ERASE: lists.erase_over,
}
"""By the opcode of the outer instruction; the others do nothing to what is below them."""

REGULAR: Final[dict[tuple[int, int], Rule]] = {
    (ADD_TABLE, ADD_TABLE): schema.add_table_add_table,  # S1
    (ERASE_TABLE, ADD_TABLE): schema.erase_table_add_table,  # S2
    (ERASE_TABLE, ERASE_TABLE): schema.erase_table_erase_table,  # S3
    (ADD_COLUMN, ERASE_TABLE): schema.add_column_erase_table,  # S4
    (ADD_COLUMN, ADD_COLUMN): schema.add_column_add_column,  # S5
    (ERASE_COLUMN, UPDATE): schema.erase_column_update,  # S6
    (ERASE_COLUMN, ADD_COLUMN): schema.erase_column_add_column,  # S7
    (ERASE_COLUMN, ERASE_COLUMN): schema.erase_column_erase_column,  # S8
    (ERASE_OBJECT, CREATE_OBJECT): schema.erase_object_create_object,  # O1
    (ERASE_OBJECT, ERASE_OBJECT): schema.erase_object_erase_object,  # O2
    (UPDATE, UPDATE): values.update_update,  # U1
    (ADD_INTEGER, UPDATE): values.add_integer_update,  # U2
    (CLEAR, UPDATE): values.clear_update,  # U3
    (CLEAR, ADD_INTEGER): values.clear_add_integer,  # U4
    (ARRAY_INSERT, UPDATE): lists.insert_update,  # L1
    (ARRAY_INSERT, ARRAY_INSERT): lists.insert_insert,  # L2
    (ARRAY_MOVE, UPDATE): lists.move_update,  # L3
    (ARRAY_MOVE, ARRAY_INSERT): lists.move_insert,  # L4
    (ARRAY_MOVE, ARRAY_MOVE): lists.move_move,  # L5
    (ARRAY_ERASE, UPDATE): lists.erase_update,  # L6
    (ARRAY_ERASE, ARRAY_INSERT): lists.erase_insert,  # L7
    (ARRAY_ERASE, ARRAY_MOVE): lists.erase_move,  # L8
    (ARRAY_ERASE, ARRAY_ERASE): lists.erase_erase,  # L9
    (CLEAR, CLEAR): values.clear_clear,  # C1
    (SET_INSERT, CLEAR): values.set_change_clear,  # C2
    (SET_ERASE, CLEAR): values.set_change_clear,  # C2
    (SET_INSERT, SET_INSERT): values.set_insert_set_insert,  # C3
    (SET_ERASE, SET_INSERT): values.set_erase_set_insert,  # C4
    (SET_ERASE, SET_ERASE): values.set_erase_set_erase,  # C5
}
"""By the opcodes of L and R, L's the higher one; a pair that is missing never does anything to each other."""
