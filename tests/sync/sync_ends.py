"""Two ends of the sync protocol in memory: a scripted Realm and a host that carries out a server's decisions.

Nothing here runs by itself: with ``auto`` a host answers at once, otherwise when a test calls ``answer``.
"""

from collections import deque
from collections.abc import Callable, Sequence

from attrs import Factory, define

from realmserver.realms import requests
from realmserver.realms.requests import DownloadCursor, DownloadEntry, SaltedVersion, UploadCursor
from realmserver.sync import decisions
from realmserver.sync.bodies import encode_download_body
from realmserver.sync.decisions import Decision
from realmserver.sync.errors import AuthenticationFailed, Code, SyncError
from realmserver.sync.server import ServerConnection
from realmserver.sync.session import Session
from realmserver.sync.syntax import SERVER_LIMITS, Limits
from realmserver.sync.versions import Negotiated


@define
class File:
    salt: int
    upload: UploadCursor = Factory(UploadCursor)
    locked: int = 0
    expired: bool = False


@define
class Entry:
    salt: int
    origin: int
    client_version: int
    timestamp: int
    changeset: bytes


class Realm:
    """A Realm that merges nothing: an uploaded changeset becomes the next server version as it is."""

    def __init__(self, batch: int = 1000) -> None:
        self.log: list[Entry] = []
        self.files: dict[int, File] = {}
        self.batch = batch
        self.last_ident = 1

    @property
    def version(self) -> int:
        return len(self.log)

    def salt(self, version: int) -> int:
        return self.log[version - 1].salt if version else 0

    def allocate(self) -> tuple[int, int]:
        self.last_ident += 1
        self.files[self.last_ident] = File(salt=1000 + self.last_ident)
        return self.last_ident, 1000 + self.last_ident

    def write(self, changeset: bytes, origin: int = 0, client_version: int = 0, timestamp: int = 7) -> None:
        salt = 7_000_000 + len(self.log) + 1
        self.log.append(Entry(salt, origin, client_version, timestamp, changeset))

    def identify(self, asked: requests.Identify) -> requests.Identified:
        """``spec/protocol.md`` 3.4, rows 1 to 9."""
        file = self.files.get(asked.ident)
        if asked.latest.version > self.version:
            raise requests.BadServerVersion("latest")
        if file is None:
            raise requests.BadClientFileIdent("ident")
        if file.salt != asked.salt:
            raise requests.DivergingHistories("file salt")
        if asked.download.server_version < file.upload.server_version:
            raise requests.BadServerVersion("scan below base")
        if file.expired:
            raise requests.ClientFileExpired("expired")
        if asked.download.server_version > self.version:
            raise requests.BadServerVersion("scan")
        if asked.download.client_version > file.upload.client_version:
            raise requests.BadClientVersion("scan")
        if asked.latest.version < asked.download.server_version:
            raise requests.BadServerVersion("latest below scan")
        if asked.latest.salt != self.salt(asked.latest.version):
            raise requests.DivergingHistories("version salt")
        return requests.Identified(file.upload, file.locked, self.version)

    def integrate(self, asked: requests.Upload) -> requests.UploadDone:
        file = self.files[asked.ident]
        for entry in asked.entries:
            if entry.origin:
                raise requests.BadOriginFileIdent("origin")
            if entry.changeset.startswith(b"bad"):
                raise requests.BadUpload("the changeset does not parse")
            if entry.client_version > file.upload.client_version:
                self.write(entry.changeset, asked.ident, entry.client_version, entry.timestamp)
        if asked.progress.client_version > file.upload.client_version:
            file.upload = asked.progress
        file.locked = max(file.locked, asked.locked_version)
        return requests.UploadDone(file.upload)

    def download(self, ident: int, cursor: DownloadCursor) -> requests.Download:
        """``spec/protocol.md`` 3.6."""
        entries: list[DownloadEntry] = []
        server_version, client_version = cursor.server_version, cursor.client_version
        size = 0
        for version in range(cursor.server_version + 1, self.version + 1):
            entry = self.log[version - 1]
            if entry.origin == ident:
                client_version = entry.client_version
            elif entry.changeset:
                entries.append(
                    DownloadEntry(version, client_version, entry.timestamp, entry.origin or 1, entry.changeset)
                )
                server_version = version
                size += len(entry.changeset)
                if size > self.batch:
                    break
        else:
            server_version = self.version
        rest = sum(len(entry.changeset) for entry in self.log[server_version:])
        latest = SaltedVersion(self.version, self.salt(self.version))
        upload = self.files[ident].upload
        return requests.Download(DownloadCursor(server_version, client_version), latest, upload, rest, tuple(entries))


class World:
    """All Realms, and all hosts that serve them."""

    def __init__(self) -> None:
        self.realms: dict[str, Realm] = {}
        self.hosts: list[Host] = []

    def realm(self, path: str) -> Realm:
        return self.realms.setdefault(path, Realm())

    def write(self, path: str, changeset: bytes) -> None:
        """The server itself changes a Realm."""
        self.realm(path).write(changeset)
        self.advance(self.realm(path))

    def advance(self, realm: Realm) -> None:
        for host in self.hosts:
            for session in [session for session, other in host.realms.items() if other is realm]:
                host.carry_out(host.connection.advanced(session, realm.version))


