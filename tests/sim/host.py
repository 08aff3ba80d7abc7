"""One run of the server: its registry of Realms, and for each connection what ``net.conversation`` is.

:class:`ServerSide` carries out the decisions of the state machine as ``net.conversation.Conversation`` does, without
tokens and figures; where that one changes, this one has to. It also watches what is about to be said: nothing that is
not durable may be acknowledged or shown, and no client file may be let in whose history is not the server's.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from realmserver.realms.fanout import Made
from realmserver.realms.live import LiveRealm, Subscriber
from realmserver.realms.registry import Registry
from realmserver.realms.requests import (
    ClientFileExpired,
    Identified,
    Identify,
    RealmError,
    RealmUnavailable,
    Upload,
    UploadDone,
)
from realmserver.store.interface import ClientFile
from realmserver.sync import decisions
from realmserver.sync.bodies import EncodedBody, encode_download_body
from realmserver.sync.errors import SyncError
from realmserver.sync.server import ServerConnection
from realmserver.sync.session import Session
from realmserver.sync.versions import Negotiated

from .choices import Violation
from .disk import Disk, Journal, Kept
from .shrinking import TTL, has_begun_here, is_lost, is_of_age
from .wire import Claim, Closed, Wire
from .workers import Clock, SimulatedWorkers

PROTOCOL: Final = 14
SUBPROTOCOL: Final = f"com.mongodb.realm-sync#{PROTOCOL}"

STOP_TIMEOUT: Final = 10
"""Seconds that clients have when the server stops."""

HIGH_WATER: Final = 6
"""Messages on their way to a client at which its transport asks the server to pause."""

FOLD_DELAY: Final = 2.0
"""Seconds after an upload until the stored values follow, where history shrinks."""

USER: Final = "user"

Input = Callable[[ServerConnection], Iterable[decisions.Decision]]


class World(Protocol):
    """What a run of the server needs to know of the world around it."""

    clock: Clock
    disk: Disk
    tolerates_faults: bool
    may_expire: bool

    def next_salt(self) -> int:
        """A salt that was never given before."""

    def has_lost(self, name: str, claim: Claim) -> bool:
        """Whether the server has lost, in some rollback, something that ``claim`` is built on."""

    def has_rolled_back(self, name: str, claim: Claim) -> bool:
        """Whether anything of the Realm was lost since ``claim``'s client file has got its ident."""

    def note(self, text: str) -> None:
        """A line for whoever reads the history."""


class Server:
    """One run of the server process, from its start to its stop or crash."""

    def __init__(self, world: World, run: int, max_open: int) -> None:
        self.world = world
        self.run = run
        self.max_open = max_open
        self.is_stopping = False
        self.is_stopped = False
        self._is_finishing = False
        self.connections: list[ServerSide] = []
        self.workers = SimulatedWorkers(world.disk, world.clock)
        self.registry: Registry[EncodedBody] = Registry(
            world.disk,
            self,
            self.workers,
            encode_download_body,
            max_open=max_open,
            fold_delay=FOLD_DELAY if world.may_expire else None,
            history_ttl=TTL if world.may_expire else 0,
        )
        self.realms: dict[str, LiveRealm[EncodedBody]] = {}

    # What Realms get from outside.

    def random_salt(self) -> int:
        return self.world.next_salt()

    def now(self) -> int:
        return int(self.world.clock.now)

    def warn(self, realm: str, text: str) -> None:
        if not self.world.tolerates_faults:
            raise Violation(f"{realm}: {text}")

    # What connections ask.

    def realm(self, name: str) -> LiveRealm[EncodedBody]:
        """The Realm ``name``; remembered, so that at the end all can be looked at."""
        live = self.realms[name] = self.registry.get(name)
        return live

    def stop(self) -> None:
        """A planned stop: clients are told to come again; when they have gone or had time enough, what waits becomes
        durable and stores are closed."""
        self.is_stopping = True
        for connection in list(self.connections):
            connection.feed(lambda machine: machine.shutdown())
        self.workers.later(STOP_TIMEOUT, self._finish)
        self.closed()

    def closed(self) -> None:
        """A connection is gone, or the last was before."""
        if self.is_stopping and not self.connections:
            self._finish()

    def _finish(self) -> None:
        if not self._is_finishing:
            self._is_finishing = True
            self.registry.stop(self._stopped)

    def _stopped(self) -> None:
        self.is_stopped = True

    def crash(self) -> None:
        """The process is gone."""
        self.world.clock.drop(self.workers)
        for connection in self.connections:
            connection.wire.server = None


