"""Clients whose messages are well-formed and wrong: cursors, changesets, tokens and logins that cannot be.

Everything goes through a real server process, its port and a real login. After every test the good clients talk to each
other (``site``); the tests at the end read the Realm and the server's log.
"""

import gzip
import json
import random
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from raw_sync import Closed, RawSync, delete_user, log_in, log_out, register, upgrade_request
from sync_neighbours import SHARED, GoodClient, Site, new_object, new_table, serving
from sync_verdicts import (
    BUG,
    RESET,
    VIOLATION,
    check_error,
    check_session_error,
    entry,
)

from realmserver.auth.keys import Keys, make_keys, signed_wire_form
from realmserver.changeset.decode import decode
from realmserver.realms.requests import DownloadCursor, SaltedVersion, UploadCursor, UploadEntry
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c

pytestmark = pytest.mark.system

VECTORS: Final = Path(__file__).resolve().parents[2] / ".." / "shared" / "vectors"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("content"), "logging: {level: trace}\n") as site:
        yield site


@pytest.fixture
def site(house: Site) -> Iterator[Site]:
    """The server; whatever a test does to it, its good clients go on."""
    yield house
    house.neighbours.talk()


# Cursors that cannot be: spec/protocol.md 3.4 and 3.5.


class History:
    """A Realm with three versions and a client file that has integrated all of them and uploaded up to version 5."""

    def __init__(self, site: Site) -> None:
        self.path = f'"history {random.randrange(1 << 60)}"'
        self.site = site
        author = GoodClient(site.port, site.login, self.path)
        for changeset in (new_table(), new_object(1), new_object(2)):
            author.write(changeset)
        author.close()
        with site.attacker() as client:
            self.file, head = client.join(self.path)
            client.upload([], UploadCursor(5, 2), 2)
            assert client.is_alive()
        self.latest = head.latest
        self.here = DownloadCursor(3, 0)


@pytest.fixture(scope="module")
def history(house: Site) -> History:
    return History(house)


@pytest.mark.parametrize(
    ("row", "uploads", "code"),
    [
        (1, [([], (5, 0), 0), ([], (4, 0), 0)], 210),
        (2, [([], (2, 4), 0)], 209),
        (3, [([], (0, 1), 0)], 209),
        (5, [([], (5, 2), 0), ([], (6, 1), 0)], 209),
        (5, [([], (5, 2), 0), ([], (5, 3), 0)], 209),
        (6, [([], (2, 2), 2), ([], (3, 2), 1)], 209),
        (7, [([], (2, 0), 4)], 209),
        (8, [([entry(2), entry(2)], (2, 0), 0)], 210),
        (8, [([entry(3), entry(2)], (3, 0), 0)], 210),
        (8, [([], (5, 0), 0), ([entry(5)], (5, 0), 0)], 210),
        (9, [([entry(3, 2), entry(4, 1)], (4, 2), 0)], 209),
        (10, [([entry(3)], (2, 0), 0)], 210),
        (11, [([entry(3, 2)], (4, 1), 0)], 209),
        (11, [([entry(3, 2)], (3, 1), 0)], 209),
    ],
)
def test_an_upload_whose_cursors_cannot_be_demands_a_reset(
    site: Site, history: History, row: int, uploads: list[Any], code: int
) -> None:
    with site.attacker() as attacker:
        attacker.join(history.path)
        for entries, progress, locked in uploads:
            attacker.upload(entries, UploadCursor(*progress), locked)
        error = attacker.expect(s2c.JsonError)
        check_error(error, code, 1, RESET)
        assert f"rule {row}:" in str(error.content["message"])
        assert attacker.is_alive()


@pytest.mark.parametrize(
    ("row", "entries", "progress"),
    [(4, [], (6, 1)), (4, [], (3, 3)), (4, [], (5, 3)), (9, [entry(3, 3)], (6, 3))],
)
def test_an_upload_may_not_contradict_what_is_integrated(
    site: Site, history: History, row: int, entries: list[UploadEntry], progress: tuple[int, int]
) -> None:
    with site.attacker() as attacker:
        attacker.rejoin(history.path, history.file, history.here, history.latest)
        attacker.upload(entries, UploadCursor(*progress), 2)
        error = attacker.expect(s2c.JsonError)
        check_error(error, 209, 1, RESET)
        assert f"rule {row}:" in str(error.content["message"])
        assert attacker.is_alive()


