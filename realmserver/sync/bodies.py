"""Bodies of UPLOAD and DOWNLOAD: changesets in a row, compressed when it pays (``spec/protocol.md`` 2.2, 2.3).

Decoding trusts nothing: a body that claims more than its limit is refused before it is inflated, and inflating stops
at the size the header states. The changesets themselves are opaque here.
"""

import re
import zlib
from collections.abc import Iterable
from typing import Final

from attrs import frozen

from realmserver.realms.requests import DownloadEntry, UploadEntry
from realmserver.sync.syntax import MAX_INT, BadContent, Limits, MessageTooBig

COMPRESS_ABOVE: Final = 1024
"""Bytes: smaller bodies are sent as they are, as every known sender does."""

COMPRESSION_LEVEL: Final = 1
"""zlib's fastest, as the C++ clients use: bodies are many and short-lived."""

DECOMPRESSION_FAILED: Final = 101
"""The error for a body that does not inflate (``spec/protocol.md`` 3.1, last lines)."""

PIECE: Final = 64 * 1024
"""Bytes that go into the inflater, and come out of it, at a time."""

_MOST_DIGITS: Final = 32
"""Digits of a number in an entry: 19 are needed, leading zeros are tolerated."""

_NUMBER: Final = rb"([0-9]{1,%d}) " % _MOST_DIGITS
_UPLOAD_ENTRY: Final = re.compile(_NUMBER * 5)
_DOWNLOAD_ENTRY: Final = re.compile(_NUMBER * 6)


@frozen
class EncodedBody:
    """A body as it goes on the wire: the same for all receivers of the same entries, so it may be kept and shared.

    ``uncompressed_size`` counts the bytes before compression; ``data`` is compressed if ``is_compressed``.
    """

    is_compressed: bool
    uncompressed_size: int
    data: bytes

    @property
    def compressed_size(self) -> int:
        """The header field: 0 unless compressed."""
        return len(self.data) if self.is_compressed else 0


def encode_download_body(entries: Iterable[DownloadEntry]) -> EncodedBody:
    """The body of a DOWNLOAD. Takes time in proportion to the entries: fit for a worker thread."""
    parts: list[bytes] = []
    for entry in entries:
        size = len(entry.changeset)
        parts.append(
            b"%d %d %d %d %d %d "
            % (entry.server_version, entry.client_version, entry.timestamp, entry.origin, size, size)
        )
        parts.append(entry.changeset)
    return compressed(b"".join(parts))


def encode_upload_body(entries: Iterable[UploadEntry]) -> EncodedBody:
    """The body of an UPLOAD."""
    parts: list[bytes] = []
    for entry in entries:
        parts.append(
            b"%d %d %d %d %d "
            % (entry.client_version, entry.server_version, entry.timestamp, entry.origin, len(entry.changeset))
        )
        parts.append(entry.changeset)
    return compressed(b"".join(parts))


def compressed(body: bytes) -> EncodedBody:
    """``body``, compressed if it is long enough and becomes smaller."""
    if len(body) > COMPRESS_ABOVE:
        data = zlib.compress(body, COMPRESSION_LEVEL)
        if len(data) < len(body):
            return EncodedBody(True, len(body), data)
    return EncodedBody(False, len(body), body)


def inflated(
    data: bytes, is_compressed: bool, uncompressed_size: int, compressed_size: int, limits: Limits
) -> bytes | bytearray:
    """The body that ``data`` (all bytes after the head line) stands for.

    Raises :class:`MessageTooBig` if it is larger than ``limits.body``, :class:`BadContent` with 103 if the sizes
    do not fit, with 101 if it does not inflate to exactly ``uncompressed_size`` bytes.
    """
    if uncompressed_size > limits.body:
        raise MessageTooBig(f"a body of {uncompressed_size} bytes is over the limit of {limits.body}")
    if len(data) != (compressed_size if is_compressed else uncompressed_size):
        raise BadContent("the sizes in the header do not match the body")
    if not is_compressed:
        if compressed_size:
            raise BadContent("a compressed size is given for a body that is not compressed")
        return data
    try:
        return _inflate(data, uncompressed_size)
    except zlib.error as error:
        raise BadContent(f"the body does not inflate: {error}", DECOMPRESSION_FAILED) from error


def _inflate(data: bytes, size: int) -> bytearray:
    """``data`` inflated to ``size`` bytes, in one buffer of that size: zlib's own output is joined of pieces, which
    takes twice the memory. Raises zlib.error and :class:`BadContent`."""
    inflater = zlib.decompressobj()
    body, filled, taken = bytearray(size), 0, 0
    while taken < len(data) and not inflater.eof:
        rest = data[taken : taken + PIECE]
        taken += len(rest)
        is_pending = True
        while is_pending:
            room = min(PIECE, size - filled + 1)  # one byte too many is enough to know
            piece = inflater.decompress(rest, room)
            if filled + len(piece) > size:
                raise BadContent("the body inflates to more than the stated size", DECOMPRESSION_FAILED)
            body[filled : filled + len(piece)] = piece
            filled += len(piece)
            rest = inflater.unconsumed_tail
            is_pending = not inflater.eof and (bool(rest) or len(piece) == room)
    if filled < size or not inflater.eof:
        raise BadContent("the body ends before it has the stated size", DECOMPRESSION_FAILED)
    if inflater.unused_data or taken < len(data):
        raise BadContent("something follows the compressed body", DECOMPRESSION_FAILED)
    return body


def decode_upload_body(body: bytes | bytearray, limits: Limits) -> tuple[UploadEntry, ...]:
    """The changesets of an UPLOAD; raises :class:`BadContent`."""
    return tuple(
        UploadEntry(client_version, server_version, timestamp, origin, changeset)
        for (client_version, server_version, timestamp, origin), changeset in _entries(body, _UPLOAD_ENTRY, limits)
    )


def decode_download_body(body: bytes | bytearray, limits: Limits) -> tuple[DownloadEntry, ...]:
    """The changesets of a DOWNLOAD; raises :class:`BadContent`. The size before compaction is dropped: only a
    progress display would use it."""
    return tuple(
        DownloadEntry(server_version, client_version, timestamp, origin, changeset)
        for (server_version, client_version, timestamp, origin, _), changeset in _entries(body, _DOWNLOAD_ENTRY, limits)
    )


def _entries(body: bytes | bytearray, pattern: re.Pattern[bytes], limits: Limits) -> list[tuple[list[int], bytes]]:
    found: list[tuple[list[int], bytes]] = []
    view = memoryview(body)
    position = 0
    while position < len(body):
        match = pattern.match(body, position)
        if match is None:
            raise BadContent(f"changeset {len(found) + 1} has no valid header")
        numbers = [int(number) for number in match.groups()]
        size = numbers.pop()
        if max(numbers) > MAX_INT:
            raise BadContent(f"a number in the header of changeset {len(found) + 1} is out of range")
        if size > len(body) - match.end():
            raise BadContent(f"changeset {len(found) + 1} is longer than its message")
        if len(found) == limits.entries:
            raise BadContent(f"more than {limits.entries} changesets in one message")
        position = match.end() + size
        found.append((numbers, bytes(view[match.end() : position])))
    return found
