"""Ports: opened before the server says that it is ready, closed first when it stops.

A port that cannot be opened is told in one line that names the configuration's key. Which address means what is
``spec/http-api.md`` 6.2.
"""

import errno
import os
import socket
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP
from twisted.internet.protocol import Factory
from twisted.web.server import Site

ALL_IPV6: Final = "::"
ALL_IPV4: Final = "0.0.0.0"  # noqa: S104 (what an operator asked for by "::" where there is no IPv6)

NO_IPV6: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""How a system without IPv6 refuses ``::``."""

BACKLOG: Final = 1024
"""Connections that may wait to be accepted: after a restart all devices come back at once."""


class CannotListen(Exception):
    """A port could not be opened; the text is one line that names the key and says what to do."""


class _Later(Factory):
    def __init__(self, site: Site | None) -> None:
        self.site = site

    def buildProtocol(self, addr: Any) -> Any:
        return self.site.buildProtocol(addr)


class Listener(Service):
    """One listening port. ``section`` is the configuration's (``proxy.http``), ``address`` an IP address."""

    def __init__(self, reactor: IReactorTCP, section: str, address: str, port: int, site: Site | None = None) -> None:
        self.section: str = section
        self.address: str = address
        self.port: int = port
        self._reactor = reactor
        self._site = _Later(site)
        self._listening: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """Open the port; raises :class:`CannotListen`. Nothing is accepted before the reactor runs."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self._listen()
        except CannotListenError as error:
            number = getattr(error.socketError, "errno", None)
            if self.address != ALL_IPV6 or number not in NO_IPV6:
                raise CannotListen(self._explain(number, str(error.socketError))) from error
            self.address = ALL_IPV4
            self.privilegedStartService()

    def stopService(self) -> Deferred[None] | None:
        """Close the port; connections that are open stay with their own services."""
        super().stopService()  # type: ignore[no-untyped-call]
        listening, self._listening = self._listening, None
        return listening.stopListening() if listening is not None else None

    def serve(self, site: Site) -> None:
        self._site.site = site
        site.doStart()

    def url(self, host: str) -> str:
        """The HTTP address under which this port is reached at ``host``."""
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def _listen(self) -> None:
        self._listening = self._reactor.listenTCP(
            self.port,
            self._site,  # type: ignore[arg-type]
            backlog=BACKLOG,
            interface=self.address,
        )

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
