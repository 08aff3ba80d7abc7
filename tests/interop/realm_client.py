"""One device that runs the real Realm SDK core, as a process that obeys commands (``driver/src/RealmClient.java``).

Nothing here waits for ever: each command has a deadline, and a client that misses it is killed. What went wrong is
raised together with the end of the client's own log.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from realm_driver import client_command

Json = Any
"""What ``json.loads`` gives: the driver's values, see ``driver/src/Values.java``."""

ANSWER_SECONDS: Final = 60.0
"""For commands that wait for nobody; starting the JVM on a busy machine is the slowest part."""

SYNC_SECONDS: Final = 60.0
"""For uploads and downloads to complete."""

LOG_LINES: Final = 60
LOG_LEVEL: Final = os.environ.get("REALM_CLIENT_LOG", "4")
"""Core's level, 0 (everything) to 8 (nothing); 4 is "info"."""


class ClientError(Exception):
    """The SDK refused a command.

    Attributes:
        error: the driver's or the SDK's message; "timeout" where a wait ran out.
        detail: the SDK's error object as JSON, or None.
    """

    def __init__(self, message: str, error: str, detail: Json = None) -> None:
        super().__init__(message)
        self.error = error
        self.detail = detail


class ClientDied(Exception):
    """The process ended or did not answer in time (then it was killed)."""


class RealmClient:
    """A running client; see ``driver/src/RealmClient.java`` for the commands."""

    def __init__(
        self, version: str, url: str, directory: Path, schema: Path, *, app: str, name: str, resync: str = "manual"
    ) -> None:
        """Starts the process; it answers as soon as it is up.

        Args:
            version: one of ``realm_driver.VERSIONS``.
            url: base URL of the server's App Services API.
            directory: the device's own files; given again, the device comes back.
            schema: file with the classes as JSON (``driver/src/Schema.java``).
            app: the application's id at the server.
            name: how the device is called in logs.
            resync: what the SDK does when told to reset: manual, discard, recover or recover_or_discard.
        """
        self.version = version
        self.name = name
        directory.mkdir(parents=True, exist_ok=True)
        self.log_path = directory / "client.log"
        options = {
            "url": url,
            "app": app,
            "dir": directory / "files",
            "schema": schema,
            "name": name,
            "log": LOG_LEVEL,
            "resync": resync,
        }
        words = [str(word) for option, value in options.items() for word in (f"--{option}", value)]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*client_command(version), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._answers: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name=f"answers of {name}", daemon=True)
        self._reader.start()
        self._pending: list[tuple[object, ...]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.quit()

    def __repr__(self) -> str:
        return f"<{self.name}, SDK {self.version}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def send(self, *words: object) -> None:
        """Starts a command; ``recv`` gives its result. Commands of one client are done in order."""
        assert self._process.stdin is not None
        self._pending.append(words)
        try:
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._dead("ended") from None

    def recv(self, timeout: float = ANSWER_SECONDS) -> Json:
        """The result of the oldest command without one.

        Args:
            timeout: seconds.

        Raises:
            ClientError: the command failed.
            ClientDied: no answer.
        """
        try:
            line = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise self._dead(f"no answer within {timeout:g} s to") from None
        if not line:
            raise self._dead("ended during")
        answer = json.loads(line)
        words = self._pending.pop(0)
        if not answer["ok"]:
            detail = answer.get("detail")
            message = (
                f"{self}: {_short(words)}: {answer['error']} {json.dumps(detail) if detail else ''}\n{self.log_tail()}"
            )
            raise ClientError(message, answer["error"], detail)
        return answer.get("result")

    def cmd(self, *words: object, timeout: float = ANSWER_SECONDS) -> Json:
        """Sends one command and gives its result. Raises as ``recv``."""
        assert not self._pending, f"{self}: a result was not fetched: {self._pending}"
        self.send(*words)
        return self.recv(timeout)

    def _dead(self, how: str) -> ClientDied:
        self.kill()
        words = _short(self._pending[0]) if self._pending else "start"
        return ClientDied(f"{self}: {how} {words}; exit status {self._process.returncode}\n{self.log_tail()}")

    # What tests do often.

    def dump(self) -> Json:
        """All objects: ``{class: {key as JSON: object}}``."""
        return self.cmd("dump")

    def wait_upload(self, seconds: float = SYNC_SECONDS) -> None:
        """Returns when the server has acknowledged every local change. Raises ``ClientError`` "timeout"."""
        self.cmd("wait_upload", round(seconds * 1000), timeout=seconds + ANSWER_SECONDS)

    def wait_download(self, seconds: float = SYNC_SECONDS) -> None:
        """Returns when everything that the server had is here. Raises ``ClientError`` "timeout"."""
        self.cmd("wait_download", round(seconds * 1000), timeout=seconds + ANSWER_SECONDS)

    def wait_errors(self, count: int, seconds: float = SYNC_SECONDS) -> Json:
        """The errors told to the application, once there are ``count``. Raises ``ClientError`` "timeout"."""
        self.cmd("wait_errors", count, round(seconds * 1000), timeout=seconds + ANSWER_SECONDS)
        return self.cmd("errors")

    def log_tail(self, lines: int = LOG_LINES) -> str:
        """The end of the client's log."""
        text = self.log_path.read_text(errors="replace").splitlines()
        return "\n".join([f"--- log of {self.name} ({self.log_path}) ---", *text[-lines:]])

    def kill(self) -> None:
        """Ends the process at once, as a crash would."""
        self._process.kill()
        self._process.wait()

    def quit(self) -> None:
        """Ends the process in order: it leaves when its input ends."""
        if self._process.poll() is None and self._process.stdin is not None:
            try:
                self._process.stdin.close()
                self._process.wait(ANSWER_SECONDS)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                self.kill()
        self._reader.join()


def _short(words: Iterable[object]) -> str:
    text = json.dumps(words)
    return text if len(text) < 300 else text[:300] + "..."


def at_once(clients: Iterable[RealmClient], *words: object, timeout: float = ANSWER_SECONDS) -> list[Json]:
    """Gives all clients the same command and collects the results; the clients work at the same time."""
    everyone = list(clients)
    for client in everyone:
        client.send(*words)
    return [client.recv(timeout) for client in everyone]


def settle(*clients: RealmClient, seconds: float = SYNC_SECONDS) -> None:
    """All have uploaded all they have, then all have downloaded all there is: no waiting by the clock is needed."""
    milliseconds = round(seconds * 1000)
    at_once(clients, "wait_upload", milliseconds, timeout=seconds + ANSWER_SECONDS)
    at_once(clients, "wait_download", milliseconds, timeout=seconds + ANSWER_SECONDS)
