"""The section ``limits``: how much of the server one client, one user or all together may take.

Every default lets honest apps through with room to spare; the manual's page on limits says what happens when one is
reached. Sizes are whole MiB, times seconds.
"""

from typing import Final

from attrs import frozen

from realmserver.config.kinds import a_number
from realmserver.config.schema import key

MEBIBYTE: Final = 1024 * 1024

LEAST_MESSAGE: Final = 17
"""MiB. Clients send up to 16 MiB and a header at once, whatever the server would like (``spec/protocol.md`` 1.5)."""

MOST_MESSAGE: Final = 256
"""MiB. A message is held whole, several times over while it is integrated."""

LEAST_IDLE: Final = 150
"""Seconds. Clients send a PING every 60 s and wait 120 s for its PONG: who is heard of later has hung up himself."""


@frozen
class Limits:
    """How much one client, one user, or all together may take. The page Limits of the manual says more."""

    connections: int = key(
        a_number(20, 1_000_000, 10_000),
        "Connections open at once, of apps and others, on all ports. A tenth of them, at most 256, is kept for HTTP "
        "requests. Each takes a file handle: the server warns at its start where the system allows fewer.",
        default=10_000,
    )
    connections_per_address: int = key(
        a_number(0, 1_000_000, 2500),
        "Connections of one client address (of one /64 network with IPv6); 0 for no limit. Addresses in "
        "`network.trusted_proxies` are not limited, the clients behind them are. Mobile networks and companies put "
        "many devices behind one address.",
        default=2500,
    )
    sessions_per_connection: int = key(
        a_number(1, 100_000, 4096), "Realms, or views of them, open on one connection.", default=4096
    )
    realms_per_user: int = key(
        a_number(1, 1_000_000, 1000),
        "Different Realms that one user may have open at once, on all devices. Administrators have no such limit.",
        default=1000,
    )
    new_realms_per_user: int = key(
        a_number(0, 1_000_000, 1000),
        "Realms that one user may create within an hour. Counted in memory: a restart forgets. Administrators have no "
        "such limit.",
        default=1000,
    )
    request_timeout: int = key(
        a_number(1, 3600, 60, " seconds"),
        "The time in which an HTTP request, or the one that opens a WebSocket, must be there as a whole.",
        default=60,
    )
    keep_alive_timeout: int = key(
        a_number(1, 3600, 60, " seconds"), "How long an HTTP connection may stay without a request.", default=60
    )
    bind_timeout: int = key(
        a_number(60, 86_400, 300, " seconds"),
        "A WebSocket on which no Realm has been open for so long is closed.",
        default=300,
    )
    idle_timeout: int = key(
        a_number(LEAST_IDLE, 86_400, 1800, " seconds"),
        "A WebSocket from which nothing has come for so long is closed; live clients say something every minute. Also "
        "how long a client may leave unread what it is sent.",
        default=1800,
    )
    message_size: int = key(
        a_number(LEAST_MESSAGE, MOST_MESSAGE, 64, " MiB"),
        "The largest upload, inflated. Smaller values would break apps that store large binaries; a client whose "
        "message is larger must reset.",
        default=64,
    )
    receive_buffer: int = key(
        a_number(LEAST_MESSAGE, 1_000_000, 256, " MiB"),
        "Memory for messages of which a part is still missing, in all. Beyond it, the connection is closed that has "
        "taken longest over its message.",
        default=256,
    )
    upload_backlog_per_realm: int = key(
        a_number(LEAST_MESSAGE, 1_000_000, 64, " MiB"),
        "Uploads that may wait to be integrated into one Realm.",
        default=64,
    )
    upload_backlog: int = key(
        a_number(LEAST_MESSAGE, 1_000_000, 256, " MiB"),
        "Uploads that may wait to be integrated, in all. Above it no more is read from whoever has something waiting; "
        "above twice as much, further uploads are put off.",
        default=256,
    )
    download_buffer: int = key(
        a_number(LEAST_MESSAGE, 1_000_000, 256, " MiB"),
        "What clients have been sent and do not read, in all. Beyond it, the connection is closed that has left most "
        "time pass. One connection never holds more than one download.",
        default=256,
    )
    disk_reserve: int = key(
        a_number(0, 1_000_000_000, 256, " MiB"),
        "When less is free on the disk of the data directory, nothing is written any more until there is room again; "
        "reading goes on. 0 turns that off.",
        default=256,
    )
