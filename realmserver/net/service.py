"""The sync service: everything that connections share, and its start and stop."""

import secrets
import time
from collections.abc import Callable
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from twisted.web.http import SERVICE_UNAVAILABLE
from twisted.web.resource import IResource

from realmserver.auth.gate import AppUser, Gate, UpgradeRefused
from realmserver.auth.tokens import Tokens
from realmserver.config.limits import Limits
from realmserver.log import get_logger
from realmserver.metrics import Metrics
from realmserver.net.admission import Admission, ConnectionLimits, Refused
from realmserver.net.connection import SyncConnection
from realmserver.net.conversation import Carrier, Conversation, Talk, Upgrade
from realmserver.net.owner import Owner
from realmserver.net.refusals import Refusals
from realmserver.net.relay import Front, Relay
from realmserver.net.report import ConnectionReport
from realmserver.net.shared import Shared
from realmserver.net.upgrade import NotFound, SyncTree, UpgradeResource
from realmserver.net.websocket import WebSockets
from realmserver.net.workers import ReactorClock
from realmserver.net.workforce import Workforce
from realmserver.realms.requests import RealmError
from realmserver.realms.waiting import anything_goes
from realmserver.store.interface import Store

log = get_logger("sync")

STOP_TIMEOUT: Final = 10
"""Seconds that clients have to close their connections when the server stops (``performance.stop_timeout``)."""

CHECK_INTERVAL: Final = 45
"""Seconds between two looks at all connections, for those that have gone silent and for logins that have ended without
a word to us: less than a minute together with the time that the gate believes what it knows."""


