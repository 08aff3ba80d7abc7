"""The server's log: one form of line, nine levels, one way for every library's messages.

A line is ``2017-06-02T19:07:17.703Z - info: component: message``; what belongs to it on further lines (a traceback) is
indented. Or it is one JSON object with the same as ``time``, ``level``, ``component``, ``message`` and ``traceback``,
and with the values that the message was made of, where programs look for them (``FIELDS``). No message can break either
form: control characters in it are escaped. The levels and their order are those of ``spec/http-api.md`` 6.2, and mean:

- ``error``, ``fatal``: a fault of ours or of the machine, for the operator to see to;
- ``warn``: an error that a client was sent or has reported, with its number, the peer, the user and the Realm;
- ``info``: what operators want to know: start, stop, connections, log-ins;
- ``detail``: one line for each sync transaction, an upload that is durable or a DOWNLOAD that is sent;
- ``debug``: sessions that come and go, HTTP requests, what libraries have to say;
- ``trace``: each protocol message, its first line only, and the states of sessions.

Whoever writes to the log asks :func:`get_logger` for a :class:`Log`; it rides on Twisted's
logger, which also brings what Twisted, autobahn (by way of txaio) and Python's own ``logging`` and ``warnings`` say.
This module knows no configuration file.
"""

import json
import logging
import os
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TextIO

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from twisted.python.failure import Failure
from txaio import tx
from zope.interface import implementer

LEVELS: Final = ("all", "trace", "debug", "detail", "info", "warn", "error", "fatal", "off")
TRACE, DEBUG, DETAIL, INFO, WARN, ERROR, FATAL = range(1, 8)

MAX_MESSAGE: Final = 8000
"""Characters of one message: what a peer sent may be part of it, and a log is not the place for all of that."""

LOG_FILE_MODE: Final = 0o640
"""Lines name users and addresses: the service's group may read them, others not."""

FIELDS: Final = (
    "connection",
    "session",
    "realm",
    "user",
    "peer",
    "code",
    "close_code",
    "ending",
    "client_file",
    "changesets",
    "bytes",
    "version",
    "merged",
    "protocol",
    "app",
    "request_id",
    "method",
    "path",
    "status",
)
"""Values of a message that the JSON form shows by these names, too, and their order. Whoever writes to the log calls
the same thing by the same name: ``connection`` is a connection's id, ``session`` the number of a session on it,
``realm`` a Realm's name, ``user`` a user id, ``peer`` an address, ``code`` the number of a sync error, ``version`` a
server version."""

_SEVERITY: Final = "realm_severity"
"""The field of an event that holds our level; Twisted has five levels only."""

_FOREIGN: Final = {
    LogLevel.debug: TRACE,
    LogLevel.info: DEBUG,
    LogLevel.warn: WARN,
    LogLevel.error: ERROR,
    LogLevel.critical: ERROR,
}
"""Libraries tell at ``info`` what only their developers want to know; an operator reads it at ``debug``."""

_OWN: Final = {**_FOREIGN, LogLevel.debug: DEBUG, LogLevel.info: INFO}
"""Our own modules may use Twisted's logger, too."""

_STANDARD: Final = (
    (logging.CRITICAL, FATAL),
    (logging.ERROR, ERROR),
    (logging.WARNING, WARN),
    (logging.INFO, INFO),
    (logging.DEBUG, DEBUG),
)
_DEMOTED: Final = {INFO: DEBUG, DEBUG: TRACE, FATAL: ERROR}
"""The same for libraries that use Python's ``logging``."""

OURS: Final = "realmserver."
"""Begins the names of this server's own modules; lines leave it out."""

_CARRIERS: Final = {
    TRACE: LogLevel.debug,
    DEBUG: LogLevel.debug,
    DETAIL: LogLevel.info,
    INFO: LogLevel.info,
    WARN: LogLevel.warn,
    ERROR: LogLevel.error,
    FATAL: LogLevel.critical,
}

_ESCAPES: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    9: "\\t",
    10: "\\n",
    13: "\\r",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


APART: Final = frozenset({"backup"})
"""Components that may have a level and a file of their own (``spec/http-api.md`` 6.2)."""


class _Threshold:
    """The level from which on lines are written; what lies below costs one comparison."""

    def __init__(self) -> None:
        self.value: int = INFO


_GENERAL: Final = _Threshold()
_OWN_THRESHOLDS: Final = {component: _Threshold() for component in APART}


def _threshold_of(component: str) -> _Threshold:
    return _OWN_THRESHOLDS.get(component, _GENERAL)


