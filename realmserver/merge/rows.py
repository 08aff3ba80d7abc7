"""Incoming instructions in their order, for the index of :mod:`realmserver.merge.walk`.

A :class:`Row` holds those of one kind: what is about one column, say. It drops instructions that the merge has
discarded as it comes across them, so that nobody steps over the same tombstone twice, and takes new ones that rule S4
puts before others (``spec/merge.md`` 2.1). It knows no rules.
"""

from bisect import bisect_right, insort
from collections.abc import Callable
from typing import Final

from realmserver.changeset.instructions import Changeset, Instruction

GAP: Final = 1 << 32
"""The distance of two neighbours in the sequence of incoming instructions, so that new ones find places between them:
at most one for each local AddColumn, and no memory holds as many of these."""

BEGINNING: Final = -1
END: Final = 1 << 62
"""Places before and behind all instructions."""


class Entry:
    """A live instruction of the incoming side, its changeset, and its place in the sequence of all."""

    __slots__ = ("instruction", "sequence", "side")

    def __init__(self, instruction: Instruction, side: Changeset, sequence: int) -> None:
        self.instruction: Instruction = instruction
        self.side: Changeset = side
        self.sequence: int = sequence


def _sequence_of(entry: Entry) -> int:
    return entry.sequence


class Row:
    """Incoming instructions in order of their sequence; the discarded ones do not count."""

    __slots__ = ("_entries", "_start")

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._start: int = 0  # all before it are discarded

    def __len__(self) -> int:
        """How many instructions are held, with the discarded ones that nobody has come across yet."""
        return len(self._entries) - self._start

    def add(self, entry: Entry) -> None:
        """Put an instruction into its place, mostly the last one."""
        entries = self._entries
        if not entries or entries[-1].sequence < entry.sequence:
            entries.append(entry)
        else:
            insort(entries, entry, self._start, key=_sequence_of)

    def first(self, after: int = BEGINNING) -> Entry | None:
        """The first live instruction, or the first one behind the place ``after``."""
        entries = self._entries
        start = self._start
        while start < len(entries) and entries[start].instruction.discarded:
            start += 1
        self._start = start
        position = start if after == BEGINNING else bisect_right(entries, after, start, key=_sequence_of)
        while position < len(entries):
            entry = entries[position]
            if not entry.instruction.discarded:
                return entry
            position += 1
        return None

    def sweep(self, meet: Callable[[Entry], bool], after: int = BEGINNING, before: int = END) -> None:
        """Call ``meet`` with each live instruction between two places, in order, until it returns that it is over.

        ``meet`` must discard the instruction unless it is over. It may not add to this row.
        """
        entries = self._entries
        start = self._start
        first = start if after == BEGINNING else bisect_right(entries, after, start, key=_sequence_of)
        position = first
        while position < len(entries):
            entry = entries[position]
            if entry.sequence >= before or (not entry.instruction.discarded and meet(entry)):
                break
            position += 1
        if first == start:
            self._start = position
        else:
            del entries[first:position]


def earlier(one: Entry | None, other: Entry | None) -> Entry | None:
    """The one that comes first in the sequence, if there is any."""
    if one is None or (other is not None and other.sequence < one.sequence):
        return other
    return one
