"""A local Realm: its versions, what it uploads and when it forgets, and what happens when something goes wrong."""

import itertools

import pytest
from client_edits import Editor
from client_tools import Server, add_schema, randomly

from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import Changeset, EraseTable
from realmserver.client.local import (
    FIRST_VERSION,
    TIMESTAMP_EPOCH,
    UPLOAD_SIZE,
    IntegrationFailed,
    LocalRealm,
    timestamp_at,
)
from realmserver.realms.requests import Download, DownloadCursor, DownloadEntry, SaltedVersion, UploadCursor
from realmserver.realms.values import Values


def filled(*names: str) -> LocalRealm:
    """A Realm with class T and an object for each name."""
    local = LocalRealm()
    with local.write(1) as tx:
        tx.add_class("T", "_id", "string")
        tx.add_property("T", "n", "int")
        tx.add_property("T", "text", "string")
    for name in names:
        with local.write(2) as tx:
            tx.create("T", name)
    return local


def download(entries: int = 0, *, at: int = 1, seen: int = 0, acknowledged: UploadCursor | None = None) -> Download:
    """A DOWNLOAD that ends at server version ``at``, its entries without content."""
    return Download(
        DownloadCursor(at, seen),
        SaltedVersion(at, 7),
        acknowledged or UploadCursor(),
        0,
        tuple(DownloadEntry(at - entries + 1 + each, seen, 1, 9, b"") for each in range(entries)),
    )


def test_an_empty_file_is_version_one_and_each_transaction_makes_the_next() -> None:
    local = LocalRealm()
    assert (local.version, local.last_written, local.is_uploaded) == (FIRST_VERSION, 0, True)
    with local.write(1) as tx:
        tx.add_class("T", "_id", "string")
    assert (local.version, local.last_written, local.is_uploaded) == (2, 2, False)


def test_a_transaction_that_writes_nothing_makes_no_version() -> None:
    local = filled()
    with local.write(1):
        pass
    assert local.version == 2


def test_a_download_makes_a_version_only_if_it_has_entries() -> None:
    local = filled("a")
    local.integrate(download(at=3))
    assert local.version == 3
    assert [batch.progress for batch in local.uploads(2)] == [UploadCursor(3, 0)]
    local.integrate(download(2, at=5))
    assert local.version == 4
    assert [batch.progress for batch in local.uploads(3)] == [UploadCursor(4, 5)]
    assert local.file.download == DownloadCursor(5, 0)
    assert local.file.latest == SaltedVersion(5, 7)


def test_changesets_name_the_server_version_they_stand_on() -> None:
    local = filled("a")
    local.integrate(download(1, at=5))
    with local.write(9) as tx:
        tx.increment("T", "a", "n")
    (batch,) = local.uploads(0)
    assert [(each.client_version, each.server_version, each.timestamp) for each in batch.entries] == [
        (2, 0, 1), (3, 0, 2), (5, 5, 9)
    ]  # fmt: skip
    assert (batch.progress, batch.locked_version) == (UploadCursor(5, 5), 5)


def test_nothing_is_uploaded_twice_and_nothing_is_reported_twice() -> None:
    local = filled("a", "b")
    (batch,) = local.uploads(3)
    assert [each.client_version for each in batch.entries] == [4]
    assert list(local.uploads(4)) == []


