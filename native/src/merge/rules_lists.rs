//! The rules of lists: how insertions, moves and erasures shift the indices of the other side.
//!
//! Their truth is `realmserver/merge/rules_lists.py`. Both operands of each rule are on one property of one object.

use super::errors::{Fault, Judged};
use super::places::{index_at, is_container_prefix, is_prefix, same_container};
use super::sides::Operand;
use crate::instructions::*;

pub const SIZES_DIFFER: &str = "A list has different sizes on the two sides";
const NOT_A_LIST: &str = "A list on one side, a dictionary on the other";
const OUT_OF_RANGE: &str = "An index lies beyond its list on one of the two sides";

fn fault(what: &'static str) -> Judged {
    Err(Fault { what, first: true })
}

/// The last elements of both paths.
fn indices(left: &Operand, right: &Operand) -> Result<(i64, i64), Fault> {
    match (left.index(), right.index()) {
        (Some(index), Some(other)) => Ok((index, other)),
        _ => Err(Fault {
            what: NOT_A_LIST,
            first: true,
        }),
    }
}

fn sizes_agree(left: &Operand, right: &Operand) -> Judged {
    if left.it.prior_size != right.it.prior_size {
        return fault(SIZES_DIFFER);
    }
    Ok(())
}

// Nested rules: the inner path goes through the list.

/// Nested: what lies below the erased element falls, elements behind it come one place nearer.
pub fn erase_over(outer: &mut Operand, inner: &mut Operand) -> Judged {
    if is_prefix(outer, inner) {
        inner.discard();
    } else if is_container_prefix(outer, inner) {
        let position = outer.path.len() - 1;
        let index = index_at(inner, position, false)?;
        if index_at(outer, position, true)? < index {
            inner.path[position] = Element::Index(index - 1);
            inner.changed();
        }
    }
    Ok(())
}

/// Nested: elements from the insertion on go one place further.
pub fn insert_over(outer: &mut Operand, inner: &mut Operand) -> Judged {
    if is_container_prefix(outer, inner) {
        let position = outer.path.len() - 1;
        let index = index_at(inner, position, false)?;
        if index >= index_at(outer, position, true)? {
            inner.path[position] = Element::Index(index + 1);
            inner.changed();
        }
    }
    Ok(())
}

/// Nested: the fault of all clients that this rule keeps. Where the inner path should follow the moved element, the
/// source of the move is changed instead.
pub fn move_over(outer: &mut Operand, inner: &mut Operand) -> Judged {
    if !is_container_prefix(outer, inner) {
        return Ok(());
    }
    let position = outer.path.len() - 1;
    let through = index_at(inner, position, false)?;
    let source = index_at(outer, position, true)?;
    let mut changed = source;
    if source == through {
        changed = outer.it.destination;
    } else {
        if source > through {
            changed -= 1;
        }
        if changed >= outer.it.destination {
            changed += 1;
        }
    }
    if changed != source {
        outer.set_index(changed);
    }
    Ok(())
}

// Regular rules: both act on elements of one list.

/// L1: an update behind the insertion goes one place further.
pub fn insert_update(left: &mut Operand, right: &mut Operand) -> Judged {
    if !same_container(left, right) {
        return Ok(());
    }
    let (index, other) = indices(left, right)?;
    sizes_agree(left, right)?;
    if index > left.it.prior_size || other >= right.it.prior_size {
        return fault(OUT_OF_RANGE);
    }
    right.it.prior_size += 1;
    right.changed();
    if other >= index {
        right.set_index(other + 1);
    }
    Ok(())
}

/// L2: at one index the older element comes first.
pub fn insert_insert(left: &mut Operand, right: &mut Operand) -> Judged {
    if !same_container(left, right) {
        return Ok(());
    }
    sizes_agree(left, right)?;
    let (index, other) = indices(left, right)?;
    left.it.prior_size += 1;
    right.it.prior_size += 1;
    left.changed();
    right.changed();
    if index > other || (index == other && !left.is_older(right)) {
        left.set_index(index + 1);
    } else {
        right.set_index(other + 1);
    }
    Ok(())
}

/// L3: the update follows the element. Prior sizes are neither compared nor changed.
pub fn move_update(left: &mut Operand, right: &mut Operand) -> Judged {
    if !same_container(left, right) {
        return Ok(());
    }
    let (source, index) = indices(left, right)?;
    if source >= left.it.prior_size || index >= right.it.prior_size {
        return fault(OUT_OF_RANGE);
    }
    let mut moved = index;
    if index == source {
        moved = left.it.destination;
    } else {
        if index > source {
            moved -= 1;
        }
        if moved >= left.it.destination {
            moved += 1;
        }
    }
    if moved != index {
        right.set_index(moved);
    }
    Ok(())
}

/// L4: at the move's destination the newer of the two comes first, unlike in L2 and L5.
pub fn move_insert(left: &mut Operand, right: &mut Operand) -> Judged {
    if !same_container(left, right) {
        return Ok(());
    }
    let (source, index) = indices(left, right)?;
    left.it.prior_size += 1;
    left.changed();
    let mut inserted = index;
    if inserted > source {
        inserted -= 1;
    } else {
        left.set_index(source + 1);
    }
    let destination = left.it.destination;
    if inserted < destination || (inserted == destination && left.is_older(right)) {
        left.it.destination += 1;
    } else {
        inserted += 1;
    }
    if inserted != index {
        right.set_index(inserted);
    }
    Ok(())
}

