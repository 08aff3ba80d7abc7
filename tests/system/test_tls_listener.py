"""TLS as real clients meet it: which versions, which chain, resuming, and a certificate exchanged under them."""

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from running_reactor import PATIENCE, reactor, run
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Request

from realmserver.auth.certificates import CertificateFileError
from realmserver.client.access import Unreachable
from realmserver.client.app import App
from realmserver.client.trust import SYSTEM, Trust, authorities
from realmserver.client.websocket import Dialer, Ended, Socket
from realmserver.http.site import QuietSite
from realmserver.net import tls as tls_module
from realmserver.net.listeners import Listener
from realmserver.net.tls import ServerTls

pytestmark = pytest.mark.system


class Page(Resource):
    isLeaf = True

    def render(self, request: Request) -> bytes:
        request.setHeader(b"Content-Type", b"application/json")  # type: ignore[no-untyped-call]
        return b'{"secure":%s}' % str(request.isSecure()).lower().encode()  # type: ignore[no-untyped-call]


class Served:
    """A listener with a certificate of the authority's."""

    def __init__(self, authority: Authority, address: str = "::") -> None:
        self.authority = authority
        self.paths = authority.issue("server")
        self.tls = ServerTls(*self.paths, datetime.now(UTC))
        self.listener = Listener(reactor, "proxy.https", address, 0, self.tls)

    async def start(self) -> None:
        self.listener.privilegedStartService()
        self.listener.serve(QuietSite(Page(), reactor))  # type: ignore[no-untyped-call]

    async def stop(self) -> None:
        stopped: Any = self.listener.stopService()
        await stopped

    async def reload(self) -> None:
        self.tls.reload(datetime.now(UTC))

    def openssl(self, *options: str) -> subprocess.CompletedProcess[str]:
        """``openssl s_client``, which verifies as clients do."""
        command = [
            "openssl",
            "s_client",
            "-connect",
            f"127.0.0.1:{self.listener.port}",
            "-verify_return_error",
            "-ign_eof",
        ]
        return subprocess.run(
            [*command, "-CAfile", self.authority.certificate, *options],
            input="GET / HTTP/1.0\r\n\r\n",
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def connect(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        """A client's connection, after its handshake."""
        context = context or ssl.create_default_context(cafile=self.authority.certificate)
        plain = socket.create_connection(("127.0.0.1", self.listener.port), timeout=PATIENCE)
        return context.wrap_socket(plain, server_hostname="localhost")


@contextmanager
def serving(directory: Path) -> Iterator[Served]:
    made = Served(Authority(directory), "::" if socket.has_ipv6 else "0.0.0.0")
    run(made.start())
    yield made
    run(made.stop())


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as made:
        yield made


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_the_versions_of_today_are_spoken(served: Served, option: str) -> None:
    done = served.openssl(option)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '{"secure":true}' in done.stdout


@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_older_versions_are_refused(served: Served, option: str) -> None:
    done = served.openssl(option, "-cipher", "ALL:@SECLEVEL=0")
    assert done.returncode != 0
    assert "alert protocol version" in done.stderr, "the server must be the one that refuses"


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-SHA384", "aNULL"])
def test_ciphers_without_forward_secrecy_or_authentication_are_refused(served: Served, cipher: str) -> None:
    done = served.openssl("-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
    assert done.returncode != 0
    assert "alert handshake failure" in done.stderr


def test_the_whole_chain_is_sent(served: Served) -> None:
    done = served.openssl("-showcerts", "-noservername")
    assert done.stdout.count("BEGIN CERTIFICATE") == 2
    assert "Verify return code: 0 (ok)" in done.stdout


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_a_client_that_would_resume_is_served_anew(served: Served, option: str, tmp_path: Path) -> None:
    session = tmp_path / "session.pem"
    assert served.openssl(option, "-sess_out", str(session)).returncode == 0
    if session.exists():  # else there is nothing to resume with
        again = served.openssl(option, "-sess_in", str(session))
        assert again.returncode == 0, again.stderr
        assert "\nNew, TLSv1" in again.stdout
        assert '{"secure":true}' in again.stdout
    assert served.openssl("-tls1_2", "-reconnect").returncode == 0


def test_no_client_may_renegotiate(served: Served) -> None:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{served.listener.port}", "-tls1_2"]
    done = subprocess.run(command, input="R\n", capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "no renegotiation" in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_curl_is_served_over_both_protocols_of_the_internet(served: Served, host: str) -> None:
    if host == "[::1]" and served.listener.address != "::":
        pytest.skip("this machine has no IPv6")
    url = f"https://{host}:{served.listener.port}/"
    command = ["curl", "-sS", "--noproxy", "*", "--cacert", str(served.authority.certificate), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stdout == '{"secure":true}', done.stderr


def test_a_certificate_is_exchanged_under_open_connections(served: Served) -> None:
    def number(connection: ssl.SSLSocket) -> object:
        certificate = connection.getpeercert()
        assert certificate is not None
        return certificate["serialNumber"]

    def is_served(connection: ssl.SSLSocket) -> bool:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return connection.recv(65536).startswith(b"HTTP/1.1 200")

    with served.connect() as before:
        assert is_served(before)
        served.authority.issue("server", days=10)
        expires = served.tls.expires
        run(served.reload())
        assert served.tls.expires < expires
        assert is_served(before)
        with served.connect() as after:
            assert is_served(after)
            assert number(after) != number(before)


def test_wrong_files_leave_the_certificate_as_it_was(served: Served) -> None:
    served.paths[1].write_text("rubbish")
    with pytest.raises(CertificateFileError):
        run(served.reload())
    served.connect().close()


def test_a_client_that_does_not_finish_its_handshake_is_dropped(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_module, "HANDSHAKE_TIMEOUT", 0.2)
    with socket.create_connection(("127.0.0.1", served.listener.port), timeout=PATIENCE) as silent:
        silent.sendall(b"\x16\x03\x01")
        with closing(silent), suppress(ConnectionResetError):
            assert silent.recv(1) == b""


def test_a_client_that_has_finished_it_may_be_silent(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_module, "HANDSHAKE_TIMEOUT", 0.2)
    with served.connect() as connection:
        time.sleep(0.4)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


# The Python client.


class Owner:
    """Waits for the end of a WebSocket; the page here refuses it by HTTP, if the client trusts it so far."""

    def __init__(self) -> None:
        self.ended: Deferred[Ended] = Deferred()

    def opened(self, socket: Socket, subprotocol: str | None) -> None:
        raise AssertionError("the page takes no WebSockets")

    def received(self, data: bytes) -> None:
        raise AssertionError("the page takes no WebSockets")

    def closed(self, ended: Ended) -> None:
        self.ended.callback(ended)


HOSTS = ["localhost", "127.0.0.1"]


@pytest.mark.parametrize("host", HOSTS)
def test_the_client_accepts_a_certificate_of_an_authority_it_trusts(served: Served, host: str) -> None:
    trust = authorities(served.authority.certificate)

    async def ask() -> tuple[dict[str, object], Ended]:
        answer = await App(reactor, served.listener.url(host), "my-app", trust=trust).request("GET", "/")
        owner = Owner()
        Dialer(reactor, trust)(f"wss://{host}:{served.listener.port}/realm-sync", owner)
        return answer, await owner.ended

    answer, ended = run(ask())
    assert answer == {"secure": True}
    assert ended.status == 200


def refused(served: Served, host: str, trust: Trust) -> tuple[str, str]:
    """Why HTTP and a WebSocket to ``host`` fail."""

    async def ask() -> tuple[str, str]:
        with pytest.raises(Unreachable) as caught:
            await App(reactor, served.listener.url(host), "my-app", trust=trust).request("GET", "/")
        owner = Owner()
        Dialer(reactor, trust)(f"wss://{host}:{served.listener.port}/realm-sync", owner)
        ended = await owner.ended
        assert (ended.status, ended.code) == (0, 1006)
        return str(caught.value), ended.reason

    return run(ask())


def test_the_client_refuses_an_authority_it_does_not_know(served: Served, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = authorities(Authority(tmp_path / "other").certificate)
    for trust in (other, SYSTEM):
        assert "certificate verify failed" in refused(served, "localhost", trust)[0]


def test_the_client_refuses_a_certificate_for_another_host(served: Served) -> None:
    trust = authorities(served.authority.certificate)
    assert "VerificationError" in refused(served, "127.0.0.2", trust)[0]
