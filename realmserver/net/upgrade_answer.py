"""Reads what a backend answers to an upgrade: a head and, unless it is 101, the body that says why not.

Bytes in, values out: no transport is known here. Everything is bounded, and what is no HTTP is a :class:`BadAnswer`
(RFC 9112, 4-6).
"""

import re
from typing import Final

from twisted.web.http import NO_BODY_CODES, PotentialDataLoss, _ChunkedTransferDecoder, _IdentityTransferDecoder

from realmserver.net.headers import Pair

SWITCHING_PROTOCOLS: Final = 101

MAX_HEAD: Final = 32 * 1024
MAX_BODY: Final = 256 * 1024
"""Bytes. An answer to an upgrade has a few hundred; SDKs read no more than that."""

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: (.*))?")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class BadAnswer(Exception):
    """What came is not HTTP, or too much of it."""


class UpgradeAnswer:
    """An answer as it comes in. ``is_complete``: the whole of it is here; ``rest`` holds what came after a 101."""

    def __init__(self) -> None:
        self.status = 0
        self.phrase = b""
        self.pairs: tuple[Pair, ...] = ()
        self.body = b""
        self.rest = b""
        self.is_complete = False
        self._head = b""
        self._decoder: _ChunkedTransferDecoder | _IdentityTransferDecoder | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the backend takes the WebSocket."""
        return self.status == SWITCHING_PROTOCOLS

    def feed(self, data: bytes) -> None:
        """The next bytes. Raises :class:`BadAnswer`."""
        while data and not self.is_complete:
            if self._decoder is not None:
                self._decode(data)
                return
            data = self._read_head(data)

    def ended(self) -> None:
        """The connection has ended. Raises :class:`BadAnswer` if something is missing."""
        if self._decoder is None:
            raise BadAnswer("the connection ends before an answer")
        try:
            self._decoder.noMoreData()
        except PotentialDataLoss:  # a body without a length ends with its connection
            self.is_complete = True
        except Exception as error:
            raise BadAnswer("the connection ends within an answer") from error

    def _read_head(self, data: bytes) -> bytes:
        """Take the head from ``data``; what is left over."""
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if len(head) > MAX_HEAD:
            raise BadAnswer(f"its head has more than {MAX_HEAD} bytes")
        if not end:
            return b""
        self._head = b""
        status_line, *lines = head.split(b"\r\n")
        found = _STATUS.fullmatch(status_line)
        if found is None:
            raise BadAnswer("it does not answer in HTTP")
        self.status, self.phrase = int(found[1]), found[2] or b""
        self.pairs = tuple(_pair(line) for line in lines)
        if self.status == SWITCHING_PROTOCOLS:
            self.is_complete, self.rest = True, rest
        elif self.status >= 200:  # the others only announce that an answer comes
            self._begin_body()
        return rest

    def _begin_body(self) -> None:
        values = {name.lower(): value for name, value in self.pairs}
        length = values.get(b"content-length")
        if self.status in NO_BODY_CODES or length == b"0":
            self.is_complete = True
        elif values.get(b"transfer-encoding", b"identity").lower() != b"identity":
            if values[b"transfer-encoding"].lower() != b"chunked":
                raise BadAnswer("it uses a transfer encoding other than chunked")
            self._decoder = _ChunkedTransferDecoder(self._collect, self._finish)
        elif length is None or length.isdigit():
            size = None if length is None else int(length)
            self._decoder = _IdentityTransferDecoder(size, self._collect, self._finish)  # type: ignore[no-untyped-call]
        else:
            raise BadAnswer("its Content-Length is no number")

    def _decode(self, data: bytes) -> None:
        assert self._decoder is not None
        try:
            self._decoder.dataReceived(data)
        except BadAnswer:
            raise
        except Exception as error:
            raise BadAnswer("its body is malformed") from error

    def _collect(self, data: bytes) -> None:
        self.body += data
        if len(self.body) > MAX_BODY:
            raise BadAnswer(f"its body has more than {MAX_BODY} bytes")

    def _finish(self, _: bytes) -> None:
        self.is_complete = True


def _pair(line: bytes) -> Pair:
    name, colon, value = line.partition(b":")
    if not colon or _NAME.fullmatch(name) is None or b"\0" in value or b"\r" in value or b"\n" in value:
        raise BadAnswer("its head is malformed")
    return name, value.strip(b" \t")
