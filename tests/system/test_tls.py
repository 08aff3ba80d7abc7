"""A server process that speaks TLS: apps sync over it, and its certificate is exchanged while they do."""

import os
import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from authority import Authority
from route_checks import close, get, hear_each_other, location, start
from server_process import PATIENCE, ServerProcess

pytestmark = pytest.mark.system


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    (tmp_path / "tls").mkdir()
    return Authority(tmp_path / "tls")


@pytest.fixture
def server(server_process: ServerProcess, authority: Authority) -> ServerProcess:
    """A server that listens for HTTP and HTTPS."""
    certificate, private = authority.issue()
    server_process.proxy = {"https": {"enable": True, "certificate_path": certificate, "private_key_path": private}}
    server_process.start()
    return server_process


def shown(server: ServerProcess, authority: Authority) -> str:
    """The serial number of the certificate that new clients are shown."""
    context = ssl.create_default_context(cafile=authority.certificate)
    plain = socket.create_connection(("127.0.0.1", server.https_port), timeout=PATIENCE)
    with context.wrap_socket(plain, server_hostname="localhost") as secure:
        certificate = secure.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


def wait_until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_apps_sync_over_tls_with_those_that_do_without(server: ServerProcess, authority: Authority) -> None:
    secure = f"https://localhost:{server.https_port}"
    devices = [start(secure, authority.certificate), start(server.url)]
    hear_each_other(*devices)
    close(*devices)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_the_server_tells_its_secure_address(server: ServerProcess, authority: Authority, host: str) -> None:
    if host == "[::1]" and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    found = location(f"https://{host}:{server.https_port}", authority.certificate)
    assert found["hostname"] == f"https://{host}:{server.https_port}"
    assert found["ws_hostname"] == f"wss://{host}:{server.https_port}"


def test_a_certificate_is_exchanged_under_live_sessions(server: ServerProcess, authority: Authority) -> None:
    secure = f"https://localhost:{server.https_port}"
    before = shown(server, authority)
    device = start(secure, authority.certificate)
    authority.issue()
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: shown(server, authority) != before, "new clients are still shown the old certificate")
    newcomer = start(secure, authority.certificate)
    hear_each_other(device, newcomer)
    close(device, newcomer)
    assert server.text().count("connected from") == 2, "a session was dropped"


def test_a_wrong_certificate_is_told_and_the_old_one_stays(server: ServerProcess, authority: Authority) -> None:
    before = shown(server, authority)
    authority.issue("other")[1].replace(authority.certificate.parent / "server.key")
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: "is not the private key of" in server.text(), "the log does not tell what is wrong")
    assert shown(server, authority) == before
    assert get(f"https://localhost:{server.https_port}/", authority.certificate)


def test_plain_http_on_the_secure_port_hurts_nobody(server: ServerProcess, authority: Authority) -> None:
    with socket.create_connection(("127.0.0.1", server.https_port), timeout=PATIENCE) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while plain.recv(65536):
            pass
    assert get(f"https://localhost:{server.https_port}/", authority.certificate)
    assert "Traceback" not in server.text()
