"""The check of one Realm, or of the system store, as a bystander sees it: beside a running server, or in a copy.

What it keeps true: nothing is changed, and memory does not grow with the Realm (but for a number for each client
file). It looks at

- the identity and the head;
- the log: no version is missing, sizes and salts agree with the head, every changeset is one;
- the client files: none knows more than there is;
- the reciprocal histories: each belongs to a client file and to a version it may need;
- the state: what replaying the log gives is what is stored, byte for byte (of a log that has its beginning no more,
  only that every record can be read).

What LMDB itself says of damaged pages is a StoreError, for whoever calls. Implements ``design.md`` 4 and 6.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from realmserver.backup.findings import Findings
from realmserver.backup.replaying import Replay
from realmserver.changeset.decode import decode
from realmserver.changeset.instructions import BadChangeset, Changeset
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.realm import MAX_SALT
from realmserver.realms.schema import decode_table
from realmserver.realms.shape_records import META_KEY, decode_meta, decode_record
from realmserver.store import lmdb_system, records
from realmserver.store.interface import ClientFile, Head, LogEntry
from realmserver.store.lmdb_bystander import Bystander, bystander
from realmserver.store.lmdb_store import (
    CLIENTS,
    HEAD_KEY,
    IDENTITY_KEY,
    LATER_TABLES,
    LOG,
    META,
    RECIPROCAL,
    SCHEMA,
    SHAPE,
    TABLES,
)
from realmserver.store.system import MAX_KEY, check_place

_FIRST_IDENT: Final = 2
"""File ident 1 is the server's own and has no client file."""

_KEY_BYTES: Final = len(records.number_key(0))

_TELL_EVERY: Final = 1000
"""Versions between two words of progress."""

T = TypeVar("T")
Tell = Callable[[int], None]

CHECKED: Final = tuple(table for table in TABLES if table not in LATER_TABLES)
"""The others are made from the log, and may be missing in a Realm that has not been open for long."""


def check_realm(name: str, directory: Path, size: int, tell: Tell = lambda _: None) -> Findings:
    """What is wrong with the Realm ``name`` in ``directory``. ``tell`` hears how many of its ``size`` bytes are
    behind, about. Raises StoreError where it cannot be read."""
    with bystander(directory, name, CHECKED) as reading, tempfile.TemporaryDirectory(prefix="realm-verify-") as scratch:
        check = _RealmCheck(name, reading, size, tell)
        check.run(Path(scratch))
        return check.findings


def check_system(directory: Path) -> Findings:
    """What is wrong with the store of accounts and log-ins. Raises StoreError where it cannot be read."""
    findings = Findings(lmdb_system.WHAT)
    with bystander(directory, lmdb_system.WHAT, lmdb_system.TABLES) as reading:
        if reading.get(lmdb_system.META, lmdb_system.IDENTITY_KEY) != lmdb_system.IDENTITY:
            findings.add(lmdb_system.META, "identity", "it is in a format that this server does not read")
        for key, value in reading.each(lmdb_system.DATA):
            table, zero, place = key.partition(b"\0")
            try:
                check_place(table.decode("ascii"), place)
            except ValueError:
                findings.add(lmdb_system.DATA, key[:MAX_KEY], "no such place can be written to")
                continue
            if not zero or not value:
                findings.add(table.decode("ascii"), "…", "an empty record")  # keys may be secrets
    return findings


