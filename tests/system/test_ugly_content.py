"""Ugly content: well-formed uploads that are meant to cost, in Realms of their own.

Sizes that lie on every level, paths and collections as deep as can be, a million tiny instructions in one upload and in
many. While the server works on them, two good clients of another Realm go on; its memory is bounded by what was sent,
not by what it claims to be.
"""

import threading
import zlib
from collections.abc import Iterator
from typing import Final

import pytest
from raw_sync import RawSync
from sync_neighbours import SHARED, TIMESTAMP, GoodClient, Site, serving
from sync_verdicts import BUG, VIOLATION, check_end, check_session_error, content, entry

from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    COLLECTION_LIST,
    COLLECTION_SINGLE,
    TABLE_TOP_LEVEL,
    TYPE_DICTIONARY,
    TYPE_INT,
    TYPE_NULL,
    AddColumn,
    AddInteger,
    AddTable,
    Changeset,
    CreateObject,
    Instruction,
    PathElement,
    Payload,
    Update,
)
from realmserver.changeset.reader import MAX_PATH
from realmserver.realms.requests import UploadCursor
from realmserver.sync import server_messages as s2c
from realmserver.sync.syntax import MAX_UPLOAD

pytestmark = pytest.mark.system

MEBIBYTE: Final = 1 << 20
MILLION: Final = 1_000_000
KEY: Final = (TYPE_INT, 1)

LONG: Final = 300.0
"""Seconds that a million instructions may take on a busy machine; a tenth of it where all is well."""

INSTRUCTION_MEMORY: Final = 500
"""Bytes of memory that one instruction may take while its changeset is worked on."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("content")) as site:
        yield site


@pytest.fixture
def site(house: Site) -> Iterator[Site]:
    """The server; whatever a test does to it, its good clients go on."""
    yield house
    house.neighbours.talk()


def bytes_of(*instructions: Instruction) -> bytes:
    return encode(Changeset(list(instructions)))


def upload_message(body: bytes, client_version: int, *, size: int | None = None) -> bytes:
    """An UPLOAD with a compressed ``body``, which says that it inflates to ``size`` bytes."""
    packed = zlib.compress(body, 6)
    head = (len(body) if size is None else size, len(packed), client_version)
    return b"upload 1 1 %d %d %d 0 0\n" % head + packed


# Sizes that lie.


@pytest.mark.parametrize("claimed", [1 << 20, (1 << 31) - 1, (1 << 62) - 1])
def test_an_entry_that_claims_more_than_its_body_holds_ends_the_connection(site: Site, claimed: int) -> None:
    before = site.forget_peak()
    with site.attacker() as attacker:
        attacker.join(SHARED)
        attacker.send_message(upload_message(b"2 0 %d 0 %d " % (TIMESTAMP, claimed) + bytes(1000), 2))
        check_end(attacker, 103, VIOLATION)
    assert site.peak_memory() - before < 16 * MEBIBYTE


@pytest.mark.parametrize(
    "changeset",
    [
        pytest.param(b"\x3f\x00\xef\xff\xff\x07T", id="a name of 16 MB"),
        pytest.param(b"\x3f\x00\xff\xff\xff\xff\xff\xff\xff\xff\x3fT", id="a name of 2^62 bytes"),
        pytest.param(b"\x3f\x00\x01T\x04\x00\x01\x01\x00\xff\xff\xff\xff\x0f", id="a path of 2^32 elements"),
        pytest.param(b"\x3f\x00\x01T\x04\x00\x01\x01\x00\x00\x04\xef\xff\xff\x07x", id="a binary of 16 MB"),
        pytest.param(b"\x3f\xff\xff\xff\xff\x0f\x01T", id="a string with number 2^32"),
        pytest.param(
            b"\x3f\x00\x01T\x08\x00\x01\x01\x00\x01\xff\xff\xff\xff\x0f\x01\x01\xff\xff\xff\xff\x0f", id="an index"
        ),
    ],
)
def test_a_changeset_that_claims_more_than_it_holds_is_refused_at_no_cost(site: Site, changeset: bytes) -> None:
    before = site.forget_peak()
    with site.attacker() as attacker:
        attacker.join('"claims"')
        attacker.upload([entry(2, 0, changeset)], UploadCursor(2, 0))
        check_session_error(attacker, 212, BUG)
    assert site.peak_memory() - before < 16 * MEBIBYTE


def test_bombs_from_many_at_once_cost_no_more_than_one(site: Site) -> None:
    """They are inflated one after the other, and each is gone before the next."""
    count, blocks = 6, 128
    deflater = zlib.compressobj(9)
    head = deflater.compress(b"") + deflater.flush(zlib.Z_FULL_FLUSH)
    bomb = head + (deflater.compress(bytes(MEBIBYTE)) + deflater.flush(zlib.Z_FULL_FLUSH)) * blocks
    message = b"upload 1 1 %d %d 2 0 0\n" % (MAX_UPLOAD, len(bomb)) + bomb
    before = site.forget_peak()
    attackers = [site.attacker() for _ in range(count)]
    for attacker in attackers:
        attacker.join(SHARED)
    for attacker in attackers:
        attacker.send_message(message)
    site.neighbours.talk()
    for attacker in attackers:
        check_end(attacker, 101, content("Transient", try_again=True))
        attacker.close()
    assert site.peak_memory() - before < MAX_UPLOAD + count * 2 * len(bomb) + 32 * MEBIBYTE


# Deep places.


def mixed_table() -> bytes:
    """A changeset: class Deep with an integer, a list of integers and a Mixed property, and its object 1."""
    return bytes_of(
        AddTable("Deep", TABLE_TOP_LEVEL, "_id", TYPE_INT),
        AddColumn("Deep", "n", TYPE_INT, False, COLLECTION_SINGLE),
        AddColumn("Deep", "list", TYPE_INT, False, COLLECTION_LIST),
        AddColumn("Deep", "any", TYPE_NULL, True, COLLECTION_SINGLE),
        CreateObject("Deep", KEY),
    )


def nested(depth: int) -> bytes:
    """A changeset: dictionaries within dictionaries, so many in all."""
    path: list[PathElement] = []
    instructions = []
    for _ in range(depth):
        instructions.append(Update("Deep", KEY, "any", list(path), Payload(TYPE_DICTIONARY)))
        path.append("k")
    instructions.append(Update("Deep", KEY, "any", list(path), Payload(TYPE_INT, 7)))
    return bytes_of(*instructions)


def test_collections_as_deep_as_a_path_may_be_are_stored_and_read(site: Site) -> None:
    path = '"deep"'
    author = GoodClient(site.port, site.login, path)
    author.write(mixed_table())
    author.write(nested(MAX_PATH))
    author.close()
    reader = GoodClient(site.port, site.login, path)
    assert [each.changeset for each in reader.log.values()] == [mixed_table(), nested(MAX_PATH)]
    reader.close()


def test_a_deeper_path_and_one_into_nowhere_are_refused(site: Site) -> None:
    with site.attacker() as attacker:
        for number, changeset in enumerate((nested(MAX_PATH + 1), nested(3000), nested(3)[:-40])):
            attacker.join(f'"deeper {number}"')
            attacker.upload([entry(2, 0, mixed_table()), entry(3, 0, changeset)], UploadCursor(3, 0))
            check_session_error(attacker, 212, BUG)
        nowhere = bytes_of(Update("Deep", KEY, "any", ["k"] * MAX_PATH, Payload(TYPE_INT, 7)))
        attacker.join('"nowhere"')
        attacker.upload([entry(2, 0, mixed_table()), entry(3, 0, nowhere)], UploadCursor(3, 0))
        check_session_error(attacker, 212, BUG)


# Many small things.


def increments(count: int) -> bytes:
    """A changeset: so many increments of one integer."""
    one = bytes_of(AddInteger("Deep", KEY, "n", [], 1))
    two = bytes_of(AddInteger("Deep", KEY, "n", [], 1), AddInteger("Deep", KEY, "n", [], 1))
    return one + two[len(one) :] * (count - 1)


class Talk:
    """The good clients talk without a pause, in a thread of their own, until :meth:`stop`; what goes wrong is told."""

    def __init__(self, site: Site) -> None:
        self.rounds = 0
        self._site = site
        self._is_over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._is_over.is_set():
                self._site.neighbours.talk()
                self.rounds += 1
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self._error = error

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join(LONG)
        if self._error is not None:
            raise self._error


def wait_for_upload(client: RawSync, version: int) -> None:
    """Until the server has integrated the client's ``version``."""
    client.socket.settimeout(LONG)
    while client.expect(s2c.Download).head.upload.client_version < version:
        pass


