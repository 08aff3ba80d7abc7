"""The server as twistd sees it: options, and the wiring of all rooms. The only module that imports the reactor.

:func:`makeService` reads the options and the configuration, and ends with exit code 1 where they are wrong;
:func:`wire` puts the rooms together once the ports are open. What happens when is the business of ``process``. Follows
``spec/http-api.md`` 6.1.
"""

import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from attrs import frozen
from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python import usage
from twisted.python.failure import Failure

from realmserver import log
from realmserver._version import __version__
from realmserver.auth.accounts import Accounts
from realmserver.auth.gate import Gate
from realmserver.auth.keys import KeyFileError, Keys, load_keys, make_admin_token, make_keys
from realmserver.auth.logins import Logins
from realmserver.auth.passwords import Passwords, PasswordWorker
from realmserver.auth.tokens import TokenError, Tokens
from realmserver.auth.workers import store_worker
from realmserver.config.check import listeners
from realmserver.config.load import ConfigurationError, load
from realmserver.config.load import Options as ConfigurationOptions
from realmserver.config.model import Configuration
from realmserver.http.app_services import Surroundings, make_api
from realmserver.http.health import DiskSpace, Health, HealthResource, MetricsResource, RealmFailures
from realmserver.http.site import QuietSite, came_directly
from realmserver.http.traffic import Traffic
from realmserver.http.tree import make_site_tree
from realmserver.metrics import Metrics
from realmserver.net.delay import DelayMeter
from realmserver.net.listeners import Listener
from realmserver.net.service import SyncService
from realmserver.process.privileges import RootRefused, check_user, hand_over
from realmserver.process.screen import complain
from realmserver.process.server import CannotStart, Parts, Server
from realmserver.process.supervisor import Supervisor
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


@frozen
class Parameter:
    """An option with a value: ``value`` names it in help texts. ``hidden``: for start-object-server only."""

    name: str
    help: str
    value: str
    short: str | None = None
    hidden: bool = False


PARAMETERS: Final = (
    Parameter("configuration", "Read this configuration file (YAML).", "FILE", "c"),
    Parameter("root", "Keep all data in this directory (storage.root_path); made if it does not exist.", "DIR"),
    Parameter("public-key", "PEM file of the token key's public half (auth.public_key_path).", "FILE"),
    Parameter("private-key", "PEM file of the private half (auth.private_key_path); both made if missing.", "FILE"),
    Parameter("check-configuration", "Check this configuration file, say what is wrong, and exit.", "FILE"),
    Parameter("default-root", "Data directory if neither --root nor the configuration names one.", "DIR", hidden=True),
)
FLAGS: Final = (("allow-root", "Run even as root; in a container, for instance."),)
"""Options without a value. Both commands, twistd's and our own, take these."""


class Options(usage.Options):
    """``twistd realm-object-server``: each option overrides what the configuration file says."""

    synopsis = "[options]"
    longdesc = (
        "A sync server for Realm databases. Without a configuration file it keeps its data below --root, makes the "
        "keys that it needs there, and listens for apps on port 9080."
    )
    optParameters = [[each.name, each.short, None, each.help] for each in PARAMETERS]  # noqa: RUF012 (Twisted's form)
    optFlags = [[name, None, text] for name, text in FLAGS]  # noqa: RUF012

    def opt_version(self) -> NoReturn:
        """Show the server's version and exit."""
        print(f"realm-object-server {__version__}")
        raise SystemExit(0)


