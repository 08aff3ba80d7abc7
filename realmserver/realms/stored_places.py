"""The places of a Realm's stored values (:mod:`~realmserver.realms.places`): ways to its records, made for one
instruction.

They do what :mod:`~realmserver.realms.content` does in memory, record by record, so that an edit costs the edit and not
the object. They check nothing: ``apply`` has.
"""

from collections.abc import Callable
from typing import Final, Protocol

from realmserver.changeset.instructions import TYPE_INT, Payload
from realmserver.realms.content import Simple, default_of, simple
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.places import ABSENT, DICTIONARY, INT, LIST, NULL, PLAIN
from realmserver.realms.schema import Column
from realmserver.realms.stored_list import ListTree, Records
from realmserver.realms.stored_records import (
    SET,
    Entry,
    Fields,
    Inside,
    Value,
    element_key,
    entry_key,
    node_key,
)

_WORD: Final = 1 << 64
_SIGN: Final = 1 << 63


class Nodes(Records, Protocol):
    """The values, as their places use them."""

    def new_node(self, table: int, kind: int) -> Inside:
        """Make a new, empty container of ``kind`` in ``table``."""

    def free(self, table: int, value: Value) -> None:
        """What a place of ``table`` held is gone: free the node there, if it is one, and all inside it."""

    def put_entry(self, node: bytes, key: bytes, entry: Entry | None) -> None:
        """Change or delete the entry under ``key`` of the dictionary or set ``node``."""


def kind_of(value: Value) -> int:
    """What a place that holds ``value`` is called in :mod:`~realmserver.realms.places`."""
    if value is None:
        return NULL
    if isinstance(value, Inside):
        return value.kind
    return INT if value[0] == TYPE_INT else PLAIN


def inside(value: Value) -> Inside:
    """The node that a place holds."""
    if not isinstance(value, Inside):
        raise BrokenRecord("a place holds no container where there must be one")
    return value


def embedded_at(values: Nodes, table: int, value: Value) -> "StoredFields":
    """The embedded object that a place of ``table`` holds."""
    key = node_key(table, inside(value).node)
    record = values.get(key)
    if not isinstance(record, Fields):
        raise BrokenRecord("an embedded object's record is missing")
    return StoredFields(values, table, key, record)


class StoredFields:
    """An object or embedded object: the record ``fields`` under ``key``."""

    __slots__ = ("_fields", "_key", "_table", "_values")

    def __init__(self, values: Nodes, table: int, key: bytes, fields: Fields) -> None:
        self._values = values
        self._table = table
        self._key = key
        self._fields = fields

    def kind(self, at: Column) -> int:
        return kind_of(self._fields.data.get(at.id))

    def object_at(self, at: Column) -> "StoredFields":
        return embedded_at(self._values, self._table, self._fields.data.get(at.id))

    def list_at(self, at: Column) -> "StoredList":
        held = self._container(at, LIST)
        return StoredList(self._values, self._table, held, lambda new: self._renew(at, new))

    def dictionary_at(self, at: Column) -> "StoredDictionary":
        held = self._container(at, DICTIONARY)
        return StoredDictionary(self._values, self._table, held, lambda new: self._renew(at, new))

    def _container(self, at: Column, kind: int) -> Inside:
        """The node of the collection there; made where a property of a collection type has none yet."""
        value = self._fields.data.get(at.id)
        if value is None:
            value = self._values.new_node(self._table, kind)
            self._set(at, value)
        return inside(value)

    def _set(self, at: Column, value: Value) -> None:
        self._fields.data[at.id] = value
        self._values.put(self._key, self._fields)

    def _renew(self, at: Column, value: Inside) -> None:
        self._values.free(self._table, self._fields.data.get(at.id))
        self._set(at, value)

    def put(self, at: Column, payload: Payload) -> None:
        if not at.plain:
            self._values.free(self._table, self._fields.data.get(at.id))
        self._set(at, simple(payload))

    def make(self, at: Column, kind: int) -> None:
        self._renew(at, self._values.new_node(self._table, kind))

    def add_integer(self, column: Column, value: int) -> None:
        held = self._fields.data.get(column.id, default_of(column))
        if isinstance(held, tuple) and isinstance(held[1], int):
            self._set(column, (TYPE_INT, (held[1] + value + _SIGN) % _WORD - _SIGN))

    def set_insert(self, column: Column, payload: Payload) -> None:
        node = node_key(self._table, self._container(column, SET).node)
        element = simple(payload)
        key = element_key(node, element)
        if self._values.get(key) is None:  # the first of two same ones stays
            self._values.put_entry(node, key, Entry("", element))

    def set_erase(self, column: Column, payload: Payload) -> None:
        held = self._fields.data.get(column.id)
        if held is not None:
            node = node_key(self._table, inside(held).node)
            self._values.put_entry(node, element_key(node, simple(payload)), None)

    def set_clear(self, column: Column) -> None:
        held = self._fields.data.get(column.id)
        if held is not None:
            self._values.free(self._table, held)
            del self._fields.data[column.id]
            self._values.put(self._key, self._fields)


