"""How the workloads count what comes back, told by hand what a server would say."""

from itertools import pairwise

import pytest

from bench.cases import Size
from bench.load.client import Session
from bench.load.content import INSTRUCTIONS_EACH, edits, upload_one
from bench.load.wire import Loop, Trouble
from bench.workloads import WORKLOADS
from bench.workloads.fanout import Crowd
from bench.workloads.latency import Room
from bench.workloads.merge import Kind, when_all, written
from bench.workloads.upload import Done, Writer
from realmserver.changeset.decode import decode
from realmserver.changeset.instructions import ObjectInstruction


class NoWire:
    """Remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)


class Peer:
    """A session without a server; ``wire`` has what it sent."""

    def __init__(self) -> None:
        self.session = Session("/a", "token")
        self.wire = NoWire()
        self.session.wire = self.wire  # type: ignore[assignment]

    def told(self, version: int, uploaded: int | None = None) -> None:
        """A DOWNLOAD comes."""
        uploaded = self.session.uploaded if uploaded is None else uploaded
        head = b"download 1 %d 0 %d 77 %d 0 0 0 0 0\n" % (version, version, uploaded)
        self.session.downloaded(head.split(b" ", 8))


class NoLoop(Loop):
    """Only knows whether it was stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.stops: list[str] = []

    def stop(self) -> None:
        self.stops.append("stopped")


def test_a_writer_keeps_no_more_on_the_way_than_it_may() -> None:
    peer, loop = Peer(), NoLoop()
    uploads = [upload_one(version, 0, b"") for version in range(3, 8)]
    writer = Writer(peer.session, uploads, 2)
    writer.start(Done(loop, 1))
    data = [upload.data for upload in uploads]
    assert peer.wire.sent == [data[0] + data[1]]
    peer.told(2, 3)
    assert peer.wire.sent[1:] == [data[2]]
    peer.told(4, 5)
    assert peer.wire.sent[2:] == [data[3] + data[4]]
    assert not loop.stops
    peer.told(6, 7)
    assert len(loop.stops) == 1
    assert len(writer.waits) == 5


def test_an_acknowledgement_of_what_is_not_in_the_realm_ends_the_run() -> None:
    peer = Peer()
    Writer(peer.session, [upload_one(3, 0, b"")], 1).start(Done(NoLoop(), 1))
    with pytest.raises(Trouble, match="version 3 is acknowledged at server version 1"):
        peer.told(1, 3)


def test_a_version_is_complete_when_everyone_has_it() -> None:
    readers, writer = [Peer(), Peer()], Peer()
    complete: list[int] = []
    last: list[bool] = []
    crowd = Crowd(1, 3)
    for reader in readers:
        crowd.join(reader.session, crowd.report)
    crowd.join(writer.session, crowd.advance)
    crowd.on_complete = lambda: complete.append(crowd.complete)
    crowd.on_last = lambda: last.append(True)
    readers[0].told(1)  # what it has already
    readers[0].told(2)
    readers[1].told(3)  # two at once
    assert not complete
    writer.told(3, 4)
    assert complete == [2]
    readers[0].told(4)
    assert complete == [2, 3]
    assert not last
    readers[1].told(4)
    writer.told(4, 5)
    assert (complete, last, crowd.deliveries) == ([2, 3, 4], [True], 6)


def test_readers_report_what_they_have_and_the_versions_that_makes() -> None:
    reader = Peer()
    crowd = Crowd(1, 3)
    crowd.join(reader.session, crowd.report)
    reader.told(2)
    reader.told(4)
    assert [sent[6:] for sent in reader.wire.sent] == [b"upload 1 0 0 0 3 2 2\n", b"upload 1 0 0 0 4 4 4\n"]


def test_only_the_others_wait_for_a_changeset() -> None:
    peers = [Peer(), Peer(), Peer()]
    waits: list[float] = []
    room = Room([peer.session for peer in peers], 1, waits)
    for peer in peers:
        peer.told(1)
    room.write(0, b"")
    peers[0].told(2, 3)
    assert not waits
    peers[1].told(2)
    peers[2].told(2)
    assert len(waits) == 2
    room.write(1, b"")
    room.write(2, b"")
    for peer in peers:
        peer.told(4)
    assert len(waits) == 2 + 2 * 2


def test_who_has_the_version_already_is_not_waited_for() -> None:
    ready, late, loop = Peer(), Peer(), NoLoop()
    ready.told(5)
    late.told(3)

    def run(waiting_for: str, patience: float = 0) -> None:
        assert waiting_for == "version 5"
        late.told(4)
        assert not loop.stops
        late.told(5)
        assert len(loop.stops) == 1

    loop.run = run  # type: ignore[method-assign]
    when_all(loop, [ready.session, late.session], 5)
    when_all(loop, [ready.session], 5)


def places(changeset: bytes) -> set[tuple[object, str]]:
    found: set[tuple[object, str]] = set()
    for each in decode(changeset).instructions:
        assert isinstance(each, ObjectInstruction)
        found.add((each.key, getattr(each, "field", "")))
    return found


def test_writers_of_the_same_objects_meet_at_every_place_with_other_values() -> None:
    kind = Kind(2, 4, True, 50)
    one, other = written(kind, 0), written(kind, 1)
    assert set(map(len, map(places, one))) == {50}
    assert [places(each) for each in one] == [places(each) for each in other]
    assert not set(one) & set(other)
    assert len(set().union(*map(places, one))) == 200
    assert len(decode(edits(0, 0, 15, 50)).instructions) == INSTRUCTIONS_EACH


def test_writers_of_disjoint_objects_never_meet() -> None:
    kind = Kind(3, 4, False, 1_000)
    keys = [{key for each in written(kind, writer) for key, _ in places(each)} for writer in range(3)]
    assert not keys[0] & keys[1] | keys[1] & keys[2] | keys[0] & keys[2]
    assert [len(each) for each in keys] == [4 * 200] * 3
    assert len(decode(written(kind, 0)[0]).instructions) == 1_000


@pytest.mark.parametrize("size", ["full", "quick", "tiny"])
def test_every_case_has_a_name_of_its_own(size: Size) -> None:
    names = [(case.workload, case.name) for make in WORKLOADS.values() for case in make(size)]
    assert len(names) == len(set(names))
    assert {workload for workload, _ in names} == set(WORKLOADS)


def test_lines_double_their_work() -> None:
    cases = WORKLOADS["scaling"]("full")
    lines = {case.line for case in cases}
    assert len(lines) == 5
    for line in lines:
        works = [case.work for case in cases if case.line == line]
        assert len(works) == 4
        assert all(high == 2 * low for low, high in pairwise(works))
