"""The server's life as one service: ports first, then the user it runs as, then the data; and the way back.

What this module keeps true: a start succeeds as a whole or ends with one line that says why; nothing is accepted before
everything is wired, and nothing is opened that a fork or a change of user (twistd does both) would break; a stop closes
the ports first and then gives clients and commits their time. It knows no rooms: :class:`Parts` is how ``wiring``
hands them over. Follows ``spec/http-api.md`` 6.1.
"""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Final, NoReturn, Protocol

from attrs import frozen
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import ILogObserver
from twisted.python.components import Componentized

from realmserver import log
from realmserver._build import BUILD
from realmserver._version import __version__
from realmserver.net.admission import Admission
from realmserver.net.listeners import CannotListen, Listener
from realmserver.process.memory import look_for_garbage_seldom
from realmserver.process.screen import announcement, complain, say
from realmserver.process.supervisor import Supervisor

SWITCH_INTERVAL: Final = 0.00005
"""Seconds for which a thread that computes keeps the interpreter when another wants it. Python's own 5 ms are paid by
the reactor's thread at each look at a socket, several times for each message, while some thread merges a large upload.
A thread that computes pays for the changes, but only while others wait."""

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

logger = log.get_logger("server")


class CannotStart(Exception):
    """The server cannot start as it is configured; the text is one line that names the file and the cure."""


class Reloadable(Protocol):
    """Something read from files that can be read anew while the server runs."""

    def reload(self) -> None:
        """Read it anew. Raises :class:`CannotReload`; what was there before then stays."""


class CannotReload(Exception):
    """The text names the file and what is wrong with it."""


@frozen
class Parts:
    """The rooms, wired. ``services`` are started in their order; ``sites`` has one site for each listener's section;
    ``files`` and ``warnings`` are for the screen, ``notices`` for the log; ``running`` is told True once everything
    runs, and False when the stop begins; ``close`` is called when all services have stopped. ``admission`` says how
    many connections there may be, None without a limit; ``reloadables`` are read anew on SIGHUP, too."""

    services: Sequence[IService]
    sites: Mapping[str, IProtocolFactory]
    files: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    notices: Sequence[str]
    running: Callable[[bool], None]
    close: Callable[[], None]
    admission: Admission | None = None
    reloadables: Sequence[Reloadable] = ()


class StartFailed(SystemExit, Exception):
    """The server cannot start, which has been said. To twistd it is an Exception: it tells the waiting parent of a
    daemon and removes its PID file. To Python it is an exit with code 1 and no traceback."""

    def __init__(self, text: str) -> None:
        super().__init__(1)
        self.text: str = text

    def __str__(self) -> str:
        return self.text


class Server(MultiService):
    """The whole server.

    ``listeners`` are opened as the user that started the process; ``wire`` is called after that, as the user that the
    server runs as, and may raise :class:`CannotStart` or OSError; ``reloadables`` are read anew on SIGHUP.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        wire: Callable[[], Parts],
        reloadables: Sequence[Reloadable],
        observer: log.LineObserver,
        supervisor: Supervisor,
        reactor: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._listeners = listeners
        self._wire = wire
        self._reloadables = reloadables
        self._observer = observer
        self._supervisor = supervisor
        self._reactor = reactor
        self._parts: Parts | None = None
        self._stopping = False

    def setServiceParent(self, parent: Any) -> None:
        """twistd puts the server into its application here: the moment to say where the log goes."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)  # type: ignore[no-untyped-call]
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """Open all ports; twistd changes the user after this. Raises :class:`StartFailed`."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            for each in self._listeners:
                each.privilegedStartService()
        except CannotListen as error:
            self._fail(str(error))

    def startService(self) -> None:
        """Wire the rooms and let the ports serve. Raises :class:`StartFailed`."""
        try:
            parts = self._parts = self._wire()
        except CannotStart as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(f"{error.filename or 'the system'}: {error.strerror or error}")
        sys.setswitchinterval(SWITCH_INTERVAL)
        watchdog = self._supervisor.watchdog(self._reactor)
        for service in (*parts.services, *((watchdog,) if watchdog is not None else ())):
            self.addService(service)  # type: ignore[no-untyped-call]
        try:
            super().startService()  # type: ignore[no-untyped-call]
        except OSError as error:  # a process of ours that cannot be started
            self._fail(f"{error.filename or 'the system'}: {error.strerror or error}")
        for each in self._listeners:
            each.serve(parts.sites[each.section], parts.admission)
        self._reactor.callWhenRunning(self._running, parts)

    def stopService(self) -> Deferred[None]:
        """Close the ports, then stop everything that was started, and say so."""
        if self._parts is not None:
            self._parts.running(False)
        self._supervisor.stopping()
        return Deferred.fromCoroutine(self._stop_all())

    async def _stop_all(self) -> None:
        for listener in self._listeners:
            await maybeDeferred(listener.stopService)
        await maybeDeferred(super().stopService)
        if self._parts is not None:
            self._parts.close()
        logger.info("stopped")
        if self._has_screen():
            say("Stopped.")

    def _running(self, parts: Parts) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop_on_signal)
        signal.signal(signal.SIGHUP, self._reload_on_signal)
        look_for_garbage_seldom()
        if self._has_screen():
            say(announcement(self._listeners, parts.files, self._observer.path, parts.warnings))
        if not self._observer.is_for_eyes:  # else the announcement, which says it, stands right there
            logger.info(
                "version {version} ({build}), log level {threshold}",
                version=__version__,
                build=BUILD,
                threshold=log.level(),
            )
            for each in self._listeners:
                logger.info("{section} listening on {where}", section=each.section, where=each.where)
            for warning in parts.warnings:
                logger.warn(warning)
        for notice in parts.notices:
            logger.info(notice)
        parts.running(True)
        self._supervisor.ready(self._status())
        logger.info("ready")

    def _has_screen(self) -> bool:
        """Whether the standard output is for people: it is not where programs read the log from it."""
        return self._observer.is_for_eyes or self._observer.path is not None

    def _status(self) -> str:
        return "Listening on " + ", ".join(str(each.port) for each in self._listeners)

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

    def _reload_on_signal(self, _: int, __: FrameType | None) -> None:
        self._reactor.callFromThread(self._reload)

    def _reload(self) -> None:
        """Begin a new log file, read certificates anew. What fails stays as it was; the log says so."""
        self._supervisor.reloading()
        try:
            self._observer.reopen()
        except OSError as error:
            logger.error("the log file cannot be opened anew: {cause}", cause=error.strerror)
        parts = self._parts.reloadables if self._parts is not None else ()
        for reloadable in (*self._reloadables, *parts):
            try:
                reloadable.reload()
            except CannotReload as error:
                logger.error("not reloaded, the old one stays in use: {cause}", cause=str(error))
        logger.info("reloaded on SIGHUP")
        self._supervisor.ready(self._status())

    def _fail(self, text: str) -> NoReturn:
        if self._observer.path is not None:
            logger.fatal(text)
        complain(text)
        raise StartFailed(text)