class SyncService(Service):
    """Serves sync connections from Realms in ``store``, which are this process's own; or, where it is a
    :class:`~realmserver.net.workforce.Workforce`, from those that the workers own.

    ``tokens`` verifies tokens in BIND, ``gate`` upgrade requests. ``max_open_files``: Realms open at once;
    ``stop_timeout``: seconds that clients have to leave when the service stops; ``history_ttl``: seconds that history
    is kept, 0 = for ever. ``limits``: how much all of this may take, with ``admission`` for the number of connections
    (None: any). ``read_only`` says in worker threads why nothing may be written, None if it may. ``metrics`` counts
    (None: for nobody); ``refused`` hears of what a limit turned down; ``on_failure`` of each Realm whose storage, or
    our code for it, failed.
    """

    name = "sync"

    def __init__(
        self,
        reactor: ReactorClock,
        store: Store | Workforce,
        tokens: Tokens,
        gate: Gate,
        *,
        max_open_files: int = 256,
        stop_timeout: float = STOP_TIMEOUT,
        history_ttl: int = 0,
        limits: Limits | None = None,
        admission: Admission | None = None,
        read_only: Callable[[], RealmError | None] = anything_goes,
        metrics: Metrics | None = None,
        refused: Refused | None = None,
        on_failure: Callable[[str], None] = lambda realm: None,
    ) -> None:
        self.reactor = reactor
        self.tokens = tokens
        self.metrics: Metrics = metrics or Metrics()
        self.is_stopping = False
        self._limits = limits or Limits()
        self._refused = refused or Refusals(self.metrics, reactor.seconds)
        self.admission: Admission = admission or Admission(ConnectionLimits(), self._refused, reactor.seconds)
        self._stop_timeout = stop_timeout
        self._gate = gate
        self._owner: Owner | None = None
        self._workforce: Workforce | None = None
        if isinstance(store, Workforce):
            self._workforce = store
            self.shared: Shared = Shared(self._limits, self._refused, self.metrics, self._crowded, reactor)
            self._front = Front(reactor, tokens, self.metrics, self.shared)
        else:
            self._owner = Owner(
                reactor,
                store,
                tokens,
                max_open_files=max_open_files,
                history_ttl=history_ttl,
                limits=self._limits,
                refused=self._refused,
                crowded=self._crowded,
                metrics=self.metrics,
                read_only=read_only,
                on_failure=on_failure,
            )
            self.shared = self._owner.shared
        self._connections: set[SyncConnection] = set()
        self._all_closed: Deferred[None] | None = None
        self._next_check: IDelayedCall | None = None

    @property
    def quarantined(self) -> int:
        """How many Realms are in quarantine. May be asked in any thread."""
        owner = self._owner or self._workforce
        assert owner is not None
        return owner.quarantined

    # For listeners.

    def resource(self, fallback: IResource | None = None) -> IResource:
        """The root of a site that takes sync connections; other requests go to ``fallback``."""
        other = fallback if fallback is not None else NotFound()  # type: ignore[no-untyped-call]
        websockets = WebSockets(self)
        return SyncTree(lambda app_id: UpgradeResource(self, websockets, app_id), other)

    # For connections.

    def authenticate(self, app_id: str, token: str | None, authorization: str | None) -> Deferred[AppUser]:
        """Who opens a WebSocket; see :meth:`Gate.authenticate_upgrade`."""
        found = self._gate.authenticate_upgrade(app_id, token, authorization, time.time())
        return found.addErrback(self._not_authenticated)

    def _not_authenticated(self, failure: Failure) -> Failure:
        if isinstance(failure.value, UpgradeRefused) and failure.value.status < SERVICE_UNAVAILABLE:
            self.metrics.authentication_failed.inc()
        return failure

    def next_connection_id(self) -> str:
        """A short name for a connection in logs, here and at the client."""
        return secrets.token_hex(6)

    def converse(self, upgrade: Upgrade, report: ConnectionReport, carrier: Carrier) -> Talk:
        """What the client says and hears that comes with ``upgrade``: here, or with workers."""
        if self._owner is not None:
            return Conversation(self._owner, upgrade, report, carrier)
        assert self._workforce is not None
        return Relay(self._front, self._workforce, upgrade, report, carrier)

    def opened(self, connection: SyncConnection) -> None:
        """A connection is open."""
        self._connections.add(connection)
        self.admission.opened(connection.counted_as)

    def closed(self, connection: SyncConnection) -> None:
        """A connection is gone."""
        if connection in self._connections:
            self._connections.discard(connection)
            self.admission.closed(connection.counted_as)
        if self._all_closed is not None and not self._connections:
            closed, self._all_closed = self._all_closed, None
            closed.callback(None)

    def _crowded(self, is_crowded: bool) -> None:
        """So much waits that some have to wait with it, or no more."""
        if is_crowded:
            self._refused("upload_backlog", "uploading connections are not read from for a while")
        for connection in list(self._connections):
            connection.conversation.crowded(is_crowded)

    def login_ended(self, user_id: str, session_id: str | None) -> None:
        """A user has logged out of one login, or of all (None): end the connections that were opened with it."""
        for connection in list(self._connections):
            login = connection.login
            if login is not None and login.user_id == user_id and session_id in (None, login.session_id):
                connection.conversation.unauthorize("the login has ended")

    # Life.

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        if self._workforce is not None:
            self._workforce.start()
        self._next_check = self.reactor.callLater(CHECK_INTERVAL, self._check_connections)

    def stopService(self) -> Deferred[None]:
        """Tell clients to come again, finish what they have uploaded, and close every Realm."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._next_check is not None:
            self._next_check.cancel()
            self._next_check = None
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.is_stopping = True
        if self._connections:
            closed = self._all_closed = Deferred()
            for connection in list(self._connections):
                connection.conversation.shutdown()
            timeout = self.reactor.callLater(self._stop_timeout, self._drop_all)
            await closed
            if timeout.active():
                timeout.cancel()
        owner = self._owner or self._workforce
        assert owner is not None
        await owner.stop()

    def _drop_all(self) -> None:
        for connection in list(self._connections):
            connection.drop("it does not close", "server_stopping")

    def _check_connections(self) -> None:
        self._next_check = None
        now, limits = self.reactor.seconds(), self._limits
        for connection in list(self._connections):
            talk = connection.conversation
            if now - connection.last_heard > limits.idle_timeout:
                self._refused("idle_timeout", "a silent connection was closed", connection.client)
                connection.drop(f"nothing came from it for {limits.idle_timeout} seconds", "heartbeat_timeout")
            elif not talk.has_sessions and now - talk.last_bound > limits.bind_timeout:
                self._refused("bind_timeout", "a connection without sessions was closed", connection.client)
                connection.drop(f"it had no session for {limits.bind_timeout} seconds", "limit_reached")
        checked = Deferred.fromCoroutine(self._check_logins())
        checked.addErrback(lambda failure: log.error("cannot check logins", failure=failure))
        checked.addBoth(lambda _: self._check_later())

    def _check_later(self) -> None:
        if not self.is_stopping:
            self._next_check = self.reactor.callLater(CHECK_INTERVAL, self._check_connections)

    async def _check_logins(self) -> None:
        """End the connections whose login has ended since, one after the other: there is no hurry, but others wait for
        the account store as well."""
        for connection in list(self._connections):
            login = connection.login
            if login is not None and not await self._gate.is_alive(login, time.time()):
                connection.conversation.unauthorize("the login has ended")
