"""A server in memory for the shell of the client: the real state machine of each connection over real Realms.

What a client sends is dealt with before ``send`` returns, but what the server says waits until :meth:`Network.deliver`,
so that a test decides when it arrives.
"""

from collections import deque
from collections.abc import Iterable

from client_tools import PROTOCOL, FixedEnvironment

from realmserver.client.websocket import Ended, Owner
from realmserver.realms.realm import Realm
from realmserver.realms.requests import Identify, RealmError, Upload, UploadCursor, UploadDone
from realmserver.store.memory import MemoryStore
from realmserver.sync import decisions
from realmserver.sync.bodies import encode_download_body
from realmserver.sync.errors import AuthenticationFailed
from realmserver.sync.server import ServerConnection
from realmserver.sync.session import Session
from realmserver.sync.versions import Negotiated

SUBPROTOCOL = f"com.mongodb.realm-sync#{PROTOCOL}"


class Network:
    """Dials reach it unless ``refusals`` says otherwise; ``urls`` remembers them."""

    def __init__(self) -> None:
        self.store = MemoryStore(random_bytes=bytes)
        self.environment = FixedEnvironment()
        self.realms: dict[str, Realm] = {}
        self.cursors: dict[tuple[str, int], UploadCursor] = {}
        self.hosts: list[Host] = []
        self.refusals: deque[Ended] = deque()
        self.urls: list[str] = []
        self.expired_tokens: set[str] = set()

    def dial(self, url: str, owner: Owner) -> None:
        self.urls.append(url)
        if self.refusals:
            owner.closed(self.refusals.popleft())
            return
        host = Host(self, owner)
        self.hosts.append(host)
        owner.opened(host, SUBPROTOCOL)

    def deliver(self) -> None:
        """Let everything that is on its way arrive, until nothing moves."""
        while any(host.deliver_one() for host in list(self.hosts)):
            pass

    def drop_all(self, ended: Ended | None = None) -> None:
        """Every connection is lost, with all that was on its way."""
        for host in list(self.hosts):
            host.end(ended or Ended("the wire was cut"))

    def realm(self, path: str) -> Realm:
        if path not in self.realms:
            self.realms[path] = Realm(self.store.open(path, create=True), self.environment)
        return self.realms[path]


class Host:
    """The server's end of one WebSocket, and the client's :class:`~realmserver.client.websocket.Socket`."""

    def __init__(self, network: Network, owner: Owner) -> None:
        self.network = network
        self.owner = owner
        self.inbox: deque[bytes | Ended] = deque()
        self._decided: deque[decisions.Decision] = deque()
        self._is_deciding = False
        self.sent: list[bytes] = []
        self.idents: list[Identify] = []
        self.machine = ServerConnection(Negotiated(SUBPROTOCOL, PROTOCOL))
        self.sessions: dict[Session, Realm] = {}
        self.is_silent = False
        self.carry_out(self.machine.connected("id"))

    # The client's side.

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        if not self.is_silent:
            self.carry_out(self.machine.receive(data))

    def close(self) -> None:
        self.end(Ended("closed", 1000))

    def abort(self) -> None:
        self.end(Ended("aborted"))

    # The test's side.

    def deliver_one(self) -> bool:
        if not self.inbox:
            return False
        message = self.inbox.popleft()
        if isinstance(message, Ended):
            self.end(message)
        else:
            self.owner.received(message)
        return True

    def end(self, ended: Ended) -> None:
        if self in self.network.hosts:
            self.network.hosts.remove(self)
            self.inbox.clear()
            self.sessions.clear()
            self.owner.closed(ended)

    def verbs(self) -> list[str]:
        """The verbs of what the client has sent."""
        return [data.partition(b" ")[0].decode() for data in self.sent]

    # The state machine's side.

    def carry_out(self, found: Iterable[decisions.Decision]) -> None:
        self._decided.extend(found)
        if self._is_deciding:
            return
        self._is_deciding = True
        while self._decided:
            self._one(self._decided.popleft())
        self._is_deciding = False

    def _one(self, decision: decisions.Decision) -> None:
        match decision:
            case decisions.Send(data):
                self.inbox.append(data)
            case decisions.Open(session):
                self._open(session, decision)
            case decisions.Ask(session, request):
                self._ask(session, request)
            case decisions.Report(session, progress):
                self._report(session, progress)
            case decisions.FetchDownload(session):
                self._fetch(session, decision)
            case decisions.Leave(session):
                self.sessions.pop(session, None)
            case decisions.Close(code, reason):
                self.inbox.append(Ended(reason, code))
            case decisions.Abort(reason):
                raise AssertionError(f"the server takes the client for dead: {reason}")

    def _open(self, session: Session, request: decisions.Open) -> None:
        if request.token in self.network.expired_tokens:
            self.carry_out(self.machine.refused(session, AuthenticationFailed("expired", expired=True)))
            return
        realm = self.sessions[session] = self.network.realm(request.path)
        if request.need_ident:
            client = realm.allocate("user")
            self.carry_out(self.machine.opened(session, client.ident, client.salt))
        else:
            self.carry_out(self.machine.opened(session))

    def _ask(self, session: Session, request: object) -> None:
        realm = self.sessions[session]
        if isinstance(request, Identify):
            self.idents.append(request)
            try:
                identified = realm.identify(request, "user", PROTOCOL)
            except RealmError as error:
                self.carry_out(self.machine.answered(session, error))
                return
            self.network.cursors[realm.name, request.ident] = identified.upload
            self.carry_out(self.machine.answered(session, identified))
            return
        assert isinstance(request, Upload)
        before = realm.head.version
        done = realm.integrate([request]).answers[0]
        if isinstance(done, UploadDone):
            self.network.cursors[realm.name, request.ident] = done.upload
        self.carry_out(self.machine.answered(session, done))
        if realm.head.version > before:
            for host in list(self.network.hosts):
                for other in [each for each, where in host.sessions.items() if where is realm]:
                    host.carry_out(host.machine.advanced(other, realm.head.version))

    def _report(self, session: Session, progress: Upload) -> None:
        realm = self.sessions[session]
        done = realm.integrate([progress]).answers[0]
        if isinstance(done, UploadDone):
            self.network.cursors[realm.name, progress.ident] = done.upload
        else:
            self.carry_out(self.machine.refused(session, done))

    def _fetch(self, session: Session, request: decisions.FetchDownload) -> None:
        realm = self.sessions[session]
        found = realm.download(request.ident, request.cursor, realm.head)
        upload = self.network.cursors[realm.name, request.ident]
        download = type(found)(found.cursor, found.latest, upload, found.downloadable_bytes, found.entries)
        self.carry_out(self.machine.downloaded(session, download, encode_download_body(found.entries)))
