"""What one user may take of Realms: how many at once, and how many new ones within an hour.

Keeps true: what is counted is bounded by who is here now, or was within the hour. Whoever makes himself a new user for
each Realm is not held by this, but by what connections cost (``net.admission``).
"""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from realmserver.realms.requests import LimitReached

WINDOW: Final = 3600
"""Seconds within which new Realms are counted: an honest app makes a few when it is installed, and seldom more."""


class BoundRealms:
    """Which Realms each user has bound. ``most``: different ones of one user."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: dict[str, Counter[str]] = {}

    def has_room(self, user: str, realm: str) -> bool:
        """Whether ``user`` may bind ``realm``."""
        bound = self._of.get(user)
        return bound is None or realm in bound or len(bound) < self._most

    def bind(self, user: str, realm: str) -> None:
        self._of.setdefault(user, Counter())[realm] += 1

    def leave(self, user: str, realm: str) -> None:
        """Undo one :meth:`bind`."""
        bound = self._of[user]
        bound[realm] -= 1
        if not bound[realm]:
            del bound[realm]
        if not bound:
            del self._of[user]


class NewRealms:
    """Counts the Realms that users make; may be called in any thread. ``now`` gives seconds. Windows of time follow
    each other, so at the turn of one a user may make twice as many as ``most``. ``on_make`` hears, in the same thread,
    of each that is made here; of those made elsewhere one is told (:meth:`made_elsewhere`), a moment later."""

    def __init__(self, most: int, now: Callable[[], float]) -> None:
        self._most = most
        self._now = now
        self._lock = threading.Lock()
        self._window = 0
        self._made: Counter[str] = Counter()
        self.on_make: Callable[[str], None] = lambda user: None

    def make(self, user: str) -> None:
        """``user`` is about to make a Realm. Raises :class:`LimitReached`."""
        with self._lock:
            self._turn()
            if self._made[user] >= self._most:
                raise LimitReached("new_realms_per_user", "you have created too many Realms within an hour")
            self._made[user] += 1
        self.on_make(user)

    def made_elsewhere(self, user: str) -> None:
        """``user`` has made a Realm that is another process's."""
        with self._lock:
            self._turn()
            self._made[user] += 1

    def _turn(self) -> None:
        window = int(self._now() // WINDOW)
        if window != self._window:
            self._window = window
            self._made.clear()
