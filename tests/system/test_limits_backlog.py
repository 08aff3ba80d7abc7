"""Uploads that wait because the disk of their Realm does not move: who is refused, who is no longer read from, and that
all of it is made good when the disk goes on. The good clients (``site``), in a Realm of their own, talk meanwhile.
"""

import select
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import lmdb
import pytest
from raw_sync import RawSync
from sync_neighbours import TIMESTAMP, Site, new_object, new_table, serving
from sync_verdicts import check_error, content
from test_limits import LATER, eventually, figures, refused

from realmserver.realms.requests import UploadCursor, UploadEntry
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c

pytestmark = pytest.mark.system

MEBIBYTE: Final = 1 << 20
SETTINGS: Final = "limits: {upload_backlog: 17, upload_backlog_per_realm: 17}\n"
PIECE: Final = MEBIBYTE // 5
"""Bytes of one upload: few enough to be decoded and integrated as light work, which is not done one at a time."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("backlog"), SETTINGS) as site:
        yield site


@pytest.fixture
def site(house: Site) -> Iterator[Site]:
    """The server; whatever a test does to it, its good clients go on."""
    yield house
    house.neighbours.talk()


class Writer:
    """A client that uploads more than is good, to the Realm ``name``."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.path = f'"{name}"'
        self.sync: RawSync = site.attacker()
        self.file, _ = self.sync.join(self.path)
        self.version = 1

    def upload(self, *sizes: int) -> None:
        """Send uploads with an object of so many bytes each; the first of all makes the class."""
        for size in sizes:
            self.version += 1
            changeset = new_object(self.file.ident * 10_000 + self.version, bytes(size)) if size else new_table()
            entry = UploadEntry(self.version, 0, TIMESTAMP, 0, changeset)
            self.sync.upload([entry], UploadCursor(self.version, 0))

    def wait_until_all_is_durable(self) -> None:
        """And read what was asked for meanwhile."""
        while True:
            message = self.sync.next()
            if isinstance(message, s2c.Download):
                if message.head.upload.client_version >= self.version:
                    return
            else:
                assert isinstance(message, s2c.Pong), message

    def come_again(self) -> None:
        """Begin anew, as a client does that was told to, with all that is not acknowledged."""
        self.sync.close()
        self.sync = self.site.attacker()
        self.sync.rejoin(self.path, self.file)
        reached = self.sync.expect(s2c.Download).head.upload.client_version
        sizes = [0 if version == 2 else PIECE for version in range(reached + 1, self.version + 1)]
        self.version = reached
        self.upload(*sizes)
        self.wait_until_all_is_durable()

    def is_heard(self) -> bool:
        """Whether the server answers a PING within a second."""
        self.sync.send_message(c2s.Ping(7, 0).encode())
        return bool(select.select([self.sync.socket], [], [], 1)[0]) and self.sync.next() == s2c.Pong(7)


@contextmanager
def disk_held(site: Site, *names: str) -> Iterator[None]:
    """Nothing can be committed to these Realms meanwhile: somebody else has their write lock."""
    with ExitStack() as stack:
        for name in names:
            directory: Path = site.process.root / f"user_data/__partition/my-app/string-{name}.realm"
            env = stack.enter_context(lmdb.open(str(directory), max_dbs=8))
            stack.enter_context(env.begin(write=True))
        yield


def pending(site: Site) -> float:
    """Bytes of uploads that wait."""
    return figures(site.port)["ros_sync_upload_pending_bytes"]


def test_beyond_what_may_wait_for_one_realm_uploads_are_put_off(site: Site) -> None:
    one, other = Writer(site, "busy"), Writer(site, "busy")
    one.upload(0)
    one.wait_until_all_is_durable()
    with disk_held(site, "busy"):
        one.upload(*[PIECE] * 70)
        eventually(lambda: pending(site) > 69 * PIECE)
        other.upload(*[PIECE] * 20)
        check_error(other.sync.expect(s2c.JsonError), 201, 1, content("Transient", try_again=True) | LATER)
        assert pending(site) <= 17 * MEBIBYTE
        assert refused(site, "upload_backlog_per_realm") == 1
        site.neighbours.talk()
    one.wait_until_all_is_durable()
    other.come_again()
    assert pending(site) == 0
    assert other.sync.is_alive()


def test_while_too_much_waits_in_all_only_those_are_read_from_who_have_nothing_there(site: Site) -> None:
    names = ("first", "second", "third", "fourth")
    writers = [Writer(site, name) for name in names]
    for writer in writers:
        writer.upload(0)
        writer.wait_until_all_is_durable()
    first, second, third, fourth = writers
    occupying = [Writer(site, name) for name in names]
    before = refused(site, "upload_backlog")
    with disk_held(site, *names):
        for writer in occupying:  # each Realm has work that waits for the disk, and is light: heavy work is not held up
            writer.upload(1)
        eventually(lambda: pending(site) > 0)
        first.upload(*[PIECE] * 50)
        second.upload(*[PIECE] * 50)
        eventually(lambda: refused(site, "upload_backlog") > before)
        assert not first.is_heard()
        assert not second.is_heard()
        site.neighbours.talk()
        third.upload(14 * MEBIBYTE)  # one message, which was not read before there was something to wait for
        eventually(lambda: pending(site) > 30 * MEBIBYTE)
        fourth.upload(14 * MEBIBYTE)
        check_error(fourth.sync.expect(s2c.JsonError), 201, 1, content("Transient", try_again=True) | LATER)
        assert pending(site) <= 34 * MEBIBYTE
        assert refused(site, "upload_backlog") > before + 1
        site.neighbours.talk()
    for writer in (*occupying, first, second, third):
        writer.wait_until_all_is_durable()
        assert writer.sync.is_alive()
    fourth.come_again()
    assert pending(site) == 0
