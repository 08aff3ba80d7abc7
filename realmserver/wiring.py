"""All rooms, put together: what a server of this configuration consists of. The reactor comes in as an argument.

There are two kinds of servers. One keeps the data: :func:`_serving`. The other only forwards to it, and has neither a
data directory nor keys: :func:`_forwarding`. What they have in common, ports and sites, is in :func:`wire`.
"""

import os
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Site

from realmserver import log
from realmserver.auth.accounts import Accounts
from realmserver.auth.gate import Gate
from realmserver.auth.keys import KeyFileError, Keys, load_keys, make_admin_token, make_keys
from realmserver.auth.logins import Logins
from realmserver.auth.passwords import Passwords, PasswordWorker
from realmserver.auth.tokens import TokenError, Tokens
from realmserver.auth.workers import store_worker
from realmserver.backup.feed import Feed, FeedService
from realmserver.config.kinds import HostPort
from realmserver.config.model import Configuration
from realmserver.http.app_services import Surroundings, make_api
from realmserver.http.health import DiskSpace, Health, HealthResource, MetricsResource, Quarantine, RealmFailures
from realmserver.http.site import QuietSite, came_directly
from realmserver.http.traffic import Traffic
from realmserver.http.tree import make_site_tree
from realmserver.metrics import Metrics
from realmserver.net.backend import Backend
from realmserver.net.delay import DelayMeter
from realmserver.net.forward import Forwarder
from realmserver.net.service import SyncService
from realmserver.net.upgrade import SyncTree
from realmserver.process.server import CannotStart, Parts
from realmserver.store.interface import StoreError
from realmserver.store.lmdb_store import LmdbStore
from realmserver.store.lmdb_system import LmdbSystemStore

ADMIN_TOKEN: Final = "admin_token.base64"  # noqa: S105 (the file's name)

DIRECTORY_MODE: Final = 0o700
"""The data directory holds keys, passwords' hashes and everybody's data."""

PURGE_LOGINS: Final = 24 * 60 * 60
"""Seconds between two removals of logins that have expired: they are refused anyway, and only take room."""

OPEN_TO_ALL: Final = "In this version every authenticated user may open every Realm."

T = TypeVar("T")

logger = log.get_logger("server")


def wire(configuration: Configuration, metrics: Metrics, health: Health, reactor: Any) -> Parts:
    """The server of this configuration. Raises :class:`CannotStart`, or OSError, if its data or keys cannot be used."""
    try:
        if configuration.sync_backend is not None and configuration.http_backend is not None:
            return _forwarding(
                configuration, configuration.sync_backend, configuration.http_backend, metrics, health, reactor
            )
        return _serving(configuration, prepare(configuration), metrics, health, reactor)
    except (KeyFileError, StoreError) as error:
        raise CannotStart(str(error)) from error


def _serving(configuration: Configuration, keys: Keys, metrics: Metrics, health: Health, reactor: Any) -> Parts:
    """A server that keeps the data."""
    root, auth, performance = configuration.storage.root_path, configuration.auth, configuration.performance
    tokens = Tokens(keys, access_ttl=auth.ttls.access_token, refresh_ttl=auth.ttls.refresh_token)
    feed = Feed(reactor, root, tokens, metrics) if configuration.backup.enable else None
    committed = feed.committed if feed is not None else None
    store = LmdbStore(root, random_bytes=os.urandom, committed=committed)  # it also locks the data directory
    system = LmdbSystemStore(root, committed=committed)
    accounts = Accounts(system, random_bytes=os.urandom)
    account_threads, hashing_threads = store_worker(reactor), PasswordWorker(reactor)
    gate = Gate(tokens, accounts, account_threads)
    failures = RealmFailures(time.time)
    metrics.watch_disk(root)
    health.add(DiskSpace(root))
    health.add(failures)
    sync = SyncService(
        reactor,
        store,
        tokens,
        gate,
        max_open_files=performance.max_open_files,
        stop_timeout=performance.stop_timeout,
        metrics=metrics,
        on_failure=failures.note,
    )
    health.add(Quarantine(lambda: sync.quarantined))

    def login_ended(user_id: str, session_id: str | None) -> None:
        gate.forget(user_id, session_id)
        sync.login_ended(user_id, session_id)

    logins = Logins(
        accounts,
        tokens,
        Passwords(),
        store=account_threads,
        hashing=hashing_threads,
        new_id=_new_id,
        on_end=login_ended,
    )
    in_thread = _InThread(reactor)
    http = make_site_tree(
        make_api(logins, Surroundings(clock=time.time, new_id=_new_id)),
        {
            "health": HealthResource(health, in_thread),
            "metrics": MetricsResource(metrics, tokens, came_directly, in_thread),
        },
    )
    both = sync.resource(http)

    def purge() -> Deferred[int]:
        return account_threads.run(accounts.purge_expired, time.time()).addErrback(_purge_failed)

    return Parts(
        services=[
            account_threads,
            hashing_threads,
            sync,
            TimerService(PURGE_LOGINS, purge),  # type: ignore[no-untyped-call]
            DelayMeter(reactor, metrics),
            *([FeedService(feed)] if feed is not None else []),
        ],
        sites={
            **_sites(
                configuration,
                {"proxy.http": both, "proxy.https": both, "network.sync": sync.resource(), "network.http": http},
                metrics,
                reactor,
            ),
            **({"backup.network": feed} if feed is not None else {}),
        },
        files=[
            ("Data", str(root)),
            ("Keys", str(auth.public_key_path)),
            ("", f"{auth.private_key_path} (keep it secret)"),
            ("Admin token", f"{root / ADMIN_TOKEN} (keep it secret)"),
        ],
        warnings=[OPEN_TO_ALL],
        notices=configuration.notices,
        running=lambda is_running: health.started() if is_running else health.stopping(),
        close=system.close,  # the sync service closes its own store
    )


