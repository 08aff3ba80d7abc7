"""What only a store on a disk can get wrong: kills, full disks, damaged and foreign files, permissions, its map."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from itertools import count
from pathlib import Path

import lmdb
import pytest
import store_child
from store_helpers import Running, append, counting_bytes, entry

from realmserver.store import lmdb_environment, records
from realmserver.store.interface import Commit, Conflict, NoSuchRealm, StoreError, StoreFull, UnknownFormat
from realmserver.store.lmdb_environment import DATA_FILE, INITIAL_MAP_SIZE, Environment, Writing
from realmserver.store.lmdb_store import CREATING, IDENTITY_KEY, LOCK_FILE, META, TABLES, LmdbStore, claim

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def open_store(root: Path, patience: float = 20.0) -> LmdbStore:
    return LmdbStore(root, random_bytes=counting_bytes(), patience=patience)


@pytest.fixture
def store(root: Path) -> Iterator[LmdbStore]:
    store = open_store(root)
    yield store
    store.close()


def start_child(what: str, root: Path, map_size: int = INITIAL_MAP_SIZE) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, store_child.__file__, what, str(root), str(map_size)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        text=True,
    )


def tree_modes(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): oct(stat.S_IMODE(path.stat().st_mode)) for path in [root, *root.rglob("*")]
    }


# Kills


def test_every_acknowledged_version_survives_a_kill(root: Path) -> None:
    acknowledged = 0
    for appends in (1, 40, 150):
        with start_child("append", root) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "open\n"
            for _ in range(appends):
                acknowledged = int(child.stdout.readline())
            child.kill()
            acknowledged = max([acknowledged, *map(int, child.stdout.read().split())])
        store = open_store(root)
        realm = store.open("/a/b", create=False)
        head = realm.head()
        assert acknowledged <= head.version <= acknowledged + 1
        with realm.snapshot() as snapshot:
            for version in range(1, head.version + 1):
                assert snapshot.entry(version) == entry(version, store_child.changeset(version))
            assert snapshot.shape(b"newest") == b"%d" % head.version
        store.close()
    assert acknowledged > 150


def test_what_a_crash_left_of_a_realm_in_the_making_is_cleared_away(root: Path) -> None:
    open_store(root).close()
    (root / "creating" / "0123").mkdir()
    (root / "creating" / "0123" / DATA_FILE).write_bytes(b"half")
    store = open_store(root)
    assert list((root / "creating").iterdir()) == []
    assert store.names() == []
    store.close()


# Full disks


@pytest.mark.parametrize("map_size", [INITIAL_MAP_SIZE, 4 * store_child.LIMIT], ids=["growing", "within the map"])
def test_a_full_disk_is_an_error_that_leaves_no_trace(root: Path, map_size: int) -> None:
    with start_child("fill", root, map_size) as child:
        assert child.stdout is not None
        lines = child.stdout.read().splitlines()
    assert child.returncode == 0
    assert lines[0] == "open"
    assert lines[1].startswith("full at ")
    full_at = int(lines[1].split()[2].rstrip(":"))
    assert "/a/b" in lines[1]
    assert full_at >= 3
    assert lines[2:] == [str(full_at + 2)]
    store = open_store(root)
    with store.open("/a/b", create=False).snapshot() as snapshot:
        lengths = [len(found.changeset) for found in snapshot.entries(1, full_at + 2)]
    assert lengths == [store_child.SMALL] * full_at + [5, store_child.SMALL]
    store.close()


def test_a_realm_that_finds_no_room_does_not_come_to_exist(
    store: LmdbStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", no_room)
        with pytest.raises(StoreFull, match="/a"):
            store.open("/a", create=True)
    assert not store.exists("/a")
    assert store.names() == []
    assert list((root / "creating").iterdir()) == []
    assert store.open("/a", create=True).head().version == 0


def test_the_room_of_the_lock_file_is_taken_when_a_realm_is_made(store: LmdbStore, root: Path) -> None:
    """A hole in it would become a SIGBUS where the disk is full."""
    store.open("/a", create=True)
    status = (root / "user_data" / "a.realm" / "lock.mdb").stat()
    assert status.st_blocks * 512 >= status.st_size >= lmdb_environment.LOCK_FILE_SIZE


def test_a_store_is_usable_after_an_error_of_lmdb_and_snapshots_live_on(tmp_path: Path) -> None:
    directory = tmp_path / "env"
    Environment.create(directory, tmp_path / "new", "it", ["t"], lambda txn: txn.put("t", b"k", b"v"))
    environment = Environment(directory, "it", ["t"], patience=0)

    def fail(txn: Writing) -> None:
        txn.put("t", b"k", b"never")
        raise lmdb.PanicError("as after a failed write")

    with environment.view() as view:
        with pytest.raises(StoreError, match="it: as after a failed write"):
            environment.write(fail, 0)
        environment.write(lambda txn: txn.put("t", b"k", b"w"), 0)
        assert view.get("t", b"k") == b"v"
        with pytest.raises(StoreError, match="as after"):
            environment.write(fail, 0)
        with environment.view() as newer:  # the older view puts the opening anew off
            assert newer.get("t", b"k") == b"w"
        assert view.get("t", b"k") == b"v"
    with environment.view() as newer:
        assert newer.get("t", b"k") == b"w"
    environment.close()


def test_a_reader_does_not_open_an_environment_anew_under_a_transaction_that_writes(tmp_path: Path) -> None:
    """The older view, which had put that off, may be left while the next transaction is at work."""
    directory = tmp_path / "env"
    Environment.create(directory, tmp_path / "new", "it", ["t"], lambda txn: txn.put("t", b"k", b"v"))
    environment = Environment(directory, "it", ["t"])

    def fail(txn: Writing) -> None:
        raise lmdb.DiskError("as for a full disk")

    older = ExitStack()
    older.enter_context(environment.view())
    environment.write(lambda txn: txn.put("t", b"k", b"w"), 0)
    with pytest.raises(StoreFull):
        environment.write(fail, 0)

    def read() -> bytes | None:
        older.close()
        with environment.view() as view:
            return view.get("t", b"k")

    large = os.urandom(2 * INITIAL_MAP_SIZE)  # so that the map grows between two attempts

    def write_slowly(txn: Writing) -> None:
        txn.put("t", b"k", b"x")
        assert Running(read).result() == b"w"
        attempts.append(txn)
        txn.put("t", b"l", large)

    attempts: list[Writing] = []
    environment.write(write_slowly, 0)
    assert len(attempts) > 1
    with environment.view() as view:
        assert (view.get("t", b"k"), view.get("t", b"l")) == (b"x", large)
    environment.close()


def test_closing_a_realm_once_more_does_not_let_it_be_opened_twice(store: LmdbStore) -> None:
    """Two environments over one file in one process would give up each other's locks."""
    first = store.open("/a", create=True)
    first.close()
    second = store.open("/a", create=False)
    first.close()
    with pytest.raises(StoreError, match="open already"):
        store.open("/a", create=False)
    append(second, b"x")


