"""What every system store promises, asked of each; then what only one on a disk can get wrong."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_helpers import Running, counting_bytes

from realmserver.store.interface import Conflict, StoreError, UnknownFormat
from realmserver.store.lmdb_store import LmdbStore
from realmserver.store.lmdb_system import LmdbSystemStore
from realmserver.store.system import MAX_KEY, MemorySystemStore, SystemStore


class Engine:
    """One store, and the way to open again what it left behind."""

    def __init__(self, make: Callable[[], SystemStore]) -> None:
        self._make = make
        self.store = make()

    def reopen(self) -> SystemStore:
        self.store.close()
        self.store = self._make()
        return self.store


@pytest.fixture(params=["memory", "lmdb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    kept = MemorySystemStore()
    lmdb = request.param == "lmdb"
    engine = Engine((lambda: LmdbSystemStore(tmp_path / "data")) if lmdb else (lambda: kept))
    yield engine
    engine.store.close()


@pytest.fixture
def store(engine: Engine) -> SystemStore:
    return engine.store


def test_what_was_written_is_read_and_survives_reopening(engine: Engine) -> None:
    engine.store.write({("users", b"a"): b"1", ("users", b"b"): b"", ("tokens", b"a"): b"2"})
    engine.store.write({("users", b"b"): None, ("users", b"never"): None})
    for reopened in (False, True):
        store = engine.reopen() if reopened else engine.store
        assert store.read("users", b"a") == b"1"
        assert store.read("users", b"b") is None
        assert store.read("tokens", b"a") == b"2"
        assert store.read("tokens", b"b") is None


def test_items_are_those_of_one_table_in_order(store: SystemStore) -> None:
    keys = [b"\x00", b"a", b"ab", b"ab\xff", b"abc", b"b", b"\xff", b"\xff\xff"]
    store.write({("t", key): key for key in keys})
    store.write({("s", b"a"): b"", ("t_", b"a"): b"", ("u", b"a"): b""})
    ordered = sorted(keys)
    assert store.items("t") == [(key, key) for key in ordered]
    assert [key for key, _ in store.items("t", b"ab")] == [b"ab", b"abc", b"ab\xff"]
    assert [key for key, _ in store.items("t", b"\xff")] == [b"\xff", b"\xff\xff"]
    assert [key for key, _ in store.items("t", limit=3)] == ordered[:3]
    assert [key for key, _ in store.items("t", after=ordered[2], limit=2)] == ordered[3:5]
    assert [key for key, _ in store.items("t", b"ab", after=b"ab")] == [b"abc", b"ab\xff"]
    assert [key for key, _ in store.items("t", b"ab", after=b"a")] == [b"ab", b"abc", b"ab\xff"]
    assert store.items("t", b"ab", after=b"b") == []
    assert store.items("t", b"zz") == store.items("empty") == store.items("t", limit=0) == []


def test_a_write_that_expects_something_else_changes_nothing(store: SystemStore) -> None:
    store.write({("t", b"a"): b"1"})
    for expected in ({("t", b"a"): b"2"}, {("t", b"a"): None}, {("t", b"b"): b""}, {("s", b"a"): b"1"}):
        with pytest.raises(Conflict):
            store.write({("t", b"a"): b"x", ("t", b"c"): b"x"}, {("t", b"z"): None, **expected})
    assert store.items("t") == [(b"a", b"1")]
    store.write({("t", b"a"): None}, {("t", b"a"): b"1", ("t", b"b"): None})
    assert store.items("t") == []


def test_the_text_of_a_conflict_tells_no_key(store: SystemStore) -> None:
    with pytest.raises(Conflict, match="the table tokens") as caught:
        store.write({}, {("tokens", b"secret"): b"x"})
    assert "secret" not in str(caught.value)


def test_of_many_writers_that_add_up_none_is_lost(store: SystemStore) -> None:
    ready = threading.Barrier(4)

    def work() -> None:
        ready.wait()
        added = 0
        while added < 25:
            old = store.read("t", b"sum")
            try:
                store.write({("t", b"sum"): b"%d" % (int(old or b"0") + 1)}, {("t", b"sum"): old})
                added += 1
            except Conflict:
                continue

    for writer in [Running(work) for _ in range(4)]:
        writer.result()
    assert store.read("t", b"sum") == b"100"


def test_big_values_and_long_keys(store: SystemStore) -> None:
    value = os.urandom(3 << 20)
    store.write({("t" * 32, b"k" * MAX_KEY): value})
    assert store.read("t" * 32, b"k" * MAX_KEY) == value


@pytest.mark.parametrize(
    ("table", "key"),
    [("", b"k"), ("T", b"k"), ("a\0", b"k"), ("a\n", b"k"), ("t" * 33, b"k"), ("t", b""), ("t", b"k" * 401)],
)
def test_what_is_no_place_is_refused(store: SystemStore, table: str, key: bytes) -> None:
    with pytest.raises(ValueError, match=r"name of a table|a key of"):
        store.read(table, key)
    with pytest.raises(ValueError, match=r"name of a table|a key of"):
        store.write({("t", b"k"): b"v", (table, key): b"v"})
    with pytest.raises(ValueError, match=r"name of a table|a key of"):
        store.write({("t", b"k"): b"v"}, {(table, key): None})
    assert store.items("t") == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(
        st.tuples(st.sampled_from(["a", "aa", "b"]), st.binary(min_size=1, max_size=4)),
        st.none() | st.binary(max_size=9),
    ),
    prefix=st.binary(max_size=2),
    after=st.binary(max_size=3),
)
def test_both_engines_do_the_same(
    engine: Engine, changes: dict[tuple[str, bytes], bytes | None], prefix: bytes, after: bytes
) -> None:
    for table in ("a", "aa", "b"):
        engine.store.write({(table, key): None for key, _ in engine.store.items(table)})
    engine.store.write(changes)
    for table in ("a", "aa", "b"):
        wanted = sorted(
            (key, value)
            for (owner, key), value in changes.items()
            if value is not None and owner == table and key.startswith(prefix) and key > after
        )
        assert engine.store.items(table, prefix, after=after) == wanted


# On the disk


def test_it_lives_beside_the_realms_and_nothing_is_readable_by_others(tmp_path: Path) -> None:
    root = tmp_path / "data"
    mask = os.umask(0)
    try:
        realms, system = LmdbStore(root, random_bytes=counting_bytes()), LmdbSystemStore(root)
        system.write({("t", b"k"): b"v"})
        assert realms.names() == []
        system.close()
        realms.close()
    finally:
        os.umask(mask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (root, *root.rglob("*"))}
    assert {name: mode for name, mode in modes.items() if mode not in (0o600, 0o700)} == {}
    assert modes["system"] == 0o700
    assert modes["data.mdb"] == 0o600


def test_two_servers_cannot_share_it(tmp_path: Path) -> None:
    store = LmdbSystemStore(tmp_path)
    with pytest.raises(StoreError, match=f"another server .process {os.getpid()}."):
        LmdbSystemStore(tmp_path)
    store.close()
    LmdbSystemStore(tmp_path).close()


def test_what_a_crash_left_of_its_making_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / "system.new").mkdir()
    (tmp_path / "system.new" / "data.mdb").write_bytes(b"half")
    store = LmdbSystemStore(tmp_path)
    assert store.items("t") == []
    assert not (tmp_path / "system.new").exists()
    store.close()


def test_a_realms_directory_or_a_damaged_file_is_refused(tmp_path: Path) -> None:
    realms = LmdbStore(tmp_path, random_bytes=counting_bytes())
    realms.open("/a", create=True)
    realms.close()
    shutil.copytree(tmp_path / "user_data" / "a.realm", tmp_path / "system")
    for content in (None, b"", b"T-DB" * 9000):
        if content is not None:
            (tmp_path / "system" / "data.mdb").write_bytes(content)
        with pytest.raises(UnknownFormat, match=r"the system store: .*system"):
            LmdbSystemStore(tmp_path)
