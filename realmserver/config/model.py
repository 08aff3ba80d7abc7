"""The configuration as values: one class for each section of the file, each default and each explanation stated once.

The names are those of the Realm Object Server 1.x manual (``spec/http-api.md`` 6.2), and some of ours. What a key may
hold is said by the kind beside it (``config.kinds``); ``config.reader`` reads files by it, and ``config.manual`` writes
the reference and the commented file from it. This module knows neither YAML nor the file system.
"""

# ruff: noqa: RUF009 (key() and section() make attrs fields, not shared defaults)

import ipaddress
from pathlib import Path
from typing import Final

from attrs import frozen

from realmserver.config.kinds import (
    A_HOST,
    A_HOST_PORT,
    A_LEVEL,
    A_PATH,
    A_TRUTH,
    AN_ADDRESS,
    HOSTS_AND_PORTS,
    NETWORKS,
    HostPort,
    a_number,
    a_port,
    a_text,
    one_of,
)
from realmserver.config.kinds import Network as IpNetwork
from realmserver.config.limits import Limits
from realmserver.config.providers import Providers
from realmserver.config.schema import entries, key, mandatory, section

MIN_ACCESS_TOKEN_TTL: Final = 30
"""Seconds. SDKs renew an access token 10 or 20 s before it expires; a shorter life would have them renew all the time
(section 1.2)."""

MAX_TTL: Final = 100 * 365 * 24 * 3600
"""Seconds: a hundred years. More is a slip, and dates beyond the year 9999 cannot be written."""

MAX_STOP_TIMEOUT: Final = 600
"""Seconds. What starts and stops services loses its patience long before."""

MAX_WORKERS: Final = 64
"""More than one for each core gain nothing, and each takes memory."""

MAX_HISTORY_TTL: Final = 315_360_000
"""Seconds, ten years. More is a slip of the hand."""

KEY_FILE_NAMES: Final = ("token-signature.pub", "token-signature.key")
"""The public and the private key in ``keys`` below the data directory, where no other place is configured."""

LOCAL: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (how the manual writes "here")
"""Addresses in ``sync.servers`` that mean "in this server", and where it then listens (section 6.2)."""

NOWHERE: Final = Path("/dev/null")
"""The data directory and the keys of a server that only forwards: it has none, and whoever uses them fails at once."""

TRUSTED: Final[tuple[IpNetwork, ...]] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1"))


@frozen
class Storage:
    """Where the data is."""

    root_path: Path = key(
        A_PATH,
        "The data directory. It is made if it does not exist, readable by its owner only. Two servers cannot share it.",
    )


@frozen
class Ttls:
    """How long tokens last."""

    refresh_token: int = key(
        a_number(1, MAX_TTL, 315_360_000, " seconds"),
        "After this time a user must log in again. Ten years, the default, means in practice never; shorten it where a "
        "lost device must not stay logged in.",
        default=315_360_000,
    )
    access_token: int = key(
        a_number(MIN_ACCESS_TOKEN_TTL, MAX_TTL, 600, " seconds"),
        "For so long an access token opens connections; SDKs fetch new ones by themselves, and a connection that is "
        "open outlives it. Shorter means that a withdrawn right ends sooner, and more requests.",
        default=600,
    )


@frozen
class Auth:
    """Tokens: what signs them, how long they last, and who else may vouch for a user."""

    public_key_path: Path = key(
        A_PATH,
        "The public half of the RSA key pair that signs and checks all tokens: PEM, 2048 bits or more. If both files "
        "are missing, the first start makes them.",
    )
    private_key_path: Path = key(
        A_PATH,
        "The private half, PEM, without a password. Whoever can read this file can make tokens for anyone.",
    )
    sync_hosts: tuple[HostPort, ...] = key(
        HOSTS_AND_PORTS,
        "Further addresses under which clients reach this server, for example `'realm.example.com:9080'`. Those of the "
        "enabled proxies, and `127.0.0.1`, `localhost` and `::1`, are meant without being listed. It has no effect "
        "yet.",
        default=(),
    )
    ttls: Ttls = section(Ttls)
    providers_include_path: Path = key(
        A_PATH,
        "The directory with the Python modules of your own providers. It must exist only if one of them is used.",
        default=Path("/usr/local/lib/realm/auth/providers"),
    )
    providers: Providers = section(Providers)


