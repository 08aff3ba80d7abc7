"""A server connection on real Realms, in memory: what ``net`` does with a connection's decisions, without sockets.

Salts count up from ``FIRST_SALT`` and idents from 2, so inputs can name them. Checks that the decisions themselves are
sound: nothing follows the end, what is sent is what a real client accepts, and each Open is left exactly once.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final

from attrs import evolve

from realmserver.realms import requests
from realmserver.realms.realm import Realm
from realmserver.realms.requests import UploadCursor
from realmserver.store.interface import RealmStore, Snapshot
from realmserver.store.memory import MemoryStore
from realmserver.sync import decisions
from realmserver.sync import server_messages as s2c
from realmserver.sync.bodies import encode_download_body
from realmserver.sync.decisions import MAX_LOGGED, Decision
from realmserver.sync.errors import DEADLY, AuthenticationFailed, Code, SyncError
from realmserver.sync.server import ServerConnection
from realmserver.sync.session import Session
from realmserver.sync.syntax import CLIENT_LIMITS
from realmserver.sync.versions import Negotiated

FIRST_SALT: Final = 1000
OWNER: Final = "someone"

MOST_SESSIONS: Final = 8
"""On one connection: few, so that inputs reach the limit."""


class Environment:
    """Of a Realm: salts in order, time that stands still."""

    def __init__(self) -> None:
        self._salt = FIRST_SALT

    def random_salt(self) -> int:
        self._salt += 1
        return self._salt

    def now(self) -> int:
        return 1_700_000_000

    def warn(self, realm: str, text: str) -> None:
        assert text.isprintable(), "an unprintable line in the log"


class Host:
    """Carries out what one connection decides; with ``at_once`` it answers each question before the next message."""

    def __init__(self, version: int, *, legacy: bool, at_once: bool) -> None:
        self.connection = ServerConnection(
            Negotiated(f"com.mongodb.realm-sync#{version}", version), legacy_token=legacy, max_sessions=MOST_SESSIONS
        )
        self.realms: dict[str, Realm] = {}
        self.sent: list[s2c.ServerMessage] = []
        self.is_closed = False
        self._version = version
        self._legacy = legacy
        self._at_once = at_once
        self._store = MemoryStore(random_bytes=bytes)
        self._environment = Environment()
        self._stores: dict[Realm, RealmStore] = {}
        self._bound: dict[Session, Realm] = {}
        self._opened: list[Session] = []
        self._left: list[Session] = []
        self._is_reading = True
        self._questions: deque[Callable[[], None]] = deque()

    def receive(self, data: bytes) -> None:
        """The client sends a message, however little the server wants to read just now."""
        self._carry_out(self.connection.receive(data))

    def writable(self, is_writable: bool) -> None:
        """The client reads, or does not."""
        self._carry_out(self.connection.writable(is_writable))

    def answer(self) -> None:
        """Answer all that is open."""
        while self._questions:
            self._questions.popleft()()

    def snapshot(self, realm: Realm) -> AbstractContextManager[Snapshot]:
        """What is stored of ``realm``."""
        return self._stores[realm].snapshot()

    def end(self) -> None:
        """Answer everything, lose the connection, and check that nothing is left of it."""
        self.writable(True)
        self.answer()
        if self.is_closed:
            assert self.connection.is_over
        else:
            assert self.connection.outstanding_bytes == 0
            assert self._is_reading
        for decision in self.connection.lost():
            assert isinstance(decision, decisions.Leave), decision
            self._leave(decision.session)
        assert sorted(map(id, self._left)) == sorted(map(id, self._opened)), "not one Leave for each Open"

    def _carry_out(self, found: Sequence[Decision]) -> None:
        for decision in found:
            assert not self.is_closed, f"{decision} after the end"
            self._one(decision)
        if self._at_once:
            self.answer()

    def _one(self, decision: Decision) -> None:
        match decision:
            case decisions.Send(data):
                self.sent.append(self._checked(data))
            case decisions.Close(code, reason):
                assert len(reason.encode()) <= 123
                assert 1000 <= code < 5000
                self.is_closed = True
            case decisions.Abort():
                self.is_closed = True
            case decisions.Log() | decisions.ErrorSent() | decisions.ErrorReceived():
                assert decision.text.isprintable()
                assert len(decision.text) <= MAX_LOGGED * 10
            case decisions.PauseReading() | decisions.ResumeReading():
                wanted = isinstance(decision, decisions.ResumeReading)
                assert self._is_reading is not wanted
                self._is_reading = wanted
            case decisions.Leave(session):
                self._leave(session)
            case decisions.Open():
                self._opened.append(decision.session)
                self._questions.append(lambda: self._carry_out(self._open(decision)))
            case decisions.Ask():
                self._questions.append(lambda: self._ask(decision))
            case decisions.FetchDownload():
                self._questions.append(lambda: self._carry_out(self._fetch(decision)))
            case decisions.Refresh(session, token):
                self._questions.append(lambda: self._carry_out(self._refreshed(session, token)))
            case decisions.ClientVersion():
                self._questions.append(lambda: self._carry_out(self._client_version(decision)))

    def _checked(self, data: bytes) -> s2c.ServerMessage:
        """What ``data`` says to a client, which must understand and survive it."""
        message = s2c.decode_server_message(data, CLIENT_LIMITS)
        if isinstance(message, s2c.JsonError | s2c.Error):
            assert self._legacy or message.code not in DEADLY, f"error {message.code} aborts clients"
            assert (message.code < 200) == (message.session == 0)
            assert isinstance(message, s2c.JsonError) == (self._version >= 4)
        return message

    def _leave(self, session: Session) -> None:
        assert session not in self._left, "left twice"
        self._left.append(session)
        self._bound.pop(session, None)

    def _open(self, decision: decisions.Open) -> list[Decision]:
        session = decision.session
        if decision.token.startswith("expired"):
            return self.connection.refused(session, AuthenticationFailed("the token has expired", True))
        if not decision.path.startswith("/") or decision.is_subserver:
            return self.connection.refused(session, SyncError(Code.ILLEGAL_REALM_PATH, "no such path"))
        realm = self.realms.get(decision.path)
        if realm is None:
            store = self._store.open(f"/{len(self.realms)}", create=True)
            realm = self.realms[decision.path] = Realm(store, self._environment)
            self._stores[realm] = store
        if session not in self._left:
            self._bound[session] = realm
        if not decision.need_ident:
            return self.connection.opened(session)
        file = realm.allocate(OWNER)
        return self.connection.opened(session, file.ident, file.salt)

    def _ask(self, decision: decisions.Ask) -> None:
        realm = self._bound.get(decision.session)
        if realm is None:
            return
        before = realm.head.version
        answer: requests.Identified | requests.UploadDone | requests.RealmError
        if isinstance(decision.request, requests.Identify):
            try:
                answer = realm.identify(decision.request, OWNER, self._version)
            except requests.RealmError as error:
                answer = error
        else:
            answer = realm.integrate([decision.request]).answers[0]
        self._carry_out(self.connection.answered(decision.session, answer))
        if realm.head.version > before:
            for session in [session for session, other in self._bound.items() if other is realm]:
                self._carry_out(self.connection.advanced(session, realm.head.version))

    def _fetch(self, decision: decisions.FetchDownload) -> list[Decision]:
        realm = self._bound.get(decision.session)
        if realm is None:
            return []
        download = realm.download(decision.ident, decision.cursor, realm.head)
        with self.snapshot(realm) as snapshot:
            file = snapshot.client(decision.ident)
        assert file is not None
        download = evolve(download, upload=UploadCursor(file.client_version, file.base_version))
        return self.connection.downloaded(decision.session, download, encode_download_body(download.entries))

    def _refreshed(self, session: Session, token: str) -> list[Decision]:
        if token.startswith("expired"):
            return self.connection.refused(session, AuthenticationFailed("the token has expired", True))
        return self.connection.refreshed(session)

    def _client_version(self, decision: decisions.ClientVersion) -> list[Decision]:
        realm = self._bound.get(decision.session)
        version = realm.client_version(decision.ident, decision.salt) if realm is not None else 0
        return self.connection.client_version(decision.session, version)
