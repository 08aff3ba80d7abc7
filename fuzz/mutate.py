"""Plain random mutation: inputs for a target where no coverage guides the choice.

All chance comes from one ``random.Random``, so a seed repeats a run.
"""

import random
from collections.abc import Sequence
from typing import Final

MOST_EDITS: Final = 6
"""Edits of one input. More than a few make most formats unreadable from the first byte on."""

LONGEST_BLOCK: Final = 64
"""Bytes that one edit copies or takes away."""

INTERESTING: Final = (
    b"\0",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"9223372036854775808",
    b"-1",
    b" ",
)
"""Values at the edge of something, in binary formats and in texts."""


class Mutator:
    """Makes inputs from ``pool`` (at least one) and ``tokens``, none longer than ``longest`` bytes."""

    def __init__(self, chance: random.Random, pool: Sequence[bytes], tokens: Sequence[bytes], longest: int) -> None:
        self._chance = chance
        self._pool = pool
        self._tokens = [*tokens, *INTERESTING]
        self._longest = longest

    def __call__(self) -> bytes:
        """The next input."""
        chance = self._chance
        data = bytearray(chance.choice(self._pool))
        for _ in range(chance.randint(1, MOST_EDITS)):
            self._edit(data)
        return bytes(data[: self._longest])

    def _edit(self, data: bytearray) -> None:
        chance = self._chance
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.randint(1, chance.choice([1, 1, 4, LONGEST_BLOCK])))
        match chance.randrange(8):
            case 0 if start < len(data):
                data[start] ^= 1 << chance.randrange(8)
            case 1 if start < len(data):
                data[start] = chance.randrange(256)
            case 2:
                del data[start:end]
            case 3:
                data[start:start] = data[start:end]
            case 4:
                data[start:start] = chance.choice(self._tokens)
            case 5:
                data[start:end] = chance.choice(self._tokens)
            case 6:
                self._splice(data, start)
            case _:
                data[start:start] = chance.randbytes(chance.randint(1, 8))

    def _splice(self, data: bytearray, start: int) -> None:
        """Go on with a part of another input, or put it in."""
        other = self._chance.choice(self._pool)
        begin = self._chance.randrange(len(other) + 1)
        if self._chance.random() < 0.5:
            data[start:] = other[begin:]
        else:
            data[start:start] = other[begin : begin + LONGEST_BLOCK]
