"""Ports: opened before the server says that it is ready, closed first when it stops.

Opening and serving are two steps: ports below 1024 are opened while the process may still do so, and what is served
there may be made later; clients that come in between wait. A port that cannot be opened is told in one line that names
the configuration's key. Which address means what is ``spec/http-api.md`` 6.2.
"""

import errno
import os
import socket
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from realmserver.net.admission import Admission, Admitting
from realmserver.net.tls import ServerTls, over_tls

ALL_IPV6: Final = "::"
ALL_IPV4: Final = "0.0.0.0"  # noqa: S104 (what an operator asked for by "::" where there is no IPv6)

NO_IPV6: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""How a system without IPv6 refuses ``::``."""

BACKLOG: Final = 1024
"""Connections that may wait to be accepted: after a restart all devices come back at once."""


class CannotListen(Exception):
    """A port could not be opened; the text is one line that names the key and says what to do."""


class Listener(Service):
    """One listening port. ``section`` is the configuration's (``proxy.http``), ``address`` an IP address; with ``tls``
    clients have to speak TLS. ``port`` 0 takes any free one, and is that one then."""

    def __init__(self, reactor: Any, section: str, address: str, port: int, tls: ServerTls | None = None) -> None:
        self.section: str = section
        self.address: str = address
        self.port: int = port
        self._reactor = reactor
        self._tls = tls
        self._socket: socket.socket | None = None
        self._listening: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """Open the port; raises :class:`CannotListen`. Clients may connect from now on, and wait for :meth:`serve`."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self._socket = open_socket(self.address, self.port)
        except OSError as error:
            if self.address != ALL_IPV6 or error.errno not in NO_IPV6:
                raise CannotListen(self._explain(error.errno, str(error))) from error
            self.address = ALL_IPV4
            self.privilegedStartService()
        else:
            self.port = self._socket.getsockname()[1]

    def serve(self, site: IProtocolFactory, admission: Admission | None = None) -> None:
        """Let clients in, to ``site``; ``admission`` says how many. The port must be open."""
        opened, self._socket = self._socket, None
        assert opened is not None, f"{self.section}: the port is not open"
        factory: Any = site if self._tls is None else over_tls(self._tls, site, self._reactor)
        if admission is not None:
            factory = Admitting(factory, admission)
        with opened:  # the reactor has a duplicate of its own
            self._listening = self._reactor.adoptStreamPort(opened.fileno(), opened.family, factory)

    def stopService(self) -> Deferred[None] | None:
        """Close the port; connections that are open stay with their own services."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        listening, self._listening = self._listening, None
        return listening.stopListening() if listening is not None else None

    @property
    def where(self) -> str:
        """Address and port."""
        return f"{f'[{self.address}]' if ':' in self.address else self.address}:{self.port}"

    def url(self, host: str) -> str:
        """The HTTP address under which this port is reached at ``host``."""
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    def _explain(self, number: int | None, text: str) -> str:
        where = f"{self.address} port {self.port}"
        if number == errno.EADDRINUSE:
            return (
                f"{self.section}.listen_port: {where} is taken by another process, perhaps by this server started "
                f"before. Stop that process, or configure another port"
            )
        if number == errno.EACCES:
            return (
                f"{self.section}.listen_port: the server's user may not open {where}. Take a port above 1023 and "
                f"redirect to it"
            )
        if number == errno.EADDRNOTAVAIL:
            return (
                f"{self.section}.listen_address: {self.address} is not an address of this machine. Configure one that "
                f"is, or '::' for all"
            )
        cause = os.strerror(number) if number is not None else text
        return f"{self.section}.listen_address: cannot listen on {where}: {cause}"


def open_socket(address: str, port: int) -> socket.socket:
    """A socket that listens there; ``::`` takes IPv4 as well, whatever the system's default. Raises OSError."""
    opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address == ALL_IPV6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.bind((address, port))
        opened.listen(BACKLOG)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


def own_address() -> str | None:
    """The IPv4 address under which this machine is most likely known to its neighbours; None without a network.

    Nothing is sent: connecting a datagram socket only asks the system which way it would go.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address of documentation's (RFC 5737)
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return address
