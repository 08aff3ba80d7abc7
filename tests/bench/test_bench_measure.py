"""Targets take turns, and what one of them does wrong is its own matter."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cases import NOT_POSSIBLE, Case, Figures, Stage
from bench.load.client import Place
from bench.load.wire import Trouble
from bench.measure import run_all
from bench.targets import Elsewhere


class Pretended:
    """A target whose server is nowhere; ``starts`` counts."""

    can_start = True

    def __init__(self, name: str, told: list[str]) -> None:
        self.name = name
        self._told = told

    def facts(self) -> dict[str, object]:
        return {}

    def start(self, directory: Path) -> Elsewhere:
        self._told.append(self.name)
        directory.mkdir()
        (directory / "output.txt").write_text(f"{self.name} is sorry")
        return Elsewhere(Place("127.0.0.1", 1, "/", self.name, ("",)), None)


def measured(
    case: Callable[[Stage], Figures], tmp_path: Path
) -> tuple[list[str], dict[str, list[Figures]], dict[str, str]]:
    """What was started in which order, the figures by target, and the failures."""
    told: list[str] = []
    targets = [Pretended("one", told), Pretended("other", told)]
    (result,) = run_all([Case("upload", "a case", case)], targets, 2, tmp_path, 1, 0.0, lambda text: None)
    assert list(tmp_path.iterdir()) == [], "data was left behind"
    figures = {target: [run.figures for run in runs] for target, runs in result.runs.items()}
    return told, figures, dict(result.failures)


def test_targets_take_turns(tmp_path: Path) -> None:
    started, figures, failures = measured(lambda stage: {"rate/s": 5.0}, tmp_path)
    assert started == ["one", "other", "one", "other"]
    assert figures == {"one": [{"rate/s": 5.0}] * 2, "other": [{"rate/s": 5.0}] * 2}
    assert not failures


def test_one_that_fails_is_told_of_and_the_other_goes_on(tmp_path: Path) -> None:
    def case(stage: Stage) -> Figures:
        if stage.place.subprotocol == "one":
            raise Trouble("it went back")
        return {"rate/s": 5.0}

    started, figures, failures = measured(case, tmp_path)
    assert started == ["one", "other", "other"]
    assert figures == {"one": [], "other": [{"rate/s": 5.0}] * 2}
    assert failures == {"one": "it went back\none is sorry"}


def test_what_is_not_possible_is_no_failure(tmp_path: Path) -> None:
    _, figures, failures = measured(lambda stage: NOT_POSSIBLE, tmp_path)
    assert figures == {"one": [], "other": []}
    assert not failures


def test_a_bug_ends_everything(tmp_path: Path) -> None:
    def case(stage: Stage) -> Figures:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        measured(case, tmp_path)


def test_realms_are_new_in_every_run(tmp_path: Path) -> None:
    prefixes: list[str] = []

    def case(stage: Stage) -> Figures:
        prefixes.append(stage.prefix)
        return {"rate/s": 1.0}

    measured(case, tmp_path)
    assert len(set(prefixes)) == 4
