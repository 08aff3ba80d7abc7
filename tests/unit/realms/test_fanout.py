"""The entries that are kept at hand for sessions that are caught up."""

from realm_tools import HeldWorkers, open_realm

from realmserver.realms.fanout import ENTRY_COST, TAIL_SIZE, Fanout, Made
from realmserver.realms.requests import DownloadCursor, RealmError, RealmUnavailable, UploadCursor
from realmserver.store.interface import Head, LogEntry

AUTHOR, READER = 2, 3


def test_entries_without_a_byte_do_not_gather_without_end() -> None:
    workers = HeldWorkers()
    fanout: Fanout[int] = Fanout(workers, len, lambda: None, lambda error: RealmUnavailable(str(error)))
    kept = TAIL_SIZE // ENTRY_COST
    last = 10 * kept
    fanout.appended(LogEntry(version, 1, AUTHOR, version, 1, b"", 0) for version in range(1, last + 1))
    head = Head(bytes(16), version=last)
    found: list[Made[int] | RealmError] = []

    def fetch_from(version: int) -> None:
        fanout.fetch(open_realm(), head, READER, DownloadCursor(version), UploadCursor(), found.append)

    fetch_from(last - kept)
    assert (len(found), len(workers.waiting)) == (1, 0), "at hand"
    fetch_from(last - kept - 1)
    assert (len(found), len(workers.waiting)) == (1, 1), "to be read from the store"


def test_what_is_being_read_of_the_log_is_not_for_whoever_begins_with_the_squash() -> None:
    """It would get a part of one history, and the rest of another."""
    workers = HeldWorkers()
    fanout: Fanout[int] = Fanout(workers, len, lambda: None, lambda error: RealmUnavailable(str(error)))
    before, after = Head(bytes(16), version=10), Head(bytes(16), version=10, base_version=8)

    def fetch(head: Head) -> None:
        fanout.fetch(open_realm(), head, READER, DownloadCursor(), UploadCursor(), lambda _: None)

    fetch(before)
    fetch(before)
    assert len(workers.waiting) == 1, "one reading for both"
    fetch(after)
    assert len(workers.waiting) == 2
