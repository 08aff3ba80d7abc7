"""The places of a Realm's shape (:mod:`~realmserver.realms.places`): ways to its records, made for one instruction.

A container knows its parent, because what is known of it stands in the parent's record (a Child) until there is so much
to know that it gets a node of its own; then every container above it has one too.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Final, Protocol

from realmserver.changeset.instructions import COLLECTION_DICTIONARY, TYPE_INT, TYPE_NULL, Payload
from realmserver.realms.places import ABSENT, DICTIONARY, LIST, NULL, OBJECT, DictionaryPlaces
from realmserver.realms.schema import Column, Schema, Table
from realmserver.realms.shape_list import UNKNOWN_SLOT, Records, SlotTree, first_leaf
from realmserver.realms.shape_records import (
    NEW_CHILD,
    NULL_CHILD,
    PLAIN_CHILD,
    Child,
    ListBody,
    Node,
    RecordKey,
)

Step = int | str
"""How a container finds a place: by the number of a column, an index, or a dictionary's key."""


class Nodes(Records, Protocol):
    """The shape, as its places use it."""

    @property
    def schema(self) -> Schema: ...

    def new_node(self, owner: RecordKey, body: dict[int, Child] | ListBody | None) -> int:
        """Make a node inside the container whose record is ``owner``; its number."""

    def free_node(self, owner: RecordKey, node: int) -> None:
        """Free a node inside ``owner``, and all nodes inside it."""


class Holder(ABC):
    """A container of the shape. ``key`` is its record, None while all that is known of it stands in ``parent``'s."""

    __slots__ = ("_at", "_parent", "_shape", "_table", "key")

    kind_of_self: ClassVar[int]

    def __init__(
        self, shape: Nodes, table: int, parent: "Holder | None", at: Step, key: RecordKey | None = None
    ) -> None:
        self._shape = shape
        self._table = table
        self._parent = parent
        self._at = at
        if parent is not None:
            child = parent.child(at)
            key = (table, child.node) if child is not None and child.node else None
        self.key = key

    @abstractmethod
    def child(self, at: Step) -> Child | None:
        """What is known of a place; None where nothing is, or there is no such key."""

    @abstractmethod
    def assign(self, at: Step, child: Child | None) -> None:
        """Set what is known of a place. A node that was there must have been freed, or live on elsewhere."""

    @abstractmethod
    def new_body(self) -> dict[int, Child] | ListBody | None:
        """The body of a node for what is now known of this container."""

    def record_key(self) -> RecordKey:
        """The key of this container's record; makes a node if it has none."""
        if self.key is None:
            assert self._parent is not None
            node = self._shape.new_node(self._parent.record_key(), self.new_body())
            self.key = (self._table, node)
            self._parent.assign(self._at, Child(self.kind_of_self, node))
        return self.key

    def replace(self, at: Step, child: Child | None) -> None:
        """Set what is known of a place, and free what was inside it."""
        old = self.child(at)
        if old is not None and old.node:
            assert self.key is not None
            self._shape.free_node(self.key, old.node)
        elif old == child:
            return
        self.assign(at, child)


