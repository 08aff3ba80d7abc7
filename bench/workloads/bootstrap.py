"""Bootstrap: a fresh client downloads a whole Realm that is there.

The Realm is uploaded first, and the server started again if that can be done from here, so that it has nothing of it in
memory. ``objects``: small ones, as most apps have them; ``1 GB``: blobs of 256 KiB that cannot be compressed.
"""

import random
from collections.abc import Iterator
from functools import partial
from typing import Final

from bench.cases import Case, Figures, Size, Stage
from bench.load.client import Place, Session, open_all
from bench.load.content import FIRST_VERSION, blob, new_objects, schema, upload_many, upload_one
from bench.load.crew import Counted, Gate
from bench.load.wire import Loop, Trouble
from bench.usage import MEBIBYTE
from bench.workloads.upload import Writer, write_all

OBJECTS: Final[dict[Size, list[int]]] = {"full": [100_000], "quick": [20_000], "tiny": [100]}
BLOBS: Final[dict[Size, list[int]]] = {"full": [4_096], "quick": [], "tiny": [3]}
BLOB_SIZE: Final = 256 * 1024

OBJECTS_AT_ONCE: Final = 500
"""In a changeset, as an app that imports data writes them."""

BLOBS_AT_ONCE: Final = 64
"""Blobs that are prepared and uploaded before the next are: 16 MiB."""


def cases(size: Size) -> list[Case]:
    small = [Case("bootstrap", f"{count:,} objects", partial(measure, count, False)) for count in OBJECTS[size]]
    large = [Case("bootstrap", name(count), partial(measure, count, True)) for count in BLOBS[size]]
    return small + large


def name(blobs: int) -> str:
    size = blobs * BLOB_SIZE / MEBIBYTE
    return f"{size / 1024:.3g} GB" if size >= 1024 else f"{size:.3g} MB"


def measure(count: int, are_blobs: bool, stage: Stage) -> Figures:
    version = stage.work([(fill, (stage.place, stage.prefix, count, are_blobs))]).total("version")
    stage.restart()
    seconds = stage.work([(download, (stage.place, stage.prefix, int(version)))]).seconds
    return {"MiB/s": count * BLOB_SIZE / MEBIBYTE / seconds} if are_blobs else {"objects/s": count / seconds}


def fill(gate: Gate, place: Place, prefix: str, count: int, are_blobs: bool) -> Counted:
    """Make the Realm. Not what is measured."""
    loop = Loop()
    session = Session(f"/{prefix}", place.tokens[0])
    open_all(loop, place, [session])
    gate.open()
    write_all(loop, [Writer(session, [upload_one(FIRST_VERSION, 0, schema())], 1)])
    for changesets in blobs(count) if are_blobs else objects(count):
        uploads = upload_many(session.uploaded + 1, 1, changesets)
        write_all(loop, [Writer(session, uploads, len(uploads))])
    gate.close()
    return {"version": [session.version]}


def objects(count: int) -> Iterator[list[bytes]]:
    """All of them at once, in changesets as they are imported."""
    yield [new_objects(first, min(OBJECTS_AT_ONCE, count - first)) for first in range(0, count, OBJECTS_AT_ONCE)]


def blobs(count: int) -> Iterator[list[bytes]]:
    """Some at a time."""
    chance = random.Random(1)
    for first in range(0, count, BLOBS_AT_ONCE):
        yield [blob(number, chance.randbytes(BLOB_SIZE)) for number in range(first, min(count, first + BLOBS_AT_ONCE))]


def download(gate: Gate, place: Place, prefix: str, version: int) -> Counted:
    """The load generator: one client, which has all when it has ``version``."""
    loop = Loop()
    session = Session(f"/{prefix}", place.tokens[1 % len(place.tokens)])
    gate.open()
    open_all(loop, place, [session])
    gate.close()
    if session.version != version:
        raise Trouble(f"a fresh client has version {session.version} of {version}")
    return {}
