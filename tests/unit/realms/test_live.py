"""A Realm in service: order, group commit, and who hears of what, with workers that the test sets going."""

import gc
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from realm_tools import FixedEnvironment, HeldWorkers, create, data, memory_store, schema, set_n, upload

from realmserver.changeset.instructions import TABLE_EMBEDDED, AddTable
from realmserver.realms import fold, retention
from realmserver.realms.fanout import ENTRY_COST
from realmserver.realms.idle_work import MAX_POSTPONED
from realmserver.realms.live import LiveRealm, Subscriber
from realmserver.realms.observer import Unobserved
from realmserver.realms.realm import Realm
from realmserver.realms.registry import SPARE, Registry
from realmserver.realms.requests import (
    BadUpload,
    ClientFileExpired,
    Download,
    DownloadCursor,
    DownloadEntry,
    Identified,
    Identify,
    LimitReached,
    ProtocolTooOld,
    RealmError,
    RealmUnavailable,
    SaltedVersion,
    UploadCursor,
    UploadDone,
    UserMismatch,
)
from realmserver.realms.stored_records import META_KEY
from realmserver.realms.waiting import House, WaitingRoom
from realmserver.store.interface import ClientFile, Commit, StoreFull
from realmserver.store.memory import MemoryRealmStore, MemoryStore

Body = tuple[int, ...]


class Listener:
    """A session, as its Realm sees it."""

    def __init__(self) -> None:
        self.versions: list[int] = []
        self.superseded_by: list[Subscriber] = []

    def advanced(self, version: int) -> None:
        self.versions.append(version)

    def expelled(self, error: RealmError) -> None:
        self.expelled_for = error

    def superseded(self, by: Subscriber) -> None:
        self.superseded_by.append(by)


class Figures(Unobserved):
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.open = 0
        self.pending = 0
        self.commits = 0

    def opened(self) -> None:
        self.open += 1

    def closed(self) -> None:
        self.open -= 1

    def waiting(self, size: int) -> None:
        self.pending += size

    @contextmanager
    def integrating(self) -> Iterator[None]:
        yield
        self.commits += 1


class Bench:
    """A LiveRealm with everything around it."""

    def __init__(self, store: MemoryStore | None = None, room: WaitingRoom | None = None) -> None:
        self.read_only: RealmError | None = None
        self.figures = Figures()
        self.store = store or memory_store()
        self.workers = HeldWorkers()
        self.encoded = 0
        self.live: LiveRealm[Body] = LiveRealm(
            "/test", lambda permit: Realm(self.store.open("/test", create=True), FixedEnvironment()), self.workers,
            self.encode, lambda live: None, self.figures, None, House(room or WaitingRoom(), lambda: self.read_only),
        )  # fmt: skip

    def encode(self, entries: Sequence[DownloadEntry]) -> Body:
        self.encoded += 1
        return tuple(entry.server_version for entry in entries)

    def client(self) -> ClientFile:
        found: list[ClientFile | RealmError] = []
        self.live.allocate("user", found.append)
        self.workers.run_all()
        assert isinstance(found[0], ClientFile)
        return found[0]

    def identify(self, client: ClientFile, protocol: int = 14) -> Listener:
        listener = Listener()
        answers: list[Identified | RealmError] = []
        request = Identify(client.ident, client.salt, DownloadCursor(), SaltedVersion())
        self.live.identify(request, "user", protocol, listener, answers.append)
        self.workers.run_all()
        assert isinstance(answers[0], Identified)
        return listener

    def fetch(
        self, client: ClientFile, cursor: DownloadCursor, protocol: int = 14
    ) -> tuple[Download, Body] | RealmError:
        found: list[tuple[Download, Body] | RealmError] = []
        self.live.fetch(client.ident, cursor, protocol, found.append)
        self.workers.run_all()
        return found[0]


def test_uploads_that_wait_together_share_one_commit() -> None:
    commits: list[Commit] = []
    store = MemoryStore(random_bytes=bytes, before_commit=lambda name, commit: commits.append(commit))
    bench = Bench(store)
    first, second = bench.client(), bench.client()
    commits.clear()
    done: list[UploadDone | RealmError] = []
    bench.live.upload(upload(first.ident, (2, 0, schema())), done.append)
    bench.live.upload(upload(first.ident, (3, 0, create())), done.append)
    bench.live.upload(upload(second.ident, (2, 0, schema())), done.append)
    assert done == []
    bench.workers.run_one()  # the first went alone: nothing else was there when it started
    assert len(commits) == 1
    bench.workers.run_one()
    assert len(commits) == 2
    assert len(done) == 3


def test_nothing_is_told_before_the_commit() -> None:
    bench = Bench()
    first, second = bench.client(), bench.client()
    listener = bench.identify(second)
    done: list[UploadDone | RealmError] = []
    bench.live.upload(upload(first.ident, (2, 0, schema())), done.append)
    assert (done, listener.versions) == ([], [])
    bench.workers.run_all()
    assert done == [UploadDone(UploadCursor(2, 0))]
    assert listener.versions == [1]


