"""What is told of a history that shrinks, for the figures."""

import pytest
from realm_tools import FixedEnvironment, HeldWorkers, create, memory_store, schema, set_n, upload

from realmserver.realms import retention
from realmserver.realms.live import LiveRealm
from realmserver.realms.observer import Unobserved
from realmserver.realms.realm import Realm
from realmserver.realms.registry import Registry
from realmserver.realms.requests import DownloadCursor, Identify, RealmError, SaltedVersion
from realmserver.store.interface import ClientFile

TTL = 100


class Ageing(FixedEnvironment):
    def __init__(self) -> None:
        super().__init__()
        self.time = 1_700_000_000

    def now(self) -> int:
        return self.time


class Told(Unobserved):
    def __init__(self) -> None:
        self.news: list[str | int] = []

    def squashed(self) -> None:
        self.news.append("squashed")

    def folded(self, versions: int) -> None:
        self.news.append(versions)

    def folding_failed(self) -> None:
        self.news.append("failed")


class Listener:
    def advanced(self, version: int) -> None: ...

    def superseded(self, by: object) -> None: ...

    def expelled(self, error: RealmError) -> None: ...


class Bench:
    """One Realm with a writer, and a history to be folded."""

    def __init__(self) -> None:
        self.environment, self.workers, self.told = Ageing(), HeldWorkers(), Told()
        registry: Registry[tuple[int, ...]] = Registry(
            memory_store(),
            self.environment,
            self.workers,
            lambda entries: (),
            10,
            self.told,
            fold_delay=2.0,
            history_ttl=TTL,
        )
        self.live: LiveRealm[tuple[int, ...]] = registry.get("/test")
        found: list[ClientFile | RealmError] = []
        self.live.allocate("user", found.append)
        self.workers.run_all()
        (client,) = found
        assert isinstance(client, ClientFile)
        self.ident = client.ident
        start = Identify(client.ident, client.salt, DownloadCursor(), SaltedVersion())
        self.live.identify(start, "user", 14, Listener(), lambda _: None)
        self.workers.run_all()

    def write(self, first: int, *changesets: bytes, seen: int = 0) -> None:
        """Upload with client versions from ``first`` on, made when server version ``seen`` was known."""
        for version, changeset in enumerate(changesets, first):
            self.live.upload(upload(self.ident, (version, seen, changeset)), lambda _: None)
        self.workers.run_all()

    def quiet(self) -> None:
        for _ in range(20):
            self.workers.fire_timers()
            self.workers.run_all()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(retention, "LEAST_GROWTH", 1)
    return Bench()


def test_a_squash_is_told_when_it_is_whole_and_again_when_it_counts(bench: Bench) -> None:
    bench.write(2, schema(), create(), *(set_n(number) for number in range(8)))
    bench.quiet()
    assert bench.told.news == ["squashed"]
    bench.environment.time += TTL
    bench.quiet()
    assert bench.told.news == ["squashed", 10]
    bench.write(12, *(set_n(number) for number in range(30)), seen=10)
    bench.quiet()
    bench.environment.time += TTL
    bench.quiet()
    of_the_first = 1  # with which it began to count
    assert bench.told.news == ["squashed", 10, "squashed", 30 + of_the_first]


def test_a_failure_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(realm: Realm) -> bool:
        raise OSError("the disk is gone")

    monkeypatch.setattr(Realm, "tidy", fail)
    bench.write(2, schema(), create())
    bench.quiet()
    assert bench.told.news == ["failed"]
    assert bench.workers.reports == ["/test: OSError('the disk is gone')"]
