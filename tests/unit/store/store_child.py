"""A process of its own for the tests that kill one or take its room away. Arguments: what to do, the data directory.

Lines on standard output are acknowledgements; the tests read them.
"""

import os
import random
import resource
import sys
from pathlib import Path

from store_helpers import append, entry

from realmserver.store.interface import Commit, RealmStore, StoreFull
from realmserver.store.lmdb_store import LmdbStore

SMALL = 200_000
LIMIT = 2 << 20


def say(text: object) -> None:
    os.write(1, f"{text}\n".encode())


def changeset(version: int) -> bytes:
    """Different for each version, of very different lengths, not to be compressed."""
    chance = random.Random(version)
    return chance.randbytes(chance.choice([10, 1_000, 60_000]))


def append_for_ever(realm: RealmStore) -> None:
    """Acknowledge each version once it is appended; hold a snapshot all the time, as a busy server does."""
    with realm.snapshot():
        pass
    version = realm.head().version
    while True:
        with realm.snapshot() as snapshot:
            assert snapshot.head.version == version
            version += 1
            key = b"newest"
            commit = Commit([entry(version, changeset(version))], shape={key: b"%d" % version})
            realm.append(version - 1, 0, commit)
            say(version)


def fill(realm: RealmStore) -> None:
    """Append until there is no room, then go on with less, and with more once the limit is lifted."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    chance = random.Random(1)
    full = None
    while full is None:
        try:
            append(realm, chance.randbytes(SMALL))
            assert realm.head().version < LIMIT, "the limit does not bite"
        except StoreFull as error:
            full = error
    say(f"full at {realm.head().version}: {full}")
    append(realm, b"small")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    append(realm, chance.randbytes(SMALL))
    say(realm.head().version)


def shrink_for_ever(store: LmdbStore, realm: RealmStore) -> None:
    """Append; now and then fold the history into one entry, sweep it in steps, and open the Realm anew. Acknowledges
    the version and the base version after each step."""
    while True:
        head = realm.head()
        for version in range(head.version + 1, head.version + 30):
            realm.append(version - 1, 0, Commit([entry(version, changeset(version))]))
            say(f"{version} {head.base_version}")
        base = realm.head().version - 3
        whole = entry(1, b"all of %d" % base)
        realm.append(base + 3, 0, Commit(squash_dropped=[base], squash={(base, 1): whole}))
        realm.append(base + 3, 0, Commit(base=(base, 1)))
        say(f"{base + 3} {base}")
        while realm.sweep(5):
            say(f"{base + 3} {base}")
        realm.close()
        realm = store.open("/a/b", create=False)


def main() -> None:
    what, root, map_size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    store = LmdbStore(root, random_bytes=os.urandom, map_size=map_size)
    realm = store.open("/a/b", create=True)
    say("open")
    match what:
        case "append":
            append_for_ever(realm)
        case "shrink":
            shrink_for_ever(store, realm)
        case "fill":
            fill(realm)
            store.close()


if __name__ == "__main__":
    main()