def test_an_ident_is_looked_at_after_the_uploads_that_came_before_it() -> None:
    bench = Bench()
    client = bench.client()
    bench.identify(client)
    order: list[str] = []
    bench.live.upload(upload(client.ident, (2, 0, schema())), lambda answer: order.append("uploaded"))
    answers: list[Identified | RealmError] = []

    def identified(answer: Identified | RealmError) -> None:
        answers.append(answer)
        order.append("identified")

    request = Identify(client.ident, client.salt, DownloadCursor(), SaltedVersion())
    bench.live.identify(request, "user", 14, Listener(), identified)
    bench.workers.run_all()
    assert order == ["uploaded", "identified"]
    assert answers == [Identified(UploadCursor(2, 0), 0, 1)]


def test_who_has_just_been_given_a_client_file_is_identified_at_once() -> None:
    bench = Bench()
    client = bench.client()
    request = Identify(client.ident, client.salt, DownloadCursor(), SaltedVersion())
    answers: list[Identified | RealmError] = []
    bench.live.identify(request, "user", 14, Listener(), answers.append)
    assert answers == [Identified(UploadCursor(), 0, 0)]
    bench.live.allocate("other", lambda answer: None)
    bench.live.allocate("another", lambda answer: None)
    bench.live.identify(request, "user", 14, Listener(), answers.append)
    assert len(answers) == 2, "others' client files are no reason to wait"
    bench.live.identify(request, "somebody else", 14, Listener(), answers.append)
    assert len(answers) == 2, "what is wrong with an IDENT is found out beside the disk"
    bench.workers.run_all()
    assert isinstance(answers[2], UserMismatch)


def test_a_newer_session_of_the_same_client_file_supersedes_the_older() -> None:
    bench = Bench()
    client = bench.client()
    older = bench.identify(client)
    newer = bench.identify(client)
    assert older.superseded_by == [newer]
    bench.live.leave(client.ident, older)
    bench.live.upload(upload(client.ident, (2, 0, schema())), lambda answer: None)
    bench.workers.run_all()
    assert newer.versions == [1], "the older one's leaving does not unsubscribe the newer one"
    assert older.versions == []


def test_a_progress_report_waits_and_makes_no_news() -> None:
    bench = Bench()
    client, other = bench.client(), bench.client()
    listener = bench.identify(client)
    done: list[UploadDone | RealmError] = []
    bench.live.upload(upload(client.ident, progress=UploadCursor(7, 0)), done.append)
    bench.workers.run_all()
    bench.live.upload(upload(other.ident, (2, 0, schema())), lambda answer: None)
    bench.workers.run_all()
    assert done == [], "there will be a later one"
    listener.versions.clear()
    bench.workers.fire_timers()
    bench.workers.run_all()
    assert done == [UploadDone(UploadCursor(7, 0))]
    assert listener.versions == []


def test_an_ident_is_looked_at_after_the_progress_that_was_reported_before_it() -> None:
    bench = Bench()
    client = bench.client()
    bench.identify(client)
    bench.live.upload(upload(client.ident, progress=UploadCursor(7, 0)), lambda answer: None)
    answers: list[Identified | RealmError] = []
    request = Identify(client.ident, client.salt, DownloadCursor(), SaltedVersion())
    bench.live.identify(request, "user", 14, Listener(), answers.append)
    bench.workers.run_all()
    assert answers == [Identified(UploadCursor(7, 0), 0, 0)]


def test_a_download_acknowledges_only_what_is_durable() -> None:
    bench = Bench()
    client = bench.client()
    bench.identify(client)
    bench.live.upload(upload(client.ident, (2, 0, schema()), progress=UploadCursor(5, 0)), lambda answer: None)
    bench.workers.run_all()
    bench.live.upload(upload(client.ident, progress=UploadCursor(9, 0)), lambda answer: None)
    answer = bench.fetch(client, DownloadCursor())
    assert not isinstance(answer, RealmError)
    assert answer[0].upload == UploadCursor(5, 0)
    assert answer[0].cursor == DownloadCursor(1, 2)
    assert answer[0].entries == ()


def test_receivers_at_the_same_place_share_a_body_and_have_headers_of_their_own() -> None:
    bench = Bench()
    writer, *readers = (bench.client() for _ in range(4))
    for client in (writer, *readers):
        bench.identify(client)
    bench.live.upload(upload(readers[0].ident, progress=UploadCursor(3, 0)), lambda answer: None)
    bench.live.flush()
    bench.live.upload(upload(writer.ident, (2, 0, schema()), (3, 0, create())), lambda answer: None)
    bench.workers.run_all()
    bench.encoded = 0
    answers = [bench.fetch(reader, DownloadCursor()) for reader in readers]
    assert bench.encoded == 1
    assert all(not isinstance(answer, RealmError) and answer[1] == (1, 2) for answer in answers)
    acknowledged = [answer[0].upload for answer in answers if not isinstance(answer, RealmError)]
    assert acknowledged == [UploadCursor(3, 0), UploadCursor(), UploadCursor()]


