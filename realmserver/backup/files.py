"""Directories and files of a copy: made with the modes of their originals, durable, and taken back after a failure.

Knows nothing of what the files hold. All functions raise OSError.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from realmserver.store.layout import DIRECTORY_MODE, sync_directory

_CLOSED: Final = 0o600
"""Mode of a file until it has its own: keys must not be open to others for a moment."""


class Target:
    """The directory that a copy is made in. It is empty, or is made with its missing parents, by :meth:`begin`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: list[Path] = []  # the target and its parents, outermost first
        self._directories: list[Path] = []  # inside, in the order in which they were made

    def begin(self, original: Path) -> None:
        """Make what is missing, the directory itself as ``original`` is."""
        missing: list[Path] = []
        directory = self.path
        while not directory.is_dir():
            missing.append(directory)
            directory = directory.parent
        for directory in reversed(missing):
            directory.mkdir(DIRECTORY_MODE)
            self._made.append(directory)
        if missing:
            _dress(self.path, original.stat())

    def _directory(self, original: Path, name: Path) -> None:
        directory = self.path / name
        if not directory.is_dir():
            directory.mkdir(_CLOSED | stat.S_IXUSR)
            self._directories.append(directory)
            _dress(directory, original.stat())

    def directories_to(self, source: Path, name: Path) -> Path:
        """The directory ``name`` inside, made with its parents as they are below ``source``."""
        for parent in [*reversed(name.parents), name]:
            self._directory(source / parent, parent)
        return self.path / name

    def copy(self, original: Path, name: Path) -> None:
        """Copy a file, or what a symbolic link leads to: the link itself would be of no use on another machine. A
        link that leads nowhere is copied as such."""
        if not original.exists():
            (self.path / name).symlink_to(os.readlink(original))
            return
        with original.open("rb") as file, new_file(self.path / name, original) as descriptor:
            shutil.copyfileobj(file, os.fdopen(os.dup(descriptor), "wb", buffering=0))

    def remove(self, name: Path) -> None:
        """Remove the directory ``name`` inside again."""
        shutil.rmtree(self.path / name)
        self._directories.remove(self.path / name)

    def sync(self) -> None:
        """Make all directories durable, with what stands in them."""
        for directory in reversed(self._directories):
            sync_directory(directory)
        sync_directory(self.path)
        for directory in reversed(self._made):
            sync_directory(directory.parent)

    def undo(self) -> None:
        """Remove everything that was made; what cannot be removed stays."""
        if self._made:
            shutil.rmtree(self._made[0], ignore_errors=True)
            return
        for child in self.path.iterdir():
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child, ignore_errors=True)
            else:
                child.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path, original: Path) -> Iterator[int]:
    """A descriptor to write the new file ``path``, which gets the mode of ``original`` and is durable afterwards."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _CLOSED)
    try:
        yield descriptor
        _dress(descriptor, original.stat())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _dress(path: Path | int, original: os.stat_result) -> None:
    """Give a new file or directory the mode of its original, and its owner, where that is allowed."""
    if os.geteuid() == 0:
        os.chown(path, original.st_uid, original.st_gid)
    os.chmod(path, stat.S_IMODE(original.st_mode))
