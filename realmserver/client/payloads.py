"""Python values to values of a changeset, by the type of the property: the inverse of ``realms.reading.PythonForm``.

Everything that comes out fits the column's type and the ranges of ``spec/changeset.md`` 4.2, which ``encode`` does not
check. A value of a wrong Python type is a TypeError, one out of range a ValueError; both texts name the type, and the
caller adds the place. Collections and embedded objects are not values in this sense: ``transaction`` takes them apart.
"""

import struct
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, NoReturn

from realmserver.changeset.instructions import (
    TYPE_BINARY,
    TYPE_BOOL,
    TYPE_DECIMAL,
    TYPE_DOUBLE,
    TYPE_FLOAT,
    TYPE_GLOBAL_KEY,
    TYPE_INT,
    TYPE_LINK,
    TYPE_NULL,
    TYPE_OBJECT_ID,
    TYPE_STRING,
    TYPE_TIMESTAMP,
    TYPE_UUID,
    Key,
    Payload,
)
from realmserver.changeset.reader import DECIMAL_INFINITY, DECIMAL_NAN, MAX_STRING
from realmserver.realms.checks import TYPE_NAMES
from realmserver.realms.reading import Link, ObjectId, Timestamp
from realmserver.realms.schema import TYPE_MIXED, Table

PropertyType = Literal[
    "int",
    "bool",
    "string",
    "binary",
    "timestamp",
    "float",
    "double",
    "decimal",
    "object_id",
    "uuid",
    "mixed",
    "link",
]
"""How a property's type is called here. An embedded object is a link to its class."""

TYPES: Final[dict[str, int]] = {
    "int": TYPE_INT,
    "bool": TYPE_BOOL,
    "string": TYPE_STRING,
    "binary": TYPE_BINARY,
    "timestamp": TYPE_TIMESTAMP,
    "float": TYPE_FLOAT,
    "double": TYPE_DOUBLE,
    "decimal": TYPE_DECIMAL,
    "object_id": TYPE_OBJECT_ID,
    "uuid": TYPE_UUID,
    "mixed": TYPE_MIXED,
    "link": TYPE_LINK,
}

KEY_TYPES: Final = frozenset({"int", "string", "object_id", "uuid"})
"""What a primary key can be (``spec/changeset.md`` 4.5)."""

_INT64: Final = range(-(1 << 63), 1 << 63)
_UINT64: Final = range(1 << 64)
_NANOSECONDS: Final = 10**9
_COEFFICIENTS: Final = range(10**34)
_EXPONENTS: Final = range(-6176, 6112)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OBJECT_ID_SIZE: Final = 12

KeyOf = Callable[[str, object], Key]
"""Makes the key of an object of the named class."""


def payload_of(value: object, type: int, key_of: KeyOf) -> Payload:
    """``value`` as a column of ``type`` (TYPE_MIXED: as its Python type says) takes it.

    ``None`` is null; whether the column takes it is not asked here. ``key_of`` checks the key of a Link, and raises
    what it likes. Raises TypeError and ValueError.
    """
    if value is None:
        return Payload(TYPE_NULL)
    if type == TYPE_MIXED:
        type = _type_of(value)
    if type == TYPE_LINK:
        if not isinstance(value, Link):
            _wrong(value, type)
        return Payload(TYPE_LINK, (value.class_name, key_of(value.class_name, value.key)))
    return Payload(type, _CONVERSIONS[type](value))


def key_of(table: Table, key: object) -> Key:
    """``key`` as the primary key of an object of ``table``: a Python value of the key's type, None where that is
    nullable, (hi, lo) where the class has no primary key; or a key in the form in which ``Values.objects`` has it.

    Raises TypeError or ValueError.
    """
    pk = table.pk
    if isinstance(key, tuple) and len(key) == 2:
        if pk is None and all(isinstance(each, int) and each in _UINT64 for each in key):
            return TYPE_GLOBAL_KEY, key
        return _native_key(table, *key)
    if pk is None:
        raise TypeError(f"the key of a class without primary key is (hi, lo), not {_shown(key)}")
    if key is None:
        if not pk.nullable:
            raise ValueError("the primary key is not nullable")
        return TYPE_NULL, None
    return pk.type, _CONVERSIONS[pk.type](key)


def _native_key(table: Table, kind: object, value: object) -> Key:
    """A key that comes with its type, as the changesets have it."""
    wanted = TYPE_GLOBAL_KEY if table.pk is None else table.pk.type
    if kind != (TYPE_NULL if value is None else wanted) or (isinstance(value, tuple) and wanted != TYPE_GLOBAL_KEY):
        raise TypeError(f"{TYPE_NAMES[wanted]} is wanted, not {_shown((kind, value))}")
    if isinstance(value, bytes):
        value = uuid.UUID(bytes=value) if wanted == TYPE_UUID else ObjectId(value)
    return key_of(table, value)


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        _wrong(value, TYPE_INT)
    if value not in _INT64:
        raise ValueError(f"{value} has more than 64 bits")
    return value


