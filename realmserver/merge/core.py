"""The core of integration, to whom its names are the interface of :mod:`realmserver.merge.compact`."""

from realmserver.merge.compact import (
    CompactChangeset,
    Objects,
    Writes,
    instructions_of,
    let_go,
    merge,
    parse,
    release,
    summary_of,
)

__all__ = [
    "CompactChangeset",
    "Objects",
    "Writes",
    "instructions_of",
    "let_go",
    "merge",
    "parse",
    "release",
    "summary_of",
]