class Binding(Subscriber):
    """One session of a connection and the Realm it is bound to."""

    def __init__(self, side: "ServerSide", session: Session, live: LiveRealm[EncodedBody]) -> None:
        self.side = side
        self.session = session
        self.live = live
        self.ident = 0
        self.is_refused = False

    def advanced(self, version: int) -> None:
        self.side.feed(lambda machine: machine.advanced(self.session, version))

    def superseded(self, by: Subscriber) -> None:
        if isinstance(by, Binding) and by.side is self.side:
            raise Violation(f"client file {by.ident} is bound twice on one connection")
        self.side.feed(lambda machine: machine.superseded())

    def expelled(self, error: RealmError) -> None:
        self.side.refuse(self.session, error)

    def reported(self, answer: UploadDone | RealmError) -> None:
        if isinstance(answer, RealmError):
            self.side.refuse(self.session, answer)


class ServerSide:
    """The server's end of a connection."""

    def __init__(self, server: Server, wire: Wire) -> None:
        self.server = server
        self.wire = wire
        self.machine = ServerConnection(Negotiated(SUBPROTOCOL, PROTOCOL))
        self.is_reading = True
        self._is_writable = True
        self._inputs: deque[Input] = deque()
        self._is_deciding = False
        self._bindings: dict[Session, Binding] = {}
        server.connections.append(self)
        self.feed(lambda machine: machine.connected(f"c{wire.number}"))

    # The network's side.

    def received(self, data: bytes) -> None:
        self.feed(lambda machine: machine.receive(data))

    def lost(self) -> None:
        self.feed(lambda machine: machine.lost())
        for session in list(self._bindings):
            self._leave(session)
        self.server.connections.remove(self)
        self.server.closed()

    def drained(self) -> None:
        if not self._is_writable and len(self.wire.to_client) < HIGH_WATER:
            self._is_writable = True
            self.feed(lambda machine: machine.writable(True))

    # The state machine's side.

    def feed(self, step: Input) -> None:
        self._inputs.append(step)
        if self._is_deciding:
            return
        self._is_deciding = True
        while self._inputs:
            for decision in self._inputs.popleft()(self.machine):
                self._carry_out(decision)
        self._is_deciding = False

    def _carry_out(self, decision: decisions.Decision) -> None:
        match decision:
            case decisions.Send(data):
                self._send(data)
            case decisions.Ask(session, request):
                self._ask(self._bindings[session], request)
            case decisions.Report(session, progress):
                binding = self._bindings[session]
                if not binding.is_refused:
                    binding.live.upload(progress, binding.reported)
            case decisions.FetchDownload(session):
                self._fetch(self._bindings[session], decision)
            case decisions.Open(session):
                self._open(decision)
            case decisions.Leave(session):
                self._leave(session)
            case decisions.PauseReading():
                self.is_reading = False
            case decisions.ResumeReading():
                self.is_reading = True
            case decisions.Close(code):
                self.wire.answer(Closed(code))
                self.feed(lambda machine: machine.lost())
            case decisions.Abort(reason):
                self.server.world.note(f"    the server drops c{self.wire.number}: {reason}")
                self.wire.cut(0, 0)
            case decisions.ErrorReceived(code, text):
                raise Violation(f"a client reports error {code}: {text}")
            case decisions.ErrorSent(_, code, text):
                self.server.world.note(f"    the server tells c{self.wire.number} of {code.name}: {text}")
            case decisions.Log() | decisions.RoundTrip():
                pass
            case _:
                raise Violation(f"nobody should ask for {decision}")

    def _send(self, data: bytes) -> None:
        self.wire.answer(data)
        if self._is_writable and len(self.wire.to_client) >= HIGH_WATER:
            self._is_writable = False
            self.feed(lambda machine: machine.writable(False))

    def refuse(self, session: Session, error: RealmError | SyncError) -> None:
        """End the session with ``error``, and put nothing more of it to the Realm."""
        binding = self._bindings.get(session)
        if binding is not None:
            binding.is_refused = True
        self.feed(lambda machine: machine.refused(session, error))

    def _open(self, request: decisions.Open) -> None:
        session = request.session
        binding = self._bindings[session] = Binding(self, session, self.server.realm(request.path))
        if request.need_ident:
            binding.live.allocate(USER, lambda answer: self._allocated(binding, answer))
        else:
            binding.live.open(lambda answer: self._opened(session, answer))

    def _allocated(self, binding: Binding, answer: ClientFile | RealmError) -> None:
        if isinstance(answer, RealmError):
            self.refuse(binding.session, answer)
            return
        if answer.ident > self._kept(binding).last_ident:
            raise Violation(f"client file {answer.ident} is given out and not durable")
        self.feed(lambda machine: machine.opened(binding.session, answer.ident, answer.salt))

    def _opened(self, session: Session, answer: RealmError | None) -> None:
        if answer is not None:
            self.refuse(session, answer)
        else:
            self.feed(lambda machine: machine.opened(session))

    def _ask(self, binding: Binding, request: Identify | Upload) -> None:
        session = binding.session

        def answered(answer: Identified | UploadDone | RealmError) -> None:
            if session not in self._bindings:
                # It was left while the Realm looked at its IDENT and did not know of it yet.
                binding.live.leave(binding.ident, binding)
            if isinstance(request, Identify):
                self._check_identified(binding, answer)
            elif isinstance(answer, ClientFileExpired) and not binding.is_refused:  # what comes later fails with it
                self._check_expired(binding, min(entry.server_version for entry in request.entries))
            if isinstance(answer, RealmError):
                self.refuse(session, answer)
            else:
                self.feed(lambda machine: machine.answered(session, answer))

        if binding.is_refused:
            return
        if isinstance(request, Upload):
            binding.live.upload(request, answered)
        else:
            binding.ident = request.ident
            binding.live.identify(request, USER, PROTOCOL, binding, answered)

    def _fetch(self, binding: Binding, request: decisions.FetchDownload) -> None:
        session = binding.session

        def fetched(answer: Made[EncodedBody] | RealmError) -> None:
            if isinstance(answer, ClientFileExpired):
                self._check_expired(binding, request.cursor.server_version)
            if isinstance(answer, RealmError):
                self.refuse(session, answer)
                return
            self._check_durable(binding, answer)
            self.feed(lambda machine: machine.downloaded(session, *answer))

        binding.live.fetch(request.ident, request.cursor, PROTOCOL, fetched)

    def _leave(self, session: Session) -> None:
        binding = self._bindings.pop(session, None)
        if binding is not None:
            binding.live.leave(binding.ident, binding)

    # What must be true of what is about to be said.

    def _journal(self, binding: Binding) -> Journal:
        return self.server.world.disk.journals[binding.live.name]

    def _kept(self, binding: Binding) -> Kept:
        return self._journal(binding).kept

    def _check_durable(self, binding: Binding, made: Made[EncodedBody]) -> None:
        download, kept = made[0], self._kept(binding)
        if download.latest.version > kept.version or download.cursor.server_version > kept.version:
            raise Violation(f"version {download.latest.version} is shown, only {kept.version} is durable")
        integrated = kept.clients[binding.ident].client_version
        if download.upload.client_version > integrated:
            raise Violation(
                f"client file {binding.ident}: version {download.upload.client_version} is acknowledged, "
                f"only {integrated} is durable"
            )

    def _check_identified(self, binding: Binding, answer: object) -> None:
        claim = self.wire.claims.get(binding.session.sid)
        if claim is None or claim.ident != binding.ident:
            raise Violation(f"an IDENT that nobody sent: client file {binding.ident}")
        has_lost = self.server.world.has_lost(binding.live.name, claim)
        is_gone = self.server.world.may_expire and is_lost(self._journal(binding), claim)
        if (has_lost or is_gone) and isinstance(answer, Identified):
            raise Violation(f"client file {claim.ident} is let in although the server has lost what it knows: {claim}")
        if self.wire.client is None:
            return  # an IDENT that came late: its client may have gone on over another connection, and hears nothing
        if has_lost or not isinstance(answer, RealmError) or isinstance(answer, RealmUnavailable):
            return
        if isinstance(answer, ClientFileExpired):
            self._check_expired(binding, claim.cursor)
            has_rolled_back = self.server.world.has_rolled_back(binding.live.name, claim)
            if has_begun_here(self._journal(binding), claim) and not has_rolled_back:
                raise Violation(f"client file {claim.ident} is refused although it began here: {claim}")
        elif not is_gone:
            raise Violation(f"client file {claim.ident} is refused although it knows nothing else: {answer!r}")

    def _check_expired(self, binding: Binding, version: int) -> None:
        """A client that is told to reset lacks, or builds on something before, what is older than is kept."""
        if not is_of_age(self._journal(binding), version):
            raise Violation(f"client file {binding.ident} at version {version} is told to reset before its time")
