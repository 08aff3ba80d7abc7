"""Integration of uploads, through a Realm on a store in memory."""

import pytest
from realm_tools import FixedEnvironment, create, data, insert, memory_store, open_realm, schema, set_n, upload

from realmserver.changeset.decode import decode
from realmserver.changeset.instructions import (
    COLLECTION_LIST,
    COLLECTION_SINGLE,
    TABLE_EMBEDDED,
    TYPE_INT,
    TYPE_LINK,
    TYPE_LIST,
    TYPE_OBJECT_VALUE,
    AddColumn,
    AddTable,
    ArrayErase,
    ArrayInsert,
    Clear,
    EraseColumn,
    EraseObject,
    Payload,
    Update,
)
from realmserver.changeset.text import describe
from realmserver.realms.realm import Realm
from realmserver.realms.requests import (
    BadClientFileIdent,
    BadOriginFileIdent,
    BadServerVersion,
    BadUpload,
    Upload,
    UploadCursor,
    UploadDone,
    UploadEntry,
)
from realmserver.store.interface import Commit, Head, LogEntry, StoreError, StoreFull
from realmserver.store.memory import MemoryRealmStore, MemoryStore


def two_clients(realm: Realm) -> tuple[int, int]:
    """Two client files; the first has uploaded the schema and an object (versions 1 and 2)."""
    first, second = realm.allocate("a").ident, realm.allocate("b").ident
    realm.integrate([upload(first, (2, 0, schema()), (3, 0, create()))])
    return first, second


def texts(entry: LogEntry) -> list[str]:
    return [describe(instruction) for instruction in decode(entry.changeset).instructions]


def texts_of(changeset: bytes) -> list[str]:
    return [describe(instruction) for instruction in decode(changeset).instructions]


def test_each_changeset_becomes_one_version_in_upload_order() -> None:
    realm = open_realm()
    ident = realm.allocate("a").ident
    result = realm.integrate([upload(ident, (2, 0, schema()), (3, 0, create()), (5, 0, set_n(7)))])
    assert [entry.version for entry in result.entries] == [1, 2, 3]
    assert [entry.client_version for entry in result.entries] == [2, 3, 5]
    assert result.answers == (UploadDone(UploadCursor(5, 0)),)
    assert result.head.version == realm.head.version == 3


def test_a_changeset_sent_again_is_integrated_once() -> None:
    realm = open_realm()
    ident = realm.allocate("a").ident
    sent = upload(ident, (2, 0, schema()), (3, 0, create()))
    realm.integrate([sent])
    again = realm.integrate([sent])
    assert again.answers == (UploadDone(UploadCursor(3, 0)),)
    assert again.entries == ()
    assert realm.head.version == 2


def test_uploads_of_one_batch_are_merged_with_each_other() -> None:
    realm = open_realm()
    first, second = two_clients(realm)
    result = realm.integrate(
        [upload(first, (4, 2, insert(0, 11, 0)), timestamp=5), upload(second, (2, 2, insert(0, 22, 0)), timestamp=9)]
    )
    assert "[0]" in texts(result.entries[0])[0]
    assert "[1]" in texts(result.entries[1])[0], "the newer insertion comes after the older one"


def test_the_reciprocal_history_is_kept_for_the_next_upload() -> None:
    store = memory_store()
    realm = open_realm(store)
    first, second = two_clients(realm)
    realm.integrate([upload(first, (4, 2, insert(0, 11, 0)), timestamp=5)])
    realm.integrate([upload(second, (2, 2, insert(0, 22, 0)), timestamp=1)])
    realm.close()  # what follows is read from the store
    realm = open_realm(store)
    result = realm.integrate([upload(second, (3, 2, insert(1, 33, 1)), timestamp=1)])
    assert result.answers == (UploadDone(UploadCursor(3, 2)),)
    # At the second client 11 has not arrived: its list is [22], then [22, 33]; here it is [22, 11].
    assert texts(result.entries[0]) == texts(LogEntry(0, 0, 0, 0, 0, insert(1, 33, 2), 0)), (
        "33 stays behind 22; 11, being newer, follows"
    )


