"""What must hold between keys, and on this machine."""

import os
from pathlib import Path

import pytest

from realmserver.config import check
from realmserver.config.load import ConfigurationError, Options, load


def problems(root: Path, text: str = "") -> list[str]:
    file = root / "c.yml"
    file.write_text(text)
    try:
        load(str(file), Options(default_root=str(root / "data")))
    except ConfigurationError as error:
        return [problem.replace(f"{file}:", "").replace(str(root), "~") for problem in error.problems]
    return []


def test_two_listeners_may_not_share_a_port(tmp_path: Path) -> None:
    assert problems(tmp_path, "network:\n  http:\n    listen_port: 9080\n") == [
        "3: network.http.listen_port: 9080 is also proxy.http.listen_port; give each its own port"
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
    assert problems(tmp_path) == ["auth.private_key_path: ~/data/keys/token-signature.key is not a file"]


def test_the_key_files_are_two(tmp_path: Path) -> None:
    text = f"auth:\n  public_key_path: {tmp_path}/k\n  private_key_path: {tmp_path}/k\n"
    assert problems(tmp_path, text) == [
        "3: auth.private_key_path: ~/k is also auth.public_key_path; they are two files"
    ]


def test_the_log_needs_a_directory(tmp_path: Path) -> None:
    text = f"logging:\n  path: {tmp_path}"
    assert problems(tmp_path, text) == ["2: logging.path: ~ is a directory; name a file"]
    assert problems(tmp_path, text + "/none/server.log")[0].startswith(
        "2: logging.path: the directory ~/none does not exist"
    )
    assert problems(tmp_path, text + "/server.log") == []


def test_a_server_that_nobody_can_reach_says_so(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text("proxy: {http: {enable: false}}")
    configuration = load(str(tmp_path / "c.yml"), Options(root=str(tmp_path)))
    assert configuration.notices == (
        "The server listens on this machine's own addresses only: other devices cannot reach it.",
    )
    assert [section for section, _, _ in check.listeners(configuration)] == ["network.sync", "network.http"]
