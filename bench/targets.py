"""What is measured: a checkout of this server, a server that runs already, or any other that a file says how to start.

A target file is YAML (or JSON):

    name: other                      # as it is to be called in tables
    command: [/opt/other/server, --port, "{port}", --data, "{root}"]
    path: /realm-sync                # default
    subprotocol: com.mongodb.realm-sync#10   # default
    key: "{root}/private.pem"        # signs the tokens in BIND; without it they are empty
    environment: {NAME: value}       # besides this process's own
    stop: TERM                       # default; the signal that ends it in order
    settings_file: {name: "{root}/configuration.yml", text: "port: {port}"}   # written before it starts

``{port}`` is a free port of 127.0.0.1, ``{root}`` an empty directory.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import jwt
import yaml
from attrs import evolve, frozen
from cryptography.hazmat.primitives import serialization

from bench.load.client import Place
from bench.processes import Launched, Server, free_ports, merged

HERE: Final = Path(__file__).resolve().parents[1]

SUBPROTOCOL: Final = "com.mongodb.realm-sync#10"
"""The newest that the reference server of realm-core v13 speaks as well; the messages are the same up to 14."""

PATH: Final = "/realm-sync"

USERS: Final = 100
"""Users who share the load: no server sees the same token all the time, and none more than it may remember."""

NO_TOKENS: Final = ("",)

LIMITS: Final[Mapping[str, int]] = {
    "connections": 100_000,
    "connections_per_address": 0,
    "sessions_per_connection": 100_000,
    "realms_per_user": 1_000_000,
    "new_realms_per_user": 1_000_000,
    "upload_backlog_per_realm": 100_000,
}
"""Settings of a checkout's server: all load comes from one address and few users, which no server should let through.
The bounds for all together (``upload_backlog`` and so on) stay as they are."""


class Running(Protocol):
    """A server that answers. ``pid`` None: its processes cannot be seen from here."""

    @property
    def place(self) -> Place: ...

    @property
    def pid(self) -> int | None: ...

    def stop(self) -> None: ...


class Target(Protocol):
    """Something to measure, by its ``name``. ``facts`` describe it for the reader of its figures."""

    @property
    def name(self) -> str: ...

    @property
    def can_start(self) -> bool:
        """Whether it is started, stopped and started again from here."""

    def facts(self) -> dict[str, object]: ...

    def start(self, directory: Path) -> Running:
        """Start it with its data below ``directory``, those of an earlier start if there are any."""


@frozen
class Started:
    """A server that was started here."""

    process: Launched
    place: Place

    @property
    def pid(self) -> int | None:
        return self.process.pid

    def stop(self) -> None:
        self.process.stop()


@frozen
class Elsewhere:
    """A server that somebody else has started: it stays."""

    place: Place
    pid: int | None

    def stop(self) -> None:
        """Nothing."""


@frozen
class Checkout:
    """This server, from the sources and the virtual environment in ``directory``. ``settings`` of its configuration
    file win over :data:`LIMITS`."""

    name: str
    directory: Path
    settings: Mapping[str, Any]

    can_start = True

    @property
    def python(self) -> Path:
        """Its interpreter. The checkout that the benchmark runs from may be installed anywhere."""
        return Path(sys.executable) if self.directory == HERE else self.directory / ".venv/bin/python"

    def facts(self) -> dict[str, object]:
        ask = (
            "import json, platform, importlib.util, realmserver.changeset.decode as module; "
            "core = importlib.util.find_spec('realmserver._native'); "
            "print(json.dumps([platform.python_version(), not module.__file__.endswith('.py'), core is not None]))"
        )
        if not self.python.exists():
            raise SystemExit(f"{self.directory} has no .venv: call tools/environment there")
        answer = subprocess.run([self.python, "-c", ask], cwd=self.directory, capture_output=True, text=True)
        if answer.returncode:
            raise SystemExit(f"{self.directory} cannot be started:\n{answer.stderr}")
        python, is_compiled, has_core = json.loads(answer.stdout)
        build = {"compiled": is_compiled, "core": has_core}
        return {"commit": _commit(self.directory), "python": python, **build, "settings": self.settings}

    def start(self, directory: Path) -> Started:
        sections = merged({"limits": LIMITS}, self.settings)
        server = Server(directory, sections=sections, python=self.python, checkout=self.directory)
        tokens = sign_tokens(directory / "data" / "keys" / "token-signature.key")
        return Started(server.process, Place("127.0.0.1", server.ports[0], PATH, SUBPROTOCOL, tokens))


@frozen
class Url:
    """A server that runs. ``key``: the private key that its tokens are signed with, None if it looks at none."""

    name: str
    url: str
    pid_given: int | None
    key: Path | None

    can_start = False

    def facts(self) -> dict[str, object]:
        return {"url": self.url}

    def start(self, directory: Path) -> Elsewhere:
        parts = urlsplit(self.url)
        if parts.scheme != "ws" or parts.hostname is None or parts.port is None:
            raise SystemExit(f"{self.url} is not of the form ws://host:port/path")
        tokens = sign_tokens(self.key) if self.key else NO_TOKENS
        return Elsewhere(Place(parts.hostname, parts.port, parts.path or PATH, SUBPROTOCOL, tokens), self.pid_given)


@frozen
class Foreign:
    """Another server, by its target file."""

    name: str
    file: Mapping[str, Any]

    can_start = True

    def facts(self) -> dict[str, object]:
        return {"command": self.file["command"]}

    def start(self, directory: Path) -> Started:
        root = directory / "data"
        root.mkdir(parents=True, exist_ok=True)
        (port,) = free_ports(1)

        def filled(text: object) -> str:
            return str(text).replace("{port}", str(port)).replace("{root}", str(root))

        settings = self.file.get("settings_file")
        if settings:
            Path(filled(settings["name"])).write_text(filled(settings["text"]))
        key = self.file.get("key")
        path, subprotocol = self.file.get("path", PATH), self.file.get("subprotocol", SUBPROTOCOL)
        process = Launched(
            [filled(part) for part in self.file["command"]],
            directory,
            environment={name: filled(value) for name, value in self.file.get("environment", {}).items()},
            stop=signal.Signals[f"SIG{self.file.get('stop', 'TERM')}"],
        )
        process.wait_for(port, path, subprotocol)
        tokens = sign_tokens(Path(filled(key))) if key else NO_TOKENS
        return Started(process, Place("127.0.0.1", port, path, subprotocol, tokens))


KEYS: Final = {"name", "command", "path", "subprotocol", "key", "environment", "stop", "settings_file"}


def read_target_file(path: Path) -> Foreign:
    """The server that the file describes; SystemExit with what is wrong."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise SystemExit(f"{path}: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("command"), list) or not content["command"]:
        raise SystemExit(f"{path}: a target file needs at least the list 'command'")
    unknown = sorted(set(content) - KEYS)
    if unknown:
        raise SystemExit(f"{path}: unknown: {', '.join(map(str, unknown))}")
    if f"SIG{content.get('stop', 'TERM')}" not in signal.Signals.__members__:
        raise SystemExit(f"{path}: there is no signal {content['stop']}")
    return Foreign(str(content.get("name", path.stem)), content)


