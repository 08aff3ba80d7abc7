"""How a port is opened, and what is said if it cannot be."""

import errno

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactor
from twisted.web.resource import Resource
from twisted.web.server import Site

from realmserver.net.listeners import CannotListen, Listener


class Refusing(MemoryReactor):
    """A reactor whose system refuses the addresses in ``refused`` with an error number."""

    def __init__(self, refused: dict[str, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.refused = refused

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> object:
        if interface in self.refused:
            raise CannotListenError(interface, port, OSError(self.refused[interface], "no"))  # type: ignore[no-untyped-call]
        return super().listenTCP(port, factory, backlog, interface)  # type: ignore[no-untyped-call]


def listener(reactor: MemoryReactor, address: str) -> Listener:
    site = Site(Resource())  # type: ignore[no-untyped-call]
    return Listener(reactor, "proxy.http", address, 9080, site)


def test_it_listens_on_what_is_configured() -> None:
    reactor = MemoryReactor()  # type: ignore[no-untyped-call]
    listening = listener(reactor, "::")
    listening.privilegedStartService()
    ((port, _, _, interface),) = reactor.tcpServers
    assert (port, interface) == (9080, "::")
    assert listening.url("::1") == "http://[::1]:9080"
    assert listening.url("localhost") == "http://localhost:9080"


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_without_ipv6_all_addresses_means_all_ipv4_addresses(number: int) -> None:
    reactor = Refusing({"::": number})
    listening = listener(reactor, "::")
    listening.privilegedStartService()
    assert reactor.tcpServers[0][3] == "0.0.0.0"
    assert listening.address == "0.0.0.0"


@pytest.mark.parametrize(
    ("address", "number", "message"),
    [
        ("::", errno.EADDRINUSE, "proxy.http.listen_port: :: port 9080 is taken by another process"),
        ("::", errno.EACCES, "proxy.http.listen_port: the server's user may not open :: port 9080"),
        ("192.0.2.7", errno.EADDRNOTAVAIL, "proxy.http.listen_address: 192.0.2.7 is not an address of this machine"),
        ("::1", errno.EAFNOSUPPORT, "proxy.http.listen_address: cannot listen on ::1 port 9080: Address family"),
    ],
)
def test_a_port_that_cannot_be_opened_names_the_key(address: str, number: int, message: str) -> None:
    reactor = Refusing({address: number})
    with pytest.raises(CannotListen) as caught:
        listener(reactor, address).privilegedStartService()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert reactor.tcpServers == []
