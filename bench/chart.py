"""Results as one picture: a panel for each workload, the targets side by side; lines where work was doubled.

Bars show the first figure of each case, the middle of the runs, with their spread. Lines show what the work cost, in
seconds from its first to its last, beside what it would cost in proportion to the first point. The library is an extra
(``pip install realm-object-server[bench]``) and is imported only here.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from bench.cases import is_more_better
from bench.measure import Result
from bench.summary import Spread, short, spread

WIDTH: Final = 9.0
BAR: Final = 0.32
LINE_PANEL: Final = 3.2
"""Inches: of the picture, for each bar, and for a panel of lines."""


def check_library(path: Path) -> None:
    """SystemExit if no picture can be drawn, before hours are spent on its figures."""
    if path.suffix not in (".svg", ".png"):
        raise SystemExit(f"{path}: a chart is a .svg or a .png file")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise SystemExit(
            "a chart needs matplotlib: pip install 'matplotlib>=3.8' (the extra 'bench' of this package)"
        ) from None


def draw(results: Sequence[Result], path: Path, note: str) -> None:
    """Write the picture of ``results`` with ``note`` below it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    panels = [list(group) for _, group in groupby(results, key=lambda result: (result.case.workload, result.case.line))]
    heights = [
        LINE_PANEL if panel[0].case.line else 0.9 + BAR * sum(len(result.runs) for result in panel) for panel in panels
    ]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.5), layout="constrained")
    (FigureCanvasSVG if path.suffix == ".svg" else FigureCanvasAgg)(figure)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        (_lines if panel[0].case.line else _bars)(axis, panel)
    figure.supxlabel(note, fontsize=7)
    figure.savefig(path, dpi=150)


def _bars(axis: Any, panel: Sequence[Result]) -> None:
    targets = list(panel[0].runs)
    name = _first_figure(panel)
    for number, target in enumerate(targets):
        places: list[float] = []
        found: list[Spread] = []
        for place, result in enumerate(panel):
            if result.runs[target]:
                places.append(place + (number - (len(targets) - 1) / 2) * 0.8 / len(targets))
                found.append(spread([run.figures[name] for run in result.runs[target]]))
        errors = [[each.median - each.least for each in found], [each.most - each.median for each in found]]
        bars = axis.barh(places, [each.median for each in found], 0.72 / len(targets), label=target, xerr=errors)
        axis.bar_label(bars, [short(each.median) for each in found], padding=3, fontsize=7)
    axis.set_yticks(range(len(panel)), [result.case.name for result in panel], fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.15)
    better = "more" if is_more_better(name) else "less"
    axis.set_title(f"{panel[0].case.workload}: {name} ({better} is better)", fontsize=10, loc="left")
    axis.legend(fontsize=7)


def _lines(axis: Any, panel: Sequence[Result]) -> None:
    for target in panel[0].runs:
        measured = [result for result in panel if result.runs[target]]
        if not measured:
            continue
        works = [result.case.work for result in measured]
        seconds = [spread([run.seconds for run in result.runs[target]]).median for result in measured]
        (drawn,) = axis.plot(works, seconds, marker="o", label=target)
        linear = [seconds[0] * work / works[0] for work in works]
        axis.plot(works, linear, linestyle=":", linewidth=1, color=drawn.get_color(), label=f"{target}, in proportion")
    axis.set_xlabel(panel[0].case.line, fontsize=8)
    axis.set_ylabel("seconds", fontsize=8)
    axis.set_ylim(bottom=0)
    axis.set_xlim(left=0)
    axis.set_title(f"{panel[0].case.workload}: cost against work", fontsize=10, loc="left")
    axis.legend(fontsize=7)


def _first_figure(panel: Sequence[Result]) -> str:
    for result in panel:
        for runs in result.runs.values():
            for run in runs:
                return next(iter(run.figures))
    return ""
