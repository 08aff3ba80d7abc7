"""How this copy of the package was built: whether the modules that ``setup.py`` names run as machine code, whether the
core in Rust is there, and whether either was made from the sources beside it.

Python prefers a module's machine code, whatever has become of its source since. ``tools/environment`` builds anew where
they differ; whatever runs without it, the server too, asks here: nobody shall look for faults in code that is not run.

This imports nothing of ours, so that any module may ask.
"""

import hashlib
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent

SUMS: Final = "compiled.sha256"
"""Beside the compiled modules: the checksums of their sources, in the form of sha256sum."""

CORE_SUMS: Final = "core.sha256"
"""The same for the core. Its sources are in a clone only: where it has been installed, nobody can change them."""

CRATE: Final = "native/Cargo.toml"
"""One of the core's sources, beside the package."""


def _is_core(path: Path) -> bool:
    return path.name.startswith("_native.")


def foreign_sources(package: Path = PACKAGE) -> list[str]:
    """What differs from what the machine code in ``package`` was made from: names of files, the sums' own where they
    are missing. Empty if all is well, and in pure Python."""
    found = []
    machine_code = list(package.rglob("*.so"))
    if not all(map(_is_core, machine_code)):
        found += _differing(package, SUMS)
    if any(map(_is_core, machine_code)):
        found += foreign_core(package)
    return found


def foreign_core(package: Path = PACKAGE) -> list[str]:
    """The same of the core alone, which is taken to be there."""
    if (package.parent / CRATE).exists() or not (package / CORE_SUMS).exists():
        return _differing(package, CORE_SUMS)
    return []


def _differing(package: Path, sums: str) -> list[str]:
    try:
        lines = (package / sums).read_text().splitlines()
    except OSError:
        return [f"{package.name}/{sums}"]
    found = []
    for expected, name in (line.split("  ", 1) for line in lines):
        try:
            source = (package.parent / name).read_bytes()
        except OSError:
            source = b""
        if hashlib.sha256(source).hexdigest() != expected:
            found.append(name)
    return found


def _runs_machine_code(directory: Path, module: str) -> bool:
    """Whether it is machine code that Python takes for the module; without taking it."""
    spec = PathFinder.find_spec(module, [str(directory)])
    return spec is not None and not str(spec.origin).endswith(".py")


IS_COMPILED: Final[bool] = _runs_machine_code(PACKAGE / "changeset", "decode")
"""Whether machine code runs; all of the modules are built, or none."""

HAS_CORE: Final[bool] = _runs_machine_code(PACKAGE, "_native") and not foreign_core()
"""Whether there is ``realmserver._native``; one of other sources is never loaded."""

IS_PURE: Final[bool] = not (IS_COMPILED or HAS_CORE)

BUILD: Final = ("compiled" if IS_COMPILED else "pure Python") + (", with the Rust core" if HAS_CORE else "")
"""For people."""


def complaint() -> str:
    """What to tell whoever starts a program on foreign machine code; empty if all is well."""
    foreign = foreign_sources()
    if not foreign:
        return ""
    return (
        f"the compiled modules do not belong to the sources beside them ({', '.join(foreign)}). "
        "In a clone run tools/environment runtime (or test), elsewhere install the server again."
    )
