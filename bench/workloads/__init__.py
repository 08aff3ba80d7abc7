"""The workloads, the most important first: each a module that knows its sizes, its cases, and its load generator."""

from collections.abc import Callable
from typing import Final

from bench.cases import Case, Size
from bench.workloads import bootstrap, establish, fanout, idle, latency, merge, restart, scaling, upload

WORKLOADS: Final[dict[str, Callable[[Size], list[Case]]]] = {
    "upload": upload.cases,
    "fan-out": fanout.cases,
    "latency": latency.cases,
    "establish": establish.cases,
    "idle": idle.cases,
    "merge": merge.cases,
    "bootstrap": bootstrap.cases,
    "restart": restart.cases,
    "scaling": scaling.cases,
}
