"""Configuration files: what they may say, and how what is wrong is said."""

import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from golden import MANUAL_CONFIGURATION

from realmserver.config import model, providers
from realmserver.config.kinds import HostPort, yaml_form
from realmserver.config.load import ConfigurationError, Options, load
from realmserver.config.reader import MAX_FILE_SIZE
from realmserver.config.schema import all_keys


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "configuration.yml"


def problems(file: Path, text: str, options: Options | None = None) -> list[str]:
    """What is wrong with ``text``: line, key and what is said. Files with columns are in ``wrong_configurations``."""
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(str(file), options or Options(root=str(file.parent / "data")))
    told = [problem.headline.replace(f"{file}:", "") for problem in caught.value.problems]
    return [re.sub(r"^(\d+):\d+:", r"\1:", each) for each in told]


def loaded(file: Path, text: str) -> model.Configuration:
    file.write_text(text)
    return load(str(file), Options(default_root=str(file.parent / "data")))


def test_without_a_file_everything_is_default(tmp_path: Path) -> None:
    configuration = load(None, Options(root=str(tmp_path / "data")))
    assert configuration.storage.root_path == tmp_path / "data"
    assert configuration.auth.public_key_path == tmp_path / "data" / "keys" / "token-signature.pub"
    assert configuration.auth.private_key_path == tmp_path / "data" / "keys" / "token-signature.key"
    assert configuration.auth.ttls == model.Ttls(refresh_token=315360000, access_token=600)
    assert configuration.proxy.http == model.ProxyHttp(enable=True, listen_address="::", listen_port=9080)
    assert configuration.proxy.https == model.ProxyHttps(enable=False, listen_address="::", listen_port=9443)
    assert configuration.network.sync == model.NetworkSync(True, "127.0.0.1", 27800)
    assert configuration.network.http == model.NetworkHttp(True, "127.0.0.1", 27080, None)
    assert configuration.network.trusted_proxies == (ip_network("127.0.0.0/8"), ip_network("::1"))
    assert configuration.sync_backend is None
    assert configuration.http_backend is None
    assert configuration.logging == model.Logging(level="info", path=None, format="text")
    assert configuration.performance == model.Performance(max_open_files=256, stop_timeout=10)
    assert configuration.history == model.History(ttl=0)
    assert configuration.auth.providers == providers.Providers()
    assert configuration.notices == ()


def test_every_key_can_be_set(file: Path) -> None:
    configuration = loaded(
        file,
        """
storage: {root_path: /nowhere-yet/data}
auth:
  public_key_path: /nowhere-yet/a.pub
  private_key_path: /nowhere-yet/a.key
  sync_hosts: ['realm.example.com:9080', '[::1]:1', '127.0.0.1:2']
  ttls: {refresh_token: 86400, access_token: 60}
  providers_include_path: /nowhere-yet/providers
  providers: {google: {clientId: a}, facebook: {}, azuread: {tenant_id: b}, debug: , password: {}}
proxy:
  http: {enable: false, listen_address: 0.0.0.0, listen_port: 1}
  https: {enable: false, listen_address: '::1', listen_port: 3, certificate_path: /c, private_key_path: /k}
network:
  sync: {enable: true, listen_address: '::1', listen_port: 2}
  http: {enable: false, listen_address: '::0', listen_port: 65535}
  trusted_proxies: [10.0.0.0/8, 'fe80::1']
logging: {level: detail, path: /dev/null, format: json}
performance: {max_open_files: 3, stop_timeout: 600}
history: {ttl: 86400}
backup: {enable: true, network: {listen_address: '::', listen_port: 4}, logging: {level: off, path: /dev/zero}}
""",
    )
    assert configuration.storage.root_path == Path("/nowhere-yet/data")
    assert configuration.auth == model.Auth(
        Path("/nowhere-yet/a.pub"),
        Path("/nowhere-yet/a.key"),
        (HostPort("realm.example.com", 9080), HostPort("::1", 1), HostPort("127.0.0.1", 2)),
        model.Ttls(refresh_token=86400, access_token=60),
        Path("/nowhere-yet/providers"),
        providers.Providers(
            google=providers.Google("a"),
            facebook=providers.Facebook(),
            azuread=providers.AzureAd("b"),
            debug=providers.Debug(),
        ),
    )
    assert configuration.proxy.http == model.ProxyHttp(enable=False, listen_address="0.0.0.0", listen_port=1)
    assert configuration.proxy.https == model.ProxyHttps(False, "::1", 3, Path("/c"), Path("/k"))
    assert configuration.network.sync == model.NetworkSync(True, "::1", 2)
    assert configuration.network.http == model.NetworkHttp(False, "::", 65535)
    assert configuration.network.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("fe80::1"))
    assert configuration.logging == model.Logging("detail", Path("/dev/null"), "json")
    assert configuration.performance == model.Performance(3, 600)
    assert configuration.history == model.History(86400)
    assert configuration.backup == model.Backup(
        True, model.BackupNetwork("::", 4), model.BackupLogging("off", Path("/dev/zero"))
    )


