"""The bytes that LMDB holds for a Realm: keys, and values with a leading format byte.

Keys are big-endian, so that their order is the order of versions and idents. A changeset is compressed where that
pays; the length it had is recorded, and never more than that is inflated. The module knows nothing of LMDB; it is
pure. Implements ``design.md`` 4 for what ``spec/protocol.md`` 5.1 wants kept.
"""

import struct
import zlib
from typing import Final

from realmserver.store.interface import ClientFile, Head, LogEntry

FORMAT: Final = 1
"""Format of a Realm's directory as a whole, and of each value. A change of either needs a new number."""

REALM_ID_BYTES: Final = 16

COMPRESS_FROM: Final = 512
"""Bytes from which a changeset is compressed: below, some 20 us save some 60 bytes."""

LEAST_COMPRESSED: Final = 256
"""Bytes from which one may be compressed in a file: earlier versions began there."""

COMPRESSION_LEVEL: Final = 1
"""The fastest: the writer thread compresses while uploads wait for their commit."""

COMPRESSION_GAIN: Final = 8
"""A compressed changeset is kept if it saves at least one part in this many; else reading would be slower in vain."""

_PLAIN: Final = 0
_ZLIB: Final = 1

_KEY: Final = struct.Struct(">Q")
_PAIR: Final = struct.Struct(">QQ")
_HEAD: Final = struct.Struct(">B8QB")
_CLIENT: Final = struct.Struct(">B5Q")
_STARTED_CLIENT: Final = struct.Struct(">B6Q")
STARTED_FORMAT: Final = 2
"""Format of a client file that began at a base version; the others stay readable for servers that know none."""
_LOG: Final = struct.Struct(">B5Q")
_CHANGESET: Final = struct.Struct(">BQ")


class BadRecord(Exception):
    """Bytes of the store are not what this format version writes; the text says which."""


def number_key(number: int) -> bytes:
    """The key of a server version or a file ident."""
    return _KEY.pack(number)


def reciprocal_key(ident: int, version: int) -> bytes:
    """The key of client file ``ident``'s transformed changeset of server version ``version``."""
    return _PAIR.pack(ident, version)


def squash_key(base: int, version: int) -> bytes:
    """The key of an entry of the squash up to version ``base``."""
    return _PAIR.pack(base, version)


def pair_of(key: bytes) -> tuple[int, int]:
    """The two numbers in a key of :func:`reciprocal_key` or :func:`squash_key`."""
    first, second = _PAIR.unpack(key)
    return first, second


def pack_identity(realm_id: bytes, name: str) -> bytes:
    """What never changes in a Realm: its format, its id of 16 bytes and its name."""
    if len(realm_id) != REALM_ID_BYTES:
        raise ValueError(f"a Realm id has {REALM_ID_BYTES} bytes")
    return bytes([FORMAT]) + realm_id + name.encode("ascii")


def unpack_identity(data: bytes) -> tuple[bytes, str]:
    """The Realm id and the name. Raises :class:`BadRecord`, also where another format version wrote the Realm."""
    if not data or data[0] != FORMAT:
        found = data[0] if data else "none"
        raise BadRecord(f"it is in format {found}, this server reads format {FORMAT}")
    realm_id, name = data[1 : 1 + REALM_ID_BYTES], data[1 + REALM_ID_BYTES :]
    if not name or not name.isascii():
        raise BadRecord("its identity is damaged")
    return realm_id, name.decode("ascii")


def pack_head(head: Head) -> bytes:
    """All of ``head`` but the Realm id, which is part of the identity."""
    return _HEAD.pack(
        FORMAT,
        head.version,
        head.salt,
        head.size,
        head.base_version,
        head.base_salt,
        head.last_ident,
        head.epoch,
        head.required_protocol,
        head.tolerant,
    )


def unpack_head(data: bytes, realm_id: bytes) -> Head:
    _check_format(data, "head", _HEAD.size, exact=True)
    _, version, salt, size, base, base_salt, last_ident, epoch, protocol, tolerant = _HEAD.unpack(data)
    return Head(realm_id, version, salt, size, base, base_salt, last_ident, epoch, protocol, bool(tolerant))


