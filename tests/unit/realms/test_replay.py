"""The command that checks files of golden vectors: what it prints, and that it notices what is wrong."""

import base64
import gzip
import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from golden import VECTORS
from realm_tools import set_n

from realmserver.realms.replay import main

SESSIONS = sorted((VECTORS / "merge").glob("*.jsonl.gz"))
PAIRS = sorted(VECTORS.glob("pairs*.jsonl.gz"))


def some_lines(path: Path, number: int) -> list[Any]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in islice(lines, number)]


def written(directory: Path, lines: list[Any]) -> str:
    path = directory / "tampered.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as out:
        out.writelines(f"{json.dumps(line)}\n" for line in lines)
    return str(path)


@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.name)
def test_every_session_of_the_real_implementation_is_reproduced(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed, told = main([str(path)]), capsys.readouterr().out
    assert not failed, told
    name, counts = told.strip().split(": ", 1)
    assert name == path.name
    sessions, *others = counts.split(", ")
    assert int(sessions.removeprefix("sessions ")) > 0
    assert [each.split()[0] for each in others] == ["uploads", "downloads", "states"]
    assert all(each.split()[1].split("/")[0] == each.split("/")[1] for each in others)


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.name)
def test_every_pair_of_the_real_implementation_is_reproduced(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(path)]) == 0
    assert capsys.readouterr().out in (f"{path.name}: pairs 6000/6000\n", f"{path.name}: pairs 3000/3000\n")


def tampered_result(line: Any) -> None:
    event = next(each for each in line["events"] if each["op"] == "upload")
    event["result"] = base64.b64encode(set_n(1)).decode()


def tampered_download(line: Any) -> None:
    event = next(each for each in line["events"] if each["op"] == "download")
    event["result"] = base64.b64encode(set_n(1)).decode()


def tampered_state(line: Any) -> None:
    objects = next(each for each in line["state"].values() if each)
    objects[0][1] = {}


@pytest.mark.parametrize(
    ("tamper", "kind"),
    [(tampered_result, "uploads"), (tampered_download, "downloads"), (tampered_state, "states")],
)
def test_a_session_that_differs_is_shown_and_fails(
    tamper: Any, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = some_lines(VECTORS / "merge" / "single.jsonl.gz", 2)
    tamper(lines[1])
    assert main([written(tmp_path, lines)]) == 1
    first, mismatch, *difference = capsys.readouterr().out.splitlines()
    assert first.startswith("tampered.jsonl.gz: sessions 2, ")
    assert f"first mismatch in {kind}: {lines[1]['name']}" in mismatch
    assert any(line.strip().startswith("-") for line in difference)


@pytest.mark.parametrize("change", ["result", "error"])
def test_a_pair_that_differs_is_shown_and_fails(
    change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = some_lines(PAIRS[0], 30)
    good = next(line for line in lines if "error" not in line)
    if change == "result":
        good["incoming_result"] = [base64.b64encode(set_n(1)).decode() for _ in good["incoming_result"]]
    else:
        good["error"] = "transform"
    assert main([written(tmp_path, lines)]) == 1
    assert "pairs 29/30" in capsys.readouterr().out


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.jsonl.gz"
    bad.write_bytes(b"no gzip")
    assert main([str(bad), written(tmp_path, some_lines(PAIRS[0], 3))]) == 1
    output = capsys.readouterr()
    assert "bad.jsonl.gz: cannot be read" in output.err
    assert "tampered.jsonl.gz: pairs 3/3" in output.out