def test_an_upload_ends_after_128_kib() -> None:
    local = filled()
    for number in range(5):
        with local.write(2) as tx:
            tx.create("T", f"t{number}", {"text": "x" * (UPLOAD_SIZE // 2)})
    batches = list(local.uploads(0))
    assert [[each.client_version for each in batch.entries] for batch in batches] == [[2, 3, 4], [5, 6], [7]]
    assert [batch.progress for batch in batches] == [UploadCursor(4, 0), UploadCursor(6, 0), UploadCursor(7, 0)]


def test_acknowledged_changesets_are_forgotten_when_no_entry_can_meet_them_any_more() -> None:
    local = filled("a")
    local.integrate(download(at=2, seen=2, acknowledged=UploadCursor(3, 0)))
    assert local.is_uploaded
    assert [each.client_version for batch in local.uploads(0) for each in batch.entries] == [3]
    local.integrate(download(at=3, seen=3, acknowledged=UploadCursor(3, 0)))
    assert [each.client_version for batch in local.uploads(0) for each in batch.entries] == []


@pytest.mark.parametrize("seed", range(25))
def test_a_transaction_that_fails_leaves_nothing(seed: int) -> None:
    editor = Editor(randomly(seed), itertools.count())
    local = LocalRealm()
    with local.write(1) as tx:
        add_schema(tx)
    for _ in range(20):
        with local.write(1) as tx:
            editor.edit(tx)
        before, version = local.values.state(), local.version
        tables = dict(local.values.schema.tables)
        with pytest.raises(ZeroDivisionError), local.write(1) as tx:  # noqa: PT012 (a block is what is tested)
            tx.add_class("Extra", "_id", "int")
            tx.create("Extra", 1)
            editor.edit(tx)
            raise ZeroDivisionError
        assert local.values.state() == before
        assert (local.version, dict(local.values.schema.tables)) == (version, tables)
    assert len(list(local.uploads(0))) == 1


def test_undoing_brings_back_classes_and_columns_with_their_objects() -> None:
    local = filled("a", "b")
    with local.write(1) as tx:
        tx.increment("T", "a", "n", 5)
    values = local.values
    before = values.state()
    values.begin()
    table = values.schema.tables["T"]
    column = table.columns["n"]
    values.schema.put(table.without_column("n"))
    values.column_erased(table, column)
    values.erase(table, (3, "b"))
    values.apply(Changeset([EraseTable("T")]))
    assert values.classes() == []
    values.undo()
    assert values.state() == before


def test_values_have_one_transaction_at_a_time() -> None:
    values = Values()
    with pytest.raises(ValueError, match="no transaction"):
        values.undo()
    values.begin()
    with pytest.raises(ValueError, match="begun already"):
        values.begin()
    values.keep()
    values.begin()


def test_transactions_do_not_nest_and_nothing_is_integrated_within_one() -> None:
    local = filled()
    with local.write(1) as tx:
        for wrong in (lambda: local.write(1).__enter__(), lambda: local.integrate(download()), local.reset):
            with pytest.raises(ValueError, match="transaction is open"):
                wrong()
        tx.create("T", "a")
    assert local.get("T", "a") == {"_id": "a", "n": 0, "text": ""}


def test_what_cannot_be_integrated_breaks_the_realm_until_it_is_reset() -> None:
    local = filled("a")
    bad = encode(Changeset([EraseTable("Nothing")]))
    entry = DownloadEntry(1, 0, 1, 9, bad)
    with pytest.raises(IntegrationFailed, match="server version 1"):
        local.integrate(Download(DownloadCursor(1, 0), SaltedVersion(1, 7), UploadCursor(), 0, (entry,)))
    assert local.is_broken
    with pytest.raises(ValueError, match="reset"):
        local.integrate(download())
    with pytest.raises(ValueError, match="reset"):
        local.write(1).__enter__()
    local.reset()
    assert not local.is_broken
    local.integrate(download(1))


def test_a_reset_hands_out_what_was_never_acknowledged_and_begins_again() -> None:
    server, local = Server(), filled("a")
    server.join(local)
    server.sync(local)
    with local.write(3) as tx:
        tx.create("T", "lost")
    lost = local.reset()
    assert [each.client_version for each in lost] == [4]
    assert (local.version, local.file.ident, local.values.classes()) == (1, 0, [])
    server.join(local)
    server.sync(local)
    assert list(local.values.objects("T")) == [(3, "a")]
    assert local.values.state() == server.state()


def test_a_file_says_of_itself_what_the_server_checks() -> None:
    server, one, two = Server(), filled("a"), filled("b")
    for local in (one, two):
        server.join(local)
    server.sync(one, two)
    server.sync(one, two)
    for local in (one, two):
        identified = server.identify(local)
        assert identified.upload.client_version == local.file.upload.client_version
        assert identified.locked_version == local.file.download.server_version
        assert local.file.newest_version == local.version


def test_changesets_sent_again_are_integrated_once() -> None:
    server, local = Server(), filled("a")
    with local.write(3) as tx:
        tx.increment("T", "a", "n", 5)
    server.join(local)
    server.upload(local)
    server.upload(local, after=0)
    other = LocalRealm()
    server.join(other)
    server.download(other)
    assert other.get("T", "a") == {"_id": "a", "n": 5, "text": ""}


def test_timestamps_are_milliseconds_since_2015() -> None:
    assert timestamp_at(TIMESTAMP_EPOCH + 1.5) == 1500
    assert timestamp_at(0) == 0


def test_no_object_reads_as_none_and_no_class_is_an_error() -> None:
    local = filled()
    assert local.get("T", "nobody") is None
    with pytest.raises(KeyError):
        local.get("Nothing", "a")