@frozen
class ProxyHttp:
    """The port for apps: HTTP and sync together, without encryption."""

    enable: bool = key(
        A_TRUTH,
        "Whether to listen for apps over HTTP. Turn it off where HTTPS alone, or a proxy of your own, is to be used.",
        default=True,
    )
    listen_address: str = key(
        AN_ADDRESS,
        "Where: `'::'` means every address of this machine, IPv4 and IPv6; `'127.0.0.1'` lets in this machine only.",
        default="::",
    )
    listen_port: int = key(a_port(9080), "The port to give to apps.", default=9080)


@frozen
class ProxyHttps:
    """The same with encryption (TLS). It needs a certificate that the apps' devices trust."""

    enable: bool = key(A_TRUTH, "Whether to listen for apps over HTTPS. The two files must be set then.", default=False)
    listen_address: str = key(AN_ADDRESS, "Where, as with HTTP.", default="::")
    listen_port: int = key(
        a_port(9443),
        "The port to give to apps. The server is not root and cannot open ports below 1024: to be reached at 443, "
        "redirect that port to this one.",
        default=9443,
    )
    certificate_path: Path | None = key(
        A_PATH,
        "The server's certificate and after it the intermediate ones, PEM, for example "
        "`/etc/realm/https-certificate.pem`. Apps refuse a self-signed certificate, and so does the server.",
        default=None,
    )
    private_key_path: Path | None = key(
        A_PATH,
        "The certificate's private key, PEM, RSA or ECDSA, without a password, for example "
        "`/etc/realm/https-private.key`.",
        default=None,
    )


@frozen
class Proxy:
    """The ports that apps connect to. Each takes HTTP and sync at once; both may be on."""

    http: ProxyHttp = section(ProxyHttp)
    https: ProxyHttps = section(ProxyHttps)


@frozen
class NetworkHttp:
    """The HTTP service (log-ins and the other APIs) on a port of its own."""

    enable: bool = key(
        A_TRUTH,
        "Whether this port is open. Without it the service is still reached through the proxy.",
        default=True,
    )
    listen_address: str = key(
        AN_ADDRESS, "Where. It should not be reached from outside, except by a proxy of yours.", default="127.0.0.1"
    )
    listen_port: int = key(a_port(27080), "The port for HTTP alone.", default=27080)
    forward_to: HostPort | None = key(
        A_HOST_PORT,
        "Host and port of another server whose HTTP service is used in place of the one here, for example "
        "`'192.0.2.7:27080'`. The sync service must then be there as well (`sync.servers`): this server keeps no data "
        "and only forwards.",
        default=None,
    )


@frozen
class NetworkSync:
    """The sync service on a port of its own."""

    enable: bool = key(
        A_TRUTH,
        "Whether this port is open. Without it the service is still reached through the proxy.",
        default=True,
    )
    listen_address: str = key(
        AN_ADDRESS, "Where. It should not be reached from outside, except by a proxy of yours.", default="127.0.0.1"
    )
    listen_port: int = key(a_port(27800), "The port for sync alone.", default=27800)


@frozen
class Network:
    """The services behind the proxy. The proxy in the same server needs none of these ports; they are for a proxy of
    your own, and for another server that forwards to this one."""

    trusted_proxies: tuple[IpNetwork, ...] = key(
        NETWORKS,
        "Who may say by `X-Forwarded-For`, `-Proto` and `-Host` for whom a request is made: the addresses or networks "
        "of proxies in front of this server. From anyone else these headers are ignored.",
        default=TRUSTED,
    )
    http: NetworkHttp = section(NetworkHttp)
    sync: NetworkSync = section(NetworkSync)


@frozen
class SyncServer:
    """One sync service."""

    id: str = key(a_text("0"), "A name that stays the same when the service moves.")
    address: str = key(
        A_HOST,
        "`'0.0.0.0'` or `'::'`: the service runs here, on 127.0.0.1 or ::1. Any other address or host name: it runs "
        "there, and this server forwards to it.",
    )
    port: int = key(a_port(27800), "The port.")

    @property
    def is_here(self) -> bool:
        return self.address in LOCAL


@frozen
class Sync:
    """Where the sync service runs. This edition takes one entry; without any, the service runs here, as
    `network.sync` says."""

    servers: tuple[SyncServer, ...] = entries(SyncServer)