def test_old_entries_are_read_from_the_store_once_for_all_who_wait_for_them() -> None:
    store = memory_store()
    bench = Bench(store)
    writer = bench.client()
    readers = [bench.client() for _ in range(3)]
    bench.live.upload(upload(writer.ident, (2, 0, schema()), (3, 0, create())), lambda answer: None)
    bench.workers.run_all()
    bench.live.close_store(lambda: None)
    bench.workers.run_all()
    bench.encoded = 0
    found: list[tuple[Download, Body] | RealmError] = []
    bench.live.open(lambda answer: None)
    bench.workers.run_all()
    for reader in readers:
        bench.live.fetch(reader.ident, DownloadCursor(), 14, found.append)
    bench.workers.run_all()
    assert [answer[1] for answer in found if not isinstance(answer, RealmError)] == [(1, 2)] * 3
    assert bench.encoded == 3, "after a restart any of the entries may be a receiver's own"


def test_a_client_too_old_for_the_realms_data_gets_no_download() -> None:
    bench = Bench()
    writer, old = bench.client(), bench.client()
    bench.identify(old, protocol=2)
    bench.live.upload(upload(writer.ident, (2, 0, schema())), lambda answer: None)
    bench.workers.run_all()
    assert isinstance(bench.fetch(old, DownloadCursor(), protocol=2), ProtocolTooOld)


def test_a_failing_store_is_reported_and_the_realm_goes_on() -> None:
    full = [False]

    def before(name: str, commit: Commit) -> None:
        if full[0]:
            raise StoreFull("no room")

    bench = Bench(MemoryStore(random_bytes=bytes, before_commit=before))
    client = bench.client()
    done: list[UploadDone | RealmError] = []
    full[0] = True
    bench.live.upload(upload(client.ident, (2, 0, schema())), done.append)
    bench.workers.run_all()
    assert isinstance(done[0], RealmUnavailable)
    assert len(bench.workers.reports) == 1
    full[0] = False
    bench.live.upload(upload(client.ident, (2, 0, schema())), done.append)
    bench.workers.run_all()
    assert done[1] == UploadDone(UploadCursor(2, 0))


def test_when_too_much_waits_an_upload_is_asked_to_come_again() -> None:
    bench = Bench(room=WaitingRoom(len(schema()) + 10))
    first, second = bench.client(), bench.client()
    done: list[UploadDone | RealmError] = []
    bench.live.upload(upload(first.ident, (2, 0, schema())), done.append)
    bench.live.upload(upload(second.ident, (2, 0, schema())), done.append)
    assert isinstance(done[0], RealmUnavailable)
    bench.workers.run_all()
    bench.live.upload(upload(second.ident, (2, 0, schema())), done.append)
    bench.workers.run_all()
    assert done[1:] == [UploadDone(UploadCursor(2, 0)), UploadDone(UploadCursor(2, 0))]


def test_empty_changesets_that_wait_take_room_too() -> None:
    bench = Bench(room=WaitingRoom(10 * ENTRY_COST))
    first, second = bench.client(), bench.client()
    done: list[UploadDone | RealmError] = []
    bench.live.upload(upload(first.ident, *((version, 0, b"") for version in range(2, 12))), done.append)
    bench.live.upload(upload(second.ident, (2, 0, b"")), done.append)
    assert [type(answer) for answer in done] == [LimitReached]


def test_what_waits_for_other_realms_counts_too_and_all_are_told_of_the_crowd() -> None:
    told: list[bool] = []
    size = len(schema()) + ENTRY_COST
    room = WaitingRoom(in_all=size, crowded=told.append)
    benches = [Bench(room=room) for _ in range(3)]
    done: list[UploadDone | RealmError] = []
    for bench in benches:
        client = bench.client()
        bench.live.upload(upload(client.ident, (2, 0, schema())), done.append)
    assert [type(answer) for answer in done] == [LimitReached]
    assert told == [True]
    for bench in benches:
        bench.workers.run_all()
    assert told == [True, False]
    assert done[1:] == [UploadDone(UploadCursor(2, 0))] * 2


def test_while_nothing_may_be_written_uploads_are_put_off_and_progress_is_forgotten() -> None:
    bench = Bench()
    writer, reader = bench.client(), bench.client()
    bench.identify(reader)
    bench.read_only = LimitReached("disk_reserve", "no room")
    done: list[UploadDone | RealmError] = []
    bench.live.upload(upload(writer.ident, (2, 0, schema())), done.append)
    bench.live.upload(upload(writer.ident, (3, 0, b"")), done.append)
    bench.live.upload(upload(reader.ident), done.append)
    bench.workers.run_all()
    bench.live.flush()
    bench.workers.run_all()
    assert [type(answer) for answer in done] == [LimitReached, LimitReached, UploadDone]
    assert bench.figures.pending == 0
    files: list[ClientFile | RealmError] = []
    bench.live.allocate("user", files.append)
    bench.workers.run_all()
    assert [type(answer) for answer in files] == [LimitReached]
    assert bench.workers.reports == []
    bench.read_only = None
    bench.live.upload(upload(writer.ident, (2, 0, schema())), done.append)
    bench.workers.run_all()
    assert done[3] == UploadDone(UploadCursor(2, 0))


def test_a_new_realm_needs_a_permit_and_one_that_is_there_does_not() -> None:
    workers = HeldWorkers()
    registry: Registry[Body] = Registry(memory_store(), FixedEnvironment(), workers, lambda entries: (), 2)
    answers: list[object] = []

    def forbid() -> None:
        raise LimitReached("new_realms_per_user", "enough")

    registry.get("/a").open(answers.append, forbid)
    workers.run_all()
    assert [type(answer) for answer in answers] == [LimitReached]
    registry.get("/a").open(answers.append)
    workers.run_all()
    registry.get("/a").open(answers.append, forbid)
    workers.run_all()
    assert answers[1:] == [None, None]
    assert workers.reports == []