class Log:
    """Writes to the log for one component.

    With values by name the text is a format (``log.info("bound {realm}", realm=name)``), filled in only if the line is
    written; without them it is taken as it stands. ``failure=`` (a Twisted Failure) adds what was raised: its traceback
    shows at ``error`` and ``fatal``, which mean a fault of ours, and below them only if the log's level is ``debug`` or
    lower.
    """

    __slots__ = ("_logger", "_threshold")

    def __init__(self, component: str) -> None:
        self._logger = Logger(namespace=component)
        self._threshold = _threshold_of(component)

    def is_on(self, severity: int) -> bool:
        """Whether a line of this level (``TRACE`` to ``FATAL``) would be written: for values dear to compute."""
        return severity >= self._threshold.value

    def trace(self, text: str, **values: Any) -> None:
        self._write(TRACE, text, values)

    def debug(self, text: str, **values: Any) -> None:
        self._write(DEBUG, text, values)

    def detail(self, text: str, **values: Any) -> None:
        self._write(DETAIL, text, values)

    def info(self, text: str, **values: Any) -> None:
        self._write(INFO, text, values)

    def warn(self, text: str, **values: Any) -> None:
        self._write(WARN, text, values)

    def error(self, text: str, **values: Any) -> None:
        self._write(ERROR, text, values)

    def fatal(self, text: str, **values: Any) -> None:
        self._write(FATAL, text, values)

    def _write(self, severity: int, text: str, values: dict[str, Any]) -> None:
        if severity < self._threshold.value:
            return
        failure: Failure | None = values.pop("failure", None)
        if not values:
            text, values = "{text}", {"text": text}
        if failure is not None:
            values["log_failure"] = failure
        values[_SEVERITY] = severity
        self._logger.emit(_CARRIERS[severity], text, **values)


def get_logger(component: str) -> Log:
    """The log of a component; its name (``sync``, ``store.lmdb`` …) stands in every line."""
    return Log(component)


def event(component: str, severity: int, text: str) -> LogEvent:
    """An event of now for an observer that is called without a logger. ``severity`` is ``FATAL``, ``ERROR`` …"""
    return {
        "log_time": time.time(),
        "log_namespace": component,
        "log_level": _CARRIERS[severity],
        "log_format": "{text}",
        "text": text,
        _SEVERITY: severity,
    }


def set_level(level: str, component: str | None = None) -> None:
    """Write lines of ``level`` (one of ``LEVELS``) and above; ``off`` writes none. For all components, or for one of
    ``APART``."""
    value = LEVELS.index(level)
    if component is not None:
        _OWN_THRESHOLDS[component].value = value
        return
    for threshold in (_GENERAL, *_OWN_THRESHOLDS.values()):
        threshold.value = value
    # autobahn then drops what is below this before it builds the message.
    tx.set_global_log_level("debug" if value <= TRACE else "info")  # type: ignore[no-untyped-call]


def level() -> str:
    """The level from which on lines are written, of most components."""
    return LEVELS[_GENERAL.value]


def severity_of(event: LogEvent) -> int:
    """Our level of an event, whoever made it."""
    severity = event.get(_SEVERITY)
    if isinstance(severity, int):
        return severity
    component = str(event.get("log_namespace", ""))
    if component == "stdout":  # a print() somewhere: meant to be read
        return INFO
    levels = _OWN if component.startswith(OURS) else _FOREIGN
    return levels.get(event.get("log_level", LogLevel.info), INFO)


def format_line(event: LogEvent) -> str:
    """The event as it stands in the log, with its newline."""
    severity, message, traceback = _told(event)
    component = _one_line(_component(event))
    trace = "".join(f"    {line.translate(_ESCAPES)}\n" for line in traceback)
    return f"{_stamp(event)} - {LEVELS[severity]}: {component}: {_one_line(message)}\n{trace}"


def format_json(event: LogEvent) -> str:
    """The event as one JSON object, with its newline. All of it is ASCII: whatever a peer sent, it is one line."""
    severity, message, traceback = _told(event)
    found: dict[str, object] = {
        "time": _stamp(event),
        "level": LEVELS[severity],
        "component": _cut(_component(event)),
        "message": _cut(message),
    }
    for name in FIELDS:
        value = event.get(name)
        if value is not None:
            found[name] = value if isinstance(value, int) else _cut(str(value))
    if traceback:
        found["traceback"] = "\n".join(traceback)
    return json.dumps(found) + "\n"


def _told(event: LogEvent) -> tuple[int, str, list[str]]:
    """Level, message and the lines of a traceback, as they were given."""
    severity = severity_of(event)
    message = _message(event)
    failure = event.get("log_failure")
    if not isinstance(failure, Failure):
        return severity, message, []
    cause = f"{failure.type.__name__ if failure.type else 'error'}: {failure.getErrorMessage()}"
    shows = severity >= ERROR or _threshold_of(_component(event)).value <= DEBUG
    traceback: list[str] = failure.getTraceback().splitlines() if shows else []
    return severity, f"{message}: {cause}" if message else cause, traceback


