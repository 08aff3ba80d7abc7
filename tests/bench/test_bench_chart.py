"""The picture, as far as it can be checked without looking at it."""

import sys
from pathlib import Path

import pytest

from bench import chart
from bench.cases import Case, Figures, Stage
from bench.measure import Result, Run


def not_run(stage: Stage) -> Figures:
    raise AssertionError


def test_other_files_than_pictures_are_refused_before_anything_is_measured() -> None:
    with pytest.raises(SystemExit, match=r"figures.pdf: a chart is a .svg or a .png file"):
        chart.check_library(Path("figures.pdf"))


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match="a chart needs matplotlib: pip install"):
        chart.check_library(Path("figures.svg"))


@pytest.mark.parametrize("name", ["figures.svg", "figures.png"])
def test_a_picture_is_drawn(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib, an extra, is not installed")

    def runs(*rates: float) -> list[Run]:
        return [Run({"changesets/s": rate}, 100 / rate, 0.1, 1.0, 80.0, 70.0) for rate in rates]

    results = [
        Result(Case("upload", "bulk", not_run), {"here": runs(100, 120, 110), "there": runs(50)}),
        Result(Case("upload", "stream", not_run), {"here": runs(90), "there": []}),
        *(
            Result(Case("scaling", f"{work} Realms", not_run, "Realms", work), {"here": runs(100 / work), "there": []})
            for work in (1, 2, 4)
        ),
    ]
    chart.draw(results, tmp_path / name, "a machine")
    content = (tmp_path / name).read_bytes()
    if name.endswith(".svg"):
        assert content.count(b'id="axes_') == 2
        assert b"a machine" in content
    else:
        assert content.startswith(b"\x89PNG")
