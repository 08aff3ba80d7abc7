"""What a check asks of the machine beside its files: the time, and whether a port can be opened.

A port is tried as the server would open it, and closed again at once; nothing is accepted meanwhile. The answer is only
good for this moment, which is why the server itself still tells what it cannot open.
"""

import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final

import psutil
from attrs import frozen

ALL_IPV6: Final = "::"
ALL_IPV4: Final = "0.0.0.0"  # noqa: S104 (what "::" means where there is no IPv6)

NO_IPV6: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""How a system without IPv6 refuses ``::``."""


@frozen
class Process:
    """A process that has a port."""

    pid: int
    name: str


@frozen
class Refusal:
    """Why a port cannot be opened: the system's number for it (``errno``), and who has the port if that can be seen."""

    number: int
    process: Process | None = None


@frozen
class Machine:
    """``now`` has a time zone. ``refusal`` tells why a port cannot be opened (address, port), None if it can.
    ``is_only_check``: the server is not going to start, so that it may well be running."""

    now: datetime
    refusal: Callable[[str, int], Refusal | None]
    is_only_check: bool = False


def this_machine(now: datetime, *, is_only_check: bool = False) -> Machine:
    """The machine that this process runs on."""
    return Machine(now, refusal, is_only_check)


def refusal(address: str, port: int) -> Refusal | None:
    """Why this process cannot listen on ``address`` and ``port``; None if it can."""
    number = _try(address, port)
    if address == ALL_IPV6 and number in NO_IPV6:
        number = _try(ALL_IPV4, port)
    if number is None:
        return None
    return Refusal(number, _listener_on(port) if number == errno.EADDRINUSE else None)


def _try(address: str, port: int) -> int | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As Twisted does: connections that are only just closed are no hindrance.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(socket.getaddrinfo(address, port, family, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)[0][4])
    except socket.gaierror:
        return errno.EADDRNOTAVAIL  # a zone ("%eth7") that is not there
    except OSError as error:
        return error.errno or errno.EINVAL
    return None


def _listener_on(port: int) -> Process | None:
    """The process that listens on ``port``; None if this user may not see it."""
    with suppress(psutil.Error, OSError):
        for each in psutil.net_connections(kind="tcp"):
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port and each.pid:
                return Process(each.pid, psutil.Process(each.pid).name())
    return None
