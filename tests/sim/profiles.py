"""Kinds of histories: what may go wrong in them, and which promises still hold then."""

from typing import Final

from attrs import frozen


@frozen
class Profile:
    """What may go wrong besides the network, which is always bad.

    ``crashes``: the server may be killed at any step, and a commit without its fsync is lost or not; it may be stopped
    as planned, and the disk may be full. ``rollbacks``: an older copy of Realms may be put back. ``lies``: a crash may
    take back the last commits, fsync or not. ``known_faults``: clients make the edits with which the merge rules
    themselves fail (``spec/merge.md`` 8.6), so that states may differ and a client may have to be reset; the Realm must
    keep syncing. ``is_behind``: clients that are in sync at first go on uploading for long without hearing of each
    other, and Realms are closed and opened all the time, so that merges go on from what is stored. ``folds``: Realms
    keep their history for a short time only, and clients are away for longer; each history draws ``lies`` or
    ``rollbacks`` besides.
    """

    name: str
    crashes: bool = True
    rollbacks: bool = False
    lies: bool = False
    known_faults: bool = False
    is_behind: bool = False
    folds: bool = False

    @property
    def may_lose(self) -> bool:
        """Whether clients may be told to reset: the server can have lost what they know."""
        return self.rollbacks or self.lies


PROFILES: Final = {
    profile.name: profile
    for profile in (
        Profile("network", crashes=False),
        Profile("crash"),
        Profile("behind", is_behind=True),
        Profile("restore", rollbacks=True),
        Profile("lying-fsync", lies=True),
        Profile("known-faults", known_faults=True),
        Profile("history", folds=True),
    )
}