def makeService(options: Options) -> Server:
    """The server for these options. Where they or the configuration are wrong, says so and raises SystemExit(1)."""
    from twisted.internet import reactor

    checked_only = options["check-configuration"]
    becomes_user = options.parent["uid"] if options.parent is not None else None
    try:
        if not checked_only:
            check_user(os.geteuid(), becomes_user, allow_root=bool(options["allow-root"]))
        configuration = load(
            checked_only or options["configuration"],
            ConfigurationOptions(
                options["root"], options["public-key"], options["private-key"], options["default-root"]
            ),
        )
    except RootRefused as error:
        _give_up(str(error))
    except ConfigurationError as error:
        if error.log_path is not None and not checked_only:
            _log_problems(error.log_path, error.problems)
        _give_up(*error.problems)
    if checked_only:
        print(f"{checked_only}: the configuration is valid")
        raise SystemExit(0)
    log.set_level(configuration.logging.level)
    log.route_standard_logging()
    path = configuration.logging.path or _twistd_log(options.parent)
    try:
        observer = log.LineObserver(sys.stdout, path)
        if path is not None:
            hand_over(path, becomes_user)
    except OSError as error:
        _give_up(f"logging.path: cannot open {path}: {error.strerror}")
    metrics, health = Metrics(), Health(time.time, [lambda now: observer.problem])
    metrics.watch_log(observer.lines, log.LEVELS)
    ports = [Listener(reactor, section, address, port) for section, address, port in listeners(configuration)]
    return Server(
        ports,
        lambda: wire(configuration, metrics, health, reactor),
        [],
        observer,
        Supervisor(os.environ, time.monotonic),
        reactor,
    )


def _log_problems(path: Path, problems: Sequence[str]) -> None:
    """Put what is wrong with the configuration into the log that it names; Twisted's own logger has not begun yet."""
    try:
        observer = log.LineObserver(None, path)
    except OSError:
        return  # that is one of the problems, and the standard error tells it
    for problem in problems:
        observer(log.event("server", log.FATAL, problem))


def _twistd_log(twistd: Mapping[str, Any] | None) -> Path | None:
    """The log file of twistd: what ``--logfile`` names, or as a daemon its usual one; None where it is the screen."""
    if twistd is None or twistd["logfile"] == "-":
        return None
    name = twistd["logfile"] or (None if twistd["nodaemon"] else "twistd.log")
    return Path(name).absolute() if name is not None else None


def wire(configuration: Configuration, metrics: Metrics, health: Health, reactor: Any) -> Parts:
    """All rooms, put together. Raises :class:`CannotStart`, or OSError, if the data or the keys cannot be used."""
    try:
        keys = prepare(configuration)
        return _wire(configuration, keys, metrics, health, reactor)
    except (KeyFileError, StoreError) as error:
        raise CannotStart(str(error)) from error


def _wire(configuration: Configuration, keys: Keys, metrics: Metrics, health: Health, reactor: Any) -> Parts:
    root, auth, performance = configuration.storage.root_path, configuration.auth, configuration.performance
    store = LmdbStore(root, random_bytes=os.urandom)  # it also locks the data directory
    system = LmdbSystemStore(root)
    accounts = Accounts(system, random_bytes=os.urandom)
    tokens = Tokens(keys, access_ttl=auth.ttls.access_token, refresh_ttl=auth.ttls.refresh_token)
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
        metrics=metrics,
        on_failure=failures.note,
    )

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

    def in_thread(function: Callable[[], T]) -> Deferred[T]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), function)

    api = make_site_tree(
        make_api(logins, Surroundings(clock=time.time, new_id=_new_id)),
        {
            "health": HealthResource(health, in_thread),
            "metrics": MetricsResource(metrics, tokens, came_directly, in_thread),
        },
    )

    def purge() -> Deferred[int]:
        return account_threads.run(accounts.purge_expired, time.time()).addErrback(_purge_failed)

    resources = {"proxy.http": sync.resource(api), "network.sync": sync.resource(), "network.http": api}
    return Parts(
        services=[
            account_threads,
            hashing_threads,
            sync,
            TimerService(PURGE_LOGINS, purge),  # type: ignore[no-untyped-call]
            DelayMeter(reactor, metrics),
        ],
        sites={
            section: QuietSite(resource, reactor, answered=Traffic(metrics)) for section, resource in resources.items()
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


def _give_up(*problems: str) -> NoReturn:
    """Say what is wrong and exit with code 1."""
    for problem in problems:
        complain(problem)
    raise SystemExit(1)
