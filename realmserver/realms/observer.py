"""What a Realm tells about itself while it works: for figures, which are not its matter.

Keeps true: nothing that a Realm does depends on who listens. It knows neither what is counted nor any clock.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Observer(Protocol):
    """Hears of all Realms. :meth:`opened`, :meth:`closed`, :meth:`waiting` and :meth:`folding_failed` are called on the
    thread of the Realms, the others in worker threads."""

    def opened(self) -> None:
        """A Realm's store is open."""

    def closed(self) -> None:
        """A Realm's store is closed."""

    def waiting(self, size: int) -> None:
        """The bytes of uploads that wait for their Realm, or are being integrated, have become ``size`` more."""

    def integrating(self) -> AbstractContextManager[object]:
        """Entered while the uploads of one commit are integrated and made durable."""

    def squashed(self) -> None:
        """The squash of a Realm's history is whole; it counts when ``history.ttl`` has passed."""

    def folded(self, versions: int) -> None:
        """The squash of a Realm's history counts: so many versions have gone from the log."""

    def folding_failed(self) -> None:
        """A Realm's values could not follow its log, or its history could not be folded."""

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

    def squashed(self) -> None: ...

    def folded(self, versions: int) -> None: ...

    def folding_failed(self) -> None: ...

    def quarantined(self, realm: str, reason: str) -> None: ...

    def released(self, realm: str) -> None: ...
