"""The form of a line, the levels, and what libraries say."""

import io
import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from realmserver import log


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    observer = log.LineObserver(stream)
    globalLogPublisher.addObserver(observer)
    log.set_level("info")
    yield stream
    log.set_level("info")
    globalLogPublisher.removeObserver(observer)


def messages(out: io.StringIO) -> list[str]:
    """The lines written, without their times."""
    return [line.partition(" - ")[2] or line for line in out.getvalue().splitlines()]


def failure() -> Failure:
    try:
        raise ValueError("seven\neight")
    except ValueError:
        return Failure()  # type: ignore[no-untyped-call]


def test_the_form_of_a_line() -> None:
    event = {"log_time": 1496430437.703, "log_namespace": "sync", "log_format": "hello {a}", "a": "you"}
    assert log.format_line({**event, "log_level": LogLevel.warn}) == (
        "2017-06-02T19:07:17.703Z - warn: sync: hello you\n"
    )


@given(st.text(), st.text())
def test_a_message_is_one_line_whatever_it_holds(text: str, component: str) -> None:
    line = log.format_line({"log_time": 0.0, "log_namespace": component, "log_format": "{text}", "text": text})
    assert len(line.splitlines()) == 1
    assert line.endswith("\n")
    assert line[:-1].isprintable() or not any(ord(character) < 32 for character in line[:-1])


@given(st.text(), st.text(), st.text())
def test_a_json_line_is_one_object_whatever_it_holds(text: str, component: str, user: str) -> None:
    event = {"log_time": 0.0, "log_namespace": component, "log_format": "{text} {user}", "text": text, "user": user}
    line = log.format_json(event)
    assert len(line.splitlines()) == 1
    assert line.endswith("\n")
    found = json.loads(line)
    assert (found["message"], found["user"]) == (f"{text} {user}", user)
    assert set(found) == {"time", "level", "component", "message", "user"}


def test_the_form_of_a_json_line() -> None:
    event = {
        "log_time": 1496430437.703,
        "log_namespace": "realmserver.sync",
        "log_level": LogLevel.warn,
        "log_format": "{connection}: error {code} sent",
        "connection": "c0ffee",
        "code": 212,
        "secret": object(),
    }
    assert json.loads(log.format_json(event)) == {
        "time": "2017-06-02T19:07:17.703Z",
        "level": "warn",
        "component": "sync",
        "message": "c0ffee: error 212 sent",
        "connection": "c0ffee",
        "code": 212,
    }


def test_a_json_line_has_the_traceback_of_a_fault_of_ours() -> None:
    event = {"log_time": 0.0, "log_level": LogLevel.error, "log_format": "failed", "log_failure": failure()}
    found = json.loads(log.format_json(event))
    assert found["message"] == "failed: ValueError: seven\neight"
    assert found["traceback"].startswith("Traceback (most recent call last):\n")


