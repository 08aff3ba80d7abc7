"""What the limits refuse, for the figures and the log: every time it is counted, once in a while it is told.

Keeps true: whoever is refused a million times writes a handful of lines. It knows no limit but by its name, which is
that of its key in the section ``limits`` of the configuration.
"""

from collections.abc import Callable
from typing import Final

from realmserver.log import get_logger
from realmserver.metrics import Metrics

log = get_logger("limits")

INTERVAL: Final = 60
"""Seconds between two lines about the same limit."""


class Refusals:
    """``now`` gives seconds, of whatever clock."""

    def __init__(self, metrics: Metrics, now: Callable[[], float]) -> None:
        self._metrics = metrics
        self._now = now
        self._told: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def __call__(self, limit: str, text: str, peer: str = "-") -> None:
        """Something was refused because of ``limit`` (one of ``metrics.LIMITS``); ``text`` says what, ``peer`` to whom.
        Called on the reactor thread."""
        self._metrics.limit_refused(limit)
        now, told = self._now(), self._told.get(limit)
        if told is not None and now - told < INTERVAL:
            self._untold[limit] = self._untold.get(limit, 0) + 1
            return
        self._told[limit] = now
        log.warn(
            "limits.{limit} is reached: {what} (peer {peer}; {untold} more since it was last told)",
            limit=limit,
            what=text,
            peer=peer,
            untold=self._untold.pop(limit, 0),
        )