def test_a_bad_upload_leaves_no_trace_and_the_others_go_on() -> None:
    realm = open_realm()
    first, second = two_clients(realm)
    bad = upload(first, (4, 2, set_n(1)), (5, 2, set_n(1, key=99)))
    good = upload(second, (2, 2, set_n(2)))
    result = realm.integrate([bad, good])
    assert isinstance(result.answers[0], BadUpload)
    assert "changeset 5" in str(result.answers[0])
    assert isinstance(result.answers[1], UploadDone)
    assert [entry.origin for entry in result.entries] == [second]
    retried = realm.integrate([upload(first, (4, 2, set_n(1)))])
    assert retried.answers == (UploadDone(UploadCursor(4, 2)),), "what was good in it is not taken for integrated"


def test_after_a_bad_upload_the_client_files_later_ones_are_refused_too() -> None:
    realm = open_realm()
    first, _ = two_clients(realm)
    result = realm.integrate([upload(first, (4, 2, b"\xff")), upload(first, (5, 2, set_n(1)))])
    assert all(isinstance(answer, BadUpload) for answer in result.answers)
    assert realm.head.version == 2


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (upload(77, (2, 0, b"")), BadClientFileIdent),
        (Upload(2, (UploadEntry(4, 2, 1, 3, b""),), UploadCursor(4, 2), 0, 14), BadOriginFileIdent),
        (upload(2, (4, 9, b"")), BadServerVersion),
        (upload(2, (4, 2, b"\x3e")), BadUpload),
    ],
)
def test_what_is_wrong_with_an_upload_is_told(wrong: Upload, error: type[Exception]) -> None:
    realm = open_realm()
    two_clients(realm)
    assert isinstance(realm.integrate([wrong]).answers[0], error)


def test_the_clear_of_an_old_client_carries_no_collection_type() -> None:
    realm = open_realm()
    first, _ = two_clients(realm)
    clear = data(Clear("T", (TYPE_INT, 1), "items", [], 3))  # a prior_size, to a client below protocol 13
    old = Upload(first, (UploadEntry(4, 2, 1, 0, clear),), UploadCursor(4, 2), 2, 9)
    result = realm.integrate([old])
    assert isinstance(result.answers[0], UploadDone)
    stored = decode(result.entries[0].changeset).instructions[0]
    assert isinstance(stored, Clear)
    assert stored.collection == 0


def test_an_upload_whose_merge_would_take_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realmserver.realms.integrate.MAX_MEETINGS", 6)
    realm = open_realm()
    first, second = two_clients(realm)
    realm.integrate([upload(first, *((4 + number, 2, insert(0, number, number)) for number in range(3)))])
    edits = [(2 + number, 2, insert(0, number, number)) for number in range(3)]
    refused = realm.integrate([upload(second, *edits)]).answers[0]
    assert isinstance(refused, BadUpload)
    assert "too many edits" in str(refused)
    for edit in edits[:2]:
        assert isinstance(realm.integrate([upload(second, edit)]).answers[0], UploadDone), (
            "each upload has its own budget"
        )


def test_a_progress_report_makes_no_version() -> None:
    realm = open_realm()
    first, _ = two_clients(realm)
    result = realm.integrate([upload(first, progress=UploadCursor(9, 2))])
    assert result.answers == (UploadDone(UploadCursor(9, 2)),)
    assert result.entries == ()


def nested(store: MemoryStore, environment: FixedEnvironment) -> tuple[Realm, int, int]:
    """A Realm where T[1].any is the list [5]; both clients are at version 3."""
    realm = open_realm(store, environment)
    first, second = two_clients(realm)
    key = (TYPE_INT, 1)
    made = data(
        Update("T", key, "any", [], Payload(TYPE_LIST)), ArrayInsert("T", key, "any", [0], Payload(TYPE_INT, 5), 0)
    )
    realm.integrate([upload(first, (4, 2, made))])
    return realm, first, second


def test_what_the_known_faults_of_the_rules_break_is_dropped_and_logged() -> None:
    environment = FixedEnvironment()
    realm, first, second = nested(memory_store(), environment)
    key = (TYPE_INT, 1)
    # F5 of spec/merge.md 8.6: both make a list, the older side then overwrites it; its value is discarded.
    newer = data(
        Update("T", key, "any", [], Payload(TYPE_LIST)), ArrayInsert("T", key, "any", [1], Payload(TYPE_INT, 1), 1)
    )
    older = data(Update("T", key, "any", [], Payload(TYPE_INT, 21)))
    realm.integrate([upload(second, (2, 3, older), timestamp=1)])
    result = realm.integrate([upload(first, (5, 3, newer), timestamp=3)])
    assert isinstance(result.answers[0], UploadDone)
    assert len(environment.warnings) == 1
    assert f"client file {first}" in environment.warnings[0]
    assert not any("ArrayInsert" in text for text in texts(result.entries[0]))


