"""Fan-out: one writer, and many readers of the same Realm, each on a connection of its own.

Every reader is sent every changeset; that is a delivery. ``one at a time``: the writer waits until the last reader has
its changeset before it sends the next, so no two are ever sent together and all servers do the same work. ``stream``:
some changesets are on their way, and a server may send several in one message. Readers report their progress after each
DOWNLOAD, as real clients do (``spec/protocol.md`` 3.6); ``silent`` ones do not.
"""

from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Final

from bench.cases import Case, Figures, Size, Stage, shares
from bench.load.client import Place, Session, open_all
from bench.load.content import FIRST_VERSION, schema, small_changesets, upload_one
from bench.load.crew import Counted, Gate
from bench.load.wire import Loop, Trouble, frame
from bench.summary import percentile
from bench.workloads.upload import Writer, write_all

STREAM_WINDOW: Final = 16

Kind = tuple[int, str, int]
"""Readers, how they are written to, and how many changesets."""

KINDS: Final[dict[Size, list[Kind]]] = {
    "full": [
        (20, "one at a time", 1_000),
        (100, "one at a time", 400),
        (1_000, "one at a time", 50),
        (100, "one at a time, silent", 400),
        (100, "stream", 1_000),
        (1_000, "stream", 100),
    ],
    "quick": [(20, "one at a time", 200), (100, "one at a time", 80), (1_000, "one at a time", 10)],
    "tiny": [(3, "one at a time", 5), (3, "stream, silent", 20)],
}


def cases(size: Size) -> list[Case]:
    return [
        Case("fan-out", f"{readers:,} readers, {way}", partial(measure, readers, way, changesets))
        for readers, way, changesets in KINDS[size]
    ]


def measure(readers: int, way: str, changesets: int, stage: Stage) -> Figures:
    jobs = [
        (fan_out, (stage.place, stage.prefix, list(share), way, changesets, number == 0))
        for number, share in enumerate(shares(readers, stage.generators))
    ]
    timed = stage.work(jobs)
    deliveries = readers * changesets
    if timed.total("deliveries") != deliveries:
        raise Trouble(f"{timed.total('deliveries'):.0f} deliveries instead of {deliveries}")
    waits = timed.series("wait")
    return {
        "deliveries/s": deliveries / timed.seconds,
        "last reader p50 ms": percentile(waits, 50) * 1000,
        "last reader p99 ms": percentile(waits, 99) * 1000,
    }


class Crowd:
    """Everyone who is to have each version: readers, and the writer, whom its acknowledgement tells.

    ``complete``: the newest version that all have; ``on_complete`` is called for each. ``on_last`` when that is the
    last of all.
    """

    def __init__(self, base: int, changesets: int) -> None:
        self.deliveries = 0
        self.complete = base
        self.on_complete: Callable[[], None] = lambda: None
        self.on_last: Callable[[], None] = lambda: None
        self._last = base + changesets
        self._at: dict[Session, int] = {}
        self._own: dict[Session, int] = {}
        self._reached: dict[int, int] = {}

    def join(self, session: Session, on_download: Callable[[Session], None]) -> None:
        """One more who has the first version and no other."""
        self._at[session] = self.complete
        self._own[session] = FIRST_VERSION
        session.on_download = on_download

    def read(self, reader: Session) -> None:
        """A DOWNLOAD has come to a silent reader."""
        self.deliveries += reader.version - self._at[reader]
        self.advance(reader)

    def report(self, reader: Session) -> None:
        """A DOWNLOAD has come to a reader who reports: integrating it makes a version of its own."""
        own = self._own[reader] = self._own[reader] + 1
        reader.wire.send(frame(b"upload 1 0 0 0 %d %d %d\n" % (own, reader.version, reader.version)))
        self.read(reader)

    def advance(self, session: Session) -> None:
        """``session`` has what it has."""
        before = self._at[session]
        self._at[session] = session.version
        reached = self._reached
        for each in range(before + 1, session.version + 1):
            count = reached[each] = reached.get(each, 0) + 1
            if count == len(self._at):
                del reached[each]
                self.complete = each
                self.on_complete()
        if self.complete == self._last:
            self.on_last()


def fan_out(
    gate: Gate, place: Place, prefix: str, readers: Sequence[int], way: str, changesets: int, writes: bool
) -> Counted:
    """The load generator: readers, and the writer if ``writes``; it waits for the readers of its own process."""
    loop = Loop()
    path = f"/{prefix}"
    writer = Session(path, place.tokens[0])
    open_all(loop, place, [writer])
    if writes:
        write_all(loop, [Writer(writer, [upload_one(FIRST_VERSION, 0, schema())], 1)])
    sessions = [Session(path, place.tokens[reader % len(place.tokens)]) for reader in readers]
    open_all(loop, place, sessions)
    window = STREAM_WINDOW if way.startswith("stream") else 1
    first = FIRST_VERSION + 1
    uploads = [
        upload_one(first + number, max(1, number - window + 2), changeset).data
        for number, changeset in enumerate(small_changesets(0, changesets))
    ]
    crowd = Crowd(1, changesets)
    crowd.on_last = loop.stop
    for session in sessions:
        crowd.join(session, crowd.read if way.endswith("silent") else crowd.report)
    sent_at: list[float] = []
    waits: list[float] = []

    def complete() -> None:
        waits.append(perf_counter() - sent_at[len(waits)])
        send()

    def send() -> None:
        until = min(len(uploads), crowd.complete - 1 + window)
        while len(sent_at) < until:
            sent_at.append(perf_counter())
            writer.wire.send(uploads[len(sent_at) - 1])

    if writes:
        crowd.join(writer, crowd.advance)
        crowd.on_complete = complete
    gate.open()
    if writes:
        send()
    loop.run("deliveries")
    gate.close()
    return {"wait": waits, "deliveries": [crowd.deliveries]}
