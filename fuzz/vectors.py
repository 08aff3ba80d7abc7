"""Changesets of the golden vectors, to begin with."""

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

VECTORS: Final = Path(__file__).resolve().parents[1] / "tests" / "vectors"


def lines(name: str, *, step: int = 1) -> Iterator[dict[str, Any]]:
    """Every ``step``-th line of a file of vectors."""
    with gzip.open(VECTORS / name, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file):
            if number % step == 0:
                yield json.loads(line)


def changesets(name: str = "changeset.jsonl.gz", *, step: int = 1) -> Iterator[bytes]:
    """The changesets of every ``step``-th line."""
    for line in lines(name, step=step):
        yield base64.b64decode(line["changeset"])
