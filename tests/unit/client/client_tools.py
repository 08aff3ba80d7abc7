"""What the tests of the client share: a real Realm on a memory store, to which clients are carried by hand."""

import random

from realmserver.changeset.decode import decode
from realmserver.client.local import LocalRealm
from realmserver.client.transaction import Transaction
from realmserver.realms.realm import Realm
from realmserver.realms.requests import Identified, Identify, Upload, UploadCursor, UploadDone
from realmserver.realms.values import Values
from realmserver.store.memory import MemoryStore
from realmserver.sync.client_checks import check_download

PROTOCOL = 14


class FixedEnvironment:
    """Salts count up, time stands still, warnings are kept."""

    def __init__(self) -> None:
        self.salt = 100
        self.warnings: list[str] = []

    def random_salt(self) -> int:
        self.salt += 1
        return self.salt

    def now(self) -> int:
        return 1_700_000_000

    def warn(self, realm: str, text: str) -> None:
        self.warnings.append(f"{realm}: {text}")


class Server:
    """One Realm, and what it has acknowledged to each client file."""

    def __init__(self) -> None:
        self.environment = FixedEnvironment()
        self.store = MemoryStore(random_bytes=bytes).open("/test", create=True)
        self.realm = Realm(self.store, self.environment)
        self._cursors: dict[int, UploadCursor] = {}

    def join(self, local: LocalRealm) -> None:
        """Give ``local`` a client file here."""
        client = self.realm.allocate("user")
        local.identified(client.ident, client.salt)
        self._cursors[client.ident] = UploadCursor()
        self.identify(local)

    def identify(self, local: LocalRealm) -> Identified:
        file = local.file
        return self.realm.identify(Identify(file.ident, file.salt, file.download, file.latest), "user", PROTOCOL)

    def upload(self, local: LocalRealm, after: int | None = None) -> list[UploadDone]:
        """Carry over all that ``local`` has to upload (after this client version, else what is not acknowledged)."""
        file = local.file
        uploads = [
            Upload(file.ident, batch.entries, batch.progress, batch.locked_version, PROTOCOL)
            for batch in local.uploads(file.upload.client_version if after is None else after)
        ]
        answers = []
        for answer in self.realm.integrate(uploads).answers if uploads else ():
            assert isinstance(answer, UploadDone), answer
            self._cursors[file.ident] = answer.upload
            answers.append(answer)
        return answers

    def download(self, local: LocalRealm) -> None:
        """Carry over all that is new for ``local``, checked as a client checks it. Nothing may be left out."""
        file = local.file
        found = self.realm.download(file.ident, file.download, self.realm.head)
        found = type(found)(
            found.cursor, found.latest, self._cursors[file.ident], found.downloadable_bytes, found.entries
        )
        check_download(
            found,
            ident=file.ident,
            cursor=file.download,
            latest=file.latest,
            upload=file.upload,
            newest_version=file.newest_version,
            is_first=True,
            compensations=(),
        )
        assert local.integrate(found) == []

    def sync(self, *locals_: LocalRealm) -> None:
        """Upload and download until nothing moves."""
        for local in locals_:
            self.upload(local)
        for local in locals_:
            self.download(local)

    def state(self) -> dict[str, list[list[object]]]:
        """What the log comes to when it is applied from the start, strictly."""
        values = Values()
        with self.store.snapshot() as snapshot:
            for entry in snapshot.entries(1, snapshot.head.version):
                values.apply(decode(entry.changeset))
        return values.state()


def add_schema(tx: Transaction) -> None:
    """Class Thing with a property for every kind of edit, class Room embedded."""
    tx.add_class("Thing", "_id", "string")
    tx.add_class("Room", kind="embedded")
    tx.add_property("Room", "x", "int")
    tx.add_property("Room", "s", "string", nullable=True)
    tx.add_property("Room", "nums", "int", collection="list")
    tx.add_property("Room", "owner", "link", target="Thing")
    tx.add_property("Thing", "name", "string", nullable=True)
    tx.add_property("Thing", "count", "int")
    tx.add_property("Thing", "ratio", "double")
    tx.add_property("Thing", "day", "timestamp", nullable=True)
    tx.add_property("Thing", "any", "mixed")
    tx.add_property("Thing", "friend", "link", target="Thing")
    tx.add_property("Thing", "friends", "link", target="Thing", collection="list")
    tx.add_property("Thing", "pals", "link", target="Thing", collection="set")
    tx.add_property("Thing", "tags", "string", collection="list")
    tx.add_property("Thing", "nums", "int", nullable=True, collection="list")
    tx.add_property("Thing", "marks", "int", collection="set")
    tx.add_property("Thing", "names", "string", collection="set")
    tx.add_property("Thing", "map", "int", collection="dictionary")
    tx.add_property("Thing", "info", "mixed", collection="dictionary")
    tx.add_property("Thing", "home", "link", target="Room")
    tx.add_property("Thing", "rooms", "link", target="Room", collection="list")
    tx.add_property("Thing", "doors", "link", target="Room", collection="dictionary")


def randomly(seed: int) -> random.Random:
    """Chance from a seed, which a failing test shows as its argument."""
    return random.Random(seed)
