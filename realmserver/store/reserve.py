"""Room on the disk that is kept free: when less is left, nothing is written until there is more again.

Keeps true: a full disk is met by an answer and not by half a write, and it is left again without anybody's help. May
wait for the disk, so it is asked in threads, before every commit; looking costs microseconds. It knows nothing of what
is written, nor who is told.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

MORE: Final = 16
"""Writing goes on when the reserve and a sixteenth of it more are free, so that it does not flutter."""


class DiskReserve:
    """``reserve`` bytes are to stay free on the filesystem of ``path``; 0 asks for nothing. ``turned`` hears, in the
    thread that looked, when writing ends (True) and when it goes on (False), with the bytes that are free."""

    def __init__(
        self,
        path: Path,
        reserve: int,
        turned: Callable[[bool, int], None] = lambda is_read_only, free: None,
        statvfs: Callable[[Path], os.statvfs_result] = os.statvfs,
    ) -> None:
        self._path = path
        self._reserve = reserve
        self._turned = turned
        self._statvfs = statvfs
        self._lock = threading.Lock()
        self.is_read_only = False

    def look(self) -> bool:
        """Whether nothing may be written now. A disk that cannot be looked at changes nothing."""
        if not self._reserve:
            return False
        try:
            found = self._statvfs(self._path)
        except OSError:
            return self.is_read_only
        free = found.f_bavail * found.f_frsize
        with self._lock:
            least = self._reserve + self._reserve // MORE if self.is_read_only else self._reserve
            is_read_only = free < least
            if is_read_only is not self.is_read_only:
                self.is_read_only = is_read_only
                self._turned(is_read_only, free)
        return is_read_only
