//! Where an instruction acts, and how two places lie to each other.
//!
//! Their truth is `realmserver/merge/places.py`. The functions on two paths are for instructions on one property of one
//! object: whoever brings them together has looked at that.

use super::errors::Fault;
use super::sides::Operand;
use crate::instructions::*;

/// How deep an instruction acts: 1 tables, 2 columns and objects, from 3 on properties and what lies below them.
pub fn level(instruction: &Instruction) -> u16 {
    if instruction.is_on_path() {
        return 3 + instruction.path_length;
    }
    match instruction.op {
        ADD_TABLE | ERASE_TABLE => 1,
        _ => 2,
    }
}

pub fn same_table(left: &Operand, right: &Operand) -> bool {
    left.table() == right.table()
}

pub fn same_column(left: &Operand, right: &Operand) -> bool {
    left.field() == right.field() && same_table(left, right)
}

pub fn same_object(left: &Operand, right: &Operand) -> bool {
    left.key() == right.key() && same_table(left, right)
}

pub fn same_path(left: &Operand, right: &Operand) -> bool {
    left.path.len() == right.path.len() && begins_alike(left, right, left.path.len())
}

/// Whether two paths of equal length differ at most in their last element.
pub fn same_container(left: &Operand, right: &Operand) -> bool {
    let length = left.path.len();
    length == right.path.len() && begins_alike(left, right, length.saturating_sub(1))
}

/// Whether `inner` lies below `outer`.
pub fn is_prefix(outer: &Operand, inner: &Operand) -> bool {
    let length = outer.path.len();
    length < inner.path.len() && begins_alike(outer, inner, length)
}

/// Whether `inner` goes through the container that `outer` is an element of, and further down.
pub fn is_container_prefix(outer: &Operand, inner: &Operand) -> bool {
    let length = outer.path.len();
    length > 0 && length < inner.path.len() && begins_alike(outer, inner, length - 1)
}

/// Whether the first `length` elements are the same.
fn begins_alike(left: &Operand, right: &Operand, length: usize) -> bool {
    let mut pairs = left.path.iter().zip(right.path.iter()).take(length);
    pairs.all(|pair| match pair {
        (Element::Index(one), Element::Index(other)) => one == other,
        (Element::Name(one), Element::Name(other)) => left.common(*one) == right.common(*other),
        _ => false,
    })
}

/// The index at `position` of a path; a fault of the rule's operand if a name stands there.
pub fn index_at(operand: &Operand, position: usize, first: bool) -> Result<i64, Fault> {
    match operand.path.get(position) {
        Some(Element::Index(index)) => Ok(*index),
        _ => Err(Fault {
            what: "A list on one side, a dictionary or object on the other",
            first,
        }),
    }
}