def test_nothing_is_opened_once_the_store_is_closed(root: Path) -> None:
    """Another server may have the data directory by then."""
    store = open_store(root)
    store.open("/a", create=True).close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.open("/a", create=True)
    store.close()


# Damaged and foreign files

PAGE = os.sysconf("SC_PAGE_SIZE")


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _cut_to(length: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, length)


def _overwrite(offset: int, data: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    return damage


def _as_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _realm_as_file(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"SQLite format 3\0")


def _other_program(path: Path) -> None:
    shutil.rmtree(path.parent)
    with lmdb.open(str(path.parent), map_size=INITIAL_MAP_SIZE) as env, env.begin(write=True) as txn:
        txn.put(b"theirs", b"x")


def _other_format(path: Path) -> None:
    environment = Environment(path.parent, "it", TABLES)
    with environment.view() as view:
        identity = view.get(META, IDENTITY_KEY)
    assert identity is not None
    environment.write(lambda txn: txn.put(META, IDENTITY_KEY, b"\x7f" + identity[1:]), 0)
    environment.close()


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda path: path.write_bytes(b""), "damaged or not an LMDB file"),
        (lambda path: path.write_bytes(b"T-DB" * 5000), "damaged or not an LMDB file"),
        (_cut_to(100), "damaged or not an LMDB file"),
        (_cut_to(4096), "damaged or not an LMDB file"),
        (_cut_to(8192), "cut short"),
        (_cut, "cut short"),
        (_overwrite(20, b"\x02"), "data format"),
        (_overwrite(8192, bytes(1 << 18)), "damaged"),
        (_overwrite(8192, b"\xa5" * (1 << 18)), "damaged"),
        (Path.unlink, "there is no file"),
        (_as_directory, "there is no file"),
        (_realm_as_file, "there is no file"),
        (_other_program, "not written by this server"),
        (_other_format, "format 127"),
    ],
)
def test_what_is_not_a_whole_realm_of_this_format_is_refused(
    root: Path, damage: Callable[[Path], None], cause: str
) -> None:
    store = open_store(root)
    realm = store.open("/a/b", create=True)
    append(realm, *[bytes([version]) * 250 for version in range(250)])
    append(realm, os.urandom(600_000))
    realm.close()
    damage(root / "user_data" / "a" / "b.realm" / DATA_FILE)
    for create in (False, True):
        with pytest.raises(UnknownFormat, match=cause) as caught:
            store.open("/a/b", create=create)
        assert "/a/b: " in str(caught.value)
        assert "b.realm" in str(caught.value)
    store.open("/a/c", create=True)  # and hurts nobody else
    store.close()


