"""Merge: writers of one Realm who were offline come back together, and upload what they have written since.

Nobody has seen anything of the others, so the server has to transform what meets. It is over when everyone's changesets
are acknowledged and everyone has been sent those of all others. ``disjoint``: each has made objects of its own.
``same 50 objects``: all have changed the same properties of the same objects.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from attrs import frozen

from bench.cases import Case, Figures, Size, Stage, shares
from bench.load.client import Place, Session, open_all
from bench.load.content import (
    FIRST_VERSION,
    INSTRUCTIONS_EACH,
    OBJECTS_EACH,
    edits,
    new_objects,
    schema,
    upload_many,
    upload_one,
)
from bench.load.crew import Counted, Gate
from bench.load.wire import Loop
from bench.workloads.upload import Writer, write_all

SAME: Final = 50
"""Objects that all writers change."""

BASE: Final = 2
"""The server version that everyone has seen: the schema, and these objects."""


@frozen
class Kind:
    """``changesets`` of each writer, with ``instructions`` each (about, where they make objects)."""

    writers: int
    changesets: int
    is_same: bool
    instructions: int = INSTRUCTIONS_EACH

    @property
    def name(self) -> str:
        what = f"same {SAME} objects" if self.is_same else "disjoint"
        if self.instructions == INSTRUCTIONS_EACH:
            return f"{self.writers} x {self.changesets:,} changesets, {what}"
        return " x ".join([f"{self.changesets * self.instructions:,}"] * self.writers) + f" instructions, {what}"


KINDS: Final[dict[Size, list[Kind]]] = {
    "full": [
        Kind(2, 1_000, False),
        Kind(2, 1_000, True),
        Kind(10, 300, False),
        Kind(10, 300, True),
        Kind(2, 16, False, 1_000),
        Kind(2, 16, True, 1_000),
    ],
    "quick": [Kind(2, 250, False), Kind(2, 250, True), Kind(10, 60, False), Kind(10, 60, True)],
    "tiny": [Kind(2, 5, False), Kind(3, 5, True)],
}


def cases(size: Size) -> list[Case]:
    return [Case("merge", kind.name, partial(measure, kind)) for kind in KINDS[size]]


def measure(kind: Kind, stage: Stage) -> Figures:
    jobs = [(merge, (stage.place, stage.prefix, list(share), kind)) for share in shares(kind.writers, stage.generators)]
    return {"changesets/s": kind.writers * kind.changesets / stage.work(jobs).seconds}


def merge(gate: Gate, place: Place, prefix: str, numbers: Sequence[int], kind: Kind) -> Counted:
    """The load generator: the writers of these ``numbers``; the first one of all prepares the Realm."""
    loop = Loop()
    path = f"/{prefix}"
    if 0 in numbers:
        first = Session(path, place.tokens[0])
        open_all(loop, place, [first])
        objects = upload_one(FIRST_VERSION + 1, 1, new_objects(0, SAME))
        write_all(loop, [Writer(first, [upload_one(FIRST_VERSION, 0, schema()), objects], 1)])
        first.wire.close()
    sessions = [Session(path, place.tokens[number % len(place.tokens)]) for number in numbers]
    open_all(loop, place, sessions)
    if any(session.version < BASE for session in sessions):  # the first writer is of another process
        when_all(loop, sessions, BASE)
    writers = [
        Writer(session, upload_many(FIRST_VERSION, BASE, written(kind, number)), kind.changesets)
        for session, number in zip(sessions, numbers, strict=True)
    ]
    gate.open()
    write_all(loop, writers)
    when_all(loop, sessions, BASE + kind.writers * kind.changesets)
    gate.close()
    return {}


def when_all(loop: Loop, sessions: Sequence[Session], version: int) -> None:
    """Wait until all ``sessions`` have been sent ``version``."""
    missing = {session for session in sessions if session.version < version}

    def downloaded(session: Session) -> None:
        if session.version >= version:
            missing.discard(session)
        if not missing:
            loop.stop()

    for session in missing:
        session.on_download = downloaded
    if missing:
        loop.run(f"version {version}")


def written(kind: Kind, writer: int) -> list[bytes]:
    """What a writer has written offline."""
    if kind.is_same:
        return [edits(writer, number, kind.instructions, SAME) for number in range(kind.changesets)]
    objects = kind.instructions * OBJECTS_EACH // INSTRUCTIONS_EACH
    first = (writer + 1) << 32
    return [new_objects(first + number * objects, objects) for number in range(kind.changesets)]