class _RealmCheck:
    def __init__(self, name: str, reading: Bystander, size: int, tell: Tell) -> None:
        self._name = name
        self._reading = reading
        self._size = size
        self._tell = tell
        self._uploaded: dict[int, int] = {}  # by origin: the newest client version in the log
        self.findings = Findings(name)

    def run(self, scratch: Path) -> None:
        head = self._head()
        if head is None:
            return
        self._clients(head)
        self._reciprocal(head)
        self._state()
        self._log(head, scratch)
        for ident, version in self._uploaded.items():
            client = self._client(ident)
            if client is None:
                self.findings.add(CLIENTS, ident, "the log has changes of this client file, which is missing")
            elif client.client_version < version:
                self.findings.add(
                    CLIENTS, ident, f"it stands at client version {client.client_version}, the log at {version}"
                )

    def _decoded(self, table: str, key: object, unpack: Callable[[], T]) -> T | None:
        try:
            return unpack()
        except (records.BadRecord, BrokenRecord, BadChangeset, RecursionError) as error:
            self.findings.add(table, key, str(error))
            return None

    def _head(self) -> Head | None:
        identity = self._reading.get(META, IDENTITY_KEY) or b""
        found = self._decoded(META, "identity", lambda: records.unpack_identity(identity))
        if found is None:
            return None
        realm_id, name = found
        if name != self._name:
            self.findings.add(META, "identity", f"this is another Realm, {name}")
        data = self._reading.get(META, HEAD_KEY) or b""
        return self._decoded(META, "head", lambda: records.unpack_head(data, realm_id))

    # The log, and the state that follows from it.

    def _log(self, head: Head, scratch: Path) -> None:
        expected, salt = head.base_version + 1, head.base_salt
        size = None if head.base_version else 0  # None: nobody knows what the earlier versions took
        can_replay = not head.base_version
        with Replay(scratch, self._size) as replay:
            for key, data in self._reading.each(LOG):
                version = int.from_bytes(key, "big")
                if len(key) != _KEY_BYTES:
                    self.findings.add(LOG, key, "no version has such a key")
                    continue
                if version <= head.base_version:  # folded into the squash (``realms.retention``), to be swept
                    continue
                if version != expected:
                    self.findings.add(LOG, version, f"version {expected} should come here")
                    can_replay, size = False, None
                expected = version + 1
                entry = self._decoded(LOG, version, partial(records.unpack_entry, data, version))
                if entry is None:
                    can_replay, size = False, None
                    continue
                size = self._entry(entry, head, size)
                salt = entry.salt
                changeset = self._decoded(LOG, version, partial(decode, entry.changeset))
                can_replay = can_replay and changeset is not None and self._apply(replay, version, changeset)
                if version % _TELL_EVERY == 0:
                    self._tell(min(version, head.version) * self._size // max(head.version, 1))
            if expected != head.version + 1:
                self.findings.add(LOG, expected - 1, f"it ends here, the head is version {head.version}")
                can_replay = False
            if salt != head.salt or size not in (head.size, None):
                self.findings.add(META, "head", "its size or salt is not that of the newest version")
            if can_replay:
                for table, key, text in replay.differences(self._reading):
                    self.findings.add(table, key.decode("utf-8", "replace") if table == SCHEMA else key, text)

    def _entry(self, entry: LogEntry, head: Head, size: int | None) -> int:
        """Check one entry; the size of all changesets up to it. ``size`` is that of those before it."""
        if size is not None and entry.cumulative_size != size + len(entry.changeset):
            self.findings.add(LOG, entry.version, "the size up to it is not the sum of the changesets")
        if not 0 < entry.salt <= MAX_SALT:
            self.findings.add(LOG, entry.version, f"{entry.salt} is no salt")
        if entry.origin > head.last_ident:
            self.findings.add(LOG, entry.version, f"client file {entry.origin} was never given out")
        elif entry.origin >= _FIRST_IDENT:
            if entry.client_version <= self._uploaded.get(entry.origin, 0):
                self.findings.add(LOG, entry.version, f"client version {entry.client_version} is not a later one")
            self._uploaded[entry.origin] = entry.client_version
        return entry.cumulative_size

    def _apply(self, replay: Replay, version: int, changeset: Changeset) -> bool:
        try:
            replay.apply(changeset)
        except BadChangeset as error:
            self.findings.add(LOG, version, f"no client can apply it: {error}")
            return False
        return True

    # What is known of client files.

    def _client(self, ident: int) -> ClientFile | None:
        data = self._reading.get(CLIENTS, records.number_key(ident))
        return None if data is None else self._decoded(CLIENTS, ident, lambda: records.unpack_client(data, ident))

    def _clients(self, head: Head) -> None:
        for key, data in self._reading.each(CLIENTS):
            ident = int.from_bytes(key, "big")
            if len(key) != _KEY_BYTES:
                self.findings.add(CLIENTS, key, "no client file has such a key")
                continue
            client = self._decoded(CLIENTS, ident, partial(records.unpack_client, data, ident))
            if client is None:
                continue
            if not _FIRST_IDENT <= ident <= head.last_ident:
                self.findings.add(CLIENTS, ident, f"it was never given out, the last is {head.last_ident}")
            if not 0 < client.salt <= MAX_SALT:
                self.findings.add(CLIENTS, ident, f"{client.salt} is no salt")
            if max(client.base_version, client.locked_version) > head.version:
                self.findings.add(CLIENTS, ident, f"it knows a version after the head, {head.version}")

    def _reciprocal(self, head: Head) -> None:
        base, known = 0, -1
        client: ClientFile | None = None
        for key, data in self._reading.each(RECIPROCAL):
            ident, version = (int.from_bytes(part, "big") for part in (key[:_KEY_BYTES], key[_KEY_BYTES:]))
            where = f"{ident}, {version}"
            if ident != known:
                client = self._client(ident)
                known, base = ident, client.base_version if client is not None else head.version
                if client is None:
                    self.findings.add(RECIPROCAL, where, "its client file is missing")
            if client is not None and not base < version <= head.version:
                self.findings.add(RECIPROCAL, where, f"the client file needs versions {base + 1} to {head.version}")
            self._decoded(RECIPROCAL, where, partial(_reciprocal, data))

    # The stored state.

    def _state(self) -> None:
        for key, row in self._reading.each(SCHEMA):
            name = key.decode("utf-8", "surrogateescape")
            self._decoded(SCHEMA, name, partial(decode_table, name, row))
        for key, record in self._reading.each(SHAPE):
            decoder: Callable[[bytes], object] = decode_meta if key == META_KEY else decode_record
            self._decoded(SHAPE, key, partial(decoder, record))


def _reciprocal(data: bytes) -> Changeset:
    return decode(records.unpack_reciprocal(data))
