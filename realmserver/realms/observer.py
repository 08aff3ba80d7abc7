"""What a Realm tells about itself while it works: for figures, which are not its matter.

Keeps true: nothing that a Realm does depends on who listens. It knows neither what is counted nor any clock.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Observer(Protocol):
    """Hears of all Realms. :meth:`integrating` is called in worker threads, the others on the thread of the Realms."""

    def opened(self) -> None:
        """A Realm's store is open."""

    def closed(self) -> None:
        """A Realm's store is closed."""

    def waiting(self, size: int) -> None:
        """The bytes of uploads that wait for their Realm, or are being integrated, have become ``size`` more."""

    def integrating(self) -> AbstractContextManager[object]:
        """Entered while the uploads of one commit are integrated and made durable."""


class Unobserved:
    """An :class:`Observer` that does not listen."""

    def opened(self) -> None: ...

    def closed(self) -> None: ...

    def waiting(self, size: int) -> None: ...

    def integrating(self) -> AbstractContextManager[object]:
        return nullcontext()