def test_a_client_file_may_not_upload_for_another(site: Site, history: History) -> None:
    for origin in (1, 2, 999):
        with site.attacker() as attacker:
            attacker.join(history.path)
            attacker.upload([entry(2, 0, new_object(9), origin)], UploadCursor(2, 0))
            check_session_error(attacker, 216, VIOLATION)


def test_an_ident_that_cannot_be_demands_a_reset(site: Site, history: History) -> None:
    file, latest, here = history.file, history.latest, history.here
    stranger = s2c.Ident(1, 999_999, 1)
    cases: list[tuple[int, int, s2c.Ident, DownloadCursor, SaltedVersion]] = [
        (1, 209, file, here, SaltedVersion(4, latest.salt)),
        (1, 209, stranger, DownloadCursor(), SaltedVersion(4, 1)),
        (2, 208, stranger, DownloadCursor(), SaltedVersion()),
        (2, 208, s2c.Ident(1, 0, 0), DownloadCursor(), SaltedVersion()),
        (3, 211, s2c.Ident(1, file.ident, file.salt ^ 1), here, latest),
        (3, 211, s2c.Ident(1, file.ident, 0), here, latest),
        (3, 211, s2c.Ident(1, 1, 0), DownloadCursor(), SaltedVersion()),
        (4, 209, file, DownloadCursor(1, 0), latest),
        (6, 209, file, DownloadCursor(4, 0), latest),
        (7, 210, file, DownloadCursor(3, 6), latest),
        (8, 209, file, here, SaltedVersion(2, latest.salt)),
        (9, 211, file, here, SaltedVersion(3, latest.salt ^ 1)),
        (9, 211, file, here, SaltedVersion(3, 0)),
    ]
    with site.attacker() as attacker:
        for row, code, claimed, download, newest in cases:
            attacker.rejoin(history.path, claimed, download, newest)
            try:
                check_session_error(attacker, code, RESET)
            except AssertionError as error:
                raise AssertionError(f"row {row}: {claimed}, {download}, {newest}") from error
        attacker.rejoin(history.path, file, here, latest)
        assert attacker.expect(s2c.Download).head.upload == UploadCursor(5, 2)


def test_version_0_has_no_salt(site: Site, history: History) -> None:
    with site.attacker() as attacker:
        file = attacker.bind(history.path)
        attacker.send_message(c2s.Ident(1, file.ident, file.salt, DownloadCursor(), SaltedVersion(0, 1)).encode())
        check_session_error(attacker, 211, RESET)


def test_a_client_file_of_another_user_is_not_lent(site: Site, history: History) -> None:
    login = log_in(site.port)
    site.secrets |= {login.access_token, login.refresh_token}
    with site.attacker(login=login) as thief:
        thief.rejoin(history.path, history.file, history.here, history.latest)
        check_session_error(thief, 223, BUG)


# Changesets that are none.


def rejected() -> list[bytes]:
    with gzip.open(VECTORS / "malformed.jsonl.gz", "rt") as lines:
        cases = [json.loads(line) for line in lines]
    return [b64decode(case["changeset"]) for case in cases if not case["accepted"]]


def test_every_changeset_that_the_reference_rejects_is_212_and_leaves_no_trace(site: Site) -> None:
    changesets = rejected()
    assert len(changesets) > 100
    with site.attacker() as attacker:
        file, _ = attacker.join(SHARED)
        attacker.send_message(c2s.Unbind(1).encode())
        attacker.expect(s2c.Unbound)
        for number, changeset in enumerate(changesets):
            attacker.rejoin(SHARED, file)
            assert attacker.expect(s2c.Download).head.upload == UploadCursor()
            attacker.upload([entry(2, 0, changeset)], UploadCursor(2, 0))
            check_session_error(attacker, 212, BUG)
            if number % 20 == 0:
                site.neighbours.talk()


def test_a_bad_changeset_takes_the_good_ones_of_its_upload_with_it_and_no_others(site: Site) -> None:
    bad = b"\x3f\x00"
    with site.attacker() as attacker:
        file, _ = attacker.join(SHARED)
        for entries in (
            [(2, new_object(-1)), (3, bad)],
            [(2, bad), (3, new_object(-1))],
            [(2, new_object(-1)), (3, b"\xff")],
        ):
            attacker.upload([entry(version, 0, changeset) for version, changeset in entries], UploadCursor(3, 0))
            check_session_error(attacker, 212, BUG)
            attacker.rejoin(SHARED, file)
            assert attacker.expect(s2c.Download).head.upload == UploadCursor()