@frozen
class Logging:
    """What the server tells, and where."""

    level: str = key(
        A_LEVEL,
        "A level shows itself and everything more severe. `detail` adds a line for each transaction, `debug` and "
        "`trace` what developers need; `off` hides even errors.",
        default="info",
    )
    path: Path | None = key(
        A_PATH,
        "The file to write to, for example `/var/log/realm-object-server.log`. It is opened anew on SIGHUP, so that it "
        "can be rotated. Without it the log goes to the standard output.",
        default=None,
    )
    format: str = key(
        one_of("text", "json"),
        "`text` writes lines to be read, `json` one object a line, for programs that collect logs.",
        default="text",
    )


@frozen
class Performance:
    """Limits of the whole server."""

    max_open_files: int = key(
        a_number(1, 100_000, 256),  # one more takes memory and file handles, hence the upper limit
        "Realms held open at once; the least recently used are closed beyond it. Raise it where more Realms than this "
        "are in use at the same time.",
        default=256,
    )
    stop_timeout: int = key(
        a_number(1, MAX_STOP_TIMEOUT, 10, " seconds"),
        "How long clients have to close their connections when the server stops; then they are cut off. Nothing that "
        "was acknowledged is lost either way.",
        default=10,
    )
    workers: int = key(
        a_number(0, MAX_WORKERS, 2),
        "Processes among which the Realms are divided, by their names, so that more than one core works on them; one "
        "more process then has the ports and the connections. 0 or 1: one process does everything, which is best on "
        "one core, and for a Realm that most of the work is for. The manual's page Run says more.",
        default=0,
    )


@frozen
class History:
    """How long the history of Realms is kept."""

    ttl: int = key(
        a_number(0, MAX_HISTORY_TTL, 2_592_000, " seconds"),
        "How long the history of a Realm is kept at least, in seconds; 0 keeps it for ever. What is older is folded "
        "into the objects that it led to: the disk it took is given back, and new clients download those objects "
        "instead of every change. A client that was not here for longer than this downloads everything anew, so choose "
        "a time after which a device may be counted as lost, for example 2592000 (30 days).",
        default=0,
    )


@frozen
class BackupNetwork:
    """Where followers of a continuous backup connect. What they get is not encrypted, and holds the private key: leave
    it at this machine's own address, and come from elsewhere through a tunnel (the manual's page Back up)."""

    listen_address: str = key(AN_ADDRESS, "The address.", default="127.0.0.1")
    listen_port: int = key(a_port(27810), "Its port.", default=27810)


@frozen
class BackupLogging:
    """What is told of continuous backups: the lines of the component `backup`."""

    level: str | None = key(
        A_LEVEL, "Their level. Without it they have that of all others, `logging.level`.", default=None
    )
    path: Path | None = key(
        A_PATH,
        "Their file, for example `/var/log/realm-object-server-backup-server.log`, where 1.x had it: they are there, "
        "not in the server's log. Without it they are in the server's log.",
        default=None,
    )


@frozen
class Backup:
    """Continuous backup: `realm-backup --follow` gets a copy of everything, then every commit."""

    enable: bool = key(A_TRUTH, "Whether followers are let in.", default=False)
    network: BackupNetwork = section(BackupNetwork)
    logging: BackupLogging = section(BackupLogging)


@frozen
class Configuration:
    """A whole configuration. ``notices`` are lines for the operator: what holds, but may surprise."""

    storage: Storage = mandatory(Storage)
    auth: Auth = mandatory(Auth)
    proxy: Proxy = section(Proxy)
    network: Network = section(Network)
    sync: Sync = section(Sync)
    logging: Logging = section(Logging)
    performance: Performance = section(Performance)
    limits: Limits = section(Limits)
    history: History = section(History)
    backup: Backup = section(Backup)
    notices: tuple[str, ...] = ()

    @property
    def sync_backend(self) -> HostPort | None:
        """Where the sync service runs; None means here."""
        return next((HostPort(each.address, each.port) for each in self.sync.servers if not each.is_here), None)

    @property
    def http_backend(self) -> HostPort | None:
        """Where the HTTP service runs; None means here."""
        return self.network.http.forward_to

    @property
    def only_forwards(self) -> bool:
        """Whether both services run elsewhere: no data and no keys are kept here."""
        return self.sync_backend is not None and self.http_backend is not None