@pytest.mark.skipif(not MANUAL_CONFIGURATION.exists(), reason="the sample file of 1.8.3 is not here")
def test_the_file_of_1_8_3_loads_with_other_paths(file: Path) -> None:
    text = MANUAL_CONFIGURATION.read_text()
    for old, new in (
        ("root_path: /var/lib/realm/object-server", f"root_path: {file.parent}/data"),
        ("/etc/realm/token-signature", f"{file.parent}/token-signature"),
        ("path: /var/log/realm-object-server.log", f"path: {file.parent}/server.log"),
        ("/var/log/realm-object-server-backup-server.log", f"{file.parent}/backup.log"),
    ):
        assert old in text
        text = text.replace(old, new)
    configuration = loaded(file, text)
    assert configuration.storage.root_path == file.parent / "data"
    assert configuration.logging.path == file.parent / "server.log"
    assert configuration.backup.logging == model.BackupLogging(None, file.parent / "backup.log")


@pytest.mark.parametrize("text", ["", "# nothing\n", "storage:\nauth:\n  ttls:\nlogging:\n  level:\n", "proxy: {}\n"])
def test_empty_sections_and_keys_mean_the_defaults(file: Path, text: str) -> None:
    assert loaded(file, text) == load(None, Options(root=str(file.parent / "data")))


@pytest.mark.parametrize("level", ["off", "all", "'off'", "warn"])
def test_the_level_may_be_written_without_quotes_even_where_yaml_reads_a_truth_value(file: Path, level: str) -> None:
    assert loaded(file, f"logging: {{level: {level}}}").logging.level == level.strip("'")


def test_options_override_the_file_and_the_file_overrides_the_default_root(file: Path, tmp_path: Path) -> None:
    file.write_text(f"storage: {{root_path: {tmp_path}/from-file}}\n")
    assert load(str(file), Options(default_root="/d")).storage.root_path == tmp_path / "from-file"
    options = Options(root=f"{tmp_path}/o", public_key=f"{tmp_path}/p", private_key=f"{tmp_path}/q", default_root="/d")
    configuration = load(str(file), options)
    assert configuration.storage.root_path == tmp_path / "o"
    assert configuration.auth.public_key_path == tmp_path / "p"
    assert configuration.auth.private_key_path == tmp_path / "q"


