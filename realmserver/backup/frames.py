"""The messages of a continuous backup: frames of a kind, a head (JSON) and a body (bytes). Pure: bytes in, values out.

The follower speaks first: ``HELLO`` with the admin token, then ``HAVE``. The server answers ``WELCOME``, or ``REFUSED``
and the end. Then, in any mixture, for each environment (a Realm, or the system store) by its ``path`` below the data
directory: ``CURRENT`` (what the follower has is the newest state), or ``BEGIN``, ``DATA`` …, ``END`` (a copy of LMDB's
file), or ``FAILED``; and ``COMMIT`` (one transaction). ``FILE`` is another file, such as a key. ``STATUS`` comes every
second. The follower says ``DONE`` with the number of COMMITs that are durable at its end.

**States have numbers**, LMDB's own, which grow by one with each transaction. A copy shows a state between ``before``
and ``after``: whoever applies all COMMITs with a number above ``before`` to it in order has exactly the state of each
number from ``after`` on, because a COMMIT says what is where afterwards, so that it may be applied twice. COMMITs may
overtake the ``CURRENT`` or ``BEGIN`` that says which number they go on from. ``stamp`` tells one file from another that
has taken its place, and whose numbers mean something else.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

PROTOCOL: Final = 1

HELLO: Final = 1
HAVE: Final = 2
DONE: Final = 3
WELCOME: Final = 11
REFUSED: Final = 12
FILE: Final = 13
CURRENT: Final = 14
BEGIN: Final = 15
DATA: Final = 16
END: Final = 17
FAILED: Final = 18
COMMIT: Final = 19
STATUS: Final = 20

MAX_HELLO: Final = 64 * 1024
"""Bytes of a frame from someone who has not shown a token."""

MAX_FRAME: Final = 1 << 30
"""Bytes of any frame: more than the largest commit."""

Json = Any
Change = tuple[str, bytes, bytes | None]
Frame = tuple[int, Json, bytes]

_SIZES: Final = struct.Struct(">IBI")  # what follows the first four bytes; kind; bytes of the head
_CHANGE: Final = struct.Struct(">BHI")
_DELETED: Final = 0xFFFFFFFF


class BadFrame(Exception):
    """The other side does not speak this protocol."""


def frame(kind: int, head: Json, body: bytes = b"") -> bytes:
    """The bytes of a frame."""
    text = json.dumps(head, separators=(",", ":")).encode()
    return _SIZES.pack(5 + len(text) + len(body), kind, len(text)) + text + body


def commit_frame(path: str, number: int, changes: Sequence[Change]) -> bytes:
    """The bytes of a COMMIT."""
    return frame(COMMIT, {"path": path, "number": number}, pack_changes(changes))


class FrameReader:
    """Cuts a stream into frames. ``limit`` is the largest that is taken."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now. Raises :class:`BadFrame`."""
        self._buffer += data
        while len(self._buffer) >= _SIZES.size:
            size, kind, head = _SIZES.unpack_from(self._buffer)
            if not 5 + head <= size <= self.limit:
                raise BadFrame(f"a frame of {size} bytes")
            if len(self._buffer) < 4 + size:
                return
            start = _SIZES.size
            text, body = bytes(self._buffer[start : start + head]), bytes(self._buffer[start + head : 4 + size])
            del self._buffer[: 4 + size]
            try:
                yield kind, json.loads(text), body
            except ValueError as error:
                raise BadFrame(f"a head that is no JSON: {error}") from error


def pack_changes(changes: Sequence[Change]) -> bytes:
    """The body of a COMMIT."""
    parts: list[bytes] = []
    for table, key, value in changes:
        name = table.encode("ascii")
        parts += (_CHANGE.pack(len(name), len(key), _DELETED if value is None else len(value)), name, key, value or b"")
    return b"".join(parts)


def unpack_changes(body: bytes) -> Iterator[Change]:
    """The changes in the body of a COMMIT. Raises :class:`BadFrame`."""
    at = 0
    while at < len(body):
        try:
            table_size, key_size, value_size = _CHANGE.unpack_from(body, at)
        except struct.error as error:
            raise BadFrame("a change that is cut short") from error
        at += _CHANGE.size
        table = body[at : at + table_size].decode("ascii", "replace")
        key = body[at + table_size : at + table_size + key_size]
        at += table_size + key_size
        if value_size == _DELETED:
            yield table, key, None
            continue
        if at + value_size > len(body):
            raise BadFrame("a change that is cut short")
        yield table, key, body[at : at + value_size]
        at += value_size