@pytest.mark.parametrize("used_last", [0, 1])
def test_the_least_recently_used_idle_store_is_closed_when_there_are_too_many(used_last: int) -> None:
    workers = HeldWorkers()
    store = memory_store()
    registry: Registry[Body] = Registry(store, FixedEnvironment(), workers, lambda entries: (), 2)
    names = ["/a", "/b"]
    for name in (names[1 - used_last], names[used_last], "/c"):
        registry.get(name).open(lambda answer: None)
        workers.run_all()
    assert [registry.get(name).is_open for name in ("/a", "/b", "/c")] == [used_last == 0, used_last == 1, True]


def test_of_thousands_asked_for_at_once_only_so_many_are_open_at_a_time() -> None:
    workers = HeldWorkers()
    registry: Registry[Body] = Registry(memory_store(), FixedEnvironment(), workers, lambda entries: (), 2)
    answers: list[RealmError | None] = []
    realms = [registry.get(f"/{number}") for number in range(200)]
    for live in realms:
        live.open(answers.append)
    most = 0
    while workers.waiting:
        most = max(most, sum(live.is_open for live in realms))
        workers.run_one()
    assert answers == [None] * 200
    assert most == 2 + SPARE
    assert sum(live.is_open for live in realms) == 2


def test_who_waits_for_room_takes_that_of_an_idle_store_while_others_take_long() -> None:
    workers = HeldWorkers()
    registry: Registry[Body] = Registry(memory_store(), FixedEnvironment(), workers, lambda entries: (), 1)
    answers: list[str] = []
    idle = registry.get("/idle")
    idle.open(lambda answer: answers.append("idle"))
    workers.run_all()
    slow = [registry.get(f"/{number}") for number in range(SPARE)]
    for live in slow:
        live.open(lambda answer: answers.append("slow"))
    registry.get("/late").open(lambda answer: answers.append("late"))
    held = list(workers.waiting)[:SPARE]
    for _ in held:
        workers.waiting.popleft()
    workers.run_all()
    assert answers == ["idle", "late"]
    workers.waiting.extend(held)
    workers.run_all()
    assert answers == ["idle", "late", *["slow"] * SPARE]


def test_a_stop_waits_for_those_that_wait_for_room() -> None:
    workers = HeldWorkers()
    registry: Registry[Body] = Registry(memory_store(), FixedEnvironment(), workers, lambda entries: (), 1)
    answers: list[RealmError | None] = []
    realms = [registry.get(f"/{number}") for number in range(3 * SPARE)]
    for live in realms:
        live.open(answers.append)
    stopped: list[int] = []
    registry.stop(lambda: stopped.append(len(answers)))
    workers.run_all()
    assert stopped == [3 * SPARE]
    assert not any(live.is_open for live in realms)


def test_sessions_stay_bound_while_their_store_is_closed() -> None:
    bench = Bench()
    client = bench.client()
    listener = bench.identify(client)
    bench.live.close_store(lambda: None)
    bench.workers.run_all()
    assert not bench.live.is_open
    bench.live.upload(upload(client.ident, (2, 0, schema())), lambda answer: None)
    bench.workers.run_all()
    assert listener.versions == [1]


def test_stopping_makes_waiting_progress_durable_and_closes_every_store() -> None:
    workers = HeldWorkers()
    store = memory_store()
    registry: Registry[Body] = Registry(store, FixedEnvironment(), workers, lambda entries: (), 10)
    live = registry.get("/a")
    clients: list[ClientFile | RealmError] = []
    live.allocate("user", clients.append)
    workers.run_all()
    client = clients[0]
    assert isinstance(client, ClientFile)
    live.upload(upload(client.ident, progress=UploadCursor(8, 0)), lambda answer: None)
    stopped: list[bool] = []
    registry.stop(lambda: stopped.append(True))
    assert stopped == []
    workers.run_all()
    assert stopped == [True]
    reopened = store.open("/a", create=False)
    with reopened.snapshot() as snapshot:
        known = snapshot.client(client.ident)
    assert known is not None
    assert known.client_version == 8


def test_a_store_is_not_closed_while_it_is_read() -> None:
    workers = HeldWorkers()
    store = memory_store()
    registry: Registry[Body] = Registry(store, FixedEnvironment(), workers, lambda entries: (), 10)
    live = registry.get("/a")
    clients: list[ClientFile | RealmError] = []
    for _ in range(2):
        live.allocate("user", clients.append)
    workers.run_all()
    writer, reader = clients
    assert isinstance(writer, ClientFile)
    assert isinstance(reader, ClientFile)
    live.upload(upload(writer.ident, (2, 0, schema())), lambda answer: None)
    workers.run_all()
    live.close_store(lambda: None)
    workers.run_all()
    live.open(lambda answer: None)
    workers.run_all()
    found: list[tuple[Download, Body] | RealmError] = []
    live.fetch(reader.ident, DownloadCursor(), 14, found.append)
    stopped: list[bool] = []
    registry.stop(lambda: stopped.append(True))
    assert not stopped
    assert len(workers.waiting) == 1, "the reading, and no closing yet"
    workers.run_all()
    assert stopped
    assert not isinstance(found[0], RealmError)


