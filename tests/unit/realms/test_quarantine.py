"""A Realm that cannot be opened, or turns out to be damaged: who is told, what its clients are told, and how it comes
back."""

from typing import NoReturn

import pytest
from realm_tools import FixedEnvironment, HeldWorkers, create, schema, upload

from realmserver.realms.live import Subscriber
from realmserver.realms.observer import Unobserved
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.realm import Realm
from realmserver.realms.registry import RETRY_DELAY, Registry
from realmserver.realms.requests import (
    DownloadCursor,
    Identify,
    RealmError,
    RealmUnavailable,
    SaltedVersion,
    UploadDone,
)
from realmserver.store.interface import ClientFile, Commit, StoreError, UnknownFormat
from realmserver.store.memory import MemoryRealmStore, MemoryStore


class Damaged(MemoryStore):
    """A store in which opening "/a" raises ``error``, as long as there is one."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__(random_bytes=bytes)
        self.error = error
        self.opened: list[str] = []

    def open(self, name: str, *, create: bool) -> MemoryRealmStore:
        self.opened.append(name)
        if name == "/a" and self.error is not None:
            raise self.error
        return super().open(name, create=create)


class Told(Unobserved):
    def __init__(self) -> None:
        self.news: list[tuple[str, ...]] = []

    def quarantined(self, realm: str, reason: str) -> None:
        self.news.append(("quarantined", realm, reason))

    def released(self, realm: str) -> None:
        self.news.append(("released", realm))


class Clocked(FixedEnvironment):
    def __init__(self) -> None:
        super().__init__()
        self.time = 1_700_000_000

    def now(self) -> int:
        return self.time


class Bench:
    def __init__(self, error: Exception) -> None:
        self.store = Damaged(error)
        self.environment = Clocked()
        self.told = Told()
        self.workers = HeldWorkers()
        self.registry: Registry[tuple[int, ...]] = Registry(
            self.store, self.environment, self.workers, lambda entries: (), 10, self.told
        )

    def open(self, name: str = "/a") -> RealmError | None:
        """What a client is told that wants to use the Realm."""
        answers: list[RealmError | None] = []
        self.registry.get(name).open(answers.append)
        self.workers.run_all()
        (answer,) = answers
        return answer if isinstance(answer, RealmError) else None

    def later(self) -> None:
        self.environment.time += RETRY_DELAY


DAMAGED = UnknownFormat("/a: the file is damaged")


@pytest.mark.parametrize("error", [DAMAGED, BrokenRecord("the record ends inside a text")])
def test_it_is_told_once_and_its_clients_are_asked_to_come_again(error: Exception) -> None:
    bench = Bench(error)
    for _ in range(3):
        assert isinstance(bench.open(), RealmUnavailable)
    assert bench.told.news == [("quarantined", "/a", str(error))]
    assert bench.registry.quarantined == 1


def test_others_are_not_concerned() -> None:
    bench = Bench(DAMAGED)
    bench.open()
    assert bench.open("/b") is None


def test_its_files_are_looked_at_now_and_then_only() -> None:
    bench = Bench(DAMAGED)
    bench.open()
    bench.environment.time += RETRY_DELAY - 1
    bench.open()
    assert bench.store.opened == ["/a"]
    bench.environment.time += 1
    bench.open()
    assert bench.store.opened == ["/a", "/a"]
    bench.environment.time -= 1000  # somebody has set the clock
    bench.open()
    assert bench.store.opened == ["/a", "/a", "/a"]


def test_after_a_repair_it_is_in_service_again() -> None:
    bench = Bench(DAMAGED)
    bench.open()
    bench.store.error = None
    bench.later()
    assert bench.open() is None
    assert bench.told.news == [("quarantined", "/a", str(DAMAGED)), ("released", "/a")]
    assert bench.registry.quarantined == 0


def test_another_reason_is_told() -> None:
    bench = Bench(DAMAGED)
    bench.open()
    bench.store.error = UnknownFormat("/a: it is in format 9")
    for _ in range(2):
        bench.later()
        bench.open()
    assert [news[2] for news in bench.told.news] == [str(DAMAGED), "/a: it is in format 9"]


def test_a_failure_that_may_pass_is_no_reason() -> None:
    bench = Bench(StoreError("/a: too many open files"))
    assert isinstance(bench.open(), RealmUnavailable)
    assert (bench.told.news, bench.registry.quarantined) == ([], 0)
    bench.store.error = None
    assert bench.open() is None


def test_no_store_is_left_open_where_the_state_is_damaged() -> None:
    bench = Bench(DAMAGED)
    bench.open()
    bench.store.error = None
    bench.later()
    assert bench.open() is None  # the store takes each Realm only once


# Damage that is found later


class Session:
    """Of one client file; ``ended_for`` is what it was told in the end."""

    def __init__(self, bench: Bench, name: str = "/a") -> None:
        self.bench = bench
        self.live = bench.registry.get(name)
        self.ended_for: RealmError | None = None
        found: list[ClientFile | RealmError] = []
        self.live.allocate("user", found.append)
        bench.workers.run_all()
        (client,) = found
        assert isinstance(client, ClientFile)
        self.ident = client.ident
        start = Identify(client.ident, client.salt, DownloadCursor(), SaltedVersion())
        self.live.identify(start, "user", 14, self, lambda _: None)
        bench.workers.run_all()

    def advanced(self, version: int) -> None: ...

    def superseded(self, by: Subscriber) -> None: ...

    def expelled(self, error: RealmError) -> None:
        self.ended_for = error

    def upload(self, version: int, changeset: bytes) -> list[UploadDone | RealmError]:
        """What will have been answered."""
        answers: list[UploadDone | RealmError] = []
        self.live.upload(upload(self.ident, (version, 0, changeset)), answers.append)
        return answers


def working() -> Bench:
    bench = Bench(DAMAGED)
    bench.store.error = None
    return bench


def raising(error: Exception) -> object:
    def fail(*_: object) -> NoReturn:
        raise error

    return fail


@pytest.mark.parametrize("error", [DAMAGED, BrokenRecord("the record ends inside a text")])
def test_damage_that_is_found_later_ends_the_realms_sessions_and_no_others(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    bench = working()
    one, other, neighbour = Session(bench), Session(bench), Session(bench, "/b")
    monkeypatch.setattr(Realm, "integrate", raising(error))
    first, second = one.upload(2, schema()), other.upload(2, schema())
    bench.workers.run_one()
    third = one.upload(3, create())  # while its store is being closed
    bench.workers.run_all()
    for answers in (first, second, third):
        (answer,) = answers
        assert isinstance(answer, RealmUnavailable)
    assert isinstance(one.ended_for, RealmUnavailable)
    assert isinstance(other.ended_for, RealmUnavailable)
    assert neighbour.ended_for is None
    assert not one.live.is_open
    assert bench.told.news == [("quarantined", "/a", str(error))]
    assert bench.registry.quarantined == 1
    assert all("Quarantined" in report for report in bench.workers.reports), "the observer has been told"


def test_it_is_not_opened_before_its_files_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = working()
    one = Session(bench)
    with monkeypatch.context() as patched:
        patched.setattr(Realm, "integrate", raising(DAMAGED))
        one.upload(2, schema())
        bench.workers.run_all()
    bench.store.opened.clear()
    for _ in range(3):
        assert isinstance(bench.open(), RealmUnavailable)
        bench.later()
    assert bench.store.opened == []
    repaired = bench.store.open("/a", create=False)
    repaired.append(0, 0, Commit(last_ident=7))
    repaired.close()
    assert bench.open() is None
    assert bench.told.news[1:] == [("released", "/a")]
    assert bench.registry.quarantined == 0


def test_while_somebody_still_reads_the_store_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = working()
    one, reader, late = Session(bench), Session(bench), Session(bench)
    one.upload(2, schema())
    bench.workers.run_all()
    one.live._fanout.forget()
    found: list[object] = []
    monkeypatch.setattr(Realm, "integrate", raising(DAMAGED))
    one.upload(3, create())
    reader.live.fetch(reader.ident, DownloadCursor(), 14, found.append)
    bench.workers.run_one()
    assert one.ended_for is not None
    assert one.live.is_open
    answers = late.upload(2, schema())  # it is not told yet that its session is over
    bench.workers.run_all()
    assert len(found) == 1
    assert [type(answer) for answer in answers] == [RealmUnavailable]
    assert not one.live.is_open


def test_damage_may_be_found_by_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = working()
    one, reader = Session(bench), Session(bench)
    one.upload(2, schema())
    bench.workers.run_all()
    one.live._fanout.forget()
    found: list[object] = []
    monkeypatch.setattr(Realm, "download", raising(DAMAGED))
    reader.live.fetch(reader.ident, DownloadCursor(), 14, found.append)
    bench.workers.run_all()
    assert [type(answer) for answer in found] == [RealmUnavailable]
    assert isinstance(one.ended_for, RealmUnavailable)
    assert bench.told.news == [("quarantined", "/a", str(DAMAGED))]


def test_broken_values_are_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made from the log."""
    bench = working()
    one = Session(bench)
    one.upload(2, schema())
    bench.workers.run_all()
    monkeypatch.setattr("realmserver.realms.realm.fold", raising(BrokenRecord("nonsense")))
    found: list[object] = []
    one.live.read(lambda reader: None, found.append)
    bench.workers.run_all()
    assert [type(answer) for answer in found] == [RealmUnavailable]
    assert (bench.told.news, one.ended_for) == ([], None)
    assert bench.workers.reports == ["/a: BrokenValues('nonsense')"]
