"""Moves a Realm's stored values along its log, a small step at a time, off the path of uploads.

A step is one commit that changes the table of values and nothing else: the records, and the version they are then at
(``stored``). So a reader of a snapshot always finds them as of one version, and a crash loses a step's work and nothing
more. Steps are bounded by what they read and by what they hold in memory; one entry is applied as a whole, so one that
an upload has brought as a whole may exceed the bounds.
"""

from typing import Final

from realmserver.changeset.decode import decode
from realmserver.changeset.instructions import BadChangeset
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.stored import StoredValues, read_meta
from realmserver.store.interface import Commit, Snapshot

STEP_INSTRUCTIONS: Final = 2_000
"""Instructions after which a step ends: some 30 ms of a thread, which an upload of the Realm may have to wait for."""

STEP_BYTES: Final = 256 * 1024
"""Bytes of changesets after which a step ends: few instructions can be large."""

STEP_RECORDS: Final = 10_000
"""Records in memory after which a step ends: some 10 MB."""


def is_behind(snapshot: Snapshot) -> bool:
    """Whether the values are at an earlier version than the log."""
    return read_meta(snapshot).version < snapshot.head.version


def fold(snapshot: Snapshot) -> tuple[Commit, bool] | None:
    """One step: what to make durable so that the values move on, and whether they are at the log's head then; None
    where they are there already.

    Raises BrokenRecord where the log or the records are not what was written.
    """
    values = StoredValues(snapshot)
    head = snapshot.head
    if values.version >= head.version:
        return None
    instructions = size = 0
    for version in range(values.version + 1, head.version + 1):
        entry = snapshot.entry(version)
        try:
            changeset = decode(entry.changeset)
            values.apply(version, changeset)
        except BadChangeset as error:
            raise BrokenRecord(f"version {version} of the log does not apply: {error}") from error
        instructions += len(changeset.instructions) + 1
        size += len(entry.changeset)
        if instructions >= STEP_INSTRUCTIONS or size >= STEP_BYTES or values.held >= STEP_RECORDS:
            break
    return values.changes(), values.version == head.version
