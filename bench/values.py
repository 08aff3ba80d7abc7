"""How much memory and time the stored values of a large Realm take: ``python -m bench.values [OBJECTS]``.

Uploads that many objects (a million, unless told otherwise) into a Realm on the disk, lets the stored values follow the
log, and reads all of them in pages. For each part: seconds, the most memory that the process has had by then, and how
much of that was its own rather than pages of the mapped file, which the system takes back when it needs them.
"""

import resource
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    COLLECTION_LIST,
    COLLECTION_SINGLE,
    TABLE_TOP_LEVEL,
    TYPE_DOUBLE,
    TYPE_INT,
    TYPE_STRING,
    AddColumn,
    AddTable,
    ArrayInsert,
    Changeset,
    CreateObject,
    Instruction,
    Key,
    Payload,
    Update,
)
from realmserver.realms.realm import Realm
from realmserver.realms.requests import Upload, UploadCursor, UploadEntry
from realmserver.store.lmdb_store import LmdbStore

OBJECTS: Final = 1_000_000
AT_ONCE: Final = 500
PAGE: Final = 1_000


class Now:
    """The environment of the Realm."""

    def random_salt(self) -> int:
        return secrets.randbelow(1 << 62) + 1

    def now(self) -> int:
        return int(time.time())

    def warn(self, realm: str, text: str) -> None:
        print(f"{realm}: {text}", file=sys.stderr)


def changesets(objects: int) -> Iterator[bytes]:
    """A schema, then the objects: a key, a text, a number, and every tenth a short list."""
    yield encode(
        Changeset(
            [
                AddTable("Item", TABLE_TOP_LEVEL, "_id", TYPE_INT, False),
                AddColumn("Item", "name", TYPE_STRING, False, COLLECTION_SINGLE),
                AddColumn("Item", "price", TYPE_DOUBLE, False, COLLECTION_SINGLE),
                AddColumn("Item", "tags", TYPE_INT, False, COLLECTION_LIST),
            ]
        )
    )
    for start in range(0, objects, AT_ONCE):
        instructions: list[Instruction] = []
        for number in range(start, min(start + AT_ONCE, objects)):
            key: Key = (TYPE_INT, number)
            instructions.append(CreateObject("Item", key))
            instructions.append(Update("Item", key, "name", [], Payload(TYPE_STRING, f"the item {number}", 0)))
            instructions.append(Update("Item", key, "price", [], Payload(TYPE_DOUBLE, number.to_bytes(8, "little"))))
            if number % 10 == 0:
                instructions += [ArrayInsert("Item", key, "tags", [at], Payload(TYPE_INT, at), at) for at in range(3)]
        yield encode(Changeset(instructions))


def memory() -> str:
    """The most memory so far, and what is the process's own now."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own = int(status["RssAnon"].split()[0]) // 1024
    return f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB, own {own} MB"


def main(arguments: list[str]) -> None:
    objects = int(arguments[0]) if arguments else OBJECTS
    with tempfile.TemporaryDirectory() as directory:
        store = LmdbStore(Path(directory), random_bytes=secrets.token_bytes)
        realm = Realm(store.open("/bench", create=True), Now())
        ident = realm.allocate("bench").ident

        begun = time.perf_counter()
        for version, changeset in enumerate(changesets(objects), 1):
            seen = version - 1  # all that is there: a client that uploads what it has seen the answers to
            entry = UploadEntry(version, seen, 1, 0, changeset)
            realm.integrate([Upload(ident, (entry,), UploadCursor(version, seen), 0, 14)])
        print(f"uploaded: {time.perf_counter() - begun:.0f} s, {memory()}", flush=True)

        begun = time.perf_counter()
        steps = longest = 0.0
        more = True
        while more:
            before = time.perf_counter()
            more = realm.fold()
            steps += 1
            longest = max(longest, time.perf_counter() - before)
        taken = time.perf_counter() - begun
        print(f"built: {taken:.0f} s in {steps:.0f} steps, the longest {longest * 1000:.0f} ms, {memory()}", flush=True)

        begun = time.perf_counter()
        read, after = 0, None
        while True:
            page = realm.read(lambda reader, after=after: list(reader.objects("Item", after, limit=PAGE)))  # type: ignore[misc]
            if not page:
                break
            read += len(page)
            after = page[-1].key
        print(f"read: {read} objects, {time.perf_counter() - begun:.0f} s, {memory()}")
        realm.close()
        store.close()


if __name__ == "__main__":
    main(sys.argv[1:])
