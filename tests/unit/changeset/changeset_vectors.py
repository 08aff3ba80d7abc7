"""Where the golden vectors are, and how to read them."""

import gzip
import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from golden import VECTORS


def lines(name: str) -> Iterator[dict[str, Any]]:
    """The lines of a file of vectors, as JSON."""
    with gzip.open(VECTORS / name, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def changeset_bytes(text: str) -> bytes:
    return b64decode(text, validate=True)
