"""File handles: the system's limit for this process is raised as far as it goes, and measured against what is needed.

Each connection takes one, each open Realm a few. What is short of is told at the start, rather than at the worst time.
"""

import resource
from typing import Any, Final

FILES_OF_A_REALM: Final = 2
"""An LMDB environment holds its data file and its lock file open."""

OTHER_FILES: Final = 128
"""Ports, logs, libraries, threads' pipes and the accounts."""


def raise_limit(system: Any = resource) -> int:
    """Raise the soft limit to the hard one; the number of files that may be open from now on."""
    soft, hard = system.getrlimit(system.RLIMIT_NOFILE)
    if soft != hard:
        try:
            system.setrlimit(system.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # some systems name a hard limit that they do not grant
            return int(soft)
    return int(hard)


def shortage(allowed: int, connections: int, open_realms: int) -> str:
    """What to tell the operator if ``allowed`` files are too few; empty if they are enough."""
    needed = connections + FILES_OF_A_REALM * open_realms + OTHER_FILES
    if allowed < 0 or allowed >= needed:  # RLIM_INFINITY is negative
        return ""
    return (
        f"the system lets this process open {allowed:,} files; limits.connections ({connections:,}) and "
        f"performance.max_open_files ({open_realms:,}) may need {needed:,}. Raise the limit (LimitNOFILE= in a systemd "
        f"unit, ulimit -Hn), or lower limits.connections"
    )
