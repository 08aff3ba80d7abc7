"""A queue that takes next to nothing while it is empty, as most are: Python's own keeps 600 bytes ready for what comes,
and a server at rest has tens of thousands of them.
"""

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Line(Generic[T]):
    """As a ``deque``, of which it has what is used here."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: deque[T] | None = None

    def append(self, item: T) -> None:
        if self._items is None:
            self._items = deque()
        self._items.append(item)

    def popleft(self) -> T:
        """The first one. Raises IndexError if there is none."""
        items = self._items
        if items is None:
            raise IndexError("an empty line")
        item = items.popleft()
        if not items:
            self._items = None
        return item

    def clear(self) -> None:
        self._items = None

    def __len__(self) -> int:
        return len(self._items) if self._items is not None else 0

    def __bool__(self) -> bool:
        return self._items is not None

    def __iter__(self) -> Iterator[T]:
        return iter(self._items if self._items is not None else ())

    def __getitem__(self, place: int) -> T:
        if self._items is None:
            raise IndexError("an empty line")
        return self._items[place]
