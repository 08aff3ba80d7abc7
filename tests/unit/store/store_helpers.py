"""What the tests of the stores share: randomness that can be foretold, log entries, threads that report."""

import threading
from collections.abc import Callable

from realmserver.store.interface import Commit, LogEntry, RealmStore

DEADLINE = 20.0
"""Seconds after which a thread that should have ended is taken for hung."""


def counting_bytes() -> Callable[[int], bytes]:
    """Stands in for randomness: 1, 2, 3 …, big-endian."""
    state = [0]

    def take(size: int) -> bytes:
        state[0] += 1
        return state[0].to_bytes(size, "big")

    return take


def entry(version: int, changeset: bytes = b"", cumulative_size: int = 0) -> LogEntry:
    """A log entry whose numbers all differ, so that none can be taken for another."""
    return LogEntry(version, 10**6 + version, 2, 2 * version, 10**12 + version, changeset, cumulative_size)


def append(realm: RealmStore, *changesets: bytes) -> None:
    """Append changesets where the Realm stands."""
    head = realm.head()
    entries, size = [], head.size
    for version, changeset in enumerate(changesets, head.version + 1):
        size += len(changeset)
        entries.append(entry(version, changeset, size))
    realm.append(head.version, head.epoch, Commit(entries))


class Running(threading.Thread):
    """Runs ``work`` in a thread; :meth:`result` gives what it returned, or raises what it raised."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._result: object = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001 (handed to the test's own thread)
            self._error = error

    def result(self) -> object:
        self.join(DEADLINE)
        assert not self.is_alive(), "the thread hangs"
        if self._error is not None:
            raise self._error
        return self._result