def test_a_million_instructions_in_one_upload_are_taken_while_others_go_on(site: Site) -> None:
    changeset = increments(MILLION)
    before = site.forget_peak()
    with site.attacker() as busy:
        busy.join('"million"')
        busy.upload([entry(2, 0, mixed_table())], UploadCursor(2, 0))
        wait_for_upload(busy, 2)
        talk = Talk(site)
        busy.upload([entry(3, 0, changeset)], UploadCursor(3, 0))
        wait_for_upload(busy, 3)
        talk.stop()
    assert talk.rounds > 1
    assert site.peak_memory() - before < MILLION * INSTRUCTION_MEMORY + 8 * len(changeset)


def test_a_million_instructions_in_many_uploads_are_taken_while_others_go_on(site: Site) -> None:
    uploads, entries, count = 20, 1000, 50
    changeset = increments(count)
    before = site.forget_peak()
    with site.attacker() as busy:
        busy.join('"many"')
        busy.upload([entry(2, 0, mixed_table())], UploadCursor(2, 0))
        talk = Talk(site)
        version = 2
        for _ in range(uploads):
            made = [entry(version + number, 0, changeset) for number in range(1, entries + 1)]
            version += entries
            busy.upload(made, UploadCursor(version, 0))
        wait_for_upload(busy, version)
        talk.stop()
    assert talk.rounds > 1
    assert uploads * entries * count == MILLION
    assert site.peak_memory() - before < 256 * MEBIBYTE


def test_a_bad_instruction_after_a_million_good_ones_leaves_no_trace(site: Site) -> None:
    path = '"almost"'
    changeset = increments(MILLION // 5) + b"\x0b\x00"
    with site.attacker() as attacker:
        file, _ = attacker.join(path)
        attacker.upload([entry(2, 0, mixed_table()), entry(3, 0, changeset)], UploadCursor(3, 0))
        attacker.socket.settimeout(LONG)
        check_session_error(attacker, 212, BUG)
        attacker.rejoin(path, file)
        assert attacker.expect(s2c.Download).head.upload == UploadCursor()
    reader = GoodClient(site.port, site.login, path)
    assert reader.log == {}
    reader.close()


# What is left of it all.


def test_the_realm_holds_what_its_good_clients_wrote_and_nothing_else(site: Site) -> None:
    assert site.neighbours.version > 2
    site.neighbours.check_log()


def test_the_log_tells_no_secret_and_of_no_fault_of_ours(site: Site) -> None:
    site.check_log()
