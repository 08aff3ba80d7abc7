"""What the tests of a Realm share: a fixed environment, workers that can be held back, and small changesets."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    COLLECTION_LIST,
    COLLECTION_SINGLE,
    TABLE_TOP_LEVEL,
    TYPE_INT,
    TYPE_NULL,
    AddColumn,
    AddTable,
    ArrayInsert,
    Changeset,
    CreateObject,
    Instruction,
    Payload,
    Update,
)
from realmserver.realms.realm import Realm
from realmserver.realms.requests import Upload, UploadCursor, UploadEntry
from realmserver.store.interface import Store
from realmserver.store.memory import MemoryStore

T = TypeVar("T")

ID = (TYPE_INT, 1)


class FixedEnvironment:
    """Salts count up, time stands still, warnings are kept."""

    def __init__(self) -> None:
        self.salt = 100
        self.warnings: list[str] = []

    def random_salt(self) -> int:
        self.salt += 1
        return self.salt

    def now(self) -> int:
        return 1_700_000_000

    def warn(self, realm: str, text: str) -> None:
        self.warnings.append(f"{realm}: {text}")


class HeldWorkers:
    """Workers whose work runs when the test says so."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()
        self.timers: deque[Callable[[], None]] = deque()
        self.reports: list[str] = []

    def run(self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        def job() -> None:
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 (a thread pool hands over whatever was raised)
                failed(error)
            else:
                done(result)

        self.waiting.append(job)

    def later(self, delay: float, call: Callable[[], None]) -> None:
        self.timers.append(call)

    def report(self, realm: str, error: Exception) -> None:
        self.reports.append(f"{realm}: {error!r}")

    def run_one(self) -> None:
        self.waiting.popleft()()

    def run_all(self) -> None:
        while self.waiting:
            self.run_one()

    def fire_timers(self) -> None:
        for _ in range(len(self.timers)):
            self.timers.popleft()()


def memory_store() -> MemoryStore:
    return MemoryStore(random_bytes=bytes)


def open_realm(store: Store | None = None, environment: FixedEnvironment | None = None) -> Realm:
    return Realm((store or memory_store()).open("/test", create=True), environment or FixedEnvironment())


def data(*instructions: Instruction) -> bytes:
    """The bytes of a changeset."""
    return encode(Changeset(list(instructions)))


def schema() -> bytes:
    """Class T: key id (int), n (int), items (list of int), any (Mixed)."""
    return data(
        AddTable("T", TABLE_TOP_LEVEL, "id", TYPE_INT, False),
        AddColumn("T", "n", TYPE_INT, False, COLLECTION_SINGLE),
        AddColumn("T", "items", TYPE_INT, False, COLLECTION_LIST),
        AddColumn("T", "any", TYPE_NULL, True, COLLECTION_SINGLE),
    )


def create(key: int = 1) -> bytes:
    return data(CreateObject("T", (TYPE_INT, key)))


def set_n(value: int, key: int = 1) -> bytes:
    return data(Update("T", (TYPE_INT, key), "n", [], Payload(TYPE_INT, value)))


def insert(index: int, value: int, size: int, key: int = 1) -> bytes:
    return data(ArrayInsert("T", (TYPE_INT, key), "items", [index], Payload(TYPE_INT, value), size))


def upload(
    ident: int, *changesets: tuple[int, int, bytes], timestamp: int = 1, progress: UploadCursor | None = None
) -> Upload:
    """An upload of (client version, base server version, changeset) …"""
    entries: Sequence[UploadEntry] = [
        UploadEntry(version, base, timestamp, 0, changeset) for version, base, changeset in changesets
    ]
    if progress is None:
        progress = UploadCursor(entries[-1].client_version, entries[-1].server_version) if entries else UploadCursor()
    return Upload(ident, tuple(entries), progress, progress.server_version, 14)
