"""History that shrinks, as the simulator sees it: what was written when, and which histories lead to one state.

The journal of a Realm keeps the whole log, also what the server has folded and swept. From that, and not from the
server's own records, follows what a client may have begun with and who may be told to reset.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Final
from unittest.mock import patch

from realmserver.changeset.decode import decode
from realmserver.changeset.instructions import BadChangeset
from realmserver.realms import fanout, fold, history, idle_work, realm, retention, squash
from realmserver.realms.stored_reading import StoredReader
from realmserver.realms.values import Values
from realmserver.store.interface import Commit, LogEntry, Snapshot

from .choices import Choices, Violation
from .disk import Journal
from .wire import Claim

TTL: Final = 60
"""Seconds that history is kept."""

QUIET: Final = 4 * TTL
"""Seconds after which a world in which nothing was said or written is at rest: open Realms look at their history for
ever."""

LIMITS: Final[tuple[tuple[ModuleType, str, tuple[int, ...]], ...]] = (
    (retention, "LEAST_GROWTH", (1, 200)),
    (realm, "SWEEP_RECORDS", (2_000, 1, 5)),
    (realm, "DOWNLOAD_SIZE", (0, 60, 1 << 20)),
    (squash, "WINDOW_INSTRUCTIONS", (3, 6, 12, 4_000)),
    (squash, "STEP_OBJECTS", (500, 1)),
    (fold, "STEP_INSTRUCTIONS", (2_000, 1)),
    (history, "MAX_SQUASH_REFERENCES", (50_000, 0)),
    (fanout, "TAIL_SIZE", (64 << 10, 300)),
    (idle_work, "MAX_POSTPONED", (5, 0)),
)
"""What makes steps out of long work, small enough for the small Realms here: the histories draw from these."""

State = dict[str, list[list[object]]]


@contextmanager
def small_steps(choices: Choices) -> Iterator[None]:
    """Draw the limits of one history."""
    with ExitStack() as undo:
        for module, name, sizes in LIMITS:
            undo.enter_context(patch.object(module, name, choices.pick(sizes)))
        yield


def state_of(what: str, entries: Sequence[LogEntry]) -> State:
    """What ``entries`` come to, each of which must apply, strictly."""
    values = Values()
    for entry in entries:
        try:
            values.apply(decode(entry.changeset))
        except BadChangeset as error:
            raise Violation(f"{what}: no client can apply version {entry.version}: {error}") from error
    return values.state()


def histories(journal: Journal) -> dict[int, list[LogEntry]]:
    """All that was ever the history, by the version at which the log began then: 0 is the log as it was written, each
    other a squash and the log above."""
    log = [entry for commit in journal.commits for entry in commit.entries]
    squashes: dict[int, dict[int, LogEntry]] = {}
    found = {0: log}
    for commit in journal.commits:
        for base in commit.squash_dropped:
            squashes.pop(base, None)
        for (base, version), entry in commit.squash.items():
            squashes.setdefault(base, {})[version] = entry
        if commit.base is not None:
            base = commit.base[0]
            squashed = squashes.get(base, {})
            found[base] = [squashed[version] for version in sorted(squashed)] + log[base:]
    return found


def begun_from(journal: Journal, ident: int, cursor: int, received: Sequence[tuple[int, int, bytes]]) -> set[int]:
    """Of which histories client file ``ident`` can have received just this up to version ``cursor``."""
    return {
        base
        for base, entries in histories(journal).items()
        if [
            (entry.version, entry.timestamp, entry.changeset)
            for entry in entries
            if entry.origin != ident and entry.changeset and entry.version <= cursor
        ]
        == list(received)
    }


def is_lost(journal: Journal, claim: Claim) -> bool:
    """Whether nothing is left here that continues what the client has received: it must not be let in."""
    begun = begun_from(journal, claim.ident, claim.cursor, claim.received)
    return not begun or (claim.cursor < journal.kept.base_version and journal.kept.base_version not in begun)


def has_begun_here(journal: Journal, claim: Claim) -> bool:
    """Whether the client has certainly begun with the history as it is now: it must be let in."""
    begun = begun_from(journal, claim.ident, claim.cursor, claim.received)
    return bool(claim.received) and begun == {journal.kept.base_version}


def check_base(journal: Journal, commit: Commit) -> None:
    """A squash begins to count: what it stands for is old enough, and it leads to the same."""
    assert commit.base is not None
    base = commit.base[0]
    if not is_of_age(journal, base - 1):
        raise Violation(f"{journal.name}: version {base} is folded before its time")
    known = histories(journal)
    log, above = known[0][:base], len(known[0]) - base
    squashed = known[base][: len(known[base]) - above]
    if len(squashed) > base:
        raise Violation(f"{journal.name}: the squash up to version {base} has {len(squashed)} entries")
    expected, found = state_of(journal.name, log), state_of(f"{journal.name}, squash", squashed)
    if found != expected:
        raise Violation(f"{journal.name}: the squash up to version {base} leads to {found}, the log to {expected}")


def is_of_age(journal: Journal, version: int) -> bool:
    """Whether what came after ``version`` was written so long ago that a client that lacks it may be told to reset."""
    written = journal.written_at.get(version + 1)
    return written is not None and journal.now() >= written + TTL


def check_snapshot(name: str, snapshot: Snapshot, expected: State) -> None:
    """What a client that begins now downloads is whole and leads to the state; so do the stored values."""
    head = snapshot.head
    entries = list(snapshot.entries(1, head.version))
    below = [entry.version for entry in entries if entry.version <= head.base_version]
    if below != sorted(set(below)) or len(entries) - len(below) != head.version - head.base_version:
        raise Violation(f"{name}: the history has versions {[entry.version for entry in entries]}")
    found = state_of(f"{name}, as it is told now", entries)
    if found != expected:
        raise Violation(f"{name}: its history leads to {found}, all that was written to {expected}")
    values = StoredReader(snapshot)
    if values.version == head.version and values.state() != expected:
        raise Violation(f"{name}: the stored values are {values.state()}, all that was written leads to {expected}")