def test_edits_of_a_column_that_others_erased_meanwhile_are_left_out() -> None:
    """No rule is about them but for Update; refused, the client that made them could never upload again."""
    environment = FixedEnvironment()
    realm = open_realm(environment=environment)
    first, second = two_clients(realm)
    realm.integrate([upload(first, (4, 2, data(EraseColumn("T", "items"))))])
    edits = [insert(0, 5, 0), set_n(7), insert(1, 6, 1)]
    result = realm.integrate([upload(second, *((2 + number, 2, edit) for number, edit in enumerate(edits)))])
    assert result.answers == (UploadDone(UploadCursor(4, 2)),)
    assert [texts(entry) for entry in result.entries] == [[], texts_of(set_n(7)), []]
    assert all("its column was erased" in warning for warning in environment.warnings)
    assert len(environment.warnings) == 2


def test_such_edits_do_not_come_back_in_a_column_that_was_added_again() -> None:
    """Their sender loses them when it hears of the erasure: a list that only it sees shorter would stop it later."""
    realm = open_realm()
    first, second = two_clients(realm)
    again = data(EraseColumn("T", "items"), AddColumn("T", "items", TYPE_INT, False, COLLECTION_LIST))
    realm.integrate([upload(first, (4, 2, again))])
    result = realm.integrate([upload(second, (2, 2, insert(0, 5, 0)))])
    assert [texts(entry) for entry in result.entries] == [[]]
    after = realm.integrate([upload(second, (3, 4, insert(0, 6, 0)))])
    assert [texts(entry) for entry in after.entries] == [texts_of(insert(0, 6, 0))]


def test_edits_of_an_erased_column_of_embedded_objects_are_left_out_too() -> None:
    realm = open_realm()
    first, second = two_clients(realm)
    key = (TYPE_INT, 1)
    embedded = data(
        AddTable("E", TABLE_EMBEDDED),
        AddColumn("E", "n", TYPE_INT, False, COLLECTION_SINGLE),
        AddColumn("T", "e", TYPE_LINK, True, COLLECTION_SINGLE, "E"),
        AddColumn("T", "es", TYPE_LINK, False, COLLECTION_LIST, "E"),
        Update("T", key, "e", [], Payload(TYPE_OBJECT_VALUE)),
        ArrayInsert("T", key, "es", [0], Payload(TYPE_OBJECT_VALUE), 0),
    )
    realm.integrate([upload(first, (4, 2, embedded))])
    realm.integrate([upload(first, (5, 3, data(EraseColumn("E", "n"))))])
    edits = data(
        Update("T", key, "e", ["n"], Payload(TYPE_INT, 3)), Update("T", key, "es", [0, "n"], Payload(TYPE_INT, 3))
    )
    result = realm.integrate([upload(second, (2, 3, edits))])
    assert [texts(entry) for entry in result.entries] == [[]]


def test_an_edit_of_a_column_that_never_was_is_refused_all_the_same() -> None:
    realm = open_realm()
    first, second = two_clients(realm)
    realm.integrate([upload(first, (4, 2, data(EraseColumn("T", "items"))))])
    wrong = data(ArrayInsert("T", (TYPE_INT, 1), "never", [0], Payload(TYPE_INT, 1), 0))
    assert isinstance(realm.integrate([upload(second, (2, 2, wrong))]).answers[0], BadUpload)


def tolerant(environment: FixedEnvironment) -> tuple[Realm, int]:
    """A Realm that has seen a merge in a Mixed place, and a client file that is at its version 4."""
    realm, first, second = nested(memory_store(), environment)
    realm.integrate([upload(first, (5, 3, data(Update("T", (TYPE_INT, 1), "any", [], Payload(TYPE_INT, 1)))))])
    older = data(Update("T", (TYPE_INT, 1), "any", [], Payload(TYPE_INT, 2)))
    realm.integrate([upload(second, (2, 3, older), timestamp=0)])
    assert realm.head.tolerant
    return realm, second


def test_the_log_does_not_grow_with_what_is_left_out() -> None:
    environment = FixedEnvironment()
    realm, client = tolerant(environment)
    wrong = data(*(ArrayErase("T", (TYPE_INT, 1), "any", [index], 1) for index in range(500)))
    result = realm.integrate([upload(client, (3, 4, wrong))])
    assert isinstance(result.answers[0], UploadDone)
    assert result.entries[0].changeset == b""
    assert len(environment.warnings) < 20
    assert "[0]" in environment.warnings[0]
    assert "492 more" in environment.warnings[-1]


