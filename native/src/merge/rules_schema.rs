//! The rules of tables, columns and whole objects.
//!
//! Their truth is `realmserver/merge/rules_schema.py`. Rule S4 is the walk's.

use super::errors::{Fault, Judged};
use super::places::{same_column, same_object, same_table};
use super::sides::Operand;
use crate::instructions::*;

/// Nested: nothing of an erased class survives.
pub fn erase_table_over(outer: &mut Operand, inner: &mut Operand) -> Judged {
    if same_table(outer, inner) {
        inner.discard();
    }
    Ok(())
}

/// Nested: no write to an erased object survives, whatever the timestamps.
pub fn erase_object_over(outer: &mut Operand, inner: &mut Operand) -> Judged {
    if inner.it.is_on_path() && same_object(outer, inner) {
        inner.discard();
    }
    Ok(())
}

/// S1: the class is there on both sides already.
pub fn add_table_add_table(left: &mut Operand, right: &mut Operand) -> Judged {
    if !same_table(left, right) {
        return Ok(());
    }
    if let Some(what) = table_difference(left, right) {
        return Err(Fault { what, first: true });
    }
    left.discard();
    right.discard();
    Ok(())
}

fn table_difference(left: &Operand, right: &Operand) -> Option<&'static str> {
    let is_embedded = left.it.kind == TABLE_EMBEDDED;
    if is_embedded != (right.it.kind == TABLE_EMBEDDED) {
        return Some("A class is embedded and top-level on the two sides");
    }
    if is_embedded {
        return None;
    }
    if left.field() != right.field() {
        return Some("The primary key has different names on the two sides");
    }
    if left.it.column_type != right.it.column_type {
        return Some("The primary key has different types on the two sides");
    }
    if left.it.flag != right.it.flag {
        return Some("The primary key is nullable and required on the two sides");
    }
    if (left.it.kind == TABLE_ASYMMETRIC) != (right.it.kind == TABLE_ASYMMETRIC) {
        return Some("A class is asymmetric and not on the two sides");
    }
    None
}

/// S2: the erasure wins.
pub fn erase_table_add_table(left: &mut Operand, right: &mut Operand) -> Judged {
    if same_table(left, right) {
        right.discard();
    }
    Ok(())
}

/// S3: gone on both sides.
pub fn erase_table_erase_table(left: &mut Operand, right: &mut Operand) -> Judged {
    if same_table(left, right) {
        left.discard();
        right.discard();
    }
    Ok(())
}

/// The class that a column links to; None if it is of another type.
pub fn linked_class(column: &Instruction) -> Option<Name> {
    (column.column_type == TYPE_LINK).then_some(column.target)
}

/// S5: the column is there on both sides already.
pub fn add_column_add_column(left: &mut Operand, right: &mut Operand) -> Judged {
    if !same_column(left, right) {
        return Ok(());
    }
    if let Some(what) = column_difference(left, right) {
        return Err(Fault { what, first: true });
    }
    left.discard();
    right.discard();
    Ok(())
}

fn column_difference(left: &Operand, right: &Operand) -> Option<&'static str> {
    // The key type of dictionaries is not compared: the clients do not either.
    if left.it.column_type != right.it.column_type {
        return Some("A property has different types on the two sides");
    }
    if left.it.flag != right.it.flag {
        return Some("A property is nullable and required on the two sides");
    }
    if left.it.kind != right.it.kind {
        return Some("A property has different collection types on the two sides");
    }
    if left.it.column_type == TYPE_LINK
        && left.common(left.it.target) != right.common(right.it.target)
    {
        return Some("A property links to different classes on the two sides");
    }
    None
}

/// S6 and S7: an Update of an erased column falls, and so does an AddColumn.
pub fn erase_column_over(left: &mut Operand, right: &mut Operand) -> Judged {
    if same_column(left, right) {
        right.discard();
    }
    Ok(())
}

/// S8: gone on both sides.
pub fn erase_column_erase_column(left: &mut Operand, right: &mut Operand) -> Judged {
    if same_column(left, right) {
        left.discard();
        right.discard();
    }
    Ok(())
}

/// O1: the erasure wins, whatever the timestamps.
pub fn erase_object_create_object(left: &mut Operand, right: &mut Operand) -> Judged {
    if same_object(left, right) {
        right.discard();
    }
    Ok(())
}

/// O2: the newer one stays. In a tie the local (left) one goes, unlike everywhere else.
pub fn erase_object_erase_object(left: &mut Operand, right: &mut Operand) -> Judged {
    if same_object(left, right) {
        if right.is_older(left) {
            right.discard();
        } else {
            left.discard();
        }
    }
    Ok(())
}
