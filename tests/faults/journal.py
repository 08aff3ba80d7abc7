"""What clients wrote and what the server acknowledged, in a file that only grows and is synced line by line.

A line is a JSON object. An acknowledgement is in it before the client does anything else, so that what the file says is
the least that the server has promised, whoever dies when.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from attrs import asdict, frozen

APP: Final = "my-app"


@frozen
class Write:
    """One transaction: an entry ``key``, and ``amount`` on the counter, as version ``version`` of the client file."""

    client: str
    realm: str
    key: str
    amount: int
    version: int


@frozen
class Acknowledgement:
    """The server has said that it has ``version`` of client file ``ident``, the transaction that made ``key``."""

    client: str
    realm: str
    key: str
    ident: int
    version: int


@frozen
class Trouble:
    """A client was told of an error that does not pass by itself. ``reset``: that it has to throw away its data."""

    client: str
    realm: str
    text: str
    reset: bool


Record = Write | Acknowledgement | Trouble

_KINDS: Final = {kind.__name__: kind for kind in (Write, Acknowledgement, Trouble)}


class Journal:
    """The file, for the one process that writes it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, records: Iterable[Record]) -> None:
        """Append ``records``, durable when this returns."""
        lines = [json.dumps([type(each).__name__, asdict(each)]) + "\n" for each in records]
        if lines:
            os.write(self._file, "".join(lines).encode())
            os.fdatasync(self._file)


def read(path: Path) -> Iterator[Record]:
    """All records, in order."""
    with path.open() as file:
        for line in file:
            name, fields = json.loads(line)
            yield _KINDS[name](**fields)
