"""The core of integration: what :mod:`realmserver.merge.compact` describes."""

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