def test_a_realm_that_cannot_be_opened_is_not_remembered() -> None:
    workers = HeldWorkers()
    registry: Registry[Body] = Registry(memory_store(), FixedEnvironment(), workers, lambda entries: (), 10)
    answers: list[RealmError | None] = []
    live = registry.get("not a path")
    live.open(answers.append)
    workers.run_all()
    assert isinstance(answers[0], RealmUnavailable)
    kept = weakref.ref(live)
    del live
    gc.collect()
    assert kept() is None


def test_a_realm_whose_store_was_closed_is_the_same_for_all_who_use_it() -> None:
    workers = HeldWorkers()
    registry: Registry[Body] = Registry(memory_store(), FixedEnvironment(), workers, lambda entries: (), 1)
    live = registry.get("/a")  # a session that has said BIND and not yet IDENT holds it
    clients: list[ClientFile | RealmError] = []
    live.allocate("user", clients.append)
    workers.run_all()
    registry.get("/b").open(lambda answer: None)
    workers.run_all()
    assert not live.is_open
    answers: list[RealmError | None] = []
    for each in (live, registry.get("/a")):
        each.open(answers.append)
        workers.run_all()
    assert answers == [None, None], "a store can be open only once"


def test_a_store_that_does_not_close_is_reported() -> None:
    class Stuck(MemoryStore):
        def open(self, name: str, *, create: bool) -> MemoryRealmStore:
            realm = super().open(name, create=create)
            realm.close = fail  # type: ignore[method-assign]
            return realm

    def fail() -> None:
        raise StoreFull("no room")

    bench = Bench(Stuck(random_bytes=bytes))
    bench.client()
    closed: list[bool] = []
    bench.live.close_store(lambda: closed.append(True))
    bench.workers.run_all()
    assert closed == [True]
    assert "no room" in bench.workers.reports[0]


def held_behind_an_ident(bench: Bench) -> tuple[ClientFile, list[UploadDone | RealmError]]:
    """A client file whose upload of version 2 waits in the queue behind another client's IDENT, which is next."""
    busy, other, client = (bench.client() for _ in range(3))
    done: list[UploadDone | RealmError] = []
    bench.live.upload(upload(busy.ident, (2, 0, schema())), lambda answer: None)  # runs, and holds the lane
    bench.live.upload(upload(busy.ident, (3, 0, create())), lambda answer: None)
    request = Identify(other.ident, other.salt, DownloadCursor(), SaltedVersion())
    bench.live.identify(request, "user", 14, Listener(), lambda answer: None)
    bench.live.upload(upload(client.ident, (2, 0, data(AddTable("U", TABLE_EMBEDDED)))), done.append)
    return client, done


def test_a_progress_report_does_not_overtake_an_upload_of_the_same_client_file() -> None:
    bench = Bench()
    client, done = held_behind_an_ident(bench)
    bench.live.upload(upload(client.ident, progress=UploadCursor(7, 0)), done.append)
    bench.workers.run_all()
    bench.workers.fire_timers()
    bench.workers.run_all()
    answer = bench.fetch(bench.client(), DownloadCursor())
    assert not isinstance(answer, RealmError)
    assert answer[1] == (1, 2, 3), "the upload was taken for integrated before it was"
    assert done == [UploadDone(UploadCursor(2, 0)), UploadDone(UploadCursor(7, 0))]


def test_a_report_that_had_to_let_an_upload_go_before_is_not_forgotten() -> None:
    bench = Bench()
    client, done = held_behind_an_ident(bench)
    bench.live.upload(upload(client.ident, progress=UploadCursor(7, 0)), done.append)
    bench.workers.fire_timers()
    bench.live.client_version(client.ident, client.salt, lambda answer: None)
    bench.live.upload(upload(client.ident, (8, 0, data(AddTable("V", TABLE_EMBEDDED)))), done.append)
    bench.live.client_version(client.ident, client.salt, lambda answer: None)  # its batch does not empty the queue
    bench.workers.run_all()
    bench.workers.fire_timers()
    bench.workers.run_all()
    assert [answer for answer in done if isinstance(answer, RealmError)] == []
    assert len(done) == 3
    assert bench.live.is_idle


def test_reports_do_not_pile_up_while_a_realm_has_no_time_for_them() -> None:
    bench = Bench()
    client = bench.client()
    bench.identify(client)
    done: list[UploadDone | RealmError] = []
    bench.live.upload(upload(client.ident, (2, 0, schema())), lambda answer: None)  # runs until run_all
    for version in range(3, 10):
        bench.live.upload(upload(client.ident, progress=UploadCursor(version, 0)), done.append)
        bench.workers.fire_timers()
        assert len(done) == version - 3, "only the last one waits"
    bench.workers.run_all()
    assert done[-1] == UploadDone(UploadCursor(9, 0))
    assert bench.live.is_idle


