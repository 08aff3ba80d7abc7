"""How much of what a connection received still waits, and when that is too much (``spec/protocol.md`` 3.5 row 12, 3.6).

Everything that waits is counted in bytes: uploads at the Realm, and messages behind a question to the host. The peer is
not read from while there is too much, so it feels it as TCP's own back-pressure.
"""

from typing import Final

from realmserver.sync import client_messages as c2s

PAUSE_ABOVE: Final = 16 * 1024 * 1024
"""Bytes of a connection that may wait before it is read from no more: the largest ordinary UPLOAD."""

RESUME_AT: Final = 4 * 1024 * 1024
"""Bytes at which reading goes on: well below PAUSE_ABOVE, so that it does not flutter."""

ON_THE_WAY: Final = 2
"""UPLOADs at their limit that may come on top of PAUSE_ABOVE before the connection is ended with error 100. Only a host
that goes on delivering after PauseReading gets there: one may have been on its way, and one behind it."""

MESSAGE_OVERHEAD: Final = 512
"""Bytes that a waiting message counts for besides its content: many small ones must not be free."""

ENTRY_OVERHEAD: Final = 128
"""Bytes that each waiting changeset counts for besides its content."""


def cost(message: c2s.ClientMessage, size: int) -> int:
    """The bytes a message counts for while it waits; ``size`` is that of its wire form, perhaps compressed."""
    if isinstance(message, c2s.Upload):
        return MESSAGE_OVERHEAD + sum(len(entry.changeset) + ENTRY_OVERHEAD for entry in message.entries)
    return MESSAGE_OVERHEAD + size


class Backlog:
    """The bytes of one connection that wait, and whether the connection is read from. ``largest``: bytes of the
    largest UPLOAD."""

    def __init__(self, largest: int) -> None:
        self.bytes = 0
        self.is_reading = True
        self._refuse_above = PAUSE_ABOVE + ON_THE_WAY * largest

    @property
    def is_over_limit(self) -> bool:
        """The connection has to end."""
        return self.bytes > self._refuse_above

    def turn(self, is_writable: bool, is_crowded: bool = False) -> bool:
        """Whether reading must now be paused or resumed (``is_reading`` says which). ``is_writable``: the peer reads
        what we send; one that does not must not make us answer more. ``is_crowded``: so much waits of all connections
        that only those are read from of which nothing does."""
        if self.is_reading:
            changes = self.bytes > (0 if is_crowded else PAUSE_ABOVE) or not is_writable
        else:
            changes = self.bytes <= (0 if is_crowded else RESUME_AT) and is_writable
        self.is_reading ^= changes
        return changes
