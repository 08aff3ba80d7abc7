"""The manual names what there is, and all of it. Links between its pages and to headings are checked by Sphinx, which
builds it in ``run-tests``; the README, which Sphinx does not see, is checked here."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from realmserver.config import manual
from realmserver.config.load import Options as ConfigurationOptions
from realmserver.config.load import load
from realmserver.config.model import Configuration
from realmserver.config.schema import all_keys
from realmserver.log import LEVELS
from realmserver.metrics import Metrics
from realmserver.sync import bodies, errors, server, syntax
from realmserver.sync.errors import Code
from realmserver.tap import Options

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


def section(text: str, heading: str) -> str:
    """The part of a page below ``heading``, up to the next heading of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"there is no heading {heading!r}"
    return re.split(rf"\n#{{1,{level}}} ", rest)[0]


def first_cells(text: str) -> set[str]:
    """The first cells of all rows of the tables in ``text``, without their heads; an empty one goes on from above."""
    rows = re.findall(r"^\| ?(.*?) ?\|(?!-)", re.sub(r"^\|.*\n\|---.*$", "", text, flags=re.MULTILINE), re.MULTILINE)
    return {cell for cell in rows if cell}


def numbers(cells: set[str]) -> list[int]:
    """Numbers and ranges such as ``102, 110–112``."""
    found: list[int] = []
    for cell in cells:
        for low, high in re.findall(r"(\d+)(?:–(\d+))?", cell):
            found += range(int(low), int(high or low) + 1)
    return sorted(found)


# Configuration


@pytest.mark.parametrize("write", [manual.page, manual.default_file])
def test_what_is_written_from_the_model_is_up_to_date(write: Callable[[], str]) -> None:
    """Else: ``python -m realmserver.config.manual``."""
    path = manual.PAGE if write is manual.page else manual.DEFAULT_FILE
    assert path.read_text() == write()


def test_the_configuration_page_names_every_key() -> None:
    text = page("configuration")
    assert [key.name for key in all_keys(Configuration) if f"`{key.name}`" not in text] == []


def test_the_example_in_the_configuration_page_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    match = re.search(r"```yaml\n(.*?)```", page("configuration"), re.DOTALL)
    assert match is not None
    (tmp_path / "c.yml").write_text(match[1])
    assert load("c.yml") == load(None, ConfigurationOptions(root="data"))


# Errors


def made_by(path: Path) -> set[Code]:
    """The numbers of the errors that a module makes."""
    return {
        Code[argument.attr]
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("SyncError", "BadCursor")
        for argument in call.args
        if isinstance(argument, ast.Attribute) and isinstance(argument.value, ast.Name) and argument.value.id == "Code"
    }


def sendable() -> set[Code]:
    """Every number that a client can get from this server, in the form that real clients survive."""
    of_server = (path for path in (ROOT / "realmserver").rglob("*.py") if path.parent.name != "client")
    made = {code for path in of_server if not path.name.startswith("client") for code in made_by(path)}
    made |= set(errors._OF_REALM.values())
    made |= {Code(syntax.MalformedMessage("").code), Code(bodies.DECOMPRESSION_FAILED)}
    safe = {errors._REPLACED.get(code, (code, None))[0] for code in made}
    return safe - {Code.TOKEN_EXPIRED, Code.BAD_AUTHENTICATION}  # told by HTTP 401 and close code 4001


def test_the_errors_page_explains_every_number_that_the_server_sends() -> None:
    text = page("errors")
    for heading, of_connection in (("### Of a connection", True), ("### Of a session", False)):
        explained = numbers(first_cells(section(text, heading)))
        assert explained == sorted(code for code in sendable() if code.of_connection == of_connection)


def test_the_errors_page_lists_all_other_numbers_as_never_sent() -> None:
    listed = numbers(first_cells(section(page("errors"), "### Numbers that this server never sends")))
    assert listed == sorted(set(Code) - sendable())


def test_the_errors_page_explains_every_error_of_the_http_api() -> None:
    tree = ast.parse((ROOT / "realmserver" / "http" / "problems.py").read_text())
    names = {
        str(call.args[1].value)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "ApiError"
        if isinstance(call.args[1], ast.Constant) and isinstance(call.args[1].value, str)
    }
    explained = first_cells(section(page("errors"), "## Answers of the HTTP API"))
    assert explained == {f"`{name}`" for name in names}


def test_the_errors_page_explains_the_close_codes_that_the_server_sends() -> None:
    explained = set(numbers(first_cells(section(page("errors"), "## WebSocket close codes"))))
    assert {server._OK, server._POLICY, server._TOO_BIG, server._UNAUTHORIZED} <= explained


# Options, metrics, files


def test_the_page_on_running_names_every_option() -> None:
    options = Options()  # type: ignore[no-untyped-call]
    known = {f"--{name}" for name in (*options.synonyms.values(), "help", "version")}
    shorts = {f"-{name}" for name in options.synonyms if len(name) == 1}
    named = first_cells(section(page("run"), "## Options"))
    words = {word for cell in named for word in re.findall(r"`(--?[a-z-]+)", cell)}
    assert sorted((known | shorts) - words) == []


def test_the_page_on_monitoring_has_a_table_of_all_figures() -> None:
    figures = Metrics()
    figures.watch_disk(ROOT)
    figures.watch_log([0] * len(LEVELS), LEVELS)
    figures.certificate_expires(0.0)
    table = "| figure | kind | meaning |\n|---|---|---|\n" + "".join(
        f"| `{each.name}{'_total' if each.type == 'counter' else ''}` | {each.type} | {each.documentation} |\n"
        for each in sorted(figures.registry.collect(), key=lambda each: str(each.name))
        if each.name.startswith("ros_")
    )
    found = re.search(r"<!-- metrics: begin.*?-->\n\n(.*?)\n?<!-- metrics: end -->", page("monitoring"), re.DOTALL)
    assert found is not None
    assert found[1] == table, f"docs/monitoring.md should have:\n{table}"


def files_named() -> Iterator[str]:
    """Files of the repository below ``etc`` that the manual sends its readers to."""
    for path in DOCS.glob("*.md"):
        yield from re.findall(r"(?<![/\w])etc/[\w./-]*\w/?", path.read_text())


def test_the_files_that_the_manual_names_exist() -> None:
    assert sorted({name for name in files_named() if not (ROOT / name).exists()}) == []


# Links


def test_links_lead_somewhere() -> None:
    for path in (ROOT / "README.md", *DOCS.glob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_links_of_the_readme_to_headings_lead_somewhere() -> None:
    for file, anchor in re.findall(r"\]\((docs/[^)#]+)#([^)]+)\)", (ROOT / "README.md").read_text()):
        headings = re.findall(r"^#+ (.+)$", (ROOT / file).read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_map_of_the_manual() -> None:
    linked = set(re.findall(r"^\| \[.*?\]\((.+?)\.md\)", page("index"), re.MULTILINE))
    assert linked == {path.stem for path in DOCS.glob("*.md")} - {"index"}
