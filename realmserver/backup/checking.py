"""The check of one Realm, or of the system store, as a bystander sees it: beside a running server, or in a copy.

What it keeps true: nothing is changed, and memory does not grow with the Realm (but for a number for each client
file). It looks at

- the identity and the head;
- the log: no version is missing, sizes and salts agree with the head, every changeset is one;
- the client files: none knows more than there is;
- the reciprocal histories: each belongs to a client file and to a version it may need;
- the squash that the log of a folded Realm begins with (``realms.retention``): it is whole;
- the state: what replaying the log gives is what is stored, the shape byte for byte, values object by object. With a
  squash it begins there, and the shape is compared object by object, too (``comparing``).

What LMDB itself says of damaged pages is a StoreError, for whoever calls. Implements ``design.md`` 4 and 6.
"""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from realmserver.backup.comparing import Difference, Objects
from realmserver.backup.findings import Findings
from realmserver.backup.replaying import Replay
from realmserver.changeset.decode import decode
from realmserver.changeset.instructions import BadChangeset, Changeset
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.realm import MAX_SALT
from realmserver.realms.retention import LAST_KEY, Last, read_last
from realmserver.realms.schema import decode_table
from realmserver.realms.shape_records import META_KEY, decode_meta, decode_record
from realmserver.realms.stored import read_meta
from realmserver.realms.stored_records import META_KEY as VALUES_KEY
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
    OBJECTS,
    RECIPROCAL,
    SCHEMA,
    SHAPE,
    SQUASH,
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
    with (
        bystander(directory, name, CHECKED, LATER_TABLES) as reading,
        tempfile.TemporaryDirectory(prefix="realm-verify-") as scratch,
    ):
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
        last, at = self._values(head)
        size: int | None = last.log_size  # None: nobody knows what the earlier versions took
        with Replay(scratch, self._size, has_values=at is not None) as replay:
            can_replay = self._squash(head.base_version, last, replay) if head.base_version else True
            if can_replay and at == head.base_version > 0:
                self._compare_values(replay)
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
                can_replay = can_replay and changeset is not None and self._apply(replay, LOG, version, changeset)
                if can_replay and version == at:
                    self._compare_values(replay)
                if version % _TELL_EVERY == 0:
                    self._tell(min(version, head.version) * self._size // max(head.version, 1))
            if expected != head.version + 1:
                self.findings.add(LOG, expected - 1, f"it ends here, the head is version {head.version}")
                can_replay = False
            if salt != head.salt or size not in (head.size, None):
                self.findings.add(META, "head", "its size or salt is not that of the newest version")
            if can_replay:
                self._compare(SHAPE, replay.differences(self._reading, by_name=head.base_version > 0))

    def _squash(self, base: int, last: Last, replay: Replay) -> bool:
        """Check the squash that the log begins with, and replay it; whether that went well."""
        if not self._reading.has(SQUASH):
            self.findings.add(SQUASH, base, "it is missing")
            return False
        prefix = records.number_key(base)
        key, expected, size = prefix, 1, 0
        is_good = True
        while found := self._reading.items(SQUASH, prefix, after=key, limit=1):
            key, data = found[0]
            if len(key) != 2 * _KEY_BYTES:
                self.findings.add(SQUASH, key, "no entry of a squash has such a key")
                continue
            version = records.pair_of(key)[1]
            where = f"{base}, {version}"
            if version != expected or version > base:
                self.findings.add(SQUASH, where, f"entry {expected} of {base} at most should come here")
                is_good = False
            expected = version + 1
            entry = self._decoded(SQUASH, where, partial(records.unpack_entry, data, version))
            changeset = None if entry is None else self._decoded(SQUASH, where, partial(decode, entry.changeset))
            if entry is None or changeset is None:
                is_good = False
                continue
            size += len(entry.changeset)
            if entry.cumulative_size != size:
                self.findings.add(SQUASH, where, "the size up to it is not the sum of the changesets")
                size = entry.cumulative_size
            is_good = is_good and self._apply(replay, SQUASH, where, changeset)
        if size != last.size:
            self.findings.add(SQUASH, base, f"it has {size} bytes, {last.size} were written")
            is_good = False
        return is_good

    def _values(self, head: Head) -> tuple[Last, int | None]:
        """What is known of the squash that the log begins with, and the version that the values are at, None where
        there are none to be compared."""
        if not self._reading.has(OBJECTS):
            return Last(), None
        table = Objects(self._reading)
        last = self._decoded(OBJECTS, LAST_KEY, partial(read_last, table)) or Last()
        meta = self._decoded(OBJECTS, VALUES_KEY, partial(read_meta, table))
        if meta is None:
            return last, None
        if not head.base_version <= meta.version <= head.version:
            where = f"the log goes from {head.base_version} to {head.version}"
            self.findings.add(OBJECTS, VALUES_KEY, f"the values are at version {meta.version}, {where}")
            return last, None
        return last, meta.version or None

    def _compare_values(self, replay: Replay) -> None:
        self._compare(OBJECTS, replay.value_differences(self._reading))

    def _compare(self, table: str, differences: Iterator[Difference]) -> None:
        try:
            for where, key, text in differences:
                if where == SCHEMA and isinstance(key, bytes):
                    key = key.decode("utf-8", "replace")
                self.findings.add(where, key, text)
        except BrokenRecord as error:
            self.findings.add(table, "", str(error))

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

    def _apply(self, replay: Replay, table: str, where: object, changeset: Changeset) -> bool:
        try:
            replay.apply(changeset)
        except BadChangeset as error:
            self.findings.add(table, where, f"no client can apply it: {error}")
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
