"""Real SDKs on every way to the server: its own proxy with and without TLS, nginx, and another server that forwards.

All versions meet in one Realm. Certificates come from a test authority, which the devices are told to trust: their HTTP
is Java's, which has a trust store, their WebSockets are the SDK's own with OpenSSL, which an app gives a PEM file.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
import realm_driver
from authority import Authority
from interop_devices import Devices, assert_equal, new_partition
from nginx_process import NginxProcess
from realm_client import ClientError, settle
from server_process import ServerProcess

pytestmark = pytest.mark.interop

PASSWORD: Final = "changeit"
"""Of a file with public certificates; Java wants one."""


class Routes:
    """Builds the ways to a server; all that was started is ended by ``end``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started = ExitStack()
        self.servers: list[ServerProcess] = []
        (directory / "tls").mkdir()
        self.authority = Authority(directory / "tls")

    def end(self) -> None:
        self._started.close()

    def server(self, name: str, settings: str = "", **sections: dict[str, object]) -> ServerProcess:
        (self._directory / name).mkdir()
        server = ServerProcess(self._directory / name, settings, **sections)
        self._started.callback(server.kill)
        self.servers.append(server)
        server.start()
        return server

    def nginx(self, *, http: int, sync: int | None = None) -> str:
        nginx = NginxProcess(self._directory / "nginx", self.authority.issue("nginx"), http=http, sync=sync)
        self._started.callback(nginx.stop)
        nginx.start()
        return f"https://localhost:{nginx.port}"

    # The ways: each gives the base URL for SDKs.

    def http(self) -> str:
        return self.server("server").url

    def https(self) -> str:
        certificate, private = self.authority.issue()
        https = {"enable": True, "certificate_path": certificate, "private_key_path": private}
        return f"https://localhost:{self.server('server', proxy={'https': https}).https_port}"

    def behind_nginx(self) -> str:
        return self.nginx(http=self.server("server").port)

    def forwarded(self) -> str:
        back = self.server("back", proxy={"http": {"enable": False}})
        there = f"sync: {{servers: [{{id: '0', address: 127.0.0.1, port: {back.sync_port}}}]}}\n"
        return self.server("front", there, network={"http": {"forward_to": f"127.0.0.1:{back.http_port}"}}).url

    def proxy_off(self) -> str:
        server = self.server("server", proxy={"http": {"enable": False}})
        return self.nginx(http=server.http_port, sync=server.sync_port)


@pytest.fixture
def routes(driver: None, tmp_path: Path) -> Iterator[Routes]:
    made = Routes(tmp_path)
    yield made
    made.end()
    for server in made.servers:
        print(f"--- log of {server.root} ---", *server.text().splitlines()[-40:], sep="\n")


@pytest.fixture
def trusted(routes: Routes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the devices that are started trust the authority."""
    store = tmp_path / "trust.p12"
    words = ["-importcert", "-noprompt", "-alias", "test", "-storetype", "PKCS12", "-storepass", PASSWORD]
    subprocess.run(
        ["keytool", *words, "-file", routes.authority.certificate, "-keystore", store],
        check=True,
        capture_output=True,
        timeout=60,
    )
    options = {"trustStore": store, "trustStoreType": "PKCS12", "trustStorePassword": PASSWORD}
    monkeypatch.setenv(
        "JAVA_TOOL_OPTIONS", " ".join(f"-Djavax.net.ssl.{name}={value}" for name, value in options.items())
    )
    monkeypatch.setenv("REALM_CLIENT_TRUST", str(routes.authority.certificate))


@pytest.mark.parametrize("way", ["http", "https", "behind_nginx", "forwarded", "proxy_off"])
@pytest.mark.usefixtures("trusted")
def test_devices_sync_whatever_way_they_take(routes: Routes, tmp_path: Path, way: str) -> None:
    url: str = getattr(routes, way)()
    devices = Devices(url, tmp_path / "devices", new_partition(way))
    try:
        everyone = devices.open(*realm_driver.VERSIONS)
        for number, device in enumerate(everyone):
            device.cmd("create", "Thing", f"thing {number}", {"name": device.name})
        settle(*everyone)
        assert len(assert_equal(everyone)["Thing"]) == len(everyone)
    finally:
        devices.end()


def test_a_device_refuses_a_certificate_of_an_authority_it_does_not_know(routes: Routes, tmp_path: Path) -> None:
    devices = Devices(routes.https(), tmp_path / "devices", new_partition("unknown"))
    try:
        device = devices.start(realm_driver.VERSIONS[-1])
        with pytest.raises(ClientError):
            device.cmd("login", "anonymous")
    finally:
        devices.end()
