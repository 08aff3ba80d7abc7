"""The server as twistd sees it: options, and the wiring of all rooms. The only module that imports the reactor.

:func:`build` is the wiring; what is wrong before the server runs ends in one line each on the standard error and exit
code 1. Ports are opened before anything is announced, and the announcement comes when the reactor runs. Follows
``spec/http-api.md`` 6.1.
"""

import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized
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
from realmserver.config.machine import this_machine
from realmserver.config.model import Configuration
from realmserver.http.app_services import Surroundings, make_api
from realmserver.http.site import QuietSite
from realmserver.net.listeners import ALL_IPV4, ALL_IPV6, CannotListen, Listener, own_address
from realmserver.net.service import SyncService
from realmserver.store.interface import StoreError
from realmserver.store.lmdb_store import LmdbStore
from realmserver.store.lmdb_system import LmdbSystemStore

ADMIN_TOKEN: Final = "admin_token.base64"  # noqa: S105 (the file's name)

DIRECTORY_MODE: Final = 0o700
"""The data directory holds keys, passwords' hashes and everybody's data."""

PURGE_LOGINS: Final = 24 * 60 * 60
"""Seconds between two removals of logins that have expired: they are refused anyway, and only take room."""

OPEN_TO_ALL: Final = "In this version every authenticated user may open every Realm."

logger = log.get_logger("server")


class Options(usage.Options):
    """``twistd realm-object-server``: each option overrides what the configuration file says."""

    synopsis = "[options]"
    longdesc = (
        "A sync server for Realm databases. Without options it keeps its data below --root with freshly made keys, "
        "and listens for apps on port 9080. Everything else is set in a configuration file."
    )
    optParameters = [  # noqa: RUF012 (the form Twisted wants)
        ["configuration", "c", None, "Read this configuration file (YAML)."],
        ["root", None, None, "Keep all data in this directory (storage.root_path); made if it does not exist."],
        ["public-key", None, None, "PEM file of the token key's public half (auth.public_key_path)."],
        ["private-key", None, None, "PEM file of the private half (auth.private_key_path); both made if missing."],
        ["check-configuration", None, None, "Check this configuration file, say what is wrong, and exit."],
        ["default-root", None, None, "Data directory if neither --root nor the configuration file names one."],
    ]

    def opt_version(self) -> NoReturn:
        """Show the server's version and exit."""
        print(f"realm-object-server {__version__}")
        raise SystemExit(0)


def makeService(options: Options) -> "Server":
    """The server for these options. Where they or the configuration are wrong, says so and raises SystemExit(1)."""
    from twisted.internet import reactor

    checked_only = options["check-configuration"]
    try:
        configuration = load(
            checked_only or options["configuration"],
            ConfigurationOptions(
                options["root"], options["public-key"], options["private-key"], options["default-root"]
            ),
            this_machine(datetime.now(UTC), is_only_check=bool(checked_only)),
        )
    except ConfigurationError as error:
        if error.log_path is not None and not checked_only:
            _log_problems(error.log_path, [problem.headline for problem in error.problems])
        _give_up(*map(str, error.problems))
    if checked_only:
        print(f"{checked_only}: the configuration is valid")
        raise SystemExit(0)
    log.set_level(configuration.logging.level)
    log.route_standard_logging()
    path = configuration.logging.path or _twistd_log(options.parent)
    try:
        observer = log.LineObserver(sys.stdout, path)
    except OSError as error:
        _give_up(f"logging.path: cannot open {path}: {error.strerror}")
    return Server(configuration, observer, reactor)


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


def build(configuration: Configuration, keys: Keys, reactor: Any) -> MultiService:
    """All services, wired, the listeners last, so that they stop first. Raises :class:`StoreError` if the data cannot
    be used."""
    root, ttls = configuration.storage.root_path, configuration.auth.ttls
    store = LmdbStore(root, random_bytes=os.urandom)  # it also locks the data directory
    system = LmdbSystemStore(root)
    accounts = Accounts(system, random_bytes=os.urandom)
    tokens = Tokens(keys, access_ttl=ttls.access_token, refresh_ttl=ttls.refresh_token)
    account_threads, hashing_threads = store_worker(reactor), PasswordWorker(reactor)
    gate = Gate(tokens, accounts, account_threads)
    sync = SyncService(reactor, store, tokens, gate, max_open_files=configuration.performance.max_open_files)

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
    api = make_api(logins, Surroundings(clock=time.time, new_id=_new_id))
    services = Services(system)

    def purge() -> Deferred[int]:
        return account_threads.run(accounts.purge_expired, time.time()).addErrback(_purge_failed)

    for service in (account_threads, hashing_threads, sync, TimerService(PURGE_LOGINS, purge)):  # type: ignore[no-untyped-call]
        services.addService(service)  # type: ignore[no-untyped-call]
    resources = {"proxy.http": sync.resource(api), "network.sync": sync.resource(), "network.http": api}
    for section, address, port in listeners(configuration):
        site = QuietSite(resources[section], reactor)
        services.addService(Listener(reactor, section, address, port, site))  # type: ignore[no-untyped-call]
    return services


def _purge_failed(failure: Failure) -> int:
    logger.error("cannot remove logins that have expired", failure=failure)
    return 0


class Services(MultiService):
    """Closes the system store when everything that uses it has stopped; the sync service closes its own store."""

    def __init__(self, system: LmdbSystemStore) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._system = system

    def stopService(self) -> Deferred[None]:
        stopped: Deferred[Any] = maybeDeferred(super().stopService)
        return stopped.addCallback(lambda _: self._system.close())


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