def test_any_page_that_reading_comes_upon_and_that_is_none_is_told_as_damage(root: Path) -> None:
    store = open_store(root)
    append(store.open("/a", create=True), b"x")
    store.close()
    path = root / "user_data" / "a.realm" / DATA_FILE
    whole = path.read_bytes()
    refusals: list[str] = []
    for page in range(2, 16):
        path.write_bytes(whole)
        _overwrite(page * PAGE, b"\xa5" * PAGE)(path)
        store = open_store(root)
        try:
            with store.open("/a", create=False).snapshot() as snapshot:
                snapshot.entry(1)
        except UnknownFormat as error:
            refusals.append(str(error))
        finally:
            store.close()
    assert len(refusals) >= 3
    assert [text for text in refusals if not (text.startswith("/a: ") and "damaged" in text)] == []


def test_a_damaged_value_is_an_error_with_the_realms_name(store: LmdbStore, root: Path) -> None:
    realm = store.open("/a", create=True)
    append(realm, b"x")
    realm.close()
    environment = Environment(root / "user_data" / "a.realm", "it", TABLES)
    environment.write(lambda txn: txn.put("log", records.number_key(1), b"\x01short"), 0)
    environment.close()
    with store.open("/a", create=False).snapshot() as snapshot, pytest.raises(StoreError, match=r"^/a: .*bytes"):
        snapshot.entry(1)


@pytest.mark.parametrize("full", [False, True])
def test_a_realm_of_an_earlier_version_gets_the_tables_it_lacks(root: Path, full: bool) -> None:
    with closing(open_store(root)) as store:
        store.open("/a", create=True).append(0, 0, Commit(entries=[entry(1)]))
    directory = root / "user_data" / "a.realm"
    size = (directory / DATA_FILE).stat().st_size
    with lmdb.open(str(directory), max_dbs=len(TABLES), map_size=size, sync=False) as env:
        with env.begin(write=True) as txn:
            txn.drop(env.open_db(b"objects", txn=txn))
        if full:
            _fill(env)
    with closing(open_store(root)) as store:
        realm = store.open("/a", create=False)
        assert realm.head().version == 1
        realm.append(1, 0, Commit(objects={b"k": b"v"}))
        with realm.snapshot() as snapshot:
            assert (snapshot.object(b"k"), snapshot.entry(1)) == (b"v", entry(1))


