"""Whole messages in one frame (RFC 6455, 5.2), as nearly all are: taken apart and put together in few steps.

Keeps true: what is not exactly one such frame, whole and flawless, is not judged here; it is autobahn's matter, which
takes ten times as long for each. Nothing here knows what came before: whoever asks must be between two messages.
"""

from struct import Struct
from typing import Final

from autobahn.websocket.xormasker import create_xor_masker  # type: ignore[attr-defined]

BINARY: Final = 0x82
"""The first byte of a binary message in one frame: it is the last of its message, has no RSV bits, opcode 2."""

MASKED: Final = 0x80
"""The bit of the second byte that says that a mask follows, as it must from a client; the others are the length."""

TWO_BYTES: Final = 126
"""The length of a frame that says that its length follows in two bytes; one more, in eight."""

SHORT_HEAD: Final = 6
"""Bytes before the payload of a client's frame, where that is short: two, and the mask."""

MEDIUM_HEAD: Final = 8
"""The same where the length follows in two bytes."""

LONGEST: Final = 0xFFFF
"""Bytes of a message of which the length fits into these two."""

LONG_TO_UNMASK: Final = 2048
"""Bytes from which on autobahn's machine code unmasks faster than one long number does."""

_SHORT: Final = Struct("!BB").pack
_MEDIUM: Final = Struct("!BBH").pack


def size_of(data: bytes, place: int) -> int:
    """Bytes of the frame of a client that begins in ``data`` at ``place``, of which SHORT_HEAD bytes are there: right
    if it is in order."""
    length = data[place + 1] & ~MASKED
    if length < TWO_BYTES:
        return SHORT_HEAD + length
    more = 2 if length == TWO_BYTES else 8
    return SHORT_HEAD + more + int.from_bytes(data[place + 2 : place + 2 + more], "big")


def payload_of(frame: bytes) -> bytes | None:
    """The message that ``frame`` is if it is one of a client, whole, binary, in order and not above LONGEST; None for
    anything else, which may be in order all the same."""
    if len(frame) < SHORT_HEAD or frame[0] != BINARY:
        return None
    start, length = SHORT_HEAD, frame[1] - MASKED  # below 0: there is no mask
    if length == TWO_BYTES:
        start, length = MEDIUM_HEAD, frame[2] << 8 | frame[3]
        if length < TWO_BYTES:
            return None
    if length != len(frame) - start or length > LONGEST:
        return None
    mask, payload = frame[start - 4 : start], frame[start:]
    if length >= LONG_TO_UNMASK:
        unmasked: bytes = create_xor_masker(mask, length).process(payload)  # type: ignore[no-untyped-call]
        return unmasked
    masks = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(masks, "little")).to_bytes(length, "little")


def framed(message: bytes) -> bytes:
    """``message``, not above LONGEST, as one binary frame of a server."""
    length = len(message)
    return (_SHORT(BINARY, length) if length < TWO_BYTES else _MEDIUM(BINARY, TWO_BYTES, length)) + message
