"""Fuzz runs go through pure Python: atheris sees the branches of bytecode only, and what is kept is chosen by lines."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from realmserver._build import IS_PURE

ROOT: Final = Path(__file__).resolve().parents[1]


def run_pure(module: str, main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """What ``main``, of ``module``, returns for the arguments; where ``realmserver`` has machine code, in another
    process that has a copy of it without."""
    if IS_PURE:
        return main(arguments)
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, "realmserver")
        shutil.copytree(ROOT / "realmserver", copy, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        # Without the second, Python would look in the current directory first.
        environment = {**os.environ, "PYTHONPATH": f"{directory}:{ROOT}", "PYTHONSAFEPATH": "1"}
        return subprocess.run([sys.executable, "-m", module, *arguments], env=environment, check=False).returncode
