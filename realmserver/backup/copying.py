"""The copy of a data directory, made while a server uses it (``spec/http-api.md`` 6.5).

What it keeps true: each Realm, and the store of accounts and log-ins, is copied as of one state, with its history, its
file identities and salts, so that clients that are ahead of a restored server are told so; the copy is a data directory
as it stands; it is durable when :func:`back_up` returns, and after a failure nothing of it is left. It does not know
what Realms hold.

**The order.** Realms come first, accounts after them. A Realm is never older than its owner's account, so every user
whose client file a copied Realm knows stands in the copied accounts, too. The other way round, who registered between
the two copies would have data in the copy but no account: he would register again, as somebody else, and never get at
his Realm. An account without its Realm hurts nobody: its client is told to reset, as every client that is ahead.

**A Realm that cannot be read** is named and left out, and the rest is copied all the same: when a disk begins to fail,
a copy of all that is still good is what its owner needs most. Accounts that cannot be read are a failure: a copy
without them is of no use.
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from attrs import frozen

from realmserver.backup.apart import Tell, apart
from realmserver.backup.files import Target, new_file
from realmserver.backup.progress import Progress
from realmserver.store.interface import StoreError
from realmserver.store.layout import REALM_SUFFIX, USER_DATA, realm_name, realms_below
from realmserver.store.lmdb_bystander import copy_environment
from realmserver.store.lmdb_environment import DATA_FILE
from realmserver.store.lmdb_store import CREATING, LOCK_FILE
from realmserver.store.lmdb_system import CREATING as SYSTEM_CREATING
from realmserver.store.lmdb_system import LOCK_FILE as SYSTEM_LOCK_FILE
from realmserver.store.lmdb_system import SYSTEM, WHAT

LEFT_OUT: Final = frozenset({LOCK_FILE, SYSTEM_LOCK_FILE, CREATING, SYSTEM_CREATING})
"""What stands in a data directory and belongs to the running server alone."""

_BLOCK: Final = 512  # the unit of st_blocks


class BackupError(Exception):
    """There is no copy. The text says why."""


@frozen
class BackedUp:
    """What was copied: ``realms`` of them; those that could not be read are in ``failed``, each with the reason."""

    realms: int
    failed: tuple[str, ...]


def back_up(source: Path, target: Path, progress: Progress) -> BackedUp:
    """Copy the data directory ``source`` to ``target``, which is empty or does not exist.

    Raises :class:`BackupError`, and removes what was created then, as after any other exception.
    """
    check_directories(source, target)
    copy = Target(target)
    try:
        copy.begin(source)
        done = _Copying(source, copy, progress).run()
    except BaseException as error:
        progress.end()
        copy.undo()
        if isinstance(error, StoreError | OSError):
            raise BackupError(f"{error}.") from error
        raise
    return done


def check_directories(source: Path, target: Path) -> None:
    """Raises :class:`BackupError` for directories that cannot be these, the source's faults first."""
    if not source.exists():
        raise BackupError(f"{source} does not exist.")
    if not source.is_dir():
        raise BackupError(f"{source} is not a directory.")
    if not (source / USER_DATA).is_dir():
        raise BackupError(f"{source} is not a data directory: it holds no {USER_DATA}.")
    if target.exists() and not target.is_dir():
        raise BackupError(f"{target} is not a directory.")
    if target.exists() and any(target.iterdir()):
        raise BackupError(f"{target} is not empty.")
    if target.resolve().is_relative_to(source.resolve()):
        raise BackupError(f"{target} is inside {source}.")


class _Copying:
    def __init__(self, source: Path, target: Target, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._done = 0  # bytes of what is behind
        self._failed: list[str] = []

    def run(self) -> BackedUp:
        realms = sorted(realms_below(self._source))
        system = self._source / SYSTEM
        environments = [directory for _, directory in realms] + [system]
        self._progress.begin("Backing up", sum(allocated(directory / DATA_FILE) for directory in environments))
        copied = sum(self._copy_realm(name, directory) for name, directory in realms)
        if system.is_dir():
            self._copy_environment(WHAT, system)
        for name in other_files(self._source):
            if (self._source / name).is_dir():
                self._target.directories_to(self._source, name)
            else:
                self._target.copy(self._source / name, name)
        self._target.sync()
        self._progress.end()
        return BackedUp(copied, tuple(self._failed))

    def _copy_realm(self, name: str, directory: Path) -> bool:
        """Whether the Realm is in the copy now."""
        try:
            self._copy_environment(name, directory)
        except StoreError as error:
            if not directory.exists():  # removed meanwhile
                return False
            self._failed.append(str(error))
            self._progress.problem(f"ERROR: {error}. It is not in the backup.")
            return False
        return True

    def _copy_environment(self, what: str, directory: Path) -> None:
        """Copy one environment in its directory; nothing is left of it if it cannot be read."""
        name = directory.relative_to(self._source)
        size = allocated(directory / DATA_FILE)
        copy = self._target.directories_to(self._source, name) / DATA_FILE
        try:
            apart(
                what,
                partial(_copy, directory, what, copy),
                tick=lambda: self._progress.at(self._done + min(allocated(copy), size)),
            )
        except StoreError:
            self._target.remove(name)
            raise
        finally:
            self._done += size
            self._progress.at(self._done)


def other_files(source: Path, below: Path = Path()) -> Iterator[Path]:
    """The names of all directories and files in ``source`` that are not LMDB's: keys, the admin token, and what an
    administrator keeps there. Directories come before what is in them."""
    with os.scandir(source / below) as found:
        names = sorted(below / entry.name for entry in found)
    for name in names:
        path = source / name
        if name.name in LEFT_OUT and not below.parts:
            continue
        if path.is_dir() and not (path.is_symlink() and below.parts):  # keys, say, may lie on another disk
            if not _is_environment(source, path):
                yield name
                yield from other_files(source, name)
        elif path.is_file() or path.is_symlink():
            yield name


def _is_environment(source: Path, directory: Path) -> bool:
    """Whether LMDB's files are in ``directory``: also in that of a Realm made since the copy began."""
    if directory.is_relative_to(source / USER_DATA):
        return directory.name.endswith(REALM_SUFFIX) and realm_name(source, directory) is not None
    return directory == source / SYSTEM


def allocated(path: Path) -> int:
    """Bytes that a file takes on the disk, 0 if there is none."""
    try:
        return path.stat().st_blocks * _BLOCK
    except OSError:
        return 0


def _copy(directory: Path, what: str, target: Path, _: Tell) -> None:
    with new_file(target, directory / DATA_FILE) as descriptor:
        copy_environment(directory, what, descriptor)
