"""nginx in front of the server, for tests: with the very recipe that operators are given."""

import os
import pwd
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

import pytest
from server_process import PATIENCE, REPOSITORY, free_ports

RECIPE: Final = REPOSITORY / "etc" / "nginx" / "realm-object-server.conf"

_MAIN: Final = """daemon off;
user {user};
pid {directory}/nginx.pid;
error_log {directory}/error.log notice;
events {{}}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/realm-object-server.conf;
}}
"""


def require_nginx() -> str:
    """nginx's program. Skips the test where there is none; where CI is set that is a failure."""
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("nginx is missing")
    return program


def recipe(port: int, paths: tuple[Path, Path], log: Path, *, http: int, sync: int | None = None) -> str:
    """The recipe for these ports and files. ``http``: where the server listens; ``sync``: the port of the sync service
    alone, if there are two backends."""
    text = RECIPE.read_text()
    changes = {
        "127.0.0.1:9080": f"127.0.0.1:{http}",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "listen [::]:443 ssl;": "",
        "/etc/realm/https-certificate.pem": str(paths[0]),
        "/etc/realm/https-private.key": str(paths[1]),
        "/var/log/nginx/realm-access.log": str(log),
        "/var/log/nginx/realm-error.log": f"{log}.errors",
    }
    if sync is not None:
        text = re.sub(r"^( *)#~ ", r"\1", text, flags=re.MULTILINE)
        changes["127.0.0.1:27800"] = f"127.0.0.1:{sync}"
    for old, new in changes.items():
        assert text.count(old) == 1, f"the recipe has changed: {old}"
        text = text.replace(old, new)
    return text


class NginxProcess:
    """nginx with this configuration for one server; ``log`` is its access log."""

    def __init__(self, directory: Path, paths: tuple[Path, Path], *, http: int, sync: int | None = None) -> None:
        self._program = require_nginx()
        directory.mkdir()
        (self.port,) = free_ports(1)
        self.log = directory / "access.log"
        self._main = directory / "nginx.conf"
        user = pwd.getpwuid(os.getuid()).pw_name
        self._main.write_text(_MAIN.format(directory=directory, user=user))
        (directory / RECIPE.name).write_text(recipe(self.port, paths, self.log, http=http, sync=sync))
        self._errors = directory / "error.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._process = subprocess.Popen([self._program, "-e", self._errors, "-c", self._main])
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"nginx does not run:\n{self._errors.read_text()}")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)
