"""The check of a data directory: it finds nothing in good ones, and names what is wrong in others."""

import gzip
import json
import os
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from backup_tools import Fixed, Listener, change, make_root, scramble
from golden import VECTORS

from realmserver.backup.checking import check_realm
from realmserver.backup.verify import Verified, summary, verify
from realmserver.realms.replay import Session, Tally
from realmserver.store import records
from realmserver.store.lmdb_store import HEAD_KEY, IDENTITY_KEY, LmdbStore

SESSIONS = sorted((VECTORS / "merge").glob("*.jsonl.gz"))
SESSIONS_EACH = 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "data", "/a", "/b")


def problems(root: Path) -> list[str]:
    listener = Listener()
    found = verify(root, listener)
    assert (found.wrong > 0) == bool(listener.problems)
    return listener.problems


def realm_a(root: Path) -> Path:
    return root / "user_data" / "a.realm"


def test_a_good_directory_is_found_to_be_good(root: Path) -> None:
    listener = Listener()
    found = verify(root, listener)
    assert found == Verified(realms=2, wrong=0)
    assert listener.problems == []
    assert summary(found) == "Verified 2 Realms and the accounts: all is well."
    assert listener.behind[-1] == listener.begun[0][1]


class StoredSession(Session):
    """A history of golden vectors, replayed into a Realm on the disk."""

    def __init__(self, line: Any, root: Path) -> None:
        self.store = LmdbStore(root, random_bytes=os.urandom)
        tallies = Tally("uploads"), Tally("downloads"), Tally("states")
        super().__init__(line, *tallies, self.store, Tolerant())


class Tolerant(Fixed):
    def warn(self, realm: str, text: str) -> None:
        pass


@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.name)
def test_the_state_of_every_history_follows_from_its_log(path: Path, tmp_path: Path) -> None:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(islice(lines, SESSIONS_EACH)):
            session = StoredSession(json.loads(line), tmp_path / str(number))
            session.replay()
            session.store.close()
            assert problems(tmp_path / str(number)) == []


def put(root: Path, table: str, key: bytes, value: bytes) -> None:
    change(realm_a(root), table, lambda txn, db: txn.put(key, value, db=db))


def get(root: Path, table: str, key: bytes) -> bytes:
    found: list[bytes] = []
    change(realm_a(root), table, lambda txn, db: found.append(txn.get(key, db=db) or b""))
    return found[0]


def delete(root: Path, table: str, key: bytes) -> None:
    change(realm_a(root), table, lambda txn, db: txn.delete(key, db=db))


def one(root: Path) -> str:
    """The only thing that is wrong."""
    found = problems(root)
    assert len(found) == 1, found
    return found[0]


def test_a_missing_version(root: Path) -> None:
    delete(root, "log", records.number_key(3))
    assert one(root) == "/a: log 4: version 3 should come here"


def test_a_log_that_ends_too_early(root: Path) -> None:
    delete(root, "log", records.number_key(8))
    assert "/a: log 7: it ends here, the head is version 8" in problems(root)


def test_a_log_that_goes_on_after_the_head(root: Path) -> None:
    entry = records.unpack_entry(get(root, "log", records.number_key(8)), 8)
    put(root, "log", records.number_key(9), records.pack_entry(entry._replace(version=9, client_version=99)))
    assert "/a: log 9: it ends here, the head is version 8" in problems(root)


def test_a_changeset_that_is_none(root: Path) -> None:
    entry = records.unpack_entry(get(root, "log", records.number_key(2)), 2)
    size = len(entry.changeset)
    put(root, "log", records.number_key(2), records.pack_entry(entry._replace(changeset=b"\xfe" * size)))
    assert one(root).startswith("/a: log 2: ")


def test_a_changeset_that_no_client_can_apply(root: Path) -> None:
    first, second = (get(root, "log", records.number_key(version)) for version in (1, 2))
    entries = [records.unpack_entry(first, 1), records.unpack_entry(second, 2)]
    size = 0
    for version, entry, other in zip((1, 2), entries, reversed(entries), strict=True):
        size += len(other.changeset)
        exchanged = entry._replace(changeset=other.changeset, cumulative_size=size)
        put(root, "log", records.number_key(version), records.pack_entry(exchanged))
    assert one(root).startswith("/a: log 1: no client can apply it: ")


def test_a_compressed_changeset_with_a_flipped_bit(root: Path) -> None:
    data = bytearray(get(root, "log", records.number_key(4)))
    data[-6] ^= 1
    put(root, "log", records.number_key(4), bytes(data))
    assert one(root).startswith("/a: log 4: a compressed changeset is damaged")


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("schema", "/a: schema T: it follows from the log, but is not stored"),
        ("shape", "/a: shape 00000001010000000000000000000001: "),
    ],
)
def test_a_record_of_the_state_that_is_missing(root: Path, table: str, text: str) -> None:
    keys: list[bytes] = []
    change(realm_a(root), table, lambda txn, db: keys.extend(key for key, _ in txn.cursor(db)))
    delete(root, table, keys[1] if table == "shape" else keys[0])
    assert one(root).startswith(text[:15])
    assert one(root).endswith("it follows from the log, but is not stored")


