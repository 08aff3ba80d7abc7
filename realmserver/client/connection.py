"""Keeps local Realms in sync over one WebSocket: the shell around ``sync.client``, on the reactor thread.

A :class:`Client` has one WebSocket for one user, opens it when it is first needed, and opens it again with growing
delays whenever it is lost. A :class:`SyncedRealm` is one Realm on it. What the server does wrong
(:class:`~realmserver.sync.client_checks.ServerViolation`) ends the client for good, and its owner is told: by the error
callback, by everything that is being waited for, and by every later call.

The protocol's rules are in ``sync``, merging is in ``local``; here are only the transport, tokens and time
(``spec/protocol.md`` 1.4, 1.5, 4.3, 4.5).
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from realmserver.client.access import Access, AccessEnded, SignedToken, Unreachable
from realmserver.client.errors import Closed, ConnectionRefused
from realmserver.client.local import LocalRealm
from realmserver.client.synced import SyncedRealm, failure_of
from realmserver.client.trust import SYSTEM, Trust
from realmserver.client.websocket import Dial, Dialer, Ended, Socket
from realmserver.log import get_logger
from realmserver.sync.client import (
    ClientConnection,
    ClientSession,
    ConnectionEnded,
    Downloaded,
    IdentAllocated,
    Logged,
    MarkReached,
    Output,
    Pong,
    SessionError,
    Unbound,
)
from realmserver.sync.client_checks import ServerViolation
from realmserver.sync.decisions import Send
from realmserver.sync.errors import Code
from realmserver.sync.versions import MISMATCH

PING_INTERVAL: Final = 60
"""Seconds between a PONG and the next PING, as in real clients (``spec/protocol.md`` 1.5)."""

PONG_TIMEOUT: Final = 120
"""Seconds to wait for a PONG before the connection counts as lost (K25)."""

FIRST_DELAY: Final = 1.0
MAX_DELAY: Final = 300.0
DELAY_JITTER: Final = 0.25
"""Seconds, and the part of them that is left out at random: the delays of real clients (``spec/protocol.md`` 4.5)."""

UNAUTHORIZED: Final = frozenset({401, 4001})
FORBIDDEN: Final = frozenset({403, 4002})
WRONG_PROTOCOL: Final = frozenset({4004, 4005, 4006})
"""HTTP statuses and close codes by what they mean (``spec/protocol.md`` 1.4)."""

log = get_logger("client")

OnError = Callable[[SyncedRealm | None, Exception], None]
"""Told of what ends the syncing of a Realm, or of all (None), and of compensating writes."""

Delays = Callable[[int], float]
"""The seconds to wait after so many failures in a row, counted from 0."""


def growing_delay(failures: int) -> float:
    """Twice as long each time up to a limit, and a little less at random."""
    delay: float = min(MAX_DELAY, FIRST_DELAY * 2.0 ** min(failures, 16))
    return delay * (1 - DELAY_JITTER * random.random())  # noqa: S311 (to spread load, not to keep a secret)


def connect(
    reactor: Any,
    base_url: str,
    *,
    token: str,
    on_error: OnError | None = None,
    trust: Trust = SYSTEM,
) -> "Client":
    """A client without an app: ``token`` is a signed token, which goes into BIND (``spec/protocol.md`` 6.2)."""
    return Client(reactor, SignedToken(base_url, token), on_error=on_error, trust=trust)


class Client:
    """One user's connection to one server.

    ``access`` says where to and as whom. ``on_error``: without it errors are logged. ``trust``: whose certificates are
    accepted, by default those of the system's authorities (see ``client.trust``). ``delays``, ``clock`` (Unix
    seconds) and ``dial`` are there for tests.
    """

    def __init__(
        self,
        reactor: Any,
        access: Access,
        *,
        on_error: OnError | None = None,
        trust: Trust = SYSTEM,
        delays: Delays = growing_delay,
        clock: Callable[[], float] = time.time,
        dial: Dial | None = None,
    ) -> None:
        self.reactor = reactor
        self.delays = delays
        self.clock = clock
        self.failure: Exception | None = None
        self._access = access
        self._on_error = on_error
        self._dial = dial if dial is not None else Dialer(reactor, trust)
        self._realms: list[SyncedRealm] = []
        self._sessions: dict[ClientSession, SyncedRealm] = {}
        self._machine: ClientConnection | None = None
        self._socket: Socket | None = None
        self._is_dialing = False
        self._failures = 0
        self._timer: Any = None
        self._pinged_at = 0.0
        self._round_trip = 0
        self._closing: list[Deferred[None]] = []

    # For the owner.

    @property
    def is_connected(self) -> bool:
        """Whether the WebSocket is open."""
        return self._machine is not None

    def open(self, path: str, local: LocalRealm | None = None) -> SyncedRealm:
        """Begin to sync the Realm at ``path``, with ``local`` as what is here of it (by default nothing).

        ``path`` is a virtual path, or for users of an app :func:`app.partition` of the partition value. Raises what
        ended the client, if it has ended.
        """
        self._check_usable()
        realm = SyncedRealm(self, path, local if local is not None else LocalRealm())
        self._realms.append(realm)
        self._connect()
        realm.advance()
        return realm

    def close(self) -> Deferred[None]:
        """End everything; fires when the WebSocket is closed. What is still waited for fails with :class:`Closed`."""
        done: Deferred[None] = Deferred()
        self._closing.append(done)
        self._end(Closed("the client was closed"))
        if self._socket is not None:
            self._socket.close()
        elif not self._is_dialing:
            self._closed()
        return done

    # For its Realms.

    def bind(self, realm: SyncedRealm) -> ClientSession | None:
        """Begin a session for ``realm``; None if there is no connection now, which will call it later."""
        if self._machine is None or self._machine.is_over:
            return None
        session, outputs = self._machine.bind(realm.path, realm.local.file, token=self._access.bind_token)
        self._sessions[session] = realm
        self.carry_out(outputs)
        return session

    def act(self, step: Callable[[ClientConnection], Sequence[Output]]) -> None:
        """Give the state machine an input, if there is a connection, and carry out what comes of it."""
        if self._machine is not None:
            self.carry_out(step(self._machine))

    def removed(self, realm: SyncedRealm) -> None:
        """``realm`` was closed."""
        self._realms.remove(realm)

    def report(self, realm: SyncedRealm | None, error: Exception) -> None:
        """Tell the owner."""
        if self._on_error is not None:
            self._on_error(realm, error)
        else:
            log.error("{where}: {error}", where=realm.path if realm else "sync", error=str(error))

    async def renew(self) -> bool:
        """Get a fresh token; False if that must be tried again later. Where it is the end, the client ends."""
        try:
            await self._access.renew()
        except AccessEnded as error:
            self.give_up(error)
            return False
        except Unreachable as error:
            log.info("no fresh token: {error}", error=str(error))
            return False
        return True

    def give_up(self, error: Exception) -> None:
        """End the client for good."""
        if self.failure is not None:
            return
        self.failure = error
        self.report(None, error)
        self._end(error)
        if self._socket is not None:
            self._socket.abort()

    # The WebSocket's owner.

    def opened(self, socket: Socket, subprotocol: str | None) -> None:
        self._is_dialing = False
        self._socket = socket
        if self.failure is not None:
            socket.close()
            return
        machine = ClientConnection(legacy_token=bool(self._access.bind_token))
        try:
            machine.connected(subprotocol)
        except ServerViolation as error:
            self.give_up(error)
            return
        self._machine = machine
        self._wait(PING_INTERVAL, self._ping)
        for realm in list(self._realms):
            realm.advance()

    def received(self, data: bytes) -> None:
        if self._machine is None:
            return
        try:
            outputs = self._machine.receive(data)
        except ServerViolation as error:
            self.give_up(error)
        else:
            self.carry_out(outputs)

    def closed(self, ended: Ended) -> None:
        self._is_dialing = False
        self._socket = None
        self._disconnected()
        if self.failure is not None:
            self._closed()
            return
        log.info("connection lost: {reason}", reason=f"{ended.status or ended.code} {ended.reason}".strip())
        causes = {ended.status, ended.code}
        if causes & FORBIDDEN:
            self.give_up(AccessEnded(ended.body or ended.reason))
        elif causes & WRONG_PROTOCOL or MISMATCH in ended.body:
            self.give_up(ConnectionRefused(ended.body or ended.reason))
        elif causes & UNAUTHORIZED:
            self._retry(with_new_token=True)
        else:
            self._retry()

    # The state machine's side.

    def carry_out(self, outputs: Sequence[Output]) -> None:
        """Send what is to be sent, then tell the Realms: what they do about it comes after, also on the wire."""
        for output in outputs:
            if isinstance(output, Send) and self._socket is not None:
                self._socket.send(output.data)
        for output in outputs:
            self._happened(output)

    def _happened(self, event: Output) -> None:
        match event:
            case IdentAllocated(session, ident, salt):
                self._sessions[session].identified(session, ident, salt)
            case Downloaded(session, download):
                self._failures = 0
                self._sessions[session].integrate(session, download)
            case MarkReached(session, request):
                self._sessions[session].mark_reached(request)
            case SessionError(session):
                realm = self._sessions[session]
                if event.code != Code.COMPENSATING_WRITE:
                    del self._sessions[session]
                realm.session_failed(event)
            case Unbound(session):
                self._sessions.pop(session).unbound()
            case ConnectionEnded():
                self._connection_ended(event)
            case Pong():
                self._round_trip = int((self.reactor.seconds() - self._pinged_at) * 1000)
                self._wait(PING_INTERVAL, self._ping)
            case Logged(_, text, connection):
                log.debug("the server says ({id}): {line}", id=connection, line=text)

    def _connection_ended(self, event: ConnectionEnded) -> None:
        if not event.try_again:
            self.give_up(failure_of(event))
        elif self._socket is not None:
            log.info("the server ends the connection: {code} {reason}", code=event.code, reason=event.text)
            self._socket.close()

    # Connecting.

    def _connect(self) -> None:
        if self._socket is None and not self._is_dialing and self._timer is None:
            self._is_dialing = True
            Deferred.fromCoroutine(self._dial_up()).addErrback(self._bug)

    async def _dial_up(self, with_new_token: bool = False) -> None:
        if with_new_token and not await self.renew():
            self._not_connected()
            return
        try:
            url = await self._access.url()
        except AccessEnded as error:
            self.give_up(error)
            self._not_connected()
        except Unreachable as error:
            self.closed(Ended(str(error)))
        else:
            if self.failure is None:
                self._dial(url, self)
            else:
                self._not_connected()

    def _not_connected(self) -> None:
        self.closed(Ended("no access"))

    def _retry(self, with_new_token: bool = False) -> None:
        """Dial again: at once with a new token, unless that has not helped before; else after a delay."""
        self._failures += 1
        delay = 0.0 if with_new_token and self._failures == 1 else self.delays(self._failures - 1)

        def again() -> None:
            self._is_dialing = True
            Deferred.fromCoroutine(self._dial_up(with_new_token)).addErrback(self._bug)

        self._wait(delay, again)

    def _bug(self, failure: Any) -> None:
        """An exception that nobody foresaw: the client ends, and its owner is told."""
        self.give_up(failure.value)
        self._not_connected()

    # Heartbeat. There is one timer, for whatever comes next: dialing, PING, or giving up on a PONG.

    def _wait(self, seconds: float, call: Callable[[], None]) -> None:
        self._stop_waiting()

        def due() -> None:
            self._timer = None
            call()

        self._timer = self.reactor.callLater(seconds, due)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ping(self) -> None:
        self._pinged_at = self.reactor.seconds()
        self._wait(PONG_TIMEOUT, self._pong_overdue)
        self.act(lambda machine: machine.ping(int(self._pinged_at * 1000), self._round_trip))

    def _pong_overdue(self) -> None:
        log.info("no PONG within {seconds} s", seconds=PONG_TIMEOUT)
        if self._socket is not None:
            self._socket.abort()

    # The end.

    def _disconnected(self) -> None:
        self._stop_waiting()
        self._machine = None
        self._sessions.clear()
        for realm in list(self._realms):
            realm.disconnected()

    def _end(self, cause: Exception) -> None:
        if self.failure is None:
            self.failure = cause
        self._disconnected()
        for realm in list(self._realms):
            realm.fail(cause)

    def _closed(self) -> None:
        closing, self._closing = self._closing, []
        for done in closing:
            done.callback(None)

    def _check_usable(self) -> None:
        if self.failure is not None:
            raise self.failure
