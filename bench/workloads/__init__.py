"""The workloads, the most important first: each a module that knows its sizes, its cases, and its load generator."""

from collections.abc import Callable
from typing import Final

from bench.cases import Case, Size
from bench.workloads import establish, fanout, upload

WORKLOADS: Final[dict[str, Callable[[Size], list[Case]]]] = {
    "upload": upload.cases,
    "fan-out": fanout.cases,
    "establish": establish.cases,
}
