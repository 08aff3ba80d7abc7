//! The rules of values: properties, dictionary keys, integers, Clear and sets.
//!
//! Their truth is `realmserver/merge/rules_values.py`. Both operands of each rule are on one property of one object.

use super::errors::{Fault, Judged};
use super::places::{is_prefix, same_path};
use super::rules_lists::SIZES_DIFFER;
use super::sides::{discard_older, Operand};
use crate::instructions::*;
use crate::reader::EXPONENT_MAX;

/// Exponents further apart than a coefficient has digits cannot belong to equal numbers.
const DECIMAL_DIGITS: u32 = 34;

// Nested rules.

/// Nested: a new value takes what lies below it away, but not where it makes what the inner path goes through.
pub fn update_over(outer: &mut Operand, inner: &mut Operand) -> Judged {
    if !is_prefix(outer, inner) {
        return Ok(());
    }
    let below_is_name = matches!(inner.path.get(outer.path.len()), Some(Element::Name(_)));
    match outer.it.payload {
        Payload::Bare(TYPE_OBJECT_VALUE) => {}
        Payload::Bare(TYPE_LIST) if !below_is_name => {}
        Payload::Bare(TYPE_DICTIONARY) if below_is_name => {}
        _ => inner.discard(),
    }
    Ok(())
}

/// Nested, for AddInteger and Clear: nothing below the place survives, whatever the timestamps.
pub fn take_away_below(outer: &mut Operand, inner: &mut Operand) -> Judged {
    if is_prefix(outer, inner) {
        inner.discard();
    }
    Ok(())
}

// Regular rules.

/// U1: the newer value stays, but a value that a user set beats a default, anything beats a new embedded object, and
/// two new collections of one kind both stay.
pub fn update_update(left: &mut Operand, right: &mut Operand) -> Judged {
    if !same_path(left, right) {
        return Ok(());
    }
    let in_list = left.index().is_some();
    if in_list && left.it.prior_size != right.it.prior_size {
        return Err(Fault {
            what: SIZES_DIFFER,
            first: true,
        });
    }
    let left_type = left.it.payload.type_number();
    let right_type = right.it.payload.type_number();
    if left_type != right_type {
        if left_type == TYPE_OBJECT_VALUE {
            left.discard();
            return Ok(());
        }
        if right_type == TYPE_OBJECT_VALUE {
            right.discard();
            return Ok(());
        }
    } else if matches!(left_type, TYPE_LIST | TYPE_DICTIONARY) {
        return Ok(());
    }
    if in_list || left.it.flag == right.it.flag {
        discard_older(left, right);
    } else if left.it.flag {
        left.discard();
    } else {
        right.discard();
    }
    Ok(())
}

/// U2: an increment made after the write is added to it, and so is one that met only a default; an earlier one is
/// lost. An increment of null stays.
pub fn add_integer_update(left: &mut Operand, right: &mut Operand) -> Judged {
    if !same_path(left, right) {
        return Ok(());
    }
    let is_default = right.it.flag && right.index().is_none();
    if !is_default && !right.is_older(left) {
        left.discard();
        return Ok(());
    }
    match (right.it.payload, left.it.payload) {
        (Payload::Int(value), Payload::Int(increment)) => {
            if increment != 0 {
                right.it.payload = Payload::Int(value.wrapping_add(increment));
                right.changed();
            }
        }
        (Payload::Bare(TYPE_NULL), _) => {}
        _ => left.discard(),
    }
    Ok(())
}

/// U3: a Clear that makes a collection of the Update's kind agrees with it; otherwise the newer one stays.
pub fn clear_update(left: &mut Operand, right: &mut Operand) -> Judged {
    if !same_path(left, right) {
        return Ok(());
    }
    match (left.it.kind, right.it.payload) {
        (COLLECTION_LIST, Payload::Bare(TYPE_LIST)) => {}
        (COLLECTION_DICTIONARY, Payload::Bare(TYPE_DICTIONARY)) => {}
        _ => discard_older(left, right),
    }
    Ok(())
}

/// U4: no integer is left to add to.
pub fn clear_add_integer(left: &mut Operand, right: &mut Operand) -> Judged {
    if same_path(left, right) {
        right.discard();
    }
    Ok(())
}

// Clear and sets.

/// C1: the newer one stays.
pub fn clear_clear(left: &mut Operand, right: &mut Operand) -> Judged {
    if same_path(left, right) {
        discard_older(left, right);
    }
    Ok(())
}