/// L5: the newer of two moves of one element wins; two elements both arrive, the older move's first at one place.
pub fn move_move(left: &mut Operand, right: &mut Operand) -> Judged {
    if !same_container(left, right) {
        return Ok(());
    }
    let (source, other) = indices(left, right)?;
    sizes_agree(left, right)?;
    let size = left.it.prior_size;
    if source >= size
        || other >= size
        || left.it.destination >= size
        || right.it.destination >= size
    {
        return fault(OUT_OF_RANGE);
    }
    if source == other {
        if left.is_older(right) {
            move_one_element(left, right);
        } else {
            move_one_element(right, left);
        }
    } else {
        move_two_elements(left, source, right, other);
    }
    Ok(())
}

/// The newer move wins; it begins where the older one has put the element.
fn move_one_element(loser: &mut Operand, winner: &mut Operand) {
    let destination = loser.it.destination;
    if winner.index() != Some(destination) {
        winner.set_index(destination);
    }
    loser.discard();
    if winner.it.destination == destination {
        winner.discard();
    }
}

/// The elements are not the same. `source` and `other_source` are where the moves begin.
fn move_two_elements(
    left: &mut Operand,
    mut source: i64,
    right: &mut Operand,
    mut other_source: i64,
) {
    let mut destination = left.it.destination;
    let mut other_destination = right.it.destination;
    // Both elements are taken out …
    if source < other_source {
        other_source -= 1;
    } else {
        source -= 1;
    }
    // … and each is put back for the other one.
    if destination > other_source {
        destination -= 1;
    } else {
        other_source += 1;
    }
    if source < other_destination {
        other_destination -= 1;
    } else {
        source += 1;
    }
    if destination < other_destination || (destination == other_destination && left.is_older(right))
    {
        other_destination += 1;
    } else {
        destination += 1;
    }
    set_move(left, source, destination);
    set_move(right, other_source, other_destination);
}

/// Give a move its new indices; one that moves nothing any more is discarded.
fn set_move(operand: &mut Operand, source: i64, destination: i64) {
    if operand.index() != Some(source) || operand.it.destination != destination {
        operand.it.destination = destination;
        operand.set_index(source);
    }
    if source == destination {
        operand.discard();
    }
}

/// L6: an update of the erased element falls, one behind it comes one place nearer.
pub fn erase_update(left: &mut Operand, right: &mut Operand) -> Judged {
    if !same_container(left, right) {
        return Ok(());
    }
    let (index, other) = indices(left, right)?;
    sizes_agree(left, right)?;
    if index >= left.it.prior_size || other >= right.it.prior_size {
        return fault(OUT_OF_RANGE);
    }
    right.it.prior_size -= 1;
    right.changed();
    if index == other {
        right.discard();
    } else if other > index {
        right.set_index(other - 1);
    }
    Ok(())
}

/// L7: an insertion at the erased element's index comes before it.
pub fn erase_insert(left: &mut Operand, right: &mut Operand) -> Judged {
    if !same_container(left, right) {
        return Ok(());
    }
    let (index, other) = indices(left, right)?;
    sizes_agree(left, right)?;
    if index >= left.it.prior_size || other > right.it.prior_size {
        return fault(OUT_OF_RANGE);
    }
    left.it.prior_size += 1;
    right.it.prior_size -= 1;
    left.changed();
    right.changed();
    if other <= index {
        left.set_index(index + 1);
    } else {
        right.set_index(other - 1);
    }
    Ok(())
}

/// L8: the erasure wins and follows the element. Its own prior size does not change.
pub fn erase_move(left: &mut Operand, right: &mut Operand) -> Judged {
    if !same_container(left, right) {
        return Ok(());
    }
    let (index, mut source) = indices(left, right)?;
    sizes_agree(left, right)?;
    if index >= left.it.prior_size || source >= right.it.prior_size {
        return fault(OUT_OF_RANGE);
    }
    right.it.prior_size -= 1;
    right.changed();
    let mut erased = index;
    if index == source {
        erased = right.it.destination;
        right.discard();
    } else {
        if erased > source {
            erased -= 1;
        } else {
            source -= 1;
            right.set_index(source);
        }
        if erased >= right.it.destination {
            erased += 1;
        } else {
            right.it.destination -= 1;
        }
        if source == right.it.destination {
            right.discard();
        }
    }
    if erased != index {
        left.set_index(erased);
    }
    Ok(())
}

/// L9: an element that both sides erase is erased once.
pub fn erase_erase(left: &mut Operand, right: &mut Operand) -> Judged {
    if !same_container(left, right) {
        return Ok(());
    }
    let (index, other) = indices(left, right)?;
    sizes_agree(left, right)?;
    if index >= left.it.prior_size || other >= right.it.prior_size {
        return fault(OUT_OF_RANGE);
    }
    left.it.prior_size -= 1;
    right.it.prior_size -= 1;
    left.changed();
    right.changed();
    if index > other {
        left.set_index(index - 1);
    } else if index < other {
        right.set_index(other - 1);
    } else {
        left.discard();
        right.discard();
    }
    Ok(())
}
