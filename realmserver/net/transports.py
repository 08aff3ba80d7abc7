"""What Twisted's socket transports can do at once that they would do in the reactor's next round.

The only module that knows how such a transport keeps what it has not sent yet. Others (TLS, those of tests) are left to
their own ways.
"""

from typing import Any

from twisted.internet.tcp import Connection as SocketTransport


def write_now(transport: Any, data: bytes) -> None:
    """Give the system ``data``, rather than in the reactor's next round, behind whatever is in it. What the system does
    not take, or fails to, the reactor sees to."""
    if (
        isinstance(transport, SocketTransport)
        and transport.connected
        and not transport.disconnecting
        and not (transport.dataBuffer or transport._tempDataBuffer)
        and len(data) <= transport.SEND_LIMIT
    ):
        sent = transport.writeSomeData(data)
        if isinstance(sent, int):
            data = data[sent:]
    if data and transport is not None:
        transport.write(data)


def abort_now(transport: Any) -> None:
    """Abort the connection, and forget what was not sent: the transport would keep it until the reactor's next round,
    and many may go in this one."""
    transport.abortConnection()
    if isinstance(transport, SocketTransport):
        transport.dataBuffer = b""
        transport._tempDataBuffer.clear()
        transport._tempDataLen = 0
