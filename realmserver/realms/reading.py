"""What a reader sees of a Realm's content: defaults filled in, links shown or hidden (``spec/merge.md`` 8.5, "Links").

A link whose object is missing reads as null in a property, in a dictionary and in lists and sets of Mixed; lists and
sets of a link type leave it out. The :class:`View` walks the content once for every form of reading; the form itself
(how a number, a link, a set looks) is a :class:`Form`. Two come with it: Python's own values, and the JSON by which
states are compared in tests and tools.
"""

import base64
import json
import uuid
from collections.abc import Callable
from typing import Protocol

from attrs import frozen

from realmserver.changeset.instructions import (
    COLLECTION_DICTIONARY,
    COLLECTION_LIST,
    COLLECTION_SET,
    TYPE_BINARY,
    TYPE_DOUBLE,
    TYPE_FLOAT,
    TYPE_GLOBAL_KEY,
    TYPE_LINK,
    TYPE_OBJECT_ID,
    TYPE_TIMESTAMP,
    TYPE_UUID,
    Key,
)
from realmserver.realms.content import (
    DictionaryContent,
    ListContent,
    ObjectContent,
    SetContent,
    Simple,
    decimal_of,
    default_of,
    float_of,
)
from realmserver.realms.schema import Column, Schema, Table


@frozen
class Link:
    """A link to an existing object."""

    class_name: str
    key: Key


@frozen
class Timestamp:
    """``seconds`` since 1970 and ``nanoseconds``, of the same sign."""

    seconds: int
    nanoseconds: int


@frozen
class ObjectId:
    """The 12 bytes of an ObjectId."""

    data: bytes

    def __str__(self) -> str:
        return self.data.hex()


class Form(Protocol):
    """How values look to one kind of reader."""

    def simple(self, value: Simple) -> object: ...

    def dictionary(self, entries: dict[str, object]) -> object: ...

    def set(self, elements: list[object]) -> object: ...


class PythonForm:
    """Python's own types: None, bool, int, float, str, bytes, Decimal, UUID, list, dict, and :class:`Link`,
    :class:`Timestamp`, :class:`ObjectId`. Sets are lists, since elements need not be hashable in Python's sense."""

    def simple(self, value: Simple) -> object:
        kind, content = value
        if isinstance(content, tuple):
            if kind == TYPE_LINK:
                return Link(*content)
            if kind == TYPE_TIMESTAMP:
                return Timestamp(*content)
            return decimal_of(content)
        if isinstance(content, bytes):
            if kind in (TYPE_FLOAT, TYPE_DOUBLE):
                return float_of(content)
            if kind == TYPE_OBJECT_ID:
                return ObjectId(content)
            if kind == TYPE_UUID:
                return uuid.UUID(bytes=content)
        return content

    def dictionary(self, entries: dict[str, object]) -> object:
        return entries

    def set(self, elements: list[object]) -> object:
        return elements


class JsonForm:
    """JSON in which every type can be told from every other: ``{"double": ...}``, ``{"link": [class, key]}`` and so on.
    Floats are in hexadecimal, sets are sorted by their JSON text."""

    def simple(self, value: Simple) -> object:
        kind, content = value
        if isinstance(content, tuple):
            if kind == TYPE_LINK:
                return {"link": [content[0], self.key(content[1])]}
            if kind == TYPE_TIMESTAMP:
                return {"ts": list(content)}
            return {"decimal": str(decimal_of(content))}
        if isinstance(content, bytes):
            if kind == TYPE_BINARY:
                return {"bin": base64.b64encode(content).decode()}
            if kind == TYPE_OBJECT_ID:
                return {"oid": content.hex()}
            if kind == TYPE_UUID:
                return {"uuid": str(uuid.UUID(bytes=content))}
            return {"float" if kind == TYPE_FLOAT else "double": float_of(content).hex()}
        return content

    def key(self, key: Key) -> object:
        """A primary key; ``{"gk": [hi, lo]}`` where the class has none."""
        kind, content = key
        if kind == TYPE_GLOBAL_KEY and isinstance(content, tuple):
            return {"gk": list(content)}
        return self.simple((kind, content))

    def dictionary(self, entries: dict[str, object]) -> object:
        return {"dict": entries}

    def set(self, elements: list[object]) -> object:
        return {"set": sorted(elements, key=json_text)}


def json_text(value: object) -> str:
    """The text by which states are sorted."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


class View:
    """Reads objects in one form. ``exists`` says whether a link's target does."""

    __slots__ = ("_exists", "_form", "_schema")

    def __init__(self, schema: Schema, exists: Callable[[str, Key], bool], form: Form) -> None:
        self._schema = schema
        self._exists = exists
        self._form = form

    def read(self, table: Table, key: Key | None, content: ObjectContent) -> dict[str, object]:
        """All properties of an object by name, in the order of the columns; ``key`` is None for embedded objects."""
        return {
            column.name: self._primary(key) if column.primary else self._property(column, content)
            for column in table.columns.values()
        }

    def _primary(self, key: Key | None) -> object:
        if key is None or key[1] is None:
            return None
        return self._form.simple(key)

    def _property(self, column: Column, content: ObjectContent) -> object:
        held = content.data.get(column.id)
        if column.collection == COLLECTION_LIST:
            return self._list(column, held)
        if column.collection == COLLECTION_DICTIONARY:
            return self._dictionary(column, held)
        if column.collection == COLLECTION_SET:
            return self._set(column, held)
        return self.value(column, held if column.id in content.data else default_of(column))

    def value(self, column: Column, value: object) -> object:
        """What a place of ``column`` holds, as it is read."""
        if value is None:
            return None
        if isinstance(value, tuple):
            return None if self.is_hidden(value) else self._form.simple(value)
        if isinstance(value, ObjectContent):
            return self.read(self._schema.target(column), None, value)
        if isinstance(value, ListContent):
            return self._list(column, value)
        return self._dictionary(column, value)

    def _list(self, column: Column, held: object) -> object:
        elements = held.data if isinstance(held, ListContent) else []
        return [self.value(column, each) for each in elements if column.mixed or not self.is_hidden(each)]

    def _set(self, column: Column, held: object) -> object:
        elements = held.data.values() if isinstance(held, SetContent) else ()
        return self._form.set(
            [self.value(column, each) for each in elements if column.mixed or not self.is_hidden(each)]
        )

    def _dictionary(self, column: Column, held: object) -> object:
        entries = held.data if isinstance(held, DictionaryContent) else {}
        return self._form.dictionary({key: self.value(column, each) for key, each in entries.items()})

    def is_hidden(self, value: object) -> bool:
        """Whether ``value`` is a link whose object is missing."""
        if not isinstance(value, tuple) or value[0] != TYPE_LINK:
            return False
        class_name, key = value[1]
        return not self._exists(class_name, key)
