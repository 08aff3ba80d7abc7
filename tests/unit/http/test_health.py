"""GET /health and GET /metrics: who is told what."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from api_server import START, Answer, result_of
from promtool import figures
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource

from realmserver._version import __version__
from realmserver.auth.keys import Keys, signed_wire_form
from realmserver.auth.tokens import Tokens
from realmserver.http.health import (
    CERTIFICATE_NOTICE,
    RECENT,
    CertificateDate,
    DiskSpace,
    Health,
    HealthResource,
    MetricsResource,
    ReadOnly,
    RealmFailures,
)
from realmserver.http.site import QuietSite
from realmserver.http.traffic import Traffic
from realmserver.http.tree import make_site_tree
from realmserver.metrics import Metrics

T = TypeVar("T")

GIB = 1024**3


class Page(Resource):
    """In place of the other APIs: says which path it was asked for."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        return b"page " + b"/".join(request.postpath)


class Monitored:
    """A site's tree with both addresses, and a client for it. ``in_thread`` counts what was given to a thread."""

    def __init__(self, keys: Keys) -> None:
        self.metrics = Metrics()
        self.health = Health(clock=lambda: START)
        self.is_local = False
        self.in_thread = 0
        resources = {
            "health": HealthResource(self.health, self._run),
            "metrics": MetricsResource(
                self.metrics, Tokens(keys), lambda request: self.is_local, self._run, lambda: START
            ),
        }
        self.tree = make_site_tree(Page(), resources)  # type: ignore[no-untyped-call]
        self._client: Any = StubTreq(self.tree)  # type: ignore[no-untyped-call]

    def _run(self, function: Callable[[], T]) -> Deferred[T]:
        self.in_thread += 1
        return execute(function)

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        response = result_of(self._client.request(method, f"http://server{path}", headers=sent))
        self._client.flush()
        fields = {name.decode(): value[0].decode() for name, value in response.headers.getAllRawHeaders()}
        return Answer(response.code, fields, result_of(response.text("utf-8")))


@pytest.fixture
def site(keys: Keys) -> Monitored:
    return Monitored(keys)


def token(keys: Keys, **fields: object) -> str:
    return signed_wire_form(keys, json.dumps(fields).encode())


@pytest.mark.parametrize("path", ["/health", "/health/", "/health?x=1"])
def test_a_server_is_ready_between_its_start_and_its_stop(site: Monitored, path: str) -> None:
    answer = site.ask(path)
    assert answer.status == 503
    assert answer.json == {"ready": False, "version": __version__, "problems": ["the server is starting"]}
    assert site.in_thread == 0, "threads may not run yet"
    site.health.started()
    answer = site.ask(path)
    assert answer.status == 200
    assert answer.json == {"ready": True, "version": __version__, "problems": []}
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert site.in_thread == 1
    site.health.stopping()
    answer = site.ask(path)
    assert (answer.status, answer.json["problems"]) == (503, ["the server is stopping"])


def test_a_problem_is_told_and_does_not_take_the_server_away(site: Monitored) -> None:
    site.health.started()
    site.health.add(lambda now: f"the moon is full at {now}")
    site.health.add(lambda now: "")
    answer = site.ask("/health")
    assert (answer.status, answer.json["ready"]) == (200, True)
    assert answer.json["problems"] == [f"the moon is full at {START}"]


