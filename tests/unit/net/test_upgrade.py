"""What an upgrade request is answered before it becomes a WebSocket (``spec/protocol.md`` 1.1-1.3)."""

import os
from pathlib import Path
from typing import Any

import pytest
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail
from twisted.internet.testing import MemoryReactorClock
from twisted.web.resource import Resource

from realmserver.auth.gate import AppUser, UpgradeRefused
from realmserver.auth.keys import make_keys
from realmserver.auth.tokens import Tokens
from realmserver.net.service import SyncService
from realmserver.net.upgrade import SyncTree
from realmserver.store.memory import MemoryStore

HEADERS = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "com.mongodb.realm-sync#14",
}
APP = "/api/client/v2.0/app/my-app/realm-sync"


class Door:
    """Answers authenticate_upgrade as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.refusal: Exception = UpgradeRefused(401, "no access token")
        self.answer: Deferred[AppUser] | None = None
        self.asked: list[tuple[str, str | None, str | None]] = []

    def authenticate_upgrade(
        self, app_id: str, baas_at: str | None, authorization: str | None, now: float
    ) -> Deferred[AppUser]:
        self.asked.append((app_id, baas_at, authorization))
        return self.answer if self.answer is not None else fail(self.refusal)


class Page(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"other"


class Fixture:
    def __init__(self, keys: Path) -> None:
        self.door = Door()
        tokens = Tokens(make_keys(keys / "key.pub", keys / "key"))
        store = MemoryStore(random_bytes=os.urandom)
        gate: Any = self.door
        reactor: Any = MemoryReactorClock()  # type: ignore[no-untyped-call]
        self.reactor = reactor
        self.service = SyncService(self.reactor, store, tokens, gate)
        self.http: Any = StubTreq(self.service.resource(Page()))  # type: ignore[no-untyped-call]

    def get(self, path: str, **changes: str | None) -> tuple[int, str]:
        """GET with the headers of a good upgrade, changed by name (``_`` for ``-``; None leaves one out)."""
        headers: dict[str, str] = dict(HEADERS)
        for name, value in changes.items():
            headers.pop(name.replace("_", "-"), None)
            if value is not None:
                headers[name.replace("_", "-")] = value
        answer = self.success(self.http.get(f"http://server{path}", headers=headers))
        return answer.code, self.success(answer.text())

    def success(self, deferred: Any) -> Any:
        found: list[Any] = []
        deferred.addBoth(found.append)
        self.http.flush()
        return found[0]


@pytest.fixture
def server(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Upgrade", None),
        ("Connection", "keep-alive"),
        ("Sec_WebSocket_Version", "8"),
        ("Sec_WebSocket_Key", None),
        ("Sec_WebSocket_Key", "dGhlIHNhbXBsZSBub25jZQ"),
        ("Sec_WebSocket_Key", "dGhlIHNhbXBsZSBub25jZ===="),
        ("Sec_WebSocket_Key", "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="),
    ],
)
def test_a_request_that_is_no_upgrade_says_which_header_is_wrong(
    server: Fixture, header: str, value: str | None
) -> None:
    status, body = server.get("/realm-sync", **{header: value})
    assert status == 400
    assert header.replace("_", "-") in body


def test_a_header_that_is_not_text_is_the_clients_fault(server: Fixture) -> None:
    assert server.get("/realm-sync", Connection="\xff")[0] == 400


@pytest.mark.parametrize("path", ["/realm-sync", "/realm-sync?x=1", "/realm-sync/%2Ftest", "/realm-sync/test", APP])
@pytest.mark.parametrize(
    ("offer", "text"),
    [
        ("com.mongodb.realm-sync/1", "REALM_SYNC_PROTOCOL_MISMATCH:CLIENT_TOO_OLD"),
        ("com.mongodb.realm-sync#15", "REALM_SYNC_PROTOCOL_MISMATCH:CLIENT_TOO_NEW"),
        ("com.mongodb.realm-query-sync#14", "Flexible Sync"),
        (None, "Sec-WebSocket-Protocol"),
    ],
)
def test_without_a_common_protocol_the_body_says_so_at_every_sync_address(
    server: Fixture, path: str, offer: str | None, text: str
) -> None:
    status, body = server.get(path, Sec_WebSocket_Protocol=offer)
    assert status == 400
    assert text in body


def test_an_app_client_is_asked_for_its_token(server: Fixture) -> None:
    assert server.get(f"{APP}?baas_at=abc.d%2Be.f", Authorization="Bearer xyz")[0] == 401
    assert server.door.asked == [("my-app", "abc.d+e.f", "Bearer xyz")]


@pytest.mark.parametrize("status", [401, 403, 503])
def test_the_gates_refusal_is_the_http_status(server: Fixture, status: int) -> None:
    server.door.refusal = UpgradeRefused(status, "because")
    assert server.get(APP) == (status, "because")


def test_a_failing_account_store_is_503_and_tells_nothing(server: Fixture) -> None:
    server.door.refusal = OSError("disk on fire")
    status, body = server.get(APP)
    assert status == 503
    assert "fire" not in body


def test_other_addresses_are_not_the_sync_services(server: Fixture) -> None:
    assert server.get("/somewhere")[1] == "other"
    assert server.get("/api/client/v2.0/app/my-app/location")[1] == "other"


def test_a_listener_for_sync_alone_knows_no_other_page(server: Fixture) -> None:
    server.http = StubTreq(server.service.resource())  # type: ignore[no-untyped-call]
    assert server.get("/somewhere") == (404, "Realm sync server\n\nPage not found\n")


class Elsewhere(Resource):
    """Stands for a forwarder: says which service is asked, and for what."""

    isLeaf = True

    def __init__(self, name: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._name = name

    def render(self, request: Any) -> bytes:
        return b"%s: %s" % (self._name.encode(), request.uri)


def test_each_service_may_be_elsewhere(server: Fixture) -> None:
    server.http = StubTreq(SyncTree(lambda app_id: Elsewhere(f"sync {app_id}"), Elsewhere("http")))  # type: ignore[no-untyped-call]
    assert server.get("/realm-sync/%2Fa?x=1") == (200, "sync None: /realm-sync/%2Fa?x=1")
    assert server.get(APP) == (200, f"sync my-app: {APP}")
    for path in ("/", "/auth?x=1", "/api/client/v2.0/app/my-app/location"):
        assert server.get(path) == (200, f"http: {path}")


def test_a_stopping_server_sends_clients_away_for_now(server: Fixture) -> None:
    server.service.is_stopping = True
    assert server.get("/realm-sync")[0] == 503


def test_who_is_let_in_while_the_server_begins_to_stop_is_sent_away_too(server: Fixture) -> None:
    server.door.answer = Deferred()
    found: list[int] = []
    server.http.get(f"http://server{APP}", headers=HEADERS).addCallback(lambda answer: found.append(answer.code))
    server.service.is_stopping = True
    server.door.answer.callback(AppUser("user", "my-app", "login", 0))
    server.reactor.advance(0)
    server.http.flush()
    assert found == [503]
    assert not server.service._connections
