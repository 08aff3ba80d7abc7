"""The rules of values: properties, dictionary keys, integers, Clear and sets (``spec/merge.md`` 6, the C rules of 7,
and the rows of 3 for Update, AddInteger and Clear).

Both operands of each rule are on one property of one object. Signature: see :mod:`realmserver.merge.rules`.
"""

import struct
from typing import Final

from realmserver.changeset.instructions import (
    COLLECTION_DICTIONARY,
    COLLECTION_LIST,
    TYPE_BINARY,
    TYPE_DECIMAL,
    TYPE_DICTIONARY,
    TYPE_DOUBLE,
    TYPE_FLOAT,
    TYPE_INT,
    TYPE_LINK,
    TYPE_LIST,
    TYPE_NULL,
    TYPE_OBJECT_VALUE,
    TYPE_STRING,
    AddInteger,
    Changeset,
    Clear,
    PathInstruction,
    Payload,
    SetErase,
    SetInsert,
    Update,
)
from realmserver.merge.errors import TransformError
from realmserver.merge.places import describe, is_prefix
from realmserver.merge.sides import discard, discard_older, is_older

_MAX_FINITE_EXPONENT: Final = 6111
"""Above it a Decimal is an infinity or not a number (``spec/changeset.md`` 4.2)."""

_DECIMAL_DIGITS: Final = 34
"""Digits of a Decimal's coefficient: exponents further apart than this cannot belong to equal numbers."""


def wrap_integer(value: int) -> int:
    """``value`` in 64-bit two's complement, as the clients' integers wrap."""
    return ((value + (1 << 63)) & ((1 << 64) - 1)) - (1 << 63)


# Nested rules (section 3).


def update_over(outer: Update, inner: PathInstruction, outer_side: Changeset, inner_side: Changeset) -> None:
    """Nested: a new value takes what lies below it away. Not so where it makes the object, list or dictionary that the
    inner path goes through: if both sides make it, both keep what they put in."""
    if not is_prefix(outer.path, inner.path):
        return
    kind = outer.payload.type
    if kind == TYPE_OBJECT_VALUE:
        return
    if kind in (TYPE_LIST, TYPE_DICTIONARY):
        below_is_name = isinstance(inner.path[len(outer.path)], str)
        if below_is_name == (kind == TYPE_DICTIONARY):
            return
    discard(inner, inner_side)


def take_away_below(
    outer: PathInstruction, inner: PathInstruction, outer_side: Changeset, inner_side: Changeset
) -> None:
    """Nested, for AddInteger and Clear: nothing below the place survives, whatever the timestamps."""
    if is_prefix(outer.path, inner.path):
        discard(inner, inner_side)


# Regular rules (section 6).


def update_update(left: Update, right: Update, left_side: Changeset, right_side: Changeset) -> None:
    """U1: the newer value stays, but a value that a user set beats a default, anything beats a new embedded object, and
    two new collections of one kind both stay. Raises TransformError if the sizes of a list differ."""
    if left.path != right.path:
        return
    in_list = _ends_with_index(left)
    if in_list and left.prior_size != right.prior_size:
        raise TransformError(f"A list has different sizes on the two sides: {describe(left)}")
    left_type = left.payload.type
    right_type = right.payload.type
    if left_type != right_type:
        if left_type == TYPE_OBJECT_VALUE:
            discard(left, left_side)
            return
        if right_type == TYPE_OBJECT_VALUE:
            discard(right, right_side)
            return
    elif left_type in (TYPE_LIST, TYPE_DICTIONARY):
        return
    if in_list or left.is_default == right.is_default:
        discard_older(left, right, left_side, right_side)
    elif left.is_default:
        discard(left, left_side)
    else:
        discard(right, right_side)


def _ends_with_index(instruction: Update) -> bool:
    return bool(instruction.path) and isinstance(instruction.path[-1], int)


def add_integer_update(left: AddInteger, right: Update, left_side: Changeset, right_side: Changeset) -> None:
    """U2: an increment made after the write is added to it, and so is one that met only a default; an earlier one is
    lost. An increment of null stays, it does nothing there."""
    if left.path != right.path:
        return
    is_default = right.is_default and not _ends_with_index(right)
    if not is_default and not is_older(right_side, left_side):
        discard(left, left_side)
        return
    value = right.payload.value
    if right.payload.type == TYPE_INT and isinstance(value, int):
        if left.value != 0:
            right.payload = Payload(TYPE_INT, wrap_integer(value + left.value))
            right_side.dirty = True
    elif right.payload.type != TYPE_NULL:
        discard(left, left_side)


def clear_update(left: Clear, right: Update, left_side: Changeset, right_side: Changeset) -> None:
    """U3: a Clear that makes a collection of the Update's kind agrees with it; otherwise the newer one stays."""
    if left.path != right.path:
        return
    kind = right.payload.type
    if left.collection == COLLECTION_LIST and kind == TYPE_LIST:
        return
    if left.collection == COLLECTION_DICTIONARY and kind == TYPE_DICTIONARY:
        return
    discard_older(left, right, left_side, right_side)


