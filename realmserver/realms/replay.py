"""Checks files of golden vectors against the code that serves real clients.

    python -m realmserver.realms.replay FILE.jsonl.gz ...

Two formats are known, both JSON lines, gzip-compressed (the ``README.md`` beside the vectors describes them):

- sessions: whole sync histories, replayed through a :class:`~realmserver.realms.realm.Realm` on a store in memory
  (uploads), which is opened anew now and then and goes on from what is stored, and a
  :class:`~realmserver.realms.mirror.ClientHistory` (downloads); in the end the log makes the state, and so do the
  stored values, which followed the log step by step;
- pairs: one merge each.

Prints a line for each file, and the first mismatch of each in readable form; exits with 1 if anything differs.
"""

import argparse
import base64
import gzip
import json
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from difflib import unified_diff
from pathlib import Path
from typing import Any

from attrs import define

from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import BadChangeset, Changeset
from realmserver.changeset.text import describe
from realmserver.merge.errors import TransformError
from realmserver.merge.walk import merge
from realmserver.realms.mirror import ClientHistory
from realmserver.realms.realm import Environment, Realm
from realmserver.realms.requests import DownloadEntry, RealmError, Upload, UploadCursor, UploadEntry
from realmserver.realms.stored_reading import StoredReader
from realmserver.realms.values import Values
from realmserver.store.interface import Store
from realmserver.store.memory import MemoryStore

Json = Any
"""A line of a vector file, as the json module gives it."""

PROTOCOL = 14
FOLD_EVERY = 3
"""Client versions after which the stored values take a step: most steps then have one entry, some have several."""

REOPEN_EVERY = 10
"""Server versions after which the Realm is opened anew: merges go on from the reciprocal history in the store then, and
otherwise from the one in memory."""

FIRST_VERSION = 1
"""In the vectors version 1 is the empty file, here version 0 is."""


@define
class Tally:
    """How many of one kind were right. ``mismatch`` tells the first that was not."""

    kind: str
    right: int = 0
    total: int = 0
    mismatch: str = ""

    def count(self, problem: str) -> None:
        """One more; ``problem`` is empty if it was right."""
        self.total += 1
        if not problem:
            self.right += 1
        elif not self.mismatch:
            self.mismatch = f"{self.kind}: {problem}"

    def __str__(self) -> str:
        return f"{self.kind} {self.right}/{self.total}"


def main(arguments: Sequence[str]) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m realmserver.realms.replay", description="Check vector files.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.jsonl.gz")
    failed = False
    for path in parser.parse_args(arguments).files:
        try:
            line, tallies = check_file(path)
        except (OSError, ValueError, KeyError) as error:
            print(f"{path.name}: cannot be read: {error!r}", file=sys.stderr)
            failed = True
            continue
        print(f"{path.name}: {line}", flush=True)
        for tally in tallies:
            if tally.mismatch:
                failed = True
                print(f"  first mismatch in {tally.mismatch}")
    return 1 if failed else 0


def check_file(path: Path) -> tuple[str, list[Tally]]:
    """Check one file: its line of results, and the counts behind it."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return check_lines(map(json.loads, lines))


def check_lines(lines: Iterable[Json]) -> tuple[str, list[Tally]]:
    """Check the lines of one file; the first tells the format."""
    uploads, downloads, states, pairs = Tally("uploads"), Tally("downloads"), Tally("states"), Tally("pairs")
    sessions = 0
    for line in lines:
        if "events" in line:
            sessions += 1
            Session(line, uploads, downloads, states).replay()
        else:
            pairs.count(check_pair(line, pairs.total))
    if pairs.total:
        return str(pairs), [pairs]
    return f"sessions {sessions}, {uploads}, {downloads}, {states}", [uploads, downloads, states]


# Sessions.


class Fixed:
    """A Realm's environment in which nothing is left to chance."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def random_salt(self) -> int:
        return 1

    def now(self) -> int:
        return 1

    def warn(self, realm: str, text: str) -> None:
        self.warnings.append(text)


