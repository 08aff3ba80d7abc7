"""Results as a table on the screen: a row for each case and target, the middle of the runs and their spread."""

from collections.abc import Sequence

from bench.cases import is_more_better
from bench.measure import Result, Run
from bench.summary import short, spread

Row = list[str]


def table(results: Sequence[Result]) -> str:
    """The results of one workload. With two targets, ``ratio`` says how much better the first one is (above 1) or worse
    than the second, in the first figure."""
    heads: Row = ["", "target"]
    figures = list(dict.fromkeys(name for result in results for run in _all(result) for name in run.figures))
    heads += [*figures, "ratio", "server CPU s", "peak MiB", "rest MiB", "load CPU s", "seconds"]
    rows = [heads]
    for result in results:
        rows += _rows(result, figures)
    empty = [column for column in range(len(heads)) if column > 1 and not any(row[column] for row in rows[1:])]
    return aligned([[cell for column, cell in enumerate(row) if column not in empty] for row in rows])


def _all(result: Result) -> list[Run]:
    return [run for runs in result.runs.values() for run in runs]


def _rows(result: Result, figures: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    for number, (target, runs) in enumerate(result.runs.items()):
        row = ["" if number else result.case.name, target]
        row += [_cell([run.figures.get(figure) for run in runs]) for figure in figures]
        row.append("" if number else ratio(result))
        row.append(_middle([run.server_cpu for run in runs]))
        row.append(_middle([run.peak for run in runs]))
        row.append(_middle([run.resident for run in runs]))
        row.append(_middle([run.load_cpu for run in runs]))
        row.append(_middle([run.seconds for run in runs]))
        rows.append(row)
    return rows


def ratio(result: Result) -> str:
    """How many times better the first target is than the second; empty if there is nothing to compare."""
    medians: list[float] = []
    figure = ""
    for runs in result.runs.values():
        if not runs:
            return ""
        figure = next(iter(runs[0].figures))
        medians.append(spread([run.figures[figure] for run in runs]).median)
    if len(medians) != 2 or not all(medians):
        return ""
    first, second = medians if is_more_better(figure) else reversed(medians)
    return f"{first / second:.2f}"


def _cell(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return str(spread(known)) if known else ""


def _middle(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return short(spread(known).median) if known else ""


def aligned(rows: Sequence[Row]) -> str:
    """Columns side by side: texts to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