def parse_target(
    text: str,
    *,
    taken: Collection[str] = (),
    settings: Mapping[str, Any],
    pid: int | None = None,
    key: Path | None = None,
) -> Target:
    """What ``--against`` names: a URL, a directory with a checkout, or a target file. Its name is none of ``taken``."""
    target: Url | Checkout | Foreign
    path = Path(text)
    if text.startswith("ws://"):
        target = Url(text, text, pid, key)
    elif path.is_dir():
        target = Checkout(path.resolve().name, path.resolve(), settings)
    elif path.exists():
        target = read_target_file(path)
    else:
        raise SystemExit(f"{text} is neither a URL ws://..., nor a checkout, nor a target file")
    return evolve(target, name=f"{target.name} (2)") if target.name in taken else target


def sign_tokens(key: Path) -> tuple[str, ...]:
    """A token for each of :data:`USERS`, for any Realm and for ever (``spec/protocol.md`` 6.2)."""
    return _signed(key.read_bytes())


@lru_cache(1)  # a server that is restarted has the same key, and its clients do not wait
def _signed(key: bytes) -> tuple[str, ...]:
    private = serialization.load_pem_private_key(key, None)
    return tuple(
        jwt.encode(
            {"identity": f"user-{number}", "access": ["download", "upload"], "iat": int(time.time())},
            private,  # type: ignore[arg-type]
            algorithm="RS256",
        )
        for number in range(USERS)
    )


def _commit(directory: Path) -> str:
    """The checkout's commit, with a + if it has been changed since; empty if that cannot be known."""
    answer = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--match="],
        cwd=directory,
        capture_output=True,
        text=True,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    )
    return answer.stdout.strip()
