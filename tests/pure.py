"""The server in pure Python, where the source tree has machine code (``realmserver/_build.py``): a copy without it.

``python tests/pure.py`` runs the tests that concern compiled modules there; with arguments it runs Python with these.
``realmserver`` and ``tests`` are the copy's.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mutant import copy_environment, copy_source
from sim.profiles import PROFILES

FUZZED: Final = ("apply", "changesets", "client_messages", "merge")
"""Targets that come to compiled modules."""

TESTS: Final = (
    "tests/unit/test_build.py",
    "tests/unit/changeset",
    "tests/unit/merge",
    *(f"tests/unit/realms/test_{name}.py" for name in ("integrate", "realm_schema", "replay")),
    *(f"tests/sim/test_sim.py::test_promises_are_kept[{profile}-0]" for profile in PROFILES),
    *(f"tests/fuzz/test_fuzz_targets.py::test_only_documented_errors_escape[{name}]" for name in FUZZED),
)
"""The vectors of the real implementation are among those of ``changeset``, ``merge`` and ``replay``. By hand: all of
``tests/unit/realms``, which takes two minutes more and has next to nothing of its own that is compiled."""


def main(arguments: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as directory:
        target = copy_source(Path(directory))
        environment = copy_environment(target, {"REALMSERVER_PURE": "1"})
        return subprocess.run([sys.executable, *arguments], cwd=target, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["-m", "pytest", "-p", "no:cacheprovider", *TESTS]))
