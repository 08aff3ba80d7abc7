"""The check of a whole data directory, Realm by Realm, each in a process of its own.

What it keeps true: whatever is wrong with one file, the others are looked at. Knows nothing of what a Realm holds.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from attrs import frozen

from realmserver.backup.apart import Tell, apart
from realmserver.backup.checking import check_realm, check_system
from realmserver.backup.copying import allocated
from realmserver.backup.findings import Finding
from realmserver.backup.progress import Progress
from realmserver.store.interface import StoreError
from realmserver.store.layout import realms_below
from realmserver.store.lmdb_environment import DATA_FILE
from realmserver.store.lmdb_system import SYSTEM, WHAT


@frozen
class Verified:
    """How many Realms were looked at, and in how many of them, or in the system store, something is wrong."""

    realms: int
    wrong: int


def summary(found: Verified) -> str:
    """A line for people."""
    realms = count(found.realms)
    if not found.wrong:
        return f"Verified {realms} and the accounts: all is well."
    return f"Verified {realms} and the accounts: something is wrong in {found.wrong} of them."


def count(realms: int) -> str:
    """A number of Realms, for people."""
    return f"{realms} Realm" if realms == 1 else f"{realms} Realms"


def verify(root: Path, progress: Progress) -> Verified:
    """Check everything in the data directory ``root``, beside a running server if need be; ``progress`` hears of each
    finding. Raises OSError if the directory cannot be looked at."""
    places = sorted(realms_below(root))
    system = root / SYSTEM
    sizes = {directory: allocated(directory / DATA_FILE) for _, directory in places}
    wrong = done = 0
    progress.begin("Verifying", sum(sizes.values()))
    try:
        if system.exists():
            wrong += _tell(progress, _found(WHAT, partial(_system, system), lambda _: None))
        for name, directory in places:
            size = sizes[directory]
            check = partial(_realm, name, directory, size)
            findings = _found(name, check, partial(_further, progress, done))
            if directory.exists():  # else it was removed meanwhile
                wrong += _tell(progress, findings)
            done += size
            progress.at(done)
    finally:
        progress.end()
    return Verified(len(places), wrong)


def _found(what: str, check: "partial[list[Finding]]", told: Tell) -> Sequence[Finding]:
    try:
        return apart(what, check, told)
    except (StoreError, OSError) as error:
        text = str(error)
        return [Finding(what, text.removeprefix(f"{what}: "))]


def _further(progress: Progress, before: int, behind: int) -> None:
    progress.at(before + behind)


def _tell(progress: Progress, findings: Sequence[Finding]) -> bool:
    for finding in findings:
        progress.problem(str(finding))
    return bool(findings)


def _realm(name: str, directory: Path, size: int, tell: Tell) -> list[Finding]:
    return list(check_realm(name, directory, size, tell))


def _system(directory: Path, _: Tell) -> list[Finding]:
    return list(check_system(directory))