class StartFailed(SystemExit, Exception):
    """The server cannot start, which has been said. To twistd it is an Exception: it tells the waiting parent of a
    daemon and removes its PID file. To Python it is an exit with code 1 and no traceback."""

    def __init__(self, text: str) -> None:
        super().__init__(1)
        self.text: str = text

    def __str__(self) -> str:
        return self.text


class Server(MultiService):
    """The whole server as one service. It is built when it starts, not before: twistd may fork in between, which no
    open LMDB environment survives."""

    def __init__(self, configuration: Configuration, observer: log.LineObserver, reactor: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.configuration: Configuration = configuration
        self._observer = observer
        self._reactor = reactor
        self._stopping = False

    def setServiceParent(self, parent: Any) -> None:
        """twistd puts the server into its application here: the moment to say where the log goes."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)  # type: ignore[no-untyped-call]
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """Prepare, wire and open all ports; where that fails, say why in one line and raise :class:`StartFailed`."""
        try:
            keys = prepare(self.configuration)
            self.addService(build(self.configuration, keys, self._reactor))  # type: ignore[no-untyped-call]
            super().privilegedStartService()  # type: ignore[no-untyped-call]
        except (KeyFileError, StoreError, CannotListen) as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(f"{error.filename or 'the system'}: {error.strerror or error}")

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._reactor.callWhenRunning(self._running)

    def stopService(self) -> Deferred[None]:
        """Stop everything, the listeners first, and say so."""
        stopped: Deferred[Any] = maybeDeferred(super().stopService)
        return stopped.addCallback(self._stopped)

    def _running(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop_on_signal)
        signal.signal(signal.SIGHUP, self._reopen_log)
        open_listeners = [each for each in _walk(self) if isinstance(each, Listener)]
        _say(announcement(self.configuration, self._observer.path, open_listeners))
        for notice in self.configuration.notices:
            logger.info(notice)
        if self._observer.path is not None:  # else the announcement, which says it, stands right there
            logger.warn(OPEN_TO_ALL)
        logger.info("ready")

    def _stop_on_signal(self, number: int, _: FrameType | None) -> None:
        """Stop in order, with exit code 0; twistd's own handler would have the process die of the signal. The same
        signal once more ends it at once."""
        signal.signal(number, signal.SIG_DFL)
        self._reactor.callFromThread(self._stop, signal.Signals(number).name)

    def _stop(self, cause: str) -> None:
        if not self._stopping:
            self._stopping = True
            logger.info("stopping on {cause}", cause=cause)
            self._reactor.stop()

    def _stopped(self, _: object) -> None:
        logger.info("stopped")
        _say("Stopped.")

    def _reopen_log(self, _: int, __: FrameType | None) -> None:
        self._reactor.callFromThread(self._reopen)

    def _reopen(self) -> None:
        try:
            self._observer.reopen()
        except OSError as error:
            logger.error("the log file cannot be opened anew: {cause}", cause=error.strerror)

    def _fail(self, text: str) -> NoReturn:
        if self._observer.path is not None:
            logger.fatal(text)
        _complain(text)
        raise StartFailed(text)


def announcement(configuration: Configuration, log_path: Path | None, open_listeners: list[Listener]) -> str:
    """The screen that a start shows: where the server listens, where its files are, how an app gets in."""
    what = {"proxy.http": "apps: sync and HTTP", "network.sync": "sync only", "network.http": "HTTP only"}
    lines = [f"Realm Object Server {__version__} is running.", ""]
    title = "Listens on"
    for each in open_listeners:
        where = f"{f'[{each.address}]' if ':' in each.address else each.address}:{each.port}"
        lines.append(f"  {title:<12} {where:<18} {what[each.section]} ({each.section})")
        title = ""
    root, auth = configuration.storage.root_path, configuration.auth
    lines += [
        f"  {'Data':<12} {root}",
        f"  {'Keys':<12} {auth.public_key_path}",
        f"  {'':<12} {auth.private_key_path} (keep it secret)",
        f"  {'Admin token':<12} {root / ADMIN_TOKEN} (keep it secret)",
        f"  {'Log':<12} {log_path or 'this screen'}",
        "",
    ]
    urls = [each.url(host) for each in open_listeners if each.section == "proxy.http" for host in _hosts(each.address)]
    if urls:
        lines += [
            "Connect an app: give its Realm SDK this base URL and any app id, for example my-app.",
            *(f"  {url}" for url in urls),
        ]
    else:
        lines.append("Apps cannot connect here: proxy.http is off, and no other listener takes both sync and HTTP.")
    lines += [
        "",
        f"WARNING: {OPEN_TO_ALL}",
        "Ctrl-C stops the server.",
    ]
    return "\n".join(lines)


def _hosts(address: str) -> list[str]:
    """The names under which a listener on ``address`` is reached."""
    if address not in (ALL_IPV4, ALL_IPV6):
        return [address]
    outside = own_address()
    return ["localhost"] if outside is None else ["localhost", outside]


def _walk(service: MultiService) -> list[Any]:
    """``service`` and everything within it."""
    found: list[Any] = [service]
    for each in service:
        found += _walk(each) if isinstance(each, MultiService) else [each]
    return found


def _say(text: str) -> None:
    """For the operator at the terminal: as it stands, past the log, which twistd makes of sys.stdout."""
    if sys.__stdout__ is not None:
        print(text, file=sys.__stdout__, flush=True)


def _complain(text: str) -> None:
    if sys.__stderr__ is not None:
        print(f"error: {text}", file=sys.__stderr__, flush=True)


def _give_up(*problems: str) -> NoReturn:
    """Say what is wrong and exit with code 1."""
    for problem in problems:
        _complain(problem)
    raise SystemExit(1)
