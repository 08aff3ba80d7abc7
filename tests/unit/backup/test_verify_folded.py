"""The check of Realms whose log begins with a squash: it is replayed from there, and what is wrong is named."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from backup_tools import Fixed, Listener, change

from realmserver.backup.verify import verify
from realmserver.changeset import instructions as ins
from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import Changeset, CreateObject, Instruction, Payload, Update
from realmserver.realms import fold, realm, retention, squash
from realmserver.realms.realm import Realm
from realmserver.realms.requests import Upload, UploadCursor, UploadDone, UploadEntry
from realmserver.realms.retention import LAST_KEY
from realmserver.realms.stored_records import META_KEY
from realmserver.store import records
from realmserver.store.lmdb_store import LmdbStore

TTL = 100
ONE, TWO = (ins.TYPE_INT, 1), (ins.TYPE_INT, 2)
OBJECT = Payload(ins.TYPE_OBJECT_VALUE)
KEY_OF_ONE = {"objects": "018000000000000001", "shape": "010000000000000001"}


def integer(value: int) -> Payload:
    return Payload(ins.TYPE_INT, value)


def history() -> list[list[Instruction]]:
    """Classes with something of every kind, much of which is erased and made again: so numbers differ from those that
    a squash leads to."""
    made: list[list[Instruction]] = [
        [
            ins.AddTable("T", ins.TABLE_TOP_LEVEL, "_id", ins.TYPE_INT, False),
            ins.AddTable("E", ins.TABLE_EMBEDDED),
            ins.AddTable("Gone", ins.TABLE_TOP_LEVEL, "_id", ins.TYPE_INT, False),
            ins.AddColumn("E", "x", ins.TYPE_INT, False, ins.COLLECTION_SINGLE),
            ins.AddColumn("T", "gone", ins.TYPE_INT, False, ins.COLLECTION_SINGLE),
            ins.AddColumn("T", "n", ins.TYPE_INT, False, ins.COLLECTION_SINGLE),
            ins.AddColumn("T", "list", ins.TYPE_INT, False, ins.COLLECTION_LIST),
            ins.AddColumn("T", "set", ins.TYPE_INT, False, ins.COLLECTION_SET),
            ins.AddColumn("T", "any", ins.TYPE_NULL, True, ins.COLLECTION_SINGLE),
            ins.AddColumn("T", "e", ins.TYPE_LINK, True, ins.COLLECTION_SINGLE, "E"),
            ins.AddColumn("T", "le", ins.TYPE_LINK, False, ins.COLLECTION_LIST, "E"),
            ins.AddColumn("T", "de", ins.TYPE_LINK, True, ins.COLLECTION_DICTIONARY, "E"),
        ],
        [ins.EraseTable("Gone"), ins.EraseColumn("T", "gone"), CreateObject("T", ONE), CreateObject("T", TWO)],
    ]
    for number in range(6):
        made.append(
            [
                Update("T", ONE, "n", [], integer(number)),
                Update("T", ONE, "e", [], OBJECT),
                Update("T", ONE, "e", ["x"], integer(number)),
                Update("T", ONE, "any", [], integer(number)),
                Update("T", ONE, "any", [], Payload(ins.TYPE_LIST)),
                ins.ArrayInsert("T", ONE, "any", [0], Payload(ins.TYPE_DICTIONARY), 0),
                Update("T", ONE, "any", [0, "k"], integer(number)),
                ins.ArrayInsert("T", ONE, "list", [0], integer(number), number),
                ins.ArrayInsert("T", ONE, "le", [0], OBJECT, 0),
                Update("T", ONE, "le", [0, "x"], integer(3)),
                *([ins.ArrayErase("T", ONE, "le", [0], 1)] if number < 5 else []),
                ins.SetInsert("T", TWO, "set", [], integer(number)),
                Update("T", TWO, "de", [f"k{number % 2}"], OBJECT),
            ]
        )
    return made


class Ageing(Fixed):
    def __init__(self) -> None:
        self.time = 1_700_000_000

    def now(self) -> int:
        return self.time


class Folded:
    """The Realm /a in the data directory ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = Ageing()
        self._version = 1
        self.open()

    def open(self) -> None:
        self._store = LmdbStore(self.root, random_bytes=os.urandom)
        self.realm = Realm(self._store.open("/a", create=True), self.clock, TTL)

    def close(self) -> None:
        self.realm.close()
        self._store.close()

    def upload(self, made: list[list[Instruction]]) -> None:
        head = self.realm.head
        if head.last_ident == 1:
            self.realm.allocate("somebody")
        entries = []
        for instructions in made:
            self._version += 1
            data = encode(Changeset(instructions))
            entries.append(UploadEntry(self._version, head.version, 1, 0, data))
        progress = UploadCursor(self._version, head.version)
        (answer,) = self.realm.integrate([Upload(2, tuple(entries), progress, 0, 14)]).answers
        assert isinstance(answer, UploadDone), answer

    def tidy(self) -> None:
        while self.realm.tidy():
            pass

    def problems(self) -> list[str]:
        """What is found to be wrong."""
        listener = Listener()
        self.close()
        found = verify(self.root, listener)
        assert (found.wrong > 0) == bool(listener.problems)
        self.open()
        return listener.problems

    def change(self, table: str, edit: Callable[[dict[bytes, bytes]], object]) -> None:
        """Change the records of a table by hand, when the server has stopped."""
        self.close()

        def rewrite(txn: object, db: object) -> None:
            before = dict(txn.cursor(db))  # type: ignore[attr-defined]  # LMDB's
            after = dict(before)
            edit(after)
            for key in before.keys() - after.keys():
                txn.delete(key, db=db)  # type: ignore[attr-defined]
            for key, value in after.items():
                txn.put(key, value, db=db)  # type: ignore[attr-defined]

        change(self.root / "user_data" / "a.realm", table, rewrite)
        self.open()

    def change_squash(self, old: Callable[[Instruction], bool], new: Instruction) -> int:
        """Put ``new`` into the place of the only ``old`` instruction of the squash; which entry of it that is in."""
        changed: list[int] = []

        def rewrite(rows: dict[bytes, bytes]) -> None:
            for key in rows:
                _, number = records.pair_of(key)
                entry = records.unpack_entry(rows[key], number)
                instructions = decode(entry.changeset).instructions
                places = [place for place, each in enumerate(instructions) if old(each)]
                for place in places:
                    instructions[place] = new
                    changed.append(number)
                data = encode(Changeset(instructions))
                assert len(data) == len(entry.changeset), "or the sizes would be found to be wrong, too"
                rows[key] = records.pack_entry(entry._replace(changeset=data))

        self.change("squash", rewrite)
        (number,) = changed
        return number


