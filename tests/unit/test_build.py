"""Machine code runs only beside the sources that it was made from (``realmserver/_build.py``), and what cannot be built
is left out (``setup.py``, with a cargo that plays the real one)."""

import hashlib
import importlib
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from realmserver import _build

ROOT: Final = Path(__file__).resolve().parents[2]
CODE = "changeset/decode.so"
SOURCE = "changeset/decode.py"
CORE = "_native.abi3.so"
CORE_SOURCE = "native/Cargo.toml"

can_build: Final = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="a copy without what builds it")


def sum_up(sums: Path, name: str, content: str) -> None:
    sums.write_text(f"{hashlib.sha256(content.encode()).hexdigest()}  {name}\n")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Compiled modules and a core, both with their source and their sums."""
    package = tmp_path / "realmserver"
    for path, content in ((package / SOURCE, "the source"), (tmp_path / CORE_SOURCE, "its source")):
        path.parent.mkdir(parents=True)
        path.write_text(content)
    for code in (CODE, CORE):
        (package / code).touch()
    sum_up(package / _build.SUMS, f"realmserver/{SOURCE}", "the source")
    sum_up(package / _build.CORE_SUMS, CORE_SOURCE, "its source")
    return package


def build_of(package: Path) -> dict[str, Any]:
    """What ``_build`` says in a package that has it."""
    shutil.copy(_build.__file__, package)
    return runpy.run_path(str(package / "_build.py"))


def test_what_is_tested_belongs_together() -> None:
    assert _build.complaint() == ""


def test_all_modules_are_compiled_or_none() -> None:
    """Of those that the sums name; and none where the environment asks for none."""
    if not _build.IS_COMPILED:
        assert not [path for path in _build.PACKAGE.rglob("*.so") if path.name != CORE]
        return
    assert os.environ.get("REALMSERVER_PURE", "0") == "0"
    names = [line.split()[1] for line in (_build.PACKAGE / _build.SUMS).read_text().splitlines()]
    assert f"realmserver/{SOURCE}" in names
    for name in names:
        module = importlib.import_module(name.removesuffix("/__init__.py").removesuffix(".py").replace("/", "."))
        assert str(module.__file__).endswith(".so")


def test_the_core_is_there_if_it_is_said_to_be() -> None:
    assert (_build.PACKAGE / CORE).exists() is _build.HAS_CORE
    if _build.HAS_CORE:
        assert os.environ.get("REALMSERVER_PURE", "0") == "0"
        assert importlib.import_module("realmserver._native").__file__ == str(_build.PACKAGE / CORE)


def test_sources_as_they_were_are_no_reason_to_complain(package: Path) -> None:
    assert _build.foreign_sources(package) == []


def test_a_source_that_has_changed_is_named(package: Path) -> None:
    (package / SOURCE).write_text("another")
    assert _build.foreign_sources(package) == [f"realmserver/{SOURCE}"]


def test_a_source_that_is_gone_is_named(package: Path) -> None:
    (package / SOURCE).unlink()
    assert _build.foreign_sources(package) == [f"realmserver/{SOURCE}"]


def test_machine_code_without_sums_is_foreign(package: Path) -> None:
    (package / _build.SUMS).unlink()
    assert _build.foreign_sources(package) == ["realmserver/compiled.sha256"]


def test_without_machine_code_sources_may_change(package: Path) -> None:
    (package / SOURCE).write_text("another")
    (package / CODE).unlink()
    assert _build.foreign_sources(package) == []


def test_a_source_of_the_core_that_has_changed_is_named(package: Path) -> None:
    (package.parent / CORE_SOURCE).write_text("another")
    assert _build.foreign_sources(package) == [CORE_SOURCE]


def test_a_core_without_sums_is_foreign(package: Path) -> None:
    (package / _build.CORE_SUMS).unlink()
    assert _build.foreign_sources(package) == ["realmserver/core.sha256"]


def test_a_core_alone_needs_no_sums_of_modules(package: Path) -> None:
    (package / CODE).unlink()
    (package / _build.SUMS).unlink()
    assert _build.foreign_sources(package) == []


def test_an_installed_core_is_without_its_sources(package: Path) -> None:
    (package.parent / CORE_SOURCE).unlink()
    assert _build.foreign_sources(package) == []


def test_what_is_built_is_said(package: Path) -> None:
    build = build_of(package)
    assert (build["IS_COMPILED"], build["HAS_CORE"], build["IS_PURE"]) == (True, True, False)
    assert build["BUILD"] == "compiled, with the Rust core"
    (package / CODE).unlink()
    assert build_of(package)["BUILD"] == "pure Python, with the Rust core"
    (package / CORE).unlink()
    build = build_of(package)
    assert (build["BUILD"], build["IS_PURE"]) == ("pure Python", True)


def test_a_core_of_other_sources_is_not_taken(package: Path) -> None:
    (package.parent / CORE_SOURCE).write_text("another")
    build = build_of(package)
    assert not build["HAS_CORE"]
    assert build["BUILD"] == "compiled"
    assert CORE_SOURCE in build["complaint"]()


Build = Callable[..., str]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Build the core in place, from a small copy of the sources; returns what was said. The programs on the path are
    those of ``tools``, which are shell scripts, and no others."""

    def build(tools: dict[str, str], command: str = "build_rust", **environment: str) -> str:
        (tmp_path / "realmserver").mkdir(exist_ok=True)
        for name in ("setup.py", "setup.cfg", "README.md", "realmserver/__init__.py", "realmserver/_version.py"):
            shutil.copy(ROOT / name, tmp_path / name)
        ignored = shutil.ignore_patterns("target")
        shutil.copytree(ROOT / "native", tmp_path / "native", ignore=ignored, dirs_exist_ok=True)
        shutil.rmtree(tmp_path / "bin", ignore_errors=True)
        for name, script in tools.items():
            path = tmp_path / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"#!/bin/sh\n{script}")
            path.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if name not in ("CARGO", "REALMSERVER_PURE")}
        arguments = [sys.executable, "setup.py", command, "--inplace"]
        done = subprocess.run(
            arguments,
            cwd=tmp_path,
            env={**kept, "PATH": str(tmp_path / "bin"), **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    return build


RUSTC: Final = "echo 'rustc 1.95.0 (59807616e 2026-04-14)'; echo 'host: x86_64-unknown-linux-gnu'"
BUILT: Final = json.dumps(
    {
        "reason": "compiler-artifact",
        "package_id": "native",
        "target": {"kind": ["cdylib"], "crate_types": ["cdylib"]},
        "filenames": ["native/lib_native.so"],
    }
)
CARGO: Final = f"""
case $1 in
    metadata) echo '{{"packages": [], "resolve": {{"root": "native"}}}}' ;;
    rustc) echo the library >native/lib_native.so && echo '{BUILT}' ;;
esac
"""
FAILING_CARGO: Final = "echo 'no crates could be fetched' >&2; exit 101"


def is_built(root: Path) -> bool:
    """Whether there is a core with its sums, and no reason why not; or nothing of it, and a reason."""
    found = [(root / "realmserver" / name).exists() for name in (CORE, _build.CORE_SUMS)]
    assert found == [not (root / "build" / "no-core").exists()] * 2
    return found[0]


@can_build
def test_the_core_comes_with_the_sums_of_its_sources(build: Build, tmp_path: Path) -> None:
    build({"cargo": CARGO, "rustc": RUSTC})
    assert is_built(tmp_path)
    assert (tmp_path / "realmserver" / CORE).read_text() == "the library\n"
    names = [line.split()[1] for line in (tmp_path / "realmserver" / _build.CORE_SUMS).read_text().splitlines()]
    assert {"native/Cargo.toml", "native/Cargo.lock", "native/src/lib.rs"} <= set(names)
    assert _build.foreign_sources(tmp_path / "realmserver") == []


@can_build
@pytest.mark.parametrize(
    ("tools", "environment", "reason"),
    [
        ({}, {}, "there is no Rust compiler (cargo)"),
        ({"cargo": CARGO, "rustc": "exit 1"}, {}, "the Rust compiler does not run (rustc --version)"),
        ({"cargo": CARGO, "rustc": "echo 'rustc 1.63.0 (x 2022-08-11)'"}, {}, "or later is needed (found: 1.63.0)"),
        ({"cargo": FAILING_CARGO, "rustc": RUSTC}, {}, "the compilation failed"),
        ({"cargo": CARGO, "rustc": RUSTC}, {"REALMSERVER_PURE": "1"}, "REALMSERVER_PURE is set"),
    ],
    ids=["no cargo", "no compiler", "old", "failing", "pure"],
)
def test_what_cannot_be_built_is_left_out(
    build: Build, tmp_path: Path, tools: dict[str, str], environment: dict[str, str], reason: str
) -> None:
    """And nothing of an earlier build stays."""
    build({"cargo": CARGO, "rustc": RUSTC})
    said = build(tools, **environment)
    assert not is_built(tmp_path)
    assert reason in (tmp_path / "build" / "no-core").read_text()
    assert reason in said
    assert ("no crates could be fetched" in said) is (reason == "the compilation failed")


@can_build
def test_the_core_needs_no_c_compiler(build: Build, tmp_path: Path) -> None:
    build({"cargo": CARGO, "rustc": RUSTC}, "build_ext", CC="nothing")
    assert is_built(tmp_path)
    assert (tmp_path / "build" / "pure").read_text() == "there is no C compiler (nothing)\n"
