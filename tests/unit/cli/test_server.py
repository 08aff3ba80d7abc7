"""``realm-object-server``: what it makes of its options. That it runs is shown in tests/system."""

import pwd

import pytest
from click.testing import CliRunner, Result

from realmserver._build import BUILD
from realmserver._version import __version__
from realmserver.cli import server
from realmserver.tap import FLAGS, PARAMETERS


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What twistd would have been started with: its own options, and in "sub" those of the server."""
    configs: list[dict[str, object]] = []

    def start(config: dict[str, object]) -> None:
        configs.append({**config, "sub": dict(config.subOptions)})  # type: ignore[attr-defined]

    monkeypatch.setattr(server, "runApp", start)
    return configs


def run(*arguments: str) -> Result:
    return CliRunner().invoke(server.main, arguments)


def test_it_stays_in_the_foreground_without_a_pid_file(started: list[dict[str, object]]) -> None:
    assert run("--root", "/data", "-c", "c.yml", "--allow-root").exit_code == 0
    (config,) = started
    assert (config["nodaemon"], config["pidfile"], config["uid"], config["gid"]) == (True, "", None, None)
    sub = config["sub"]
    assert isinstance(sub, dict)
    assert (sub["root"], sub["configuration"], sub["allow-root"], sub["public-key"]) == ("/data", "c.yml", 1, None)


def test_it_goes_to_the_background_if_told(started: list[dict[str, object]]) -> None:
    run("--daemon", "--pidfile", "/run/server.pid")
    assert not started[0]["nodaemon"]
    assert started[0]["pidfile"] == "/run/server.pid"


def test_users_and_groups_are_names_or_numbers(started: list[dict[str, object]]) -> None:
    nobody = pwd.getpwnam("nobody")
    for arguments, expected in [
        (("--user", "nobody"), (nobody.pw_uid, nobody.pw_gid)),
        (("--user", str(nobody.pw_uid), "--group", "0"), (nobody.pw_uid, 0)),
        (("--group", "root"), (None, 0)),
    ]:
        assert run(*arguments).exit_code == 0
        assert (started[-1]["uid"], started[-1]["gid"]) == expected
    result = run("--user", "no-such-user")
    assert result.exit_code == 2
    assert "there is no user no-such-user on this machine" in result.stderr
    assert "there is no group 99999999" in run("--group", "99999999").stderr


def test_help_explains_every_option() -> None:
    text = run("--help").output
    for each in PARAMETERS:
        assert (f"--{each.name} {each.value}" in text) != each.hidden
    for name, _ in FLAGS:
        assert f"--{name}" in text
    assert "SIGHUP begins a new log file" in " ".join(text.split())
    assert run("--version").output == f"realm-object-server {__version__} ({BUILD})\n"


def test_the_shell_completes_its_options() -> None:
    runner = CliRunner(
        env={"_REALM_OBJECT_SERVER_COMPLETE": "bash_complete", "COMP_WORDS": "x --pi", "COMP_CWORD": "1"}
    )
    assert "--pidfile" in runner.invoke(server.main, [], prog_name="realm-object-server").output