def test_a_changeset_that_cannot_be_applied_is_212(site: Site) -> None:
    with site.attacker() as attacker:
        attacker.join('"empty"')
        attacker.upload([entry(2, 0, new_object(1))], UploadCursor(2, 0))
        check_session_error(attacker, 212, BUG)


def test_damaged_changesets_are_either_refused_or_readable(site: Site) -> None:
    """In a Realm of their own, since some of them are harmless. What is stored is read by a client that checks it."""
    generator = random.Random(2)
    path, seeds = '"damaged"', [new_table(), new_object(5, b"some data"), new_object(6)]
    author = GoodClient(site.port, site.login, path)
    author.write(seeds[0])
    stored = 0
    with site.attacker() as attacker:
        file, version = attacker.bind(path), 1
        attacker.send_message(c2s.Unbind(1).encode())
        attacker.expect(s2c.Unbound)
        for _ in range(200):
            changeset = bytearray(generator.choice(seeds))
            for _ in range(generator.randint(1, 3)):
                changeset[generator.randrange(len(changeset))] = generator.randrange(256)
            attacker.rejoin(path, file)
            attacker.expect(s2c.Download)
            attacker.upload([entry(version + 1, 0, bytes(changeset))], UploadCursor(version + 1, 0))
            answer = attacker.next()
            while isinstance(answer, s2c.Download) and answer.head.upload.client_version <= version:
                answer = attacker.next()
            if isinstance(answer, s2c.Download):
                version, stored = version + 1, stored + 1
            else:
                check_error(answer, 212, 1, BUG)
            attacker.send_message(c2s.Unbind(1).encode())
            if isinstance(answer, s2c.Download):
                attacker.expect(s2c.Unbound)
    author.mark()
    reader = GoodClient(site.port, site.login, path)
    assert reader.version == author.version == 1 + stored
    assert 0 < stored < 200
    for each in reader.log.values():
        decode(each.changeset)
    reader.close()
    author.close()


# Who brings a token in BIND, as clients of the 1.x era do.


def bind_token(keys: Keys, **fields: object) -> str:
    """A token of a user with all rights to /legacy, changed by field (None leaves one out)."""
    payload = {"identity": "someone", "path": "/legacy", "access": ["download", "upload"]} | fields
    return signed_wire_form(
        keys, json.dumps({key: value for key, value in payload.items() if value is not None}).encode()
    )


def legacy(site: Site, subprotocol: str = "com.mongodb.realm-sync#14") -> RawSync:
    """A connection that nobody has asked for a token yet."""
    return RawSync(site.port, upgrade_request("/realm-sync", subprotocol))


def test_a_signed_token_opens_the_realm_it_is_for(site: Site) -> None:
    token = bind_token(site.keys)
    site.secrets.add(token)
    with legacy(site) as client:
        client.join("/legacy", token=token)
        client.upload([entry(2, 0, new_table())], UploadCursor(2, 0))
        assert client.expect(s2c.Download).head.upload == UploadCursor(2, 0)


@pytest.mark.parametrize(
    ("subprotocol", "code"), [("com.mongodb.realm-sync#14", 4001), ("com.mongodb.realm-sync/7", 1008)]
)
def test_a_token_in_bind_that_is_no_good_closes_the_connection(
    site: Site, tmp_path: Path, subprotocol: str, code: int
) -> None:
    """Never error 202 or 203, which would abort the process of clients that connect with such names (4.2)."""
    good = bind_token(site.keys)
    forged = bind_token(make_keys(tmp_path / "key.pub", tmp_path / "key"))
    expired = bind_token(site.keys, expires=int(time.time()) - 60)
    refused = {
        "missing": "",
        "garbage": "gar:bage",
        "unsigned": good.partition(":")[0],
        "another's signature": f"{good.partition(':')[0]}:{forged.partition(':')[2]}",
        "forged": forged,
        "expired": expired,
        "a refresh token": site.login.refresh_token,
        "without identity": bind_token(site.keys, identity=None),
        "not ASCII": "é:é",
    }
    site.secrets |= {token for token in refused.values() if len(token) > 20}
    for fault, token in refused.items():
        with legacy(site, subprotocol) as client:
            client.send_message(c2s.Bind(1, "/legacy", token, True).encode())
            messages, closed = client.to_the_end()
            assert (messages, closed.code) == ([], code), fault