def test_a_record_of_the_state_too_many(root: Path) -> None:
    key = b"\0\0\0\7nothing"
    put(root, "shape", key, b"\x11")
    assert one(root) == f"/a: shape {key.hex()}: it is stored, but does not follow from the log"


def test_another_record_of_the_state(root: Path) -> None:
    put(root, "shape", bytes(4), get(root, "shape", bytes(4))[:-1] + b"\x7f")
    assert one(root) == "/a: shape 00000000: it is stored otherwise than follows from the log"


def test_rubbish_in_each_table(root: Path) -> None:
    for table in ("schema", "shape", "clients", "reciprocal"):
        put(root, table, bytes(15) + b"\x02", b"\xff\xff")
    found = problems(root)
    for table in ("schema", "shape", "clients", "reciprocal"):
        assert [text for text in found if text.startswith(f"/a: {table} ")], table


def test_client_files_that_know_too_much(root: Path) -> None:
    client = records.unpack_client(get(root, "clients", records.number_key(2)), 2)
    put(root, "clients", records.number_key(2), records.pack_client(evolve(client, base_version=9)))
    put(root, "clients", records.number_key(9), records.pack_client(client))
    found = problems(root)
    assert found[0] == "/a: clients 2: it knows a version after the head, 8"
    assert found[1] == "/a: clients 9: it was never given out, the last is 3"


def test_a_client_file_that_lost_its_progress(root: Path) -> None:
    client = records.unpack_client(get(root, "clients", records.number_key(3)), 3)
    put(root, "clients", records.number_key(3), records.pack_client(evolve(client, client_version=2)))
    assert one(root) == "/a: clients 3: it stands at client version 2, the log at 5"


def test_a_client_file_that_is_missing(root: Path) -> None:
    delete(root, "clients", records.number_key(3))
    found = problems(root)
    assert "/a: clients 3: the log has changes of this client file, which is missing" in found
    assert [text for text in found if text.startswith("/a: reciprocal 3, ")]


def test_a_head_of_another_format(root: Path) -> None:
    put(root, "meta", HEAD_KEY, b"\x63" + get(root, "meta", HEAD_KEY)[1:])
    assert one(root) == "/a: meta head: a head is in format 99, this server reads format 1"


def test_a_head_with_another_salt(root: Path) -> None:
    head = records.unpack_head(get(root, "meta", HEAD_KEY), bytes(16))
    put(root, "meta", HEAD_KEY, records.pack_head(evolve(head, salt=1)))
    assert one(root) == "/a: meta head: its size or salt is not that of the newest version"


def test_the_realm_of_another_name(root: Path) -> None:
    realm_id, _ = records.unpack_identity(get(root, "meta", IDENTITY_KEY))
    put(root, "meta", IDENTITY_KEY, records.pack_identity(realm_id, "/other"))
    assert one(root) == "/a: meta identity: this is another Realm, /other"


def test_damaged_pages_end_neither_the_check_nor_that_of_the_others(root: Path) -> None:
    scramble(realm_a(root))
    put_b = root / "user_data" / "b.realm"
    change(put_b, "log", lambda txn, db: txn.delete(records.number_key(8), db=db))
    found = problems(root)
    assert found[0].startswith("/a: ")
    assert [text for text in found if text.startswith("/b: log 7: it ends here")]


def test_a_file_cut_short(root: Path) -> None:
    data = realm_a(root) / "data.mdb"
    with data.open("r+b") as file:
        file.truncate(3 * 4096)
    assert "is cut short" in one(root)


def test_only_so_many_findings_of_a_realm_are_told(root: Path) -> None:
    def spoil(txn: Any, db: Any) -> None:
        for number in range(100):
            txn.put(b"\0\0\0\7" + bytes([number]), b"\x11", db=db)

    change(realm_a(root), "shape", spoil)
    found = problems(root)
    assert len(found) == 21
    assert found[-1] == "/a: and 80 more"


def test_the_accounts_are_looked_at_without_telling_secrets(root: Path) -> None:
    system = root / "system"
    change(system, "data", lambda txn, db: txn.put(b"users\0hunter2", b"", db=db))
    change(system, "meta", lambda txn, db: txn.put(b"identity", b"\x09system", db=db))
    found = problems(root)
    assert found == [
        "the system store: meta identity: it is in a format that this server does not read",
        "the system store: users …: an empty record",
    ]


def test_progress_comes_from_within_a_realm(tmp_path: Path) -> None:
    root = make_root(tmp_path / "data", "/a")
    told: list[int] = []
    check_realm("/a", realm_a(root), 1000, told.append)
    assert told == []  # too few versions for a word
