"""What one connection holds of the memory that all share: parts of messages, what waits, what its peer leaves unread.

Keeps true: what is taken here is given back when the connection ends, however it ends.
"""

from collections.abc import Callable
from typing import Final

from realmserver.net.shared import Holder, Shared

SMALL_MESSAGE: Final = 4096
"""Bytes of a message up to which nobody counts them before it is complete: with 10,000 connections, 40 MB."""

CHUNK_OVERHEAD: Final = 64
"""Bytes that a piece of a message takes besides its content while the rest is awaited: a peer chooses how small."""


class Holdings:
    """What ``owner`` holds. ``overfull`` is called where it has taken more while all together hold far too much."""

    def __init__(self, owner: Holder, shared: Shared, overfull: Callable[[], None]) -> None:
        self._owner = owner
        self._shared = shared
        self._overfull = overfull
        self._partial = 0
        self._outstanding = 0

    def message_part(self, size: int) -> None:
        """A piece of a message has come."""
        self._partial += size + CHUNK_OVERHEAD
        if self._partial > SMALL_MESSAGE:
            self._shared.receiving.hold(self._owner, self._partial)

    def message_done(self) -> None:
        """The message is complete, or will never be."""
        if self._partial > SMALL_MESSAGE:
            self._shared.receiving.release(self._owner)
        self._partial = 0

    def unread(self, size: int) -> None:
        """The peer does not read; ``size`` bytes were written last."""
        self._shared.unread.hold(self._owner, size)

    def read(self) -> None:
        """The peer reads again."""
        self._shared.unread.release(self._owner)

    def outstanding(self, size: int) -> None:
        """So many bytes that were received wait now."""
        more = size - self._outstanding
        if more:
            self._outstanding = size
            room = self._shared.room
            room.held(more)
            if more > 0 and room.is_overfull and size != room.held_bytes:  # whoever is alone may take what he likes
                self._overfull()

    def gone(self) -> None:
        """The connection is over."""
        self.message_done()
        self.read()