def test_a_token_opens_nothing_that_it_does_not_name(site: Site) -> None:
    wrong: list[tuple[dict[str, object], str]] = [
        ({}, "/another"),
        ({}, "/legacy/below"),
        ({"access": ["upload"]}, "/legacy"),
        ({"access": []}, "/legacy"),
        ({"access": None}, "/legacy"),
    ]
    with legacy(site) as client:
        for fields, path in wrong:
            client.send_message(c2s.Bind(1, path, bind_token(site.keys, **fields), True).encode())
            check_session_error(client, 206, BUG)
        client.send_message(c2s.Bind(1, "/legacy", bind_token(site.keys), True, is_subserver=True).encode())
        check_session_error(client, 206, BUG)


def test_a_token_to_read_does_not_let_write(site: Site) -> None:
    with legacy(site) as client:
        client.join("/legacy", token=bind_token(site.keys, access=["download"]))
        client.upload([], UploadCursor(2, 0))
        assert client.is_alive()
        client.upload([entry(3, 0, new_object(1))], UploadCursor(3, 0))
        check_session_error(client, 206, BUG)


def test_a_token_that_expires_meanwhile_ends_the_connection(site: Site) -> None:
    with legacy(site) as client:
        expires = time.time() + 2.0  # enough to join on a busy machine
        client.join("/legacy", token=bind_token(site.keys, expires=expires))
        time.sleep(max(0.0, expires - time.time()) + 0.01)
        client.upload([entry(2, 0, new_object(1))], UploadCursor(2, 0))
        messages, closed = client.to_the_end()
        assert (messages, closed.code) == ([], 4001)


ILLEGAL_PATHS: Final = [
    *("/", "/a/", "//a", "/.a", "/a/..", "/a.realm", "/a.realm.lock", "/a.realm.management", "/~/../a", "/a b"),
    *("/a%20b", "/é", '{"$oid":"5f"}', "a", "/__admin", "/x/__partial/y", "/__partition/my-app/string-shared", "/a\0b"),
]


def test_illegal_paths_are_204_and_create_nothing(site: Site) -> None:
    before = sorted(site.process.root.rglob("*.realm"))
    with legacy(site) as client:
        for path in ILLEGAL_PATHS:
            token = bind_token(site.keys, path=None, admin=True)
            client.send_message(c2s.Bind(1, path, token, True).encode())
            check_session_error(client, 204, BUG)
    partitions = ["", "shared", "[1]", "{}", "true", "1.5", '{"$oid":"5f"}', '{"$uuid":"1"}', '"\\ud800"', "9" * 40]
    with site.attacker() as attacker:
        for partition in (*partitions[1:], "[" * 1000, '{"$oid":"5f3c","x":1}', "NaN"):
            attacker.send_message(c2s.Bind(1, partition, "", True).encode())
            check_session_error(attacker, 204, BUG)
    assert sorted(site.process.root.rglob("*.realm")) == before


# Logins that end.


@pytest.mark.parametrize("with_session", [True, False])
@pytest.mark.parametrize("end", [log_out, delete_user])
def test_the_end_of_a_login_ends_its_connections_with_4001(site: Site, end: Any, with_session: bool) -> None:
    login = log_in(site.port)
    site.secrets |= {login.access_token, login.refresh_token}
    with site.attacker(login=login) as client, site.attacker() as another:
        if with_session:
            client.join(SHARED)
        assert client.is_alive()
        end(site.port, login)
        messages, closed = client.to_the_end()
        assert (messages, closed.code) == ([], 4001)
        assert another.is_alive()


def test_before_version_8_the_close_code_is_one_that_clients_know(site: Site) -> None:
    login = log_in(site.port)
    with site.attacker("com.mongodb.realm-sync/7", login) as client:
        assert client.is_alive()
        log_out(site.port, login)
        assert client.to_the_end() == ([], Closed(1008, "the login has ended"))


# What is left of it all.


def test_the_realm_holds_what_its_good_clients_wrote_and_nothing_else(site: Site) -> None:
    assert site.neighbours.version > 2
    site.neighbours.check_log()


def test_the_log_tells_no_secret_and_of_no_fault_of_ours(site: Site) -> None:
    password = "correct horse battery staple"
    user = register(site.port, "user@example.com", password)
    site.secrets |= {password, user.access_token, user.refresh_token}
    with site.attacker(login=user) as client:
        client.join(SHARED)
    log_out(site.port, user)
    site.check_log()
