"""Builds the package; what is declarative is in setup.cfg.

Besides, two parts become machine code, each of them where it can, and whatever becomes of the other:

- the modules named in ``COMPILED``, by mypyc, where a C compiler is at hand. Else they are pure Python and do the same,
  more slowly;
- the core in Rust, ``native/``, by cargo: the module ``realmserver._native``. Else it is not there.

With REALMSERVER_PURE=1 both are left out. Why a part is not built is said, and left in build/pure and build/no-core.
With machine code go the checksums of its sources, ``realmserver/compiled.sha256`` and ``realmserver/core.sha256``, by
which ``tools/environment`` and the program itself see that the two belong together (``realmserver/_build.py``).
"""

import os
import shlex
import shutil
import sys
import sysconfig
import tomllib
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from glob import glob
from hashlib import sha256
from pathlib import Path
from typing import Any

from setuptools import Command, Extension, setup
from setuptools.command.build_ext import build_ext

COMPILED = (
    "realmserver/changeset/[a-z]*.py",
    "realmserver/merge/[a-z]*.py",
    "realmserver/realms/packing.py",
)

GROUP = "realmserver"
"""Names the library that all of it is in, ``realmserver__mypyc``; each module is a small one that refers to it. It has
to lie beside the package, or mypyc gets the modules' own places wrong."""

CRATE = Path("native", "Cargo.toml")
CORE_SOURCES = ("native/Cargo.toml", "native/Cargo.lock", "native/src/**/*.rs")

PYTHON_OF_CORE = "cp311"
"""The oldest Python that it runs with, as its features say in ``CRATE``; it runs with all later ones, too."""

SUMS = Path("realmserver", "compiled.sha256")
CORE_SUMS = Path("realmserver", "core.sha256")
COMPILATION_FAILED = "the compilation failed (pip --verbose tells how)"
WHY_PURE = Path("build", "pure")
WHY_NO_CORE = Path("build", "no-core")
BUILDING = {"bdist_wheel", "build", "build_ext", "develop", "editable_wheel", "install"}
IN_PLACE = {"--inplace", "-i", "develop", "editable_wheel"}


class BuildModules(build_ext):
    """Builds everything anew each time, since it is built only where something has changed. The checksums come last:
    machine code without them counts as foreign. ``BuildCore`` runs after it, on setuptools-rust's behalf."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.force = True
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        remove_built(*places(self))
        if self.distribution.rust_extensions:
            self.get_finalized_command("build_rust").start()
        if not self.extensions:
            return
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 (whatever it is: the package is there without)
            self.extensions = self.distribution.ext_modules = []
            remove_modules(*places(self))
            say_pure(COMPILATION_FAILED, error)
            say_kind(self)
        else:
            for place in places(self):
                Path(place, SUMS).write_text(sums(*COMPILED))


def core_command(of_core: dict[str, Any]) -> dict[str, type[Command]]:
    """What builds the core, if it is to be built: setuptools-rust's command, which may not be there otherwise."""
    if not of_core:
        return {}
    from setuptools_rust import RustExtension
    from setuptools_rust.build import build_rust

    class BuildCore(build_rust):
        """Begins while the C compiler works, and puts in place what has become of it when that is done."""

        building: Future | None = None

        def start(self) -> None:
            """Cargo only; what has to do with other commands is left to ``run``."""
            self.building = ThreadPoolExecutor(1).submit(super().build_extension, *self.extensions)

        def build_extension(self, ext: RustExtension) -> Any:
            return self.building.result() if self.building else super().build_extension(ext)

        def run(self) -> None:
            command = self.get_finalized_command("build_ext")
            command.inplace = self.inplace
            try:
                super().run()
            except Exception as error:  # noqa: BLE001 (as above)
                self.extensions = self.distribution.rust_extensions = []
                remove_core(*places(command))
                say_no_core(COMPILATION_FAILED, error)
            else:
                Path(places(command)[-1], CORE_SUMS).write_text(sums(*CORE_SOURCES))
            say_kind(self)

    return {"build_rust": BuildCore}


def places(command: build_ext) -> tuple[str, ...]:
    """Where machine code is put, the place that counts last."""
    return (command.build_lib, ".") if command.inplace else (command.build_lib,)


def say_kind(command: Command) -> None:
    """Tell a wheel in the making for which machines it is, when a part of it has turned out."""
    if "bdist_wheel" not in commands or command.distribution.ext_modules:
        return
    wheel = command.get_finalized_command("bdist_wheel")
    if command.distribution.rust_extensions:
        wheel.py_limited_api = PYTHON_OF_CORE
    else:
        wheel.root_is_pure = True


def is_pure_wanted() -> bool:
    return os.environ.get("REALMSERVER_PURE", "0") not in ("", "0")


def why_not() -> str:
    """What speaks against compiled modules; empty if nothing does."""
    if is_pure_wanted():
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