/// C2, for SetInsert and SetErase: a Clear wins, whatever the timestamps.
pub fn set_change_clear(left: &mut Operand, right: &mut Operand) -> Judged {
    if same_path(left, right) {
        left.discard();
    }
    Ok(())
}

/// C3 and C4: of two equal insertions one is enough, and of an insertion and an erasure the newer one decides.
pub fn set_change_set_insert(left: &mut Operand, right: &mut Operand) -> Judged {
    if same_path(left, right) && same_payload(left, right) {
        discard_older(left, right);
    }
    Ok(())
}

/// C5: one of two equal erasures is enough; but equal is what the clients take for it.
pub fn set_erase_set_erase(left: &mut Operand, right: &mut Operand) -> Judged {
    if same_path(left, right) && raw_equal(left, right) {
        discard_older(left, right);
    }
    Ok(())
}

// Equal payloads.

/// Whether two payloads are the same value of the same type; numbers are compared as numbers.
fn same_payload(left: &Operand, right: &Operand) -> bool {
    match (left.it.payload, right.it.payload) {
        (Payload::Bare(one), Payload::Bare(other)) => one == other,
        (Payload::Int(one), Payload::Int(other)) => one == other,
        (Payload::Bool(one), Payload::Bool(other)) => one == other,
        (Payload::String(one), Payload::String(other))
        | (Payload::Binary(one), Payload::Binary(other)) => bytes(left, one) == bytes(right, other),
        (Payload::Timestamp(a, b), Payload::Timestamp(c, d)) => (a, b) == (c, d),
        (Payload::Float(one), Payload::Float(other)) => {
            f32::from_le_bytes(one) == f32::from_le_bytes(other)
        }
        (Payload::Double(one), Payload::Double(other)) => {
            f64::from_le_bytes(one) == f64::from_le_bytes(other)
        }
        (one @ Payload::Decimal { .. }, other @ Payload::Decimal { .. }) => {
            same_decimal(one, other)
        }
        (Payload::Link { class, key }, Payload::Link { class: c, key: k }) => {
            left.common(class) == right.common(c) && key.map(left.numbers) == k.map(right.numbers)
        }
        (Payload::ObjectId(one), Payload::ObjectId(other)) => one == other,
        (Payload::Uuid(one), Payload::Uuid(other)) => one == other,
        _ => false,
    }
}

/// Whether the clients' own comparison, which has a fault, finds them equal: by where two strings stand and how long
/// they are, and for links by the numbers of the interned strings.
fn raw_equal(left: &Operand, right: &Operand) -> bool {
    match (left.it.payload, right.it.payload) {
        (Payload::String(one), Payload::String(other))
        | (Payload::Binary(one), Payload::Binary(other)) => {
            one.offset == other.offset && one.size == other.size
        }
        (Payload::Link { class, key }, Payload::Link { class: c, key: k }) => {
            class == c && key == k
        }
        _ => same_payload(left, right),
    }
}

fn bytes<'a>(operand: &'a Operand, span: Span) -> &'a [u8] {
    let start = span.start as usize;
    &operand.input[start..start + span.size as usize]
}

fn same_decimal(left: Payload, right: Payload) -> bool {
    let (
        Payload::Decimal {
            coefficient: left_bytes,
            exponent: left_exponent,
            negative: left_negative,
        },
        Payload::Decimal {
            coefficient: right_bytes,
            exponent: right_exponent,
            negative: right_negative,
        },
    ) = (left, right)
    else {
        return false;
    };
    if (left_bytes, left_exponent, left_negative) == (right_bytes, right_exponent, right_negative) {
        return true;
    }
    if left_exponent > EXPONENT_MAX || right_exponent > EXPONENT_MAX {
        return false;
    }
    let left_coefficient = u128::from_le_bytes(left_bytes);
    let right_coefficient = u128::from_le_bytes(right_bytes);
    if left_coefficient == 0 || right_coefficient == 0 {
        return left_coefficient == right_coefficient;
    }
    let shift = left_exponent.abs_diff(right_exponent);
    if left_negative != right_negative || shift > DECIMAL_DIGITS {
        return false;
    }
    let (larger, smaller) = if left_exponent >= right_exponent {
        (left_coefficient, right_coefficient)
    } else {
        (right_coefficient, left_coefficient)
    };
    // A product that does not fit has more digits than a coefficient.
    larger.checked_mul(10u128.pow(shift)) == Some(smaller)
}
