"""A client: one app on one device, with a copy of some Realms and one connection at a time.

It is the project's own client without its shell (``sync.client`` and ``client.local``): the first is as strict about
the server as real clients are (``spec/protocol.md`` 7), the second merges as they do. What it keeps survives the app;
its connections and sessions do not.
"""

from typing import Final, Protocol

from attrs import Factory, define

from realmserver.changeset.instructions import Instruction
from realmserver.client.local import IntegrationFailed, LocalRealm
from realmserver.realms.requests import Download
from realmserver.sync.client import (
    ClientConnection,
    ClientSession,
    ConnectionEnded,
    Downloaded,
    IdentAllocated,
    MarkReached,
    Output,
    SessionError,
    Unbound,
)
from realmserver.sync.client_checks import ServerViolation
from realmserver.sync.decisions import Send
from realmserver.sync.errors import Code

from .choices import Violation
from .host import SUBPROTOCOL
from .wire import Claim, Wire
from .workers import Clock

RETRY_DELAY: Final = 2.0
"""Seconds after which a client comes again."""

RESET_CODES: Final = frozenset(
    {Code.BAD_CLIENT_FILE_IDENT, Code.BAD_SERVER_VERSION, Code.BAD_CLIENT_VERSION, Code.DIVERGING_HISTORIES}
)
"""The errors by which a server that was restored tells a client to begin anew (``spec/protocol.md`` 4.6)."""

LOST_PROGRESS: Final = frozenset({"K8", "K20"})
"""The checks by which a client notices that the server has lost nothing but its progress."""


class World(Protocol):
    """What a device needs of the world around it."""

    clock: Clock
    may_lose: bool
    tolerates_faults: bool
    may_expire: bool
    resets: int
    expired: int
    lost_progress: int
    stopped: int

    def dial(self, device: "Device") -> Wire | None:
        """A new connection; None if nobody answers."""

    def note(self, text: str) -> None:
        """A line for whoever reads the history."""


@define(eq=False)
class Copy:
    """A device's copy of the Realm at ``path``. ``written`` are the client versions of its transactions, ``sent`` is up
    to where they were uploaded in this session. ``ident_run`` and ``version_run``: in which run of the server it got
    its ident, and heard of its newest version. ``received``: all entries that it has downloaded, as version, timestamp
    and changeset. ``is_wanted``: it shall be in sync."""

    path: str
    local: LocalRealm = Factory(LocalRealm)
    written: list[int] = Factory(list)
    session: ClientSession | None = None
    sent: int = 0
    ident_run: int = 0
    version_run: int = 0
    received: list[tuple[int, int, bytes]] = Factory(list)
    is_wanted: bool = True

    def claim(self) -> Claim:
        file = self.local.file
        return Claim(
            file.ident,
            self.ident_run,
            file.latest.version,
            self.version_run,
            file.upload.client_version,
            file.download.server_version,
            tuple(self.received),
        )


