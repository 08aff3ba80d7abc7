"""The server's log: one form of line, nine levels, one way for every library's messages.

A line is ``2017-06-02T19:07:17.703Z - info: component: message``; what belongs to it on further lines (a traceback) is
indented. No message can break that form: control characters in it are escaped. The levels and their order are those of
``spec/http-api.md`` 6.2. Whoever writes to the log asks :func:`get_logger` for a :class:`Log`; it rides on Twisted's
logger, which also brings what Twisted, autobahn (by way of txaio) and Python's own ``logging`` and ``warnings`` say.
This module knows no configuration file.
"""

import logging
import os
import time
from datetime import UTC, datetime
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


class _Threshold:
    """The level from which on lines are written; what lies below costs one comparison."""

    value: int = INFO


class Log:
    """Writes to the log for one component.

    With values by name the text is a format (``log.info("bound {realm}", realm=name)``), filled in only if the line is
    written; without them it is taken as it stands. ``failure=`` (a Twisted Failure) adds what was raised: its traceback
    shows at ``error`` and ``fatal``, which mean a fault of ours, and below them only if the log's level is ``debug`` or
    lower.
    """

    __slots__ = ("_logger",)

    def __init__(self, component: str) -> None:
        self._logger = Logger(namespace=component)

    def is_on(self, severity: int) -> bool:
        """Whether a line of this level (``TRACE`` to ``FATAL``) would be written: for values dear to compute."""
        return severity >= _Threshold.value

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
        if severity < _Threshold.value:
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


def set_level(level: str) -> None:
    """Write lines of ``level`` (one of ``LEVELS``) and above; ``off`` writes none."""
    _Threshold.value = LEVELS.index(level)
    # autobahn then drops what is below this before it builds the message.
    tx.set_global_log_level(  # type: ignore[no-untyped-call]
        "debug" if _Threshold.value <= TRACE else "info"
    )


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
    severity = severity_of(event)
    when = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    message = _one_line(formatEvent(event))
    failure = event.get("log_failure")
    trace = ""
    if isinstance(failure, Failure):
        cause = _one_line(f"{failure.type.__name__ if failure.type else 'error'}: {failure.getErrorMessage()}")
        message = f"{message}: {cause}" if message else cause
        if severity >= ERROR or _Threshold.value <= DEBUG:
            trace = "".join(f"    {line.translate(_ESCAPES)}\n" for line in failure.getTraceback().splitlines())
    component = _one_line(str(event.get("log_namespace", "-"))).removeprefix(OURS)
    stamp = f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03}Z"
    return f"{stamp} - {LEVELS[severity]}: {component}: {message}\n{trace}"


def _one_line(text: str) -> str:
    if len(text) > MAX_MESSAGE:
        text = f"{text[:MAX_MESSAGE]}… ({len(text)} characters)"
    return text.translate(_ESCAPES)


@implementer(ILogObserver)
class LineObserver:
    """Writes the events of Twisted's logger to a stream, or to a file that can be rotated under it."""

    def __init__(self, stream: TextIO | None, path: Path | None = None) -> None:
        self.path: Path | None = path
        self._stream = (
            stream if path is None else os.fdopen(_open(path), "w", encoding="utf-8", errors="backslashreplace")
        )

    def __call__(self, event: LogEvent) -> None:
        if self._stream is None or severity_of(event) < _Threshold.value:
            return
        self._stream.write(format_line(event))
        self._stream.flush()

    def reopen(self) -> None:
        """Begin a new file where the old one was moved away (logrotate). Raises OSError, the old one then stays.

        The file is exchanged under the open stream: other threads may be writing to it at this moment.
        """
        if self.path is not None and self._stream is not None:
            fresh = _open(self.path)
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
    root.setLevel(logging.DEBUG if _Threshold.value <= TRACE else logging.INFO)
    logging.getLogger(OURS.rstrip(".")).setLevel(logging.DEBUG)
