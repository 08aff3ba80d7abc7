"""What a check has found to be wrong, by Realm, table and key."""

from collections.abc import Iterator
from typing import Final

from attrs import Factory, define, frozen

MOST: Final = 20
"""Findings of one Realm that are told: a damaged one can have millions."""


@frozen
class Finding:
    """One thing that is wrong. ``what`` is a Realm's name, or the system store; ``table`` and ``key`` may be empty."""

    what: str
    text: str
    table: str = ""
    key: str = ""

    def __str__(self) -> str:
        place = " ".join(part for part in (self.table, self.key) if part)
        return f"{self.what}: {place}: {self.text}" if place else f"{self.what}: {self.text}"


@define
class Findings:
    """Gathers what is wrong with ``what``: the first of it, and how much there is in all."""

    what: str
    first: list[Finding] = Factory(list)
    count: int = 0

    def add(self, table: str, key: object, text: str) -> None:
        """``table`` holds something wrong under ``key``."""
        self.count += 1
        if self.count <= MOST:
            shown = key.hex() if isinstance(key, bytes) else str(key)
            self.first.append(Finding(self.what, text, table, shown))

    def __iter__(self) -> Iterator[Finding]:
        yield from self.first
        if self.count > MOST:
            yield Finding(self.what, f"and {self.count - MOST} more")
