"""What a Realm keeps in memory of its history: which versions an upload must meet, and parsed reciprocals."""

import pytest
from realm_tools import create, data, insert, schema, set_n

from realmserver.changeset.decode import decode
from realmserver.changeset.instructions import ARRAY_INSERT, TYPE_INT, AddColumn, EraseObject, EraseTable
from realmserver.merge.summaries import HistoryIndex, Summary, summarize
from realmserver.realms import history as module
from realmserver.realms.core import instructions_of, merge, parse
from realmserver.realms.history import History
from realmserver.store.interface import LogEntry

A, B = 2, 3


class Log:
    """The entries of a Realm, and how often one was read."""

    def __init__(self, *changesets: tuple[int, bytes]) -> None:
        self.entries = [
            LogEntry(number, 1, origin, number, number, changeset, 0)
            for number, (origin, changeset) in enumerate(changesets, 1)
        ]
        self.reads = 0

    def read(self, version: int) -> LogEntry:
        self.reads += 1
        return self.entries[version - 1]

    def fill(self, history: History) -> History:
        for entry in self.entries:
            history.added(entry, summary(entry.changeset))
        return history


def summary(changeset: bytes) -> Summary:
    return summarize(decode(changeset))


def test_own_and_empty_and_unrelated_versions_are_not_met() -> None:
    log = Log((A, schema()), (A, create(1)), (B, set_n(5, key=1)), (B, b""), (B, set_n(5, key=2)), (A, set_n(6, key=1)))
    history = log.fill(History(0))
    assert history.concurrent([summary(set_n(7, key=1))], A, 1, 6, log.read) == [3]
    assert history.concurrent([summary(set_n(7, key=1))], B, 1, 6, log.read) == [2, 6]
    assert log.reads == 0


def test_a_client_that_is_up_to_date_meets_nothing() -> None:
    log = Log((A, schema()), (A, create(1)))
    assert log.fill(History(0)).concurrent([summary(create(1))], B, 2, 2, log.read) == []


def test_versions_from_before_the_realm_was_opened_are_read_once() -> None:
    log = Log((A, schema()), (A, create(1)), (A, set_n(1)), (A, set_n(2, key=9)))
    history = History(4)
    assert history.concurrent([summary(set_n(7))], B, 1, 4, log.read) == [2, 3]
    reads = log.reads
    assert history.concurrent([summary(set_n(7))], B, 2, 4, log.read) == [3]
    assert log.reads == reads


def test_where_the_index_cannot_hold_the_history_every_version_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HistoryIndex, "candidates", lambda self, run, above: None)
    erased = data(EraseTable("T"))
    log = Log((A, schema()), (B, create(1)), (A, b""), (A, set_n(2, key=9)), (A, set_n(3)), (A, set_n(4)), (A, erased))
    history = log.fill(History(0))
    assert history.concurrent([summary(set_n(7))], B, 0, 7, log.read) == [5, 6, 7]
    assert history.concurrent([summary(set_n(7, key=9)), summary(set_n(7))], B, 0, 6, log.read) == [4, 5, 6]
    assert history.concurrent([summary(erased)], B, 0, 7, log.read) == [1, 4, 5, 6, 7]
    assert history.concurrent([summary(b"")], B, 0, 7, log.read) == []


def test_a_reciprocal_is_parsed_once_and_written_back_when_a_merge_changed_it() -> None:
    log = Log((A, insert(0, 1, 0)))
    history = History(1)
    assert history.cached_reciprocal(B, 1) is None
    local = history.load_reciprocal(B, log.entries[0], None)
    merge([parse(insert(0, 2, 0), 0, B, True)], [local], 100)
    assert local.dirty
    ((version, written),) = history.write_back(B, {1}, 0)
    assert (version, written) == (1, local.canonical())
    assert decode(written).instructions[0].op == ARRAY_INSERT
    assert history.cached_reciprocal(B, 1) is local
    assert not local.dirty
    assert history.write_back(B, {1}, 0) == []


def test_a_reciprocal_transformed_to_nothing_is_written_as_nothing() -> None:
    log = Log((A, set_n(1)))
    history = History(1)
    local = history.load_reciprocal(B, log.entries[0], None)
    merge([parse(data(EraseObject("T", (TYPE_INT, 1))), 9, B, True)], [local], 100)
    assert history.write_back(B, {1}, 0) == [(1, b"")]
    assert (local.size, local.canonical(), instructions_of(local).strings) == (0, b"", [])


def test_reciprocals_that_the_client_has_moved_beyond_are_dropped() -> None:
    log = Log((A, insert(0, 1, 0)))
    history = History(1)
    local = history.load_reciprocal(B, log.entries[0], None)
    merge([parse(insert(0, 2, 0), 0, B, True)], [local], 100)
    assert local.dirty
    assert history.write_back(B, {1}, 1) == []
    assert history.cached_reciprocal(B, 1) is None


def test_the_bound_on_parsed_reciprocals_holds_even_where_a_merge_adds_instructions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CACHED_INSTRUCTIONS", 12)
    links = data(*(AddColumn("T", f"l{number}", 9, True, 0, "Gone") for number in range(5)))
    history = History(0)
    for version in range(1, 40):
        entry = LogEntry(version, 1, A, version, 1, data(EraseTable("Gone")), 0)
        local = history.load_reciprocal(B, entry, None)
        merge([parse(links, 2, B, True)], [local], 100)
        assert local.size == 6, "each lost link becomes the erasure of its column"
        history.write_back(B, {version}, 0)
        held = [each for v in range(1, 40) if (each := history.cached_reciprocal(B, v)) is not None]
        assert sum(each.size for each in held) <= 12
