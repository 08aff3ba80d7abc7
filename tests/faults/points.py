"""The named moments at which a server dies. All are system calls, so that the server needs no code for them."""

from typing import Final

from faults.shim import (
    COMMIT,
    LINK,
    MKDIR,
    NEW_REALMS,
    REALMS,
    RENAME,
    SYNC,
    SYSTEM,
    TRUNCATE,
    WRITE,
    Rule,
)

LINGER: Final = 150
"""Milliseconds between the decision to die and the death, with the transaction still to be committed: whoever
acknowledges too early has the time to do so."""

ANY: Final = "*"

COMMITS: Final = {
    "before the pages of a commit": Rule("kill", WRITE, REALMS, pause=LINGER),
    "in the middle of the pages": Rule("tear", WRITE, REALMS),
    "before the pages are synced": Rule("kill", SYNC, REALMS, pause=LINGER),
    "before the commit": Rule("kill", COMMIT, REALMS, pause=LINGER),
    "in the middle of the record that commits": Rule("tear", COMMIT, REALMS),
    "after the commit, before the acknowledgement": Rule("kill-after", COMMIT, REALMS),
    "after the commit, and a while": Rule("stop", COMMIT, REALMS),
}
"""These come with every upload, so that any of them may be chosen, not just the first. The last only stops the server,
which is then killed from outside, or goes on."""

RARE: Final = {
    "before the file grows": Rule("kill", TRUNCATE, REALMS, pause=LINGER),
    "after the file has grown": Rule("kill-after", TRUNCATE, REALMS),
    "in the first pages of a new Realm": Rule("tear", WRITE, NEW_REALMS + "data.mdb"),
    "before the first commit of a new Realm": Rule("kill", COMMIT, NEW_REALMS),
    "after the first commit of a new Realm": Rule("kill-after", COMMIT, NEW_REALMS),
    "when the directory of a new Realm is made": Rule("kill-after", MKDIR, NEW_REALMS),
    "before a new Realm is moved to its place": Rule("kill", RENAME, "*.realm"),
    "after a new Realm is moved to its place": Rule("kill-after", RENAME, "*.realm"),
    "before a login is committed": Rule("kill", COMMIT, SYSTEM, pause=LINGER),
    "after a login is committed": Rule("kill-after", COMMIT, SYSTEM),
}

FIRST_START: Final = {
    "with half a private key": Rule("tear", WRITE, "*.token-signature.key.*"),
    "before the private key is in its place": Rule("kill", LINK, "*/token-signature.key"),
    "between the two keys": Rule("kill-after", LINK, "*/token-signature.key"),
    "before the public key is in its place": Rule("kill", LINK, "*/token-signature.pub"),
    "after the public key is in its place": Rule("kill-after", LINK, "*/token-signature.pub"),
    "with half an admin token": Rule("tear", WRITE, "*.admin_token.base64.*"),
    "before the admin token is in its place": Rule("kill", LINK, "*/admin_token.base64"),
    "when the system store's directory is made": Rule("kill-after", MKDIR, "*/system.new"),
    "with half the pages of the system store": Rule("tear", WRITE, "*/system.new/data.mdb"),
    "before the system store is in its place": Rule("kill", RENAME, "*/system"),
    "after the system store is in its place": Rule("kill-after", RENAME, "*/system"),
}


def any_call(nth: int) -> Rule:
    """The ``nth`` call of all that change something: for a start, which makes a dozen."""
    return Rule("kill", WRITE + COMMIT + SYNC + TRUNCATE + RENAME + LINK + MKDIR, ANY, nth=nth)
