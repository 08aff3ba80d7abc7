"""Runs in few numbers."""

import statistics
from collections.abc import Sequence

from attrs import frozen


@frozen
class Spread:
    """The middle of some runs, and how far they are apart."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        if self.least == self.most:
            return short(self.median)
        return f"{short(self.median)} ({short(self.least)}..{short(self.most)})"


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of 100 do not exceed; of at least one value."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100).__trunc__() - 1)]


def short(value: float) -> str:
    """Three digits that count, as people write them: 12,345  1,234  123  12.3  1.23  0.012."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 0.1 or not value:
        return f"{value:.2f}"
    return f"{value:.2g}"
