"""The containers in which ``values`` keeps a Realm's content: plain dictionaries and lists behind the protocols of
:mod:`~realmserver.realms.places`.

They do as they are told and check nothing. A simple value is kept as a tuple (type, value) in the form of
:class:`~realmserver.changeset.instructions.Payload`, null as None, a link as (TYPE_LINK, (class, key)) whether its
target exists or not.
"""

import struct
from decimal import Decimal
from fractions import Fraction
from typing import Final

from realmserver.changeset.instructions import (
    TYPE_BINARY,
    TYPE_BOOL,
    TYPE_DECIMAL,
    TYPE_DOUBLE,
    TYPE_FLOAT,
    TYPE_INT,
    TYPE_NULL,
    TYPE_OBJECT_ID,
    TYPE_STRING,
    TYPE_TIMESTAMP,
    TYPE_UUID,
    Payload,
)
from realmserver.realms.places import ABSENT, DICTIONARY, INT, LIST, NULL, OBJECT, PLAIN
from realmserver.realms.schema import Column

Simple = tuple[int, object]

_DEFAULTS: Final[dict[int, Simple]] = {
    TYPE_INT: (TYPE_INT, 0),
    TYPE_BOOL: (TYPE_BOOL, False),
    TYPE_STRING: (TYPE_STRING, ""),
    TYPE_BINARY: (TYPE_BINARY, b""),
    TYPE_TIMESTAMP: (TYPE_TIMESTAMP, (0, 0)),
    TYPE_FLOAT: (TYPE_FLOAT, bytes(4)),
    TYPE_DOUBLE: (TYPE_DOUBLE, bytes(8)),
    TYPE_DECIMAL: (TYPE_DECIMAL, (0, 0, False)),
    TYPE_OBJECT_ID: (TYPE_OBJECT_ID, bytes(12)),
    TYPE_UUID: (TYPE_UUID, bytes(16)),
}
_WORD: Final = 1 << 64
_SIGN: Final = 1 << 63
_INFINITE_EXPONENT: Final = 9184  # spec/changeset.md 4.2
_EXACT_DIGITS: Final = ".15g"  # what a client keeps of a double when it compares it with a decimal


def default_of(column: Column) -> Simple | None:
    """What a single place of ``column`` holds in a new object (``spec/merge.md`` 8.5, CreateObject)."""
    return None if column.takes_null else _DEFAULTS[column.type]


def simple(payload: Payload) -> Simple | None:
    """A payload that is a simple value, link or null, in the form in which it is kept."""
    return None if payload.type == TYPE_NULL else (payload.type, payload.value)


def float_of(data: bytes) -> float:
    """The number in the 4 or 8 bytes of a Float or Double."""
    number: float = struct.unpack("<f" if len(data) == 4 else "<d", data)[0]
    return number


def decimal_of(value: tuple[int, int, bool]) -> Decimal:
    """The number in the (coefficient, exponent, negative) of a Decimal, infinities and NaN included."""
    coefficient, exponent, negative = value
    if exponent == _INFINITE_EXPONENT:
        return Decimal("-Infinity" if negative else "Infinity")
    if exponent > _INFINITE_EXPONENT:
        return Decimal("NaN")
    return Decimal((int(negative), tuple(int(digit) for digit in str(coefficient)), exponent))


def sameness(value: Simple | None) -> object:
    """A hashable that is equal for two elements exactly where a Mixed set takes them for the same element: numbers of
    all types by value, everything else by type and content (``spec/merge.md`` 8.5, SetInsert)."""
    if value is None:
        return None
    kind, content = value
    if isinstance(content, bytes) and kind in (TYPE_FLOAT, TYPE_DOUBLE):
        return _number(float_of(content))
    if kind == TYPE_INT and isinstance(content, int):
        return "number", Fraction(content)
    if kind == TYPE_DECIMAL and isinstance(content, tuple):
        number = decimal_of(content)
        if not number.is_finite():
            return _number(float(number))
        # A decimal equals a double whose first digits it has: 0.1 is the double 0.1, although no double is exactly 0.1.
        near = float(number)
        if near - near == 0 and Decimal(format(near, _EXACT_DIGITS)) == number:
            return _number(near)
        return "number", Fraction(number)
    return kind, content


def _number(value: float) -> object:
    return ("number", Fraction(value)) if value - value == 0 else ("number", repr(value))


def kind_of(value: object) -> int:
    """What a place that holds ``value`` is called in :mod:`~realmserver.realms.places`."""
    if value is None:
        return NULL
    if isinstance(value, tuple):
        return INT if value[0] == TYPE_INT else PLAIN
    return {ObjectContent: OBJECT, ListContent: LIST, DictionaryContent: DICTIONARY}[type(value)]


