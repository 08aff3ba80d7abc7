"""The server as twistd sees it: its options, and the service that they make. The only module that imports the reactor.

What is wrong with the options or the configuration ends here with exit code 1. What a server consists of is in
``wiring``, what happens when in ``process``. Follows ``spec/http-api.md`` 6.1.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

from attrs import evolve, frozen
from twisted.python import usage

from realmserver import log
from realmserver._build import BUILD, complaint
from realmserver._version import __version__
from realmserver.auth.certificates import CertificateFileError
from realmserver.config.check import listeners
from realmserver.config.load import ConfigurationError, load
from realmserver.config.load import Options as ConfigurationOptions
from realmserver.config.machine import this_machine
from realmserver.config.model import Configuration, ProxyHttps
from realmserver.config.problem import Problem, render
from realmserver.http.health import CertificateDate, Health
from realmserver.metrics import Metrics
from realmserver.net.listeners import Listener
from realmserver.net.tls import ServerTls
from realmserver.process.privileges import RootRefused, check_user, hand_over
from realmserver.process.screen import complain
from realmserver.process.server import CannotReload, Server
from realmserver.process.supervisor import Supervisor
from realmserver.wiring import wire


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
        print(f"realm-object-server {__version__} ({BUILD})")
        raise SystemExit(0)


def makeService(options: Options) -> Server:
    """The server for these options. Where they or the configuration are wrong, says so and raises SystemExit(1)."""
    from twisted.internet import reactor

    twistd: Mapping[str, Any] = options.parent if options.parent is not None else {}
    if foreign := complaint():
        _give_up(foreign)
    try:
        if not options["check-configuration"]:
            check_user(os.geteuid(), twistd.get("uid"), allow_root=bool(options["allow-root"]))
    except RootRefused as error:
        _give_up(str(error))
    configuration = _configuration(options)
    log.set_level(configuration.logging.level)
    if configuration.backup.logging.level is not None:
        log.set_level(configuration.backup.logging.level, "backup")
    log.route_standard_logging()
    observer = _observer(configuration, twistd)
    metrics, health = Metrics(), Health(time.time, [lambda now: observer.problem])
    metrics.watch_log(observer.lines, log.LEVELS)
    https = configuration.proxy.https
    certificate = Certificate(https, metrics) if https.enable else None
    if certificate is not None:
        health.add(CertificateDate(lambda: certificate.tls.expires.timestamp()))
    ports = [
        Listener(reactor, section, address, port, certificate.tls if certificate and section == "proxy.https" else None)
        for section, address, port in listeners(configuration)
    ]
    return Server(
        ports,
        # Other processes write to the same log, whoever has said where that is.
        lambda: wire(
            evolve(configuration, logging=evolve(configuration.logging, path=observer.path)), metrics, health, reactor
        ),
        [certificate] if certificate is not None else [],
        observer,
        Supervisor(os.environ, time.monotonic),
        reactor,
    )


class Certificate:
    """The certificate of the HTTPS port, which is read anew on SIGHUP."""

    def __init__(self, https: ProxyHttps, metrics: Metrics) -> None:
        assert https.certificate_path is not None, "the configuration has been checked"
        assert https.private_key_path is not None, "the configuration has been checked"
        try:
            self.tls = ServerTls(https.certificate_path, https.private_key_path, datetime.now(UTC))
        except CertificateFileError as error:  # it has been checked, too; but files may change at any time
            _give_up(f"proxy.https: {error}")
        self._metrics = metrics
        self._metrics.certificate_expires(self.tls.expires.timestamp())

    def reload(self) -> None:
        """Read both files. Raises :class:`CannotReload`."""
        try:
            self.tls.reload(datetime.now(UTC))
        except CertificateFileError as error:
            raise CannotReload(str(error)) from error
        self._metrics.certificate_expires(self.tls.expires.timestamp())


def _configuration(options: Options) -> Configuration:
    """The configuration, checked. If that is all that was asked for, the process ends here."""
    checked_only = options["check-configuration"]
    machine = this_machine(datetime.now(UTC), is_only_check=bool(checked_only))
    given = ConfigurationOptions(
        options["root"], options["public-key"], options["private-key"], options["default-root"]
    )
    try:
        configuration = load(checked_only or options["configuration"], given, machine)
    except ConfigurationError as error:
        if error.log_path is not None and not checked_only:
            _log_problems(error.log_path, error.problems)
        for problem in error.problems:
            print(render(problem, colour=sys.stderr.isatty()), file=sys.stderr)
        raise SystemExit(1) from error
    if checked_only:
        for notice in configuration.notices:
            print(f"note: {notice}")
        print(f"{checked_only}: the configuration is valid")
        raise SystemExit(0)
    return configuration


def _observer(configuration: Configuration, twistd: Mapping[str, Any]) -> log.LineObserver:
    """What writes the log, opened now, as whoever started the process."""
    path, backup = configuration.logging.path or _twistd_log(twistd), configuration.backup
    apart = None
    if backup.enable and backup.logging.path not in (None, path):
        apart = _opened("backup.logging.path", configuration, twistd, backup.logging.path)
    return _opened("logging.path", configuration, twistd, path, apart)


def _opened(
    key: str,
    configuration: Configuration,
    twistd: Mapping[str, Any],
    path: Path | None,
    apart: log.LineObserver | None = None,
) -> log.LineObserver:
    """One file of the log, or the standard output; ``key`` is where the configuration names it."""
    try:
        observer = log.LineObserver(sys.stdout, path, as_json=configuration.logging.format == "json", apart=apart)
        if path is not None:
            hand_over(path, twistd.get("uid"))
    except OSError as error:
        _give_up(f"{key}: cannot open {path}: {error.strerror}")
    return observer


def _log_problems(path: Path, problems: Sequence[Problem]) -> None:
    """Put what is wrong with the configuration into the log that it names; Twisted's own logger has not begun yet."""
    try:
        observer = log.LineObserver(None, path)
    except OSError:
        return  # that is one of the problems, and the standard error tells it
    for problem in problems:
        observer(log.event("server", log.FATAL, problem.headline))


def _twistd_log(twistd: Mapping[str, Any]) -> Path | None:
    """The log file of twistd: what ``--logfile`` names, or as a daemon its usual one; None where it is the screen."""
    if not twistd or twistd["logfile"] == "-":
        return None
    name = twistd["logfile"] or (None if twistd["nodaemon"] else "twistd.log")
    return Path(name).absolute() if name is not None else None


def _give_up(*problems: str) -> NoReturn:
    """Say what is wrong and exit with code 1."""
    for problem in problems:
        complain(problem)
    raise SystemExit(1)
