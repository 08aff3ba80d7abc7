"""Batches and caches change nothing: what a Realm makes of uploads one by one, opened anew from its store for each, is
what it makes of them in batches of any size with everything kept in memory."""

from random import Random

import pytest
from apply_model import schema
from apply_random import random_instruction
from attrs import evolve
from realm_tools import FixedEnvironment, data

from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import TYPE_INT, BadChangeset, Changeset, CreateObject, Instruction, Payload
from realmserver.changeset.text import describe
from realmserver.merge.errors import TransformError
from realmserver.realms import history
from realmserver.realms.core import instructions_of
from realmserver.realms.mirror import ClientHistory
from realmserver.realms.realm import Realm
from realmserver.realms.requests import DownloadCursor, RealmError, Upload, UploadCursor, UploadDone, UploadEntry
from realmserver.realms.values import Values
from realmserver.store.memory import MemoryStore

CLIENTS = 4
ROUNDS = 24
FILES = 30
"""Client files given out at first: a device that is stuck is replaced by a new one."""
UNAPPLICABLE = data(CreateObject("NoSuchClass", (TYPE_INT, 1)))


class Device:
    """A client: its content, what it has not uploaded, and how far it has downloaded."""

    def __init__(self, ident: int, random: Random) -> None:
        self.ident = ident
        self.random = random
        self.values = Values()
        self.history = ClientHistory(ident)
        self.version = 1
        self.cursor = DownloadCursor()
        self.uploaded = 0
        self.is_stuck = False
        self.edit(schema())

    def edit(self, instructions: list[Instruction]) -> None:
        """One transaction of those of ``instructions`` that can be applied here."""
        done = []
        for instruction in instructions:
            try:
                self.values.applier.apply(instruction)
            except BadChangeset:
                continue
            done.append(instruction)
        self.version += 1
        now = self.random.randrange(1000)
        changeset = encode(Changeset(done))
        self.history.committed(UploadEntry(self.version, self.cursor.server_version, now, 0, changeset))

    def download(self, realm: Realm) -> None:
        """Everything new; a known fault of the merge rules may stop this device for good (``spec/merge.md`` 8.6)."""
        download = realm.download(self.ident, self.cursor, realm.head)
        try:
            for entry in download.entries:
                self.values.apply_tolerantly(self.history.integrate(entry))
        except (BadChangeset, TransformError):
            self.is_stuck = True
        self.cursor = download.cursor
        self.version += 1

    def upload(self) -> Upload:
        """Some of what is pending, perhaps nothing: then a progress report."""
        entries = list(self.history.pending(self.uploaded))
        entries = entries[: self.random.randrange(len(entries) + 1)]
        progress = UploadCursor(self.version, self.cursor.server_version)
        if entries:
            progress = UploadCursor(entries[-1].client_version, entries[-1].server_version)
        elif list(self.history.pending(self.uploaded)):
            progress = UploadCursor()  # it may not go past what is pending
        return Upload(self.ident, tuple(entries), progress, progress.server_version, 14)


def spoiled(upload: Upload, random: Random) -> Upload:
    """``upload`` with an entry at its end that cannot be integrated."""
    last = upload.entries[-1]
    broken = random.choice([b"\xff", UNAPPLICABLE])
    entry = last._replace(client_version=last.client_version + 1, changeset=broken)
    return evolve(upload, entries=(*upload.entries, entry))


def allocate(realm: Realm) -> list[int]:
    return [realm.allocate("user").ident for _ in range(FILES)]


Answers = list[UploadDone | RealmError]


class OneByOne:
    """Makes the uploads, by devices that edit, upload and download at random, and integrates each alone."""

    def __init__(self, seed: int) -> None:
        self.store = MemoryStore(random_bytes=bytes)
        self.environment = FixedEnvironment()
        self.uploads: list[Upload] = []
        self.answers: Answers = []
        self._random = random = Random(seed)
        self._realm = self._open()
        idents = allocate(self._realm)
        devices = [Device(idents.pop(), random) for _ in range(CLIENTS)]
        for _ in range(ROUNDS):
            for place, device in enumerate(devices):
                self._turn(device)
                if device.is_stuck and idents:
                    devices[place] = Device(idents.pop(), random)
        self._realm.close()

    def _open(self) -> Realm:
        return Realm(self.store.open("/test", create=True), self.environment)

    def _turn(self, device: Device) -> None:
        random = self._random
        for _ in range(random.randrange(4)):
            device.edit([random_instruction(random, device.values) for _ in range(random.randrange(1, 8))])
        if random.random() < 0.3:
            device.download(self._realm)
        if random.random() < 0.7:
            upload = device.upload()
            if upload.entries and random.random() < 0.15:
                self._integrate(spoiled(upload, random))
            device.is_stuck = isinstance(self._integrate(upload), RealmError)
            device.uploaded = max(device.uploaded, upload.progress.client_version)

    def _integrate(self, upload: Upload) -> UploadDone | RealmError:
        self._realm.close()
        self._realm = self._open()
        self.uploads.append(upload)
        self.answers += self._realm.integrate([upload]).answers
        return self.answers[-1]