def _message(event: LogEvent) -> str:
    """The text with its values. Ours are plain formats; Twisted's own way with them takes ten times as long, and knows
    what to do with those of others, and with values that cannot be shown."""
    if _SEVERITY in event:
        with suppress(Exception):  # whatever a value's own text raises, the line is to be written
            return str(event["log_format"]).format_map(event)
    return formatEvent(event)


def _stamp(event: LogEvent) -> str:
    seconds, rest = divmod(event.get("log_time", 0.0), 1)
    return f"{_second(int(seconds))}.{int(rest * 1000):03}Z"


@lru_cache(2)
def _second(time: int) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%S}"


def _component(event: LogEvent) -> str:
    return str(event.get("log_namespace", "-")).removeprefix(OURS)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}… ({len(text)} characters)"


def _one_line(text: str) -> str:
    cut = _cut(text)
    return cut if cut.isprintable() else cut.translate(_ESCAPES)


@implementer(ILogObserver)
class LineObserver:
    """Writes the events of Twisted's logger to a stream, or to a file that can be rotated under it.

    ``as_json``: in the form of :func:`format_json`. ``apart`` is given the lines of the components in ``APART``, if
    they have a file of their own. ``lines`` counts what was written, there as well, by severity. ``is_for_eyes``: what
    is written stands on the screen, as text, where other text may stand as well.
    """

    def __init__(
        self,
        stream: TextIO | None,
        path: Path | None = None,
        *,
        as_json: bool = False,
        apart: "LineObserver | None" = None,
    ) -> None:
        self.path: Path | None = path
        self.lines: list[int] = [0] * len(LEVELS)
        self.is_for_eyes: bool = path is None and not as_json
        self._problem = ""
        self._format = format_json if as_json else format_line
        self._lock = threading.RLock()  # a warning that is raised while a line is written is logged, too
        self._apart = apart
        if apart is not None:
            apart.lines, apart._lock = self.lines, self._lock  # they count together
        self._stream = (
            stream if path is None else os.fdopen(_open(path), "w", encoding="utf-8", errors="backslashreplace")
        )

    @property
    def problem(self) -> str:
        """What is wrong with a file of the log, until it is right again."""
        return self._problem or (self._apart.problem if self._apart is not None else "")

    def __call__(self, event: LogEvent) -> None:
        severity, component = severity_of(event), _component(event)
        if self._apart is not None and component in APART:
            self._apart(event)
            return
        if self._stream is None or severity < _threshold_of(component).value:
            return
        line = self._format(event)
        with self._lock:  # any thread may log
            self.lines[severity] += 1
            self._stream.write(line)
            self._stream.flush()

    def reopen(self) -> None:
        """Begin new files where the old ones were moved away (logrotate). Raises OSError, the old one then stays, and
        ``problem`` says so until it works.
        """
        try:
            self._reopen()
        finally:
            if self._apart is not None:
                self._apart.reopen()

    def _reopen(self) -> None:
        """The file is exchanged under the open stream: other threads may be writing to it at this moment."""
        if self.path is not None and self._stream is not None:
            try:
                fresh = _open(self.path)
            except OSError as error:
                self._problem = f"the log file cannot be opened anew: {error.strerror}"
                raise
            self._problem = ""
            try:
                os.dup2(fresh, self._stream.fileno(), inheritable=False)
            finally:
                os.close(fresh)


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, LOG_FILE_MODE)


class _Forward(logging.Handler):
    """Passes on what libraries write with Python's ``logging``; realms and stores, which know no Twisted, do so too."""

    def emit(self, record: logging.LogRecord) -> None:
        severity = next((ours for least, ours in _STANDARD if record.levelno >= least), TRACE)
        if not record.name.startswith(OURS):
            severity = _DEMOTED.get(severity, severity)
        error = record.exc_info[1] if record.exc_info else None
        failure = {"failure": Failure(error)} if error is not None else {}  # type: ignore[no-untyped-call]
        get_logger(record.name)._write(severity, record.getMessage(), failure)


def route_standard_logging() -> None:
    """Bring Python's ``logging`` here. Its ``warnings`` come with Twisted's logger once that is begun."""
    root = logging.getLogger()
    if not any(isinstance(handler, _Forward) for handler in root.handlers):
        root.addHandler(_Forward())
    root.setLevel(logging.DEBUG if _GENERAL.value <= TRACE else logging.INFO)
    logging.getLogger(OURS.rstrip(".")).setLevel(logging.DEBUG)
