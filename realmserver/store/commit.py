"""What every engine checks before it writes a commit, and the head that follows from it.

Kept in one place, so that no engine is more lenient than another. Pure: it knows nothing of disks or threads.
Implements the rules of :mod:`realmserver.store.interface`; ``spec/protocol.md`` 5.1 numbers the log.
"""

from typing import Final

from attrs import evolve

from realmserver.store.interface import MAX_SHAPE_KEY, ClientFile, Commit, Conflict, Head, LogEntry

MAX_NUMBER: Final = 2**64 - 1
"""Versions, salts, idents and times are stored in eight bytes without a sign."""


def table_key(table: str) -> bytes:
    """The bytes that stand for a table's name. Names come from changesets, which do not promise UTF-8."""
    return table.encode("utf-8", "surrogateescape")


def checked_head(name: str, head: Head, expected_version: int, epoch: int, commit: Commit) -> Head:
    """The head of the Realm ``name`` after ``commit``, which stood at ``head`` before.

    Raises :class:`Conflict` where ``expected_version`` or ``epoch`` is not that of ``head``, and ValueError where no
    engine may write ``commit``: versions with a gap, keys that are empty or too long, numbers that do not fit, file
    idents given out twice.
    """
    if (expected_version, epoch) != (head.version, head.epoch):
        raise Conflict(
            f"{name}: the Realm stands at version {head.version}, epoch {head.epoch}; "
            f"the writer expected version {expected_version}, epoch {epoch}"
        )
    _check_entries(name, head, commit.entries)
    _check_clients(name, commit.clients)
    _check_keys(name, commit)
    _check_squash(name, head, commit)
    if commit.last_ident is not None and commit.last_ident < head.last_ident:
        raise ValueError(f"{name}: file idents up to {head.last_ident} are given out; {commit.last_ident} is lower")
    return _next_head(head, commit)


def _check_entries(name: str, head: Head, entries: list[LogEntry]) -> None:
    for version, entry in enumerate(entries, head.version + 1):
        if entry.version != version:
            raise ValueError(f"{name}: version {entry.version} does not follow version {version - 1}")
        numbers = (entry.salt, entry.origin, entry.client_version, entry.timestamp, entry.cumulative_size)
        if min(numbers) < 0 or max(numbers) > MAX_NUMBER:
            raise ValueError(f"{name}: a number of version {version} does not fit into 64 bits: {numbers}")


def _check_clients(name: str, clients: dict[int, ClientFile]) -> None:
    for ident, client in clients.items():
        if client.ident != ident:
            raise ValueError(f"{name}: client file {client.ident} is put under the ident {ident}")
        numbers = (
            client.ident,
            client.salt,
            client.client_version,
            client.base_version,
            client.locked_version,
            client.last_seen,
            client.start_version,
        )
        if min(numbers) < 0 or max(numbers) > MAX_NUMBER:
            raise ValueError(f"{name}: a number of client file {ident} does not fit into 64 bits: {numbers}")


def _check_keys(name: str, commit: Commit) -> None:
    for ident, version in (*commit.reciprocal, *commit.trim.items()):
        if not (0 <= ident <= MAX_NUMBER and 0 <= version <= MAX_NUMBER):
            raise ValueError(f"{name}: client file {ident} has no reciprocal history at version {version}")
    for table in commit.schema:
        if not 1 <= len(table_key(table)) <= MAX_SHAPE_KEY:
            raise ValueError(f"{name}: a table's name has 1 to {MAX_SHAPE_KEY} bytes: {table[:80]!r}")
    for what, keys in (("shape", commit.shape), ("values", commit.objects)):
        for key in keys:
            if not 1 <= len(key) <= MAX_SHAPE_KEY:
                raise ValueError(f"{name}: a key of the {what} has 1 to {MAX_SHAPE_KEY} bytes: {key[:80]!r}")
    for what, prefixes in (("shape", commit.shape_prefixes), ("values", commit.objects_prefixes)):
        for prefix in prefixes:
            if len(prefix) > MAX_SHAPE_KEY:
                raise ValueError(f"{name}: a prefix of the {what} has at most {MAX_SHAPE_KEY} bytes: {prefix[:80]!r}")


def _check_squash(name: str, head: Head, commit: Commit) -> None:
    for base, version in commit.squash:
        if not (head.base_version < base <= head.version and 1 <= version <= base):
            raise ValueError(f"{name}: version {version} cannot be in a squash up to version {base}")
        if commit.squash[base, version].version != version:
            raise ValueError(f"{name}: an entry of a squash is put under another version, {version}")
    if commit.base is not None and not head.base_version < commit.base[0] <= head.version:
        raise ValueError(f"{name}: the log begins at {head.base_version}, it cannot begin at {commit.base[0]}")


def _next_head(head: Head, commit: Commit) -> Head:
    if commit.entries:
        newest = commit.entries[-1]
        head = evolve(head, version=newest.version, salt=newest.salt, size=newest.cumulative_size)
    if commit.last_ident is not None:
        head = evolve(head, last_ident=commit.last_ident)
    if commit.required_protocol is not None:
        head = evolve(head, required_protocol=commit.required_protocol)
    if commit.base is not None:
        head = evolve(head, base_version=commit.base[0], base_salt=commit.base[1])
    if commit.tolerant is not None:
        head = evolve(head, tolerant=commit.tolerant)
    return head