def _fill(env: lmdb.Environment) -> None:
    """Put something on every page that the map has left, as far as LMDB can."""
    shape = env.open_db(b"shape")
    with suppress(lmdb.MapFullError):
        for number in count():
            with env.begin(write=True) as txn:
                txn.put(b"%d" % number, bytes(2_000), db=shape)


def test_a_directory_moved_to_another_name_is_not_that_realm(store: LmdbStore, root: Path) -> None:
    """So it is on a file system that takes "/A" for "/a"."""
    store.open("/a", create=True).close()
    (root / "user_data" / "a.realm").rename(root / "user_data" / "A.realm")
    with pytest.raises(UnknownFormat, match=r"/A: .* holds another Realm, /a"):
        store.open("/A", create=True)
    with pytest.raises(NoSuchRealm):
        store.open("/a", create=False)


def test_foreign_files_in_the_tree_are_no_realms(store: LmdbStore, root: Path) -> None:
    store.open("/a", create=True)
    tree = root / "user_data"
    (tree / "notes.txt").write_text("x")
    for name in ("empty.realm", ".hidden.realm", "with space.realm", "cut+.realm"):
        (tree / name).mkdir()
    for name in (".hidden.realm", "with space.realm", "cut+.realm"):
        (tree / name / DATA_FILE).write_bytes(b"x")
    assert store.names() == ["/a"]
    assert not store.exists("/empty")


def test_a_file_where_a_directory_must_be_is_an_error_of_the_store(store: LmdbStore, root: Path) -> None:
    (root / "user_data" / "a").write_text("x")
    with pytest.raises(StoreError, match="/a/b"):
        store.open("/a/b", create=True)
    assert store.names() == []


# The data directory


def test_nothing_is_readable_by_others(root: Path) -> None:
    mask = os.umask(0)
    try:
        store = open_store(root)
        realm = store.open("/a/b", create=True)
        append(realm, bytes(100), os.urandom(3 << 20))
        store.close()
    finally:
        os.umask(mask)
    modes = tree_modes(root)
    assert {"server.lock", "user_data/a/b.realm/data.mdb", "user_data/a/b.realm/lock.mdb"} <= set(modes)
    wrong = {path: mode for path, mode in modes.items() if mode != ("0o700" if (root / path).is_dir() else "0o600")}
    assert wrong == {}


def test_two_servers_cannot_share_a_data_directory(store: LmdbStore, root: Path) -> None:
    with pytest.raises(StoreError, match=rf"another server \(process {os.getpid()}\) uses this data directory"):
        open_store(root)
    store.close()
    open_store(root).close()


def test_the_lock_of_another_process_names_it_and_ends_with_it(root: Path) -> None:
    with start_child("append", root) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=f"process {child.pid}"):
            open_store(root)
        child.kill()
    open_store(root).close()


def test_a_lock_outlives_its_process_with_those_that_have_inherited_it(root: Path) -> None:
    """As workers do whose front was killed: until they are gone, nobody else may have the Realms."""
    lock = claim(root)
    inherited = os.dup(lock.fileno())
    with subprocess.Popen(["true"]) as gone:
        pass
    (root / LOCK_FILE).write_text(f"{gone.pid}\n")
    lock.release()
    with pytest.raises(StoreError, match=f"process {gone.pid}"):
        open_store(root)
    waits: list[bool] = []

    def wait() -> bool:
        waits.append(True)
        if len(waits) == 2:
            os.close(inherited)
        return True

    claim(root, wait).release()
    assert len(waits) == 2


def test_nobody_waits_for_a_server_that_runs(root: Path) -> None:
    lock = claim(root)
    with pytest.raises(StoreError, match="another server"):
        claim(root, lambda: pytest.fail("it waits"))
    lock.release()