def test_nothing_is_told_of_what_was_left_out_of_a_bad_upload() -> None:
    environment = FixedEnvironment()
    realm, client = tolerant(environment)
    wrong = data(ArrayErase("T", (TYPE_INT, 1), "any", [3], 1))
    result = realm.integrate([upload(client, (3, 4, wrong), (4, 4, set_n(1, key=99)))])
    assert isinstance(result.answers[0], BadUpload)
    assert environment.warnings == []


def test_without_a_merge_the_same_instruction_is_refused() -> None:
    environment = FixedEnvironment()
    realm, first, _ = nested(memory_store(), environment)
    wrong = data(ArrayErase("T", (TYPE_INT, 1), "any", [3], 1))
    assert isinstance(realm.integrate([upload(first, (5, 3, wrong))]).answers[0], BadUpload)
    assert environment.warnings == []


def test_a_realm_remembers_which_protocol_its_entries_need() -> None:
    store = memory_store()
    realm = open_realm(store)
    two_clients(realm)
    assert realm.head.required_protocol == 3, "it has a Mixed column"
    realm.close()
    realm, _, _ = nested(memory_store(), FixedEnvironment())
    assert realm.head.required_protocol == 13


def test_clearing_a_list_column_needs_no_new_protocol() -> None:
    realm = open_realm()
    first, _ = two_clients(realm)
    realm.integrate([upload(first, (4, 2, data(Clear("T", (TYPE_INT, 1), "items", [], COLLECTION_LIST))))])
    assert realm.head.required_protocol == 3
    realm.integrate([upload(first, (5, 2, data(Clear("T", (TYPE_INT, 1), "any", [], COLLECTION_LIST))))])
    assert realm.head.required_protocol == 13


def test_what_a_changeset_does_before_it_erases_the_column_counts_too() -> None:
    realm = open_realm()
    first, _ = two_clients(realm)
    cleared = [Clear("T", (TYPE_INT, 1), "any", [], COLLECTION_LIST), EraseColumn("T", "any")]
    realm.integrate([upload(first, (4, 2, data(*cleared)))])
    assert realm.head.required_protocol == 13, "an older client throws on a Clear of a Mixed property"


def test_a_failed_commit_changes_nothing_and_the_upload_can_come_again() -> None:
    refuse = [False]

    def before(name: str, commit: Commit) -> None:
        if refuse[0]:
            raise StoreFull("no room")

    store = MemoryStore(random_bytes=bytes, before_commit=before)
    realm = open_realm(store)
    first, second = two_clients(realm)
    sent = [upload(first, (4, 2, insert(0, 1, 0))), upload(second, (2, 2, insert(0, 2, 0)))]
    refuse[0] = True
    with pytest.raises(StoreFull):
        realm.integrate(sent)
    refuse[0] = False
    result = realm.integrate(sent)
    assert all(isinstance(answer, UploadDone) for answer in result.answers)
    assert [entry.version for entry in result.entries] == [3, 4]


def test_an_upload_after_an_erased_object_loses_its_writes() -> None:
    realm = open_realm()
    first, second = two_clients(realm)
    realm.integrate([upload(first, (4, 2, data(EraseObject("T", (TYPE_INT, 1)))))])
    result = realm.integrate([upload(second, (2, 2, set_n(5)))])
    assert result.entries[0].changeset == b"", "the version is there, and empty"


def test_a_realm_that_could_not_be_read_after_a_failed_commit_is_read_before_it_is_used_again() -> None:
    broken = [False]

    class Failing(MemoryRealmStore):
        def head(self) -> Head:
            if broken[0]:
                raise StoreError("no such disk")
            return super().head()

    def before(name: str, commit: Commit) -> None:
        if broken[0]:
            raise StoreError("no such disk")

    store = MemoryStore(random_bytes=bytes, before_commit=before)
    opened = store.open("/test", create=True)
    opened.__class__ = Failing
    realm = Realm(opened, FixedEnvironment())
    first, _ = two_clients(realm)
    broken[0] = True
    for _ in range(2):
        with pytest.raises(StoreError):
            realm.integrate([upload(first, (4, 2, create(7)))])
    broken[0] = False
    result = realm.integrate([upload(first, (4, 2, set_n(1, key=7)))])
    assert isinstance(result.answers[0], BadUpload), "the object was never made"