def _boolean(value: object) -> bool:
    return value if isinstance(value, bool) else _wrong(value, TYPE_BOOL)


def _string(value: object) -> str:
    if not isinstance(value, str):
        _wrong(value, TYPE_STRING)
    size = len(value) if value.isascii() else len(value.encode("utf-8", "surrogateescape"))
    if size > MAX_STRING:
        raise ValueError(f"a string of {size} bytes: {MAX_STRING} are allowed")
    return value


def _binary(value: object) -> bytes:
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else _wrong(value, TYPE_BINARY)


def _timestamp(value: object) -> tuple[int, int]:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a datetime without time zone")
        seconds, rest = divmod(value - _EPOCH, timedelta(seconds=1))
        value = Timestamp(seconds, rest.microseconds * 1000)
        if value.seconds < 0 < value.nanoseconds:
            value = Timestamp(value.seconds + 1, value.nanoseconds - _NANOSECONDS)
    if not isinstance(value, Timestamp):
        _wrong(value, TYPE_TIMESTAMP)
    seconds, nanoseconds = value.seconds, value.nanoseconds
    if seconds not in _INT64 or abs(nanoseconds) >= _NANOSECONDS or seconds * nanoseconds < 0:
        raise ValueError(f"{value} is out of range, or its parts have different signs")
    return seconds, nanoseconds


def _float(value: object) -> bytes:
    return _packed("<f", value, TYPE_FLOAT)


def _double(value: object) -> bytes:
    return _packed("<d", value, TYPE_DOUBLE)


def _packed(form: str, value: object, type: int) -> bytes:
    if not isinstance(value, int | float) or isinstance(value, bool):
        _wrong(value, type)
    try:
        return struct.pack(form, value)
    except OverflowError as error:
        raise ValueError(f"{value} is too large for {TYPE_NAMES[type]}") from error


def _decimal(value: object) -> tuple[int, int, bool]:
    if not isinstance(value, Decimal):
        _wrong(value, TYPE_DECIMAL)
    sign, digits, exponent = value.as_tuple()
    if isinstance(exponent, str):
        return 0, DECIMAL_INFINITY if exponent == "F" else DECIMAL_NAN, bool(sign)
    coefficient = int("".join(map(str, digits)))
    while coefficient and exponent > _EXPONENTS[-1] and coefficient * 10 in _COEFFICIENTS:
        coefficient, exponent = coefficient * 10, exponent - 1
    if coefficient not in _COEFFICIENTS or exponent not in _EXPONENTS:
        raise ValueError(f"{value} has more than 34 digits or too large an exponent")
    return coefficient, exponent, bool(sign)


def _object_id(value: object) -> bytes:
    if not isinstance(value, ObjectId):
        _wrong(value, TYPE_OBJECT_ID)
    if len(value.data) != _OBJECT_ID_SIZE:
        raise ValueError(f"an ObjectId of {len(value.data)} bytes")
    return value.data


def _uuid(value: object) -> bytes:
    return value.bytes if isinstance(value, uuid.UUID) else _wrong(value, TYPE_UUID)


_CONVERSIONS: Final[dict[int, Callable[[object], object]]] = {
    TYPE_INT: _integer,
    TYPE_BOOL: _boolean,
    TYPE_STRING: _string,
    TYPE_BINARY: _binary,
    TYPE_TIMESTAMP: _timestamp,
    TYPE_FLOAT: _float,
    TYPE_DOUBLE: _double,
    TYPE_DECIMAL: _decimal,
    TYPE_OBJECT_ID: _object_id,
    TYPE_UUID: _uuid,
}

_PYTHON_TYPES: Final = (
    (bool, TYPE_BOOL),  # before int, of which it is a kind
    (int, TYPE_INT),
    (str, TYPE_STRING),
    (bytes | bytearray | memoryview, TYPE_BINARY),
    (Timestamp | datetime, TYPE_TIMESTAMP),
    (float, TYPE_DOUBLE),
    (Decimal, TYPE_DECIMAL),
    (ObjectId, TYPE_OBJECT_ID),
    (uuid.UUID, TYPE_UUID),
    (Link, TYPE_LINK),
)


def _type_of(value: object) -> int:
    for kind, type in _PYTHON_TYPES:
        if isinstance(value, kind):
            return type
    raise TypeError(f"a Mixed place does not take {_shown(value)}")


def _wrong(value: object, type: int) -> NoReturn:
    raise TypeError(f"{TYPE_NAMES[type]} is wanted, not {_shown(value)}")


def _shown(value: object) -> str:
    text = ascii(value)
    return f"{value.__class__.__name__} {text if len(text) <= 80 else text[:80] + '...'}"
