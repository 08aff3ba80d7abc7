"""Runs in few numbers, and as a table."""

import re

import pytest

from bench.cases import Case, Figures, Stage
from bench.measure import Result, Run
from bench.summary import percentile, short, spread
from bench.table import ratio, table


def not_run(stage: Stage) -> Figures:
    raise AssertionError


def run(figures: Figures, *, server_cpu: float | None = 1.0) -> Run:
    peak = resident = None if server_cpu is None else 80.0
    return Run(figures, seconds=2.0, load_cpu=0.5, server_cpu=server_cpu, peak=peak, resident=resident)


CASE = Case("upload", "bulk, 1 Realm", not_run)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([5.0], 50, 5.0), ([5.0], 99, 5.0), ([3.0, 1.0, 2.0], 50, 2.0), ([1.0, 2.0], 50, 1.0), ([1.0, 2.0], 51, 2.0)],
)
def test_a_percentile_is_a_value_that_was_measured(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_percentiles_of_many() -> None:
    values = [float(each) for each in range(1, 1001)]
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 100)) == (500, 990, 1000)


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,346"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.0, "0.00"), (0.0123, "0.012")],
)
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    assert short(value) == text


def test_a_spread_names_the_middle_and_the_ends() -> None:
    assert str(spread([300.0, 100.0, 200.0])) == "200 (100..300)"
    assert str(spread([100.0])) == "100"


def test_rates_and_times_compare_the_other_way_round() -> None:
    rates = Result(CASE, {"a": [run({"changesets/s": 300.0})], "b": [run({"changesets/s": 100.0})]})
    times = Result(CASE, {"a": [run({"seconds": 300.0})], "b": [run({"seconds": 100.0})]})
    assert (ratio(rates), ratio(times)) == ("3.00", "0.33")


def test_without_a_second_target_nothing_is_compared() -> None:
    alone = Result(CASE, {"a": [run({"changesets/s": 300.0})]})
    not_possible = Result(CASE, {"a": [run({"changesets/s": 300.0})], "b": []})
    assert (ratio(alone), ratio(not_possible)) == ("", "")


def test_a_table_has_a_row_for_each_target_and_leaves_out_what_nobody_has() -> None:
    result = Result(
        CASE,
        {
            "here": [run({"changesets/s": 2000.0}), run({"changesets/s": 1000.0})],
            "there": [run({"changesets/s": 500.0}, server_cpu=None)],
        },
    )
    heads, here, there = (re.split(" {2,}", line.strip()) for line in table([result]).splitlines())
    assert heads == ["target", "changesets/s", "ratio", "server CPU s", "peak MiB", "rest MiB", "load CPU s", "seconds"]
    assert here == ["bulk, 1 Realm", "here", "1,500 (1,000..2,000)", "3.00", "1.00", "80.0", "80.0", "0.50", "2.00"]
    assert there == ["there", "500", "0.50", "2.00"]
    alone = Result(CASE, {"here": [run({"changesets/s": 1.0}, server_cpu=None)]})
    assert table([alone]).splitlines()[0].split() == ["target", "changesets/s", "load", "CPU", "s", "seconds"]


def test_what_a_target_cannot_do_is_an_empty_row() -> None:
    assert table([Result(CASE, {"here": []})]).splitlines()[1].split() == ["bulk,", "1", "Realm", "here"]