def _put_back(lost: dict[bytes, bytes], rows: dict[bytes, bytes]) -> None:
    rows.update(lost)


@pytest.fixture
def folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folded:
    """Folded up to version 8, with two entries above."""
    monkeypatch.setattr(retention, "LEAST_GROWTH", 1)
    monkeypatch.setattr(squash, "WINDOW_INSTRUCTIONS", 14)
    made = Folded(tmp_path / "data")
    made.upload(history())
    made.tidy()
    made.clock.time += TTL
    made.tidy()
    made.upload([[Update("T", TWO, "n", [], integer(7))]])
    made.tidy()
    assert (made.realm.head.base_version, made.realm.head.version) == (8, 10)
    return made


def test_a_good_realm_is_found_to_be_good_at_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LEAST_GROWTH", 1)
    monkeypatch.setattr(squash, "WINDOW_INSTRUCTIONS", 14)
    monkeypatch.setattr(squash, "STEP_OBJECTS", 1)
    monkeypatch.setattr(fold, "STEP_INSTRUCTIONS", 1)
    monkeypatch.setattr(realm, "SWEEP_RECORDS", 3)
    made = Folded(tmp_path / "data")
    made.upload(history())
    assert made.problems() == []
    steps = 0
    for _ in range(2):
        while made.realm.tidy():
            steps += 1
            assert made.problems() == []
        made.clock.time += TTL
    assert steps > 10
    assert made.realm.head.base_version == 8
    made.upload([[Update("T", ONE, "n", [], integer(9))], [ins.ArrayInsert("T", ONE, "le", [1], OBJECT, 1)]])
    assert made.problems() == [], "the values lag behind"
    made.tidy()
    assert made.problems() == []