def test_json_lines_go_where_lines_go_and_libraries_are_among_them(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    observer = log.LineObserver(None, path, as_json=True)
    globalLogPublisher.addObserver(observer)
    log.set_level("all")
    log.route_standard_logging()
    try:
        Logger(namespace="twisted.web").info("one")
        WebSocketServerProtocol.log.warn("two")
        logging.getLogger("realmserver.realms.integrate").warning("three")
        path.rename(tmp_path / "server.log.1")
        observer.reopen()
        log.get_logger("sync").detail("four of {realm}", realm="/a\nb")
    finally:
        globalLogPublisher.removeObserver(observer)
        log.set_level("info")
    old = [json.loads(line) for line in (tmp_path / "server.log.1").read_text().splitlines()]
    assert [(line["level"], line["message"]) for line in old] == [("debug", "one"), ("warn", "two"), ("warn", "three")]
    (new,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert (new["level"], new["component"], new["realm"]) == ("detail", "sync", "/a\nb")


def test_lines_are_counted_by_level(out: io.StringIO) -> None:
    observer = log.LineObserver(out)
    for severity in (log.INFO, log.WARN, log.WARN, log.TRACE):
        observer(log.event("x", severity, "m"))
    assert dict(zip(log.LEVELS, observer.lines, strict=True)) == dict.fromkeys(log.LEVELS, 0) | {"info": 1, "warn": 2}


@pytest.mark.parametrize(("level", "shown"), [("debug", ["debug", "warn"]), ("warn", ["warn"]), ("off", [])])
def test_backups_may_have_a_level_of_their_own(out: io.StringIO, level: str, shown: list[str]) -> None:
    log.set_level(level, "backup")
    for component in ("backup", "sync"):
        logger = log.get_logger(component)
        logger.debug("m")
        logger.warn("m")
    assert messages(out) == [*(f"{each}: backup: m" for each in shown), "warn: sync: m"]
    assert log.get_logger("backup").is_on(log.DEBUG) == (level == "debug")
    log.set_level("error")
    log.get_logger("backup").warn("the level of all is the level of backups, too, until they are given one")
    assert len(messages(out)) == len(shown) + 1


def test_backups_may_have_a_file_of_their_own(tmp_path: Path) -> None:
    apart, path = tmp_path / "backup.log", tmp_path / "server.log"
    observer = log.LineObserver(None, path, apart=log.LineObserver(None, apart))
    observer(log.event("backup", log.WARN, "one"))
    observer(log.event("sync", log.WARN, "two"))
    apart.rename(tmp_path / "backup.log.1")
    observer.reopen()
    observer(log.event("backup", log.INFO, "three"))
    assert (tmp_path / "backup.log.1").read_text().endswith(" - warn: backup: one\n")
    assert path.read_text().endswith(" - warn: sync: two\n")
    assert apart.read_text().endswith(" - info: backup: three\n")
    assert [path.read_text().count("\n"), apart.read_text().count("\n")] == [1, 1]
    assert (observer.lines[log.WARN], observer.lines[log.INFO]) == (2, 1)
    apart.unlink()
    apart.mkdir()
    with pytest.raises(OSError, match="directory"):
        observer.reopen()
    assert observer.problem == "the log file cannot be opened anew: Is a directory"


def test_a_very_long_message_is_cut(out: io.StringIO) -> None:
    log.get_logger("sync").info("x" * 100_000)
    assert len(out.getvalue()) < 2 * log.MAX_MESSAGE
    assert out.getvalue().endswith("… (100000 characters)\n")


def test_braces_in_a_text_without_values_stand_for_themselves(out: io.StringIO) -> None:
    log.get_logger("sync").info("a {brace} and {")
    log.get_logger("sync").info("{a}: {b!r}", a=1, b="{c}")
    assert messages(out) == ["info: sync: a {brace} and {", "info: sync: 1: '{c}'"]


@pytest.mark.parametrize("level", log.LEVELS)
def test_a_level_shows_itself_and_everything_more_severe(out: io.StringIO, level: str) -> None:
    log.set_level(level)
    logger = log.get_logger("x")
    names = ["trace", "debug", "detail", "info", "warn", "error", "fatal"]
    for name in names:
        getattr(logger, name)("m")
    shown = [message.partition(":")[0] for message in messages(out)]
    assert shown == [name for name in names if log.LEVELS.index(name) >= log.LEVELS.index(level)]
    assert logger.is_on(log.ERROR) == (level != "off" and level != "fatal")


def test_a_traceback_shows_for_our_own_faults_and_else_only_at_debug(out: io.StringIO) -> None:
    logger = log.get_logger("x")
    logger.warn("w", failure=failure())
    assert messages(out) == ["warn: x: w: ValueError: seven\\neight"]
    logger.error("e {n}", n=1, failure=failure())
    assert messages(out)[1] == "error: x: e 1: ValueError: seven\\neight"
    assert messages(out)[2] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in messages(out)[2:])
    out.truncate(0)
    log.set_level("debug")
    logger.warn("w", failure=failure())
    assert "Traceback" in out.getvalue()


def test_what_libraries_say_is_for_their_developers_unless_it_warns(out: io.StringIO) -> None:
    library = Logger(namespace="twisted.web")
    library.info("starting")
    library.warn("odd")
    library.failure("lost", failure())
    assert messages(out)[:2] == ["warn: twisted.web: odd", "error: twisted.web: lost: ValueError: seven\\neight"]
    assert "Traceback" in out.getvalue()
    log.set_level("debug")
    library.info("starting")
    assert messages(out)[-1] == "debug: twisted.web: starting"


def test_our_own_modules_may_use_twisteds_logger(out: io.StringIO) -> None:
    Logger(namespace="realmserver.http.app_services").info("registered")
    Logger(namespace="realmserver.http.app_services").debug("quiet")
    assert messages(out) == ["info: http.app_services: registered"]


def test_autobahns_messages_come_through_and_follow_the_level(out: io.StringIO) -> None:
    for level in ("info", "all"):
        log.set_level(level)
        WebSocketServerProtocol.log.debug("chatter")
        WebSocketServerProtocol.log.warn("odd")
    assert [message.partition(":")[0] for message in messages(out)] == ["warn", "trace", "warn"]


def test_pythons_own_logging_comes_through(out: io.StringIO) -> None:
    log.route_standard_logging()
    log.route_standard_logging()
    logging.getLogger("realmserver.realms.integrate").info("merged %d {", 3)
    logging.getLogger("library").info("quiet")
    try:
        raise KeyError("k")
    except KeyError:
        logging.getLogger("library").exception("broken")
    assert messages(out)[:2] == ["info: realms.integrate: merged 3 {", "error: library: broken: KeyError: 'k'"]
    assert "Traceback" in messages(out)[2]


def test_a_rotation_takes_no_open_stream_from_another_thread(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    observer = log.LineObserver(None, path)
    stream = observer._stream  # as a thread holds it that is about to write
    assert stream is not None
    path.rename(tmp_path / "server.log.1")
    observer.reopen()
    stream.write("line\n")
    stream.flush()
    assert path.read_text() == "line\n"


def test_a_log_file_is_private_and_can_be_rotated(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    observer = log.LineObserver(None, path)
    event = {"log_time": 0.0, "log_namespace": "x", "log_level": LogLevel.error, "log_format": "one"}
    observer(event)
    path.rename(tmp_path / "server.log.1")
    observer({**event, "log_format": "two"})
    observer.reopen()
    observer({**event, "log_format": "three"})
    assert (tmp_path / "server.log.1").read_text().count("\n") == 2
    assert path.read_text() == "1970-01-01T00:00:00.000Z - error: x: three\n"
    assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0
    path.unlink()
    tmp_path.joinpath("server.log").mkdir()
    assert observer.problem == ""
    with pytest.raises(OSError, match="directory"):
        observer.reopen()
    assert observer.problem == "the log file cannot be opened anew: Is a directory"
    observer(event)
    tmp_path.joinpath("server.log").rmdir()
    observer.reopen()
    assert observer.problem == ""


def test_a_line_is_written_though_a_value_cannot_be_shown() -> None:
    class Unspeakable:
        def __format__(self, spec: str) -> str:
            raise ValueError("no text")

        __str__ = __repr__ = object.__repr__

    event = {**log.event("sync", log.INFO, ""), "log_format": "before {value} after", "value": Unspeakable()}
    assert "Unable to format event" in log.format_line(event)
