"""The sync service: everything that connections share, and its start and stop."""

import secrets
import time
from collections.abc import Callable
from typing import Final, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.web.http import SERVICE_UNAVAILABLE
from twisted.web.resource import IResource

from realmserver.auth.gate import AppUser, Gate, UpgradeRefused
from realmserver.auth.tokens import Tokens
from realmserver.log import get_logger
from realmserver.metrics import Metrics
from realmserver.net.connection import Live, SyncConnection
from realmserver.net.report import RealmFigures
from realmserver.net.upgrade import NotFound, SyncTree, UpgradeResource
from realmserver.realms.live import FOLD_DELAY
from realmserver.realms.realm import MAX_SALT
from realmserver.realms.registry import Registry
from realmserver.store.interface import Store, StoreError
from realmserver.sync.bodies import EncodedBody, encode_download_body

log = get_logger("sync")

THREADS: Final = 8
"""Threads for Realms: they wait for the disk most of the time, and a slow fsync in one Realm must not stop others."""

STOP_TIMEOUT: Final = 10
"""Seconds that clients have to close their connections when the server stops (``performance.stop_timeout``)."""

IDLE_TIMEOUT: Final = 30 * 60
"""Seconds without a byte from a client after which it is taken for gone: a live one sends PINGs (``spec/protocol.md``
1.5). Without this, a device that lost its network, or one that does not read, would hold its connection for ever."""

CHECK_INTERVAL: Final = 45
"""Seconds between two looks at all connections, for such clients and for logins that have ended without a word to us:
less than a minute together with the time that the gate believes what it knows."""

T = TypeVar("T")


class ReactorClock(IReactorTime, IReactorFromThreads):
    """What the service needs of the reactor."""


