"""What applying sees of a Realm's content: places and the containers they are in, whatever keeps them.

``apply`` implements the rules of ``spec/merge.md`` 8.5 over these protocols; ``shape`` and ``values`` implement the
protocols. A *place* is a property of an object (chosen by its :class:`~realmserver.realms.schema.Column`), a slot of a
list (by index) or a key of a dictionary (by string). Callers have checked everything before they change anything: the
methods that change never refuse, and need not check.
"""

from typing import Final, Protocol, TypeVar

from realmserver.changeset.instructions import Key, Payload
from realmserver.realms.schema import Column, Schema, Table

# What a place holds. A model need not tell an integer from null in a Mixed property: no rule asks for the difference.
ABSENT: Final = 0  # a dictionary has no such key
NULL: Final = 1
INT: Final = 2
PLAIN: Final = 3  # any other simple value, links included
OBJECT: Final = 4  # an embedded object
LIST: Final = 5
DICTIONARY: Final = 6

S_contra = TypeVar("S_contra", contravariant=True)


class Places(Protocol[S_contra]):
    """A container of places."""

    def kind(self, at: S_contra) -> int:
        """What the place holds now: one of the constants above. Asked only where it can vary: of Mixed places, of
        places for embedded objects, and of the keys of their dictionaries."""

    def object_at(self, at: S_contra) -> "Fields":
        """The embedded object there; there is one."""

    def list_at(self, at: S_contra) -> "ListPlaces":
        """The list there; there is one, or the place is a property of a list type."""

    def dictionary_at(self, at: S_contra) -> "DictionaryPlaces":
        """The dictionary there; there is one, or the place is a property of a dictionary type."""

    def put(self, at: S_contra, payload: Payload) -> None:
        """Store a simple value, a link or null; whatever was there is gone with all its content."""

    def make(self, at: S_contra, kind: int) -> None:
        """Store a new, empty OBJECT, LIST or DICTIONARY; whatever was there is gone with all its content."""


class Fields(Places[Column], Protocol):
    """An object or an embedded object: its places are its properties."""

    def add_integer(self, column: Column, value: int) -> None:
        """Add ``value``, wrapping in 64 bits, to the integer there; nothing where the place holds null."""

    def set_insert(self, column: Column, payload: Payload) -> None: ...

    def set_erase(self, column: Column, payload: Payload) -> None: ...

    def set_clear(self, column: Column) -> None: ...


class ListPlaces(Places[int], Protocol):
    """A list. Indices given to its methods are in range."""

    def size(self) -> int:
        """All slots, those of links to missing objects included."""

    def insert(self, index: int, payload: Payload) -> None:
        """Insert a simple value, a link or null."""

    def insert_new(self, index: int, kind: int) -> None:
        """Insert a new, empty OBJECT, LIST or DICTIONARY."""

    def move(self, source: int, destination: int) -> None:
        """Take the element at ``source`` out and insert it, content and all, so that its index is ``destination``."""

    def erase(self, index: int) -> None: ...

    def clear(self) -> None: ...


class DictionaryPlaces(Places[str], Protocol):
    """A dictionary."""

    def erase(self, key: str) -> None:
        """Remove ``key`` and what it holds; nothing if it is absent."""

    def clear(self) -> None: ...


class Model(Protocol):
    """The content of one Realm. The schema is changed by ``apply``, in the model's :class:`Schema`."""

    @property
    def schema(self) -> Schema: ...

    def find(self, table: Table, key: Key) -> Fields | None:
        """The object, or None. What is returned is used up before the next call of ``create`` or ``erase``."""

    def create(self, table: Table, key: Key) -> None:
        """Create the object with default values; nothing if it exists."""

    def erase(self, table: Table, key: Key) -> None:
        """Erase the object with all it owns; nothing if it does not exist."""

    def table_erased(self, table: Table) -> None:
        """``table`` has left the schema; its objects go with it."""

    def column_erased(self, table: Table, column: Column) -> None:
        """``column`` has left ``table``; its values go with it."""
