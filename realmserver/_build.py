"""How this copy of the package was built: whether the modules that ``setup.py`` names run as machine code, and whether
that was made from the sources beside it.

Python prefers a module's machine code, whatever has become of its source since. ``tools/environment`` builds anew where
they differ; whatever runs without it, the server too, asks here: nobody shall look for faults in code that is not run.
"""

import hashlib
from pathlib import Path
from typing import Final

from realmserver.changeset import decode

IS_COMPILED: Final = not decode.__file__.endswith(".py")
"""Whether machine code runs; all of the modules are built, or none."""

BUILD: Final = "compiled" if IS_COMPILED else "pure Python"
"""For people."""

PACKAGE: Final = Path(__file__).parent

SUMS: Final = "compiled.sha256"
"""Beside the machine code: the checksums of its sources, in the form of sha256sum."""


def foreign_sources(package: Path = PACKAGE) -> list[str]:
    """What differs from what the machine code in ``package`` was made from: names of files, the sums' own where they
    are missing. Empty if all is well, and in pure Python."""
    if not any(package.rglob("*.so")):
        return []
    try:
        lines = (package / SUMS).read_text().splitlines()
    except OSError:
        return [f"{package.name}/{SUMS}"]
    found = []
    for expected, name in (line.split("  ", 1) for line in lines):
        try:
            source = (package.parent / name).read_bytes()
        except OSError:
            source = b""
        if hashlib.sha256(source).hexdigest() != expected:
            found.append(name)
    return found


def complaint() -> str:
    """What to tell whoever starts a program on foreign machine code; empty if all is well."""
    foreign = foreign_sources()
    if not foreign:
        return ""
    return (
        f"the compiled modules do not belong to the sources beside them ({', '.join(foreign)}). "
        "In a clone run tools/environment runtime (or test), elsewhere install the server again."
    )
