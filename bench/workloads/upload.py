"""Upload: changesets of 15 instructions, one writer to each Realm.

``bulk``: what has piled up, in UPLOADs of 128 KiB as real clients make them, sent without waiting. ``stream``: an
UPLOAD for each changeset, with some on their way. ``one by one``: the next when the last is acknowledged, which is what
a user waits for. An acknowledged changeset is on the disk (if the server keeps its word), so all include the commits.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from time import perf_counter
from typing import Final

from bench.cases import Case, Figures, Size, Stage, shares
from bench.load.client import Place, Session, nothing, open_all
from bench.load.content import FIRST_VERSION, Prepared, schema, small_changesets, upload_many, upload_one
from bench.load.crew import Counted, Gate
from bench.load.wire import Loop, Trouble
from bench.summary import percentile

STREAM_WINDOW: Final = 64
"""UPLOADs of a writer that are on their way to the server or back, in ``stream``."""

EVERYTHING: Final = 1 << 40

AMOUNTS: Final[dict[Size, dict[str, dict[int, int]]]] = {
    "full": {
        "bulk": {1: 20_000, 10: 2_000, 200: 100},
        "stream": {1: 20_000, 10: 2_000, 200: 100},
        "one by one": {1: 2_000, 10: 400, 200: 50},
    },
    "quick": {
        "bulk": {1: 4_000, 10: 400, 200: 20},
        "stream": {1: 4_000, 10: 400, 200: 20},
        "one by one": {1: 500, 10: 100, 200: 10},
    },
    "tiny": {"bulk": {1: 100}, "one by one": {2: 10}},
}
"""Changesets of each writer, by way and number of Realms."""


def cases(size: Size) -> list[Case]:
    return [
        Case("upload", f"{way}, {realms} Realm{'s' * (realms > 1)}", partial(measure, way, realms, changesets))
        for way, amounts in AMOUNTS[size].items()
        for realms, changesets in amounts.items()
    ]


def measure(way: str, realms: int, changesets: int, stage: Stage) -> Figures:
    jobs = [
        (upload, (stage.place, stage.prefix, list(share), way, changesets))
        for share in shares(realms, stage.generators)
    ]
    timed = stage.work(jobs)
    figures = {"changesets/s": realms * changesets / timed.seconds}
    if way == "one by one":
        waits = timed.series("wait")
        figures |= {"p50 ms": percentile(waits, 50) * 1000, "p99 ms": percentile(waits, 99) * 1000}
    return figures


class Writer:
    """Sends prepared UPLOADs, of which at most ``window`` are on their way. ``waits``: seconds that each took until it
    was acknowledged. ``on_done`` is called when all are."""

    def __init__(self, session: Session, uploads: Sequence[Prepared], window: int) -> None:
        self._session = session
        self._uploads = uploads
        self._window = window
        self._sent = self._acknowledged = 0
        self._sent_at: list[float] = []
        self.waits: list[float] = []

    def start(self, on_done: "Done") -> None:
        self._on_done = on_done
        self._session.on_download = self._downloaded
        self._send()

    def _send(self) -> None:
        until = min(len(self._uploads), self._acknowledged + self._window)
        if self._sent < until:
            now = perf_counter()
            self._sent_at += [now] * (until - self._sent)
            self._session.wire.send(b"".join([upload.data for upload in self._uploads[self._sent : until]]))
            self._sent = until

    def _downloaded(self, session: Session) -> None:
        uploads, before = self._uploads, self._acknowledged
        while self._acknowledged < self._sent and uploads[self._acknowledged].version <= session.uploaded:
            self._acknowledged += 1
        if self._acknowledged == before:
            return
        if session.version < session.uploaded - 1:
            raise Trouble(f"version {session.uploaded} is acknowledged at server version {session.version}")
        now = perf_counter()
        self.waits += [now - self._sent_at[number] for number in range(before, self._acknowledged)]
        if self._acknowledged == len(uploads):
            session.on_download = nothing
            self._on_done.one()
        else:
            self._send()


class Done:
    """Stops ``loop`` when ``count`` have said that they are done."""

    def __init__(self, loop: Loop, count: int) -> None:
        self._loop = loop
        self._count = count

    def one(self) -> None:
        self._count -= 1
        if not self._count:
            self._loop.stop()


def upload(gate: Gate, place: Place, prefix: str, realms: Sequence[int], way: str, changesets: int) -> Counted:
    """The load generator: a writer in each of ``realms``."""
    loop = Loop()
    sessions = [Session(f"/{prefix}-{realm}", place.tokens[realm % len(place.tokens)]) for realm in realms]
    open_all(loop, place, sessions)
    write_all(loop, [Writer(session, [upload_one(FIRST_VERSION, 0, schema())], 1) for session in sessions])
    window = {"bulk": EVERYTHING, "stream": STREAM_WINDOW, "one by one": 1}[way]
    writers = [
        Writer(session, prepare(way, small_changesets(realm, changesets), window), window)
        for session, realm in zip(sessions, realms, strict=True)
    ]
    gate.open()
    write_all(loop, writers)
    gate.close()
    return {"wait": [wait for writer in writers for wait in writer.waits]}


def write_all(loop: Loop, writers: Sequence[Writer]) -> None:
    """Let all write, and wait until everything is acknowledged."""
    done = Done(loop, len(writers))
    for writer in writers:
        writer.start(done)
    loop.run("acknowledgements")


def prepare(way: str, changesets: Iterable[bytes], window: int) -> list[Prepared]:
    """The UPLOADs of a writer that is alone in its Realm and has sent its schema. The server version that it has seen
    is the one that the last acknowledgement before must have told, since each changeset makes one."""
    first = FIRST_VERSION + 1
    if way == "bulk":
        return upload_many(first, 1, changesets)
    return [
        upload_one(first + number, max(1, number - window + 2), changeset)
        for number, changeset in enumerate(changesets)
    ]