class Session:
    """One session of a vector file: the server's Realm and each client's history. The Realm is kept in ``store``, by
    default in memory."""

    def __init__(
        self,
        line: Json,
        uploads: Tally,
        downloads: Tally,
        states: Tally,
        store: Store | None = None,
        environment: Environment | None = None,
    ) -> None:
        self._name: str = line["name"]
        self._events: list[Json] = line["events"]
        self._state: Json = line["state"]
        self._uploads, self._downloads, self._states = uploads, downloads, states
        self._store: Store = store or MemoryStore(random_bytes=bytes)
        self._environment = environment or Fixed()
        self._realm = self._open()
        self._clients: dict[int, ClientHistory] = {}
        self._commits: dict[tuple[int, int], bytes] = {}
        self._log: list[bytes] = []

    def _open(self) -> Realm:
        return Realm(self._store.open("/replay", create=True), self._environment)

    def replay(self) -> None:
        """Take every event in order, then compare the state."""
        for number, event in enumerate(self._events):
            where = f"{self._name}, event {number} ({event['op']})"
            if event["op"] == "commit":
                self._commit(event)
            elif event["op"] == "upload":
                self._uploads.count(self._upload(event, where))
            else:
                self._downloads.count(self._download(event, where))
        if self._state is not None:
            self._states.count(self._compare_state())

    def _client(self, ident: int) -> ClientHistory:
        while self._realm.head.last_ident < ident:
            allocated = self._realm.allocate("replay").ident
            self._clients[allocated] = ClientHistory(allocated)
        return self._clients[ident]

    def _commit(self, event: Json) -> None:
        changeset = base64.b64decode(event["changeset"])
        self._commits[event["client"], event["client_version"]] = changeset
        self._client(event["client"]).committed(
            UploadEntry(event["client_version"], 0, event["timestamp"], 0, changeset)
        )

    def _upload(self, event: Json, where: str) -> str:
        ident, version = event["client"], event["client_version"]
        self._client(ident)
        if "changeset" in event:
            sent = base64.b64decode(event["changeset"])
        else:
            sent = self._commits[ident, version]
        base = max(event["last_server_version"] - FIRST_VERSION, 0)
        entry = UploadEntry(version, base, event["timestamp"], 0, sent)
        upload = Upload(ident, (entry,), UploadCursor(version, base), 0, PROTOCOL)
        integration = self._realm.integrate([upload])
        answer = integration.answers[0]
        if isinstance(answer, RealmError):
            self._log.append(b"")
            return f"{where}: refused: {answer}"
        if version % FOLD_EVERY == 0:
            self._realm.fold()
        made = integration.entries[0]
        self._log.append(made.changeset)
        if made.version % REOPEN_EVERY == 0:
            self._realm.close()
            self._realm = self._open()
        if made.version + FIRST_VERSION != event["server_version"]:
            return f"{where}: became server version {made.version}, not {event['server_version'] - FIRST_VERSION}"
        expected = sent if event["result"] == "=" else base64.b64decode(event["result"])
        return compare(where, decode(expected), decode(made.changeset))

    def _download(self, event: Json, where: str) -> str:
        sent = base64.b64decode(event["changeset"])
        entry = DownloadEntry(
            event["server_version"], event["last_client_version"], event["timestamp"], event["origin"], sent
        )
        try:
            result = self._client(event["client"]).integrate(entry)
        except (BadChangeset, TransformError) as error:
            return f"{where}: {error}"
        expected = sent if event["result"] == "=" else base64.b64decode(event["result"])
        return compare(where, decode(expected), result)

    def _compare_state(self) -> str:
        values = Values()
        try:
            for changeset in self._log:
                values.apply(decode(changeset))
        except BadChangeset as error:
            return f"{self._name}: the log does not apply: {error}"
        expected, got = _lines_of(self._state), _lines_of(values.state())
        while self._realm.fold():
            pass
        stored = _lines_of(self._realm.read(StoredReader.state))
        return _difference(f"{self._name}, state", expected, got) or _difference(
            f"{self._name}, stored values", expected, stored
        )


def _lines_of(state: Json) -> list[str]:
    """A state, one object a line. Numbers are written alike, since `{"double": hex}` has many spellings."""
    lines: list[str] = []
    for name, objects in sorted(state.items()):
        lines.extend(f"{name} {json.dumps(_plain(each), sort_keys=True)}" for each in objects)
        lines.append(f"{name}: {len(objects)} objects")
    return lines


def _plain(value: Json) -> Json:
    """``value`` with floating-point and decimal numbers in one spelling each."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((kind, inner),) = value.items()
        if kind in ("float", "double") and isinstance(inner, str):
            return {kind: repr(float.fromhex(inner))}
        if kind == "decimal" and isinstance(inner, str):
            return {kind: str(Decimal(inner).normalize())}
        if kind == "set":
            return {kind: sorted((_plain(each) for each in inner), key=json.dumps)}
    return {key: _plain(each) for key, each in value.items()}


def _difference(where: str, expected: Sequence[str], got: Sequence[str]) -> str:
    if expected == got:
        return ""
    lines = unified_diff(expected, got, "expected", "got", lineterm="", n=1)
    return "\n    ".join([where, *lines])


def compare(where: str, expected: Changeset, got: Changeset) -> str:
    """Empty if the two changesets hold the same live instructions, else a readable difference."""
    return _difference(where, _texts(expected), _texts(got))


def _texts(changeset: Changeset) -> list[str]:
    return [describe(instruction) for instruction in changeset.instructions if not instruction.discarded]


# Pairs.


def check_pair(line: Json, number: int) -> str:
    """One merge; the result's bytes must be equal."""
    incoming, local = _side(line["incoming"]), _side(line["local"])
    try:
        merge(incoming, local)
    except TransformError as error:
        return "" if "error" in line else f"pair {number}: {error}"
    if "error" in line:
        return f"pair {number}: merged, but must fail"
    for side, results, changesets in (("incoming", "incoming_result", incoming), ("local", "local_result", local)):
        for place, (expected, got) in enumerate(zip(line[results], changesets, strict=True)):
            if base64.b64decode(expected) != encode(got):
                where = f"pair {number}, {side} {place}"
                return compare(where, decode(base64.b64decode(expected)), got) or f"{where}: other bytes"
    return ""


def _side(changesets: Iterable[Json]) -> list[Changeset]:
    return [
        decode(base64.b64decode(each["changeset"]), timestamp=each["timestamp"], origin=each["origin"])
        for each in changesets
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
