"""The figures of several processes of one server, as one: each tells its own as JSON, and they are added up.

Keeps true: figures of the same name and labels are summed, counters, gauges and histograms alike; what belongs to one
process alone (memory, open files, the collector) stays that of the process that is asked; and a counter never goes
down, though the process that counted has ended: what it had counted when it was last asked is kept. It knows no figure
by name but those that are not to be added.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

OURS: Final = "ros_"
"""Begins the names of what is added up: other figures are of the process."""

OF_THE_WHOLE: Final = frozenset({"ros_build_info"})
"""Not to be added: it is the same in all processes."""

LASTING: Final = frozenset({"counter", "histogram"})
"""Kinds of figures that count what has happened, and keep it."""

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and its labels."""


@frozen
class Figures:
    """Values by the sample they are of, and which samples last beyond their process."""

    values: Mapping[Key, float]
    lasting: frozenset[Key]

    def to_json(self) -> bytes:
        rows = [[name, labels, value, (name, labels) in self.lasting] for (name, labels), value in self.values.items()]
        return json.dumps(rows).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Figures":
        """The inverse of :meth:`to_json`."""
        values: dict[Key, float] = {}
        lasting: set[Key] = set()
        for name, labels, value, is_lasting in json.loads(data):
            key = name, tuple((label, text) for label, text in labels)
            values[key] = value
            if is_lasting:
                lasting.add(key)
        return cls(values, frozenset(lasting))

    def outlived_by(self, kept: "Figures") -> "Figures":
        """``kept``, what earlier processes have left, and what lasts of these."""
        values = dict(kept.values)
        for key in self.lasting:
            values[key] = values.get(key, 0) + self.values[key]
        return Figures(values, frozenset(values))


NOTHING: Final = Figures({}, frozenset())


def figures_of(registry: Collector) -> Figures:
    """The figures of this process that are to be added to those of others. May be called in any thread."""
    values: dict[Key, float] = {}
    lasting: set[Key] = set()
    for metric in registry.collect():
        if metric.name.startswith(OURS) and metric.name not in OF_THE_WHOLE:
            for sample in metric.samples:
                key = _key(sample)
                values[key] = sample.value
                if metric.type in LASTING:
                    lasting.add(key)
    return Figures(values, frozenset(lasting))


class Summed(Collector):
    """``own`` figures with those of ``others`` added."""

    def __init__(self, own: Collector, others: Sequence[Figures]) -> None:
        self._own = own
        self._others = others

    def collect(self) -> Iterator[Metric]:
        for metric in self._own.collect():
            yield self._sum(metric) if metric.name.startswith(OURS) else metric

    def _sum(self, metric: Metric) -> Metric:
        summed = Metric(metric.name, metric.documentation, metric.type, metric.unit)
        told = set[Key]()
        for sample in metric.samples:
            key = _key(sample)
            told.add(key)
            value = sample.value + sum(other.values.get(key, 0) for other in self._others)
            summed.samples.append(sample._replace(value=value))
        names = {metric.name, *(f"{metric.name}_{end}" for end in ("total", "bucket", "count", "sum"))}
        more: dict[Key, float] = {}  # samples whose labels this process has not seen
        for other in self._others:
            for key, value in other.values.items():
                if key[0] in names and key not in told:
                    more[key] = more.get(key, 0) + value
        summed.samples += [Sample(name, dict(labels), value) for (name, labels), value in sorted(more.items())]
        return summed


def _key(sample: Sample) -> Key:
    return sample.name, tuple(sorted(sample.labels.items()))
