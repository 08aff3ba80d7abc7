"""``realm-admin``."""

import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from realmserver._version import __version__
from realmserver.auth.keys import load_keys, make_keys
from realmserver.auth.tokens import BindGrant, Tokens
from realmserver.cli.admin import main


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data directory with keys."""
    (tmp_path / "data" / "keys").mkdir(parents=True)
    make_keys(*key_files(tmp_path / "data"))
    return tmp_path / "data"


def key_files(root: Path) -> tuple[Path, Path]:
    return root / "keys" / "token-signature.pub", root / "keys" / "token-signature.key"


def grant(root: Path, token: str, now: float | None = None) -> BindGrant:
    return Tokens(load_keys(*key_files(root))).verify_bind_token(token, now=time.time() if now is None else now)


def test_keys_are_made_that_the_server_takes(tmp_path: Path) -> None:
    result = run("keys", "generate", tmp_path / "new")
    assert result.exit_code == 0
    public, private = tmp_path / "new" / "token-signature.pub", tmp_path / "new" / "token-signature.key"
    assert result.output == f"{public}\n{private} (keep it secret)\n"
    load_keys(public, private)
    assert private.stat().st_mode & 0o777 == 0o600


def test_keys_that_exist_are_left_alone(root: Path) -> None:
    before = key_files(root)[1].read_bytes()
    result = run("keys", "generate", root / "keys")
    assert result.exit_code == 1
    assert "exists and is not overwritten" in result.stderr
    assert key_files(root)[1].read_bytes() == before


def test_a_directory_that_cannot_be_made_is_told(root: Path) -> None:
    (root / "file").touch()
    result = run("keys", "generate", root / "file" / "below")
    assert (result.exit_code, result.stderr) == (1, f"Error: {root}/file/below: Not a directory\n")


def test_the_administrators_token_opens_everything_and_has_no_newline(root: Path) -> None:
    result = run("token", "--root", root)
    assert result.exit_code == 0
    assert not result.output.endswith("\n")
    assert grant(root, result.output) == BindGrant(
        "__auth", True, None, frozenset({"upload", "download", "manage"}), None
    )


def test_a_token_in_a_file_is_the_owners_alone(root: Path) -> None:
    result = run("token", "--root", root, "--output", root / "token")
    assert result.output == f"{root}/token (keep it secret)\n"
    assert grant(root, (root / "token").read_text()).admin
    assert (root / "token").stat().st_mode & 0o777 == 0o600
    assert "exists and is not overwritten" in run("token", "--root", root, "--output", root / "token").stderr


def test_a_token_may_be_for_one_user_one_realm_and_a_while(root: Path) -> None:
    public, private = key_files(root)
    result = run(
        *("token", "--public-key", public, "--private-key", private, "--identity", "importer", "--path", "/products"),
        *("--access", "upload", "--access", "download", "--expires-in", "60"),
    )
    found = grant(root, result.output)
    assert (found.identity, found.admin, found.path) == ("importer", False, "/products")
    assert found.access == {"download", "upload"}
    assert found.expires is not None
    assert 0 <= found.expires - 60 - time.time() + 5 <= 6


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name the keys: --root DIR, or --public-key FILE and --private-key FILE"),
        (("--public-key", "x"), "--public-key and --private-key go together"),
        (("--root", "x", "--identity", "me"), "--identity needs --path"),
        (("--root", "x", "--path", "/a"), "--path and --access go with --identity"),
        (("--root", "x", "--identity", "me", "--path", "a b"), "Invalid value for --path"),
        (("--root", "x", "--access", "all"), "Invalid value for '--access'"),
    ],
)
def test_what_does_not_fit_together_is_told(arguments: tuple[str, ...], told: str) -> None:
    result = run("token", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr


def test_missing_keys_are_told(tmp_path: Path) -> None:
    result = run("token", "--root", tmp_path)
    assert result.exit_code == 1
    assert "token-signature.pub does not exist" in result.stderr


def test_help_and_version() -> None:
    assert run("--version").output == f"realm-admin {__version__}\n"
    for words in ((), ("keys",), ("keys", "generate"), ("token",)):
        assert "Usage: main" in run(*words, "--help").output