class StoredList:
    """The list ``held``. ``renew`` puts another in its place."""

    __slots__ = ("_held", "_renew", "_table", "_tree", "_values")

    def __init__(self, values: Nodes, table: int, held: Inside, renew: Callable[[Inside], None]) -> None:
        self._values = values
        self._table = table
        self._held = held
        self._renew = renew
        self._tree = ListTree(values, node_key(table, held.node))

    def size(self) -> int:
        return self._tree.size()

    def kind(self, at: int) -> int:
        return kind_of(self._tree.get(at))

    def object_at(self, at: int) -> StoredFields:
        return embedded_at(self._values, self._table, self._tree.get(at))

    def list_at(self, at: int) -> "StoredList":
        held = inside(self._tree.get(at))
        return StoredList(self._values, self._table, held, lambda new: self._replace(at, new))

    def dictionary_at(self, at: int) -> "StoredDictionary":
        held = inside(self._tree.get(at))
        return StoredDictionary(self._values, self._table, held, lambda new: self._replace(at, new))

    def put(self, at: int, payload: Payload) -> None:
        self._replace(at, simple(payload))

    def make(self, at: int, kind: int) -> None:
        self._replace(at, self._values.new_node(self._table, kind))

    def _replace(self, at: int, value: Value) -> None:
        self._values.free(self._table, self._tree.get(at))
        self._tree.replace(at, value)

    def insert(self, index: int, payload: Payload) -> None:
        self._tree.insert(index, simple(payload))

    def insert_new(self, index: int, kind: int) -> None:
        self._tree.insert(index, self._values.new_node(self._table, kind))

    def move(self, source: int, destination: int) -> None:
        self._tree.insert(destination, self._tree.remove(source))

    def erase(self, index: int) -> None:
        self._values.free(self._table, self._tree.remove(index))

    def clear(self) -> None:
        self._renew(self._values.new_node(self._table, self._held.kind))


class StoredDictionary:
    """The dictionary ``held``. ``renew`` puts another in its place."""

    __slots__ = ("_held", "_node", "_renew", "_table", "_values")

    def __init__(self, values: Nodes, table: int, held: Inside, renew: Callable[[Inside], None]) -> None:
        self._values = values
        self._table = table
        self._held = held
        self._renew = renew
        self._node = node_key(table, held.node)

    def _entry(self, at: str) -> Entry | None:
        entry = self._values.get(entry_key(self._node, at))
        if entry is not None and not isinstance(entry, Entry):
            raise BrokenRecord("a dictionary's entry is of another kind")
        return entry

    def _value(self, at: str) -> Simple | Inside | None:
        entry = self._entry(at)
        return None if entry is None else entry.value

    def kind(self, at: str) -> int:
        entry = self._entry(at)
        return ABSENT if entry is None else kind_of(entry.value)

    def object_at(self, at: str) -> StoredFields:
        return embedded_at(self._values, self._table, self._value(at))

    def list_at(self, at: str) -> StoredList:
        held = inside(self._value(at))
        return StoredList(self._values, self._table, held, lambda new: self._replace(at, new))

    def dictionary_at(self, at: str) -> "StoredDictionary":
        held = inside(self._value(at))
        return StoredDictionary(self._values, self._table, held, lambda new: self._replace(at, new))

    def put(self, at: str, payload: Payload) -> None:
        self._replace(at, simple(payload))

    def make(self, at: str, kind: int) -> None:
        self._replace(at, self._values.new_node(self._table, kind))

    def _replace(self, at: str, value: Value) -> None:
        self._values.free(self._table, self._value(at))
        self._values.put_entry(self._node, entry_key(self._node, at), Entry(at, value))

    def erase(self, key: str) -> None:
        self._values.free(self._table, self._value(key))
        self._values.put_entry(self._node, entry_key(self._node, key), None)

    def clear(self) -> None:
        self._renew(self._values.new_node(self._table, self._held.kind))