def why_no_core() -> str:
    """What speaks against the core; empty if nothing does."""
    if is_pure_wanted():
        return "REALMSERVER_PURE is set"
    if not CRATE.exists():
        return f"its sources ({CRATE.parent}/) are not here"
    cargo = os.environ.get("CARGO") or "cargo"
    if shutil.which(cargo) is None:
        return f"there is no Rust compiler ({cargo})"
    try:
        from setuptools_rust.rustc_info import get_rust_version
    except ImportError as error:
        return f"setuptools-rust is not installed ({error})"
    found, needed = get_rust_version(None), tomllib.loads(CRATE.read_text())["package"]["rust-version"]
    if found is None:
        return "the Rust compiler does not run (rustc --version)"
    if (found.major, found.minor) < tuple(map(int, needed.split(".")[:2])):
        return f"Rust {needed} or later is needed (found: {found})"
    return ""


def say_pure(reason: str, error: BaseException | None = None) -> None:
    say(WHY_PURE, "in pure Python", reason, error, COMPILED)


def say_no_core(reason: str, error: BaseException | None = None) -> None:
    say(WHY_NO_CORE, "without its Rust core", reason, error, CORE_SOURCES)


def say(place: Path, how: str, reason: str, error: BaseException | None, sources: Iterable[str]) -> None:
    place.parent.mkdir(exist_ok=True)
    place.write_text(f"{reason}\n")
    if error is not None:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        tried(place).write_text(sums(*sources))
    print(f"realm-object-server is built {how}: {reason}.", file=sys.stderr)


def tried(place: Path) -> Path:
    """Beside the reason: the checksums of what could not be built. Others are tried again."""
    return place.with_suffix(".sha256")


def forget(place: Path) -> None:
    for path in (place, tried(place)):
        path.unlink(missing_ok=True)


def modules() -> list[Extension]:
    """What is to be compiled, in C; nothing where that is not possible, and then it has been said why."""
    reason = why_not()
    if reason:
        say_pure(reason)
        return []
    from mypyc.build import mypycify

    try:
        # The types are checked as in the project, but by nothing that only its tests have.
        found = mypycify(
            ["--config-file=", "--strict", *files(*COMPILED)], group_name=GROUP, opt_level="3", debug_level="0"
        )
    except (SystemExit, Exception) as error:  # noqa: BLE001 (as above)
        say_pure(COMPILATION_FAILED, error)
        return []
    for each in found:  # what a newer compiler warns of is no reason to do without
        each.extra_compile_args = [flag for flag in each.extra_compile_args if flag != "-Werror"]
    return found


def core() -> dict[str, Any]:
    """What ``setup`` is to be told of the core; nothing where it cannot be built, and then it has been said why."""
    reason = why_no_core()
    if reason:
        say_no_core(reason)
        return {}
    from setuptools_rust import Binding, RustExtension

    extension = RustExtension(
        "realmserver._native",
        path=str(CRATE),
        binding=Binding.PyO3,
        cargo_manifest_args=["--locked"],
        debug=False,  # in place, too
        quiet=True,  # errors come with the exception
        py_limited_api=True,
    )
    return {"rust_extensions": [extension]}


def files(*patterns: str) -> list[str]:
    return sorted(path for pattern in patterns for path in glob(pattern, recursive=True))


def sums(*patterns: str) -> str:
    return "".join(f"{sha256(Path(path).read_bytes()).hexdigest()}  {path}\n" for path in files(*patterns))


def remove_modules(*places: str) -> None:
    """No compiled modules of an earlier build stay there."""
    for place in map(Path, places):
        library = place.glob(f"{GROUP}__mypyc.*.so")
        modules = (path for path in (place / "realmserver").rglob("*.so") if not path.name.startswith("_native."))
        for path in (place / SUMS, *library, *modules):
            path.unlink(missing_ok=True)


def remove_core(*places: str) -> None:
    """No core of an earlier build stays there."""
    for place in map(Path, places):
        for path in (place / CORE_SUMS, *(place / "realmserver").glob("_native.*so")):
            path.unlink(missing_ok=True)


def remove_built(*places: str) -> None:
    remove_modules(*places)
    remove_core(*places)


commands = set(sys.argv[1:])

if commands & BUILDING:
    forget(WHY_PURE)
    forget(WHY_NO_CORE)
    if commands & IN_PLACE:
        remove_built(".")
    of_core = core()
    setup(ext_modules=modules(), cmdclass={"build_ext": BuildModules, **core_command(of_core)}, **of_core)
elif "build_rust" in commands:  # what tools/environment asks for when nothing else has changed
    forget(WHY_NO_CORE)
    remove_core(".")
    of_core = core()
    setup(cmdclass=core_command(of_core), **of_core)
else:
    setup()
