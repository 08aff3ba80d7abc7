"""What clients are told by a server that was restored from a backup: every case of ``spec/protocol.md`` 4.6, in the
form that each protocol version needs, and that they are in sync again after the reset that they are told to do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from raw_sync import Login, RawSync, UpgradeFailed, log_in, sync_path, upgrade_request
from server_process import ServerProcess
from sync_neighbours import GoodClient, new_object, new_table
from sync_verdicts import RESET, check_error, entry
from test_backup import restore, run

from realmserver.realms.requests import DownloadCursor, SaltedVersion, UploadCursor
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c

pytestmark = pytest.mark.system

PATH: Final = '"restored"'

PLAIN: Final = ("com.mongodb.realm-sync/2", "com.mongodb.realm-sync/3")
"""Clients that know ERROR only."""

SUBPROTOCOLS: Final = (*PLAIN, *(f"com.mongodb.realm-sync{mark}" for mark in ("/4", "/6", "#7", "#8", "#10", "#14")))


class Restored:
    """A server that loses what came after its backup (:meth:`restore`), and the client files that it had before.

    The Realm's log is three changes of ``author`` in the backup; ``author`` made two more before the disaster.
    """

    def __init__(self, server: ServerProcess, backup: Path) -> None:
        self.server = server
        self._backup = backup
        server.start()
        self.login: Login = log_in(server.port)
        with self.connect() as client:
            self.author, _ = client.join(PATH)
            self.upload(client, 2, new_table())
            self.upload(client, 3, new_object(1))
            self.kept = self.upload(client, 4, new_object(2))
            self.silent = self.bind()
            done = run("realm-backup", server.root, backup)
            assert done.returncode == 0, done.stderr
            self.upload(client, 5, new_object(3))
            self.lost = self.upload(client, 6, new_object(4))
        self.late = self.bind()  # after the backup, and never downloaded
        with self.connect() as client:
            self.late_reader, head = client.join(PATH)
            assert head.latest == self.lost

    def restore(self) -> None:
        """The disaster. May come again."""
        self.server.kill()
        restore(self.server, self._backup)
        self.server.start()

    def connect(self, subprotocol: str = SUBPROTOCOLS[-1]) -> RawSync:
        return RawSync(self.server.port, upgrade_request(sync_path(self.login.access_token), subprotocol))

    def bind(self) -> s2c.Ident:
        """A new client file that has not downloaded anything."""
        with self.connect() as client:
            return client.bind(PATH)

    def upload(self, client: RawSync, version: int, changeset: bytes) -> SaltedVersion:
        """Upload the author's next change and wait until it is acknowledged; the server's newest version."""
        client.upload([entry(version, 0, changeset)], UploadCursor(version, 0))
        while (head := client.expect(s2c.Download).head).upload.client_version < version:
            pass
        return head.latest

    def check(
        self,
        code: int,
        file: s2c.Ident,
        download: DownloadCursor | None = None,
        latest: SaltedVersion | None = None,
    ) -> None:
        """A client that comes with these cursors is told to reset, whatever protocol it speaks."""
        for subprotocol in SUBPROTOCOLS:
            with self.connect(subprotocol) as client:
                client.rejoin(PATH, file, download, latest)
                told = client.next()
                if subprotocol in PLAIN:
                    assert isinstance(told, s2c.Error), told
                    assert (told.code, told.try_again, told.session) == (code, False, 1)
                else:
                    check_error(told, code, 1, RESET)
                client.send_message(c2s.Unbind(1).encode())
                assert client.is_alive()

    def check_reset(self, expected: list[bytes]) -> None:
        """After the reset: a fresh copy under a new file ident has all there is, and uploads."""
        client = GoodClient(self.server.port, self.login, PATH)
        assert [each.changeset for _, each in sorted(client.log.items())] == expected
        client.write(new_object(client.version + 100))
        client.mark()
        client.close()


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restored]:
    directory = tmp_path_factory.mktemp("restored")
    made = Restored(ServerProcess(directory), directory / "backup")
    yield made
    made.server.kill()


@pytest.fixture
def restored(before: Restored) -> Restored:
    """As it is after the disaster, whatever another test has done since."""
    before.restore()
    return before


def kept() -> list[bytes]:
    """What the backup holds."""
    return [new_table(), new_object(1), new_object(2)]


def test_who_is_not_ahead_goes_on_without_an_error(restored: Restored) -> None:
    with restored.connect() as client:
        client.rejoin(PATH, restored.author, DownloadCursor(3, 4), restored.kept)
        client.catch_up()
        restored.upload(client, 5, new_object(7))
    with restored.connect() as client:
        client.rejoin(PATH, restored.silent)
        assert client.catch_up().cursor.server_version == 4


def test_a_client_file_given_out_after_the_backup_is_208(restored: Restored) -> None:
    restored.check(208, restored.late)
    restored.check_reset(kept())


def test_a_client_file_given_out_after_the_backup_that_has_seen_more_is_209(restored: Restored) -> None:
    restored.check(209, restored.late_reader, DownloadCursor(5, 0), restored.lost)
    restored.check_reset(kept())


def test_a_client_that_knows_a_later_version_is_209(restored: Restored) -> None:
    restored.check(209, restored.author, DownloadCursor(5, 6), restored.lost)
    restored.check(209, restored.author, DownloadCursor(3, 4), restored.lost)
    restored.check_reset(kept())


def test_a_client_whose_changes_are_lost_is_210(restored: Restored) -> None:
    restored.check(210, restored.author, DownloadCursor(3, 6), restored.kept)
    restored.check_reset(kept())


def test_a_client_file_that_somebody_else_has_now_is_211(restored: Restored) -> None:
    again = restored.bind()
    assert again.ident == restored.late.ident
    assert again.salt != restored.late.salt
    restored.check(211, restored.late)
    restored.check_reset(kept())


def test_versions_made_anew_after_the_restore_are_211_for_who_has_the_old_ones(restored: Restored) -> None:
    with restored.connect() as client:
        client.rejoin(PATH, restored.author, DownloadCursor(3, 4), restored.kept)
        client.catch_up()
        restored.upload(client, 5, new_object(8))
        newest = restored.upload(client, 6, new_object(9))
    assert newest.version == restored.lost.version
    assert newest.salt != restored.lost.salt
    restored.check(211, restored.author, DownloadCursor(5, 6), restored.lost)
    restored.check_reset([*kept(), new_object(8), new_object(9)])


def test_a_realm_that_did_not_exist_yet_is_209_or_208(restored: Restored) -> None:
    """Whoever downloaded its history gets 209 first (3.4), the others 208."""
    elsewhere = '"younger than the backup"'
    for cursors, code in (((DownloadCursor(1, 0), SaltedVersion(1, 77)), 209), ((None, None), 208)):
        with restored.connect() as client:
            client.rejoin(elsewhere, s2c.Ident(1, 2, 4711), *cursors)
            check_error(client.next(), code, 1, RESET)


def test_a_user_who_registered_after_the_backup_is_unauthorized_and_nobody_else(
    server_process: ServerProcess, tmp_path: Path
) -> None:
    server_process.start()
    old = log_in(server_process.port)
    assert run("realm-backup", server_process.root, tmp_path / "backup").returncode == 0
    young = log_in(server_process.port)
    server_process.kill()
    restore(server_process, tmp_path / "backup")
    server_process.start()
    with RawSync(server_process.port, upgrade_request(sync_path(old.access_token))) as client:
        assert client.is_alive()
    with pytest.raises(UpgradeFailed) as refused:
        RawSync(server_process.port, upgrade_request(sync_path(young.access_token)))
    assert refused.value.answer.status == 401
