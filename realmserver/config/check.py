"""What must hold between the keys of a configuration, and on this machine, before the server starts.

A value's own type and range are the business of ``config.model``, single files that of ``config.files``. Whether a port
stays free until the server opens it cannot be known; what ``net.listeners`` then says has the same form.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from realmserver.config import files
from realmserver.config.findings import Finding, Where
from realmserver.config.machine import Machine, Refusal
from realmserver.config.model import Configuration

LOOPBACK: Final = ("127.0.0.1", "::1")

SELF: Final = (*LOOPBACK, "localhost")
"""How a backend on this machine is addressed."""

LOCK_FILE: Final = "server.lock"
"""In the data directory; a server that runs has written its process number there (``store.layout``)."""

MORE_THAN_ONE: Final = 2
"""Workers from which on Realms are not in the process that has the ports (``performance.workers``)."""

LAST_PRIVILEGED_PORT: Final = 1023


def findings(configuration: Configuration, where: Where, machine: Machine | None) -> Iterator[Finding]:
    """Everything that forbids a start. Without a ``machine``, ports and certificates are not looked at."""
    ttls = configuration.auth.ttls
    if ttls.refresh_token < ttls.access_token:
        other = "auth.ttls.access_token"
        text = f"{ttls.refresh_token} s is less than {ttls.access_token} s in {other}{where(other)}; make it longer"
        yield Finding("auth.ttls.refresh_token", text, (other,))
    yield from _services(configuration)
    yield from _ports(configuration, where, machine)
    if not configuration.only_forwards:
        root = configuration.storage.root_path
        unusable = list(files.directory("storage.root_path", root))
        yield from unusable
        yield from files.key_pair(configuration.auth, closed=root if unusable else None)
    yield from files.certificate(configuration.proxy.https, machine.now if machine is not None else None)
    yield from _providers(configuration)
    if configuration.logging.path is not None:
        yield from files.log("logging.path", configuration.logging.path)
    if configuration.backup.enable and configuration.backup.logging.path is not None:
        yield from files.log("backup.logging.path", configuration.backup.logging.path)


def listeners(configuration: Configuration) -> Iterator[tuple[str, str, int]]:
    """Section, address and port of every listener that is to be opened."""
    http, https, network = configuration.proxy.http, configuration.proxy.https, configuration.network
    if http.enable:
        yield "proxy.http", http.listen_address, http.listen_port
    if https.enable:
        yield "proxy.https", https.listen_address, https.listen_port
    if network.sync.enable and configuration.sync_backend is None:
        yield "network.sync", network.sync.listen_address, network.sync.listen_port
    if network.http.enable and configuration.http_backend is None:
        yield "network.http", network.http.listen_address, network.http.listen_port
    backup = configuration.backup
    if backup.enable and not configuration.only_forwards:
        yield "backup.network", backup.network.listen_address, backup.network.listen_port


def notices(configuration: Configuration) -> Iterator[str]:
    """What holds, but may surprise."""
    if all(address in LOOPBACK for _, address, _ in listeners(configuration)):
        yield "The server listens on this machine's own addresses only: other devices cannot reach it."
    auth, https = configuration.auth, configuration.proxy.https
    keys: dict[str, Path | None] = {"auth.private_key_path": auth.private_key_path}
    if https.enable:
        keys["proxy.https.private_key_path"] = https.private_key_path
    if auth.providers.cloudkit is not None:
        keys["auth.providers.cloudkit.private_key_path"] = auth.providers.cloudkit.private_key_path
    for key, path in keys.items():
        if files.is_open_to_all(path):
            yield f"{key}: every user of this machine can read {path}; close it: chmod o-r {path}"
    if auth.sync_hosts:
        yield "auth.sync_hosts: read and checked, but without effect in this version."
    yield from _provider_notices(configuration)
    backup = configuration.backup
    if backup.enable and backup.network.listen_address not in LOOPBACK:
        yield "backup.network.listen_address: continuous backups carry keys and all data, and are not encrypted."


def _provider_notices(configuration: Configuration) -> Iterator[str]:
    providers = configuration.auth.providers
    listed = [name for name in ("cloudkit", "google", "facebook", "azuread", "debug") if getattr(providers, name)]
    for name in (*listed, *(each.name for each in providers.custom)):
        yield f"auth.providers.{name}: read and checked, but its log-ins come with a later version."
    cloudkit = providers.cloudkit
    if cloudkit is not None and not cloudkit.container.startswith("iCloud."):
        key = "auth.providers.cloudkit.container"
        yield f"{key}: {cloudkit.container} does not begin with iCloud., as containers of CloudKit do."


def _services(configuration: Configuration) -> Iterator[Finding]:
    """Both services are here, or both are elsewhere and not at this server's own ports; and there is a way to them."""
    sync, http = configuration.sync_backend, configuration.http_backend
    servers, forward = "sync.servers", "network.http.forward_to"
    for number, each in enumerate(configuration.sync.servers[1:], 1):
        text = f"a second sync service ({each.id}) is not in this edition; leave one entry"
        yield Finding(f"{servers}[{number}]", text)
    if len({each.id for each in configuration.sync.servers}) < len(configuration.sync.servers):
        yield Finding(
            f"{servers}[{len(configuration.sync.servers) - 1}].id", "is given twice; each entry has its own id"
        )
    together = "log-ins are kept with the HTTP service, and the sync service asks for them there"
    if sync is not None and http is None:
        text = f"the sync service is at {sync}, but the HTTP service here; {together}: set {forward} as well, or write"
        yield Finding(f"{servers}[0].address", f"{text} address: '0.0.0.0'", (forward, servers))
    elif http is not None and sync is None:
        text = f"the HTTP service is at {http}, but the sync service here; {together}: set {servers} as well, or leave"
        yield Finding(forward, f"{text} {forward} out", (servers,))
    own = {port: f"{section}.listen_port" for section, _, port in listeners(configuration)}
    for key, backend in ((f"{servers}[0].address", sync), (forward, http)):
        if backend is not None and backend.host in SELF and backend.port in own:
            text = f"{backend} is this server's own {own[backend.port]}; write the address of the other server"
            yield Finding(key, text, (servers, own[backend.port]))
    if not list(listeners(configuration)):
        switches = ("proxy.http.enable", "proxy.https.enable", "network.http.enable", "network.sync.enable")
        text = "nothing is switched on: nobody could reach the server; write proxy.http.enable: true"
        yield Finding("proxy.http.enable", text, switches)


