"""Clients of a Realm whose history shrinks: those that begin from the squash and those that had all of it write at the
same time and come to one state; those for whom something is missing are told to reset, and then do too."""

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest
from client_edits import Editor
from client_tools import PROTOCOL, FixedEnvironment, Server, add_schema, randomly

from realmserver.client.local import LocalRealm
from realmserver.realms import fold, history, realm, retention, squash
from realmserver.realms.realm import Realm
from realmserver.realms.requests import (
    BadServerVersion,
    ClientFileExpired,
    DivergingHistories,
    DownloadCursor,
    Identify,
    SaltedVersion,
    Upload,
    UploadDone,
)
from realmserver.realms.stored_reading import StoredReader
from realmserver.store.interface import Commit
from realmserver.store.memory import BeforeCommit, MemoryStore

TTL = 100
SEEDS = 40


class Clock(FixedEnvironment):
    def __init__(self) -> None:
        super().__init__()
        self.time = 1_700_000_000

    def now(self) -> int:
        return self.time


class Shrinking(Server):
    """A Realm whose history is kept for TTL seconds."""

    def __init__(self, before_commit: BeforeCommit | None = None) -> None:
        super().__init__()
        self.clock = Clock()
        self.environment = self.clock
        store = MemoryStore(random_bytes=bytes, before_commit=before_commit)
        self.store = store.open("/test", create=True)
        self.reopen()

    def reopen(self) -> None:
        self.realm = Realm(self.store, self.clock, TTL)

    def restore(self, commits: Sequence[Commit]) -> None:
        """Begin again with these."""
        self.store = MemoryStore(random_bytes=bytes).open("/test", create=True)
        for commit in commits:
            self.store.append(self.store.head().version, 0, commit)
        self.reopen()

    def upload(self, local: LocalRealm, after: int | None = None) -> list[UploadDone]:
        """As a client does: an expired one is told so."""
        file = local.file
        for batch in local.uploads(file.upload.client_version if after is None else after):
            upload = Upload(file.ident, batch.entries, batch.progress, batch.locked_version, PROTOCOL)
            (answer,) = self.realm.integrate([upload]).answers
            if isinstance(answer, ClientFileExpired):
                raise answer
            assert isinstance(answer, UploadDone), answer
            self._cursors[file.ident] = answer.upload
        return []

    def tidy(self) -> None:
        while self.realm.tidy():
            pass

    def shrink(self) -> int:
        """Let all history until now come of age; the base version."""
        self.tidy()
        self.clock.time += TTL
        self.tidy()
        return self.realm.head.base_version


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LEAST_GROWTH", 1)


def begin(server: Shrinking, chance_time: int = 1) -> LocalRealm:
    client = LocalRealm()
    with client.write(chance_time) as tx:
        add_schema(tx)
    server.join(client)
    return client


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whoever_comes_and_goes_all_come_to_one_state(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = randomly(seed)
    monkeypatch.setattr(squash, "WINDOW_INSTRUCTIONS", chance.choice([12, 4_000]))
    monkeypatch.setattr(squash, "STEP_OBJECTS", chance.choice([2, 500]))
    monkeypatch.setattr(history, "MAX_SQUASH_REFERENCES", chance.choice([0, 50_000]))
    monkeypatch.setattr(fold, "STEP_INSTRUCTIONS", chance.choice([1, 2_000]))
    monkeypatch.setattr(realm, "SWEEP_RECORDS", chance.choice([1, 2_000]))
    server = Shrinking()
    fresh = itertools.count()
    clients = [begin(server, chance.randrange(3)) for _ in range(2)]
    editors = [Editor(chance, fresh) for _ in clients]
    happened: Counter[str] = Counter()

    def meet(number: int, act: str) -> None:
        client = clients[number]
        try:
            if chance.random() < 0.3:
                server.identify(client)
            if act == "upload":
                server.upload(client)
            else:
                server.download(client)
        except ClientFileExpired:
            happened["reset"] += 1
            client.reset()
            with client.write(chance.randrange(20)) as tx:
                add_schema(tx)
            server.join(client)

    for _ in range(300):
        number = chance.randrange(len(clients))
        action = chance.random()
        if action < 0.4:
            with clients[number].write(chance.randrange(20)) as tx:
                editors[number].edit(tx)
        elif action < 0.58:
            meet(number, "upload")
        elif action < 0.78:
            meet(number, "download")
        elif action < 0.8 and len(clients) < 6:
            clients.append(begin(server, chance.randrange(20)))
            editors.append(Editor(chance, fresh))
        elif action < 0.82:
            server.reopen()
        else:
            before = server.realm.head.base_version
            for _ in range(chance.randrange(20)):
                server.realm.tidy()
            server.clock.time += chance.randrange(TTL)
            happened["shrunk"] += server.realm.head.base_version != before
    for _ in range(3):
        for act in ("upload", "download"):
            for number in range(len(clients)):
                meet(number, act)
    server.tidy()
    expected = server.state()
    for client in clients:
        assert client.is_uploaded
        assert client.values.state() == expected
    assert server.realm.read(StoredReader.state) == expected
    assert server.clock.warnings == []
    assert happened["shrunk"], "this seed shows nothing"


def test_a_fresh_client_gets_the_squash_and_merges_with_it() -> None:
    server = Shrinking()
    old = begin(server)
    for number in range(50):
        with old.write(5) as tx:
            if number < 3:
                tx.create("Thing", f"t{number}", {"count": number})
            else:
                tx.set("Thing", f"t{number % 3}", "count", number)
        server.sync(old)
    assert server.shrink() == server.realm.head.version - 1
    with server.store.snapshot() as snapshot:
        entries = list(snapshot.entries(1, snapshot.head.version))
    assert len(entries) < 5
    young = begin(server)
    with young.write(9) as tx:  # made before it has downloaded anything
        tx.create("Thing", "t0", {"count": 1_000})
        tx.create("Thing", "new", {"count": 7})
    with old.write(9) as tx:
        tx.set("Thing", "t0", "name", "ash")
    server.upload(young)
    server.sync(old, young)
    server.sync(old, young)
    assert young.values.state() == old.values.state() == server.state()
    thing = young.get("Thing", "t0")
    assert thing is not None
    assert thing["name"] == "ash"


def test_what_is_left_to_download_of_a_squash_is_told_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realm, "DOWNLOAD_SIZE", 0)
    monkeypatch.setattr(squash, "WINDOW_INSTRUCTIONS", 12)
    server = Shrinking()
    old = begin(server)
    for _ in range(9):
        with old.write(5) as tx:
            tx.create("Thing", "t")
            tx.delete("Thing", "t")
        server.sync(old)
    assert server.shrink() == 10
    with old.write(5) as tx:
        tx.create("Thing", "last")
    server.sync(old)
    client = server.realm.allocate("user")
    server.realm.identify(
        Identify(client.ident, client.salt, DownloadCursor(), SaltedVersion()), client.owner, PROTOCOL
    )
    cursor, head, told = DownloadCursor(), server.realm.head, []
    while cursor.server_version < head.version:
        download = server.realm.download(client.ident, cursor, head)
        cursor = download.cursor
        with server.store.snapshot() as snapshot:
            left = snapshot.entries(cursor.server_version + 1, head.version)
            assert download.downloadable_bytes == sum(len(entry.changeset) for entry in left)
        told.append(download.downloadable_bytes)
    assert len(told) > 2


