"""A Realm that cannot be opened: who is told, what its clients are told, and how it comes back."""

import pytest
from realm_tools import FixedEnvironment, HeldWorkers

from realmserver.realms.observer import Unobserved
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.registry import RETRY_DELAY, Registry
from realmserver.realms.requests import RealmError, RealmUnavailable
from realmserver.store.interface import StoreError, UnknownFormat
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
