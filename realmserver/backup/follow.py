"""Continuous backup, the follower's end: keeps a directory equal to a server's data directory, commit by commit.

What it keeps true: every environment in the target (a Realm, the system store) is, at every moment and after every
kill, one state that the server had, so that a server can be started on the target as soon as this process has ended.
A copy comes into its place only when it is whole, by one rename; a commit is one transaction. The same transaction
notes which state of the source it is, so a follower that comes back asks only for what it lacks; and which state of the
target, so that what somebody else has changed there is copied anew. While it runs it holds the locks of a server.

The messages are those of ``frames``. It knows nothing of terminals: :class:`Watcher` hears how it goes.
"""

import json
import os
import select
import shutil
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol

from attrs import Factory, define

from realmserver.backup import frames
from realmserver.backup.copying import BackupError
from realmserver.backup.frames import BadFrame, Change, FrameReader, frame
from realmserver.store.interface import StoreError
from realmserver.store.layout import (
    DIRECTORY_MODE,
    FILE_MODE,
    REALM_SUFFIX,
    USER_DATA,
    DirectoryLock,
    make_directories,
    realms_below,
    sync_directory,
)
from realmserver.store.lmdb_bystander import bystander, state_number
from realmserver.store.lmdb_environment import DATA_FILE, Environment, Writing
from realmserver.store.lmdb_store import CREATING, LATER_TABLES, LOCK_FILE, META, TABLES
from realmserver.store.lmdb_system import LOCK_FILE as SYSTEM_LOCK_FILE
from realmserver.store.lmdb_system import SYSTEM
from realmserver.store.lmdb_system import TABLES as SYSTEM_TABLES

MARK: Final = "followed.json"
"""In the target: it is one of a follower, and may be gone on with."""

NOTE_KEY: Final = b"followed"
"""In the table meta of an environment: [stamp, number] of the source's state, and the number of the target's."""

MAX_OPEN: Final = 64
"""Environments that are open at a time."""

MAX_GATHERED: Final = 8 * 1024 * 1024
"""Bytes of commits that become durable together, if so many have come."""

_RECEIVE: Final = 1 << 20
_SILENCE: Final = 30.0
"""Seconds without a word after which the server is taken for gone: it speaks every second."""


class Watcher(Protocol):
    """Hears how it goes."""

    def copying(self, path: str) -> None:
        """A copy has come whole, and is in its place."""

    def status(self, to_copy: int, commits: int, size: int, seconds: float) -> None:
        """How far the target is behind, as the server sees it."""

    def problem(self, text: str) -> None:
        """Something is wrong, and it goes on."""


class Refused(BackupError):
    """The server does not want this follower; to try again is of no use."""


class Lost(Exception):
    """The connection has ended, or cannot go on: try again."""


@define
class _Place:
    """What is known of one environment. ``pending``: commits to be made durable. They wait until the server has said
    from which number they go on, and for a copy that is on its way."""

    path: str
    is_sure: bool = False
    stamp: Any = None
    number: int = 0
    pending: list[tuple[int, bytes]] = Factory(list)
    copy: "_Copy | None" = None


@define
class _Copy:
    directory: Path
    descriptor: int
    after: int | None = None

    def close(self) -> None:
        """Close its file, once: what comes in between (a stop, a full disk) ends with closing all that is open."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class Target:
    """The directory that follows. Raises :class:`BackupError` if it is none, or is in use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise BackupError(f"{path} is not a directory.")
        if path.is_dir() and any(path.iterdir()) and not (path / MARK).is_file():
            raise BackupError(f"{path} is not empty.")
        try:
            make_directories(path)
            self._locks = [DirectoryLock(path / LOCK_FILE), DirectoryLock(path / SYSTEM_LOCK_FILE)]
            _write_file(path / MARK, json.dumps({"protocol": frames.PROTOCOL}).encode(), FILE_MODE)
            make_directories(path / USER_DATA)
            shutil.rmtree(path / CREATING, ignore_errors=True)
            make_directories(path / CREATING)
        except (OSError, StoreError) as error:
            raise BackupError(f"{error}.") from error

    def close(self) -> None:
        """Let a server in."""
        for lock in self._locks:
            lock.release()

    def have(self) -> Iterator[tuple[str, Any, int]]:
        """Path, stamp and number of what is here, unless somebody else has changed it."""
        directories = [directory for _, directory in realms_below(self.path)] + [self.path / SYSTEM]
        for directory in directories:
            path = directory.relative_to(self.path).as_posix()
            with suppress(StoreError, ValueError, TypeError):  # what cannot be read is copied anew
                with bystander(directory, path, (META,)) as reading:
                    note = json.loads(reading.get(META, NOTE_KEY) or b"null")
                if note is not None and note[2] == state_number(directory, path):
                    yield path, note[0], int(note[1])