class PoolWorkers:
    """Runs blocking work in a thread pool; the results come back on the reactor thread. ``on_failure`` hears of each
    Realm for which it failed on our side."""

    def __init__(self, reactor: ReactorClock, on_failure: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._on_failure = on_failure
        self._pool = ThreadPool(minthreads=1, maxthreads=THREADS, name="realms")

    def start(self) -> None:
        self._pool.start()

    def stop(self) -> None:
        """Wait for what is running."""
        self._pool.stop()

    def run(self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        """Run ``work`` in a thread, then call ``done`` or ``failed`` on the reactor thread."""

        def give_up(failure: Failure) -> None:
            error = failure.value
            if not isinstance(error, Exception):
                failure.raiseException()
            failed(error)

        result = deferToThreadPool(self._reactor, self._pool, work)
        result.addCallbacks(done, give_up)
        result.addErrback(lambda failure: log.error("a result could not be delivered", failure=failure))

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """Make ``call`` on the reactor thread ``delay`` seconds from now."""
        self._reactor.callLater(delay, call)

    def report(self, realm: str, error: Exception) -> None:
        """Tell the operator that our side failed; the traceback only where the fault is in our code."""
        self._on_failure(realm)
        if isinstance(error, StoreError):
            log.error("Realm {realm}: {error}", realm=realm, error=str(error))
        else:
            log.error("Realm {realm}: internal error", realm=realm, failure=Failure(error))  # type: ignore[no-untyped-call]


class RealmEnvironment:
    """Randomness, time and the log, for Realms."""

    def random_salt(self) -> int:
        return secrets.randbelow(MAX_SALT) + 1

    def now(self) -> int:
        return int(time.time())

    def warn(self, realm: str, text: str) -> None:
        log.warn("Realm {realm}: {message}", realm=realm, message=text)


class SyncService(Service):
    """Serves sync connections from Realms in ``store``.

    ``tokens`` verifies tokens in BIND, ``gate`` upgrade requests. ``max_open_files``: Realms open at once;
    ``stop_timeout``: seconds that clients have to leave when the service stops; ``history_ttl``: seconds that history
    is kept, 0 = for ever. ``metrics`` counts (None: for nobody); ``on_failure`` hears of each Realm whose storage, or
    our code for it, failed.
    """

    name = "sync"

    def __init__(
        self,
        reactor: ReactorClock,
        store: Store,
        tokens: Tokens,
        gate: Gate,
        *,
        max_open_files: int = 256,
        stop_timeout: float = STOP_TIMEOUT,
        history_ttl: int = 0,
        metrics: Metrics | None = None,
        on_failure: Callable[[str], None] = lambda realm: None,
    ) -> None:
        self.reactor = reactor
        self.tokens = tokens
        self.metrics: Metrics = metrics or Metrics()
        self.is_stopping = False
        self._stop_timeout = stop_timeout
        self._gate = gate
        self._store = store
        self._on_failure = on_failure
        self._workers = PoolWorkers(reactor, self._realm_failed)
        self._registry: Registry[EncodedBody] = Registry(
            store,
            RealmEnvironment(),
            self._workers,
            encode_download_body,
            max_open_files,
            RealmFigures(self.metrics),
            FOLD_DELAY,
            history_ttl,
        )
        self._connections: set[SyncConnection] = set()
        self._all_closed: Deferred[None] | None = None
        self._next_check: IDelayedCall | None = None

    # For listeners.

    def resource(self, fallback: IResource | None = None) -> IResource:
        """The root of a site that takes sync connections; other requests go to ``fallback``."""
        other = fallback if fallback is not None else NotFound()  # type: ignore[no-untyped-call]
        return SyncTree(lambda app_id: UpgradeResource(self, app_id), other)

    # For connections.

    def authenticate(self, app_id: str, token: str | None, authorization: str | None) -> Deferred[AppUser]:
        """Who opens a WebSocket; see :meth:`Gate.authenticate_upgrade`."""
        found = self._gate.authenticate_upgrade(app_id, token, authorization, time.time())
        return found.addErrback(self._not_authenticated)

    def _realm_failed(self, realm: str) -> None:
        self.metrics.realm_failed.inc()
        self._on_failure(realm)

    def _not_authenticated(self, failure: Failure) -> Failure:
        if isinstance(failure.value, UpgradeRefused) and failure.value.status < SERVICE_UNAVAILABLE:
            self.metrics.authentication_failed.inc()
        return failure

    def next_connection_id(self) -> str:
        """A short name for a connection in logs, here and at the client."""
        return secrets.token_hex(6)

    def realm(self, name: str) -> Live:
        """The Realm of this name."""
        return self._registry.get(name)

    def opened(self, connection: SyncConnection) -> None:
        """A connection is open."""
        self._connections.add(connection)

    def closed(self, connection: SyncConnection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if self._all_closed is not None and not self._connections:
            closed, self._all_closed = self._all_closed, None
            closed.callback(None)

    def login_ended(self, user_id: str, session_id: str | None) -> None:
        """A user has logged out of one login, or of all (None): end the connections that were opened with it."""
        for connection in list(self._connections):
            login = connection.login
            if login is not None and login.user_id == user_id and session_id in (None, login.session_id):
                connection.unauthorize("the login has ended")

    # Life.

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._workers.start()
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
                connection.shutdown()
            timeout = self.reactor.callLater(self._stop_timeout, self._drop_all)
            await closed
            if timeout.active():
                timeout.cancel()
        stopped: Deferred[None] = Deferred()
        self._registry.stop(lambda: stopped.callback(None))
        await stopped
        self._workers.stop()
        self._store.close()

    def _drop_all(self) -> None:
        for connection in list(self._connections):
            connection.drop("it does not close", "server_stopping")

    def _check_connections(self) -> None:
        self._next_check = None
        earliest = self.reactor.seconds() - IDLE_TIMEOUT
        for connection in list(self._connections):
            if connection.last_heard < earliest:
                connection.drop(f"nothing came from it for {IDLE_TIMEOUT // 60} minutes", "heartbeat_timeout")
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
                connection.unauthorize("the login has ended")
