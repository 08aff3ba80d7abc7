"""Where a transaction writes: class, key, property and path as the user gives them, checked against a Realm's content.

An :class:`Address` is looked up anew for every question, so it stays right while the transaction goes on. What it finds
missing or of the wrong type raises KeyError, TypeError or ValueError with the address in the text. Nothing is changed
here. The slots of lists are counted in two ways: as reading shows them, and as changesets count them, links to missing
objects included (``spec/merge.md`` 8.5, "Links").
"""

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from realmserver.changeset.instructions import (
    COLLECTION_DICTIONARY,
    COLLECTION_LIST,
    COLLECTION_SINGLE,
    TYPE_LINK,
    TYPE_NULL,
    BadChangeset,
    Key,
    PathElement,
    Payload,
    Update,
)
from realmserver.client.payloads import key_of, payload_of
from realmserver.realms.content import DictionaryContent, ListContent, ObjectContent, SetContent
from realmserver.realms.resolve import Entry, Property, Slot, resolve
from realmserver.realms.schema import Column, Table
from realmserver.realms.values import Values

_COLLECTION_OF: Final[dict[type, int]] = {ListContent: COLLECTION_LIST, DictionaryContent: COLLECTION_DICTIONARY}


def table_of(values: Values, class_name: str) -> Table:
    """The class; KeyError if there is none."""
    table = values.schema.tables.get(class_name)
    if table is None:
        raise KeyError(f"no class {class_name!r}")
    return table


def native_key(values: Values, class_name: str, key: object) -> Key:
    """``key`` as the changesets have it (:func:`payloads.key_of`). Raises KeyError, TypeError or ValueError."""
    table = table_of(values, class_name)
    if table.embedded:
        raise ValueError(f"{class_name!r} is embedded: its objects have no keys")
    try:
        return key_of(table, key)
    except (TypeError, ValueError) as error:
        raise _kind(error)(f"{class_name}[{key!r}]: {error}") from error


def find_object(values: Values, class_name: str, key: object) -> tuple[Table, Key]:
    """The class and key of an object that exists. Raises as :func:`native_key`, and KeyError."""
    native = native_key(values, class_name, key)
    table = table_of(values, class_name)
    if values.find(table, native) is None:
        raise KeyError(f"{class_name}[{key!r}]: no such object")
    return table, native


def find_place(values: Values, class_name: str, key: object, name: str, path: Sequence[PathElement]) -> "Address":
    """A place in an object that exists. That ``path`` leads somewhere is checked by the address itself, when asked."""
    table, native = find_object(values, class_name, key)
    if name not in table.columns:
        raise KeyError(f"{class_name}[{key!r}].{name}: no such property")
    return Address(values, class_name, native, name, tuple(path))


@frozen
class Address:
    """A place: a property of the object, or what ``path`` leads to below it."""

    values: Values
    class_name: str
    key: Key
    name: str
    path: tuple[PathElement, ...]

    def __str__(self) -> str:
        below = "".join(f"[{step!r}]" for step in self.path)
        return f"{self.class_name}[{self.key[1]!r}].{self.name}{below}"

    def below(self, step: PathElement) -> "Address":
        """The place one step further."""
        return Address(self.values, self.class_name, self.key, self.name, (*self.path, step))

    def above(self) -> "Address":
        """The list, dictionary or embedded object in which the path ends."""
        return Address(self.values, self.class_name, self.key, self.name, self.path[:-1])

    def resolve(self) -> Property | Slot | Entry:
        """The place in terms of :mod:`realms.resolve`. ValueError if the path leads nowhere."""
        asked = Update(self.class_name, self.key, self.name, list(self.path), Payload(TYPE_NULL))
        try:
            return resolve(self.values, asked)
        except BadChangeset as error:
            raise ValueError(f"{self}: {error}") from error

    @property
    def column(self) -> Column:
        """The column that says what the place can hold."""
        return self.resolve().column

    def held(self) -> object:
        """What the place holds, in the form of :mod:`realms.content`; None for null, absent and new."""
        place = self.resolve()
        if isinstance(place, Property):
            assert isinstance(place.fields, ObjectContent)
            return place.fields.data.get(place.column.id)
        if isinstance(place, Entry):
            assert isinstance(place.places, DictionaryContent)
            return place.places.data.get(place.key)
        assert isinstance(place.places, ListContent)
        if place.index >= len(place.places.data):
            raise ValueError(f"{self}: the list has {len(place.places.data)} elements")
        return place.places.data[place.index]

    def has_entry(self) -> bool:
        """Whether the place is a key that its dictionary has. ValueError if it is no dictionary's key."""
        place = self.resolve()
        if not isinstance(place, Entry):
            raise ValueError(f"{self}: this is no key of a dictionary")
        assert isinstance(place.places, DictionaryContent)
        return place.key in place.places.data

    # Collections

    def collection(self) -> int:
        """The collection type of what is there; COLLECTION_SINGLE if that is no collection."""
        place = self.resolve()
        if isinstance(place, Property) and place.column.collection != COLLECTION_SINGLE:
            return place.column.collection
        return _COLLECTION_OF.get(type(self.held()), COLLECTION_SINGLE)

    def is_empty(self) -> bool:
        """Whether the collection there has no elements."""
        held = self.held()
        return not (isinstance(held, ListContent | DictionaryContent | SetContent) and held.data)

    def size(self) -> int:
        """The elements of the list there, hidden links counted. ValueError if there is no list."""
        return len(self._elements())

    def slots(self) -> Sequence[int]:
        """The slots of the list there that reading shows, by the index it shows them at."""
        elements = self._elements()
        column = self.column
        if column.type != TYPE_LINK or column.embedded:
            return range(len(elements))
        return [slot for slot, each in enumerate(elements) if self._is_shown(each)]

    def slot(self, index: int) -> int:
        """The slot of the element that reading shows at ``index``. ValueError if it shows none there."""
        slots = self.slots()
        if not 0 <= index < len(slots):
            raise ValueError(f"{self}: index {index} in a list of {len(slots)}")
        return slots[index]

    def gap(self, index: int) -> int:
        """The slot at which to insert so that reading shows the new element at ``index``."""
        return self.size() if index == len(self.slots()) else self.slot(index)

    def _elements(self) -> list[object]:
        if self.collection() != COLLECTION_LIST:
            raise ValueError(f"{self}: there is no list")
        held = self.held()
        return held.data if isinstance(held, ListContent) else []

    def _is_shown(self, element: object) -> bool:
        assert isinstance(element, tuple)
        class_name, key = element[1]
        return self.values.exists(class_name, key)

    # Values

    def payload(self, value: object, type: int) -> Payload:
        """``value`` as :func:`payloads.payload_of` makes it, errors with the address."""
        try:
            return payload_of(value, type, lambda class_name, key: native_key(self.values, class_name, key))
        except (TypeError, ValueError) as error:
            raise _kind(error)(f"{self}: {error}") from error

    def properties(self, value: object) -> Mapping[str, object]:
        """``value`` as the properties of an object or the entries of a dictionary; TypeError if it is no mapping."""
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise TypeError(f"{self}: a mapping from names to values is wanted, not {value.__class__.__name__}")
        return value


def _kind(error: TypeError | ValueError) -> type[TypeError] | type[ValueError]:
    """TypeError or ValueError: their kinds (UnicodeEncodeError) cannot all be raised with a text alone."""
    return TypeError if isinstance(error, TypeError) else ValueError
