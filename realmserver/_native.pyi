"""What the core in Rust has for Python (``native/src/lib.rs``); it is there where ``realmserver._build`` says so.

The meaning of all this is told in ``realmserver/merge/compact.py``. Its class has what ``realms.core`` asks for, and
``timestamp`` and ``origin`` to be read.
"""

from collections.abc import Sequence

from realmserver.realms.core import CompactChangeset as CompactChangeset

def parse(data: bytes, timestamp: int, origin: int, clear_types: bool) -> CompactChangeset | None: ...
def merge(incoming: Sequence[CompactChangeset], local: Sequence[CompactChangeset], meetings: int) -> int: ...