class Following:
    """One connection to the server at ``host`` and ``port``, with ``token`` to show."""

    def __init__(self, target: Target, host: str, port: int, token: str, watcher: Watcher) -> None:
        self._target = target
        self._watcher = watcher
        self._places: dict[str, _Place] = {}
        self._open: OrderedDict[str, Environment] = OrderedDict()
        self._gathered = 0
        self._waiting: dict[str, _Place] = {}  # those with something to be made durable
        self._done = 0  # commits made durable, or passed over
        self._told = 0
        self._copies = 0
        try:
            self._socket = socket.create_connection((host, port), timeout=_SILENCE)
        except OSError as error:
            raise Lost(f"{host}:{port}: {error.strerror or error}") from error
        self._hello = frame(frames.HELLO, {"protocol": frames.PROTOCOL, "token": token})

    def run(self) -> None:
        """Follow until the connection ends: raises :class:`Lost`, or :class:`Refused`."""
        with ExitStack() as stack:
            stack.callback(self._close)
            stack.enter_context(self._socket)
            try:
                self._socket.sendall(self._hello)
                for path, stamp, number in self._target.have():
                    self._places[path] = _Place(path, stamp=stamp, number=number)
                have = {place.path: [place.stamp, place.number] for place in self._places.values()}
                self._socket.sendall(frame(frames.HAVE, have))
                self._read()
            except (OSError, StoreError, BadFrame) as error:
                raise Lost(str(error)) from error

    def _read(self) -> None:
        reader = FrameReader()
        while True:
            data = self._socket.recv(_RECEIVE)
            if not data:
                raise Lost("the server has closed the connection")
            for kind, head, body in reader.feed(data):
                self._take(kind, head, body)
            if self._gathered >= MAX_GATHERED or not select.select([self._socket], [], [], 0)[0]:
                self._flush()

    def _take(self, kind: int, head: Any, body: bytes) -> None:
        if kind == frames.COMMIT:
            self._commit(head, body)
        elif kind == frames.DATA:
            copy = self._place(head["path"]).copy
            if copy is not None:
                _write_all(copy.descriptor, body)
        elif kind == frames.BEGIN:
            self._begin(head)
        elif kind == frames.CURRENT:
            self._go_on(self._place(head["path"]), head["stamp"], int(head["number"]))
        elif kind == frames.END:
            place = self._place(head["path"])
            if place.copy is not None:
                place.copy.after = int(head["after"])
                self._waiting[place.path] = place
        elif kind == frames.FILE:
            path = self._target.path / _checked(head["path"])
            make_directories(path.parent)
            _write_file(path, body, int(head["mode"]))
        elif kind == frames.STATUS:
            arriving = sum(place.copy is not None for place in self._places.values())
            self._watcher.status(head["to_copy"] + arriving, head["commits"], head["bytes"], head["seconds"])
        elif kind == frames.FAILED:
            self._watcher.problem(head["text"])
            self._drop(self._place(head["path"]))
        elif kind == frames.REFUSED:
            raise Refused(head["text"])

    def _place(self, path: str) -> _Place:
        _checked_environment(path)
        return self._places.setdefault(path, _Place(path))

    # Copies.

    def _begin(self, head: Any) -> None:
        place = self._place(head["path"])
        self._drop_copy(place)
        self._copies += 1
        directory = self._target.path / CREATING / str(self._copies)
        directory.mkdir(DIRECTORY_MODE)
        descriptor = os.open(directory / DATA_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        place.copy = _Copy(directory, descriptor)
        self._go_on(place, head["stamp"], int(head["before"]))

    def _go_on(self, place: _Place, stamp: Any, number: int) -> None:
        """The state that commits go on from. Some may have come before this word."""
        later = [commit for commit in place.pending if commit[0] > number]
        self._done += len(place.pending) - len(later)
        if [each for each, _ in later] != list(range(number + 1, number + 1 + len(later))):
            raise Lost(f"{place.path}: a state after {number} is missing")
        place.stamp, place.number, place.pending, place.is_sure = stamp, number, later, True
        self._waiting[place.path] = place

    def _drop(self, place: _Place) -> None:
        """Give up what has come of a copy, and the commits that wait for it."""
        self._drop_copy(place)
        self._done += len(place.pending)
        place.pending.clear()
        place.is_sure = False
        self._waiting.pop(place.path, None)

    def _drop_copy(self, place: _Place) -> None:
        if place.copy is not None:
            place.copy.close()
            shutil.rmtree(place.copy.directory)
            place.copy = None

    def _settle(self, place: _Place, copy: _Copy) -> None:
        """Bring a copy up to a state that the server had, and put it into its place."""
        last = place.pending[-1][0] if place.pending else place.number
        if copy.after is None or last < copy.after:
            return
        os.fsync(copy.descriptor)
        copy.close()
        environment = _environment(copy.directory, place.path)
        try:
            self._apply(environment, place)
        finally:
            environment.close()
        self._forget(place.path)
        final = self._target.path / place.path
        make_directories(final)
        (copy.directory / DATA_FILE).rename(final / DATA_FILE)
        sync_directory(final)
        shutil.rmtree(copy.directory)
        place.copy = None
        self._watcher.copying(place.path)

    # Commits.

    def _commit(self, head: Any, body: bytes) -> None:
        place, number = self._place(head["path"]), int(head["number"])
        last = place.pending[-1][0] if place.pending else place.number
        if place.is_sure and number <= last:  # the copy has it
            self._done += 1
            return
        if place.is_sure and number != last + 1:
            raise Lost(f"{place.path}: state {last + 1} is missing")
        place.pending.append((number, body))
        self._gathered += len(body)
        self._waiting[place.path] = place

    def _flush(self) -> None:
        """Make durable what has been gathered, and say so."""
        for place in list(self._waiting.values()):
            if place.copy is not None:
                self._settle(place, place.copy)
            elif place.pending and place.is_sure:
                self._apply(self._environment(place.path), place)
            if not place.pending and place.copy is None:
                del self._waiting[place.path]
        self._gathered = 0
        if self._done != self._told:
            self._told = self._done
            self._socket.sendall(frame(frames.DONE, self._done))

    def _apply(self, environment: Environment, place: _Place) -> None:
        number = place.pending[-1][0] if place.pending else place.number
        changes: list[Change] = [change for _, body in place.pending for change in frames.unpack_changes(body)]

        def change(txn: Writing) -> None:
            for table, key, value in changes:
                if value is None:
                    txn.delete(table, key)
                else:
                    txn.put(table, key, value)
            txn.put(META, NOTE_KEY, json.dumps([place.stamp, number, txn.txn.id()]).encode())

        environment.write(change, sum(len(body) for _, body in place.pending))
        place.number = number
        self._done += len(place.pending)
        place.pending.clear()

    # Environments.

    def _environment(self, path: str) -> Environment:
        environment = self._open.pop(path, None)
        if environment is None:
            environment = _environment(self._target.path / path, path)
        self._open[path] = environment
        if len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)[1].close()
        return environment

    def _forget(self, path: str) -> None:
        environment = self._open.pop(path, None)
        if environment is not None:
            environment.close()

    def _close(self) -> None:
        for place in self._places.values():
            if place.copy is not None:
                place.copy.close()
        for environment in self._open.values():
            environment.close()


