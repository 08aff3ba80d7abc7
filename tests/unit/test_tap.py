"""The options, and what the screen says."""

from pathlib import Path

import pytest
from server_process import free_ports
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins

from realmserver import tap, wiring
from realmserver._build import BUILD
from realmserver._version import __version__
from realmserver.config.load import Options as ConfigurationOptions
from realmserver.config.load import load


def test_twistd_finds_the_server_once() -> None:
    found = [plugin for plugin in getPlugins(IServiceMaker) if plugin.tapname == "realm-object-server"]
    assert [plugin.options for plugin in found] == [tap.Options]


def test_all_options_are_explained() -> None:
    text = str(tap.Options())  # type: ignore[no-untyped-call]
    for option in ("--root=", "--public-key=", "--private-key=", "-c, --configuration=", "--version", "--help"):
        assert option in text
    assert "sync server for Realm databases" in text


def test_the_version_is_the_servers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        tap.Options().parseOptions(["--version"])  # type: ignore[no-untyped-call]
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"realm-object-server {__version__} ({BUILD})\n"


def test_a_check_of_the_configuration_looks_into_the_key_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What it calls valid must start."""
    file = tmp_path / "c.yml"
    public, sync, http = free_ports(3)
    file.write_text(
        f"storage: {{root_path: {tmp_path}/data}}\nproxy: {{http: {{listen_port: {public}}}}}\n"
        f"network: {{sync: {{listen_port: {sync}}}, http: {{listen_port: {http}}}}}\n"
    )
    options = tap.Options()  # type: ignore[no-untyped-call]
    options.parseOptions(["--check-configuration", str(file)])  # type: ignore[no-untyped-call]

    def check() -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as caught:
            tap.makeService(options)
        printed = capfd.readouterr()
        return caught.value.code, printed.out, printed.err

    valid = (0, f"{file}: the configuration is valid\n", "")
    assert check() == valid
    wiring.prepare(load(str(file)))
    assert check() == valid
    (tmp_path / "data" / "keys" / "token-signature.pub").write_text("rubbish")
    code, out, err = check()
    assert (code, out) == (1, "")
    assert err.startswith(f"error: auth.public_key_path: {tmp_path}/data/keys/token-signature.pub is not a public key")


def test_what_is_wrong_with_the_configuration_also_goes_to_its_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yml"
    file.write_text(f"logging: {{path: {tmp_path}/server.log}}\nstorage: {{root_path: 7}}\n")
    for option, logged in (("--check-configuration", False), ("--configuration", True)):
        options = tap.Options()  # type: ignore[no-untyped-call]
        options.parseOptions([option, str(file), "--allow-root"])  # type: ignore[no-untyped-call]
        with pytest.raises(SystemExit) as caught:
            tap.makeService(options)
        assert caught.value.code == 1
        problem = capfd.readouterr().err.splitlines()[0].removeprefix("error: ")
        assert problem.startswith(f"{file}:2:22: storage.root_path: must be a path")
        assert (tmp_path / "server.log").exists() == logged
    assert (tmp_path / "server.log").read_text().endswith(f"Z - fatal: server: {problem}\n")


def test_a_first_start_makes_what_is_missing_and_the_next_keeps_it(tmp_path: Path) -> None:
    configuration = load(None, ConfigurationOptions(root=str(tmp_path / "deep" / "data")))
    first = wiring.prepare(configuration)
    token = (configuration.storage.root_path / wiring.ADMIN_TOKEN).read_bytes()
    second = wiring.prepare(configuration)
    assert first.issuer == second.issuer
    assert (configuration.storage.root_path / wiring.ADMIN_TOKEN).read_bytes() == token
    assert configuration.storage.root_path.stat().st_mode & 0o077 == 0
