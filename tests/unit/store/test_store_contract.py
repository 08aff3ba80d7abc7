"""What every engine promises (``realmserver.store.interface``), asked of each."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_helpers import Running, append, counting_bytes, entry

from realmserver.store.interface import (
    MAX_SHAPE_KEY,
    ClientFile,
    Commit,
    Conflict,
    LogEntry,
    NoSuchRealm,
    RealmStore,
    Store,
    StoreError,
)
from realmserver.store.lmdb_store import LmdbStore
from realmserver.store.memory import MemoryStore


class Engine:
    """One store, and the way to open again what it left behind."""

    def __init__(self, make: Callable[[], Store]) -> None:
        self._make = make
        self.store = make()

    def reopen(self) -> Store:
        self.store.close()
        self.store = self._make()
        return self.store


@pytest.fixture(params=["memory", "lmdb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    randomness = counting_bytes()
    if request.param == "memory":
        kept = MemoryStore(random_bytes=randomness)
        engine = Engine(lambda: kept)
    else:
        engine = Engine(lambda: LmdbStore(tmp_path / "data", random_bytes=randomness))
    yield engine
    engine.store.close()


@pytest.fixture
def store(engine: Engine) -> Store:
    return engine.store


@pytest.fixture
def realm(store: Store) -> RealmStore:
    return store.open("/a", create=True)


# Realms


def test_a_new_realm_is_empty(realm: RealmStore) -> None:
    head = realm.head()
    assert len(head.realm_id) == 16
    assert (head.version, head.salt, head.size, head.last_ident, head.epoch) == (0, 0, 0, 1, 0)
    assert (head.base_version, head.base_salt, head.required_protocol, head.tolerant) == (0, 0, 2, False)
    with realm.snapshot() as snapshot:
        assert snapshot.head == head
        assert list(snapshot.entries(1, 0)) == []
        assert list(snapshot.clients()) == []
        assert snapshot.schema() == {}


def test_a_realm_that_does_not_exist_is_made_only_on_request(store: Store) -> None:
    with pytest.raises(NoSuchRealm, match="/a/b"):
        store.open("/a/b", create=False)
    assert not store.exists("/a/b")
    assert store.names() == []
    assert store.open("/a/b", create=True).name == "/a/b"
    assert store.exists("/a/b")


def test_the_stamp_of_a_realm_tells_whether_it_has_changed(store: Store) -> None:
    assert store.stamp("/a") is None
    with closing(store.open("/a", create=True)) as realm:
        append(realm, b"one")
    stamp = store.stamp("/a")
    assert stamp is not None
    store.open("/a", create=False).close()
    assert store.stamp("/a") == stamp
    with closing(store.open("/a", create=False)) as realm:
        append(realm, b"two")
    assert store.stamp("/a") != stamp


def test_names_are_those_of_all_realms_sorted(engine: Engine) -> None:
    names = ["/b", "/a/b/c", "/a", "/a/b", "/A", "/" + "x" * 1023, "/" + "y" * 200 + "..z/" + ".".join("k" * 300)]
    for name in names:
        engine.store.open(name, create=True)
    assert engine.store.names() == sorted(names)
    store = engine.reopen()
    assert store.names() == sorted(names)
    assert all(store.exists(name) and store.open(name, create=False).name == name for name in names)


def test_realms_have_different_ids_that_stay(engine: Engine) -> None:
    ids = {name: engine.store.open(name, create=True).head().realm_id for name in ("/a", "/b")}
    assert ids["/a"] != ids["/b"]
    store = engine.reopen()
    assert ids == {name: store.open(name, create=True).head().realm_id for name in ids}


def test_a_realm_can_be_open_only_once_at_a_time(store: Store) -> None:
    first = store.open("/a", create=True)
    with pytest.raises(StoreError, match="open already"):
        store.open("/a", create=False)
    first.close()
    first.close()
    store.open("/a", create=False)


def test_realms_do_not_share_anything(store: Store) -> None:
    realms = [store.open(f"/many/r{number}", create=True) for number in range(20)]
    for number, realm in enumerate(realms):
        append(realm, *[b"%d" % number] * (number + 1))
    for number, realm in enumerate(realms):
        with realm.snapshot() as snapshot:
            assert [e.changeset for e in snapshot.entries(1, number + 1)] == [b"%d" % number] * (number + 1)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "/",
        "//a",
        "/a/",
        "/../a",
        "/a/..",
        "/a/../../../etc",
        "/a.realm/b",
        "/.a",
        "/a\0",
        "/a+/b",
        "/ä",
        "/a\n",
    ],
)
def test_a_name_that_is_no_virtual_path_is_refused(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a Realm"):
        store.open(name, create=True)
    with pytest.raises(ValueError, match="not the name of a Realm"):
        store.exists(name)


def test_a_closed_realm_refuses_work(realm: RealmStore) -> None:
    realm.close()
    with pytest.raises(StoreError), realm.snapshot():
        pass
    with pytest.raises(StoreError):
        realm.append(0, 0, Commit([entry(1)]))


def test_a_realm_with_an_open_snapshot_cannot_be_closed(realm: RealmStore) -> None:
    with realm.snapshot() as snapshot:
        with pytest.raises(StoreError, match="open"):
            realm.close()
        assert snapshot.head.version == 0
    realm.close()


def test_a_snapshot_ends_with_its_context(realm: RealmStore) -> None:
    append(realm, b"x")
    with realm.snapshot() as snapshot:
        pass
    with pytest.raises(StoreError):
        snapshot.entry(1)


# The log


def test_what_was_appended_is_read_and_survives_reopening(engine: Engine) -> None:
    realm = engine.store.open("/a", create=True)
    entries = [entry(1, b"one", 3), entry(2, b"", 3), entry(3, bytes(1000), 1003)]
    assert realm.append(0, 0, Commit(entries[:2])).version == 2
    after = realm.append(2, 0, Commit(entries[2:]))
    assert (after.version, after.salt, after.size) == (3, entries[2].salt, 1003)
    for reopened in (False, True):
        if reopened:
            realm = engine.reopen().open("/a", create=False)
        assert realm.head() == after
        with realm.snapshot() as snapshot:
            assert list(snapshot.entries(1, 3)) == entries
            assert list(snapshot.entries(2, 2)) == entries[1:2]
            assert snapshot.entry(3) == entries[2]


@pytest.mark.parametrize("version", [-1, 0, 2, 2**64])
def test_an_entry_that_the_log_does_not_hold_is_a_key_error(realm: RealmStore, version: int) -> None:
    append(realm, b"x")
    with realm.snapshot() as snapshot:
        with pytest.raises(KeyError):
            snapshot.entry(version)
        with pytest.raises(KeyError):
            list(snapshot.entries(version, version))


@pytest.mark.parametrize("versions", [[2], [1, 3], [1, 1], [0], [1, 2, 4]])
def test_versions_with_a_gap_are_refused(realm: RealmStore, versions: list[int]) -> None:
    with pytest.raises(ValueError, match="does not follow"):
        realm.append(0, 0, Commit([entry(version) for version in versions], schema={"t": b"x"}))
    assert realm.head().version == 0
    with realm.snapshot() as snapshot:
        assert snapshot.schema() == {}


@pytest.mark.parametrize(("expected_version", "epoch"), [(0, 0), (2, 0), (1, 1)])
def test_a_writer_that_expects_another_state_is_refused(realm: RealmStore, expected_version: int, epoch: int) -> None:
    append(realm, b"x")
    before = realm.head()
    commit = Commit([entry(expected_version + 1)], {2: ClientFile(2, 7)}, shape={b"k": b"v"}, last_ident=2)
    with pytest.raises(Conflict, match="/a"):
        realm.append(expected_version, epoch, commit)
    assert realm.head() == before
    with realm.snapshot() as snapshot:
        assert snapshot.client(2) is None
        assert snapshot.shape(b"k") is None
    append(realm, b"y")


def test_two_writers_at_the_same_version_cannot_both_win(realm: RealmStore) -> None:
    ready = threading.Barrier(4)

    def work() -> bool:
        ready.wait()
        try:
            realm.append(0, 0, Commit([entry(1)]))
        except Conflict:
            return False
        return True

    writers = [Running(work) for _ in range(4)]
    assert sorted(bool(writer.result()) for writer in writers) == [False, False, False, True]


@pytest.mark.parametrize("field", ["salt", "origin", "client_version", "timestamp", "cumulative_size"])
@pytest.mark.parametrize("number", [-1, 2**64])
def test_numbers_beyond_64_bits_are_refused(realm: RealmStore, field: str, number: int) -> None:
    changes: dict[str, Any] = {field: number}
    with pytest.raises(ValueError, match="64 bits"):
        realm.append(0, 0, Commit([entry(1)._replace(**changes)]))
    changes[field] = 2**64 - 1
    realm.append(0, 0, Commit([entry(1)._replace(**changes)]))
    with realm.snapshot() as snapshot:
        assert getattr(snapshot.entry(1), field) == 2**64 - 1


def test_a_changeset_of_16_mib_that_does_not_compress(realm: RealmStore) -> None:
    changeset = random.Random(1).randbytes(16 << 20)
    append(realm, changeset, b"after")
    with realm.snapshot() as snapshot:
        assert snapshot.entry(1).changeset == changeset
        assert snapshot.entry(2).changeset == b"after"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changesets=st.lists(
        st.builds(lambda data, times: data * times, st.binary(max_size=300), st.integers(0, 50)), max_size=5
    )
)
def test_every_changeset_comes_back_as_it_was(realm: RealmStore, changesets: list[bytes]) -> None:
    first = realm.head().version + 1
    append(realm, *changesets)
    with realm.snapshot() as snapshot:
        assert [e.changeset for e in snapshot.entries(first, realm.head().version)] == changesets


# Client files and their reciprocal history


def test_client_files_are_put_and_read_in_order(engine: Engine) -> None:
    realm = engine.store.open("/a", create=True)
    clients = [
        ClientFile(2, 2**63 - 1, "someone", 1, 2, 3, 4),
        ClientFile(256, 7),
        ClientFile(3, 5, "üser", 10, 20, 30, 40),
        ClientFile(5, 5, "üser", 10, 20, 30, 40, 50),
    ]
    head = realm.append(0, 0, Commit(clients={client.ident: client for client in clients}, last_ident=256))
    assert (head.version, head.last_ident) == (0, 256)
    changed = evolve(clients[0], client_version=9)
    realm.append(0, 0, Commit(clients={2: changed}))
    realm = engine.reopen().open("/a", create=False)
    assert realm.head().last_ident == 256
    with realm.snapshot() as snapshot:
        assert list(snapshot.clients()) == [changed, clients[2], clients[3], clients[1]]
        assert snapshot.client(3) == clients[2]
        assert snapshot.client(4) is None


def test_a_file_ident_is_never_given_out_again(realm: RealmStore) -> None:
    realm.append(0, 0, Commit(last_ident=5))
    with pytest.raises(ValueError, match="given out"):
        realm.append(0, 0, Commit(last_ident=4))
    assert realm.append(0, 0, Commit(last_ident=5)).last_ident == 5


def test_a_client_file_under_another_ident_is_refused(realm: RealmStore) -> None:
    with pytest.raises(ValueError, match="under the ident 3"):
        realm.append(0, 0, Commit(clients={3: ClientFile(2, 1)}))


def test_reciprocal_history_tells_untouched_from_transformed_to_nothing(realm: RealmStore) -> None:
    long = b"ab" * 4000
    realm.append(0, 0, Commit(reciprocal={(2, 1): b"", (2, 2): b"x", (3, 2): long}))
    with realm.snapshot() as snapshot:
        assert snapshot.reciprocal(2, 1) == b""
        assert snapshot.reciprocal(2, 2) == b"x"
        assert snapshot.reciprocal(2, 3) is None
        assert snapshot.reciprocal(3, 1) is None
        assert snapshot.reciprocal(3, 2) == long


def test_trim_drops_reciprocal_history_up_to_the_base_and_of_that_client_only(realm: RealmStore) -> None:
    versions = [1, 2, 255, 256, 2**40]
    realm.append(0, 0, Commit(reciprocal={(ident, version): b"x" for ident in (2, 3, 4) for version in versions}))
    realm.append(0, 0, Commit(trim={3: 255}, reciprocal={(3, 2): b"written after the trim"}))
    with realm.snapshot() as snapshot:
        kept = {ident: [v for v in versions if snapshot.reciprocal(ident, v) is not None] for ident in (2, 3, 4)}
        assert kept == {2: versions, 3: [2, 256, 2**40], 4: versions}
        assert snapshot.reciprocal(3, 2) == b"written after the trim"
    realm.append(0, 0, Commit(trim={2: 2**64 - 1, 9: 5}))
    with realm.snapshot() as snapshot:
        assert [snapshot.reciprocal(2, v) for v in versions] == [None] * 5
        assert snapshot.reciprocal(4, 1) == b"x"


# Schema and shape


def test_schema_and_shape_are_put_and_deleted(engine: Engine) -> None:
    realm = engine.store.open("/a", create=True)
    odd = b"\xff\xfe".decode("utf-8", "surrogateescape")
    realm.append(0, 0, Commit(schema={"t": b"1", odd: b"2", "gone": b"3"}, shape={b"k": b"", b"gone": b"v"}))
    realm.append(0, 0, Commit(schema={"gone": None, "never": None, "t": b"4"}, shape={b"gone": None, b"never": None}))
    realm = engine.reopen().open("/a", create=False)
    with realm.snapshot() as snapshot:
        assert snapshot.schema() == {"t": b"4", odd: b"2"}
        assert snapshot.shape(b"k") == b""
        assert snapshot.shape(b"gone") is None
        assert snapshot.shape(b"never") is None


def test_shape_prefixes_are_deleted_before_keys_are_put(realm: RealmStore) -> None:
    keys = [b"a", b"ab", b"ab\xff", b"ac", b"b", b"\xff", b"\xff\xff", b"\xff\xff\x01"]
    realm.append(0, 0, Commit(shape=dict.fromkeys(keys, b"old")))
    realm.append(0, 0, Commit(shape_prefixes=[b"ab", b"\xff\xff", b"zz"], shape={b"ab1": b"new"}))
    with realm.snapshot() as snapshot:
        found = {key: value for key in [*keys, b"ab1"] if (value := snapshot.shape(key)) is not None}
    assert found == {b"a": b"old", b"ac": b"old", b"b": b"old", b"\xff": b"old", b"ab1": b"new"}
    realm.append(0, 0, Commit(shape_prefixes=[b""], shape={b"b": b"alone"}))
    with realm.snapshot() as snapshot:
        assert {key: snapshot.shape(key) for key in keys if snapshot.shape(key) is not None} == {b"b": b"alone"}


def test_values_are_put_read_in_ranges_and_deleted_by_prefix(engine: Engine) -> None:
    realm = engine.store.open("/a", create=True)
    keys = [b"a", b"ab", b"ab\0", b"ab\xff", b"ac", b"b"]
    realm.append(0, 0, Commit(objects={key: b"<" + key for key in reversed(keys)}))
    realm = engine.reopen().open("/a", create=False)
    with realm.snapshot() as snapshot:
        assert snapshot.object(b"ab") == b"<ab"
        assert snapshot.object(b"x") is None
        assert [key for key, _ in snapshot.objects(b"", limit=10)] == keys
        assert list(snapshot.objects(b"ab", limit=2)) == [(b"ab", b"<ab"), (b"ab\0", b"<ab\0")]
        assert [key for key, _ in snapshot.objects(b"ab", after=b"ab", limit=9)] == [b"ab\0", b"ab\xff"]
        assert [key for key, _ in snapshot.objects(b"ab", after=b"a", limit=9)] == [b"ab", b"ab\0", b"ab\xff"]
        assert list(snapshot.objects(b"ab", after=b"ab\xff", limit=9)) == []
        assert list(snapshot.objects(b"ab", limit=0)) == []
        realm.append(0, 0, Commit(objects_prefixes=[b"ab"], objects={b"ab\0": b"new", b"a": None}))
        assert snapshot.object(b"a") == b"<a"
    with realm.snapshot() as snapshot:
        assert list(snapshot.objects(b"", limit=10)) == [(b"ab\0", b"new"), (b"ac", b"<ac"), (b"b", b"<b")]


def _squashed(number: int) -> LogEntry:
    return entry(number)._replace(changeset=b"squashed %d" % number, origin=0)


def test_a_squash_counts_from_the_moment_its_base_version_does(engine: Engine) -> None:
    realm = engine.store.open("/a", create=True)
    realm.append(0, 0, Commit([entry(version) for version in range(1, 11)]))
    realm.append(10, 0, Commit(squash={(7, version): _squashed(version) for version in (1, 2, 3)}))
    realm = engine.reopen().open("/a", create=False)
    with realm.snapshot() as before:
        assert before.entry(2) == entry(2)
        head = realm.append(10, 0, Commit(base=(7, 77)))
        assert (head.version, head.base_version, head.base_salt) == (10, 7, 77)
        assert before.entry(2) == entry(2)
    realm = engine.reopen().open("/a", create=False)
    assert realm.head() == head
    with realm.snapshot() as snapshot:
        assert snapshot.entry(2) == _squashed(2)
        assert [each.version for each in snapshot.entries(1, 10)] == [1, 2, 3, 8, 9, 10]
        assert [each.version for each in snapshot.entries(2, 9)] == [2, 3, 8, 9]
        assert [each.version for each in snapshot.entries(2, 2)] == [2]
        assert [each.version for each in snapshot.entries(4, 7)] == []
        for missing in (0, 4, 7, 11):
            with pytest.raises(KeyError):
                snapshot.entry(missing)


def test_sweeping_takes_what_is_useless_in_steps_and_nothing_else(realm: RealmStore) -> None:
    realm.append(0, 0, Commit([entry(version) for version in range(1, 21)]))
    begun = {2: ClientFile(2, 1), 3: ClientFile(3, 1, start_version=15)}
    realm.append(
        20,
        0,
        Commit(
            clients=begun,
            reciprocal={(ident, version): b"r" for ident in (2, 3) for version in (1, 15, 16)},
            squash={(base, version): _squashed(version) for base in (10, 15, 18) for version in (1, 2)},
        ),
    )
    realm.append(20, 0, Commit(base=(10, 1)))
    realm.append(20, 0, Commit(base=(15, 1)))
    steps = 1
    while realm.sweep(5):
        steps += 1
    assert steps == 4  # 15 entries of the log, 2 of the squash, 2 of reciprocal history
    assert not realm.sweep(5)
    with realm.snapshot() as snapshot:
        assert [each.version for each in snapshot.entries(1, 20)] == [1, 2, 16, 17, 18, 19, 20]
        found = [(ident, version) for ident in (2, 3) for version in range(21) if snapshot.reciprocal(ident, version)]
        assert found == [(2, 16), (3, 1), (3, 15), (3, 16)]
    realm.append(20, 0, Commit(base=(18, 1)))
    with realm.snapshot() as snapshot:
        assert [each.version for each in snapshot.entries(1, 20)] == [1, 2, 19, 20]


def test_a_squash_can_be_dropped(realm: RealmStore) -> None:
    realm.append(0, 0, Commit([entry(version) for version in range(1, 4)]))
    realm.append(3, 0, Commit(squash={(3, 1): _squashed(1), (3, 2): _squashed(2)}))
    realm.append(3, 0, Commit(squash_dropped=[3], squash={(3, 1): _squashed(1)}))
    realm.append(3, 0, Commit(base=(3, 1)))
    with realm.snapshot() as snapshot:
        assert list(snapshot.entries(1, 3)) == [_squashed(1)]


@pytest.mark.parametrize(
    "commit",
    [
        Commit(base=(4, 1)),
        Commit(base=(0, 1)),
        Commit(squash={(4, 1): entry(1)}),
        Commit(squash={(3, 4): entry(4)}),
        Commit(squash={(3, 0): entry(1)}),
        Commit(squash={(3, 1): entry(2)}),
    ],
)
def test_a_base_or_squash_that_cannot_be_is_refused(realm: RealmStore, commit: Commit) -> None:
    head = realm.append(0, 0, Commit([entry(version) for version in range(1, 4)]))
    with pytest.raises(ValueError, match="/a: "):
        realm.append(3, 0, commit)
    assert realm.head() == head


def test_keys_have_a_length(realm: RealmStore) -> None:
    longest = b"k" * MAX_SHAPE_KEY
    realm.append(0, 0, Commit(shape={longest: b"v"}, shape_prefixes=[longest], schema={"t" * MAX_SHAPE_KEY: b"v"}))
    for commit in (
        Commit(shape={b"": b"v"}),
        Commit(shape={longest + b"k": b"v"}),
        Commit(shape_prefixes=[longest + b"k"]),
        Commit(schema={"": b"v"}),
        Commit(schema={"ü" * (MAX_SHAPE_KEY // 2 + 1): b"v"}),
    ):
        with pytest.raises(ValueError, match="bytes"):
            realm.append(0, 0, commit)
    with realm.snapshot() as snapshot:
        assert snapshot.shape(longest) == b"v"


def test_the_heads_other_fields_change_with_a_commit(engine: Engine) -> None:
    realm = engine.store.open("/a", create=True)
    before = realm.head()
    after = realm.append(0, 0, Commit(required_protocol=14, tolerant=True))
    assert after == evolve(before, required_protocol=14, tolerant=True)
    assert realm.append(0, 0, Commit()) == after
    assert engine.reopen().open("/a", create=False).head() == after


# Snapshots


def test_a_snapshot_shows_its_version_whatever_is_appended(realm: RealmStore) -> None:
    first = Commit(
        [entry(1, b"old")],
        {2: ClientFile(2, 1, "old")},
        {(2, 1): b"old"},
        schema={"t": b"old"},
        shape={b"k": b"old", b"p1": b"old"},
    )
    second = Commit(
        [entry(2, b"new")],
        {2: ClientFile(2, 1, "new"), 3: ClientFile(3, 1)},
        {(2, 2): b"new"},
        {2: 1},
        {"t": b"new", "u": b"new"},
        {b"k": b"new"},
        [b"p"],
    )
    realm.append(0, 0, first)
    with realm.snapshot() as snapshot:
        entries = snapshot.entries(1, 2)
        assert next(entries).changeset == b"old"
        realm.append(1, 0, second)
        realm.append(2, 0, Commit([entry(3)], shape={b"k": None}))
        assert snapshot.head.version == 1
        with pytest.raises(KeyError):
            next(entries)
        assert [client.owner for client in snapshot.clients()] == ["old"]
        assert (snapshot.reciprocal(2, 1), snapshot.reciprocal(2, 2)) == (b"old", None)
        assert snapshot.schema() == {"t": b"old"}
        assert (snapshot.shape(b"k"), snapshot.shape(b"p1")) == (b"old", b"old")
        with realm.snapshot() as newer:
            assert newer.head.version == 3
            assert (newer.reciprocal(2, 1), newer.reciprocal(2, 2)) == (None, b"new")
            assert (newer.shape(b"k"), newer.shape(b"p1")) == (None, None)


def test_a_snapshot_may_be_handed_to_another_thread(realm: RealmStore) -> None:
    append(realm, b"x")
    with realm.snapshot() as snapshot:
        assert Running(lambda: snapshot.entry(1).changeset).result() == b"x"
        assert snapshot.entry(1).changeset == b"x"


def test_readers_in_threads_see_whole_commits_while_a_writer_appends(realm: RealmStore) -> None:
    commits = 60
    realm.append(0, 0, Commit([entry(1)], schema={"version": b"1"}, shape={b"version": b"1"}))
    done = threading.Event()

    def read() -> int:
        seen = 0
        while not done.is_set() or seen < realm.head().version:
            with realm.snapshot() as snapshot:
                version = snapshot.head.version
                assert version >= seen
                assert snapshot.shape(b"version") == snapshot.schema()["version"] == b"%d" % version
                assert len(list(snapshot.entries(1, version))) == version
                seen = version
        return seen

    readers = [Running(read) for _ in range(3)]
    try:
        for version in range(2, commits + 1):
            value = b"%d" % version
            commit = Commit([entry(version, bytes(50_000))], schema={"version": value}, shape={b"version": value})
            realm.append(version - 1, 0, commit)
    finally:
        done.set()
    assert [reader.result() for reader in readers] == [commits] * 3


def test_a_snapshot_of_the_newest_state_does_not_hinder_a_commit_that_needs_room(realm: RealmStore) -> None:
    """The thread that appends may itself hold the snapshot from which it made the commit."""
    append(realm, b"x")
    with realm.snapshot() as snapshot:
        append(realm, random.Random(1).randbytes(4 << 20))
        assert snapshot.head.version == 1
        assert snapshot.entry(1).changeset == b"x"
        with pytest.raises(KeyError):
            snapshot.entry(2)
    assert realm.head().version == 2


def test_a_commit_that_needs_room_waits_for_a_snapshot_of_an_older_state(realm: RealmStore) -> None:
    append(realm, b"x")
    opened, leave = threading.Event(), threading.Event()

    def read() -> bytes:
        with realm.snapshot() as snapshot:
            opened.set()
            assert leave.wait(20)
            return snapshot.entry(1).changeset

    reader = Running(read)
    assert opened.wait(20)
    append(realm, b"y")  # now the reader's state is an older one
    writer = Running(lambda: append(realm, random.Random(1).randbytes(4 << 20)))
    with realm.snapshot() as snapshot:  # a growing map shuts no reader out
        assert snapshot.entry(2).changeset == b"y"
    leave.set()
    assert reader.result() == b"x"
    writer.result()
    assert realm.head().version == 3
