"""What the server knows beside Realms: the seam for accounts, tokens and permissions, and its twin in memory.

A :class:`SystemStore` keeps bytes under (table, key) and changes any number of them as a whole. Who reads before he
writes says what he has read; if it has changed since, nothing is written and he reads again. It knows nothing of what
the tables mean: their owners give every value a leading format byte of their own. ``design.md`` 4.
"""

import re
import threading
from collections.abc import Mapping
from typing import Final, Protocol

from realmserver.store.interface import Conflict

MAX_KEY: Final = 400
"""Bytes in a key: LMDB takes 511, and engines put the table's name before it."""

Place = tuple[str, bytes]
"""A table and a key. A table's name is a word of lower-case letters and "_", a key has 1 to MAX_KEY bytes."""

Values = Mapping[Place, bytes | None]
"""What is at some places; None is nothing."""

_TABLE: Final = re.compile(r"[a-z_]{1,32}", re.ASCII)


class SystemStore(Protocol):
    """Tables of bytes. All calls may block on a disk, may be made by any thread, and raise ``StoreError``;
    ValueError for what is no place."""

    def read(self, table: str, key: bytes) -> bytes | None:
        """What is under ``key``, or None."""

    def items(
        self, table: str, prefix: bytes = b"", *, after: bytes = b"", limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """Keys that begin with ``prefix`` and are greater than ``after``, in order, with their values; at most
        ``limit`` of them. All as of one moment."""

    def write(self, changes: Values, expected: Values | None = None) -> None:
        """Put ``changes`` (None deletes) as a whole, durably.

        Raises :class:`Conflict`, and changes nothing, if ``expected`` is not what is there; ``StoreFull``.
        """

    def close(self) -> None:
        """Give all resources back."""


def check_place(table: str, key: bytes) -> None:
    """Raises ValueError for what may not be a place in a system store."""
    check_table(table)
    if not 1 <= len(key) <= MAX_KEY:
        raise ValueError(f"a key of {table} has 1 to {MAX_KEY} bytes: {key[:80]!r}")


def check_table(table: str) -> None:
    """Raises ValueError for what may not be the name of a table."""
    if not _TABLE.fullmatch(table):
        raise ValueError(f"not the name of a table: {table[:80]!r}")


def conflict(place: Place) -> Conflict:
    """The error for a place where something else is than was expected. Keys may be secrets: it tells the table."""
    return Conflict(f"the system store: another writer has changed the table {place[0]}")


class MemorySystemStore:
    """A :class:`SystemStore` in memory, for tests. What is in it survives :meth:`close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[Place, bytes] = {}

    def read(self, table: str, key: bytes) -> bytes | None:
        check_place(table, key)
        with self._lock:
            return self._values.get((table, key))

    def items(
        self, table: str, prefix: bytes = b"", *, after: bytes = b"", limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        check_table(table)
        with self._lock:
            found = sorted(
                (key, value)
                for (owner, key), value in self._values.items()
                if owner == table and key.startswith(prefix) and key > after
            )
        return found if limit is None else found[:limit]

    def write(self, changes: Values, expected: Values | None = None) -> None:
        for place in (*changes, *(expected or ())):
            check_place(*place)
        with self._lock:
            for place, value in (expected or {}).items():
                if self._values.get(place) != value:
                    raise conflict(place)
            for place, value in changes.items():
                if value is None:
                    self._values.pop(place, None)
                else:
                    self._values[place] = value

    def close(self) -> None:
        pass
