"""Prometheus's own checker of expositions, and a reader of them."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

PROMTOOL: Final = shutil.which("promtool")

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None and "CI" not in os.environ, reason="promtool is missing (Debian's package prometheus)"
)


def complaints(exposition: bytes) -> str:
    """What ``promtool check metrics`` finds wrong, errors and advice alike."""
    assert PROMTOOL is not None, "CI must check with promtool, which is missing"
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=exposition, capture_output=True, timeout=60)
    return (done.stdout + done.stderr).decode() or ("" if done.returncode == 0 else f"exit code {done.returncode}")


def check_expressions(expressions: list[str], directory: Path) -> str:
    """What Prometheus says to queries, as rules in a file of ``directory``; empty if all can be read."""
    assert PROMTOOL is not None, "CI must check with promtool, which is missing"
    rules = [{"record": f"rule{number}", "expr": expression} for number, expression in enumerate(expressions)]
    path = directory / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    done = subprocess.run([PROMTOOL, "check", "rules", str(path)], capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def figures(exposition: bytes) -> dict[str, float]:
    """Each sample by its name, with its labels if it has any (``name{code="212"}``)."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition.decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found
