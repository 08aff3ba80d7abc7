"""The head line of a message: ``verb SP integer *( SP integer ) LF`` (``spec/protocol.md`` 2.1), and its limits.

Strict where the specification is: one space between fields, no plus sign, LF alone. Leading zeros are tolerated. No
number outside its legal range and no byte beyond a limit gets past this module.
"""

import re
from typing import Final

from realmserver.frozen import frozen

MAX_INT: Final = 2**63 - 1
"""The largest number of the protocol, whatever its type (``spec/protocol.md`` 0)."""

MAX_HEAD: Final = 512
"""Bytes of a head line. The longest legal one (DOWNLOAD) has 11 numbers of at most 19 digits."""

MAX_PATH: Final = 1024
"""Bytes of a virtual path (``spec/protocol.md`` 1.5)."""

MAX_TOKEN: Final = 16 * 1024
"""Bytes of a token in BIND or REFRESH: JWTs may be longer than the 2048 of the reference server (1.5)."""

MAX_JSON: Final = 64 * 1024
"""Bytes of a JSON body: an error with a few rejected writes has some hundred."""

MAX_UPLOAD: Final = 64 * 1024 * 1024
"""Bytes of an UPLOAD's body, inflated. Clients keep below 16 MiB unless one changeset alone is larger (1.5); one that
writes several of the largest binaries (16 MiB each) at once must still get through."""

MAX_UPLOAD_ENTRIES: Final = 65_536
"""Changesets in one UPLOAD. Clients stop adding after 128 KiB (1.5), and each takes more than two bytes."""

MAX_DOWNLOAD: Final = 256 * 1024 * 1024
"""Bytes of a DOWNLOAD's body, inflated, that our client accepts: the server stops at 16 MiB plus one changeset."""

MAX_DOWNLOAD_ENTRIES: Final = 4_000_000
"""Changesets in one DOWNLOAD: more than fit into 16 MiB together with their headers."""


@frozen
class Limits:
    """What a receiver accepts. ``body`` and ``entries`` bound an UPLOAD (a DOWNLOAD at the client end): bytes after
    inflating, and changesets. Defaults are those of a server."""

    path: int = MAX_PATH
    token: int = MAX_TOKEN
    json: int = MAX_JSON
    body: int = MAX_UPLOAD
    entries: int = MAX_UPLOAD_ENTRIES

    @property
    def message(self) -> int:
        """Bytes of the largest message: a WebSocket may refuse anything longer with close code 1009."""
        return MAX_HEAD + max(self.path + self.token, self.json, self.body)


SERVER_LIMITS: Final = Limits()
"""Limits for the server end."""

CLIENT_LIMITS: Final = Limits(body=MAX_DOWNLOAD, entries=MAX_DOWNLOAD_ENTRIES)
"""Limits for the client end."""


class MalformedMessage(Exception):
    """The peer sent what is no message. ``code`` is the connection-level error to answer: 103, or 101 for a body that
    does not inflate (``spec/protocol.md`` 3.1, 4.2)."""

    def __init__(self, text: str, code: int = 103) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class MessageTooBig(MalformedMessage):
    """A body exceeds its limit: to be answered with close code 1009 rather than an error (``spec/protocol.md`` 1.5)."""


class BadContent(MalformedMessage):
    """The head line is right, but what follows it is not."""


@frozen
class Head:
    """A verb, its integers (not yet checked) and where the body begins."""

    verb: bytes
    args: tuple[int, ...]
    end: int


_HEAD: Final = re.compile(rb"([a-z_]+)((?: -?[0-9]+)+)\n")

# Ranges of fields, by the names of spec/protocol.md 0.
IDENT: Final = (1, MAX_INT)
ANY: Final = (0, MAX_INT)


def parse_head(data: bytes) -> Head:
    """Split the head line off ``data``. Raises :class:`MalformedMessage`."""
    match = _HEAD.match(data, 0, MAX_HEAD)
    if match is None:
        raise MalformedMessage("the message has no valid head line")
    return Head(match[1], tuple(int(arg) for arg in match[2].split()), match.end())


def head_line(data: bytes) -> str:
    """The head line of ``data`` for a log. It holds a verb and numbers only: what has another form is not shown, since
    a token may be in it."""
    match = _HEAD.match(data, 0, MAX_HEAD)
    return match[0][:-1].decode("ascii") if match is not None else "no head line"


def checked(head: Head, *ranges: tuple[int, int]) -> tuple[int, ...]:
    """The integers of ``head``: as many as there are ``ranges``, each within its own. Raises MalformedMessage."""
    verb = head.verb.decode("ascii")
    if len(head.args) != len(ranges):
        raise MalformedMessage(f"{verb} has {len(head.args)} numbers instead of {len(ranges)}")
    for position, (arg, (low, high)) in enumerate(zip(head.args, ranges, strict=True), 1):
        if not low <= arg <= high:
            raise MalformedMessage(f"number {position} of {verb} is out of range")
    return head.args


def body_of(data: bytes, head: Head, size: int) -> bytes:
    """The ``size`` bytes after ``head``, which must be all there is; else :class:`MalformedMessage`."""
    if len(data) - head.end != size:
        verb = head.verb.decode("ascii")
        raise MalformedMessage(f"{verb} announces {size} bytes and has {len(data) - head.end}")
    return data[head.end :]
