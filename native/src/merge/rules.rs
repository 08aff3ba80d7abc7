//! All rules of the merge in two tables.
//!
//! Their truth is `realmserver/merge/rules.py`, and for [`merge_pair`] `all_pairs.py`. A rule is called with its two
//! operands and edits them in place. In `nested` the first operand is the outer one; in `regular` it is the one with
//! the higher opcode, and the local one where both are of one kind.

use super::errors::Judged;
use super::places::level;
use super::sides::Operand;
use super::{rules_lists as lists, rules_schema as schema, rules_values as values};
use crate::instructions::*;

pub type Rule = fn(&mut Operand, &mut Operand) -> Judged;

/// By the opcode of the outer instruction; the others do nothing to what is below them.
pub fn nested(op: u8) -> Option<Rule> {
    Some(match op {
        ERASE_TABLE => schema::erase_table_over,
        ERASE_OBJECT => schema::erase_object_over,
        UPDATE => values::update_over,
        ADD_INTEGER | CLEAR => values::take_away_below,
        ARRAY_INSERT => lists::insert_over,
        ARRAY_MOVE => lists::move_over,
        ARRAY_ERASE => lists::erase_over,
        _ => return None,
    })
}

/// By the opcodes of left and right, left's the higher one. Rule S4, which adds an instruction, is the walk's.
pub fn regular(left: u8, right: u8) -> Option<Rule> {
    Some(match (left, right) {
        (ADD_TABLE, ADD_TABLE) => schema::add_table_add_table, // S1
        (ERASE_TABLE, ADD_TABLE) => schema::erase_table_add_table, // S2
        (ERASE_TABLE, ERASE_TABLE) => schema::erase_table_erase_table, // S3
        (ADD_COLUMN, ADD_COLUMN) => schema::add_column_add_column, // S5
        (ERASE_COLUMN, UPDATE | ADD_COLUMN) => schema::erase_column_over, // S6, S7
        (ERASE_COLUMN, ERASE_COLUMN) => schema::erase_column_erase_column, // S8
        (ERASE_OBJECT, CREATE_OBJECT) => schema::erase_object_create_object, // O1
        (ERASE_OBJECT, ERASE_OBJECT) => schema::erase_object_erase_object, // O2
        (UPDATE, UPDATE) => values::update_update,             // U1
        (ADD_INTEGER, UPDATE) => values::add_integer_update,   // U2
        (CLEAR, UPDATE) => values::clear_update,               // U3
        (CLEAR, ADD_INTEGER) => values::clear_add_integer,     // U4
        (ARRAY_INSERT, UPDATE) => lists::insert_update,        // L1
        (ARRAY_INSERT, ARRAY_INSERT) => lists::insert_insert,  // L2
        (ARRAY_MOVE, UPDATE) => lists::move_update,            // L3
        (ARRAY_MOVE, ARRAY_INSERT) => lists::move_insert,      // L4
        (ARRAY_MOVE, ARRAY_MOVE) => lists::move_move,          // L5
        (ARRAY_ERASE, UPDATE) => lists::erase_update,          // L6
        (ARRAY_ERASE, ARRAY_INSERT) => lists::erase_insert,    // L7
        (ARRAY_ERASE, ARRAY_MOVE) => lists::erase_move,        // L8
        (ARRAY_ERASE, ARRAY_ERASE) => lists::erase_erase,      // L9
        (CLEAR, CLEAR) => values::clear_clear,                 // C1
        (SET_INSERT | SET_ERASE, CLEAR) => values::set_change_clear, // C2
        (SET_INSERT | SET_ERASE, SET_INSERT) => values::set_change_set_insert, // C3, C4
        (SET_ERASE, SET_ERASE) => values::set_erase_set_erase, // C5
        _ => return None,
    })
}

/// The rule by which a local and an incoming path instruction meet, and whether the incoming one is its first operand.
/// No pair on one object has both a nested and a regular rule.
pub fn of_paths(local: &Instruction, incoming: &Instruction) -> Option<(Rule, bool)> {
    let local_level = level(local);
    let incoming_level = level(incoming);
    if incoming_level < local_level {
        Some((nested(incoming.op)?, true))
    } else if incoming_level > local_level {
        Some((nested(local.op)?, false))
    } else if incoming.op > local.op {
        Some((regular(incoming.op, local.op)?, true))
    } else {
        Some((regular(local.op, incoming.op)?, false))
    }
}

/// One step of the merge, where one of the two is about a class, a column or a whole object: the nested rule if one
/// acts deeper than the other, then the regular one. A fault's first operand is the local one.
pub fn merge_pair(local: &mut Operand, incoming: &mut Operand) -> Judged {
    let local_level = level(local.it);
    let incoming_level = level(incoming.it);
    if incoming_level < local_level {
        if let Some(rule) = nested(incoming.it.op) {
            swapped(rule, incoming, local)?;
            if local.it.discarded {
                return Ok(());
            }
        }
    } else if incoming_level > local_level {
        if let Some(rule) = nested(local.it.op) {
            rule(local, incoming)?;
            if incoming.it.discarded {
                return Ok(());
            }
        }
    }
    if local.it.op >= incoming.it.op {
        regular(local.it.op, incoming.it.op).map_or(Ok(()), |rule| rule(local, incoming))
    } else {
        regular(incoming.it.op, local.it.op).map_or(Ok(()), |rule| swapped(rule, incoming, local))
    }
}

/// Call a rule with the incoming instruction first.
pub fn swapped(rule: Rule, incoming: &mut Operand, local: &mut Operand) -> Judged {
    rule(incoming, local).map_err(|mut fault| {
        fault.first = !fault.first;
        fault
    })
}