class ObjectContent:
    """The properties of an object or embedded object, by the numbers of their columns; absent = as in a new object."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data: dict[int, object] = {}

    def kind(self, at: Column) -> int:
        return kind_of(self.data.get(at.id))

    def object_at(self, at: Column) -> "ObjectContent":
        content = self.data[at.id]
        assert isinstance(content, ObjectContent)
        return content

    def list_at(self, at: Column) -> "ListContent":
        content = self.data.get(at.id)
        if content is None:
            content = self.data[at.id] = ListContent()
        assert isinstance(content, ListContent)
        return content

    def dictionary_at(self, at: Column) -> "DictionaryContent":
        content = self.data.get(at.id)
        if content is None:
            content = self.data[at.id] = DictionaryContent()
        assert isinstance(content, DictionaryContent)
        return content

    def set_at(self, at: Column) -> "SetContent":
        content = self.data.get(at.id)
        if content is None:
            content = self.data[at.id] = SetContent()
        assert isinstance(content, SetContent)
        return content

    def put(self, at: Column, payload: Payload) -> None:
        self.data[at.id] = simple(payload)

    def make(self, at: Column, kind: int) -> None:
        self.data[at.id] = make(kind)

    def add_integer(self, column: Column, value: int) -> None:
        held = self.data.get(column.id, default_of(column))
        if isinstance(held, tuple):
            self.data[column.id] = (TYPE_INT, (held[1] + value + _SIGN) % _WORD - _SIGN)

    def set_insert(self, column: Column, payload: Payload) -> None:
        self.set_at(column).insert(simple(payload))

    def set_erase(self, column: Column, payload: Payload) -> None:
        self.set_at(column).erase(simple(payload))

    def set_clear(self, column: Column) -> None:
        self.data.pop(column.id, None)


class ListContent:
    """A list: a column's, or one in a Mixed place."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data: list[object] = []

    def size(self) -> int:
        return len(self.data)

    def kind(self, at: int) -> int:
        return kind_of(self.data[at])

    def object_at(self, at: int) -> ObjectContent:
        content = self.data[at]
        assert isinstance(content, ObjectContent)
        return content

    def list_at(self, at: int) -> "ListContent":
        content = self.data[at]
        assert isinstance(content, ListContent)
        return content

    def dictionary_at(self, at: int) -> "DictionaryContent":
        content = self.data[at]
        assert isinstance(content, DictionaryContent)
        return content

    def put(self, at: int, payload: Payload) -> None:
        self.data[at] = simple(payload)

    def make(self, at: int, kind: int) -> None:
        self.data[at] = make(kind)

    def insert(self, index: int, payload: Payload) -> None:
        self.data.insert(index, simple(payload))

    def insert_new(self, index: int, kind: int) -> None:
        self.data.insert(index, make(kind))

    def move(self, source: int, destination: int) -> None:
        self.data.insert(destination, self.data.pop(source))

    def erase(self, index: int) -> None:
        del self.data[index]

    def clear(self) -> None:
        self.data.clear()


class DictionaryContent:
    """A dictionary: a column's, or one in a Mixed place."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data: dict[str, object] = {}

    def kind(self, at: str) -> int:
        return kind_of(self.data[at]) if at in self.data else ABSENT

    def object_at(self, at: str) -> ObjectContent:
        content = self.data[at]
        assert isinstance(content, ObjectContent)
        return content

    def list_at(self, at: str) -> ListContent:
        content = self.data[at]
        assert isinstance(content, ListContent)
        return content

    def dictionary_at(self, at: str) -> "DictionaryContent":
        content = self.data[at]
        assert isinstance(content, DictionaryContent)
        return content

    def put(self, at: str, payload: Payload) -> None:
        self.data[at] = simple(payload)

    def make(self, at: str, kind: int) -> None:
        self.data[at] = make(kind)

    def erase(self, key: str) -> None:
        self.data.pop(key, None)

    def clear(self) -> None:
        self.data.clear()


class SetContent:
    """A set, its elements by what makes two of them the same; the first of two same ones stays."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data: dict[object, Simple | None] = {}

    def insert(self, value: Simple | None) -> None:
        self.data.setdefault(sameness(value), value)

    def erase(self, value: Simple | None) -> None:
        self.data.pop(sameness(value), None)


def make(kind: int) -> ObjectContent | ListContent | DictionaryContent:
    """A new, empty OBJECT, LIST or DICTIONARY."""
    if kind == OBJECT:
        return ObjectContent()
    return ListContent() if kind == LIST else DictionaryContent()
