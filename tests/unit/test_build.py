"""Machine code runs only beside the sources that it was made from (``realmserver/_build.py``, ``setup.py``)."""

import hashlib
import importlib
import os
from pathlib import Path

import pytest

from realmserver import _build

CODE = "changeset/decode.so"
SOURCE = "changeset/decode.py"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Machine code with its source and its sums."""
    package = tmp_path / "realmserver"
    (package / SOURCE).parent.mkdir(parents=True)
    (package / SOURCE).write_text("the source")
    (package / CODE).touch()
    sum_of_it = hashlib.sha256(b"the source").hexdigest()
    (package / _build.SUMS).write_text(f"{sum_of_it}  realmserver/{SOURCE}\n")
    return package


def test_what_is_tested_belongs_together() -> None:
    assert _build.complaint() == ""


def test_all_modules_are_compiled_or_none() -> None:
    """Of those that the sums name; and none where the environment asks for none."""
    if not _build.IS_COMPILED:
        assert not list(_build.PACKAGE.rglob("*.so"))
        return
    assert os.environ.get("REALMSERVER_PURE", "0") == "0"
    names = [line.split()[1] for line in (_build.PACKAGE / _build.SUMS).read_text().splitlines()]
    assert f"realmserver/{SOURCE}" in names
    for name in names:
        module = importlib.import_module(name.removesuffix("/__init__.py").removesuffix(".py").replace("/", "."))
        assert str(module.__file__).endswith(".so")


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
