"""The server under attack, and the good clients that must not notice (design.md 6.3).

:class:`Neighbours` are two well-behaved clients of one Realm. Their protocol is the product's own strict client, which
complains about whatever a real client would leave, crash or hang on; and they know to the byte what the Realm's log has
to be, since nobody else may ever get anything stored there.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from raw_sync import Login, RawSync, log_in, sync_path, upgrade_request
from server_process import ServerProcess

from realmserver.auth.keys import Keys, load_keys
from realmserver.auth.tokens import Tokens
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    COLLECTION_SINGLE,
    TABLE_TOP_LEVEL,
    TYPE_BINARY,
    TYPE_INT,
    AddColumn,
    AddTable,
    Changeset,
    CreateObject,
    Instruction,
    Payload,
    Update,
)
from realmserver.realms.requests import DownloadEntry, UploadCursor, UploadEntry
from realmserver.sync import client, decisions

SHARED: Final = '"shared"'
"""The partition that good and hostile clients share."""

TIMESTAMP: Final = 178_000_000_000

TROUBLE: Final = re.compile(r"^\S+ - (error|fatal): |^ +Traceback|Unhandled")
"""What no peer may bring about in the log."""

MOST_SHOWN: Final = 40
"""Characters of a token's end that may not be in the log; shorter secrets not at all."""


class GoodClient:
    """A client file that is in sync with its Realm. ``log`` holds all it was sent, by server version."""

    def __init__(self, port: int, login: Login, path: str = SHARED) -> None:
        self.log: dict[int, DownloadEntry] = {}
        self.written: list[bytes] = []
        self._socket = RawSync(port, upgrade_request(sync_path(login.access_token)))
        self._connection = client.ClientConnection()
        self._connection.connected(self._socket.subprotocol)
        self.session, outputs = self._connection.bind(path)
        self._take(outputs)
        self._until(lambda: self.session.reached_mark > 0)

    @property
    def version(self) -> int:
        """The server version that it has reached."""
        return self.session.file.download.server_version

    def write(self, changeset: bytes) -> None:
        """Upload ``changeset`` and wait until the server has it."""
        file = self.session.file
        version = max(file.newest_version, 1) + 1
        progress = UploadCursor(version, file.download.server_version)
        entry = UploadEntry(version, progress.server_version, TIMESTAMP, 0, changeset)
        self._take(self._connection.upload(self.session, [entry], progress, progress.server_version))
        self._until(lambda: self.session.file.upload.client_version >= version)
        self.written.append(changeset)

    def mark(self) -> None:
        """Wait until everything that exists now is here."""
        self._take(self._connection.mark(self.session))
        self._until(lambda: self.session.reached_mark == self.session.asked_mark)

    def hear_of(self, version: int) -> None:
        """Wait for ``version``, without asking."""
        self._until(lambda: self.version >= version)

    def close(self) -> None:
        self._socket.close()

    def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            received = self._socket.receive()
            assert isinstance(received, bytes), f"a good client's connection ended: {received}"
            self._take(self._connection.receive(received))

    def _take(self, outputs: list[client.Output]) -> None:
        for output in outputs:
            match output:
                case decisions.Send(data):
                    self._socket.send_message(data)
                case client.Downloaded(_, download):
                    self.log |= {entry.server_version: entry for entry in download.entries}
                case client.IdentAllocated() | client.MarkReached() | client.Logged():
                    pass
                case _:
                    raise AssertionError(f"a good client was told {output}")


