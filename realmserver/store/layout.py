"""Where a Realm lies on the disk, and how directories are made so that a crash cannot lose them.

The tree mirrors virtual paths: the Realm ``/a/b`` is the directory ``user_data/a/b.realm`` below the data directory
(``design.md`` 4, ``spec/http-api.md`` 6.6). A file name may have 255 bytes while a segment of a virtual path may have
1,024 (``spec/protocol.md`` 6.1), so a long segment is split over several directories; "+", which no segment contains,
marks the cuts. No name leads out of the tree, whatever was checked before.
"""

import errno
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from realmserver.store.interface import StoreError, StoreFull

USER_DATA: Final = "user_data"
REALM_SUFFIX: Final = ".realm"

CHUNK: Final = 200
"""Characters of a segment in one file name; with the marks and the suffix it stays below 255 bytes."""

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says where there is no room: the disk, the quota, or the limit of a file's size."""

_MARK: Final = "+"
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", re.ASCII)


def check_name(name: str) -> list[str]:
    """The segments of a Realm's name, a virtual path that ``realms.paths`` has let through. Raises ValueError for
    one that could lead out of the data directory or into another Realm: that is a bug of the caller."""
    segments = name[1:].split("/")
    if not name.startswith("/") or not all(
        _SEGMENT.fullmatch(segment) and not segment.endswith(REALM_SUFFIX) for segment in segments
    ):
        raise ValueError(f"not the name of a Realm: {name[:80]!r}")
    return segments


def realm_directory(root: Path, name: str) -> Path:
    """The directory of the Realm ``name`` below the data directory ``root``. Raises ValueError as
    :func:`check_name` does."""
    parts: list[str] = []
    for segment in check_name(name):
        chunks = [segment[start : start + CHUNK] for start in range(0, len(segment), CHUNK)]
        parts += [chunk + _MARK if index == 0 else _MARK + chunk + _MARK for index, chunk in enumerate(chunks[:-1])]
        parts.append(_MARK + chunks[-1] if len(chunks) > 1 else chunks[-1])
    parts[-1] += REALM_SUFFIX
    return root.joinpath(USER_DATA, *parts)


def realm_name(root: Path, directory: Path) -> str | None:
    """The name of the Realm whose place is ``directory``, the inverse of :func:`realm_directory`; None if it is no
    Realm's place."""
    path = directory.relative_to(root / USER_DATA).as_posix().removesuffix(REALM_SUFFIX)
    name = "/" + path.replace(f"{_MARK}/{_MARK}", "")
    try:
        return name if realm_directory(root, name) == directory else None
    except ValueError:
        return None


def realms_below(root: Path) -> Iterator[tuple[str, Path]]:
    """The names and directories of all Realms below ``root``, in no order. Only the directories' names are looked at:
    what is in them may be anything."""
    for parent, directories, _ in os.walk(root / USER_DATA):
        realms = [directory for directory in directories if directory.endswith(REALM_SUFFIX)]
        directories[:] = [directory for directory in directories if not directory.endswith(REALM_SUFFIX)]
        for realm in realms:
            name = realm_name(root, Path(parent, realm))
            if name is not None:
                yield name, Path(parent, realm)


def sync_directory(directory: Path) -> None:
    """Make the entries of ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(directory: Path) -> None:
    """Make ``directory`` and its missing parents, readable by the owner only, and durable."""
    missing: list[Path] = []
    while not directory.is_dir():
        missing.append(directory)
        directory = directory.parent
    for directory in reversed(missing):
        directory.mkdir(DIRECTORY_MODE, exist_ok=True)
        sync_directory(directory.parent)


def store_error(what: str, error: OSError) -> StoreError:
    """The store's error for the system's: :class:`StoreFull` where there is no room."""
    kind = StoreFull if error.errno in FULL else StoreError
    return kind(f"{what}: {error}")


class DirectoryLock:
    """The right to write below a data directory, held by one server at a time.

    The lock file stays; what counts is the lock on it, which the system takes back when the process ends, however it
    ends, and with it all processes that have inherited the descriptor (:meth:`fileno`). Raises :class:`StoreError`
    naming the process that has it; ``wait`` is asked whether to try once more where that process is no more, and those
    that it had started are about to end.
    """

    def __init__(self, path: Path, wait: Callable[[], bool] = lambda: False) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except OSError as error:
            raise store_error(str(path), error) from error
        try:
            while not self._take():
                owner = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
                if not _has_ended(owner) or not wait():
                    os.close(self._descriptor)
                    by = f" (process {owner})" if owner.isdigit() else ""
                    raise StoreError(f"{path.parent}: another server{by} uses this data directory")
        except OSError as error:
            os.close(self._descriptor)
            raise store_error(str(path), error) from error
        self._write_owner()

    def fileno(self) -> int:
        """The descriptor, for processes that are to hold the lock as well."""
        return self._descriptor

    def _take(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _write_owner(self) -> None:
        """The number of the process is for people; the lock holds without it, so a full disk does not matter."""
        try:
            os.truncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            if error.errno not in FULL:
                self.release()
                raise store_error("the lock of the data directory", error) from error

    def release(self) -> None:
        """Let another server in; doing so twice is allowed."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _has_ended(process: str) -> bool:
    """Whether the process of this number is known to be no more."""
    if not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass  # it is another user's, or no process can have this number
    return False
