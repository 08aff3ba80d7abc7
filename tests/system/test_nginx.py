"""A real nginx in front of the server, with the recipe of ``etc/nginx``: TLS there, one backend here or two."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import Authority
from nginx_process import NginxProcess, require_nginx
from raw_sync import log_in
from route_checks import close, get, hear_each_other, location, start
from server_process import ServerProcess

pytestmark = pytest.mark.system


class Site:
    """A server, and nginx before it."""

    def __init__(self, server: ServerProcess, nginx: NginxProcess, authority: Path) -> None:
        self.server = server
        self.nginx = nginx
        self.authority = authority
        self.url = f"https://localhost:{nginx.port}"


@pytest.fixture(params=["one backend", "two backends"])
def site(request: pytest.FixtureRequest, server_process: ServerProcess, tmp_path: Path) -> Iterator[Site]:
    require_nginx()
    (tmp_path / "tls").mkdir()
    authority = Authority(tmp_path / "tls")
    if request.param == "one backend":
        server_process.proxy = {"http": {"listen_address": "127.0.0.1"}}
        ports = {"http": server_process.port}
    else:
        server_process.proxy = {"http": {"enable": False}}
        ports = {"http": server_process.http_port, "sync": server_process.sync_port}
    server_process.start()
    nginx = NginxProcess(tmp_path / "nginx", authority.issue(), **ports)
    nginx.start()
    yield Site(server_process, nginx, authority.certificate)
    nginx.stop()


def test_apps_sync_through_nginx(site: Site) -> None:
    devices = [start(site.url, site.authority), start(site.url, site.authority)]
    hear_each_other(*devices)
    close(*devices)
    assert "connected from 127.0.0.1," in site.server.text()


def test_apps_are_told_the_address_of_nginx(site: Site) -> None:
    found = location(site.url, site.authority)
    assert found["hostname"] == site.url
    assert found["ws_hostname"] == site.url.replace("https", "wss")


def test_what_a_client_says_of_itself_is_not_passed_on(site: Site) -> None:
    found = location(site.url, site.authority, {"X-Forwarded-Host": "evil.example", "X-Forwarded-For": "203.0.113.7"})
    assert found["hostname"] == site.url


def test_no_token_is_in_the_logs_of_nginx(site: Site) -> None:
    login = log_in(site.server.http_port)
    get(f"{site.url}/?baas_at={login.access_token}", site.authority)
    device = start(site.url, site.authority)
    close(device)
    site.server.kill()
    with pytest.raises(OSError, match="502"):
        get(f"{site.url}/?baas_at={login.access_token}", site.authority)
    site.nginx.stop()
    for path in (site.nginx.log, Path(f"{site.nginx.log}.errors")):
        assert "baas_at" not in path.read_text()
    assert '"GET /" 502' in site.nginx.log.read_text()