def test_after_a_bad_upload_what_waits_of_the_same_client_file_is_refused_too() -> None:
    bench = Bench()
    client = bench.client()
    done: list[UploadDone | RealmError] = []
    bench.live.upload(upload(client.ident, (2, 0, b"\xff")), done.append)  # runs alone; the others are the next batch
    bench.live.upload(upload(client.ident, (3, 0, schema())), done.append)
    bench.live.upload(upload(client.ident, progress=UploadCursor(7, 0)), done.append)
    bench.workers.run_all()
    bench.workers.fire_timers()
    bench.workers.run_all()
    assert [type(answer) for answer in done] == [BadUpload] * 3
    answers: list[Identified | RealmError] = []
    request = Identify(client.ident, client.salt, DownloadCursor(), SaltedVersion())
    bench.live.identify(request, "user", 14, Listener(), answers.append)
    bench.workers.run_all()
    assert answers == [Identified(UploadCursor(), 0, 0)], "the client file does not advance past what was refused"


def test_after_a_failed_commit_what_waits_of_the_same_client_files_is_not_integrated() -> None:
    full = [True]

    def before(name: str, commit: Commit) -> None:
        if full[0] and commit.entries:
            full[0] = False
            raise StoreFull("no room")

    bench = Bench(MemoryStore(random_bytes=bytes, before_commit=before))
    client, other = bench.client(), bench.client()
    done: list[UploadDone | RealmError] = []
    bench.live.upload(upload(client.ident, (2, 0, schema())), done.append)
    bench.live.upload(upload(client.ident, (3, 0, b"")), done.append)
    bench.live.upload(upload(other.ident, (2, 0, schema())), done.append)
    bench.workers.run_all()
    assert [type(answer) for answer in done] == [RealmUnavailable, RealmUnavailable, UploadDone]
    bench.live.upload(upload(client.ident, (2, 0, schema()), (3, 0, b"")), done.append)
    bench.workers.run_all()
    assert done[3] == UploadDone(UploadCursor(3, 0))


def test_room_is_given_back_for_what_was_refused_unlooked_at() -> None:
    bench = Bench(room=WaitingRoom(len(schema()) + 1 + 2 * ENTRY_COST))
    client = bench.client()
    done: list[UploadDone | RealmError] = []
    bench.live.upload(upload(client.ident, (2, 0, b"\xff")), done.append)
    bench.live.upload(upload(client.ident, (3, 0, schema())), done.append)
    bench.workers.run_all()
    bench.live.upload(upload(client.ident, (2, 0, schema())), done.append)
    bench.live.upload(upload(client.ident, (3, 0, b"\x3f")), done.append)
    bench.workers.run_all()
    assert [type(answer) for answer in done] == [BadUpload, BadUpload, UploadDone, BadUpload]


def test_an_observer_hears_how_much_waits_and_when_it_is_done() -> None:
    bench = Bench()
    client = bench.client()
    bench.live.upload(upload(client.ident, (2, 0, schema())), lambda answer: None)
    bench.live.upload(upload(client.ident, (3, 0, b"\xff")), lambda answer: None)
    bench.live.upload(upload(client.ident, progress=UploadCursor(7, 0)), lambda answer: None)
    assert bench.figures.pending == len(schema()) + 1 + 2 * ENTRY_COST
    assert (bench.figures.open, bench.figures.commits) == (1, 0)
    bench.workers.run_all()
    assert (bench.figures.pending, bench.figures.open, bench.figures.commits) == (0, 1, 2)
    bench.live.close_store(lambda: None)
    bench.workers.run_all()
    assert bench.figures.open == 0


def test_an_answer_tells_the_log_what_an_upload_led_to() -> None:
    bench = Bench()
    one, two = bench.client(), bench.client()
    done: list[UploadDone | RealmError] = []
    bench.live.upload(upload(one.ident, (2, 0, schema()), (3, 0, create())), done.append)
    bench.live.upload(upload(two.ident, (2, 0, create())), done.append)
    bench.workers.run_all()
    first, second = done
    assert isinstance(first, UploadDone)
    assert isinstance(second, UploadDone)
    assert (first.version, first.merged) == (2, 0)
    assert second.version == 3
    assert second.merged > 0


def test_a_realm_whose_first_work_fails_can_be_used_afterwards() -> None:
    full = [True]

    def before(name: str, commit: Commit) -> None:
        if full[0]:
            raise StoreFull("no room")

    bench = Bench(MemoryStore(random_bytes=bytes, before_commit=before))
    answers: list[ClientFile | RealmError] = []
    bench.live.allocate("user", answers.append)
    bench.workers.run_all()
    full[0] = False
    bench.live.allocate("user", answers.append)
    bench.workers.run_all()
    assert [type(answer) for answer in answers] == [RealmUnavailable, ClientFile]


def test_client_files_that_are_wanted_together_share_a_commit() -> None:
    commits: list[Commit] = []
    bench = Bench(MemoryStore(random_bytes=bytes, before_commit=lambda name, commit: commits.append(commit)))
    answers: list[ClientFile | RealmError] = []
    for owner in ("first", "second", "third"):
        bench.live.allocate(owner, answers.append)
    bench.workers.run_all()
    assert [(each.ident, each.owner) for each in answers if isinstance(each, ClientFile)] == [
        (2, "first"),
        (3, "second"),
        (4, "third"),
    ]
    assert [sorted(commit.clients) for commit in commits] == [[2], [3, 4]], "the first opens the Realm"


