"""What a Realm tells about itself while it works: for figures, which are not its matter.

Keeps true: nothing that a Realm does depends on who listens. It knows neither what is counted nor any clock.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Observer(Protocol):
    """Hears of all Realms. :meth:`integrating`, :meth:`quarantined` and :meth:`released` are called in worker threads,
    the others on the thread of the Realms."""

    def opened(self) -> None:
        """A Realm's store is open."""

    def closed(self) -> None:
        """A Realm's store is closed."""

    def waiting(self, size: int) -> None:
        """The bytes of uploads that wait for their Realm, or are being integrated, have become ``size`` more."""

    def integrating(self) -> AbstractContextManager[object]:
        """Entered while the uploads of one commit are integrated and made durable."""

    def quarantined(self, realm: str, reason: str) -> None:
        """A Realm cannot be opened as it is, or now for another reason; it is set aside until that changes."""

    def released(self, realm: str) -> None:
        """A Realm that was in quarantine is open: somebody has repaired it."""


class Unobserved:
    """An :class:`Observer` that does not listen."""

    def opened(self) -> None: ...

    def closed(self) -> None: ...

    def waiting(self, size: int) -> None: ...

    def integrating(self) -> AbstractContextManager[object]:
        return nullcontext()

    def quarantined(self, realm: str, reason: str) -> None: ...

    def released(self, realm: str) -> None: ...
