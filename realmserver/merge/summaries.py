"""Which entries of a history an incoming run can meet at all, without reading them (``spec/merge.md`` 8.4, point 2).

A merge changes nothing, and marks nothing dirty, between changesets that name no object, no added class and no added
column in common and erase no class and no column. So an entry of the history for which that is plain from its
:class:`Summary` need not be loaded, decoded or written back. The summary of an entry stays valid for every transformed
form of it (its reciprocals), because transforming never makes a changeset name something new, except where a class is
erased, and such an entry is never left out.

:class:`HistoryIndex` keeps the summaries of the newest versions of one Realm, inverted, in bounded memory.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from realmserver.changeset.instructions import (
    ERASE_COLUMN,
    ERASE_TABLE,
    AddColumn,
    AddTable,
    Changeset,
    Key,
    ObjectInstruction,
)

MAX_REFERENCES: Final = 100_000
"""References that one Realm's index holds, each of at most about 400 bytes: 40 MB for the busiest Realm. Clients that
are connected are a few versions behind, not thousands."""

MAX_VERSIONS: Final = 100_000
"""Versions that one Realm's index holds, since small and empty ones also take room: about 150 bytes each."""

Reference = str | tuple[str, str] | tuple[str, Key]
"""What a changeset names: a class that it adds, a column (class, field) that it adds, or an object (class, key)."""


class Summary:
    """What a changeset touches.

    ``destructive`` means that it erases a class or a column: it can then meet anything. Not to be changed.
    """

    __slots__ = ("destructive", "references")

    def __init__(self, references: frozenset[Reference], destructive: bool) -> None:
        self.references: frozenset[Reference] = references
        self.destructive: bool = destructive

    def is_empty(self) -> bool:
        """Whether the changeset has no instruction: then nothing meets it."""
        return not self.references and not self.destructive

    def meets(self, other: "Summary") -> bool:
        """Whether a merge of the two can change anything."""
        if self.is_empty() or other.is_empty():
            return False
        return self.destructive or other.destructive or not self.references.isdisjoint(other.references)


def summarize(changeset: Changeset) -> Summary:
    """The summary of the live instructions of a changeset."""
    references: set[Reference] = set()
    destructive = False
    for instruction in changeset.instructions:
        if instruction.discarded:
            continue
        if isinstance(instruction, ObjectInstruction):
            references.add((instruction.table, instruction.key))
        elif isinstance(instruction, AddTable):
            references.add(instruction.table)
        elif isinstance(instruction, AddColumn):
            references.add((instruction.table, instruction.field))
        elif instruction.op == ERASE_TABLE or instruction.op == ERASE_COLUMN:
            destructive = True
    return Summary(frozenset(references), destructive)


def union(summaries: Iterable[Summary]) -> Summary:
    """What a run of changesets touches."""
    references: set[Reference] = set()
    destructive = False
    for summary in summaries:
        references.update(summary.references)
        destructive = destructive or summary.destructive
    return Summary(frozenset(references), destructive)


class HistoryIndex:
    """Server version -> what it touches, for the newest versions of one Realm.

    Every version above :attr:`floor`, up to the last one added, is known. The oldest ones are dropped where the limits
    ask for it. A question costs what it finds and what the run names, however long the history is.
    """

    def __init__(
        self, floor: int = 0, *, max_references: int = MAX_REFERENCES, max_versions: int = MAX_VERSIONS
    ) -> None:
        """``floor`` is the Realm's version at which the index begins: nothing is known up to and including it."""
        self._max_references: int = max_references
        self._max_versions: int = max_versions
        self.floor: int = floor
        self.last: int = floor
        self._summaries: dict[int, Summary] = {}
        self._held: int = 0
        self._by_reference: dict[Reference, list[int]] = {}
        self._destructive: list[int] = []
        self._not_empty: list[int] = []

    def add(self, version: int, summary: Summary) -> None:
        """Note what ``version`` touches, also if that is nothing.

        Versions come without a gap: ``version`` must follow the last one added, or ``floor`` in a new or forgotten
        index; ValueError otherwise.
        """
        if version != self.last + 1:
            raise ValueError(f"version {version} does not follow {self.last}")
        self.last = version
        self._summaries[version] = summary
        self._held += len(summary.references)
        for reference in summary.references:
            self._by_reference.setdefault(reference, []).append(version)
        if summary.destructive:
            self._destructive.append(version)
        if not summary.is_empty():
            self._not_empty.append(version)
        if self._held > self._max_references or len(self._summaries) > self._max_versions:
            self._drop_oldest()

    def candidates(self, run: Iterable[Summary], above: int) -> list[int] | None:
        """The versions above ``above`` that an incoming run with these summaries can meet, sorted.

        Every version that the run meets is among them. None: not all versions above ``above`` are known, the caller
        must look at each of them.
        """
        if above < self.floor:
            return None
        references: set[Reference] = set()
        for summary in run:
            if summary.destructive:
                return self._not_empty[bisect_right(self._not_empty, above) :]
            references.update(summary.references)
        if not references:
            return []
        found = set(self._destructive[bisect_right(self._destructive, above) :])
        for reference in references:
            versions = self._by_reference.get(reference)
            if versions is not None and versions[-1] > above:
                found.update(versions[bisect_right(versions, above) :])
        return sorted(found)

    def forget(self, floor: int | None = None) -> None:
        """Forget everything, and begin again above ``floor`` (by default above the last version added).

        For when it is to be filled in from the log, from a lower ``floor`` on.
        """
        self.floor = self.last if floor is None else floor
        self.last = self.floor
        self._summaries = {}
        self._held = 0
        self._by_reference = {}
        self._destructive = []
        self._not_empty = []

    def _drop_oldest(self) -> None:
        """Drop versions until a quarter of the room is free, so that dropping is rare and costs little on average."""
        dropped: set[Reference] = set()
        while self._held > self._max_references * 3 // 4 or len(self._summaries) > self._max_versions * 3 // 4:
            self.floor += 1
            summary = self._summaries.pop(self.floor)
            self._held -= len(summary.references)
            dropped.update(summary.references)
        for reference in dropped:
            versions = self._by_reference[reference]
            del versions[: bisect_right(versions, self.floor)]
            if not versions:
                del self._by_reference[reference]
        del self._destructive[: bisect_right(self._destructive, self.floor)]
        del self._not_empty[: bisect_right(self._not_empty, self.floor)]