def test_relative_paths_are_taken_from_the_current_directory(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert loaded(file, "storage: {root_path: ../there}").storage.root_path == tmp_path / "there"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("logging:\n  level: loud\n", "2: logging.level: must be one of all, trace, debug, "),
        ("logging:\n  level: 3\n", "2: logging.level: numbers are no longer accepted; write one of all, "),
        ("proxy:\n  http:\n    enable: 'true'\n", "3: proxy.http.enable: must be true without quotes"),
        ("proxy:\n  http:\n    enable: yes\n", "3: proxy.http.enable: must be true or false"),
        ("proxy:\n  http:\n    listen_port: 0\n", "3: proxy.http.listen_port: must be from 1 to 65535"),
        ("proxy:\n  http:\n    listen_port: '80'\n", "3: proxy.http.listen_port: must be a whole number in plain"),
        ("proxy:\n  http:\n    listen_port: true\n", "3: proxy.http.listen_port: must be a whole number"),
        ("proxy:\n  http:\n    listen_port: [1]\n", "3: proxy.http.listen_port: must be a whole number"),
        ("proxy:\n  http:\n    listen_port: 1.5\n", "3: proxy.http.listen_port: must be a whole number"),
        ("network:\n  sync:\n    listen_address: host\n", "3: network.sync.listen_address: must be an IP address in"),
        ("network:\n  sync:\n    listen_address: ‘::’\n", "3: network.sync.listen_address: is in typographic quotes"),
        ("auth:\n  ttls:\n    access_token: 29\n", "3: auth.ttls.access_token: must be from 30 to "),
        ("auth:\n  ttls:\n    refresh_token: 60\n", "3: auth.ttls.refresh_token: 60 s is less than 600 s in auth."),
        ("performance:\n  max_open_files: 0\n", "2: performance.max_open_files: must be from 1 to "),
        ("storage:\n  root_path: [a]\n", "2: storage.root_path: must be a path; write for"),
        ("storage: 5\n", "1: storage: must hold keys, one a line; write for example root_path: …"),
        ("- storage\n", "1: the file must hold keys, one a line; write for example storage: …"),
        ("logging:\n  path: a\n  path: b\n", "3: logging.path: given twice, first in line 2; keep one of them"),
    ],
)
def test_a_wrong_value_names_its_line_and_says_what_to_write(file: Path, text: str, message: str) -> None:
    (problem,) = problems(file, text)
    assert problem.startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loging:\n  level: info\n", "1: loging: there is no such key; did you mean logging?"),
        (
            "proxy:\n  http:\n    listen_prot: 1\n",
            "3: proxy.http.listen_prot: there is no such key; did you mean proxy.http.listen_port?",
        ),
        ("auth:\n  ttl: 3\n", "2: auth.ttl: there is no such key; did you mean auth.ttls?"),
        ("storage:\n  level: 3\n", "2: storage.level: there is no such key; did you mean logging.level or backup"),
        ("storage:\n  qqq: 3\n", "2: storage.qqq: there is no such key; storage holds root_path"),
        (
            "qqq: 3\n",
            "1: qqq: there is no such key; the sections are storage, auth, proxy, network, sync, logging, performance, "
            "limits, history, backup",
        ),
        ("? [a]\n: 1\n", "1: a key must be a word"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(file: Path, text: str, message: str) -> None:
    (problem,) = problems(file, text)
    assert problem.startswith(message)


@pytest.mark.parametrize(
    "text",
    [
        "proxy:\n  https:\n    enable: false\n    listen_port: 9443\n",
        "auth:\n  sync_hosts:\n  providers:\n",
        "backup:\n  network:\n  logging:\n    level:\n",
        "proxy:\n  https: {}\n",
        "sync:\n  servers:\n",
        "sync:\n  servers: []\n",
        "auth:\n  sync_hosts: []\n  providers:\n    password:\n    realm: {}\n",
        "backup:\n  enable: false\n",
    ],
)
def test_what_asks_for_nothing_changes_nothing(file: Path, text: str) -> None:
    assert loaded(file, text) == loaded(file, "")


def test_all_problems_are_told_at_once(file: Path) -> None:
    text = "storrage: 1\nlogging:\n  level: x\nproxy:\n  http:\n    listen_port: -1\n    enable: 1\n"
    assert [problem.split(":")[0] for problem in problems(file, text)] == ["1", "3", "6", "7"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("storage:\n\troot_path: x\n", 2),
        ("storage: {root_path: x\nlogging: {\n", 1),
        ("logging:\n  level: 'info\n", 2),
        ("a: 1\nb: @x\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
        ("a: *b\n", 1),
    ],
)
def test_a_yaml_error_names_the_line(file: Path, text: str, line: int) -> None:
    (problem,) = problems(file, text)
    assert problem.startswith(f"{line}: not valid YAML: ")


def test_a_file_that_is_not_text_or_not_there_or_huge_is_told(file: Path) -> None:
    file.write_bytes(b"logging:\n  level: \xff\n")
    with pytest.raises(ConfigurationError, match=r":2:10: this is not UTF-8 text"):
        load(str(file))
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load(str(file.parent / "none.yml"))
    file.write_bytes(b"#" * (MAX_FILE_SIZE + 1))
    with pytest.raises(ConfigurationError, match="which is no configuration"):
        load(str(file))


def test_a_file_full_of_references_is_read_once(file: Path) -> None:
    bomb = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" if n else "a0: &a0 [x]\n" for n in range(30))
    assert len(problems(file, bomb)) == 30
    assert len(problems(file, "sync: &s\n  servers: [*s]\n")) == 1


def test_options_of_ones_own_provider_are_bounded(file: Path) -> None:
    head = "auth:\n  providers:\n    custom/x:\n      implementation: y\n"
    bomb = "".join(
        f"      a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" if n else "      a0: &a0 [x]\n" for n in range(9)
    )
    assert "holds more than 1000 values" in problems(file, head + bomb)[0]
    assert "or 20 levels" in problems(file, head + "      a: &a [*a]\n")[0]


def test_what_is_nested_without_end_is_told(file: Path) -> None:
    (problem,) = problems(file, "[" * 5000)
    assert problem.endswith("nested too deeply; nothing here needs more than five")


def test_an_alias_is_told_where_it_is_used(file: Path) -> None:
    """YAML knows only the place of what it stands for; the key's own is better."""
    (problem,) = problems(file, "storage:\n  root_path: &x /tmp\nlogging:\n  level: *x\n")
    assert problem.startswith("4: logging.level: must be one of ")


def test_what_rests_on_a_faulty_key_is_not_told_besides(file: Path) -> None:
    """A misspelt switch must not make the checks speak of the default that takes its place."""
    (problem,) = problems(file, "proxy:\n  http: {enabled: false}\nnetwork:\n  http: {listen_port: 9080}\n")
    assert "did you mean proxy.http.enable?" in problem


def test_a_missing_root_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"^storage\.root_path: not set; name the data directory with --root"):
        load(None)


def test_the_keys_of_a_pair_go_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^--public-key: auth\.public_key_path: .* go together"):
        load(None, Options(root=str(tmp_path), public_key="x"))


def test_what_is_wrong_with_an_option_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"^--root: storage\.root_path: must be a path"):
        load(None, Options(root=""))
    with pytest.raises(ConfigurationError, match=r"^--root: storage\.root_path: .* is not a directory"):
        load(None, Options(root=str(tmp_path / "file")))


def test_the_model_reads_what_yaml_writes_of_its_defaults(file: Path) -> None:
    """Each default, written out, is a value that its own kind accepts."""
    lines = [
        f"{'{'.join(f'{part}: ' for part in key.name.split('.'))}{yaml_form(key.default)}{'}' * key.name.count('.')}"
        for key in all_keys(model.Configuration)
        if not key.is_required and "cloudkit" not in key.name  # which needs more than one key
    ]
    assert len(lines) >= 30
    for line in lines:
        name = line.partition(":")[0]
        assert loaded(file, line) == loaded(file, ""), name


def test_every_key_is_explained() -> None:
    for key in all_keys(model.Configuration):
        assert key.help.endswith("."), key.name