class Device:
    """``skew``: seconds by which its clock is wrong. ``is_reader``: nobody writes there."""

    def __init__(self, world: World, number: int, paths: list[str], skew: float, *, is_reader: bool = False) -> None:
        self.world = world
        self.number = number
        self.skew = skew
        self.is_reader = is_reader
        self.copies = {path: Copy(path) for path in paths}
        self.wire: Wire | None = None
        self.machine = ClientConnection()
        self.is_online = True
        self._is_fast = False
        self._pings = 0

    # What the user and the system do.

    def connect(self) -> None:
        """Dial, if there is no connection, and begin a session for each copy."""
        if self.wire is not None or not self.is_online:
            return
        self.wire = self.world.dial(self)
        if self.wire is None:
            self._later()
            return
        self.machine = ClientConnection()
        self.machine.connected(SUBPROTOCOL)
        for copy in self.copies.values():
            self.bind(copy)

    def bind(self, copy: Copy) -> None:
        """Begin a session for ``copy``, if there should be one and can be."""
        if self.wire is None or self.machine.is_over or copy.session is not None or not copy.is_wanted:
            return
        session, out = self.machine.bind(copy.path, copy.local.file, fast=self._is_fast)
        copy.session = session
        copy.sent = copy.local.file.upload.client_version
        self._claim(copy, session)
        self._act(out)
        self.upload(copy)

    def unbind(self, copy: Copy) -> None:
        """End the session of ``copy``."""
        copy.is_wanted = False
        if copy.session is not None and not self.machine.is_over:
            self._act(self.machine.unbind(copy.session))

    def ping(self) -> None:
        """The heartbeat."""
        if self.wire is not None and not self.machine.is_over and not self.machine.awaits_pong:
            self._pings += 1
            self._act(self.machine.ping(self._pings, 0))

    def forget_connection(self, is_fast: bool) -> None:
        """The connection is gone, for this device. ``is_fast``: it will upload at once on the next."""
        self.wire = None
        self._is_fast = is_fast
        for copy in self.copies.values():
            copy.session = None

    def upload(self, copy: Copy) -> None:
        """Send what ``copy`` has not sent in this session."""
        session = copy.session
        if session is None or self.machine.is_over or not session.may_upload:
            return
        for batch in copy.local.uploads(copy.sent):
            copy.sent = batch.progress.client_version
            self._act(self.machine.upload(session, batch.entries, batch.progress, batch.locked_version))

    # What the network does.

    def received(self, wire: Wire, data: bytes) -> None:
        if wire is not self.wire:
            raise Violation(f"device {self.number} hears of a connection it has left")
        try:
            out = self.machine.receive(data)
        except ServerViolation as error:
            self._violated(data, error)
            return
        self._act(out)

    def lost(self, wire: Wire) -> None:
        if wire is self.wire:
            self.forget_connection(is_fast=False)
            self._later()

    # What the state machine says.

    def _act(self, out: list[Output]) -> None:
        for each in out:
            match each:
                case Send(data):
                    if self.wire is not None:
                        self.wire.say(data)
                case IdentAllocated(session, ident, salt):
                    copy = self._copy(session)
                    copy.local.identified(ident, salt)
                    copy.ident_run = self._run()
                    self._claim(copy, session)
                case Downloaded(session, download):
                    self._downloaded(self._copy(session), download)
                case MarkReached(session):
                    self.upload(self._copy(session))
                case SessionError():
                    self._failed(each)
                case Unbound(session):
                    copy = self._copy(session)
                    copy.session = None
                    self.bind(copy)
                case ConnectionEnded(code, text, try_again):
                    if code != Code.CONNECTION_CLOSED or not try_again:
                        raise Violation(f"the server ends the connection of device {self.number}: {code} {text}")
                case _:
                    pass

    def _downloaded(self, copy: Copy, download: Download) -> None:
        if download.latest.version > copy.local.file.latest.version:
            copy.version_run = self._run()
        try:
            dropped = copy.local.integrate(download)
        except IntegrationFailed as error:
            if self.world.tolerates_faults:
                self._stopped(copy)
                return
            raise Violation(f"device {self.number} cannot integrate what the server sends: {error}") from error
        self._check_dropped(dropped)
        copy.received += ((each.server_version, each.timestamp, each.changeset) for each in download.entries)
        self.upload(copy)

    def _stopped(self, copy: Copy) -> None:
        """The known faults of the merge rules have left something here that the others' changes do not fit. A real
        client would stop for good; this one's user resets it, and the Realm must go on without a trace of that."""
        self.world.stopped += 1
        if copy.session is not None:
            self._act(self.machine.unbind(copy.session))
        self.reset(copy, is_bound=True)

    def _check_dropped(self, dropped: list[Instruction]) -> None:
        if dropped and not self.world.tolerates_faults:
            raise Violation(f"device {self.number} cannot apply {dropped}")

    def _failed(self, event: SessionError) -> None:
        copy = self._copy(event.session)
        copy.session = None
        action = (event.content or {}).get("action")
        is_expired = event.code == Code.CLIENT_FILE_EXPIRED and self.world.may_expire
        if is_expired or (event.code in RESET_CODES and self.world.may_lose):
            if action != "ClientReset" or event.try_again:
                raise Violation(f"device {self.number} has to reset and is not told so: {event}")
            self.world.expired += is_expired
            self.reset(copy)
        elif event.code == Code.BAD_CHANGESET and self.world.tolerates_faults:
            self.world.stopped += 1
            self.reset(copy)
        elif event.code != Code.OTHER_SESSION_ERROR or not event.try_again or action != "Transient":
            raise Violation(f"the server ends a session of device {self.number}: {event.code} {event.text}")
        self._later()

    def reset(self, copy: Copy, *, is_bound: bool = False) -> None:
        """A client reset that keeps nothing: a new, empty file. ``is_bound``: UNBOUND is still to come."""
        self.world.resets += 1
        copy.local.reset()
        copy.written = []
        copy.received = []
        if not is_bound:
            copy.session = None
        copy.ident_run = copy.version_run = 0

    def _violated(self, data: bytes, error: ServerViolation) -> None:
        """Where only the progress of a client file was lost with a rollback, neither side can tell from IDENT; a client
        notices at the first DOWNLOAD, and the app has to reset."""
        if error.check not in LOST_PROGRESS or not self.world.may_lose:
            raise Violation(f"device {self.number}: {error} ({data[:80]!r})") from error
        sid = int(data.split(b" ")[1])
        copy = next(copy for copy in self.copies.values() if copy.session is not None and copy.session.sid == sid)
        self.world.lost_progress += 1
        self.reset(copy)
        if self.wire is not None:
            self.wire.client = None
            self.wire.cut(0, 0)
        self.forget_connection(is_fast=False)
        self._later()

    def _claim(self, copy: Copy, session: ClientSession) -> None:
        if self.wire is not None and copy.local.file.ident:
            self.wire.claims[session.sid] = copy.claim()

    def _copy(self, session: ClientSession) -> Copy:
        return self.copies[session.path]

    def _run(self) -> int:
        assert self.wire is not None
        return self.wire.run

    def _later(self) -> None:
        self.world.clock.later(RETRY_DELAY, self._again)

    def _again(self) -> None:
        self.connect()
        for copy in self.copies.values():
            self.bind(copy)
