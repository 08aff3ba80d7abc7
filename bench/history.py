"""What folding its history saves a Realm: ``python -m bench.history [OVERWRITES [OBJECTS]]``.

Overwrites the properties of a thousand objects a million times (unless told otherwise) in a Realm on the disk, lets its
history come of age, and opens it again. Before and after: the room on the disk, and what a new client downloads. While
it runs: the longest step and the most memory that the process has had.
"""

import resource
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    COLLECTION_SINGLE,
    TABLE_TOP_LEVEL,
    TYPE_INT,
    TYPE_STRING,
    AddColumn,
    AddTable,
    Changeset,
    CreateObject,
    Instruction,
    Payload,
    Update,
)
from realmserver.realms.realm import Realm
from realmserver.realms.requests import DownloadCursor, Upload, UploadCursor, UploadEntry
from realmserver.store.lmdb_store import LmdbStore

OVERWRITES: Final = 1_000_000
OBJECTS: Final = 1_000
AT_ONCE: Final = 1_000
TTL: Final = 3_600


class Clock:
    """The environment of the Realm; its time is the measurement's matter."""

    def __init__(self) -> None:
        self.time = int(time.time())

    def random_salt(self) -> int:
        return secrets.randbelow(1 << 62) + 1

    def now(self) -> int:
        return self.time

    def warn(self, realm: str, text: str) -> None:
        print(f"{realm}: {text}", file=sys.stderr)


def peak() -> str:
    return f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB"


def room(directory: str) -> str:
    """The blocks that the Realm's file takes."""
    blocks = sum(path.stat().st_blocks for path in Path(directory).rglob("data.mdb"))
    return f"{blocks * 512 / 1e6:.1f} MB on the disk"


def new_client(realm: Realm) -> str:
    """What a client that begins from nothing downloads."""
    ident = realm.allocate("new").ident
    cursor, size, entries, instructions, created = DownloadCursor(), 0, 0, 0, 0
    while cursor.server_version < realm.head.version:
        download = realm.download(ident, cursor, realm.head)
        cursor = download.cursor
        for entry in download.entries:
            size += len(entry.changeset)
            entries += 1
            found = decode(entry.changeset).instructions
            instructions += len(found)
            created += sum(isinstance(each, CreateObject) for each in found)
    return f"downloads {created} objects in {instructions} instructions, {entries} entries, {size / 1e6:.2f} MB"


def main(arguments: list[str]) -> None:
    overwrites = int(arguments[0]) if arguments else OVERWRITES
    objects = int(arguments[1]) if len(arguments) > 1 else OBJECTS
    clock = Clock()
    with tempfile.TemporaryDirectory() as directory:
        store = LmdbStore(Path(directory), random_bytes=secrets.token_bytes)
        realm = Realm(store.open("/bench", create=True), clock, TTL)
        ident = realm.allocate("bench").ident

        def upload(instructions: list[Instruction]) -> None:
            seen = realm.head.version
            entry = UploadEntry(seen + 1, seen, 1, 0, encode(Changeset(instructions)))
            realm.integrate([Upload(ident, (entry,), UploadCursor(seen + 1, seen), seen, 14)])

        upload(
            [
                AddTable("Item", TABLE_TOP_LEVEL, "_id", TYPE_INT, False),
                AddColumn("Item", "count", TYPE_INT, False, COLLECTION_SINGLE),
                AddColumn("Item", "name", TYPE_STRING, False, COLLECTION_SINGLE),
            ]
        )
        upload([CreateObject("Item", (TYPE_INT, number)) for number in range(objects)])
        for start in range(0, overwrites, AT_ONCE):
            upload(
                [
                    Update("Item", (TYPE_INT, number % objects), "count", [], Payload(TYPE_INT, number))
                    if number % 2
                    else Update("Item", (TYPE_INT, number % objects), "name", [], Payload(TYPE_STRING, f"v{number}", 0))
                    for number in range(start, min(start + AT_ONCE, overwrites))
                ]
            )
        while realm.fold():
            pass
        print(f"before: {room(directory)}, a new client {new_client(realm)}, {peak()}", flush=True)

        begun = time.perf_counter()
        steps, longest = 0, 0.0
        for _ in range(2):
            more = True
            while more:
                before = time.perf_counter()
                more = realm.tidy()
                longest = max(longest, time.perf_counter() - before)
                steps += 1
            clock.time += TTL
        realm.close()
        realm = Realm(store.open("/bench", create=False), clock, TTL)
        taken = time.perf_counter() - begun
        print(f"folded: {taken:.1f} s in {steps} steps, the longest {longest * 1000:.0f} ms, {peak()}", flush=True)
        print(f"after: {room(directory)}, a new client {new_client(realm)}, {peak()}")
        realm.close()
        store.close()


if __name__ == "__main__":
    main(sys.argv[1:])
