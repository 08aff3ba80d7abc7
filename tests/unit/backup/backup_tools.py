"""Data directories for the tests of the backup room: made by the server's own code, and then copied or damaged."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import lmdb

from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    COLLECTION_LIST,
    COLLECTION_SINGLE,
    TABLE_TOP_LEVEL,
    TYPE_INT,
    TYPE_NULL,
    TYPE_STRING,
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
from realmserver.realms.requests import Upload, UploadCursor, UploadDone, UploadEntry
from realmserver.store.lmdb_store import LmdbStore
from realmserver.store.lmdb_system import LmdbSystemStore

SECRET: Final = b"a password's hash"


class Fixed:
    """An environment for Realms in which nothing is left to chance."""

    def random_salt(self) -> int:
        return 4711

    def now(self) -> int:
        return 1_700_000_000

    def warn(self, realm: str, text: str) -> None:
        raise AssertionError(text)


class Listener:
    """A :class:`~realmserver.backup.progress.Progress` that remembers."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.behind: list[int] = []
        self.problems: list[str] = []
        self.ended = 0

    def begin(self, label: str, total: int) -> None:
        self.begun.append((label, total))

    def at(self, done: int) -> None:
        self.behind.append(done)

    def problem(self, text: str) -> None:
        self.problems.append(text)

    def end(self) -> None:
        self.ended += 1


def changesets() -> list[bytes]:
    """A class with a list, a Mixed property and two objects; among it a change that merges with itself."""
    key = (TYPE_INT, 1)
    made: list[list[Instruction]] = [
        [
            AddTable("T", TABLE_TOP_LEVEL, "id", TYPE_INT, False),
            AddColumn("T", "n", TYPE_STRING, False, COLLECTION_SINGLE),
            AddColumn("T", "items", TYPE_INT, False, COLLECTION_LIST),
            AddColumn("T", "any", TYPE_NULL, True, COLLECTION_SINGLE),
        ],
        [CreateObject("T", key), CreateObject("T", (TYPE_INT, 2))],
        [ArrayInsert("T", key, "items", [0], Payload(TYPE_INT, 5), 0)],
        [
            Update("T", key, "n", [], Payload(TYPE_STRING, "x" * 2000)),
            Update("T", key, "any", [], Payload(TYPE_INT, 3)),
        ],
    ]
    return [encode(Changeset(instructions)) for instructions in made]


def fill(realm: Realm) -> None:
    """Two client files upload, the second without having seen the first: so there is a reciprocal history."""
    for _ in range(2):
        realm.allocate("somebody")
    one, other = realm.head.last_ident - 1, realm.head.last_ident
    for ident in (one, other):
        entries = tuple(UploadEntry(version, 0, 1, 0, data) for version, data in enumerate(changesets(), 2))
        done = realm.integrate([Upload(ident, entries, UploadCursor(len(entries) + 1, 0), 0, 14)])
        assert isinstance(done.answers[0], UploadDone), done.answers


def make_root(root: Path, *names: str) -> Path:
    """A data directory as a stopped server leaves it, with the Realms ``names``."""
    store = LmdbStore(root, random_bytes=os.urandom)
    for name in names:
        realm = Realm(store.open(name, create=True), Fixed())
        fill(realm)
        realm.close()
    store.close()
    system = LmdbSystemStore(root)
    system.write({("users", b"u1"): SECRET})
    system.close()
    (root / "keys").mkdir(0o700)
    (root / "keys" / "token-signature.key").touch(0o600)
    (root / "keys" / "token-signature.key").write_text("a key")
    (root / "admin_token.base64").touch(0o600)
    (root / "creating" / "left-by-a-crash").mkdir()
    return root


def change(directory: Path, table: str, edit: Callable[["lmdb.Transaction[bytes]", "lmdb._Database"], object]) -> None:
    """Change a Realm's records behind the server's back."""
    with lmdb.open(str(directory), max_dbs=20) as env, env.begin(write=True) as txn:
        edit(txn, env.open_db(table.encode(), txn=txn, create=False))


def tree(root: Path) -> dict[str, int]:
    """Every path below ``root``, with its mode; LMDB's lock files apart."""
    return {
        str(path.relative_to(root)): path.stat().st_mode & 0o7777 for path in root.rglob("*") if path.name != "lock.mdb"
    }


def scramble(directory: Path, page_from: int = 2) -> None:
    """Overwrite all pages but LMDB's two meta pages, as a disk may that has lost its mind."""
    data = directory / "data.mdb"
    content = bytearray(data.read_bytes())
    for at in range(page_from * 4096, len(content)):
        content[at] = (at * 31 + 7) & 0xFF
    shutil.copyfile(data, data.with_suffix(".before"))
    data.write_bytes(content)
