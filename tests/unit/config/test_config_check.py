"""What must hold between keys, and on this machine."""

import errno
import os
import re
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from wrong_files import make_surroundings

from realmserver.config import check
from realmserver.config.load import ConfigurationError, Options, load
from realmserver.config.machine import Machine, Process, Refusal, this_machine
from realmserver.store.lmdb_store import LOCK_FILE


def problems(root: Path, text: str = "", machine: Machine | None = None) -> list[str]:
    file = root / "c.yml"
    file.write_text(text)
    try:
        load(str(file), Options(default_root=str(root / "data")), machine)
    except ConfigurationError as error:
        told = [problem.headline.replace(f"{file}:", "").replace(str(root), "~") for problem in error.problems]
        return [re.sub(r"^(\d+):\d+:", r"\1:", each) for each in told]
    return []


def test_two_listeners_may_not_share_a_port(tmp_path: Path) -> None:
    assert problems(tmp_path, "network:\n  http:\n    listen_port: 9080\n") == [
        "3: network.http.listen_port: 9080 is also proxy.http.listen_port, by default; give each its own port"
    ]
    assert problems(tmp_path, "proxy: {http: {enable: false}}\nnetwork:\n  http:\n    listen_port: 9080\n") == []


def test_the_data_directory_must_be_a_directory_or_be_possible(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    text = f"storage:\n  root_path: {tmp_path}/file"
    assert problems(tmp_path, text)[0].startswith("2: storage.root_path: ~/file is not a directory")
    assert "because ~/file is not a directory" in problems(tmp_path, text + "/below")[0]


def test_a_link_to_nowhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to("gone")
    told = "~/data is a link to gone, which is not there; make that, or name another"
    assert problems(tmp_path)[0] == f"--default-root: storage.root_path: {told}"
    assert problems(tmp_path, f"storage: {{root_path: {tmp_path}/data/below}}")[0].endswith(told)
    (tmp_path / "gone").mkdir()
    assert problems(tmp_path) == []


def test_a_path_that_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    name = "x" * 300
    told = f"cannot get at ~/{name}: File name too long; open the way to it or name another"
    assert told in problems(tmp_path, f"storage: {{root_path: {tmp_path}/{name}}}")[0]
    assert told in problems(tmp_path, f"logging: {{path: {tmp_path}/{name}}}")[0]
    pair = f"auth: {{public_key_path: {tmp_path}/k.pub, private_key_path: {tmp_path}/{name}}}"
    assert [told in problem for problem in problems(tmp_path, pair)] == [True]


@pytest.mark.skipif(os.geteuid() == 0, reason="to root every directory is open")
def test_the_data_directory_must_be_open_to_the_server(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    assert "may not read and write in ~/data" in problems(tmp_path)[0]


def test_one_key_file_alone_is_not_replaced(tmp_path: Path) -> None:
    keys = tmp_path / "data" / "keys"
    keys.mkdir(parents=True)
    (keys / "token-signature.pub").write_text("x")
    assert problems(tmp_path) == [
        "auth.private_key_path: ~/data/keys/token-signature.key is missing, but the other key of the pair is there; "
        "restore it, or name both anew"
    ]
    (keys / "token-signature.key").mkdir()
    assert problems(tmp_path) == [
        "auth.private_key_path: ~/data/keys/token-signature.key is not a file; name the key's file"
    ]


def test_the_key_files_are_two(tmp_path: Path) -> None:
    text = f"auth:\n  public_key_path: {tmp_path}/k\n  private_key_path: {tmp_path}/k\n"
    assert problems(tmp_path, text) == [
        "3: auth.private_key_path: ~/k is also auth.public_key_path; they are two files, name both"
    ]


def test_the_log_needs_a_directory(tmp_path: Path) -> None:
    text = f"logging:\n  path: {tmp_path}"
    assert problems(tmp_path, text) == ["2: logging.path: ~ is a directory; name a file"]
    assert problems(tmp_path, text + "/none/server.log")[0].startswith(
        "2: logging.path: the directory ~/none does not exist"
    )
    assert problems(tmp_path, text + "/server.log") == []


def test_the_log_of_backups_needs_a_directory_if_there_are_backups(tmp_path: Path) -> None:
    text = f"logging: {{path: {tmp_path}/none/backup.log}}}}\n"
    (problem,) = problems(tmp_path, "backup: {enable: true, " + text)
    assert problem.startswith("1: backup.logging.path: the directory ~/none does not exist")
    assert problems(tmp_path, "backup: {" + text) == []


def test_a_server_that_nobody_can_reach_says_so(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text("proxy: {http: {enable: false}}")
    configuration = load(str(tmp_path / "c.yml"), Options(root=str(tmp_path)))
    assert configuration.notices == (
        "The server listens on this machine's own addresses only: other devices cannot reach it.",
    )
    assert [section for section, _, _ in check.listeners(configuration)] == ["network.sync", "network.http"]


NOW = datetime(2030, 1, 1, tzinfo=UTC)


def machine(number: int, process: Process | None = None, *, is_only_check: bool = False) -> Machine:
    """A machine that refuses the port 443 for a reason."""
    return Machine(NOW, lambda _, port: Refusal(number, process) if port == 443 else None, is_only_check)


HTTP_443 = "proxy:\n  http:\n    listen_port: 443\n"


def test_a_taken_port_names_the_process_where_it_can_be_seen(tmp_path: Path) -> None:
    taken = machine(errno.EADDRINUSE, Process(71, "nginx"))
    assert problems(tmp_path, HTTP_443, taken) == [
        "3: proxy.http.listen_port: [::]:443 is taken by nginx (process 71); stop that process, or write another port"
    ]
    (problem,) = problems(tmp_path, HTTP_443, machine(errno.EADDRINUSE))
    assert "is taken by another process; stop" in problem


def test_a_port_below_1024_is_explained_with_the_way_around_it(tmp_path: Path) -> None:
    assert problems(tmp_path, HTTP_443, machine(errno.EACCES)) == [
        "3: proxy.http.listen_port: the server is not root and may not open port 443; write 9443, and redirect: "
        "iptables -t nat -A PREROUTING -p tcp --dport 443 -j REDIRECT --to-ports 9443"
    ]


def test_any_other_refusal_is_told_in_the_words_of_the_system(tmp_path: Path) -> None:
    text = "proxy:\n  http:\n    listen_address: 'fe80::1'\n    listen_port: 443\n"
    assert problems(tmp_path, text, machine(errno.EINVAL)) == [
        "3: proxy.http.listen_address: cannot listen on [fe80::1]:443: Invalid argument; write another address"
    ]


def test_a_running_server_of_the_same_data_does_not_disturb_a_check(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "server.lock").write_text("71\n")
    process = Process(71, "twistd")
    assert problems(tmp_path, HTTP_443, machine(errno.EADDRINUSE, process, is_only_check=True)) == []
    assert len(problems(tmp_path, HTTP_443, machine(errno.EADDRINUSE, process))) == 1, "it does disturb a start"
    (tmp_path / "data" / "server.lock").write_text("72\n")
    assert len(problems(tmp_path, HTTP_443, machine(errno.EADDRINUSE, process, is_only_check=True))) == 1


def test_the_lock_file_is_the_stores() -> None:
    assert check.LOCK_FILE == LOCK_FILE


def test_listeners_that_are_off_are_not_tried(tmp_path: Path) -> None:
    text = "network: {http: {enable: false, listen_port: 443}}\nproxy: {https: {listen_port: 443}}\n"
    assert problems(tmp_path, text, machine(errno.EADDRINUSE)) == []
    text = (
        "network: {http: {listen_port: 443, forward_to: '192.0.2.7:27080'}, sync: {listen_port: 443}}\n"
        "sync: {servers: [{id: '0', address: sync.example.com, port: 443}]}\n"
    )
    assert problems(tmp_path, text, machine(errno.EADDRINUSE)) == []


def test_the_machine_is_asked_by_opening_the_port() -> None:
    ask = this_machine(NOW).refusal
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for address in ("127.0.0.1", "0.0.0.0", "::"):
            found = ask(address, port)
            assert found is not None
            assert found.number == errno.EADDRINUSE
            assert found.process is not None
            assert found.process.pid == os.getpid()
    assert ask("127.0.0.1", port) is None
    assert ask("192.0.2.1", port) == Refusal(errno.EADDRNOTAVAIL)


def test_all_addresses_are_those_of_ipv4_where_there_is_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without_ipv6(family: int = -1, *rest: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        return real(family, *rest)

    with real(socket.AF_INET) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(socket, "socket", without_ipv6)
    assert this_machine(NOW).refusal("::", port) is None
    refused = this_machine(NOW).refusal("::1", port)
    assert refused is not None
    assert refused.number == errno.EAFNOSUPPORT


def test_a_server_that_only_forwards_needs_neither_data_nor_keys(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text(
        "network: {http: {forward_to: '192.0.2.7:27080'}}\n"
        "sync: {servers: [{id: '0', address: '192.0.2.7', port: 27800}]}\n"
    )
    configuration = load(str(file))
    assert configuration.only_forwards
    assert str(configuration.sync_backend) == "192.0.2.7:27800"
    assert str(configuration.http_backend) == "192.0.2.7:27080"
    assert [section for section, _, _ in check.listeners(configuration)] == ["proxy.http"]
    file.write_text(file.read_text() + "proxy: {http: {enable: false}}\n")
    with pytest.raises(ConfigurationError, match="nothing is switched on"):
        load(str(file))


def test_a_local_sync_service_of_the_list_is_the_one_of_the_network(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    for address, at in (("0.0.0.0", "127.0.0.1"), ("::", "::1")):
        file.write_text(f"sync: {{servers: [{{id: '0', address: '{address}', port: 27801}}]}}\n")
        configuration = load(str(file), Options(root=str(tmp_path / "data")))
        assert configuration.network.sync.listen_address == at
        assert configuration.network.sync.listen_port == 27801
        assert configuration.sync_backend is None


def notices(root: Path, text: str) -> list[str]:
    (root / "c.yml").write_text(text)
    return list(load(str(root / "c.yml"), Options(root=str(root / "data"))).notices)


def test_what_has_no_effect_yet_says_so(tmp_path: Path) -> None:
    text = "auth: {sync_hosts: ['a.example.com:1'], providers: {facebook: {}, google: {clientId: x}}}\n"
    assert [notice.split(":")[0] for notice in notices(tmp_path, text)] == [
        "auth.sync_hosts",
        "auth.providers.google",
        "auth.providers.facebook",
    ]
    assert notices(tmp_path, "auth: {providers: {password: , realm: {}}}\nbackup: {enable: true}\n") == []


def test_a_private_key_that_everyone_may_read_is_told(tmp_path: Path) -> None:
    make_surroundings(tmp_path)
    text = f"auth: {{public_key_path: {tmp_path}/good.pub, private_key_path: {tmp_path}/good.key}}\n"
    assert notices(tmp_path, text) == []
    (tmp_path / "good.key").chmod(0o644)
    assert notices(tmp_path, text) == [
        f"auth.private_key_path: every user of this machine can read {tmp_path}/good.key; close it: "
        f"chmod o-r {tmp_path}/good.key"
    ]


def test_a_container_that_is_not_apples_is_told_but_accepted(tmp_path: Path) -> None:
    make_surroundings(tmp_path)
    key_id = "0123456789abcdef" * 4
    settings = f"key_id: '{key_id}', private_key_path: {tmp_path}/apple.key, container"
    text = f"auth: {{providers: {{cloudkit: {{{settings}: %s}}}}}}"
    assert len(notices(tmp_path, text % "iCloud.com.example")) == 1
    assert "com.example does not begin with iCloud." in notices(tmp_path, text % "com.example")[1]


def test_a_certificate_is_checked_against_the_clock(tmp_path: Path) -> None:
    make_surroundings(tmp_path)
    files = f"certificate_path: {tmp_path}/server.crt, private_key_path: {tmp_path}/server.key"
    text = f"proxy: {{https: {{enable: true, {files}}}}}"
    assert problems(tmp_path, text, Machine(datetime.now(UTC), lambda *_: None)) == []
    (problem,) = problems(tmp_path, text, Machine(NOW, lambda *_: None))
    assert "server.crt expired on" in problem


def test_a_provider_of_ones_own_keeps_its_options(tmp_path: Path) -> None:
    make_surroundings(tmp_path)
    (tmp_path / "c.yml").write_text(
        f"auth: {{providers: {{custom/example: {{implementation: good.py, include_path: {tmp_path}/providers,\n"
        f"  auth_server: 'https://example.com', retries: 3, factor: 1.5, strict: true, scopes: [a, {{b: null}}]}}}}}}\n"
    )
    (provider,) = load(str(tmp_path / "c.yml"), Options(root=str(tmp_path / "data"))).auth.providers.custom
    assert (provider.name, provider.implementation) == ("custom/example", "good.py")
    assert provider.options == {
        "auth_server": "https://example.com",
        "retries": 3,
        "factor": 1.5,
        "strict": True,
        "scopes": ["a", {"b": None}],
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_files_that_are_closed_to_the_server_are_told(tmp_path: Path) -> None:
    make_surroundings(tmp_path)
    for name in ("good.key", "server.key", "apple.key"):
        (tmp_path / name).chmod(0)
    auth = f"auth: {{public_key_path: {tmp_path}/good.pub, private_key_path: {tmp_path}/good.key}}\n"
    assert "may not read ~/good.key; change its owner" in problems(tmp_path, auth)[0]
    cloudkit = f"key_id: '{'0123456789abcdef' * 4}', private_key_path: {tmp_path}/apple.key, container: iCloud.x"
    (problem,) = problems(tmp_path, f"auth: {{providers: {{cloudkit: {{{cloudkit}}}}}}}")
    assert "may not read ~/apple.key; change its owner" in problem
    files = f"certificate_path: {tmp_path}/server.crt, private_key_path: {tmp_path}/server.key"
    machine = Machine(datetime.now(UTC), lambda *_: None)
    (problem,) = problems(tmp_path, f"proxy: {{https: {{enable: true, {files}}}}}", machine)
    assert "server.key may not be read by the user the server runs as; change its owner" in problem


def test_a_backup_listener_that_others_can_reach_is_told(tmp_path: Path) -> None:
    found = notices(tmp_path, "backup: {enable: true, network: {listen_address: '::'}}\n")
    assert [notice.split(":")[0] for notice in found] == ["backup.network.listen_address"]