class Neighbours:
    """Two good clients that write to each other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._login = log_in(port)
        self._written: list[bytes] = []
        self.one = GoodClient(port, self._login)
        self.other = GoodClient(port, log_in(port))
        self._write(self.one, new_table())
        self.other.mark()

    @property
    def version(self) -> int:
        """The server version that the Realm must have."""
        return len(self._written)

    def talk(self) -> None:
        """Each writes something and the other receives just that, once by asking and once without."""
        self._write(self.one, new_object(len(self._written)))
        self.other.mark()
        assert self.other.log[self.version].changeset == self._written[-1]
        self._write(self.other, new_object(len(self._written)))
        self.one.hear_of(self.version)
        assert self.one.log[self.version].changeset == self._written[-1]

    def newcomer(self) -> GoodClient:
        """One more good client, on a connection of its own."""
        return GoodClient(self._port, self._login)

    def check_log(self) -> None:
        """The Realm's log is what these two have written, without a gap and with nothing else in it: as each of them
        saw it, and as one who comes now sees it."""
        expected = dict(enumerate(self._written, 1))
        self.one.mark()
        self.other.mark()
        seen = self.one.log | self.other.log
        assert {version: entry.changeset for version, entry in sorted(seen.items())} == expected
        assert len(self.one.log) + len(self.other.log) == len(expected)
        newcomer = self.newcomer()
        assert {version: entry.changeset for version, entry in newcomer.log.items()} == expected
        newcomer.close()

    def _write(self, writer: GoodClient, changeset: bytes) -> None:
        writer.write(changeset)
        self._written.append(changeset)
        assert writer.version == self.version, "somebody else has written"


class Site:
    """A running server, its good clients, and what tests need to know of its inside."""

    def __init__(self, process: ServerProcess) -> None:
        self.process = process
        self.port = process.port
        self.login = log_in(self.port)
        self.neighbours = Neighbours(self.port)
        self.secrets = {self.login.access_token, self.login.refresh_token}

    @property
    def keys(self) -> Keys:
        """The server's own key pair."""
        directory = self.process.root / "keys"
        return load_keys(directory / "token-signature.pub", directory / "token-signature.key")

    @property
    def tokens(self) -> Tokens:
        """Issues tokens that the server takes for its own."""
        return Tokens(self.keys)

    def attacker(self, subprotocol: str = "com.mongodb.realm-sync#14", login: Login | None = None) -> RawSync:
        """A connection of a user that is logged in."""
        token = (login or self.login).access_token
        return RawSync(self.port, upgrade_request(sync_path(token), subprotocol))

    def peak_memory(self) -> int:
        """Bytes of memory that the server has had at most since :meth:`forget_peak`."""
        return self._memory("VmHWM")

    def forget_peak(self) -> int:
        """Begin to measure; the bytes it has now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self._memory("VmRSS")

    def open_files(self) -> int:
        """How many file descriptors the server has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def check_log(self) -> None:
        """Nothing that peers did made the server stumble, and no secret is in what it wrote about them."""
        text = self.process.text()
        trouble = [line for line in text.splitlines() if TROUBLE.search(line)]
        assert not trouble, trouble[:20]
        for secret in self.secrets | {(self.process.root / "admin_token.base64").read_text()}:
            assert secret[-MOST_SHOWN:] not in text

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024


@contextmanager
def serving(directory: Path, settings: str = "") -> Iterator[Site]:
    """A server with its data in ``directory``, as long as the block runs."""
    process = ServerProcess(directory, settings)
    try:
        process.start()
        yield Site(process)
    finally:
        process.kill()


def new_table() -> bytes:
    """A changeset: class Item with an integer key and a binary property."""
    return _changeset(
        AddTable("Item", TABLE_TOP_LEVEL, "_id", TYPE_INT),
        AddColumn("Item", "data", TYPE_BINARY, False, COLLECTION_SINGLE),
    )


def new_object(number: int, data: bytes = b"") -> bytes:
    """A changeset: the Item ``number``, perhaps with data."""
    key = (TYPE_INT, number)
    update = [Update("Item", key, "data", [], Payload(TYPE_BINARY, data))] if data else []
    return _changeset(CreateObject("Item", key), *update)


def _changeset(*instructions: Instruction) -> bytes:
    return encode(Changeset(list(instructions)))