def clear_add_integer(left: Clear, right: AddInteger, left_side: Changeset, right_side: Changeset) -> None:
    """U4: no integer is left to add to."""
    if left.path == right.path:
        discard(right, right_side)


# Clear and sets (section 7).


def clear_clear(left: Clear, right: Clear, left_side: Changeset, right_side: Changeset) -> None:
    """C1: the newer one stays, so that it removes what the other side inserted after its own."""
    if left.path == right.path:
        discard_older(left, right, left_side, right_side)


def set_change_clear(left: PathInstruction, right: Clear, left_side: Changeset, right_side: Changeset) -> None:
    """C2, for SetInsert and SetErase: a Clear wins, whatever the timestamps."""
    if left.path == right.path:
        discard(left, left_side)


def set_insert_set_insert(left: SetInsert, right: SetInsert, left_side: Changeset, right_side: Changeset) -> None:
    """C3: one of two equal insertions is enough."""
    if left.path == right.path and same_payload(left.payload, right.payload):
        discard_older(left, right, left_side, right_side)


def set_erase_set_insert(left: SetErase, right: SetInsert, left_side: Changeset, right_side: Changeset) -> None:
    """C4: the newer one decides whether the element is there."""
    if left.path == right.path and same_payload(left.payload, right.payload):
        discard_older(left, right, left_side, right_side)


def set_erase_set_erase(left: SetErase, right: SetErase, left_side: Changeset, right_side: Changeset) -> None:
    """C5: one of two equal erasures is enough; but equal is what the clients take for it (:func:`raw_equal`)."""
    if left.path == right.path and raw_equal(left.payload, right.payload, left_side, right_side):
        discard_older(left, right, left_side, right_side)


# Equal payloads (section 7).


def same_payload(left: Payload, right: Payload) -> bool:
    """Whether two payloads are the same value of the same type; numbers are compared as numbers, so a NaN equals
    nothing, and 0 equals −0."""
    if left.type != right.type:
        return False
    if left.type == TYPE_FLOAT or left.type == TYPE_DOUBLE:
        return _same_float(left, right)
    if left.type == TYPE_DECIMAL:
        return _same_decimal(left.value, right.value)
    return left.value == right.value


def raw_equal(left: Payload, right: Payload, left_side: Changeset, right_side: Changeset) -> bool:
    """Whether the clients' own comparison of two payloads, which has a fault, finds them equal.

    It compares where two strings stand and how long they are, not what they say, and for links the numbers of the
    interned strings. All versions of all clients do so, so the server must too.
    """
    if left.type != right.type:
        return False
    if left.type == TYPE_STRING or left.type == TYPE_BINARY:
        # An offset of -1 belongs to no buffer, so it is the same place as no other.
        return left.offset == right.offset and left.offset >= 0 and _size(left.value) == _size(right.value)
    if left.type == TYPE_LINK:
        return _same_link_numbers(left.value, right.value, left_side, right_side)
    return same_payload(left, right)


def _same_float(left: Payload, right: Payload) -> bool:
    assert isinstance(left.value, bytes)
    assert isinstance(right.value, bytes)
    form = "<f" if left.type == TYPE_FLOAT else "<d"
    numbers = struct.unpack(form, left.value) + struct.unpack(form, right.value)
    return bool(numbers[0] == numbers[1])


def _same_decimal(left: object, right: object) -> bool:
    if left == right:
        return True
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    left_coefficient, left_exponent, left_negative = left
    right_coefficient, right_exponent, right_negative = right
    if left_exponent > _MAX_FINITE_EXPONENT or right_exponent > _MAX_FINITE_EXPONENT:
        return False
    if left_coefficient == 0 or right_coefficient == 0:
        return bool(left_coefficient == right_coefficient)
    shift = left_exponent - right_exponent
    if left_negative != right_negative or abs(shift) > _DECIMAL_DIGITS:
        return False
    if shift >= 0:
        return bool(left_coefficient * 10**shift == right_coefficient)
    return bool(left_coefficient == right_coefficient * 10**-shift)


def _size(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    assert isinstance(value, bytes)
    return len(value)


def _same_link_numbers(left: object, right: object, left_side: Changeset, right_side: Changeset) -> bool:
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    left_class, left_key = left
    right_class, right_key = right
    if left_key[0] != right_key[0] or not _same_number(left_class, right_class, left_side, right_side):
        return False
    if left_key[0] == TYPE_STRING:
        return _same_number(left_key[1], right_key[1], left_side, right_side)
    return bool(left_key == right_key)


def _same_number(left: str, right: str, left_side: Changeset, right_side: Changeset) -> bool:
    number = left_side.numbers.get(left)
    return number is not None and number == right_side.numbers.get(right)
