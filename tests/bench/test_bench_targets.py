"""What can be measured, and how it is named."""

from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from bench.__main__ import chosen, parse, settings
from bench.processes import merged
from bench.targets import HERE, USERS, Checkout, Foreign, Url, parse_target, read_target_file, sign_tokens
from realmserver.auth.keys import make_keys
from realmserver.auth.tokens import Tokens


def target_file(directory: Path, text: str) -> Path:
    path = directory / "other.yml"
    path.write_text(text)
    return path


def test_a_target_file_needs_a_command_and_has_a_name(tmp_path: Path) -> None:
    foreign = read_target_file(target_file(tmp_path, "command: [server, '{port}', '{root}']"))
    assert (foreign.name, foreign.facts()) == ("other", {"command": ["server", "{port}", "{root}"]})
    assert read_target_file(target_file(tmp_path, "{name: C++, command: [server]}")).name == "C++"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "needs at least the list 'command'"),
        ("command: server", "needs at least the list 'command'"),
        ("{command: [server], protocol: 9}", "unknown: protocol"),
        ("{command: [server], stop: NOW}", "there is no signal NOW"),
        ("{", "while parsing"),
    ],
)
def test_what_is_wrong_with_a_target_file_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        read_target_file(target_file(tmp_path, text))


def test_targets_are_told_apart(tmp_path: Path) -> None:
    def parsed(text: str, **more: Any) -> object:
        return parse_target(text, settings={}, **more)

    assert isinstance(parsed("ws://127.0.0.1:9080/realm-sync"), Url)
    assert isinstance(parsed(str(target_file(tmp_path, "command: [server]"))), Foreign)
    checkout = parsed(str(tmp_path), taken=[tmp_path.name])
    assert isinstance(checkout, Checkout)
    assert checkout.name == f"{tmp_path.name} (2)"
    with pytest.raises(SystemExit, match="neither a URL"):
        parsed(str(tmp_path / "nothing"))


def test_a_checkout_without_an_environment_is_told_of_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"has no \.venv"):
        Checkout("other", tmp_path, {}).facts()


def test_a_url_must_name_a_port(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="not of the form"):
        Url("x", "ws://localhost/realm-sync", None, None).start(tmp_path)


def test_tokens_are_good_for_any_realm(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "key.pub", tmp_path / "key.pem")
    signed = sign_tokens(tmp_path / "key.pem")
    assert len(set(signed)) == USERS
    grant = Tokens(keys).verify_bind_token(signed[0], now=1e10)
    assert grant.allows("download", "/a")
    assert grant.allows("upload", "/b")
    assert not grant.admin
    public = keys.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert jwt.decode(signed[3], public, algorithms=["RS256"])["identity"] == "user-3"


def test_settings_become_sections() -> None:
    assert settings(["workers=2", "limits.connections=5", "limits.idle_timeout=9", "logging.path=null"]) == {
        "workers": 2,
        "limits": {"connections": 5, "idle_timeout": 9},
        "logging": {"path": None},
    }
    with pytest.raises(SystemExit, match="KEY=VALUE"):
        settings(["workers"])


def test_settings_win_over_what_is_there() -> None:
    base = {"limits": {"connections": 1, "idle_timeout": 2}, "x": 1}
    assert merged(base, {"limits": {"connections": 3}, "x": {"y": 1}}) == {
        "limits": {"connections": 3, "idle_timeout": 2},
        "x": {"y": 1},
    }
    assert base["limits"] == {"connections": 1, "idle_timeout": 2}


def test_options_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["nothing"], ["--runs", "0"], ["--alone"]):
        with pytest.raises(SystemExit):
            parse(wrong)
    assert "there is no workload nothing" in capsys.readouterr().err
    assert parse(["upload"]).size == "full"
    assert parse(["--quick"]).size == "quick"


def test_cases_come_in_the_order_of_their_importance() -> None:
    names = [case.workload for case in chosen(["establish", "upload"], "tiny", "")]
    assert names == sorted(names, key=["upload", "establish"].index)
    assert {case.name for case in chosen([], "tiny", "new Realms")} == {"new Realms"}


def test_this_checkout_is_what_runs_here() -> None:
    facts = Checkout("here", HERE, {}).facts()
    assert set(facts) == {"commit", "python", "compiled", "core", "settings"}