def test_a_guest_leaves_the_lock_and_what_others_make_alone(root: Path) -> None:
    lock = claim(root)
    (root / CREATING / "another's").mkdir()
    guest = LmdbStore(root, random_bytes=os.urandom, is_guest=True)
    guest.open("/a", create=True)
    guest.close()
    assert (root / CREATING / "another's").is_dir()
    with pytest.raises(StoreError, match="another server"):
        open_store(root)
    lock.release()


# The map


def test_the_file_is_as_long_as_the_map_but_takes_only_the_room_it_needs(store: LmdbStore, root: Path) -> None:
    realm = store.open("/a", create=True)
    data = root / "user_data" / "a.realm" / DATA_FILE
    assert data.stat().st_size == INITIAL_MAP_SIZE
    assert data.stat().st_blocks * 512 < INITIAL_MAP_SIZE / 2
    append(realm, os.urandom(INITIAL_MAP_SIZE))
    assert data.stat().st_size >= 2 * INITIAL_MAP_SIZE
    size = data.stat().st_size
    realm.close()
    append(store.open("/a", create=False), b"x")
    assert data.stat().st_size == size


def test_a_growing_map_does_not_wait_for_ever_for_a_snapshot_of_an_older_state(root: Path) -> None:
    store = open_store(root, patience=0)
    realm = store.open("/a", create=True)
    with realm.snapshot() as snapshot:
        append(realm, b"x")
        with pytest.raises(StoreError, match="older state"):
            append(realm, os.urandom(2 << 20))
        assert snapshot.head.version == 0
        append(realm, b"small")
    append(realm, os.urandom(2 << 20))
    assert realm.head().version == 3
    store.close()


def test_a_map_beyond_all_measure_is_a_full_store(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_environment, "MAX_MAP_SIZE", 2 << 20)
    store = open_store(root)
    realm = store.open("/a", create=True)
    with pytest.raises(StoreFull, match="/a: it would grow"):
        append(realm, os.urandom(3 << 20))
    append(realm, os.urandom(900_000))
    assert realm.head().version == 1
    store.close()


def test_many_snapshots_at_a_time_and_then_one_too_many(store: LmdbStore) -> None:
    realm = store.open("/a", create=True)
    append(realm, b"x")
    with ExitStack() as stack:
        snapshots = [stack.enter_context(realm.snapshot()) for _ in range(lmdb_environment.MAX_READERS)]
        assert {snapshot.entry(1).changeset for snapshot in snapshots} == {b"x"}
        append(realm, b"y")
        for _ in range(4):  # LMDB rounds up
            with suppress(StoreError):
                stack.enter_context(realm.snapshot())
        with pytest.raises(StoreError, match=r"/a: .*READERS"):
            stack.enter_context(realm.snapshot())
    with realm.snapshot() as snapshot:
        assert snapshot.entry(2).changeset == b"y"


def test_commits_are_synced(store: LmdbStore) -> None:
    realm = store.open("/a", create=True)
    environment = realm._environment._env
    assert environment is not None
    flags = environment.flags()
    assert (flags["sync"], flags["metasync"], flags["writemap"], flags["lock"]) == (True, True, False, True)


def test_a_commit_is_all_or_nothing_though_the_map_grew_in_its_middle(store: LmdbStore) -> None:
    realm = store.open("/a", create=True)
    commit = Commit(
        [entry(version, os.urandom(300_000)) for version in range(1, 8)],
        shape={b"%05d" % number: bytes(100) for number in range(5000)},
    )
    assert realm.append(0, 0, commit).version == 7
    with realm.snapshot() as snapshot:
        assert list(snapshot.entries(1, 7)) == commit.entries
        assert snapshot.shape(b"04999") == bytes(100)


# Giving the disk back


def _room(root: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in root.rglob(DATA_FILE))