def pack_client(client: ClientFile) -> bytes:
    numbers = (client.salt, client.client_version, client.base_version, client.locked_version, client.last_seen)
    if client.start_version:
        packed = _STARTED_CLIENT.pack(STARTED_FORMAT, *numbers, client.start_version)
    else:
        packed = _CLIENT.pack(FORMAT, *numbers)
    return packed + client.owner.encode("utf-8")


def unpack_client(data: bytes, ident: int) -> ClientFile:
    start_version = 0
    if data[:1] == bytes([STARTED_FORMAT]) and len(data) >= _STARTED_CLIENT.size:
        size = _STARTED_CLIENT.size
        *numbers, start_version = _STARTED_CLIENT.unpack_from(data)[1:]
    else:
        size = _CLIENT.size
        _check_format(data, "client file", size)
        numbers = list(_CLIENT.unpack_from(data)[1:])
    try:
        owner = data[size:].decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRecord(f"the owner of client file {ident} is damaged") from error
    salt, client_version, base_version, locked_version, last_seen = numbers
    return ClientFile(ident, salt, owner, client_version, base_version, locked_version, last_seen, start_version)


def pack_entry(entry: LogEntry) -> bytes:
    """All of ``entry`` but its version, which is the key."""
    return _LOG.pack(
        FORMAT, entry.salt, entry.origin, entry.client_version, entry.timestamp, entry.cumulative_size
    ) + _pack_changeset(entry.changeset)


def unpack_entry(data: bytes, version: int) -> LogEntry:
    _check_format(data, "log entry", _LOG.size)
    _, salt, origin, client_version, timestamp, cumulative_size = _LOG.unpack_from(data)
    changeset = _unpack_changeset(data, _LOG.size)
    return LogEntry(version, salt, origin, client_version, timestamp, changeset, cumulative_size)


def pack_reciprocal(changeset: bytes) -> bytes:
    return bytes([FORMAT]) + _pack_changeset(changeset)


def unpack_reciprocal(data: bytes) -> bytes:
    _check_format(data, "reciprocal entry", 1)
    return _unpack_changeset(data, 1)


def _check_format(data: bytes, kind: str, size: int, *, exact: bool = False) -> None:
    if not data or data[0] != FORMAT:
        raise BadRecord(f"a {kind} is in format {data[0] if data else 'none'}, this server reads format {FORMAT}")
    if len(data) < size or (exact and len(data) != size):
        raise BadRecord(f"a {kind} has {len(data)} bytes instead of {size}")


def _pack_changeset(changeset: bytes) -> bytes:
    length = len(changeset)
    if length >= COMPRESS_FROM:
        packed = zlib.compress(changeset, COMPRESSION_LEVEL)
        if len(packed) <= length - length // COMPRESSION_GAIN:
            return _CHANGESET.pack(_ZLIB, length) + packed
    return _CHANGESET.pack(_PLAIN, length) + changeset


def _unpack_changeset(data: bytes, offset: int) -> bytes:
    start = offset + _CHANGESET.size
    if len(data) < start:
        raise BadRecord("a changeset is cut short")
    flag, length = _CHANGESET.unpack_from(data, offset)
    changeset = data[start:]
    if flag == _ZLIB:
        changeset = _inflate(changeset, length)
    elif flag != _PLAIN:
        raise BadRecord(f"a changeset is packed in an unknown way ({flag})")
    if len(changeset) != length:
        raise BadRecord(f"a changeset has {len(changeset)} bytes instead of {length}")
    return changeset


def _inflate(packed: bytes, length: int) -> bytes:
    if length < LEAST_COMPRESSED:  # never written; and for zlib a limit of 0 is none
        raise BadRecord(f"a changeset of {length} bytes is compressed")
    inflater = zlib.decompressobj()
    try:
        changeset = inflater.decompress(packed, length)
        # All bytes may be out before zlib has looked at its checksum.
        overflow = b"" if inflater.eof else inflater.decompress(inflater.unconsumed_tail, 1)
    except (zlib.error, OverflowError) as error:
        raise BadRecord(f"a compressed changeset is damaged: {error}") from error
    if overflow or not inflater.eof:
        raise BadRecord(f"a compressed changeset does not end after {length} bytes")
    return changeset