def test_client_files_and_other_work_take_turns() -> None:
    bench = Bench()
    client = bench.client()
    order: list[str] = []
    for number in range(2, 5):
        bench.live.upload(upload(client.ident, (number, 0, schema())), lambda answer: order.append("upload"))
        bench.live.client_version(client.ident, client.salt, lambda answer: order.append("other"))
        bench.live.allocate("user", lambda answer: order.append("file"))
    bench.workers.run_all()
    assert order == ["upload", "file", "file", "file", "other", "upload", "other", "upload", "other"]


def test_a_new_realm_is_asked_for_by_each_user_himself() -> None:
    def refuse() -> None:
        raise LimitReached("new_realms_per_user", "no more for you")

    registry: Registry[Body] = Registry(memory_store(), FixedEnvironment(), workers := HeldWorkers(), lambda _: (), 10)
    live = registry.get("/new")
    answers: list[ClientFile | RealmError] = []
    live.allocate("greedy", answers.append, refuse)
    live.allocate("modest", answers.append)
    workers.run_all()
    assert [type(answer) for answer in answers] == [LimitReached, ClientFile]


def test_a_store_is_closed_again_if_its_realm_does_not_open() -> None:
    broken = [True]

    class Broken(FixedEnvironment):
        def random_salt(self) -> int:
            if broken[0]:
                raise StoreFull("whatever stops a Realm from opening")
            return super().random_salt()

    workers = HeldWorkers()
    registry: Registry[Body] = Registry(memory_store(), Broken(), workers, lambda entries: (), 10)
    answers: list[RealmError | None] = []
    for _ in range(2):
        registry.get("/a").open(answers.append)
        workers.run_all()
        broken[0] = False
    assert [type(answer) for answer in answers] == [RealmUnavailable, type(None)]


# Stored values


class Folding(Bench):
    """A LiveRealm whose stored values follow the log, for history is kept ``history_ttl`` seconds only."""

    def __init__(self, store: MemoryStore | None = None, history_ttl: int = 1 << 30) -> None:
        super().__init__(store)
        self.live = LiveRealm(
            "/test",
            lambda permit: Realm(self.store.open("/test", create=True), FixedEnvironment(), history_ttl),
            self.workers,
            self.encode,
            lambda live: None,
            self.figures,
            2.0,
        )

    def upload(self, ident: int, *changesets: tuple[int, int, bytes]) -> None:
        self.live.upload(upload(ident, *changesets), lambda answer: None)

    def read(self) -> tuple[int, int] | RealmError:
        found: list[tuple[int, int] | RealmError] = []
        self.live.read(lambda reader: (reader.version, reader.count("T")), found.append)
        self.workers.run_all()
        return found[0]


def objects_commits(store: MemoryStore) -> list[int]:
    commits: list[int] = []
    store.before_commit = lambda name, commit: commits.append(len(commit.objects)) if commit.objects else None
    return commits


def test_the_values_follow_in_idle_time_and_not_on_the_uploads_path() -> None:
    bench = Folding()
    client = bench.client()
    bench.workers.fire_timers()
    bench.workers.run_all()
    commits = objects_commits(bench.store)
    bench.upload(client.ident, (2, 0, schema()))
    bench.upload(client.ident, (3, 0, create()))
    bench.workers.run_all()
    assert (commits, len(bench.workers.timers)) == ([], 1)
    bench.workers.fire_timers()
    bench.workers.run_all()
    assert (len(commits), len(bench.workers.timers)) == (1, 0)
    assert bench.read() == (2, 1)
    assert len(commits) == 1  # they were there already


def test_reading_catches_up_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "STEP_INSTRUCTIONS", 1)
    bench = Bench()
    client = bench.client()
    for number in range(5):
        bench.live.upload(upload(client.ident, (2 + number, 0, create(number) if number else schema())), lambda _: None)
    bench.workers.run_all()
    commits = objects_commits(bench.store)
    found: list[int | RealmError] = []
    bench.live.read(lambda reader: reader.count("T"), found.append)
    bench.workers.run_all()
    assert found == [4]
    assert len(commits) == 5


def test_where_all_history_is_kept_the_values_follow_when_they_are_read() -> None:
    bench = Folding(history_ttl=0)
    client = bench.client()
    commits = objects_commits(bench.store)
    bench.upload(client.ident, (2, 0, schema()), (3, 0, create()))
    bench.workers.run_all()
    bench.workers.fire_timers()
    bench.workers.run_all()
    assert commits == []
    assert bench.read() == (2, 1)
    assert len(commits) == 1


def test_a_step_gives_way_to_uploads_but_not_for_ever() -> None:
    bench = Folding()
    client = bench.client()
    bench.workers.fire_timers()
    bench.workers.run_all()
    commits = objects_commits(bench.store)
    for number in range(MAX_POSTPONED + 1):
        bench.upload(client.ident, (2 + number, 0, create(number) if number else schema()))
        bench.upload(client.ident, (20 + number, 0, b""))
        bench.workers.run_one()
        assert commits == []
        bench.workers.fire_timers()
    bench.workers.run_all()
    assert len(commits) == 1


