"""The copy of a data directory: what is in it, in which form, and what is left after a failure."""

import os
from pathlib import Path

import pytest
from backup_tools import SECRET, Listener, change, make_root, scramble, tree

from realmserver.backup import copying
from realmserver.backup.apart import apart
from realmserver.backup.copying import BackupError, back_up
from realmserver.backup.verify import verify
from realmserver.store.lmdb_store import LmdbStore
from realmserver.store.lmdb_system import LmdbSystemStore

NAMES = ("/a", "/a/b", "/long/" + "x" * 900)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_root(tmp_path / "source", *NAMES)


def refusal(source: Path, target: Path) -> str:
    with pytest.raises(BackupError) as caught:
        back_up(source, target, Listener())
    return str(caught.value)


def test_the_copy_is_a_data_directory_with_all_realms_and_accounts(source: Path, tmp_path: Path) -> None:
    listener = Listener()
    done = back_up(source, tmp_path / "target", listener)
    assert (done.realms, done.failed) == (3, ())
    assert listener.problems == []
    heads = {}
    for root in (source, tmp_path / "target"):
        store = LmdbStore(root, random_bytes=os.urandom)
        assert store.names() == sorted(NAMES)
        heads[root] = [store.open(name, create=False).head() for name in NAMES]
        store.close()
        system = LmdbSystemStore(root)
        assert system.read("users", b"u1") == SECRET
        system.close()
    assert heads[source] == heads[tmp_path / "target"]
    assert verify(tmp_path / "target", Listener()).wrong == 0


def test_structure_and_modes_are_kept_and_what_belongs_to_the_running_server_is_not(
    source: Path, tmp_path: Path
) -> None:
    (source / "keys" / "token-signature.key").chmod(0o400)
    (source / "notes").mkdir(0o750)
    (source / "notes" / "by-the-administrator.txt").write_text("keep me")
    (source / "user_data" / "a").chmod(0o750)
    back_up(source, tmp_path / "target", Listener())
    expected = tree(source)
    for gone in ("server.lock", "system.lock", "creating", "creating/left-by-a-crash"):
        del expected[gone]
    assert tree(tmp_path / "target") == expected
    assert not list((tmp_path / "target").rglob("lock.mdb"))
    assert (tmp_path / "target" / "keys" / "token-signature.key").read_text() == "a key"


def test_links_are_followed_where_they_lead_somewhere(source: Path, tmp_path: Path) -> None:
    (source / "keys").rename(tmp_path / "elsewhere")
    (source / "keys").symlink_to(tmp_path / "elsewhere")
    (source / "nowhere").symlink_to("missing")
    back_up(source, tmp_path / "target", Listener())
    assert not (tmp_path / "target" / "keys").is_symlink()
    assert (tmp_path / "target" / "keys" / "token-signature.key").read_text() == "a key"
    assert os.readlink(tmp_path / "target" / "nowhere") == "missing"


def test_the_copy_has_no_free_pages(source: Path, tmp_path: Path) -> None:
    back_up(source, tmp_path / "target", Listener())
    size = (source / "user_data" / "a.realm" / "data.mdb").stat().st_size
    assert (tmp_path / "target" / "user_data" / "a.realm" / "data.mdb").stat().st_size < size / 2


def test_directories_that_cannot_be_these_are_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    missing = tmp_path / "missing"
    assert refusal(missing, tmp_path / "full") == f"{missing} does not exist."
    assert refusal(source, tmp_path / "full") == f"{tmp_path / 'full'} is not empty."
    assert refusal(source, tmp_path / "file") == f"{tmp_path / 'file'} is not a directory."
    assert refusal(tmp_path / "file", missing) == f"{tmp_path / 'file'} is not a directory."
    assert refusal(source, source / "backup") == f"{source / 'backup'} is inside {source}."
    assert refusal(tmp_path / "full", missing) == f"{tmp_path / 'full'} is not a data directory: it holds no user_data."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full", "source"]


def test_a_realm_that_cannot_be_read_is_named_and_the_others_are_copied(source: Path, tmp_path: Path) -> None:
    (source / "user_data" / "a.realm" / "data.mdb").write_bytes(b"rubbish" * 2000)
    scramble(source / "user_data" / "a" / "b.realm")
    listener = Listener()
    done = back_up(source, tmp_path / "target", listener)
    assert done.realms == 1
    assert [text.split(":")[0] for text in done.failed] == ["/a", "/a/b"]
    assert [text.startswith("ERROR: /a") and text.endswith("not in the backup.") for text in listener.problems] == [
        True,
        True,
    ]
    assert not (tmp_path / "target" / "user_data" / "a.realm").exists()
    assert verify(tmp_path / "target", Listener()).wrong == 0


def test_accounts_that_cannot_be_read_are_a_failure_that_leaves_nothing(source: Path, tmp_path: Path) -> None:
    (source / "system" / "data.mdb").write_bytes(b"rubbish" * 2000)
    assert "the system store" in refusal(source, tmp_path / "new" / "target")
    assert not (tmp_path / "new").exists()


def test_an_empty_target_that_was_there_stays_after_a_failure(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    target = tmp_path / "target"
    target.mkdir()
    monkeypatch.setattr(copying, "copy_environment", full)
    assert "No space left" in refusal(source, target)
    assert list(target.iterdir()) == []


def test_realms_are_copied_before_accounts(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a Realm in the copy could belong to a user whose account is not there."""
    order = []

    def spy(what: str, work: object, **options: object) -> object:
        order.append(what)
        return apart(what, work, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(copying, "apart", spy)
    back_up(source, tmp_path / "target", Listener())
    assert order == [*sorted(NAMES), "the system store"]


def test_progress_goes_up_to_the_total(source: Path, tmp_path: Path) -> None:
    listener = Listener()
    back_up(source, tmp_path / "target", listener)
    ((label, total),) = listener.begun
    assert label == "Backing up"
    assert listener.behind == sorted(listener.behind)
    assert listener.behind[-1] == total
    assert listener.ended == 1


def test_a_realm_that_is_open_nowhere_gets_no_files_but_a_lock_file(source: Path, tmp_path: Path) -> None:
    before = tree(source)
    change(source / "user_data" / "a.realm", "meta", lambda txn, db: None)
    back_up(source, tmp_path / "target", Listener())
    assert tree(source) == before