class ShapeFields(Holder):
    """An object (``at`` is 0 and ``key`` its record) or an embedded object of class ``owner``."""

    __slots__ = ("owner",)

    kind_of_self: ClassVar[int] = OBJECT

    def __init__(
        self, shape: Nodes, table: int, parent: Holder | None, at: Step, owner: Table, key: RecordKey | None = None
    ) -> None:
        super().__init__(shape, table, parent, at, key)
        self.owner = owner

    def child(self, at: Step) -> Child | None:
        if self.key is None:
            return None
        assert isinstance(at, int)
        return self._entries().get(at)

    def assign(self, at: Step, child: Child | None) -> None:
        key = self.record_key()
        assert isinstance(at, int)
        entries = dict(self._entries())
        if child is None:
            entries.pop(at, None)
        else:
            entries[at] = child
        if len(entries) > len(self.owner.columns):
            self._forget_erased_columns(key, entries)
        record = self._shape.get(key)
        assert isinstance(record, Node)
        self._shape.put(key, record._replace(body=entries))

    def new_body(self) -> dict[int, Child]:
        return {}

    def _entries(self) -> dict[int, Child]:
        assert self.key is not None
        record = self._shape.get(self.key)
        assert isinstance(record, Node)
        assert isinstance(record.body, dict)
        return record.body

    def _forget_erased_columns(self, key: RecordKey, entries: dict[int, Child]) -> None:
        live = {column.id for column in self.owner.columns.values()}
        for number in [number for number in entries if number not in live]:
            child = entries.pop(number)
            if child.node:
                self._shape.free_node(key, child.node)

    # Fields

    def kind(self, at: Column) -> int:
        child = self.child(at.id)
        return NULL if child is None else child.kind

    def object_at(self, at: Column) -> "ShapeFields":
        return ShapeFields(self._shape, self._table, self, at.id, self._shape.schema.target(at))

    def list_at(self, at: Column) -> "ShapeList":
        return ShapeList(self._shape, self._table, self, at.id, at)

    def dictionary_at(self, at: Column) -> "DictionaryPlaces":
        if at.mixed or at.embedded:
            return ShapeDictionary(self._shape, self._table, self, at.id, at)
        return UNKNOWN_DICTIONARY

    def put(self, at: Column, payload: Payload) -> None:
        if not at.plain:
            open_to_integers = payload.type in (TYPE_NULL, TYPE_INT)
            self.replace(at.id, None if open_to_integers else PLAIN_CHILD)

    def make(self, at: Column, kind: int) -> None:
        self.replace(at.id, NEW_CHILD[kind])

    def add_integer(self, column: Column, value: int) -> None:
        """What was an integer or null still is."""

    def set_insert(self, column: Column, payload: Payload) -> None:
        """Nothing needs to be known of the elements of sets."""

    def set_erase(self, column: Column, payload: Payload) -> None:
        """As :meth:`set_insert`."""

    def set_clear(self, column: Column) -> None:
        """As :meth:`set_insert`."""


class ShapeList(Holder):
    """A list in a place of ``column``. Without a node, its size is all that is known of it."""

    __slots__ = ("_column",)

    kind_of_self: ClassVar[int] = LIST

    def __init__(self, shape: Nodes, table: int, parent: Holder, at: Step, column: Column) -> None:
        super().__init__(shape, table, parent, at)
        self._column = column

    def child(self, at: Step) -> Child | None:
        assert isinstance(at, int)
        item = self._tree().get(at) if self.key is not None else UNKNOWN_SLOT
        if isinstance(item, Child):
            return item
        return NEW_CHILD[OBJECT] if self._column.embedded else PLAIN_CHILD

    def assign(self, at: Step, child: Child | None) -> None:
        assert isinstance(at, int)
        assert child is not None
        item = UNKNOWN_SLOT if child.kind not in (LIST, DICTIONARY) and not child.node else child
        self.record_key()
        self._tree().replace(at, item)

    def new_body(self) -> ListBody:
        return first_leaf(self.size())

    def _tree(self) -> SlotTree:
        assert self.key is not None
        node = self.key[1]
        assert isinstance(node, int)
        return SlotTree(self._shape, self._table, node)

    def _set_size(self, size: int) -> None:
        """Change the size of a list of which nothing else is known."""
        assert self._parent is not None
        self._parent.assign(self._at, Child(LIST, 0, size) if size else self._empty())

    def _empty(self) -> Child | None:
        """What the parent knows of an empty list: nothing where the place can hold nothing but a list."""
        return NEW_CHILD[LIST] if self._is_in_mixed() else None

    def _is_in_mixed(self) -> bool:
        return not isinstance(self._parent, ShapeFields) or not self._column.collection

    def _insert(self, index: int, child: Child) -> None:
        if child.kind in (LIST, DICTIONARY):
            self.record_key()
            self._tree().insert(index, child)
        elif self.key is not None:
            self._tree().insert(index, UNKNOWN_SLOT)
        else:
            self._set_size(self.size() + 1)

    # ListPlaces

    def size(self) -> int:
        if self.key is not None:
            return self._tree().size()
        assert self._parent is not None
        known = self._parent.child(self._at)
        return 0 if known is None else known.size

    def kind(self, at: int) -> int:
        child = self.child(at)
        assert child is not None
        return child.kind

    def object_at(self, at: int) -> ShapeFields:
        return ShapeFields(self._shape, self._table, self, at, self._shape.schema.target(self._column))

    def list_at(self, at: int) -> "ShapeList":
        return ShapeList(self._shape, self._table, self, at, self._column)

    def dictionary_at(self, at: int) -> "ShapeDictionary":
        return ShapeDictionary(self._shape, self._table, self, at, self._column)

    def put(self, at: int, payload: Payload) -> None:
        self.replace(at, PLAIN_CHILD)

    def make(self, at: int, kind: int) -> None:
        self.replace(at, NEW_CHILD[kind])

    def insert(self, index: int, payload: Payload) -> None:
        self._insert(index, PLAIN_CHILD)

    def insert_new(self, index: int, kind: int) -> None:
        self._insert(index, NEW_CHILD[kind])

    def move(self, source: int, destination: int) -> None:
        if self.key is not None:
            tree = self._tree()
            item = tree.get(source)
            tree.remove(source)
            tree.insert(destination, item)

    def erase(self, index: int) -> None:
        if self.key is None:
            self._set_size(self.size() - 1)
            return
        child = self._tree().get(index)
        if isinstance(child, Child) and child.node:
            self._shape.free_node(self.key, child.node)
        self._tree().remove(index)

    def clear(self) -> None:
        assert self._parent is not None
        self._parent.replace(self._at, self._empty())


