"""Choices drawn from the bytes of a fuzzer, for targets whose inputs have a structure.

A small change of the bytes is a small change of the choices, so mutation works on what is made of them. Where the bytes
end, every choice is the first one: generators stop when ``is_empty``, and keep what is simplest first.
"""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Source:
    """A place in ``data``."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def is_empty(self) -> bool:
        return self._position >= len(self._data)

    def byte(self) -> int:
        """The next byte, 0 at the end."""
        if self.is_empty:
            return 0
        self._position += 1
        return self._data[self._position - 1]

    def below(self, limit: int) -> int:
        """A number from 0 to ``limit`` - 1; ``limit`` is 256 at most."""
        return self.byte() % limit

    def chance(self, percent: int) -> bool:
        """True in ``percent`` of a hundred cases, never at the end of the data."""
        return not self.is_empty and self.byte() * 100 < percent * 256

    def choice(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes, or what is left."""
        start, self._position = self._position, min(self._position + size, len(self._data))
        return self._data[start : self._position]

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))