def in_batches(made: OneByOne, random: Random) -> tuple[MemoryStore, Answers, list[str]]:
    """The same uploads, several at once; after a bad one, none of the same client file in that batch."""
    store, environment = MemoryStore(random_bytes=bytes), FixedEnvironment()
    realm = Realm(store.open("/test", create=True), environment)
    allocate(realm)
    answers: Answers = []
    batch: list[Upload] = []
    failed: set[int] = set()
    for upload, answer in zip(made.uploads, made.answers, strict=True):
        if upload.ident in failed or random.random() < 0.15:
            answers += realm.integrate(batch).answers
            batch, failed = [], set()
        batch.append(upload)
        if isinstance(answer, RealmError):
            failed.add(upload.ident)
        check_cached(realm)
    answers += realm.integrate(batch).answers
    check_cached(realm)
    realm.close()
    return store, answers, environment.warnings


def check_cached(realm: Realm) -> None:
    """Reciprocals kept in memory are as if they had just been read, offsets of strings included (rule C5)."""
    for cached in realm._history._reciprocals.values():
        changeset = instructions_of(cached.changeset)
        assert parsed(changeset) == parsed(decode(cached.changeset.canonical()))


def parsed(changeset: Changeset) -> tuple[list[str], list[tuple[str, int]]]:
    payloads = [(each, getattr(each, "payload", None)) for each in changeset.instructions]
    places = [(describe(each), payload.offset if isinstance(payload, Payload) else -1) for each, payload in payloads]
    return changeset.strings, places


def contents(store: MemoryStore) -> dict[str, object]:
    """All that a Realm has on its disk, but for salts."""
    realm = store.open("/test", create=False)
    with realm.snapshot() as snapshot:
        head = snapshot.head
        clients = list(snapshot.clients())
        state = snapshot._open_state()
        return {
            "head": evolve(head, salt=0),
            "log": [entry._replace(salt=0) for entry in snapshot.entries(1, head.version)],
            "clients": [evolve(client, salt=0) for client in clients],
            "reciprocal": {ident: changesets for ident, changesets in state.reciprocal.items() if changesets},
            "schema": state.schema,
            "shape": state.shape,
        }


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("cached", [history.MAX_CACHED_INSTRUCTIONS, 40])
def test_batches_and_caches_change_nothing(seed: int, cached: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_CACHED_INSTRUCTIONS", cached)
    made = OneByOne(seed)
    store, answers, warnings = in_batches(made, Random(seed))
    assert [repr(answer) for answer in answers] == [repr(answer) for answer in made.answers]
    expected, got = contents(made.store), contents(store)
    for part, value in expected.items():
        assert got[part] == value, part
    assert warnings == made.environment.warnings


@pytest.mark.parametrize("seed", range(15))
def test_a_new_client_can_apply_the_whole_log(seed: int) -> None:
    made = OneByOne(seed)
    log = contents(made.store)["log"]
    assert isinstance(log, list)
    values = Values()
    for entry in log:
        values.apply(decode(entry.changeset))


def test_the_devices_do_enough() -> None:
    """The property above would also hold if nothing happened."""
    made = [OneByOne(seed) for seed in range(10)]
    answers = [answer for each in made for answer in each.answers]
    uploads = [upload for each in made for upload in each.uploads]
    assert sum(isinstance(answer, UploadDone) for answer in answers) > 400
    assert sum(isinstance(answer, RealmError) for answer in answers) > 50
    assert sum(len({entry.server_version for entry in upload.entries}) > 1 for upload in uploads) > 50
    assert all(contents(each.store)["reciprocal"] for each in made)
