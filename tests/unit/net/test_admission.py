"""Who gets a connection when there are few: the silent make room, proxies are no clients, every place comes back."""

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from realmserver.config.kinds import NETWORKS
from realmserver.http.proxies import address_of
from realmserver.net.admission import GRACE, Admission, Admitting, ConnectionLimits, client_name


class Socket(StringTransport):
    """A transport with an end, as the reactor's have."""

    def __init__(self, peer: IAddress) -> None:
        super().__init__(peerAddress=peer)  # type: ignore[no-untyped-call]
        self.protocol: Any = None
        self.aborted = False

    def connectionLost(self, reason: Failure) -> None:
        self.protocol.connectionLost(reason)

    def abortConnection(self) -> None:
        self.aborted = True

    def end(self) -> None:
        self.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]


class House:
    """A factory with so many places."""

    def __init__(self, most: int = 100, per_address: int = 0) -> None:
        self.clock = Clock()
        self.refused: list[str] = []
        self.online = 0
        limits = ConnectionLimits(most, per_address, NETWORKS(["10.0.0.0/8"]))
        self.admission = Admission(limits, self._refuse, self.clock.seconds, self._count)
        self._factory = Admitting(Factory.forProtocol(Protocol), self.admission)
        self._ports = iter(range(40_000, 60_000))

    def connect(self, host: str = "192.0.2.1") -> Socket | None:
        """A connection from ``host``; None if it was closed at once."""
        kind = IPv6Address if ":" in host else IPv4Address
        peer = kind("TCP", host, next(self._ports))
        protocol = self._factory.buildProtocol(peer)
        if protocol is None:
            return None
        socket = Socket(peer)
        protocol.makeConnection(socket)
        return socket

    def _refuse(self, limit: str, text: str, peer: str = "-") -> None:
        self.refused.append(limit)

    def _count(self, count: int) -> None:
        self.online = count


def test_where_all_places_are_taken_a_newcomer_is_closed_and_a_place_comes_back_with_each_end() -> None:
    house = House(most=3)
    first, *_ = [house.connect() for _ in range(3)]
    assert house.online == 3
    assert house.connect() is None
    assert house.refused == ["connections"]
    assert first is not None
    first.end()
    assert house.online == 2
    assert house.connect() is not None


def test_whoever_has_been_silent_for_longest_makes_room() -> None:
    house = House(most=3)
    silent, asked, late = (house.connect() for _ in range(3))
    assert silent is not None
    assert asked is not None
    house.admission.has_asked(asked)
    house.clock.advance(GRACE)
    assert house.connect() is not None
    assert silent.aborted
    silent.end()
    assert house.connect() is not None
    assert not asked.aborted
    assert late is not None
    assert late.aborted
    assert house.refused == ["connections"] * 2


def test_those_who_have_asked_are_never_closed_for_others() -> None:
    house = House(most=2)
    for _ in range(2):
        socket = house.connect()
        assert socket is not None
        house.admission.has_asked(socket)
    house.clock.advance(3600)
    assert house.connect() is None


def test_one_address_takes_its_share_and_others_theirs() -> None:
    house = House(per_address=2)
    mine = [house.connect("192.0.2.1") for _ in range(3)]
    assert [each is not None for each in mine] == [True, True, False]
    assert house.refused == ["connections_per_address"]
    assert house.connect("192.0.2.2") is not None
    assert mine[0] is not None
    mine[0].end()
    assert house.connect("192.0.2.1") is not None


def test_a_network_of_ipv6_counts_as_one_client() -> None:
    house = House(per_address=1)
    assert house.connect("2001:db8::1") is not None
    assert house.connect("2001:db8::ffff:1") is None
    assert house.connect("2001:db8:0:1::1") is not None


def test_an_ipv4_client_of_an_ipv6_port_is_known_by_its_own_address() -> None:
    assert client_name(address_of(IPv6Address("TCP", "::ffff:192.0.2.1", 1))) == "192.0.2.1"


def test_trusted_proxies_are_not_limited() -> None:
    house = House(per_address=1)
    assert all(house.connect("10.1.2.3") is not None for _ in range(20))


def test_websockets_are_turned_away_while_there_is_still_room_for_requests() -> None:
    house = House(most=20)
    for _ in range(18):
        assert house.admission.refusal("") == ""
        house.admission.opened("")
    assert house.admission.refusal("") != ""
    house.admission.closed("")
    assert house.admission.refusal("") == ""


def test_websockets_are_counted_by_the_client_that_a_proxy_names() -> None:
    house = House(per_address=1)
    house.admission.opened("192.0.2.1")
    assert house.admission.refusal("192.0.2.1") != ""
    assert house.admission.refusal("192.0.2.2") == ""
    house.admission.closed("192.0.2.1")
    assert house.admission.refusal("192.0.2.1") == ""
