"""How many connections there may be: in all, and of one client's address.

Keeps true: every accepted socket is counted from its first to its last moment; where all places are taken, one who has
not asked for anything yet makes room before anybody is turned away, so that a crowd of silent connections costs those
who talk nothing; some places are kept for HTTP, so that log-ins and monitoring work while WebSockets are turned away.

A client behind a trusted proxy is known only by its request: its sockets are the proxy's and are not limited by
address, its WebSockets are. Addresses of IPv6 are counted by their /64 network, which is what one client has.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from attrs import frozen
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from realmserver.http.proxies import Address, Network, address_of

NO_LIMIT: Final = 0

KEPT_SHARE: Final = 10
MOST_KEPT: Final = 256
"""One place in ten, at most 256, is kept for HTTP requests: they are short, so a few serve many."""

GRACE: Final = 1.0
"""Seconds that a connection has before it may be closed for having asked nothing: an honest client has sent its request
by then, or is far away on a crowded day."""

RETRY_AFTER: Final = 30
"""Seconds for a client that is turned away. SDKs have a back-off of their own; others may heed this."""


class Refused(Protocol):
    """Told of what is refused; see :class:`realmserver.net.refusals.Refusals`."""

    def __call__(self, limit: str, text: str, peer: str = "-") -> None: ...


@frozen
class ConnectionLimits:
    """``per_address`` 0: no limit. ``trusted``: proxies, which are never limited."""

    most: int = 10_000
    per_address: int = NO_LIMIT
    trusted: Sequence[Network] = ()

    @property
    def most_websockets(self) -> int:
        return self.most - min(self.most // KEPT_SHARE, MOST_KEPT)


class _Place:
    """What one accepted socket takes."""

    __slots__ = ("name", "since", "transport")

    def __init__(self, name: str, since: float) -> None:
        self.name = name
        self.since = since
        self.transport: Any = None


class Admission:
    """Counts connections, and says who may have one more. ``now`` gives seconds; ``online`` hears how many sockets are
    open."""

    def __init__(
        self,
        limits: ConnectionLimits,
        refused: Refused,
        now: Callable[[], float],
        online: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._limits = limits
        self._refused = refused
        self._now = now
        self._online = online
        self._sockets = 0
        self._of_address: Counter[str] = Counter()
        self._silent: OrderedDict[object, _Place] = OrderedDict()
        self._websockets = 0
        self._websockets_of: Counter[str] = Counter()

    # Sockets

    def enter(self, peer: IAddress | None) -> _Place | None:
        """A place for a new socket; None if it must be closed."""
        name = self.name_of(address_of(peer))
        per_address = self._limits.per_address
        if per_address and name and self._of_address[name] >= per_address:
            self._refused("connections_per_address", f"a connection more of {name} was closed", name)
            return None
        if self._sockets >= self._limits.most:
            self._refused("connections", "a connection was closed", name or "-")
            if not self._evict():
                return None
        self._sockets += 1
        if name:
            self._of_address[name] += 1
        self._online(self._sockets)
        return _Place(name, self._now())

    def begin(self, place: _Place, transport: Any) -> None:
        """The socket of ``place`` is ``transport``, from which nothing has come yet."""
        place.transport = transport
        self._silent[_socket_of(transport)] = place

    def leave(self, place: _Place) -> None:
        """The socket of ``place`` is closed."""
        if place.transport is not None:
            self._silent.pop(_socket_of(place.transport), None)
            place.transport = None
        self._sockets -= 1
        _less(self._of_address, place.name)
        self._online(self._sockets)

    def has_asked(self, transport: Any) -> None:
        """A whole request has come over ``transport`` (the socket's, or what TLS made of it)."""
        self._silent.pop(_socket_of(transport), None)

    def _evict(self) -> bool:
        """Close the connection that has been silent for longest, if any has been for long enough."""
        silent, place = next(iter(self._silent.items()), (None, None))
        if place is None or self._now() - place.since < GRACE:
            return False
        del self._silent[silent]
        place.transport.abortConnection()
        return True

    # WebSockets

    def name_of(self, client: Address | None) -> str:
        """By which name a client is counted; empty if it is not."""
        return client_name(client, self._limits.trusted)

    def refusal(self, client: str) -> str:
        """Why a WebSocket of the client whose :meth:`name_of` is ``client`` is turned away; empty if it is not."""
        if self._websockets >= self._limits.most_websockets:
            self._refused("connections", "a WebSocket was turned away", client or "-")
            return "The server has no room for more connections."
        per_address = self._limits.per_address
        if per_address and client and self._websockets_of[client] >= per_address:
            self._refused("connections_per_address", f"a WebSocket more of {client} was turned away", client)
            return "There are too many connections from your address."
        return ""

    def opened(self, client: str) -> None:
        """A WebSocket of ``client`` is open."""
        self._websockets += 1
        if client:
            self._websockets_of[client] += 1

    def closed(self, client: str) -> None:
        """A WebSocket of ``client`` is gone."""
        self._websockets -= 1
        _less(self._websockets_of, client)


@implementer(IProtocolFactory)
class Admitting:
    """A factory for those whom ``admission`` lets in: ``factory`` makes their protocols."""

    noisy = False

    def __init__(self, factory: Factory, admission: Admission) -> None:
        self.factory: Factory = factory
        self._admission = admission

    def doStart(self) -> None:
        self.factory.doStart()  # type: ignore[no-untyped-call]

    def doStop(self) -> None:
        self.factory.doStop()  # type: ignore[no-untyped-call]

    def buildProtocol(self, addr: IAddress | None) -> Any:
        place = self._admission.enter(addr)
        if place is None:
            return None
        protocol = self.factory.buildProtocol(addr)
        if protocol is None:
            self._admission.leave(place)
            return None
        return _Arriving(protocol, self._admission, place)


class _Arriving:
    """Stands in for ``protocol`` until there is a transport. The transport is asked to tell of its end: protocols are
    replaced on the way (an upgrade to WebSocket), so none of them hears of it for certain."""

    def __init__(self, protocol: IProtocol, admission: Admission, place: _Place) -> None:
        self._protocol = protocol
        self._admission = admission
        self._place = place

    def makeConnection(self, transport: Any) -> None:
        lost, admission, place = transport.connectionLost, self._admission, self._place

        def connection_lost(reason: Failure) -> None:
            del transport.connectionLost  # or it would hold itself
            admission.leave(place)
            lost(reason)

        transport.connectionLost = connection_lost
        transport.protocol = self._protocol
        admission.begin(place, transport)
        self._protocol.makeConnection(transport)


def client_name(address: Address | None, trusted: Sequence[Network] = ()) -> str:
    """By which name a client is counted: its address, or its /64 network. Empty where it is not to be counted."""
    if address is None or any(address in network for network in trusted):
        return ""
    if address.version == 4:
        return str(address)
    packed = address.packed[:8] + bytes(8)
    return f"{type(address)(packed)}/64"


def _socket_of(transport: Any) -> Any:
    """The socket's own transport, where ``transport`` may be what TLS has made of it."""
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport


def _less(counts: Counter[str], name: str) -> None:
    if name:
        counts[name] -= 1
        if counts[name] <= 0:
            del counts[name]
