"""Builds the package; what is declarative is in setup.cfg.

Besides, the modules named in ``COMPILED`` become machine code by mypyc where a C compiler is at hand. Else, with
REALMSERVER_PURE=1, or if that fails, the package is pure Python and does the same, more slowly; why is said, and left
in build/pure. With machine code goes ``realmserver/compiled.sha256``, the checksums of its sources, by which
``tools/environment`` and the program itself see that the two belong together (``realmserver/_build.py``).
"""

import os
import shlex
import shutil
import sys
import sysconfig
from glob import glob
from hashlib import sha256
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

COMPILED = (
    "realmserver/changeset/[a-z]*.py",
    "realmserver/merge/[a-z]*.py",
    "realmserver/realms/packing.py",
)

GROUP = "realmserver"
"""Names the library that all of it is in, ``realmserver__mypyc``; each module is a small one that refers to it. It has
to lie beside the package, or mypyc gets the modules' own places wrong."""

SUMS = Path("realmserver", "compiled.sha256")
COMPILATION_FAILED = "the compilation failed (pip --verbose tells how)"
WHY_PURE = Path("build", "pure")
BUILDING = {"bdist_wheel", "build", "build_ext", "develop", "editable_wheel", "install"}
IN_PLACE = {"--inplace", "-i", "develop", "editable_wheel"}


class BuildModules(build_ext):
    """Builds everything anew each time, since it is built only where something has changed. The checksums come last:
    machine code without them counts as foreign."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.force = True
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        places = (self.build_lib, ".") if self.inplace else (self.build_lib,)
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 (whatever it is: the package is there without)
            self.extensions = []
            remove_built(*places)
            if "bdist_wheel" in commands:
                self.get_finalized_command("bdist_wheel").root_is_pure = True
            say_pure(COMPILATION_FAILED, error)
        else:
            for place in places:
                Path(place, SUMS).write_text(sums)


def why_not() -> str:
    """What speaks against machine code; empty if nothing does."""
    if os.environ.get("REALMSERVER_PURE", "0") not in ("", "0"):
        return "REALMSERVER_PURE is set"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler})"
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        return "Python's C headers are not installed (on Debian and Ubuntu: python3-dev)"
    try:
        import mypyc.build  # noqa: F401
    except ImportError as error:
        return f"mypyc is not installed ({error})"
    return ""


def say_pure(reason: str, error: BaseException | None = None) -> None:
    if error is not None:
        print(repr(error), file=sys.stderr)
    WHY_PURE.parent.mkdir(exist_ok=True)
    WHY_PURE.write_text(f"{reason}\n")
    print(f"realm-object-server is built in pure Python: {reason}.", file=sys.stderr)


def modules() -> list[Extension]:
    """What is to be compiled, in C; nothing where that is not possible, and then it has been said why."""
    reason = why_not()
    if reason:
        say_pure(reason)
        return []
    from mypyc.build import mypycify

    try:
        # The types are checked as in the project, but by nothing that only its tests have.
        found = mypycify(["--config-file=", "--strict", *sources], group_name=GROUP, opt_level="3", debug_level="0")
    except (SystemExit, Exception) as error:  # noqa: BLE001 (as above)
        say_pure(COMPILATION_FAILED, error)
        return []
    for each in found:  # what a newer compiler warns of is no reason to do without
        each.extra_compile_args = [flag for flag in each.extra_compile_args if flag != "-Werror"]
    return found


def remove_built(*places: str) -> None:
    """Nothing of an earlier build stays there."""
    for place in map(Path, places):
        library = place.glob(f"{GROUP}__mypyc.*.so")
        for path in (place / SUMS, *library, *(place / "realmserver").rglob("*.so")):
            path.unlink(missing_ok=True)


commands = set(sys.argv[1:])
sources = sorted(path for pattern in COMPILED for path in glob(pattern))
sums = "".join(f"{sha256(Path(path).read_bytes()).hexdigest()}  {path}\n" for path in sources)

if commands & BUILDING:
    WHY_PURE.unlink(missing_ok=True)
    if commands & IN_PLACE:
        remove_built(".")
    setup(ext_modules=modules(), cmdclass={"build_ext": BuildModules})
else:
    setup()
