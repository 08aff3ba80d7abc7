"""What the log and the figures hear of connections and their sessions."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from OpenSSL.SSL import Error as SSLError
from promtool import figures
from raw_sync import CLOSE, frame
from test_bound_sessions import SHARED, Client, HeldWorkers, rejoin
from test_connection import APP, RSV_FRAME, Fixture, conversation
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from realmserver import log
from realmserver.auth.keys import load_keys, signed_wire_form
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import TABLE_EMBEDDED, AddTable, Changeset
from realmserver.metrics import ENDINGS, Metrics
from realmserver.net import owner
from realmserver.net.delay import INTERVAL, DelayMeter
from realmserver.net.report import ending_of
from realmserver.realms.requests import UploadCursor, UploadEntry
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c

CHANGESET = encode(Changeset([AddTable("T", TABLE_EMBEDDED)]))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fixture:
    monkeypatch.setattr(owner, "PoolWorkers", HeldWorkers)
    return Fixture(tmp_path)


@pytest.fixture(params=["text", "json"])
def out(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """All that is logged, in both forms."""
    stream = io.StringIO()
    observer = log.LineObserver(stream, as_json=request.param == "json")
    globalLogPublisher.addObserver(observer)
    log.set_level("all")
    yield stream
    log.set_level("info")
    globalLogPublisher.removeObserver(observer)


def lines(out: io.StringIO, level: str) -> list[str]:
    """The messages of a level, whatever the form."""
    found = []
    for line in out.getvalue().splitlines():
        if line.startswith("{"):
            event = json.loads(line)
            found += [event["message"]] if event["level"] == level else []
        else:
            _, _, rest = line.partition(" - ")
            found += [rest.partition(": sync: ")[2]] if rest.startswith(f"{level}: ") else []
    return found


def of(server: Fixture) -> dict[str, float]:
    return figures(server.service.metrics.exposition("")[0])


def upload(*entries: UploadEntry) -> bytes:
    return c2s.Upload(1, UploadCursor(entries[-1].client_version, 0), 0, entries).encode()


def active(server: Fixture, path: bytes = APP, realm: str = SHARED, token: str = "") -> tuple[Client, s2c.Ident]:
    client = Client(server, path)
    file = client.new_file(realm, token)
    client.say(c2s.Ident(1, file.ident, file.salt).encode())
    client.heard()
    return client, file


def lost(client: Client, cause: Exception | None = None) -> None:
    client.connection.connectionLost(Failure(cause or ConnectionDone()))  # type: ignore[no-untyped-call]


def test_each_transaction_is_one_line_at_detail(server: Fixture, out: io.StringIO) -> None:
    one, file = active(server)
    other, second = active(server)
    before = len(lines(out, "detail"))
    one.say(upload(UploadEntry(2, 0, 1, 0, CHANGESET), UploadEntry(3, 0, 1, 0, b"")))
    one.heard()
    (realm,) = server.owner._registry._realms
    size = len(CHANGESET)
    ids = [each.connection._upgrade.connection_id for each in (one, other)]
    integrated, *sent = lines(out, "detail")[before:]
    assert integrated == (
        f"{ids[0]}: integrated 2 changesets ({size} bytes) of client file {file.ident} into Realm {realm}: "
        f"version 2, merged with 0"
    )
    assert len(sent) == 2
    (line,) = [line for line in sent if line.startswith(ids[1])]
    assert line.startswith(f"{ids[1]}: sent 1 changesets (")
    assert line.endswith(f" bytes) of Realm {realm} to client file {second.ident}: up to version 2")


def test_transactions_are_counted_and_measured(server: Fixture) -> None:
    one, _ = active(server)
    two, _ = active(server)
    one.say(upload(UploadEntry(2, 0, 1, 0, CHANGESET)))
    one.heard()
    two.say(upload(UploadEntry(2, 0, 1, 0, CHANGESET)), c2s.Ping(5, 0).encode(), c2s.Ping(6, 250).encode())
    two.heard()
    found = of(server)
    assert found["ros_sync_changeset_integrated_total"] == 2
    assert found["ros_sync_changeset_integrated_bytes_sum"] == 2 * len(CHANGESET)
    assert found["ros_sync_changeset_integrated_seconds_count"] == 2
    assert found["ros_sync_changeset_integrated_merges_count"] == 2
    assert found["ros_sync_merges_performed_total"] == found["ros_sync_changeset_integrated_merges_sum"] == 1
    assert found["ros_sync_upload_processing_seconds_count"] == 2
    assert found["ros_sync_upload_pending_bytes"] == 0
    assert found["ros_sync_download_constructed_total"] == found["ros_sync_download_constructed_seconds_count"] > 2
    assert found["ros_sync_ping_rtt_seconds_sum"] == 0.25
    assert found["ros_sync_realms_open"] == 1
    assert found["ros_sync_protocol_bytes_sent_total"] > 100
    assert found["ros_sync_protocol_bytes_received_total"] > 100


def test_what_came_and_went_is_counted_to_the_end(server: Fixture) -> None:
    client, _ = active(server)
    client.say(c2s.Bind(2, '"other"', "", need_ident=True).encode())
    client.heard()
    found = of(server)
    assert (found["ros_sync_connection_online"], found["ros_sync_session_online"]) == (1, 2)
    client.say(c2s.Unbind(2).encode())
    assert of(server)["ros_sync_session_online"] == 1
    lost(client)
    found = of(server)
    assert (found["ros_sync_connection_online"], found["ros_sync_session_online"]) == (0, 0)
    assert found["ros_sync_session_started_total"] == found["ros_sync_session_terminated_total"] == 2
    assert found["ros_sync_connection_started_total"] == found["ros_sync_connection_terminated_total"] == 1
    assert found["ros_sync_conn_term_end_of_input_total"] == 1


def broken_message(client: Client, server: Fixture, file: s2c.Ident) -> None:
    client.say(b"nonsense")


def broken_frame(client: Client, server: Fixture, file: s2c.Ident) -> None:
    client.connection.dataReceived(RSV_FRAME)


def closed_by_the_client(client: Client, server: Fixture, file: s2c.Ident) -> None:
    client.connection.dataReceived(frame(CLOSE, b"\x03\xe8"))


def login_ended(client: Client, server: Fixture, file: s2c.Ident) -> None:
    server.service.login_ended("user", None)


def stopping(client: Client, server: Fixture, file: s2c.Ident) -> None:
    client.connection.conversation.shutdown()


def fault_of_ours(client: Client, server: Fixture, file: s2c.Ident) -> None:
    conversation(client.connection).feed(lambda machine: 1 / 0)  # type: ignore[arg-type, return-value]


def superseded(client: Client, server: Fixture, file: s2c.Ident) -> None:
    newer = Client(server)
    newer.say(*rejoin(file))
    newer.heard()


@pytest.mark.parametrize(
    ("happens", "ending"),
    [
        (broken_message, "sync_protocol_error"),
        (broken_frame, "websocket_error"),
        (closed_by_the_client, "end_of_input"),
        (login_ended, "unauthorized"),
        (stopping, "server_stopping"),
        (fault_of_ours, "error_of_unexpected_category"),
        (superseded, "superseded_session"),
    ],
)
def test_the_reason_for_an_end_is_told_by_whoever_ends_it(server: Fixture, happens: Any, ending: str) -> None:
    client, file = active(server)
    happens(client, server, file)
    lost(client, ConnectionLost())
    found = of(server)
    assert found[f"ros_sync_conn_term_{ending}_total"] == 1
    assert sum(found[f"ros_sync_conn_term_{name}_total"] for name in ENDINGS) == 1


@pytest.mark.parametrize(
    ("cause", "ending"),
    [
        (ConnectionDone(), "end_of_input"),
        (ConnectionLost(), "connection_reset_error"),
        (SSLError(), "ssl_error"),
        (TimeoutError(), "network_error"),
    ],
)
def test_otherwise_the_transport_tells_it(cause: Exception, ending: str) -> None:
    assert ending_of(Failure(cause)) == ending  # type: ignore[no-untyped-call]
    assert ending in ENDINGS


def test_errors_name_the_peer_the_user_and_the_realm(server: Fixture, out: io.StringIO, tmp_path: Path) -> None:
    keys = load_keys(tmp_path / "key.pub", tmp_path / "key")
    token = signed_wire_form(keys, b'{"identity": "reader", "path": "/a/b", "access": ["download"]}')
    client, _ = active(server, b"/realm-sync", "/a/b", token)
    client.say(upload(UploadEntry(2, 0, 1, 0, CHANGESET)))
    client.say(c2s.Bind(2, "/secret", token, need_ident=True).encode())
    client.heard()
    peer = client.connection._upgrade.client
    first, second = lines(out, "warn")
    connection = client.connection._upgrade.connection_id
    assert first == (
        f"{connection}: session 1: error 206 sent: the token does not allow to upload to /a/b "
        f"(peer {peer}, user reader, Realm /a/b)"
    )
    assert second.endswith(f"(peer {peer}, user reader, Realm /secret)")
    found = of(server)
    assert found["ros_sync_permission_denied_total"] == found["ros_sync_session_failed_total"] == 2
    assert found['ros_sync_errors_sent_total{code="206"}'] == 2
    assert found["ros_sync_protocol_violated_total"] == 0


def test_an_error_of_a_connection_names_who_has_bound_its_sessions(
    server: Fixture, out: io.StringIO, tmp_path: Path
) -> None:
    keys = load_keys(tmp_path / "key.pub", tmp_path / "key")
    tokens = [signed_wire_form(keys, b'{"identity": "%s", "access": ["download"]}' % user) for user in (b"a", b"b")]
    one, _ = active(server, b"/realm-sync", "/a/b", tokens[0])
    one.say(b"nonsense")
    several, _ = active(server, b"/realm-sync", "/a/b", tokens[0])
    several.say(c2s.Bind(2, "/c", tokens[1], need_ident=True).encode())
    several.heard()
    several.say(b"nonsense")
    assert [line.rpartition(", ")[2] for line in lines(out, "warn")] == ["user a)", "user several)"]


def test_json_lines_have_the_values_by_their_names(server: Fixture) -> None:
    stream = io.StringIO()
    observer = log.LineObserver(stream, as_json=True)
    globalLogPublisher.addObserver(observer)
    try:
        client, _ = active(server)
        client.say(c2s.ClientError(1, 112, "cannot").encode())
    finally:
        globalLogPublisher.removeObserver(observer)
    reported = [json.loads(line) for line in stream.getvalue().splitlines()][-2]
    connection = client.connection._upgrade
    assert reported["level"] == "warn"
    assert {name: reported[name] for name in ("connection", "session", "user", "peer", "code")} == {
        "connection": connection.connection_id,
        "session": 1,
        "user": "user",
        "peer": connection.client,
        "code": 112,
    }
    assert "shared" in reported["realm"]


def test_what_a_client_reports_is_told_and_cannot_forge_a_line(server: Fixture, out: io.StringIO) -> None:
    client, _ = active(server)
    forged = 'x\n2017-06-02T19:07:17.703Z - fatal: sync: y\r\n{"level": "fatal"}\u2028z'
    client.say(c2s.ClientError(1, 112, forged).encode())
    client.say(c2s.Bind(7, "no\nJSON\x1b[2J", "", need_ident=True).encode())
    client.heard()
    first, second, third = lines(out, "warn")
    assert "error 112: x\\" in first
    assert "error 201 sent" in second
    assert "error 204 sent" in third
    assert lines(out, "fatal") == []
    assert all(line.isprintable() for line in out.getvalue().splitlines())
    assert of(server)["ros_sync_client_errors_total"] == 1


def test_no_token_is_ever_in_the_log_nor_what_apps_store(server: Fixture, out: io.StringIO, tmp_path: Path) -> None:
    keys = load_keys(tmp_path / "key.pub", tmp_path / "key")
    good = signed_wire_form(keys, b'{"identity": "writer", "access": ["download", "upload"]}')
    client, _ = active(server, b"/realm-sync", "/a", good)
    secret = encode(Changeset([AddTable("Confidential", TABLE_EMBEDDED)]))
    client.say(c2s.Refresh(1, good).encode(), upload(UploadEntry(2, 0, 1, 0, secret)))
    client.say(c2s.Bind(2, "/b", "forged" + good[:-9], need_ident=True).encode())
    client.heard()
    client.say(b"bind 1 2 3" + good.encode())
    client.heard()
    text = out.getvalue()
    assert any("received bind 1 " in line for line in lines(out, "trace"))
    assert any("received refresh 1 " in line for line in lines(out, "trace"))
    assert any("sent download 1 " in line for line in lines(out, "trace"))
    assert any("session 1 is ACTIVE" in line for line in lines(out, "trace"))
    for end in (good[-40:-10], good[:40]):
        assert end not in text
    assert "Confidential" not in text


def test_sessions_can_be_followed_at_debug(server: Fixture, out: io.StringIO) -> None:
    client, file = active(server)
    client.say(c2s.Unbind(1).encode())
    bound, identified, left = (line for line in lines(out, "debug") if ": session 1 " in line)
    assert bound.partition(": session 1 ")[2].startswith("bound to Realm ")
    assert bound.endswith(", user user")
    assert f" is client file {file.ident} of Realm " in identified
    assert " has left Realm " in left


def test_nothing_is_made_ready_for_lines_that_are_not_written(server: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realmserver.net.report.head_line", lambda data: pytest.fail("a head line was looked for"))
    active(server)


def test_a_token_that_is_refused_is_counted(server: Fixture) -> None:
    client = Client(server, b"/realm-sync")
    client.say(c2s.Bind(1, "/a", "nonsense", need_ident=True).encode())
    client.heard()
    found = of(server)
    assert found["ros_sync_authentication_failed_total"] == 1
    assert found["ros_sync_session_started_total"] == 0


def test_the_delay_of_the_event_loop_is_measured() -> None:
    reactor: Any = MemoryReactorClock()  # type: ignore[no-untyped-call]
    metrics = Metrics()
    meter = DelayMeter(reactor, metrics)
    meter.startService()
    reactor.advance(INTERVAL)
    reactor.advance(INTERVAL + 0.25)
    meter.stopService()
    found = figures(metrics.exposition("")[0])
    assert found["ros_sync_event_loop_delay_seconds_count"] == 2
    assert found["ros_sync_event_loop_delay_seconds_sum"] == pytest.approx(0.25)
    assert reactor.getDelayedCalls() == []
