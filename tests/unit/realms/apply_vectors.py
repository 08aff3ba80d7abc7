"""The golden sync histories, and the comparison of a state with theirs (vectors/README.md)."""

import base64
import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from golden import VECTORS

from realmserver.changeset.decode import decode
from realmserver.changeset.instructions import Changeset

FILES = sorted(path.name for path in (VECTORS / "merge").glob("*.jsonl.gz"))


def sessions(file: str) -> Iterator[dict[str, Any]]:
    with gzip.open(VECTORS / "merge" / file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def server_history(session: dict[str, Any]) -> Iterator[Changeset]:
    """The changesets of the server's log, in order."""
    commits: dict[tuple[int, int], str] = {}
    for event in session["events"]:
        if event["op"] == "commit":
            commits[event["client"], event["client_version"]] = event["changeset"]
        elif event["op"] == "upload":
            data = event["result"]
            if data == "=":
                data = event.get("changeset") or commits[event["client"], event["client_version"]]
            yield decode(base64.b64decode(data), timestamp=event["timestamp"], origin=event["client"])


def comparable(value: Any) -> Any:
    """A state with its numbers in one form: texts of floats and decimals may differ where the numbers do not."""
    if isinstance(value, dict):
        if len(value) == 1:
            ((name, content),) = value.items()
            if name in ("float", "double") and isinstance(content, str):
                return (name, repr(float.fromhex(content)))
            if name == "decimal" and isinstance(content, str):
                return (name, Decimal(content))
            if name == "set":
                return (name, sorted((comparable(each) for each in content), key=repr))
        return {name: comparable(content) for name, content in value.items()}
    if isinstance(value, list):
        return [comparable(each) for each in value]
    return value