class Host:
    """Carries out the decisions of one server connection."""

    def __init__(
        self,
        world: World,
        version: int = 10,
        *,
        auto: bool = True,
        legacy_token: bool = False,
        limits: Limits = SERVER_LIMITS,
        max_sessions: int = 100,
    ) -> None:
        self.world = world
        self.auto = auto
        negotiated = Negotiated(f"com.mongodb.realm-sync#{version}", version)
        self.connection = ServerConnection(
            negotiated, legacy_token=legacy_token, limits=limits, max_sessions=max_sessions
        )
        self.realms: dict[Session, Realm] = {}
        self.left: list[Session] = []
        self.decisions: list[Decision] = []
        self.questions: deque[tuple[Decision, Callable[[], list[Decision]]]] = deque()
        self.sent: list[bytes] = []
        self.close: decisions.Close | decisions.Abort | None = None
        self.limits_hit: list[str] = []
        self.log: list[decisions.Log | decisions.ErrorSent | decisions.ErrorReceived] = []
        self.is_reading = True
        self.fetches = 0
        world.hosts.append(self)

    def say(self, *messages: bytes) -> list[bytes]:
        """Let the client send ``messages``; returns what the server sent meanwhile."""
        before = len(self.sent)
        for message in messages:
            self.carry_out(self.connection.receive(message))
        return self.sent[before:]

    def answer(self, count: int = 1_000_000) -> list[bytes]:
        """Answer up to ``count`` open questions in order; returns what the server sent meanwhile."""
        before = len(self.sent)
        while self.questions and count:
            _, question = self.questions.popleft()
            self.carry_out(question())
            count -= 1
        return self.sent[before:]

    def asked(self) -> list[str]:
        """The kinds of the open questions."""
        return [type(decision).__name__ for decision, _ in self.questions]

    def session(self, sid: int) -> Session:
        return next(session for session in self.realms if session.sid == sid)

    def carry_out(self, found: Sequence[Decision]) -> None:
        for decision in found:
            assert self.close is None, f"{decision} after the end"
            self.decisions.append(decision)
            self._one(decision)
        if self.auto:
            self.answer()

    def _one(self, decision: Decision) -> None:
        match decision:
            case decisions.Send():
                self.sent.append(decision.data)
            case decisions.Close() | decisions.Abort():
                self.close = decision
            case decisions.Log() | decisions.ErrorSent() | decisions.ErrorReceived():
                self.log.append(decision)
            case decisions.LimitHit(limit):
                self.limits_hit.append(limit)
            case decisions.RoundTrip():
                pass
            case decisions.PauseReading():
                assert self.is_reading
                self.is_reading = False
            case decisions.ResumeReading():
                assert not self.is_reading
                self.is_reading = True
            case decisions.Leave():
                assert decision.session not in self.left
                self.left.append(decision.session)
                self.realms.pop(decision.session, None)
            case _:
                self.questions.append((decision, self._question(decision)))

    def _question(self, decision: Decision) -> Callable[[], list[Decision]]:
        match decision:
            case decisions.Open():
                return lambda: self._open(decision)
            case decisions.Ask():
                return lambda: self._ask(decision)
            case decisions.Report():
                return lambda: self._report(decision)
            case decisions.FetchDownload():
                self.fetches += 1
                return lambda: self._fetch(decision)
            case decisions.Refresh():
                return lambda: self._refresh(decision)
            case decisions.ClientVersion():
                return lambda: self._client_version(decision)
        raise AssertionError(decision)

    def _open(self, decision: decisions.Open) -> list[Decision]:
        session = decision.session
        if decision.token.startswith("expired"):
            return self.connection.refused(session, AuthenticationFailed("the token has expired", True))
        if decision.token.startswith("forged"):
            return self.connection.refused(session, AuthenticationFailed("the token is forged"))
        if decision.is_subserver or decision.path == "/secret":
            return self.connection.refused(session, SyncError(Code.PERMISSION_DENIED, "no right"))
        realm = self.world.realm(decision.path)
        if session not in self.left:
            self.realms[session] = realm
        return self.connection.opened(session, *(realm.allocate() if decision.need_ident else ()))

    def _ask(self, decision: decisions.Ask) -> list[Decision]:
        session, request = decision.session, decision.request
        realm = self.realms.get(session)
        if realm is None:
            return []
        try:
            if isinstance(request, requests.Identify):
                return self.connection.answered(session, realm.identify(request))
            before = realm.version
            found = self.connection.answered(session, realm.integrate(request))
        except requests.RealmError as error:
            return self.connection.answered(session, error)
        self.carry_out(found)
        if realm.version > before:
            self.world.advance(realm)
        return []

    def _report(self, decision: decisions.Report) -> list[Decision]:
        realm = self.realms.get(decision.session)
        if realm is not None:
            realm.integrate(decision.progress)
        return []

    def _fetch(self, decision: decisions.FetchDownload) -> list[Decision]:
        realm = self.realms.get(decision.session)
        if realm is None:
            return []
        download = realm.download(decision.ident, decision.cursor)
        return self.connection.downloaded(decision.session, download, encode_download_body(download.entries))

    def _refresh(self, decision: decisions.Refresh) -> list[Decision]:
        if decision.token.startswith("expired"):
            return self.connection.refused(decision.session, AuthenticationFailed("expired", True))
        return self.connection.refreshed(decision.session)

    def _client_version(self, decision: decisions.ClientVersion) -> list[Decision]:
        realm = self.realms.get(decision.session)
        file = realm.files.get(decision.ident) if realm else None
        version = file.upload.client_version if file and file.salt == decision.salt else 0
        return self.connection.client_version(decision.session, version)
