"""The manual names what there is."""

import re
from pathlib import Path

import yaml

from realmserver.config.model import all_keys
from realmserver.sync.errors import Code

ROOT = Path(__file__).resolve().parents[2]


def test_the_configuration_page_names_every_key() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert [name for name, _ in all_keys() if f"`{name}`" not in page] == []


def test_the_example_in_the_configuration_page_holds_known_keys_with_legal_values() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    match = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert match is not None
    kinds = dict(all_keys())

    def check(section: dict[str, object], prefix: str) -> int:
        checked = 0
        for name, value in section.items():
            if isinstance(value, dict):
                checked += check(value, f"{prefix}{name}.")
            else:
                kinds[prefix + name](value)
                checked += 1
        return checked

    assert check(yaml.safe_load(match[1]), "") == len(kinds) - 1, "all but logging.path"


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