def test_values_that_cannot_follow_are_reported_once_and_hurt_nobody() -> None:
    bench = Folding()
    client = bench.client()
    bench.workers.fire_timers()
    bench.workers.run_all()
    realm = bench.live._realm
    assert realm is not None
    realm._append(Commit(objects={META_KEY: b"rubbish"}))
    for number in range(3):
        bench.upload(client.ident, (2 + number, 0, create(number) if number else schema()))
        bench.workers.run_all()
        bench.workers.fire_timers()
        bench.workers.run_all()
    assert len(bench.workers.reports) == 1
    assert realm.head.version == 3
    assert isinstance(bench.read(), RealmUnavailable)


def test_a_step_for_which_the_disk_had_no_room_is_tried_again() -> None:
    bench = Folding()
    client = bench.client()
    bench.workers.fire_timers()
    bench.workers.run_all()
    bench.upload(client.ident, (2, 0, schema()))
    bench.workers.run_all()

    def full(name: str, commit: Commit) -> None:
        raise StoreFull("no room")

    bench.store.before_commit = full
    bench.workers.fire_timers()
    bench.workers.run_all()
    assert bench.workers.reports == ["/test: StoreFull('no room')"]
    commits = objects_commits(bench.store)
    bench.workers.fire_timers()
    bench.workers.run_all()
    assert (len(commits), len(bench.workers.timers)) == (1, 0)


def test_a_realm_that_was_closed_takes_no_step_until_it_is_opened() -> None:
    bench = Folding()
    client = bench.client()
    bench.upload(client.ident, (2, 0, schema()))
    bench.workers.run_all()
    bench.live.close_store(lambda: None)
    bench.workers.run_all()
    bench.workers.fire_timers()
    assert not bench.live.is_open
    assert not bench.workers.waiting
    bench.live.open(lambda _: None)
    bench.workers.run_all()
    commits = objects_commits(bench.store)
    bench.workers.fire_timers()
    bench.workers.run_all()
    assert len(commits) == 1


# History that shrinks


class Ageing(FixedEnvironment):
    def __init__(self) -> None:
        super().__init__()
        self.time = 1_700_000_000

    def now(self) -> int:
        return self.time


def shrinking(environment: Ageing, workers: HeldWorkers, store: MemoryStore) -> Registry[Body]:
    return Registry(
        store,
        environment,
        workers,
        lambda entries: tuple(entry.server_version for entry in entries),
        10,
        fold_delay=2.0,
        history_ttl=100,
    )


def test_history_of_age_is_folded_while_sessions_stay_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LEAST_GROWTH", 1)
    environment, workers, store = Ageing(), HeldWorkers(), memory_store()
    live = shrinking(environment, workers, store).get("/test")
    found: list[ClientFile | RealmError] = []
    for _ in range(3):
        live.allocate("user", found.append)
    workers.run_all()
    writer, away, fresh = (client for client in found if isinstance(client, ClientFile))
    bodies: list[tuple[Download, Body] | RealmError] = []

    def quiet() -> None:
        for _ in range(20):
            workers.fire_timers()
            workers.run_all()

    listener = Listener()
    live.identify(
        Identify(writer.ident, writer.salt, DownloadCursor(), SaltedVersion()), "user", 14, listener, lambda _: None
    )
    live.upload(upload(writer.ident, (2, 0, schema())), lambda _: None)
    workers.run_all()
    live.fetch(away.ident, DownloadCursor(0, 0), 14, bodies.append)  # the tail has it
    for number in range(20):
        live.upload(upload(writer.ident, (3 + number, 0, set_n(number) if number else create())), lambda _: None)
    workers.run_all()
    quiet()
    environment.time += 100
    quiet()
    assert not live.is_open  # closed, so that the disk gets its room back
    assert isinstance(bodies[0], tuple)
    live.fetch(away.ident, DownloadCursor(1, 0), 14, bodies.append)
    workers.run_all()
    assert isinstance(bodies[1], ClientFileExpired)
    answers: list[Identified | RealmError] = []
    live.identify(
        Identify(fresh.ident, fresh.salt, DownloadCursor(), SaltedVersion()), "user", 14, Listener(), answers.append
    )
    workers.run_all()
    assert isinstance(answers[0], Identified)
    live.fetch(fresh.ident, DownloadCursor(), 14, bodies.append)
    workers.run_all()
    assert isinstance(bodies[2], tuple)
    assert bodies[2][1] == (1, 2)  # the classes, the object
    assert bodies[2][0].cursor == DownloadCursor(22, 0)
    assert listener.versions[-1] == 22  # that of the squash
    live.upload(upload(writer.ident, (40, 22, set_n(5))), lambda _: None)
    workers.run_all()
    assert listener.versions[-1] == 23
    assert workers.reports == []


def test_a_realm_without_news_is_looked_at_while_it_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LEAST_GROWTH", 1)
    environment, workers, store = Ageing(), HeldWorkers(), memory_store()
    live = shrinking(environment, workers, store).get("/test")
    live.open(lambda _: None)
    workers.run_all()
    for _ in range(4):
        workers.fire_timers()
        workers.run_all()
    assert len(workers.timers) == 1
    live.close_store(lambda: None)
    workers.run_all()
    for _ in range(4):
        workers.fire_timers()
        workers.run_all()
    assert not workers.timers
    assert not live.is_open