def _forwarding(
    configuration: Configuration,
    sync_at: HostPort,
    http_at: HostPort,
    metrics: Metrics,
    health: Health,
    reactor: Any,
) -> Parts:
    """A server that only forwards. ``/health`` is that of the server behind it, reached through this one; ``/metrics``
    is its own."""
    stop_timeout = configuration.performance.stop_timeout
    sync = Backend(reactor, sync_at.host, sync_at.port, stop_timeout=stop_timeout)
    http = Backend(reactor, http_at.host, http_at.port, stop_timeout=stop_timeout)
    figures = MetricsResource(metrics, None, came_directly, _InThread(reactor))
    sync_forwarder = Forwarder(sync)
    both = SyncTree(lambda _: sync_forwarder, make_site_tree(Forwarder(http), {"metrics": figures}))
    return Parts(
        services=[sync, http, DelayMeter(reactor, metrics)],
        sites=_sites(configuration, {"proxy.http": both, "proxy.https": both}, metrics, reactor),
        files=[("Forwards", f"sync to {sync_at}"), ("", f"HTTP to {http_at}")],
        warnings=[],
        notices=configuration.notices,
        running=lambda is_running: health.started() if is_running else health.stopping(),
        close=lambda: None,
    )


def _sites(
    configuration: Configuration, resources: Mapping[str, IResource], metrics: Metrics, reactor: Any
) -> dict[str, Site]:
    """One site for each section that may have a port."""
    trusted, answered = configuration.network.trusted_proxies, Traffic(metrics)
    return {section: QuietSite(root, reactor, trusted, answered=answered) for section, root in resources.items()}


class _InThread:
    """Runs what may wait for a disk in one of the reactor's threads."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __call__(self, function: Callable[[], T], /) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function)


def _purge_failed(failure: Failure) -> int:
    logger.error("cannot remove logins that have expired", failure=failure)
    return 0


def _new_id() -> str:
    """24 hexadecimal digits, the form of App Services' own ids."""
    return secrets.token_hex(12)


def prepare(configuration: Configuration) -> Keys:
    """Make what a first start finds missing (directories, key pair, admin token) and load the keys.

    Raises :class:`KeyFileError` or OSError.
    """
    root, auth = configuration.storage.root_path, configuration.auth
    for directory in (root, auth.public_key_path.parent, auth.private_key_path.parent):
        directory.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
    if auth.public_key_path.exists() or auth.private_key_path.exists():
        keys = load_keys(auth.public_key_path, auth.private_key_path)
    else:
        keys = make_keys(auth.public_key_path, auth.private_key_path)
        logger.info(
            "made a new key pair: {public}, {private}", public=auth.public_key_path, private=auth.private_key_path
        )
    admin_token = root / ADMIN_TOKEN
    if admin_token.exists():
        try:
            Tokens(keys).verify_bind_token(admin_token.read_bytes().decode("ascii", "replace"), now=time.time())
        except TokenError as error:
            logger.warn(
                "{path} does not fit the keys ({reason}): remove it, and the next start makes a new one",
                path=admin_token,
                reason=error.reason,
            )
    else:
        make_admin_token(keys, admin_token)
        logger.info("made the admin token {path}", path=admin_token)
    return keys