def _environment(directory: Path, path: str) -> Environment:
    if path == SYSTEM:
        return Environment(directory, path, SYSTEM_TABLES)
    return Environment(directory, path, TABLES, later_tables=LATER_TABLES)


def _checked(path: str) -> str:
    """``path``, if it leads nowhere outside. Raises :class:`BadFrame`."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise BadFrame(f"a path that leads outside: {path}")
    return path


def _checked_environment(path: str) -> str:
    if path != SYSTEM and not (path.startswith(f"{USER_DATA}/") and path.endswith(REALM_SUFFIX)):
        raise BadFrame(f"no Realm has such a path: {path}")
    return _checked(path)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _write_file(path: Path, data: bytes, mode: int) -> None:
    """Write a file so that it is the old or the new one at every moment."""
    if path.is_file() and path.read_bytes() == data:
        return
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        _write_all(descriptor, data)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(path)
    sync_directory(path.parent)


def follow(
    target: Target,
    host: str,
    port: int,
    token: Callable[[], str],
    watcher: Watcher,
    pause: Callable[[int], None],
) -> None:
    """Follow for ever, coming back after every loss. ``token`` is read for each connection; ``pause`` waits before the
    next one, and is told how many in a row have failed. Raises :class:`BackupError`."""
    failures = 0
    while True:
        try:
            Following(target, host, port, token(), watcher).run()
        except Lost as error:
            watcher.problem(f"{error}; trying again")
        failures += 1
        pause(failures)
