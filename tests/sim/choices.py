"""Where every choice of a history comes from: a seed, or the choices of an earlier run.

What was chosen is written down step by step, as a *script*: a list of lists of small numbers. A script can be run
again, shortened and made simpler (``shrink``): a number that is missing counts as 0, one too large is taken modulo
what there is to choose from. So whoever asks puts the dullest alternative first.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

MIN_STEPS = 5
MAX_STEPS = 60
"""Steps of a history from a seed: a bug needs few, and many short histories see more than few long ones."""

Script = list[list[int]]
T = TypeVar("T")


class Violation(BaseException):
    """A promise is broken. No Exception, so that no error handling on the way can take it for one of its own."""


class Choices:
    """The choices of one history: drawn from ``seed``, or read from ``script``. ``script`` is what was chosen so far;
    its first step is the setup."""

    def __init__(self, *, seed: int = 0, script: Script | None = None) -> None:
        self.script: Script = [[]]
        self._given = script
        self._chance = Random(seed)
        self._length = self._chance.randint(MIN_STEPS, MAX_STEPS)
        if script is not None:
            self._length = max(len(script) - 1, 0)

    def next_step(self) -> bool:
        """Go on to the next step; False if there is none."""
        if len(self.script) > self._length:
            return False
        self.script.append([])
        return True

    def below(self, bound: int) -> int:
        """A number from 0 up to, not including, ``bound``."""
        step = self.script[-1]
        if self._given is None:
            number = int(self._chance.random() * bound)
        else:
            given = self._given[len(self.script) - 1] if len(self.script) <= len(self._given) else []
            number = given[len(step)] % bound if len(step) < len(given) else 0
        step.append(number)
        return number

    def one_in(self, bound: int) -> bool:
        """True once in ``bound`` times; the dull answer is False."""
        return self.below(bound) == bound - 1

    def pick(self, among: Sequence[T]) -> T:
        """One of ``among``."""
        return among[self.below(len(among))]

    def weighted(self, weights: Sequence[int]) -> int:
        """A place in ``weights``, the more often the larger the number there."""
        left = self.below(sum(weights))
        for place, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return place
        raise ValueError("no weights")


def to_text(script: Script) -> str:
    """``script`` as one word for a command line: ``3.1/0.2//5``."""
    return "/".join(".".join(map(str, step)) for step in script)


def from_text(text: str) -> Script:
    """The script that :func:`to_text` wrote. Raises ValueError."""
    return [[int(number) for number in step.split(".") if number] for step in text.split("/")]
