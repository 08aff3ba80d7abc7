"""Memory that connections hold until their peers move on: the process as a whole has so much of it, and no more.

Keeps true: when there is too much, it is the connection that has held its part for longest that goes. Who moves on as
fast as his line allows is young at any time, however much the others hold; who stands still grows old.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Holder = TypeVar("Holder")


class Ledger(Generic[Holder]):
    """``most`` bytes in all. ``overdrawn`` is called with each holder that has to go; ``total`` hears what all hold."""

    def __init__(
        self, most: int, overdrawn: Callable[[Holder], None], total: Callable[[int], None] = lambda size: None
    ) -> None:
        self._most = most
        self._overdrawn = overdrawn
        self._tell = total
        self._held: OrderedDict[Holder, int] = OrderedDict()
        self.total = 0

    def hold(self, holder: Holder, size: int) -> None:
        """``holder`` holds ``size`` bytes now. Its age counts from the first time."""
        self.total += size - self._held.get(holder, 0)
        self._held[holder] = size
        while self.total > self._most:
            oldest = next(iter(self._held))
            self.release(oldest)
            self._overdrawn(oldest)
        self._tell(self.total)

    def release(self, holder: Holder) -> None:
        """``holder`` holds nothing more; nothing happens if it did not."""
        size = self._held.pop(holder, 0)
        if size:
            self.total -= size
            self._tell(self.total)
