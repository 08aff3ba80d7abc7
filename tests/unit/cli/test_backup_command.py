"""``realm-backup``: its words and exit codes (``spec/http-api.md`` 6.5)."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from realmserver.cli import admin, backup
from realmserver.store.interface import Commit, LogEntry
from realmserver.store.lmdb_store import LmdbStore
from realmserver.store.lmdb_system import LmdbSystemStore


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(backup.main, [str(each) for each in arguments])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A data directory with two Realms."""
    root = tmp_path / "source"
    LmdbSystemStore(root).close()
    store = LmdbStore(root, random_bytes=os.urandom)
    for name in ("/a", "/b"):
        realm = store.open(name, create=True)
        realm.append(0, 0, Commit([LogEntry(1, 7, 0, 0, 1, b"", 0)]))
    store.close()
    return root


def test_success_names_both_directories_and_the_number_of_realms(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    result = run(source, target)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line for line in result.stdout.splitlines() if not line.endswith("%")]
    assert lines == [f"Backed up {source} to {target}.", "2 Realms backed up."]


def test_the_copy_can_be_read_back(source: Path, tmp_path: Path) -> None:
    result = run("--verify", source, tmp_path / "target")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "Verified 2 Realms and the accounts: all is well."


@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_other_number_of_arguments_prints_the_usage(count: int, tmp_path: Path) -> None:
    result = run(*[tmp_path / str(number) for number in range(count)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Usage: realm-backup [--verify] SOURCE TARGET\n"
    assert list(tmp_path.iterdir()) == []


def test_help_is_no_failure() -> None:
    assert run("--help").exit_code == run("-h").exit_code == 0


def test_refusals_are_those_of_version_2(source: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for arguments, text in (
        ((missing, source), f"ERROR: {missing} does not exist.\n"),
        ((source, source), f"ERROR: {source} is not empty.\n"),
    ):
        result = run(*arguments)
        assert (result.exit_code, result.stdout, result.stderr) == (1, "", text)


def test_a_realm_that_cannot_be_read_makes_the_exit_code_1_and_the_rest_is_there(source: Path, tmp_path: Path) -> None:
    (source / "user_data" / "a.realm" / "data.mdb").write_bytes(bytes(8192))
    result = run(source, tmp_path / "target")
    assert result.exit_code == 1
    assert result.stderr.startswith("ERROR: /a: ")
    assert "1 Realm backed up." in result.stdout.splitlines()
    assert (tmp_path / "target" / "user_data" / "b.realm").is_dir()


def test_an_administrator_can_verify_what_is_in_service(source: Path) -> None:
    good = CliRunner().invoke(admin.main, ["verify", str(source)])
    assert (good.exit_code, good.stderr) == (0, "")
    assert good.stdout.splitlines()[-1] == "Verified 2 Realms and the accounts: all is well."
    (source / "user_data" / "a.realm" / "data.mdb").write_bytes(bytes(8192))
    bad = CliRunner().invoke(admin.main, ["verify", str(source)])
    assert bad.exit_code == 1
    assert bad.stderr.startswith("/a: ")
    assert bad.stdout.splitlines()[-1] == "Verified 2 Realms and the accounts: something is wrong in 1 of them."


def test_what_is_no_data_directory_cannot_be_verified(tmp_path: Path) -> None:
    result = CliRunner().invoke(admin.main, ["verify", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr == f"Error: {tmp_path} is not a data directory: it holds no user_data\n"