def test_a_value_in_the_squash_that_was_changed(folded: Folded) -> None:
    assert folded.problems() == []
    folded.change_squash(
        lambda each: isinstance(each, Update) and each.field == "n", Update("T", ONE, "n", [], integer(6))
    )
    key = KEY_OF_ONE["objects"]
    assert folded.problems() == [f"/a: objects T {key}: it is stored otherwise than follows from the log"]


def test_a_place_in_the_squash_that_was_changed(folded: Folded) -> None:
    folded.change_squash(
        lambda each: isinstance(each, Update) and each.field == "de" and each.path == ["k0"],
        Update("T", TWO, "de", ["k7"], OBJECT),
    )
    assert folded.problems() == [
        f"/a: {table} T {key[:-1]}2: it is stored otherwise than follows from the log"
        for table, key in KEY_OF_ONE.items()
    ]


def test_an_object_that_the_squash_does_not_make(folded: Folded) -> None:
    number = folded.change_squash(
        lambda each: isinstance(each, CreateObject) and each.key == TWO, CreateObject("T", (ins.TYPE_INT, 5))
    )
    (problem,) = folded.problems()
    assert problem.startswith(f"/a: squash 8, {number}: no client can apply it: ")


def test_an_entry_of_the_squash_that_is_missing(folded: Folded) -> None:
    folded.change("squash", lambda rows: rows.pop(records.squash_key(8, 2)))
    found = folded.problems()
    assert found[0] == "/a: squash 8, 3: entry 2 of 8 at most should come here"
    folded.change("squash", dict.clear)
    assert folded.problems()[0].startswith("/a: squash 8: it has 0 bytes, ")


def test_an_entry_of_the_squash_that_is_none(folded: Folded) -> None:
    folded.change("squash", lambda rows: rows.update({records.squash_key(8, 2): b"\x09"}))
    assert folded.problems()[0] == "/a: squash 8, 2: a log entry is in format 9, this server reads format 1"


def test_an_entry_above_the_squash_that_was_changed(folded: Folded) -> None:
    def edit(rows: dict[bytes, bytes]) -> None:
        key = records.number_key(10)
        entry = records.unpack_entry(rows[key], 10)
        data = encode(Changeset([Update("T", TWO, "n", [], integer(8))]))
        rows[key] = records.pack_entry(entry._replace(changeset=data))

    folded.change("log", edit)
    assert folded.problems() == ["/a: objects T 018000000000000002: it is stored otherwise than follows from the log"]


def test_an_object_that_is_missing_in_the_values_or_the_shape(folded: Folded) -> None:
    for table, key in KEY_OF_ONE.items():
        lost: dict[bytes, bytes] = {}

        def lose(rows: dict[bytes, bytes], key: str = key, lost: dict[bytes, bytes] = lost) -> None:
            (found,) = [each for each in rows if each.hex().endswith("01" + key)]
            lost[found] = rows.pop(found)

        folded.change(table, lose)
        assert folded.problems() == [f"/a: {table} T {key}: it follows from the log, but is not stored"]
        folded.change(table, partial(_put_back, lost))
    assert folded.problems() == []


def test_an_object_of_the_shape_that_was_changed(folded: Folded) -> None:
    def edit(rows: dict[bytes, bytes]) -> None:
        (found,) = [each for each in rows if each.hex().endswith("01" + KEY_OF_ONE["shape"])]
        rows[found] = b"\x11"

    folded.change("shape", edit)
    key = KEY_OF_ONE["shape"]
    assert folded.problems() == [f"/a: shape T {key}: it is stored otherwise than follows from the log"]


def test_classes_and_versions_that_are_others(folded: Folded) -> None:
    folded.change("schema", lambda rows: rows.pop(b"E"))
    assert "/a: schema E: it follows from the log, but is not stored" in folded.problems()


def test_values_of_a_version_that_is_not_there(folded: Folded) -> None:
    def edit(rows: dict[bytes, bytes]) -> None:
        rows[META_KEY] = rows[META_KEY][:1] + b"\x0b" + rows[META_KEY][2:]

    folded.change("objects", edit)
    assert folded.problems() == [
        f"/a: objects {META_KEY.hex()}: the values are at version 11, the log goes from 8 to 10"
    ]


def test_what_is_known_of_the_squash_is_damaged(folded: Folded) -> None:
    folded.change("objects", lambda rows: rows.update({LAST_KEY: b"\x01"}))
    assert folded.problems()[0].startswith(f"/a: objects {LAST_KEY.hex()}: ")
