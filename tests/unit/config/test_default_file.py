"""The commented default file: it passes, and whatever is uncommented in it means what it says."""

import re
from pathlib import Path

import pytest

from realmserver.config.load import ConfigurationError, Options, load
from realmserver.config.manual import DEFAULT_FILE, WIDTH
from realmserver.config.model import Configuration

LINES = DEFAULT_FILE.read_text().splitlines()

COMMENTED = re.compile(r"^( *)# ([a-zA-Z_/]+):(.*)$")

PROVIDERS = ("cloudkit", "google", "facebook", "azuread", "custom/example")

KEYS = [
    number
    for number, line in enumerate(LINES)
    if (match := COMMENTED.match(line)) and match[2] not in PROVIDERS and not line.startswith(" " * 4 + "#   ")
]
"""The lines of settings that are commented out one by one; blocks of several lines are not among them."""


def load_lines(lines: list[str], directory: Path) -> Configuration:
    """The file with its paths put below ``directory``."""
    text = "\n".join(lines) + "\n"
    for old in ("/var/lib/realm/object-server", "/etc/realm/", "/var/log/realm-object-server.log"):
        assert f": {old}" in text
        name = old.strip("/").rpartition("/")[2]
        text = text.replace(f": {old}", f": {directory}/{name + '/' if old.endswith('/') else name}")
    (directory / "c.yml").write_text(text)
    return load(str(directory / "c.yml"))


def block(name: str) -> tuple[int, int]:
    """First and last line of a block that is uncommented as a whole."""
    start = next(number for number, line in enumerate(LINES) if line.strip().startswith(f"# {name}"))
    end = next(number for number in range(start, len(LINES)) if not LINES[number].strip())
    return start, end


def uncommented(start: int, end: int) -> list[str]:
    """The file without the marks of these lines."""
    return [re.sub("# ", "", each, count=1) if start <= number < end else each for number, each in enumerate(LINES)]


def test_it_passes_and_says_nothing_but_where_the_files_are(tmp_path: Path) -> None:
    configuration = load_lines(LINES, tmp_path)
    default = load(None, Options(str(tmp_path / "x"), str(tmp_path / "a"), str(tmp_path / "b")))
    assert configuration.logging.path == tmp_path / "realm-object-server.log"
    for section in ("proxy", "network", "sync", "performance", "history", "backup", "notices"):
        assert getattr(configuration, section) == getattr(default, section)


def test_there_are_settings_to_uncomment() -> None:
    assert len(KEYS) > 25


@pytest.mark.parametrize("number", KEYS, ids=lambda number: f"{number + 1}-{LINES[number].strip()[2:]}")
def test_a_setting_that_is_uncommented_is_the_default(number: int, tmp_path: Path) -> None:
    assert load_lines(uncommented(number, number + 1), tmp_path) == load_lines(LINES, tmp_path)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "cloudkit",
            [
                "auth.providers.cloudkit.key_id: is empty",
                "auth.providers.cloudkit.private_key_path: ~/cloudkit_key.pem does not exist",
                "auth.providers.cloudkit.container: is empty",
            ],
        ),
        ("google", ["auth.providers.google.clientId: is empty"]),
        ("facebook", []),
        ("azuread", ["auth.providers.azuread.tenant_id: is empty"]),
        (
            "custom/example",
            [
                "auth.providers_include_path: /usr/local/lib/realm/auth/providers is not a directory, but "
                "auth.providers.custom/example looks for its module there"
            ],
        ),
        ("- id", []),
    ],
)
def test_a_block_that_is_uncommented_passes_or_names_what_is_to_be_filled_in(
    name: str, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "custom/example" and Path("/usr/local/lib/realm/auth/providers").exists():
        pytest.skip("this machine has providers of its own")
    problems: list[str] = []
    try:
        load_lines(uncommented(*block(name)), tmp_path)
    except ConfigurationError as error:
        problems = [f"{problem.key}: {problem.text}".replace(str(tmp_path), "~") for problem in error.problems]
    assert [problem.partition(";")[0] for problem in problems] == told


def test_a_provider_that_is_filled_in_passes(tmp_path: Path) -> None:
    lines = [line.replace("clientId: ''", "clientId: 'x.example.com'") for line in uncommented(*block("google"))]
    google = load_lines(lines, tmp_path).auth.providers.google
    assert google is not None
    assert google.client_id == "x.example.com"


def test_the_lines_fit_a_terminal_and_have_no_blanks_at_the_end() -> None:
    assert [line for line in LINES if len(line) > WIDTH or line != line.rstrip()] == []


def test_the_sections_stand_in_the_order_of_the_manual() -> None:
    sections = [line.rstrip(":") for line in LINES if re.fullmatch(r"[a-z]+:", line)]
    assert sections == [
        "storage",
        "auth",
        "proxy",
        "network",
        "sync",
        "logging",
        "performance",
        "limits",
        "history",
        "backup",
    ]
