"""Copies of the source, and deliberately broken servers: patches of ``tests/mutants``, applied to a copy.

A suite that promises to find a kind of fault shows it with these: it fails against the copy. Each patch begins with a
few words about what it breaks. By hand: ``python tests/mutant.py NAME COMMAND...`` runs a command in such a copy, where
``realmserver`` and ``tests`` are the broken ones.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PATCHES: Final = ROOT / "tests" / "mutants"

COPIED: Final = ("realmserver", "twisted", "tests", "fuzz", "etc", "setup.cfg", "pyproject.toml", "start-object-server")
"""What a copy consists of: enough to run the server and the tests. The environment stays where it is."""

NOT_COPIED: Final = ("__pycache__", "*.so", "found", "work")
"""Above all no machine code, which would not be a patched source's. The last two are what fuzzers leave."""

ACKNOWLEDGE_BEFORE_COMMIT: Final = "acknowledge-before-commit"
DROP_RECIPROCAL: Final = "drop-reciprocal"
SKIP_SALT_CHECK: Final = "skip-salt-check"
NO_FSYNC: Final = "no-fsync"
INTEGRATE_AGAIN: Final = "integrate-again"
TORN_SQUASH: Final = "torn-squash"

MUTANTS: Final = (ACKNOWLEDGE_BEFORE_COMMIT, DROP_RECIPROCAL, SKIP_SALT_CHECK, NO_FSYNC, INTEGRATE_AGAIN, TORN_SQUASH)


def copy_source(target: Path) -> Path:
    """Copy the source to the directory ``target``; returns ``target``."""
    for each in COPIED:
        source = ROOT / each
        if source.is_dir():
            shutil.copytree(source, target / each, ignore=shutil.ignore_patterns(*NOT_COPIED))
        else:
            shutil.copy2(source, target / each)
    return target


def make_mutant(name: str, target: Path) -> Path:
    """Copy the source to the directory ``target`` and break it with the patch ``name``; returns ``target``.

    Raises :class:`subprocess.CalledProcessError` where the patch does not apply any more.
    """
    copy_source(target)
    # No repository is needed for this, and none above the target is meant.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(target.parent)}
    command = ["git", "apply", str(PATCHES / f"{name}.patch")]
    subprocess.run(command, cwd=target, env=environment, check=True, capture_output=True, text=True)
    return target


def run_mutant(
    target: Path, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run this Python with ``arguments`` in the copy at ``target``; what it imports of ours is the copy's."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=target,
        env=copy_environment(target, environment),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def copy_environment(target: Path, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables with which every Python that is started takes ``realmserver`` from the copy at ``target``."""
    # What the interop tests have built is as good there.
    found = {"REALM_JVM_OUT": str(ROOT / ".build" / "realm-jvm"), **os.environ, **(environment or {})}
    # Bytecode is kept, in the copy: servers there are started many times.
    return {**found, "PYTHONPATH": str(target), "PYTHONDONTWRITEBYTECODE": ""}


def main(name: str, *command: str) -> int:
    with tempfile.TemporaryDirectory() as directory:
        target = make_mutant(name, Path(directory))
        return subprocess.run(command, cwd=target, env=copy_environment(target)).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
