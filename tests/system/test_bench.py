"""The benchmark from end to end: its figures mean nothing here, but everything that makes them has to work."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from server_process import PATIENCE, REPOSITORY

pytestmark = pytest.mark.system


def test_the_benchmark_measures_and_tells(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "upload", "establish", "--tiny", "--runs", "1"]
    result = subprocess.run(
        [*command, "--only", "bulk|new", "--json", tmp_path / "figures.json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    lines = [line.split()[0] for line in result.stdout.splitlines() if line]
    assert lines[2:] == ["upload", "target", "bulk,", "establish", "target", "new"]
    content = json.loads((tmp_path / "figures.json").read_text())
    assert content["machine"]["cores"] > 0
    cpu = 0.0
    for each in content["results"]:
        (runs,) = each["runs"].values()
        (run,) = runs
        cpu += run["server_cpu"]  # the system counts it in hundredths of a second, which one case may not take
        assert run["peak"] > run["resident"] / 2 > 10
        assert all(figure > 0 for figure in run["figures"].values())
    assert cpu > 0
