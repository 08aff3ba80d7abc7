"""Whatever stands in a file: it is a configuration, or it is told what is wrong. Nothing else comes of it."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realmserver.config.load import ConfigurationError, Options, load
from realmserver.config.manual import DEFAULT_FILE
from realmserver.config.model import Configuration
from realmserver.config.problem import Problem
from realmserver.config.reader import MAX_PROBLEMS
from realmserver.config.schema import all_keys

LINES = [line.replace("# ", "", 1) for line in DEFAULT_FILE.read_text().splitlines() if "## " not in line and line]
"""The default file with everything uncommented, which is wrong in some places only."""

WORDS = sorted({part for key in all_keys(Configuration) for part in key.name.split(".")})

VALUES = st.one_of(
    st.sampled_from(
        ["'::'", "‘::’", "yes", "null", "~", "-1", "0x1f", "1e3", "2020-01-01", "{}", "[]", "[[]]", "!x y"]
    ),
    st.sampled_from(
        ["&a [*a]", "*a", "*b", '"\\ud800"', '"\\UFFFFFFFF"', '"\\0"', "'::1%eth0'", "'10.0.0.1%a/8'", "<<"]
    ),
    st.integers().map(str),
    st.text(max_size=20),
)

EDITS = st.lists(
    st.tuples(st.integers(0, len(LINES) - 1), st.sampled_from(["drop", "double", "indent", "value", "key"]), VALUES),
    min_size=1,
    max_size=4,
)


def edited(edits: list[tuple[int, str, str]]) -> str:
    lines = list(LINES)
    for number, how, value in edits:
        line = lines[number]
        name, _, _ = line.partition(":")
        lines[number] = {
            "drop": "",
            "double": f"{line}\n{line}",
            "indent": f" {line}",
            "value": f"{name}: {value}",
            "key": f"{name[: len(name) - len(name.lstrip())]}{value}: {value}",
        }[how]
    return "\n".join(lines)


def is_told_or_loaded(directory: Path, text: str) -> None:
    file = directory / "c.yml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    problems: tuple[Problem, ...] = ()
    try:
        load(str(file), Options(root=str(directory / "data")))
    except ConfigurationError as error:
        problems = error.problems
    assert len(problems) < 2 * MAX_PROBLEMS
    for problem in problems:
        shown = str(problem)
        assert shown.encode()
        assert len(shown.splitlines()) in (1, 3)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EDITS)
def test_the_default_file_with_mistakes(directory: Path, edits: list[tuple[int, str, str]]) -> None:
    is_told_or_loaded(directory, edited(edits))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(WORDS), VALUES), max_size=6))
def test_known_words_in_any_place(directory: Path, lines: list[tuple[int, str, str]]) -> None:
    is_told_or_loaded(directory, "\n".join(f"{'  ' * depth}{word}: {value}" for depth, word, value in lines))


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text(directory: Path, text: str) -> None:
    is_told_or_loaded(directory, text)


def test_a_file_full_of_mistakes_is_read_in_reasonable_time(directory: Path) -> None:
    is_told_or_loaded(directory, "".join(f"k{number}: 1\n" for number in range(20_000)))
