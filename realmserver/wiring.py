"""All rooms, put together: what a server of this configuration consists of. The reactor comes in as an argument.

There are two kinds of servers. One keeps the data: :func:`_serving`. The other only forwards to it, and has neither a
data directory nor keys: :func:`_forwarding`. What they have in common, ports and sites, is in :func:`wire`.
"""

import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Site

from realmserver import log
from realmserver.auth.accounts import Accounts
from realmserver.auth.gate import Gate
from realmserver.auth.keys import KeyFileError, Keys, complete_keys, load_keys, make_admin_token, make_keys
from realmserver.auth.logins import Logins, NoRoom
from realmserver.auth.passwords import Passwords, PasswordWorker
from realmserver.auth.tokens import TokenError, Tokens
from realmserver.auth.workers import store_worker
from realmserver.backup.feed import Feed, FeedService
from realmserver.config.check import MORE_THAN_ONE
from realmserver.config.kinds import HostPort
from realmserver.config.limits import MEBIBYTE, Limits
from realmserver.config.model import Configuration
from realmserver.http.app_services import Surroundings, make_api
from realmserver.http.health import (
    DiskSpace,
    Health,
    HealthResource,
    MetricsResource,
    Quarantine,
    ReadOnly,
    RealmFailures,
    no_others,
)
from realmserver.http.site import QuietSite, came_directly
from realmserver.http.traffic import Traffic
from realmserver.http.tree import make_site_tree
from realmserver.metrics import Metrics
from realmserver.net.admission import Admission, ConnectionLimits
from realmserver.net.backend import Backend
from realmserver.net.delay import DelayMeter
from realmserver.net.forward import Forwarder
from realmserver.net.hiring import Hiring, Settings, share_of
from realmserver.net.owner import READ_ONLY
from realmserver.net.refusals import Refusals
from realmserver.net.service import SyncService
from realmserver.net.upgrade import SyncTree
from realmserver.net.workforce import Workforce
from realmserver.process.memory import keep_large_blocks_apart
from realmserver.process.open_files import raise_limit, shortage
from realmserver.process.server import CannotStart, Parts
from realmserver.realms.requests import LimitReached, RealmError
from realmserver.store.interface import StoreError
from realmserver.store.layout import DirectoryLock
from realmserver.store.lmdb_store import LmdbStore, claim
from realmserver.store.lmdb_system import LmdbSystemStore
from realmserver.store.reserve import DiskReserve

ADMIN_TOKEN: Final = "admin_token.base64"  # noqa: S105 (the file's name)

DIRECTORY_MODE: Final = 0o700
"""The data directory holds keys, passwords' hashes and everybody's data."""

PURGE_LOGINS: Final = 24 * 60 * 60
"""Seconds between two removals of logins that have expired: they are refused anyway, and only take room."""

LOOK_AT_DISK: Final = 5
"""Seconds between two looks at how much is free, besides those before each commit: so that a server to which nobody
writes says how it is, too."""

LOCK_PATIENCE: Final = 20.0
"""Seconds that a start waits for the workers of a server that was killed: as long as it takes to merge and store what
was uploaded last. Its supervisor has more patience than that."""

LOCK_POLL: Final = 0.05
"""Seconds between two looks at whether they are gone. Nothing else runs at that time."""

