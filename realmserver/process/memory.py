"""How the C library gives memory out, and how often Python looks for garbage.

Large blocks come from the system and go back to it, each by itself. glibc does so until the first of them is freed;
from then on it takes blocks of that size from its heap, and has to write zeros over those that are to be zero. LMDB
asks for two megabytes for each environment and touches a few pages of them: 256 open Realms would hold half a gigabyte
of zeros.
"""

import ctypes
import gc
from typing import Any, Final

LARGE: Final = 1_000_000
"""Bytes of a block that is large: less than LMDB's list of changed pages, more than what is used and freed all the
time."""

YOUNG: Final = 10_000
"""Objects that may come to be before Python looks which of them are garbage in cycles. Its own 700 are those of a few
changesets, and hardly anything here is ever in a cycle."""

_M_MMAP_THRESHOLD: Final = -3


def keep_large_blocks_apart(libc: Any = None) -> bool:
    """Tell glibc; False where the C library is another, or does not know this."""
    try:
        return bool((libc or ctypes.CDLL(None)).mallopt(_M_MMAP_THRESHOLD, LARGE))
    except (AttributeError, OSError):
        return False


def look_for_garbage_seldom() -> None:
    """What is there now, the program itself, is taken to stay for ever: a look at all of it takes some 50 ms, in which
    nobody is served. To be called when everything is there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
