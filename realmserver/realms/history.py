"""What a Realm keeps in memory of its history, so that an upload need not read all of it (``spec/merge.md`` 8.4).

Two caches, both bounded and both only caches: which objects each recent server version touches, and the parsed
reciprocal changesets of client files that have lately uploaded. They are ahead of the store while a batch is made; if
its commit fails, the whole History is thrown away.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from realmserver.frozen import frozen
from realmserver.merge.summaries import HistoryIndex, Summary, union
from realmserver.realms.core import CompactChangeset, parse, summary_of
from realmserver.store.interface import LogEntry

MAX_CACHED_INSTRUCTIONS: Final = 50_000
"""Instructions in cached reciprocals of one Realm, some 20 MB: enough for a few dozen clients that edit at once."""

MAX_SQUASH_REFERENCES: Final = 50_000
"""Objects that the entries below the log may touch for that to be kept, some 10 MB: clients that were first used
offline each bring a few uploads that must meet them."""

SERVER_FILE_IDENT: Final = 1
"""The server's own file ident: the tie-break of its own changes (``spec/merge.md`` 0)."""

NOTHING: Final = Summary(frozenset(), False)

ReadEntry = Callable[[int], LogEntry]


@frozen
class _Cached:
    """A parsed reciprocal; ``size`` is the number of instructions it was counted with (a merge may add some)."""

    changeset: CompactChangeset
    size: int


class History:
    """The memory of one Realm's log, which stands at ``version`` now. Used by one thread at a time."""

    def __init__(self, version: int) -> None:
        self._index = HistoryIndex(version)
        self._origins: dict[int, int] = {}
        self._reciprocals: OrderedDict[tuple[int, int], _Cached] = OrderedDict()
        self._cached_instructions = 0
        self._squash: list[tuple[int, Summary]] | None = None

    def added(self, entry: LogEntry, summary: Summary) -> None:
        """A new log entry; versions come without a gap. ``summary`` may tell more than the entry touches."""
        self._index.add(entry.version, summary if entry.changeset else NOTHING)
        self._origins[entry.version] = entry.origin
        if len(self._origins) > 2 * (entry.version - self._index.floor):
            self._origins = {
                version: origin for version, origin in self._origins.items() if version > self._index.floor
            }

    def concurrent(self, run: Sequence[Summary], ident: int, base: int, current: int, read: ReadEntry) -> list[int]:
        """The versions in (``base``, ``current``] that a run of changesets of client file ``ident`` must meet.

        Left out are the client's own, the empty ones, and those that touch nothing that the run touches: neither side
        would change (``spec/merge.md`` 8.4.2).
        """
        if base >= current:
            return []
        versions = self._index.candidates(run, base)
        if versions is None:
            return self._look_at_all(union(run), ident, base, current, read)
        return [version for version in versions if version <= current and self._origins[version] != ident]

    def squashed(self, run: Sequence[Summary], base: int, entries: Callable[[], Iterable[LogEntry]]) -> list[int]:
        """The versions above ``base``, below those of the log, that a run must meet. Its sender began with them.

        ``entries`` gives all entries below the log, to be called where they are not known yet: what they touch is kept,
        if it is not too much. They are the server's own, so none of them is the sender's.
        """
        touched = union(run)
        if self._squash is not None:
            return [version for version, summary in self._squash if version > base and touched.meets(summary)]
        known: list[tuple[int, Summary]] = []
        met: list[int] = []
        references = 0
        for entry in entries():
            summary = _summary(entry)
            references += len(summary.references)
            if references <= MAX_SQUASH_REFERENCES:
                known.append((entry.version, summary))
            if entry.version > base and touched.meets(summary):
                met.append(entry.version)
        if references <= MAX_SQUASH_REFERENCES:
            self._squash = known
        return met

    def _look_at_all(self, run: Summary, ident: int, base: int, current: int, read: ReadEntry) -> list[int]:
        """A client came that has been away for longer than the index reaches: fill it again, from ``base`` on.

        It may not hold all of them, so each is judged on the way. Those that the run cannot meet stay unread later:
        after a large import that is nearly all of it.
        """
        self._index.forget(base)
        self._origins.clear()
        met: list[int] = []
        for entry in map(read, range(base + 1, current + 1)):
            summary = _summary(entry)
            self.added(entry, summary)
            if entry.origin != ident and run.meets(summary):
                met.append(entry.version)
        return met

    # Reciprocal histories: entry (file ident, version) is how the log's entry `version` looks to that client file.

    def cached_reciprocal(self, ident: int, version: int) -> CompactChangeset | None:
        """The parsed reciprocal, if it is in memory."""
        cached = self._reciprocals.get((ident, version))
        if cached is None:
            return None
        self._reciprocals.move_to_end((ident, version))
        return cached.changeset

    def load_reciprocal(self, ident: int, entry: LogEntry, stored: bytes | None) -> CompactChangeset:
        """Parse and keep the reciprocal of ``entry``. ``stored``: its transformed form, None = as in the log."""
        data = entry.changeset if stored is None else stored
        changeset = parse(data, entry.timestamp, entry.origin or SERVER_FILE_IDENT, True)
        self._keep((ident, entry.version), changeset)
        return changeset

    def forget_reciprocals(self, ident: int, versions: Iterable[int]) -> None:
        """Drop parsed reciprocals, because an upload that failed has changed them."""
        for version in versions:
            self._drop((ident, version))

    def write_back(self, ident: int, versions: Iterable[int], base: int) -> list[tuple[int, bytes]]:
        """The reciprocals among ``versions`` that the merge changed, encoded; those up to ``base`` are dropped.

        What stays in memory is afterwards as if it had been parsed from these bytes (``spec/merge.md`` 7, C5).
        """
        changed: list[tuple[int, bytes]] = []
        for version in sorted(versions):
            cached = self._reciprocals.get((ident, version))
            if cached is None:
                continue
            if version <= base:
                self._drop((ident, version))
            elif cached.changeset.dirty:
                cached.changeset.settle()
                changed.append((version, cached.changeset.canonical()))
                self._keep((ident, version), cached.changeset)
        while self._cached_instructions > MAX_CACHED_INSTRUCTIONS:
            self._drop(next(iter(self._reciprocals)))
        return changed

    def _keep(self, key: tuple[int, int], changeset: CompactChangeset) -> None:
        self._drop(key)
        cached = self._reciprocals[key] = _Cached(changeset, changeset.size)
        self._cached_instructions += cached.size

    def _drop(self, key: tuple[int, int]) -> None:
        cached = self._reciprocals.pop(key, None)
        if cached is not None:
            self._cached_instructions -= cached.size


def _summary(entry: LogEntry) -> Summary:
    return summary_of(parse(entry.changeset, entry.timestamp, entry.origin, True))
