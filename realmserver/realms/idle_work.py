"""When an open Realm does what can wait (``Realm.tidy``): its stored values follow the log, and old history is folded.

Keeps true: it is done in small steps, each of which is work of the lane like any other; a step gives way to other work,
but not for ever; what fails is not tried again and again. It knows nothing of what a step does.
"""

from collections.abc import Callable
from typing import Final

from realmserver.realms.fanout import Done, Workers
from realmserver.realms.requests import RealmError
from realmserver.store.interface import StoreFull

FOLD_DELAY: Final = 2.0
"""Seconds after an upload until the stored values begin to follow: uploads in a row share the step's commit."""

FOLD_PAUSE: Final = 0.05
"""Seconds between two steps, so that the reactor's thread gets its share of the interpreter."""

FULL_DELAY: Final = 60.0
"""Seconds until the next step after one for which the disk had no room."""

MAX_POSTPONED: Final = 5
"""Times that a step gives way to other work. Then it takes its turn, or a busy Realm's values would never follow."""

Step = Callable[[Done[bool | StoreFull]], None]
"""Does a step in the lane; answers whether there is more to do now, or that the disk was full."""


class IdleWork:
    """``step`` does one; ``is_open`` and ``is_idle`` tell of the Realm; ``failed`` hears of each that failed, ``done``
    when nothing is left to do. ``delay``: seconds after an upload until it begins, None = never. ``look_every``:
    seconds after which a Realm with nothing to do looks again, for history comes of age by itself; None = never."""

    def __init__(
        self,
        workers: Workers,
        step: Step,
        is_open: Callable[[], bool],
        is_idle: Callable[[], bool],
        failed: Callable[[StoreFull | RealmError], None],
        done: Callable[[], None],
        delay: float | None,
        look_every: float | None,
    ) -> None:
        self._workers = workers
        self._step = step
        self._is_open = is_open
        self._is_idle = is_idle
        self._failed = failed
        self._done = done
        self._delay = delay
        self._look_every = look_every
        self._is_due = self._is_look_due = self._is_given_up = False
        self._postponed = 0

    def opened(self) -> None:
        """The Realm has been opened: there may be work from before, and what failed is tried again."""
        self._is_given_up = False
        self.changed()

    def changed(self) -> None:
        """There is more to do."""
        if self._delay is not None:
            self._later(self._delay)

    def _later(self, delay: float) -> None:
        if not (self._is_due or self._is_given_up):
            self._is_due = True
            self._workers.later(delay, self._take_turn)

    def _take_turn(self) -> None:
        self._is_due = False
        if not self._is_open():
            return  # when it is opened again
        if not self._is_idle() and self._postponed < MAX_POSTPONED:
            self._postponed += 1
            self._later(self._delay or FOLD_DELAY)
            return
        self._postponed = 0
        self._step(self._stepped)

    def _stepped(self, answer: bool | StoreFull | RealmError) -> None:
        if isinstance(answer, RealmError):
            self._is_given_up = True  # until the Realm is opened again
            self._failed(answer)
        elif isinstance(answer, StoreFull):
            self._failed(answer)
            self._later(FULL_DELAY)
        elif answer:
            self._later(FOLD_PAUSE)
        else:
            self._done()
            if self._look_every is not None and not self._is_look_due:
                self._is_look_due = True
                self._workers.later(self._look_every, self._look)

    def _look(self) -> None:
        self._is_look_due = False
        self._later(FOLD_PAUSE)
