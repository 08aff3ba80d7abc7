"""What the load generators write: classes, objects and edits as changesets, and changesets as UPLOADs.

Everything is made before the clock starts. A changeset of the common kind has 15 instructions: three objects with four
properties each. Nothing is random, so every run and every server gets the same.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from attrs import frozen

from bench.load.wire import frame
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    COLLECTION_SINGLE,
    TABLE_TOP_LEVEL,
    TYPE_BINARY,
    TYPE_BOOL,
    TYPE_DOUBLE,
    TYPE_INT,
    TYPE_STRING,
    AddColumn,
    AddInteger,
    AddTable,
    Changeset,
    CreateObject,
    Instruction,
    Payload,
    Update,
)
from realmserver.realms.requests import UploadCursor, UploadEntry
from realmserver.sync.client_messages import Upload

TIMESTAMP: Final = 178_000_000_000
"""When everything was written: some day of 2020."""

OBJECTS_EACH: Final = 3
INSTRUCTIONS_EACH: Final = 15
"""Of a changeset of the common kind."""

UPLOAD_SIZE: Final = 128 * 1024
"""Bytes of changesets after which real clients close an UPLOAD (``spec/protocol.md`` 1.5)."""

TABLE: Final = "Task"
PROPERTIES: Final = (("name", TYPE_STRING), ("count", TYPE_INT), ("price", TYPE_DOUBLE), ("done", TYPE_BOOL))
BLOB: Final = "blob"

FIRST_VERSION: Final = 2
"""The client version of a client file's first changeset."""


def schema() -> bytes:
    """The class of everything here. Whoever writes to a Realm begins with it."""
    columns = [AddColumn(TABLE, name, kind, False, COLLECTION_SINGLE) for name, kind in PROPERTIES]
    blob = AddColumn(TABLE, BLOB, TYPE_BINARY, True, COLLECTION_SINGLE)
    return encode(Changeset([AddTable(TABLE, TABLE_TOP_LEVEL, "_id", TYPE_INT, False), *columns, blob]))


def new_objects(first: int, count: int = OBJECTS_EACH) -> bytes:
    """Objects with the keys from ``first`` on, all properties set."""
    instructions: list[Instruction] = []
    for number in range(first, first + count):
        key = (TYPE_INT, number)
        values = (f"the task {number}", number % 1000, struct.pack("<d", number / 100), number % 2 == 0)
        instructions.append(CreateObject(TABLE, key))
        instructions += [
            Update(TABLE, key, name, [], Payload(kind, value, 0))
            for (name, kind), value in zip(PROPERTIES, values, strict=True)
        ]
    return encode(Changeset(instructions))


def small_changesets(writer: int, count: int) -> Iterator[bytes]:
    """Changesets of :data:`INSTRUCTIONS_EACH` instructions; two writers never have an object in common."""
    for number in range(count):
        yield new_objects((writer << 32) + number * OBJECTS_EACH)


def blob(number: int, data: bytes) -> bytes:
    """An object with a large binary property and the others at their defaults."""
    key = (TYPE_INT, number)
    return encode(Changeset([CreateObject(TABLE, key), Update(TABLE, key, BLOB, [], Payload(TYPE_BINARY, data, 0))]))


def edits(writer: int, number: int, count: int, objects: int) -> bytes:
    """``count`` edits of the objects with the keys below ``objects``, one property after the other.

    ``number`` is that of the changeset; all writers come to the same places, with values of their own.
    """
    instructions: list[Instruction] = []
    for step in range(number * count, (number + 1) * count):
        key = (TYPE_INT, step % objects)
        name, kind = PROPERTIES[step // objects % len(PROPERTIES)]
        if kind == TYPE_INT:
            instructions.append(AddInteger(TABLE, key, name, [], writer + 1))
            continue
        values: dict[int, object] = {
            TYPE_STRING: f"edit {step} of writer {writer}",
            TYPE_DOUBLE: struct.pack("<d", step + writer / 100),
            TYPE_BOOL: (step + writer) % 2 == 0,
        }
        instructions.append(Update(TABLE, key, name, [], Payload(kind, values[kind], 0)))
    return encode(Changeset(instructions))


@frozen
class Prepared:
    """An UPLOAD as a frame; ``version`` is what its acknowledgement names."""

    data: bytes
    version: int


def upload_one(version: int, server_version: int, changeset: bytes, sid: int = 1) -> Prepared:
    """The UPLOAD of one changeset: its client version, and the server version that the client had seen before it."""
    entry = UploadEntry(version, server_version, TIMESTAMP + version, 0, changeset)
    message = Upload(sid, UploadCursor(version, server_version), server_version, (entry,))
    return Prepared(frame(message.encode()), version)


def upload_many(version: int, server_version: int, changesets: Iterable[bytes]) -> list[Prepared]:
    """UPLOADs as real clients make them of what has piled up: 128 KiB each, compressed. ``version`` is the first's."""
    uploads: list[Prepared] = []
    entries: list[UploadEntry] = []
    size = 0
    for changeset in changesets:
        entries.append(UploadEntry(version, server_version, TIMESTAMP + version, 0, changeset))
        version += 1
        size += len(changeset)
        if size > UPLOAD_SIZE:
            uploads.append(_upload(entries, server_version))
            entries, size = [], 0
    return uploads + ([_upload(entries, server_version)] if entries else [])


def _upload(entries: Sequence[UploadEntry], server_version: int) -> Prepared:
    version = entries[-1].client_version
    message = Upload(1, UploadCursor(version, server_version), server_version, tuple(entries))
    return Prepared(frame(message.encode()), version)