def test_a_source_that_fails_is_a_fault_of_ours(site: Monitored) -> None:
    site.health.started()
    site.health.add(lambda now: str(1 // 0))
    answer = site.ask("/health")
    assert (answer.status, answer.json["code"]) == (500, 500)


@pytest.mark.parametrize("path", ["/health", "/metrics"])
def test_other_methods_are_refused_and_head_has_no_body(site: Monitored, path: str) -> None:
    site.health.started()
    site.is_local = True
    answer = site.ask(path, "POST")
    assert (answer.status, answer.headers["Allow"], answer.json["status"]) == (405, "GET, HEAD", 405)
    whole, head = site.ask(path), site.ask(path, "HEAD")
    assert (head.status, head.text) == (200, "")
    assert head.headers["Content-Type"] == whole.headers["Content-Type"]
    assert int(head.headers["Content-Length"]) > 0


@pytest.mark.parametrize("path", ["/", "/healthy", "/health/x", "/health//", "/auth", "/api/health", "/x/metrics"])
def test_other_addresses_are_the_other_apis(site: Monitored, path: str) -> None:
    assert site.ask(path).text == f"page {path[1:]}"


def free(blocks: int, of: int) -> Callable[[Path], os.statvfs_result]:
    return lambda path: os.statvfs_result((4096, GIB // 16, of * 16, blocks, blocks, 0, 0, 0, 0, 255))


def test_it_is_told_while_nothing_is_written() -> None:
    assert "limits.disk_reserve" in ReadOnly(lambda: True)(0)
    assert ReadOnly(lambda: False)(0) == ""


def test_a_disk_is_scarce_in_bytes_and_in_share() -> None:
    assert (
        DiskSpace(Path("/"), free(15, of=100))(0) == "the disk of the data directory is nearly full: 960 MiB are free"
    )
    assert DiskSpace(Path("/"), free(16, of=100))(0) == ""
    assert DiskSpace(Path("/"), free(3, of=2))(0) == "the disk of the data directory is nearly full: 192 MiB are free"
    assert DiskSpace(Path("/"), free(4, of=2))(0) == ""

    def gone(path: Path) -> os.statvfs_result:
        raise FileNotFoundError(2, "No such file or directory")

    assert DiskSpace(Path("/"), gone)(0) == "the data directory cannot be looked at: No such file or directory"


def test_the_failure_of_a_realm_is_a_problem_for_some_minutes_and_names_nobody() -> None:
    now = [100.0]
    failures = RealmFailures(lambda: now[0])
    assert failures(now[0]) == ""
    failures.note("/~alice/secret")
    failures.note("/~alice/secret")
    assert failures(now[0]) == "1 Realm failed within 10 minutes, see the log"
    now[0] += RECENT - 1
    failures.note("/b")
    assert failures(now[0]) == "2 Realms failed within 10 minutes, see the log"
    now[0] += 1
    assert failures(now[0]) == "1 Realm failed within 10 minutes, see the log"
    failures.note("/b")
    assert len(failures._failed) == 1


@pytest.mark.parametrize(
    ("left", "problem"),
    [
        (CERTIFICATE_NOTICE + 1, ""),
        (CERTIFICATE_NOTICE, "the TLS certificate expires in 14 days"),
        (3600, "the TLS certificate expires in 0 days"),
        (0, "the TLS certificate has expired"),
    ],
)
def test_a_certificate_is_a_problem_two_weeks_before_its_end(left: float, problem: str) -> None:
    assert CertificateDate(lambda: START + left)(START) == problem
    assert CertificateDate(lambda: None)(START) == ""


@pytest.mark.parametrize(
    "form",
    [
        {"Authorization": "{}"},
        {"Authorization": "Bearer {}"},
        {"Authorization": 'Realm-Access-Token version=1 token="{}"'},
        {"X_Realm_Access_Token": "{}"},
    ],
)
def test_figures_are_for_administrators(site: Monitored, keys: Keys, form: dict[str, str]) -> None:
    def with_token(text: str) -> Answer:
        return site.ask("/metrics", **{name: value.format(text) for name, value in form.items()})

    site.metrics.connection_started.inc()
    answer = with_token(token(keys, identity="__auth", access=["download", "upload", "manage"]))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert figures(answer.text.encode())["ros_sync_connection_started_total"] == 1
    assert site.in_thread == 1
    answer = with_token(token(keys, identity="user", access=["download"], path="/a"))
    assert (answer.status, answer.json["code"]) == (403, 614)
    for refused in ("nonsense", token(keys, identity="__auth", expires=START - 1), "a:b"):
        answer = with_token(refused)
        assert (answer.status, answer.json["code"]) == (401, 611)
        assert answer.json["type"] == "https://realm.io/docs/object-server/problems/invalid-credentials"
        assert refused not in answer.text


@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
def test_without_a_token_figures_are_for_this_machine_only(site: Monitored, path: str) -> None:
    answer = site.ask(path)
    assert (answer.status, answer.json["code"], answer.json["status"]) == (401, 611, 401)
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    site.is_local = True
    assert site.ask(path).status == 200
    assert site.ask(path, Authorization="nonsense").status == 401


def test_openmetrics_is_given_to_who_asks_for_it(site: Monitored) -> None:
    site.is_local = True
    answer = site.ask("/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")


def test_what_monitors_ask_for_is_not_counted_as_traffic(site: Monitored) -> None:
    site.is_local = True
    transport: Any = StringTransport()  # type: ignore[no-untyped-call]
    channel: Any = QuietSite(site.tree, Clock(), answered=Traffic(site.metrics)).buildProtocol(None)  # type: ignore[no-untyped-call]
    channel.makeConnection(transport)
    for path in ("/health", "/metrics", "/metrics/", "/x"):
        channel.dataReceived(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc".encode())
    found = figures(site.metrics.exposition("")[0])
    assert found["ros_http_bytes_received_total"] == 3
    assert found["ros_http_bytes_sent_total"] == len("page x")
    assert found['ros_http_requests_total{status="2xx"}'] == 1
    assert found['ros_http_requests_total{status="4xx"}'] == 0
