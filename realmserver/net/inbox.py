"""The messages of a connection in their order; large ones are decoded in a thread, while what follows waits.

Keeps true: no message overtakes another, and the reactor's thread inflates nothing of note. It knows no protocol but
the head of an UPLOAD, which says how large its body is.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from realmserver.sync.client_messages import ClientMessage
from realmserver.sync.syntax import MAX_HEAD, MalformedMessage

LARGE: Final = 256 * 1024
"""Bytes of an UPLOAD's body, inflated, from which on it is decoded in a thread."""

SHORT: Final = LARGE // 1100
"""Bytes of a message that cannot become large: zlib makes at most 1,032 bytes of one."""

UPLOAD_SIZE: Final = 3
"""Which word of an UPLOAD's head is the size of its body (``spec/protocol.md`` 2.3)."""

Decoded = ClientMessage | MalformedMessage


class Inbox:
    """``take`` is given small messages as they came, ``take_decoded`` large ones with the size of their wire form.
    ``decode`` works in a thread and calls back; ``busy`` hears when that begins (True) and ends: nothing more should be
    read meanwhile, but what has been read already may be put in."""

    def __init__(
        self,
        take: Callable[[bytes], None],
        take_decoded: Callable[[Decoded, int], None],
        decode: Callable[[bytes, Callable[[Decoded], None]], None],
        busy: Callable[[bool], None],
    ) -> None:
        self._take = take
        self._take_decoded = take_decoded
        self._decode = decode
        self._busy = busy
        self._late: deque[bytes] | None = None

    def put(self, payload: bytes) -> None:
        """A message has come."""
        if self._late is not None:
            self._late.append(payload)
        elif not is_large(payload):
            self._take(payload)
        else:
            self._late = deque()
            self._busy(True)
            self._decode(payload, lambda message: self._decoded(message, len(payload)))

    def _decoded(self, message: Decoded, size: int) -> None:
        self._take_decoded(message, size)
        late, self._late = self._late or (), None
        for payload in late:
            self.put(payload)
        if self._late is None:
            self._busy(False)


def is_large(message: bytes) -> bool:
    """Whether decoding ``message`` takes long, by what it says of itself."""
    if len(message) < SHORT or not message.startswith(b"upload "):
        return False
    words = message[:MAX_HEAD].split(b" ", UPLOAD_SIZE + 1)
    return len(words) > UPLOAD_SIZE and words[UPLOAD_SIZE].isdigit() and int(words[UPLOAD_SIZE]) > LARGE