NO_LOGIN: Final = "a log-in or a registration was put off"

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
    keep_large_blocks_apart()
    tokens = Tokens(keys, access_ttl=auth.ttls.access_token, refresh_ttl=auth.ttls.refresh_token)
    feed = Feed(reactor, root, tokens, metrics) if configuration.backup.enable else None
    committed = feed.committed if feed is not None else None

    def exchanged(directory: Path, given_back: int) -> None:
        metrics.history_freed_bytes.inc(given_back)
        if feed is not None:
            feed.exchanged(directory)

    failures = RealmFailures(time.time)
    lock: DirectoryLock | None = None
    store: LmdbStore | Workforce
    if performance.workers < MORE_THAN_ONE:  # it also locks the data directory
        store = LmdbStore(root, random_bytes=os.urandom, committed=committed, exchanged=exchanged)
    else:
        lock = claim(root, _Patience())
        store = Workforce(
            reactor,
            performance.workers,
            Hiring(reactor, _settings(configuration, keys), lock.fileno(), os.environ),
            metrics,
            failures.note,
            feed,
        )
        if feed is not None:
            feed.announce = store.followed
    system = LmdbSystemStore(root, committed=committed)
    accounts = Accounts(system, random_bytes=os.urandom)
    account_threads, hashing_threads = store_worker(reactor), PasswordWorker(reactor)
    gate = Gate(tokens, accounts, account_threads)
    refused = Refusals(metrics, reactor.seconds)
    admission = _admission(configuration, refused, metrics, reactor)
    disk = _Disk(root, configuration.limits, metrics, lambda: reactor.callFromThread(refused, "disk_reserve", NO_LOGIN))
    in_thread = _InThread(reactor)
    metrics.watch_disk(root)
    health.add(DiskSpace(root))
    health.add(ReadOnly(disk.reserve.look))
    health.add(failures)
    sync = SyncService(
        reactor,
        store,
        tokens,
        gate,
        max_open_files=performance.max_open_files,
        stop_timeout=performance.stop_timeout,
        history_ttl=configuration.history.ttl,
        limits=configuration.limits,
        admission=admission,
        read_only=disk.read_only,
        metrics=metrics,
        refused=refused,
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
        check_room=disk.check_room,
    )
    http = make_site_tree(
        make_api(logins, Surroundings(clock=time.time, new_id=_new_id)),
        {
            "health": HealthResource(health, in_thread),
            "metrics": MetricsResource(
                metrics,
                tokens,
                came_directly,
                in_thread,
                others=store.figures if isinstance(store, Workforce) else no_others,
            ),
        },
    )
    both = sync.resource(http)

    def purge() -> Deferred[int]:
        return account_threads.run(accounts.purge_expired, time.time()).addErrback(_purge_failed)

    def close() -> None:
        system.close()  # the sync service closes its own store
        if lock is not None:
            lock.release()

    return Parts(
        services=[
            account_threads,
            hashing_threads,
            sync,
            TimerService(PURGE_LOGINS, purge),  # type: ignore[no-untyped-call]
            TimerService(LOOK_AT_DISK, in_thread, disk.reserve.look),  # type: ignore[no-untyped-call]
            DelayMeter(reactor, metrics),
            *([FeedService(feed)] if feed is not None else []),
        ],
        sites={
            **_sites(
                configuration,
                {"proxy.http": both, "proxy.https": both, "network.sync": sync.resource(), "network.http": http},
                metrics,
                reactor,
                admission,
                refused,
            ),
            **({"backup.network": feed} if feed is not None else {}),
        },
        files=[
            ("Data", str(root)),
            ("Keys", str(auth.public_key_path)),
            ("", f"{auth.private_key_path} (keep it secret)"),
            ("Admin token", f"{root / ADMIN_TOKEN} (keep it secret)"),
        ],
        warnings=[OPEN_TO_ALL, *_open_files(configuration)],
        notices=configuration.notices,
        running=lambda is_running: health.started() if is_running else health.stopping(),
        close=close,
        admission=admission,
        reloadables=[store] if isinstance(store, Workforce) else [],
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
    refused = Refusals(metrics, reactor.seconds)
    admission = _admission(configuration, refused, metrics, reactor)
    both = SyncTree(lambda _: sync_forwarder, make_site_tree(Forwarder(http), {"metrics": figures}))
    return Parts(
        services=[sync, http, DelayMeter(reactor, metrics)],
        sites=_sites(configuration, {"proxy.http": both, "proxy.https": both}, metrics, reactor, admission, refused),
        files=[("Forwards", f"sync to {sync_at}"), ("", f"HTTP to {http_at}")],
        warnings=_open_files(configuration),
        notices=configuration.notices,
        running=lambda is_running: health.started() if is_running else health.stopping(),
        close=lambda: None,
        admission=admission,
    )


def _sites(
    configuration: Configuration,
    resources: Mapping[str, IResource],
    metrics: Metrics,
    reactor: Any,
    admission: Admission,
    refused: Refusals,
) -> dict[str, Site]:
    """One site for each section that may have a port."""
    trusted, answered, limits = configuration.network.trusted_proxies, Traffic(metrics), configuration.limits

    def too_slow(peer: str) -> None:
        refused("request_timeout", "a request that did not come to an end was cut off", peer)

    return {
        section: QuietSite(
            root,
            reactor,
            trusted,
            answered=answered,
            has_asked=admission.has_asked,
            too_slow=too_slow,
            idle_timeout=limits.keep_alive_timeout,
            request_timeout=limits.request_timeout,
        )
        for section, root in resources.items()
    }


def _admission(configuration: Configuration, refused: Refusals, metrics: Metrics, reactor: Any) -> Admission:
    """Who may connect."""
    limits, trusted = configuration.limits, configuration.network.trusted_proxies
    allowed = ConnectionLimits(limits.connections, limits.connections_per_address, trusted)
    return Admission(allowed, refused, reactor.seconds, metrics.sockets_online.set)


def _open_files(configuration: Configuration) -> list[str]:
    """Allow the process as many open files as the system does, and say so if that may not be enough."""
    performance = configuration.performance
    elsewhere = configuration.only_forwards or performance.workers >= MORE_THAN_ONE
    realms = 0 if elsewhere else performance.max_open_files
    text = shortage(raise_limit(), configuration.limits.connections, realms)
    return [text] if text else []


def _settings(configuration: Configuration, keys: Keys) -> Callable[[int], Settings]:
    """What the worker of each number is told."""
    performance, logging = configuration.performance, configuration.logging
    workers = performance.workers
    return lambda number: Settings(
        number=number,
        root=str(configuration.storage.root_path),
        public_key=keys.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        max_open_files=-(-performance.max_open_files // workers),
        history_ttl=configuration.history.ttl,
        has_backup=configuration.backup.enable,
        limits=share_of(configuration.limits, workers),
        level=logging.level,
        log_path=str(logging.path) if logging.path is not None else None,
        as_json=logging.format == "json",
    )


class _Patience:
    """Waits for the workers of a server that has ended without them: they finish what was uploaded, and are gone."""

    def __init__(self) -> None:
        self._until: float | None = None

    def __call__(self) -> bool:
        now = time.monotonic()
        if self._until is None:
            self._until = now + LOCK_PATIENCE
            logger.info("the workers of the server before this one are about to end: waiting for them")
        time.sleep(LOCK_POLL)
        return now < self._until


class _Disk:
    """The reserve on the disk, and how each room is told of it. Everything here runs in worker threads."""

    def __init__(self, root: Path, limits: Limits, metrics: Metrics, refused: Callable[[], None]) -> None:
        self.reserve = DiskReserve(root, limits.disk_reserve * MEBIBYTE, self._turned)
        self._metrics = metrics
        self._refused = refused

    def read_only(self) -> RealmError | None:
        """Why Realms may not write now."""
        return LimitReached("disk_reserve", READ_ONLY) if self.reserve.look() else None

    def check_room(self) -> None:
        """Raises NoRoom where logins may not be written now."""
        if self.reserve.look():
            self._refused()
            raise NoRoom(READ_ONLY)

    def _turned(self, is_read_only: bool, free: int) -> None:
        self._metrics.disk_read_only.set(is_read_only)
        if is_read_only:
            logger.error(
                "only {free} MiB are free on the disk of the data directory, less than limits.disk_reserve: nothing is "
                "written until there is room again",
                free=free // MEBIBYTE,
            )
        else:
            logger.info("there is room on the disk again ({free} MiB): writing goes on", free=free // MEBIBYTE)


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
        complete_keys(auth.public_key_path, auth.private_key_path)
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