def _shrinkable(root: Path) -> None:
    """A Realm whose log is to be swept."""
    with closing(open_store(root)) as store:
        realm = store.open("/a/b", create=True)
        realm.append(0, 0, Commit([entry(version, os.urandom(20_000)) for version in range(1, 201)]))
        realm.append(200, 0, Commit(squash={(190, 1): entry(1, b"all")}, base=(190, 1)))
        while realm.sweep(50):
            pass


def test_a_realm_gives_its_room_back_when_it_is_opened_next(root: Path) -> None:
    _shrinkable(root)
    before = _room(root)
    exchanged: list[tuple[Path, int]] = []
    with closing(LmdbStore(root, random_bytes=os.urandom, exchanged=lambda *of: exchanged.append(of))) as store:
        realm = store.open("/a/b", create=False)
        ((directory, given_back),) = exchanged
        assert directory == root / "user_data" / "a" / "b.realm"
        assert given_back == before - _room(root)
        assert before > 3_000_000 > 500_000 > _room(root)
        assert (realm.head().version, realm.head().base_version) == (200, 190)
        with realm.snapshot() as snapshot:
            assert [each.version for each in snapshot.entries(1, 200)] == [1, *range(191, 201)]
        append(realm, b"more")
        assert list((root / "creating").iterdir()) == []
    with closing(open_store(root)) as store:
        assert store.open("/a/b", create=False).head().version == 201
    assert all(int(mode, 8) & 0o077 == 0 for mode in tree_modes(root).values())


def test_where_there_is_no_room_for_the_copy_all_stays_as_it_is(root: Path) -> None:
    _shrinkable(root)
    before = _room(root)
    with closing(open_store(root)) as store:
        assert not store.exists("/b")
        with closing(Environment(root / "user_data" / "a" / "b.realm", "/a/b", TABLES)) as environment:
            assert environment.shrink(root / "nowhere" / "b") is None
            with environment.view() as view:
                assert view.get(META, IDENTITY_KEY)
    assert _room(root) >= before


def test_a_kill_in_the_middle_of_shrinking_leaves_a_whole_realm(root: Path) -> None:
    for delay in range(8):
        _kill_while_it_shrinks(root, delay)
    with closing(open_store(root)) as store, closing(store.open("/a/b", create=False)) as realm:
        with realm.snapshot() as snapshot:
            for version in range(1, realm.head().version + 1):
                if version > realm.head().base_version:
                    assert snapshot.entry(version) == entry(version, store_child.changeset(version))
            found = list(snapshot.entries(1, realm.head().base_version))
            assert found == [entry(1, b"all of %d" % realm.head().base_version)]
        assert realm.head().base_version > 0


def _kill_while_it_shrinks(root: Path, rounds: int) -> None:
    with start_child("shrink", root) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        acknowledged = base = 0
        for _ in range(20 + 7 * rounds):
            acknowledged, base = map(int, child.stdout.readline().split())
        child.kill()
    with closing(open_store(root)) as store:
        head = store.open("/a/b", create=False).head()
        assert head.version >= acknowledged
        assert head.base_version >= base


class Turn:
    """Whether somebody computes, and how often somebody did."""

    def __init__(self) -> None:
        self.is_held = False
        self.times = 0

    def __enter__(self) -> None:
        assert not self.is_held
        self.is_held = True
        self.times += 1

    def __exit__(self, *_: object) -> None:
        self.is_held = False


def test_nobody_waits_for_a_turn_to_compute_until_another_realm_is_on_the_disk(root: Path) -> None:
    turn, held = Turn(), []
    store = LmdbStore(root, random_bytes=counting_bytes(), committed=lambda *_: held.append(turn.is_held))
    with closing(store), closing(store.open("/a", create=True)) as realm:
        realm.append(0, 0, Commit([entry(1)]), turn)
        assert (turn.times, held[-1]) == (1, False)
        with pytest.raises(Conflict):
            realm.append(0, 0, Commit([entry(1)]), turn)
        assert (turn.times, turn.is_held) == (2, False)