def _ports(configuration: Configuration, where: Where, machine: Machine | None) -> Iterator[Finding]:
    """Each listener has a port of its own, and the machine lets the server have it."""
    taken: dict[int, str] = {}
    for section, address, port in listeners(configuration):
        key, other = f"{section}.listen_port", taken.get(port)
        if other is not None:
            if not where(key) and where(other):
                key, other = other, key  # to be mended is the one that was given
            text = f"{port} is also {other}{where(other) or ', by default'}; give each its own port"
            yield Finding(key, text, (other, _enable(key), _enable(other)))
            continue
        taken[port] = key
        refusal = machine.refusal(address, port) if machine is not None else None
        if refusal is not None and machine is not None and not _is_this_server(configuration, refusal, machine):
            yield _refused(section, address, port, refusal)


def _enable(key: str) -> str:
    """The switch of the listener that ``key`` is about."""
    return key.rpartition(".")[0] + ".enable"


def _is_this_server(configuration: Configuration, refusal: Refusal, machine: Machine) -> bool:
    """Whether the port is taken by the server that runs on this very data directory, which a check may find."""
    if not machine.is_only_check or refusal.process is None:
        return False
    lock = configuration.storage.root_path / LOCK_FILE
    return _number_in(lock) == refusal.process.pid


def _number_in(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            content = file.read(32).strip()
    except OSError:
        return None
    return int(content) if content.isdigit() else None


def _refused(section: str, address: str, port: int, refusal: Refusal) -> Finding:
    key = f"{section}.listen_port"
    others = (f"{section}.listen_address", f"{section}.enable", section)
    where = f"{f'[{address}]' if ':' in address else address}:{port}"
    if refusal.number == errno.EADDRINUSE:
        by = refusal.process
        who = f"{by.name} (process {by.pid})" if by is not None else "another process"
        return Finding(key, f"{where} is taken by {who}; stop that process, or write another port", others)
    if refusal.number == errno.EACCES and port <= LAST_PRIVILEGED_PORT:
        redirect = f"iptables -t nat -A PREROUTING -p tcp --dport {port} -j REDIRECT --to-ports {port + 9000}"
        text = f"the server is not root and may not open port {port}; write {port + 9000}, and redirect: {redirect}"
        return Finding(key, text, others)
    if refusal.number == errno.EADDRNOTAVAIL:
        text = f"{address} is not an address of this machine; write one that is, or '::' for all"
        return Finding(f"{section}.listen_address", text, (key, *others[1:]))
    text = f"cannot listen on {where}: {os.strerror(refusal.number)}; write another address"
    return Finding(f"{section}.listen_address", text, (key, *others[1:]))


def _providers(configuration: Configuration) -> Iterator[Finding]:
    providers = configuration.auth.providers
    if providers.cloudkit is not None:
        yield from files.cloudkit(providers.cloudkit)
    for each in providers.custom:
        yield from files.custom(each, configuration.auth.providers_include_path)