class ShapeDictionary(Holder):
    """A dictionary of Mixed or of embedded objects: each of its keys has a record."""

    __slots__ = ("_column",)

    kind_of_self: ClassVar[int] = DICTIONARY

    def __init__(self, shape: Nodes, table: int, parent: Holder, at: Step, column: Column) -> None:
        super().__init__(shape, table, parent, at)
        self._column = column

    def child(self, at: Step) -> Child | None:
        if self.key is None:
            return None
        child = self._shape.get(self._entry(self.key, at))
        assert child is None or isinstance(child, Child)
        return child

    def assign(self, at: Step, child: Child | None) -> None:
        self._shape.put(self._entry(self.record_key(), at), child)

    def new_body(self) -> None:
        return None

    def _entry(self, key: RecordKey, at: Step) -> RecordKey:
        node = key[1]
        assert isinstance(node, int)
        assert isinstance(at, str)
        return self._table, node, at

    # DictionaryPlaces

    def kind(self, at: str) -> int:
        child = self.child(at)
        return ABSENT if child is None else child.kind

    def object_at(self, at: str) -> ShapeFields:
        return ShapeFields(self._shape, self._table, self, at, self._shape.schema.target(self._column))

    def list_at(self, at: str) -> ShapeList:
        return ShapeList(self._shape, self._table, self, at, self._column)

    def dictionary_at(self, at: str) -> "ShapeDictionary":
        return ShapeDictionary(self._shape, self._table, self, at, self._column)

    def put(self, at: str, payload: Payload) -> None:
        self.replace(at, NULL_CHILD if self._column.embedded else PLAIN_CHILD)

    def make(self, at: str, kind: int) -> None:
        self.replace(at, NEW_CHILD[kind])

    def erase(self, key: str) -> None:
        self.replace(key, None)

    def clear(self) -> None:
        assert self._parent is not None
        held_by_column = isinstance(self._parent, ShapeFields) and self._column.collection == COLLECTION_DICTIONARY
        self._parent.replace(self._at, None if held_by_column else NEW_CHILD[DICTIONARY])


class _UnknownDictionary:
    """A dictionary of simple values or links: every change succeeds, and nothing needs to be known of its keys."""

    __slots__ = ()

    def kind(self, at: str) -> int:
        raise AssertionError(f"the content of a dictionary of simple values is not known ({at!r})")

    def object_at(self, at: str) -> ShapeFields:
        raise AssertionError(f"no objects in a dictionary of simple values ({at!r})")

    def list_at(self, at: str) -> ShapeList:
        raise AssertionError(f"no lists in a dictionary of simple values ({at!r})")

    def dictionary_at(self, at: str) -> ShapeDictionary:
        raise AssertionError(f"no dictionaries in a dictionary of simple values ({at!r})")

    def put(self, at: str, payload: Payload) -> None: ...

    def make(self, at: str, kind: int) -> None: ...

    def erase(self, key: str) -> None: ...

    def clear(self) -> None: ...


UNKNOWN_DICTIONARY: Final = _UnknownDictionary()
