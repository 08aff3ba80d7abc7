"""When a Realm's history is folded, and what is done next: ``history.ttl``.

A squash of the history up to now is written (``squash``), and waits for the retention time. Then it counts: the log
begins there, and fresh clients start from the squash. So a client that was here within that time has what it needs, and
one that was not is told to reset; nobody who stays away, or never uploads, holds anything up. What has become useless
is deleted in steps. Each step is one transaction, and where it goes on is read from the store.

Why merging stays exact: below the base version a client has seen either the old entries, all of them, and then nothing
of what it makes refers to an earlier version; or it began from the squash, and then the squash is the history that it
and the server merge with, entry by entry. Which of the two is in ``ClientFile.start_version``; whoever is neither is
refused.

A squash begins to count with a version of its own, an empty entry. Whoever has begun with it has heard of that version,
and so is ahead of a server that was restored to before (``spec/protocol.md`` 3.4): to it, the versions of a squash
would be those of the log.
"""

from typing import Final

from attrs import frozen

from realmserver.realms.packing import Unpacker, put_uint
from realmserver.realms.squash import SQUASH_KEY, Squash, encode_squash, read_squash
from realmserver.realms.stored import read_meta
from realmserver.store.interface import Commit, LogEntry, ObjectTable, Snapshot

LAST_KEY: Final = bytes(4) + b"\x03"
"""What is known of the squash that counts, in the table of values."""

LEAST_GROWTH: Final = 64 * 1024
"""Bytes of changesets since the last squash below which a new one is not worth while; nor is it below its own size."""

SWEEP_RECORDS: Final = 2_000
"""Records that one step deletes."""

_FORMAT: Final = 0x27
_EPOCH: Final = 1_420_070_400  # origin timestamps count from 2015-01-01


@frozen
class Last:
    """Of the squash that counts: the cumulative size of the log at its base version, and its own bytes."""

    log_size: int = 0
    size: int = 0


def read_last(snapshot: ObjectTable) -> Last:
    data = snapshot.object(LAST_KEY)
    if data is None:
        return Last()
    packed = Unpacker(data, _FORMAT)
    return Last(packed.uint(), packed.uint())


def next_step(snapshot: Snapshot, ttl: int, now: int, salt: int) -> Commit | None:
    """Begin a squash, or let the one that waits count; None where it is time for neither.

    ``ttl`` and ``now`` are seconds, ``salt`` is that of a version made now. To be asked where the values have caught up
    and no squash is being written.
    """
    squash = read_squash(snapshot)
    if squash is not None:
        is_due = squash.taken and now >= squash.taken + ttl and squash.base <= snapshot.head.version
        return _count(snapshot, squash, now, salt) if is_due else None
    head = snapshot.head
    last = read_last(snapshot)
    if head.size - last.log_size < max(LEAST_GROWTH, last.size) or read_meta(snapshot).version != head.version:
        return None
    new = Squash(head.version, _timestamp(now))
    return Commit(objects={SQUASH_KEY: encode_squash(new)})


def _count(snapshot: Snapshot, squash: Squash, now: int, salt: int) -> Commit:
    head, newest = snapshot.head, snapshot.entry(squash.base)
    new = LogEntry(head.version + 1, salt, 0, 0, _timestamp(now), b"", head.size)
    last = bytearray((_FORMAT,))
    put_uint(last, newest.cumulative_size)
    put_uint(last, squash.size)
    return Commit([new], base=(squash.base, newest.salt), objects={SQUASH_KEY: None, LAST_KEY: bytes(last)})


def _timestamp(now: int) -> int:
    return max(0, now - _EPOCH) * 1000


def give_up(squash: Squash) -> Commit:
    """Take back a squash that is not worth while."""
    return Commit(squash_dropped=[squash.base], objects={SQUASH_KEY: None})
