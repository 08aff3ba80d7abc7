"""How a port is opened, when clients are let in, and what is said if it cannot be."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.resource import Resource
from twisted.web.server import Site

from realmserver.net import listeners
from realmserver.net.listeners import CannotListen, Listener, open_socket
from realmserver.net.tls import ServerTls


class Reactor(MemoryReactorClock):
    """Remembers what it is to accept clients from."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.adopted: list[tuple[int, object]] = []

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: object) -> Any:
        self.adopted.append((addressFamily, factory))
        return super().adoptStreamPort(fileDescriptor, addressFamily, factory)  # type: ignore[no-untyped-call]


@contextmanager
def opened(address: str = "127.0.0.1", tls: ServerTls | None = None) -> Iterator[tuple[Listener, Reactor]]:
    reactor = Reactor()
    listener = Listener(reactor, "proxy.http", address, 0, tls)
    listener.privilegedStartService()
    yield listener, reactor
    listener.stopService()


def has_ipv6() -> bool:
    try:
        open_socket("::1", 0).close()
    except OSError:
        return False
    return True


def test_clients_wait_from_the_moment_the_port_is_open() -> None:
    with opened() as (listener, reactor), socket.create_connection(("127.0.0.1", listener.port)):
        assert reactor.adopted == []
        site = Site(Resource())  # type: ignore[no-untyped-call]
        listener.serve(site)
        assert reactor.adopted == [(socket.AF_INET, site)]


def test_a_port_that_never_served_is_closed_as_well() -> None:
    with opened() as (listener, _):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.port))


def test_all_addresses_are_those_of_ipv4_too() -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with opened("::") as (listener, _):
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, listener.port)).close()


def test_the_url_is_one_that_clients_can_use() -> None:
    with opened() as (listener, _):
        assert listener.url("::1") == f"http://[::1]:{listener.port}"
        assert listener.url("localhost") == f"http://localhost:{listener.port}"


def test_with_a_certificate_it_serves_tls(tmp_path: Path) -> None:
    tls = ServerTls(*Authority(tmp_path).issue(), datetime.now(UTC))
    with opened(tls=tls) as (listener, reactor):
        assert listener.url("localhost").startswith("https://localhost:")
        listener.serve(Site(Resource()))  # type: ignore[no-untyped-call]
        ((_, factory),) = reactor.adopted
        assert isinstance(factory, TLSMemoryBIOFactory)


def refuse(monkeypatch: pytest.MonkeyPatch, refused: str, number: int) -> None:
    """Have the system refuse an address with an error number."""

    def open_or_refuse(address: str, port: int) -> socket.socket:
        if address == refused:
            raise OSError(number, os.strerror(number))
        return open_socket(address, port)

    monkeypatch.setattr(listeners, "open_socket", open_or_refuse)


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_without_ipv6_all_addresses_means_all_ipv4_addresses(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    refuse(monkeypatch, "::", number)
    with opened("::") as (listener, _):
        assert listener.address == "0.0.0.0"
        socket.create_connection(("127.0.0.1", listener.port)).close()


@pytest.mark.parametrize(
    ("address", "number", "message"),
    [
        ("::", errno.EADDRINUSE, "proxy.http.listen_port: :: port 9080 is taken by another process"),
        ("::", errno.EACCES, "proxy.http.listen_port: the server's user may not open :: port 9080"),
        ("192.0.2.7", errno.EADDRNOTAVAIL, "proxy.http.listen_address: 192.0.2.7 is not an address of this machine"),
        ("::1", errno.EAFNOSUPPORT, "proxy.http.listen_address: cannot listen on ::1 port 9080: Address family"),
    ],
)
def test_a_port_that_cannot_be_opened_names_the_key(
    monkeypatch: pytest.MonkeyPatch, address: str, number: int, message: str
) -> None:
    refuse(monkeypatch, address, number)
    with pytest.raises(CannotListen) as caught:
        Listener(Reactor(), "proxy.http", address, 9080).privilegedStartService()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_port_that_is_taken_is_noticed_at_once() -> None:
    with closing(open_socket("127.0.0.1", 0)) as taken:
        listener = Listener(Reactor(), "proxy.http", "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(CannotListen, match="taken by another process"):
            listener.privilegedStartService()
