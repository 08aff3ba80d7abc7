"""What a client sends again, because it cannot know that the server has it, is there once (``spec/protocol.md`` 5.4).

Real clients do this only when a connection is lost at the wrong moment; here it is done at every moment: on a new
connection, beside an old one, after a crash of the server, with and without an acknowledgement.
"""

from collections.abc import Sequence

import pytest
from raw_sync import Login, RawSync, log_in, sync_path, upgrade_request
from server_process import ServerProcess
from sync_neighbours import GoodClient, new_object, new_table
from sync_verdicts import entry

from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    COLLECTION_LIST,
    TABLE_TOP_LEVEL,
    TYPE_INT,
    AddColumn,
    AddTable,
    ArrayInsert,
    Changeset,
    CreateObject,
    Payload,
)
from realmserver.realms.requests import DownloadCursor, SaltedVersion, UploadCursor, UploadEntry
from realmserver.realms.values import Values
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c

pytestmark = pytest.mark.system

PATH = '"sent again"'


class Author:
    """One client file. Its versions begin at 2, and it does not learn what others write but by :meth:`learn`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.known = SaltedVersion()
        self.login: Login = log_in(port)
        with self._connect() as connection:
            self.file = connection.bind(PATH)

    def _connect(self) -> RawSync:
        return RawSync(self._port, upgrade_request(sync_path(self.login.access_token)))

    def connect(self) -> RawSync:
        """A new connection, with BIND and IDENT already sent."""
        connection = self._connect()
        connection.rejoin(PATH, self.file, DownloadCursor(self.known.version, 0), self.known)
        return connection

    def learn(self) -> None:
        """Take all that is there, before anything was sent."""
        with self.connect() as connection:
            self.known = connection.catch_up().latest

    def send(self, connection: RawSync, entries: Sequence[UploadEntry], progress: int | None = None) -> None:
        """One UPLOAD, and no waiting."""
        connection.upload(entries, UploadCursor(progress or entries[-1].client_version, self.known.version))

    def acknowledged(self, connection: RawSync, version: int) -> None:
        """Wait until the server says that it has this version, and has looked at all that was sent."""
        while (upload := connection.expect(s2c.Download).head.upload).client_version < version:
            pass
        assert upload == UploadCursor(version, self.known.version)
        connection.send_message(c2s.Mark(1, 1).encode())
        connection.expect(s2c.Mark)


def changesets() -> list[UploadEntry]:
    """Client versions 2 to 6; no two are the same."""
    return [entry(2, 0, new_table()), *(entry(version, 0, new_object(version)) for version in range(3, 7))]


def new_list() -> bytes:
    """A changeset: an object with an empty list."""
    column = AddColumn("Lists", "numbers", TYPE_INT, False, COLLECTION_LIST)
    made = [AddTable("Lists", TABLE_TOP_LEVEL, "_id", TYPE_INT), column, CreateObject("Lists", (TYPE_INT, 1))]
    return encode(Changeset(made))


def insert(place: int, number: int) -> bytes:
    """A changeset: ``number`` is put at the end of the list, which has ``place`` elements."""
    edit = ArrayInsert("Lists", (TYPE_INT, 1), "numbers", [place], Payload(TYPE_INT, number), place)
    return encode(Changeset([edit]))


def check_history(author: Author, port: int, expected: Sequence[UploadEntry]) -> None:
    """The Realm holds just this, in this order."""
    reader = GoodClient(port, author.login, PATH)
    held = [each.changeset for _, each in sorted(reader.log.items())]
    assert held == [each.changeset for each in expected], "what was acknowledged is not there once, in order"
    assert reader.version == len(expected)
    reader.close()


@pytest.fixture
def port(server_process: ServerProcess) -> int:
    server_process.start()
    return server_process.port


def test_on_a_new_connection(port: int) -> None:
    author, entries = Author(port), changesets()
    for _ in range(3):
        with author.connect() as connection:
            author.send(connection, entries[:2])
            author.send(connection, entries[2:])
            author.acknowledged(connection, 6)
    check_history(author, port, entries)


def test_in_other_portions_and_together_with_what_is_new(port: int) -> None:
    author, entries = Author(port), changesets()
    for first, last in [(0, 1), (0, 3), (1, 3), (2, 4), (0, 5)]:
        with author.connect() as connection:
            author.send(connection, entries[first:last])
            author.acknowledged(connection, max(entries[last - 1].client_version, 2))
    check_history(author, port, entries)


def test_while_it_is_still_under_way_on_a_connection_that_is_left(port: int) -> None:
    author, entries = Author(port), changesets()
    connections = [author.connect() for _ in range(4)]
    for connection in connections:
        author.send(connection, entries[:3])
        author.send(connection, entries[3:])
    with author.connect() as last:
        author.send(last, entries)
        author.acknowledged(last, 6)
    for connection in connections:
        connection.close()
    check_history(author, port, entries)


def test_after_every_reset_of_the_connection(port: int) -> None:
    author, entries = Author(port), changesets()
    for count in range(1, len(entries) + 1):
        connection = author.connect()
        author.send(connection, entries[:count])
        connection.reset()
    with author.connect() as last:
        author.send(last, entries)
        author.acknowledged(last, 6)
    check_history(author, port, entries)


def test_after_a_crash_what_was_acknowledged(server_process: ServerProcess, port: int) -> None:
    author, entries = Author(port), changesets()
    for count in range(1, len(entries) + 1):
        with author.connect() as connection:
            author.send(connection, entries[:count])
            author.acknowledged(connection, count + 1)
            server_process.kill()
        server_process.start()
        check_history(author, port, entries[:count])
    with author.connect() as connection:
        author.send(connection, entries)
        author.acknowledged(connection, 6)
    check_history(author, port, entries)


def test_after_a_crash_what_was_not_acknowledged(server_process: ServerProcess, port: int) -> None:
    author, entries = Author(port), changesets()
    for count in range(1, len(entries) + 1):
        with author.connect() as connection:
            for each in entries[:count]:
                author.send(connection, [each])
            server_process.kill()
        server_process.start()
    with author.connect() as connection:
        author.send(connection, entries)
        author.acknowledged(connection, 6)
    check_history(author, port, entries)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_version_that_is_there_does_not_change_when_it_comes_with_other_bytes(
    server_process: ServerProcess, port: int, is_restarted: bool
) -> None:
    author, entries = Author(port), changesets()
    with author.connect() as connection:
        author.send(connection, entries[:3])
        author.acknowledged(connection, 4)
        if is_restarted:
            server_process.kill()
    if is_restarted:
        server_process.start()
    with author.connect() as connection:
        other = [entry(each.client_version, 0, new_object(1000 + each.client_version)) for each in entries[1:3]]
        author.send(connection, other)
        author.send(connection, entries[3:])
        author.acknowledged(connection, 6)
    check_history(author, port, entries)


def test_after_a_crash_a_client_that_is_behind_is_merged_as_before(server_process: ServerProcess, port: int) -> None:
    """Two edit a list and do not hear of each other. An edit of the second is about the list as the second has it: the
    server must still know how the first's edits look from there, after they were merged with earlier ones."""
    first, second = Author(port), Author(port)
    with first.connect() as connection:
        first.send(connection, [entry(2, 0, new_list())])
        first.acknowledged(connection, 2)
    second.learn()
    with first.connect() as connection:
        first.send(connection, [entry(3, 0, insert(0, 11)), entry(4, 0, insert(1, 12))])
        first.acknowledged(connection, 4)
    for place in range(2):
        with second.connect() as connection:
            second.send(connection, [entry(2 + place, second.known.version, insert(place, 21 + place))])
            second.acknowledged(connection, 2 + place)
            server_process.kill()
        server_process.start()
    reader, values = GoodClient(port, first.login, PATH), Values()
    for _, each in sorted(reader.log.items()):
        values.apply(decode(each.changeset))
    reader.close()
    assert values.state() == {"Lists": [[1, {"_id": 1, "numbers": [11, 12, 21, 22]}]]}


def test_progress_alone_counts_as_integrated(server_process: ServerProcess, port: int) -> None:
    """A client promises that nothing lies between its last changeset and its progress: a version that comes below it
    was there before."""
    author, entries = Author(port), changesets()
    with author.connect() as connection:
        author.send(connection, entries[:2])
        author.send(connection, [], progress=4)
        author.acknowledged(connection, 3)
        server_process.restart()
    with author.connect() as connection:
        author.send(connection, entries[2:3])
        author.send(connection, entries[3:])
        author.acknowledged(connection, 6)
    check_history(author, port, [*entries[:2], *entries[3:]])
