"""The core of integration: what :mod:`realmserver.merge.compact` describes, as fast as this copy of the package can.

Where the core in Rust has been built (``native/``) it is that, elsewhere the readable one. Which of them it is makes no
difference to any result, and nothing but this module knows.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from realmserver._build import HAS_CORE
from realmserver.changeset.decode import decode
from realmserver.changeset.instructions import BadChangeset, Changeset
from realmserver.merge import compact
from realmserver.merge.compact import Objects, Writes
from realmserver.merge.summaries import Reference, Summary

if HAS_CORE:
    from realmserver import _native


class CompactChangeset(Protocol):
    """A changeset; see :class:`realmserver.merge.compact.CompactChangeset`."""

    @property
    def dirty(self) -> bool: ...
    @property
    def size(self) -> int: ...
    def canonical(self) -> bytes: ...
    def references(self) -> frozenset[Reference]: ...
    def destructive(self) -> bool: ...
    def erased_columns(self) -> list[tuple[str, str]]: ...
    def plain(self) -> tuple[Objects, Writes] | None: ...
    def settle(self) -> None: ...
    def release(self) -> None: ...


def parse(data: bytes, timestamp: int, origin: int, clear_types: bool) -> CompactChangeset:
    """As :func:`realmserver.merge.compact.parse`."""
    if not HAS_CORE:
        return compact.parse(data, timestamp, origin, clear_types)
    found = _native.parse(data, timestamp, origin, clear_types)
    if found is None:
        decode(data, clear_types=clear_types)  # says what is wrong
        raise BadChangeset("the core in Rust refuses what the readable one takes, which is a fault of this server")
    return found


def merge(incoming: Sequence[CompactChangeset], local: Sequence[CompactChangeset], meetings: int) -> int:
    """As :func:`realmserver.merge.compact.merge`."""
    if HAS_CORE:
        return _native.merge(incoming, local, meetings)
    side: Any = incoming  # parsed above, by the readable one, as those of the other side
    other: Any = local
    return compact.merge(side, other, meetings)


def summary_of(changeset: CompactChangeset) -> Summary:
    """What it touches."""
    return Summary(changeset.references(), changeset.destructive())


def instructions_of(changeset: CompactChangeset) -> Changeset:
    """The changeset as it is now, as instructions. They may be changed, and ``changeset`` is not to be used then."""
    if isinstance(changeset, compact.CompactChangeset):
        return changeset.changeset
    return decode(changeset.canonical())
