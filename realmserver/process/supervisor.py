"""What a supervisor such as systemd is told: ready, reloading, stopping, and that the reactor still turns.

The protocol is that of sd_notify(3): datagrams of ``NAME=value`` lines to the socket that the environment names.
Without one nothing is sent. Nothing here can fail the server: a supervisor that is gone is told nothing more.
"""

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.application.internet import TimerService

from realmserver.log import get_logger

SOCKET: Final = "NOTIFY_SOCKET"
WATCHDOG: Final = "WATCHDOG_USEC"
WATCHDOG_PID: Final = "WATCHDOG_PID"

_log = get_logger("server")


class Supervisor:
    """Whoever waits for news of this process. ``environment`` is the process's, ``monotonic`` gives seconds."""

    def __init__(self, environment: Mapping[str, str], monotonic: Callable[[], float]) -> None:
        address = environment.get(SOCKET, "")
        self._address = "\0" + address[1:] if address.startswith("@") else address  # Linux's abstract names
        self._monotonic = monotonic
        self._watchdog_seconds = _watchdog_seconds(environment) if address else None

    def ready(self, status: str) -> None:
        """The server listens; ``status`` is shown to the operator, one line."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Files are being read anew; :meth:`ready` follows."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={int(self._monotonic() * 1_000_000)}")

    def stopping(self) -> None:
        """The server has begun to stop."""
        self._tell("STOPPING=1", "STATUS=Stopping")

    def watchdog(self, clock: Any) -> TimerService | None:
        """A service that says as often as the supervisor wants that the reactor turns; None if it does not want it.

        ``clock`` is the reactor.
        """
        if self._watchdog_seconds is None:
            return None
        timer = TimerService(self._watchdog_seconds / 2, self._tell, "WATCHDOG=1")  # type: ignore[no-untyped-call]
        timer.clock = clock
        return timer

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            ) as sender:
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            _log.debug("the supervisor cannot be told {line}: {cause}", line=lines[0], cause=error.strerror)


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """The longest silence that the supervisor bears; None if it does not watch this process."""
    if environment.get(WATCHDOG_PID, str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(environment.get(WATCHDOG, "0"))
    except ValueError:
        return None
    return microseconds / 1_000_000 if microseconds > 0 else None
