"""What must hold of a store after clients wrote to it while servers died: checked on the files, with the server away.

Every acknowledged change is there exactly once, and no change is there that nobody made; the versions of the log have
no gap and each follows from the one before; the log makes the very state that every client holds. Of the journal: no
client was told of an error that does not pass, least of all to throw its data away.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import Factory, define

from faults.journal import APP, Acknowledgement, Record, Trouble, Write, read
from faults.load import digest
from realmserver.changeset.decode import decode
from realmserver.changeset.instructions import BadChangeset
from realmserver.client.address import native_key
from realmserver.client.app import partition
from realmserver.realms.paths import partition_realm
from realmserver.realms.values import Values
from realmserver.store.interface import Snapshot, StoreError
from realmserver.store.lmdb_store import LmdbStore


@define
class Verdict:
    """Figures, and all that is wrong in words. ``missing`` and ``doubled`` count changes; a change that is missing was
    acknowledged."""

    realms: int = 0
    entries: int = 0
    acknowledgements: int = 0
    missing: int = 0
    doubled: int = 0
    resets: int = 0
    problems: list[str] = Factory(list)

    def __str__(self) -> str:
        return (
            f"{self.realms} Realms, {self.entries} entries, {self.acknowledgements} acknowledgements, "
            f"{self.missing} missing, {self.doubled} doubled, {self.resets} resets, {len(self.problems)} problems"
        )


@define
class History:
    """What the journal tells of one Realm."""

    writes: dict[str, Write] = Factory(dict)
    acknowledgements: list[Acknowledgement] = Factory(list)


def check(root: Path, directory: Path, *, is_settled: bool = True) -> Verdict:
    """Check the data directory ``root`` against what the load has left in ``directory``.

    ``is_settled``: the load has ended in order, so that all that was written must be there and all clients equal.
    """
    verdict = Verdict()
    histories = _histories(read(directory / "journal"), verdict)
    states: dict[str, dict[str, str]] = {}
    if is_settled:
        states = json.loads((directory / "states.json").read_text())
    store = LmdbStore(root, random_bytes=os.urandom)
    try:
        for path, history in sorted(histories.items()):
            verdict.realms += 1
            name = partition_realm(APP, partition(path))
            try:
                realm = store.open(name, create=False)
            except StoreError as error:
                if is_settled or history.acknowledgements:
                    verdict.problems.append(f"{path}: {error}")
                verdict.missing += len(history.acknowledgements)
                continue
            with realm.snapshot() as snapshot:
                _check_realm(path, snapshot, history, states.get(path, {}), verdict, is_settled=is_settled)
            realm.close()
    finally:
        store.close()
    return verdict


def _histories(records: Iterable[Record], verdict: Verdict) -> dict[str, History]:
    histories: dict[str, History] = {}
    for record in records:
        history = histories.setdefault(record.realm, History())
        if isinstance(record, Write):
            history.writes[record.key] = record
        elif isinstance(record, Acknowledgement):
            history.acknowledgements.append(record)
            verdict.acknowledgements += 1
        else:
            assert isinstance(record, Trouble)
            verdict.resets += record.reset
            verdict.problems.append(f"{record.client} was told: {record.text}")
    return histories


def _check_realm(
    path: str,
    snapshot: Snapshot,
    history: History,
    states: Mapping[str, str],
    verdict: Verdict,
    *,
    is_settled: bool,
) -> None:
    problems = verdict.problems
    values, made = _check_log(path, snapshot, verdict)
    ledger = values.get("Ledger", native_key(values, "Ledger", 0)) if "Ledger" in values.classes() else None
    appended = list(ledger["entries"]) if ledger is not None else []  # type: ignore[call-overload]
    times = Counter(appended)
    objects = {str(key[1]) for key in values.objects("Entry")} if "Entry" in values.classes() else set()
    verdict.entries += len(times)

    missing = [
        each
        for each in history.acknowledgements
        if not (each.key in times and each.key in objects and (each.ident, each.version) in made)
    ]
    verdict.missing += len(missing)
    problems += [f"{path}: {each} is missing" for each in missing]
    doubled = [key for key, number in times.items() if number > 1]
    verdict.doubled += len(doubled)
    problems += [f"{path}: {key} is there {times[key]} times" for key in doubled]

    problems += [f"{path}: nobody wrote {key}" for key in sorted((set(times) | objects) - set(history.writes))]
    if set(times) != objects:
        problems.append(f"{path}: entries and their list differ: {sorted(set(times) ^ objects)}")
    total = sum(history.writes[key].amount for key in times if key in history.writes)
    if ledger is not None and ledger["total"] != total:
        problems.append(f"{path}: the counter is {ledger['total']}, not {total}")
    if is_settled:
        problems += [f"{path}: {key} never came" for key in sorted(set(history.writes) - set(times))]
        own = digest(values.state())
        problems += [f"{path}: {client} holds another state" for client, held in states.items() if held != own]


def _check_log(path: str, snapshot: Snapshot, verdict: Verdict) -> tuple[Values, set[tuple[int, int]]]:
    """The state that the log makes, and the (file ident, client version) of all entries."""
    values, made = Values(), set[tuple[int, int]]()
    newest: dict[int, int] = {}
    size = 0
    for version in range(snapshot.head.base_version + 1, snapshot.head.version + 1):
        try:
            entry = snapshot.entry(version)
        except KeyError:
            verdict.problems.append(f"{path}: version {version} is not in the log, which goes to {snapshot.head}")
            continue
        size += len(entry.changeset)
        if entry.cumulative_size != size:
            verdict.problems.append(f"{path}: version {version} says {entry.cumulative_size} bytes, there are {size}")
        if entry.client_version <= newest.get(entry.origin, 0):
            verdict.doubled += (entry.origin, entry.client_version) in made
            verdict.problems.append(
                f"{path}: version {version} is {entry.client_version} of client file {entry.origin}, "
                f"after {newest[entry.origin]}"
            )
        newest[entry.origin] = entry.client_version
        made.add((entry.origin, entry.client_version))
        if entry.changeset:
            try:
                values.apply(decode(entry.changeset))
            except BadChangeset as error:
                verdict.problems.append(f"{path}: version {version} does not apply: {error}")
    for ident, version in newest.items():
        client = snapshot.client(ident)
        if client is None or client.client_version < version:
            verdict.problems.append(f"{path}: client file {ident} made version {version}, but the Realm has {client}")
    return values, made
