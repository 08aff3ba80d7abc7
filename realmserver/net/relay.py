"""What a client and its Realms say to each other where the Realms are those of workers: which message is whose.

The front's half of a conversation (``net.seat`` is the worker's). It looks at the head of a message: what is a
session's goes as it came to the worker that owns the session's Realm, and what that answers is sent as it comes. What
is no session's (PING, what breaks the rules, the end of a login, the stop) is dealt with here, by a state machine of
this connection that never has a session. Each worker has such a machine for its sessions alone.

Keeps true: messages of one session stay in their order; a session ident belongs to one worker from its BIND to its
UNBIND, so that whoever uses it twice is told; what waits on the way to a worker, or from one for the client to read,
is bounded (``net.link``). It inflates nothing, and knows no more of a body than which Realm a BIND wants: who may have
it is decided where the Realm is.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol
from zlib import crc32

import attrs
from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from realmserver.auth.gate import AppUser
from realmserver.auth.tokens import TokenError, Tokens
from realmserver.metrics import Metrics
from realmserver.net.conversation import UNAUTHORIZED, Carrier, Conversation, Live, Upgrade
from realmserver.net.link import BEGIN, BIND, BINDING, BOUND, CLOSE, CLOSING, DROP, GONE, MESSAGE, TAKEN, Line, Link
from realmserver.net.report import ConnectionReport
from realmserver.net.rights import NotPermitted, admit
from realmserver.net.shared import Shared
from realmserver.realms.paths import IllegalPath
from realmserver.sync.client_messages import Bind, ClientMessage, decode_client_message
from realmserver.sync.decisions import Open
from realmserver.sync.server import decoded
from realmserver.sync.session import Awaiting, Session, State
from realmserver.sync.syntax import MalformedMessage
from realmserver.sync.versions import Negotiated

OF_A_SESSION: Final = re.compile(
    rb"(?:(upload|mark|ident|unbind|refresh|client_version_request|state_request|alloc) |json_error [0-9]+ [0-9]+ )"
    rb"([0-9]{1,19})[ \n]"
)
"""The head of a message of a session, up to the session's ident. What does not look like this is no such message, or
breaks the rules, which the state machine here finds as well."""

BINDS: Final = b"bind "

ANYONE: Final = 0
"""The worker that is given what belongs to none: it finds what is wrong with it."""

GONE_WORKER: Final = "the process of its Realm has ended"


class Workers(Protocol):
    """Those who own Realms."""

    @property
    def count(self) -> int: ...

    def attend(self, worker: int, relay: "Relay") -> tuple[Link, int] | None:
        """The link to ``worker``, and the number under which ``relay`` hears from it; None while it is not there."""

    def leave(self, worker: int, number: int) -> None:
        """Nobody hears any more under this number."""


@frozen
class Front:
    """The host of what is dealt with here (``net.conversation.Host``): there is no Realm."""

    reactor: IReactorTime
    tokens: Tokens
    metrics: Metrics
    shared: Shared

    def realm(self, name: str) -> Live:
        raise AssertionError(f"{name} is a worker's")

    def decode(self, data: bytes, done: Callable[[ClientMessage | MalformedMessage], None]) -> None:
        done(decoded(data, self.shared.messages))  # what is not for a worker has no body, or a head that is wrong


class Relay:
    """One connection's (a ``net.conversation.Talk``). ``host`` is that of what is dealt with here; ``upgrade``,
    ``report`` and ``carrier`` are those of a :class:`Conversation`."""

    def __init__(
        self, host: Front, workers: Workers, upgrade: Upgrade, report: ConnectionReport, carrier: Carrier
    ) -> None:
        self._host = host
        self._workers = workers
        self._upgrade = upgrade
        self._report = report
        self._carrier = carrier
        self._local = Conversation(host, upgrade, report, carrier)
        self._owners: dict[int, int] = {}  # session ident -> worker
        self._counts: Counter[int] = Counter()  # worker -> its sessions
        self._held: dict[int, tuple[str, str]] = {}  # session ident -> user and Realm, which he has open with it
        self._lines: dict[int, _Way] = {}
        self._bound: set[int] = set()
        self._is_writable = True
        self._is_over = False
        self._is_hearing = False
        self.last_bound: float = host.reactor.seconds()

    @property
    def is_deciding(self) -> bool:
        """Whether more may be sent before the carrier is told to flush."""
        return self._is_hearing or self._local.is_deciding

    @property
    def has_sessions(self) -> bool:
        """Whether a session is bound, as far as the workers have told."""
        return bool(self._bound)

    # The carrier's side

    def begin(self) -> None:
        self._local.begin()

    def receive(self, payload: bytes) -> None:
        """A message has come."""
        if self._is_over:
            return
        kind = MESSAGE
        match = OF_A_SESSION.match(payload)
        if match is not None:
            ident = int(match[2])
            worker = self._owners.get(ident, ANYONE)
            if match[1] == b"unbind" and self._owners.pop(ident, None) is not None:
                self._counts[worker] -= 1
                self._let_go(ident)
        elif payload.startswith(BINDS):
            try:
                bind = decode_client_message(payload, self._host.shared.messages)
            except MalformedMessage:
                self._local.receive(payload)
                return
            assert isinstance(bind, Bind)
            worker, binding = self._bind(bind)
            kind, payload = BIND, binding + payload
        else:
            self._local.receive(payload)
            return
        way = self._lines.get(worker) or self._way_to(worker)
        if way is not None:
            way.line.send(payload, kind)

    def writable(self, is_writable: bool) -> None:
        self._is_writable = is_writable
        self._local.writable(is_writable)
        if is_writable:
            for way in self._lines.values():
                if way.owed:
                    way.line.took(way.owed, 0)
                    way.owed = 0

    def lost(self) -> None:
        self._local.lost()
        self._leave()

    def end(self) -> None:
        self._local.end()
        self._leave()

    def shutdown(self) -> None:
        self._local.shutdown()

    def crowded(self, is_crowded: bool) -> None:
        self._local.crowded(is_crowded)

    def overfull(self) -> None:
        self._local.overfull()

    def unauthorize(self, reason: str) -> None:
        self._local.unauthorize(reason)

    # The workers' side

    def heard(self, worker: int, kind: int, payload: bytes) -> None:
        """A worker has told something. :meth:`flush` follows when all is told that came with it."""
        way = self._lines.get(worker)
        if way is None:
            return
        self._is_hearing = True
        if kind == MESSAGE:
            self._carrier.send(payload)
            if self._is_writable:
                way.line.took(len(payload))
            else:
                way.owed += len(payload)
        elif kind == TAKEN:
            way.line.taken(payload)
        elif kind == CLOSE:
            (code,) = CLOSING.unpack_from(payload)
            self._report.ends_for("unauthorized" if code in UNAUTHORIZED else "sync_protocol_error")
            self._carrier.close(code, payload[CLOSING.size :].decode())
        elif kind == DROP:
            self._drop(*json.loads(payload))
        elif kind == BOUND:
            self._bound.discard(worker)
            if payload == b"1":
                self._bound.add(worker)
            self.last_bound = self._host.reactor.seconds()

    def flush(self) -> None:
        """Nothing more comes for now."""
        self._is_hearing = False
        self._carrier.flush()

    def worker_gone(self, worker: int) -> None:
        """The process of a worker has ended, and with it what it knew of this connection's sessions: the client is to
        come again."""
        self._lines.pop(worker, None)
        self._drop(GONE_WORKER, "error_of_unexpected_category")

    def _drop(self, reason: str, ending: str) -> None:
        """What has come already and is still to be heard is not heeded; :meth:`end` follows."""
        if not self._is_over:
            self._is_over = True
            self._carrier.drop(reason, ending)

    def _bind(self, bind: Bind) -> tuple[int, bytes]:
        """Which worker a BIND is for, and what that has to know of others (``net.link.BINDING``)."""
        worker, may_have_more = self._owners.get(bind.session), True
        elsewhere = len(self._owners)
        if worker is None:  # else the worker finds what is wrong
            worker, may_have_more = self._owner(bind)
            self._owners[bind.session] = worker
            self._counts[worker] += 1
            elsewhere += 1
        return worker, BINDING.pack(elsewhere - self._counts[worker], may_have_more)

    def _owner(self, bind: Bind) -> tuple[int, bool]:
        """Which worker owns the Realm of a BIND, and whether the user may have one more open; who may not have it is
        told so by any of them. What is refused there counts until its UNBIND."""
        session = Session(bind.session, bind.path, State.WAITING_FOR_IDENT, Awaiting.OPENED)
        request = Open(session, bind.path, bind.token, bind.need_ident, bind.is_subserver)
        try:
            user, grant, name = admit(request, self._upgrade.login, self._host.tokens, time.time())
        except (IllegalPath, TokenError, NotPermitted):
            return ANYONE, True
        worker, bound = owner_of(name, self._workers.count), self._host.shared.bound
        if (grant is None or not grant.admin) and not bound.has_room(user, name):
            return worker, False
        bound.bind(user, name)
        self._held[bind.session] = user, name
        return worker, True

    def _let_go(self, session: int) -> None:
        held = self._held.pop(session, None)
        if held is not None:
            self._host.shared.bound.leave(*held)

    def _way_to(self, worker: int) -> "_Way | None":
        found = self._workers.attend(worker, self)
        if found is None:
            self._drop(GONE_WORKER, "error_of_unexpected_category")
            return None
        link, number = found
        reason = f"worker {worker}"

        def room(is_there: bool) -> None:
            (self._carrier.resume_reading if is_there else self._carrier.pause_reading)(reason)

        way = self._lines[worker] = _Way(number, Line(link, number, room))
        way.line.tell(BEGIN, upgrade_to_json(self._upgrade))
        return way

    def _leave(self) -> None:
        self._is_over = True
        for worker, way in self._lines.items():
            way.line.tell(GONE)
            way.line.end()
            self._workers.leave(worker, way.number)
        self._lines.clear()
        self._bound.clear()
        for session in list(self._held):
            self._let_go(session)


class _Way:
    """To one worker. ``owed``: bytes of its messages that wait for the client to read, and for whose room the worker
    waits."""

    __slots__ = ("line", "number", "owed")

    def __init__(self, number: int, line: Line) -> None:
        self.number = number
        self.line = line
        self.owed = 0


def owner_of(realm: str, workers: int) -> int:
    """Which of so many workers owns the Realm of this name: the same one at every start."""
    return crc32(realm.encode()) % workers


def upgrade_to_json(upgrade: Upgrade) -> bytes:
    """What a worker has to know of a connection."""
    return json.dumps(attrs.asdict(upgrade)).encode()


def upgrade_from_json(data: bytes) -> Upgrade:
    """The inverse of :func:`upgrade_to_json`."""
    found = json.loads(data)
    login = found.pop("login")
    negotiated = Negotiated(**found.pop("negotiated"))
    return Upgrade(negotiated, AppUser(**login) if login is not None else None, **found)
