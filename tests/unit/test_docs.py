"""The manual names what there is."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from realmserver.config import manual
from realmserver.config.load import Options, load
from realmserver.config.model import Configuration
from realmserver.config.schema import all_keys
from realmserver.sync.errors import Code

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("write", [manual.page, manual.default_file])
def test_what_is_written_from_the_model_is_up_to_date(write: Callable[[], str]) -> None:
    """Else: ``python -m realmserver.config.manual``."""
    path = manual.PAGE if write is manual.page else manual.DEFAULT_FILE
    assert path.read_text() == write()


def test_the_configuration_page_names_every_key() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert [key.name for key in all_keys(Configuration) if f"`{key.name}`" not in page] == []


def test_the_example_in_the_configuration_page_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "configuration.md").read_text()
    match = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert match is not None
    (tmp_path / "c.yml").write_text(match[1])
    assert load("c.yml") == load(None, Options(root="data"))


def test_links_between_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_errors_page_names_only_codes_that_exist() -> None:
    page = (ROOT / "docs" / "operation.md").read_text()
    named = {
        int(number) for number in re.findall(r"\b([12]\d\d)\b", "\n".join(re.findall(r"^\| ([\d, –]+) \|", page, re.M)))
    }
    assert named
    assert named <= {int(code) for code in Code}
