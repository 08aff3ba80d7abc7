"""One write transaction of a local Realm: builds a changeset, and applies each instruction as it is made.

Reads within the transaction therefore see it, and nothing gets into a changeset that ``realms.apply`` would refuse.
Places are named as in changesets: class, key, property, and a path from the property on (an index into a list, a key of
a dictionary, the name of a property of an embedded object). Indices are those that reading shows: a list of links hides
links to missing objects, and its slots are counted here behind the scenes (``spec/merge.md`` 8.5, "Links").

A call that raises has changed nothing, but for one that had to write several values and found a bad one among them:
then the whole transaction is void, and so says :meth:`Transaction.finish`. TypeError, ValueError and KeyError are what
calls raise; the texts name class, key and property. Undoing is ``local``'s business.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AnySet
from contextlib import contextmanager
from typing import Final, Literal

from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    COLLECTION_DICTIONARY,
    COLLECTION_LIST,
    COLLECTION_SET,
    COLLECTION_SINGLE,
    TABLE_ASYMMETRIC,
    TABLE_EMBEDDED,
    TABLE_TOP_LEVEL,
    TYPE_DICTIONARY,
    TYPE_ERASED,
    TYPE_GLOBAL_KEY,
    TYPE_INT,
    TYPE_LIST,
    TYPE_NULL,
    TYPE_OBJECT_VALUE,
    AddColumn,
    AddInteger,
    AddTable,
    ArrayErase,
    ArrayInsert,
    ArrayMove,
    BadChangeset,
    Changeset,
    Clear,
    CreateObject,
    EraseObject,
    Instruction,
    PathElement,
    Payload,
    SetErase,
    SetInsert,
    Update,
)
from realmserver.client.address import Address, find_object, find_place, native_key, table_of
from realmserver.client.links import links_to
from realmserver.client.payloads import KEY_TYPES, TYPES, PropertyType
from realmserver.realms.reading import Link
from realmserver.realms.resolve import Entry, Property, Slot
from realmserver.realms.schema import Table
from realmserver.realms.values import Values

Kind = Literal["top_level", "embedded", "asymmetric"]
CollectionType = Literal["single", "list", "dictionary", "set"]
Path = Sequence[PathElement]

_KINDS: Final = {"top_level": TABLE_TOP_LEVEL, "embedded": TABLE_EMBEDDED, "asymmetric": TABLE_ASYMMETRIC}
_COLLECTIONS: Final = {
    "single": COLLECTION_SINGLE,
    "list": COLLECTION_LIST,
    "dictionary": COLLECTION_DICTIONARY,
    "set": COLLECTION_SET,
}
_PAYLOADS: Final = {COLLECTION_LIST: TYPE_LIST, COLLECTION_DICTIONARY: TYPE_DICTIONARY}


class Transaction:
    """Writes to ``values`` and remembers what it wrote. Made by :meth:`LocalRealm.write`."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self._changeset = Changeset()
        self._is_void = False
        self._is_open = True

    def finish(self) -> bytes:
        """End the transaction: the canonical bytes of its changeset, b"" if nothing was written.

        Raises ValueError if a call failed halfway, although the caller has caught its error.
        """
        self.close()
        if self._is_void:
            raise ValueError("the transaction is void: a call in it failed halfway")
        return encode(self._changeset)

    def close(self) -> None:
        """Refuse further writes."""
        self._is_open = False

    # Schema

    def add_class(
        self,
        name: str,
        primary_key: str = "",
        type: PropertyType = "string",
        *,
        nullable: bool = False,
        kind: Kind = "top_level",
    ) -> None:
        """Add a class; nothing is written if there is the same already, ValueError if there is another of that name.

        ``primary_key`` is the name of its property, of ``type`` int, string, object_id or uuid; "" for a class whose
        objects have global keys, and for embedded ones. Objects of asymmetric classes are for the server only; they
        stay in this Realm all the same.
        """
        if kind == "embedded" and primary_key:
            raise ValueError(f"the embedded class {name!r} cannot have a primary key")
        if primary_key and type not in KEY_TYPES:
            raise ValueError(f"{name}.{primary_key}: a primary key is not of type {type}")
        new = AddTable(name, _KINDS[kind])
        if primary_key:
            new = AddTable(name, _KINDS[kind], primary_key, TYPES[type], nullable)
        old = self.values.schema.tables.get(name)
        if old is None:
            self._write(new)
        elif (old.kind, *_primary_of(old)) != (new.kind, new.pk_field, new.pk_type, new.pk_nullable):
            raise ValueError(f"the class {name!r} exists with another kind or primary key")

    def add_property(
        self,
        class_name: str,
        name: str,
        type: PropertyType,
        *,
        nullable: bool = False,
        collection: CollectionType = "single",
        target: str = "",
    ) -> None:
        """Add a property; nothing is written if there is the same already, ValueError if there is another.

        ``target``: the class that a link points to; an embedded class makes it a property of embedded objects.
        ``nullable`` counts for plain values (of a collection: for its elements); Mixed, single links and dictionaries
        of links always take null, lists and sets of links never.
        """
        table = table_of(self.values, class_name)
        if (type == "link") != bool(target):
            raise ValueError(f"{class_name}.{name}: a link has a target, and nothing else has")
        if type == "mixed":
            nullable = True
        elif type == "link":
            nullable = collection in ("single", "dictionary")
        new = AddColumn(class_name, name, TYPES[type], nullable, _COLLECTIONS[collection], target)
        old = table.columns.get(name)
        if old is None:
            self._write(new)
        elif (old.type, old.nullable, old.collection, old.target) != (new.type, nullable, new.collection, target):
            raise ValueError(f"{class_name}.{name} exists with another type")

    # Objects

    def create(self, class_name: str, key: object, properties: Mapping[str, object] | None = None) -> None:
        """Create an object; ValueError if it exists. ``properties`` are set as by :meth:`set`."""
        native = native_key(self.values, class_name, key)
        if self.values.exists(class_name, native):
            raise ValueError(f"{class_name}[{key!r}] exists already")
        with self._whole():
            self._write(CreateObject(class_name, native))
            for name, value in (properties or {}).items():
                self.set(class_name, native, name, value)

    def delete(self, class_name: str, key: object) -> None:
        """Delete an object; KeyError if there is none.

        First all links to it are taken away, as SDKs do it: out of lists and sets, elsewhere replaced by null. Links
        that others make meanwhile are hidden, and come back if an object is later created with this key.
        """
        table, native = find_object(self.values, class_name, key)
        if table.kind == TABLE_ASYMMETRIC:
            raise ValueError(f"{class_name}[{key!r}]: objects of asymmetric classes are not deleted")
        target = Link(class_name, native)
        with self._whole():
            for at in list(links_to(self.values, target)):
                self._nullify(at, target)
            self._write(EraseObject(class_name, native))

    def link(self, class_name: str, key: object) -> Link:
        """A link to the object, which need not exist."""
        return Link(class_name, native_key(self.values, class_name, key))

    # Values

    def set(self, class_name: str, key: object, name: str, value: object, path: Path = ()) -> None:
        """Set a property, or what ``path`` leads to below it.

        For embedded objects ``value`` is a mapping of properties, which always makes a new object, or None. A list,
        mapping or set replaces the content of such a property; lists and mappings may also go into Mixed places. In a
        list ``path`` ends with the slot, hidden links counted; :meth:`list_set` counts as reading does.
        """
        with self._whole():
            self._put(find_place(self.values, class_name, key, name, path), value)

    def increment(self, class_name: str, key: object, name: str, by: int = 1, path: Path = ()) -> None:
        """Add ``by`` to an integer property; concurrent increments add up. ValueError where it is null."""
        at = find_place(self.values, class_name, key, name, path)
        if at.column.takes_null and at.held() is None:
            raise ValueError(f"{at}: null cannot be incremented")
        amount = at.payload(by, TYPE_INT).value
        if not isinstance(amount, int):
            raise TypeError(f"{at}: an increment is an integer")
        self._write(AddInteger(class_name, at.key, name, list(path), amount))

    # Lists

    def list_insert(self, class_name: str, key: object, name: str, index: int, value: object, path: Path = ()) -> None:
        """Insert ``value`` into the list so that it has ``index``, which may be the list's length."""
        at = find_place(self.values, class_name, key, name, path)
        with self._whole():
            self._insert(at, at.gap(index), value)

    def list_append(self, class_name: str, key: object, name: str, value: object, path: Path = ()) -> None:
        """Insert ``value`` at the end of the list."""
        at = find_place(self.values, class_name, key, name, path)
        with self._whole():
            self._insert(at, at.size(), value)

    def list_set(self, class_name: str, key: object, name: str, index: int, value: object, path: Path = ()) -> None:
        """Replace the element at ``index``."""
        at = find_place(self.values, class_name, key, name, path)
        with self._whole():
            self._put(at.below(at.slot(index)), value)

    def list_move(self, class_name: str, key: object, name: str, index: int, destination: int, path: Path = ()) -> None:
        """Move the element at ``index`` so that it has the index ``destination``."""
        at = find_place(self.values, class_name, key, name, path)
        source, target = at.slot(index), at.slot(destination)
        if source != target:
            self._write(ArrayMove(class_name, at.key, name, [*path, source], target, at.size()))

    def list_erase(self, class_name: str, key: object, name: str, index: int, path: Path = ()) -> None:
        """Erase the element at ``index``."""
        at = find_place(self.values, class_name, key, name, path)
        self._erase(at, at.slot(index))

    # Dictionaries, sets, and all collections

    def dictionary_set(
        self, class_name: str, key: object, name: str, entry: str, value: object, path: Path = ()
    ) -> None:
        """Set the value of the dictionary's key ``entry``."""
        self.set(class_name, key, name, value, (*path, entry))

    def dictionary_erase(self, class_name: str, key: object, name: str, entry: str, path: Path = ()) -> None:
        """Remove the dictionary's key ``entry``; KeyError if it has none."""
        at = find_place(self.values, class_name, key, name, (*path, entry))
        if not at.has_entry():
            raise KeyError(f"{at}: no such key")
        self._update(at, Payload(TYPE_ERASED))

    def set_add(self, class_name: str, key: object, name: str, value: object, path: Path = ()) -> None:
        """Add ``value`` to the set, if it is not in it."""
        at = find_place(self.values, class_name, key, name, path)
        self._write(SetInsert(class_name, at.key, name, [*path], at.payload(value, at.column.type)))

    def set_discard(self, class_name: str, key: object, name: str, value: object, path: Path = ()) -> None:
        """Remove ``value`` from the set, if it is in it."""
        at = find_place(self.values, class_name, key, name, path)
        self._write(SetErase(class_name, at.key, name, [*path], at.payload(value, at.column.type)))

    def clear(self, class_name: str, key: object, name: str, path: Path = ()) -> None:
        """Empty the list, set or dictionary."""
        at = find_place(self.values, class_name, key, name, path)
        kind = at.collection()
        if kind == COLLECTION_SINGLE:
            raise ValueError(f"{at}: there is no list, set or dictionary")
        self._write(Clear(class_name, at.key, name, [*path], kind))

    # How values are taken apart

    def _put(self, at: Address, value: object) -> None:
        place = at.resolve()
        column = place.column
        if isinstance(place, Property) and column.collection != COLLECTION_SINGLE:
            self._refill(at, column.collection, value)
        elif column.embedded:
            self._put_object(at, place, value)
        elif column.mixed and (kind := _nested(value)) is not None:
            if at.collection() != kind:
                self._update(at, Payload(_PAYLOADS[kind]))
            self._refill(at, kind, value)
        else:
            self._update(at, at.payload(value, column.type))

    def _put_object(self, at: Address, place: Property | Slot | Entry, value: object) -> None:
        if isinstance(place, Slot):
            # As real clients do it: there is no instruction that replaces an element (spec/changeset.md 5).
            at.properties(value)
            self._erase(at.above(), place.index)
            self._insert(at.above(), place.index, value)
        elif value is None:
            self._update(at, Payload(TYPE_NULL))
        else:
            properties = at.properties(value)
            if isinstance(place, Property) and at.held() is not None:
                self._update(at, Payload(TYPE_NULL))
            self._update(at, Payload(TYPE_OBJECT_VALUE))
            self._fill(at, properties)

    def _insert(self, at: Address, slot: int, value: object) -> None:
        """Insert into the list at ``at``; ``slot`` counts hidden links."""
        column, kind = at.column, _nested(value)
        if column.embedded:
            at.properties(value)
            payload = Payload(TYPE_OBJECT_VALUE)
        elif column.mixed and kind is not None:
            payload = Payload(_PAYLOADS[kind])
        else:
            payload = at.payload(value, column.type)
        self._write(ArrayInsert(at.class_name, at.key, at.name, [*at.path, slot], payload, at.size()))
        if payload.type == TYPE_OBJECT_VALUE:
            self._fill(at.below(slot), at.properties(value))
        elif kind is not None:
            self._refill(at.below(slot), kind, value)

    def _refill(self, at: Address, kind: int, value: object) -> None:
        """Replace the content of a collection."""
        if not at.is_empty():
            self._write(Clear(at.class_name, at.key, at.name, [*at.path], kind))
        if kind == COLLECTION_DICTIONARY:
            self._fill(at, at.properties(value))
            return
        if not (isinstance(value, list | tuple) or (kind == COLLECTION_SET and isinstance(value, AnySet))):
            raise TypeError(f"{at}: a list of values is wanted, not {value.__class__.__name__}")
        for index, each in enumerate(value):
            if kind == COLLECTION_SET:
                payload = at.payload(each, at.column.type)
                self._write(SetInsert(at.class_name, at.key, at.name, [*at.path], payload))
            else:
                self._insert(at, index, each)

    def _fill(self, at: Address, properties: Mapping[str, object]) -> None:
        for name, value in properties.items():
            self._put(at.below(name), value)

    def _erase(self, at: Address, slot: int) -> None:
        self._write(ArrayErase(at.class_name, at.key, at.name, [*at.path, slot], at.size()))

    def _nullify(self, at: Address, target: Link) -> None:
        """Take the link to ``target`` out of the place that reading shows it at."""
        step, around = at.path[-1] if at.path else "", at.above()
        if not isinstance(step, int) or (around.column.mixed and around.collection() == COLLECTION_LIST):
            self._update(at, Payload(TYPE_NULL))
        elif around.collection() == COLLECTION_LIST:
            self._erase(around, around.slot(step))
        else:
            self.set_discard(at.class_name, at.key, at.name, target, around.path)

    def _update(self, at: Address, payload: Payload) -> None:
        size = at.above().size() if isinstance(at.resolve(), Slot) else 0
        self._write(Update(at.class_name, at.key, at.name, [*at.path], payload, prior_size=size))

    def _write(self, instruction: Instruction) -> None:
        if not self._is_open:
            raise ValueError("the transaction is over")
        try:
            self.values.applier.apply(instruction)
        except BadChangeset as error:
            raise ValueError(str(error)) from error
        self._changeset.instructions.append(instruction)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """If the block does not come to its end after it has written something, the transaction is void."""
        before = len(self._changeset.instructions)
        is_whole = False
        try:
            yield
            is_whole = True
        finally:
            if not is_whole and len(self._changeset.instructions) > before:
                self._is_void = True


def _nested(value: object) -> int | None:
    """The type of the collection that ``value`` makes in a Mixed place; None if it is a plain value."""
    if isinstance(value, Mapping):
        return COLLECTION_DICTIONARY
    return COLLECTION_LIST if isinstance(value, list | tuple) else None


def _primary_of(table: Table) -> tuple[str, int, bool]:
    """The primary key as an AddTable tells it."""
    if table.pk is None:
        return "", TYPE_GLOBAL_KEY, False
    return table.pk.name, table.pk.type, table.pk.nullable