def test_whoever_was_away_for_longer_is_told_to_reset_and_whoever_was_not_goes_on() -> None:
    server = Shrinking()
    writer, away, quiet = begin(server), begin(server), begin(server)
    server.sync(writer, away, quiet)
    server.sync(writer, away, quiet)
    for number in range(20):
        with writer.write(5) as tx:
            tx.create("Thing", f"t{number}", {"count": number})
        server.sync(writer)
    server.download(quiet)  # it never uploads: its own progress is not known here
    server.shrink()
    for act in (server.identify, server.download):
        with pytest.raises(ClientFileExpired, match="before server version"):
            act(away)
    server.identify(quiet)
    with writer.write(5) as tx:
        tx.create("Thing", "last", {"count": 1})
    server.sync(writer, quiet)
    assert quiet.values.state() == server.state()


@pytest.mark.parametrize("is_whole", [False, True])
def test_whoever_has_begun_with_a_squash_that_is_lost_is_told_to_reset(
    is_whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup from before is put back: to that server, the versions of the squash would be those of the log."""
    monkeypatch.setattr(realm, "DOWNLOAD_SIZE", 1 << 20 if is_whole else 0)
    monkeypatch.setattr(squash, "WINDOW_INSTRUCTIONS", 12)
    commits: list[Commit] = []
    server = Shrinking(lambda name, commit: commits.append(commit))
    writer, young = begin(server), LocalRealm()
    server.join(young)
    for number in range(20):
        with writer.write(5) as tx:
            if number == 0:
                tx.create("Thing", "t")
            tx.set("Thing", "t", "count", number)
        server.sync(writer)
    server.tidy()
    backup = len(commits)
    assert server.shrink() == server.realm.head.version - 1
    server.identify(young)
    server.download(young)
    assert (young.file.download.server_version == server.realm.head.version) is is_whole
    server.restore(commits[:backup])
    with pytest.raises(BadServerVersion):
        server.identify(young)
    with writer.write(5) as tx:
        tx.create("Thing", "again", {"count": 1})
    server.identify(writer)
    server.upload(writer)
    with pytest.raises(DivergingHistories):
        server.identify(young)


def test_a_change_based_on_what_is_gone_is_refused_and_leaves_no_trace() -> None:
    server = Shrinking()
    writer, late = begin(server), begin(server)
    server.sync(writer, late)
    server.sync(writer, late)
    with late.write(5) as tx:
        tx.create("Thing", "late", {"count": 1})  # offline; then it downloads, but its upload does not get through
    for number in range(20):
        with writer.write(5) as tx:
            tx.create("Thing", f"t{number}", {"count": number})
        server.sync(writer)
    server.download(late)
    server.shrink()
    server.identify(late)
    before = server.realm.head
    with pytest.raises(ClientFileExpired):
        server.upload(late)
    assert server.realm.head == before


def test_history_is_kept_for_its_time_and_without_one_for_ever() -> None:
    server = Shrinking()
    writer = begin(server)
    server.sync(writer)
    server.tidy()
    server.clock.time += TTL - 1
    server.tidy()
    assert server.realm.head.base_version == 0
    server.clock.time += 1
    server.tidy()
    assert server.realm.head.base_version == 1
    keeping = Shrinking()
    keeping.realm = Realm(keeping.store, keeping.clock)
    writer = begin(keeping)
    keeping.sync(writer)
    assert keeping.shrink() == 0


def test_a_squash_that_saves_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(squash, "WINDOW_INSTRUCTIONS", 12)
    server = Shrinking()
    writer = begin(server)
    with writer.write(5) as tx:
        for number in range(200):
            tx.create("Thing", f"t{number}", {"count": number})
    server.sync(writer)
    assert server.realm.head.version < 5
    assert server.shrink() == 0
    with server.store.snapshot() as snapshot:
        assert squash.read_squash(snapshot) is None
    server.reopen()
    server.sync(writer, begin(server))
