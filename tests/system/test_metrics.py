"""Health and figures of a real server process: they move with what happens, and are shown to the right people."""

import json
from typing import Any

import pytest
from promtool import complaints, figures, needs_promtool
from raw_sync import NEWEST, Answer, RawSync, UpgradeFailed, ask, log_in, sync_path, upgrade_request
from running_reactor import reactor, run
from server_process import ServerProcess

from realmserver._build import BUILD
from realmserver._version import __version__
from realmserver.client.app import App, partition
from realmserver.client.connection import Client
from realmserver.sync import client_messages as c2s

pytestmark = pytest.mark.system


def get(port: int, path: str, **headers: str) -> Answer:
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return ask(port, "\r\n".join([*lines, "", ""]).encode())


def of(server: ServerProcess) -> dict[str, float]:
    answer = get(server.port, "/metrics")
    assert answer.status == 200
    return figures(answer.body)


async def write(server: ServerProcess) -> None:
    """One device writes something, and another one gets it."""
    devices = []
    for _ in range(2):
        user = await App(reactor, server.url, "my-app").login_anonymous()
        client = Client(reactor, user)
        devices.append((client, client.open(partition("shared"))))
    for number, (_, realm) in enumerate(devices):
        with realm.write() as tx:
            tx.add_class("Dog", "_id", "int")
            tx.create("Dog", number)
        await realm.uploaded()
    for client, realm in devices:
        await realm.downloaded()
        await client.close()


def test_the_server_says_that_it_is_well(server_process: ServerProcess) -> None:
    server_process.start()
    for port in (server_process.port, server_process.http_port):
        for path in ("/health", "/health/"):
            answer = get(port, path)
            assert answer.status == 200
            assert answer.headers["content-type"] == "application/json; charset=utf-8"
            content = json.loads(answer.body)
            assert (content["ready"], content["version"]) == (True, __version__)
            assert all("disk" in problem for problem in content["problems"]), "a full disk is the machine's matter"
    assert get(server_process.port, "/").status == 200
    assert get(server_process.sync_port, "/health").status == 404


def test_figures_move_with_traffic(server_process: ServerProcess) -> None:
    server_process.start()
    before = of(server_process)
    run(write(server_process))
    after = of(server_process)

    def moved(name: str) -> float:
        return after[name] - before[name]

    for name in ("connection_started", "connection_terminated", "session_started", "session_terminated"):
        assert moved(f"ros_sync_{name}_total") == 2, name
    assert after["ros_sync_connection_online"] == after["ros_sync_session_online"] == 0
    assert moved("ros_sync_conn_term_end_of_input_total") == 2
    assert moved("ros_sync_changeset_integrated_total") >= 2
    assert moved("ros_sync_changeset_integrated_seconds_count") >= 2
    assert moved("ros_sync_upload_processing_seconds_sum") > 0
    assert moved("ros_sync_download_constructed_total") >= 2
    assert moved("ros_sync_merges_performed_total") >= 1
    assert moved("ros_sync_protocol_bytes_received_total") > 100
    assert moved("ros_sync_protocol_bytes_sent_total") > 100
    assert moved("ros_http_bytes_received_total") > 0
    assert moved("ros_http_bytes_sent_total") > 0
    assert moved('ros_http_requests_total{status="2xx"}') >= 2
    assert moved('ros_log_lines_total{level="info"}') >= 4
    assert after["ros_sync_realms_open"] == 1
    assert after["ros_sync_upload_pending_bytes"] == 0
    assert 0 < after["ros_sync_disk_free_bytes"] < after["ros_sync_disk_size_bytes"]
    assert after["process_resident_memory_bytes"] > 1e6
    assert after[f'ros_build_info{{build="{BUILD}",version="{__version__}"}}'] == 1


def test_errors_are_counted_and_logged_by_number(server_process: ServerProcess) -> None:
    server_process.start()
    login = log_in(server_process.port)
    with pytest.raises(UpgradeFailed):
        RawSync(server_process.port, upgrade_request(sync_path("nonsense")))
    with RawSync(server_process.port, upgrade_request(sync_path(login.access_token))) as client:
        client.send_message(c2s.Bind(1, "no JSON", "", need_ident=True).encode(), b"ping 5 0\n", b"nonsense")
        client.to_the_end()
    with RawSync(server_process.port, upgrade_request("/realm-sync", NEWEST)) as client:
        client.send_message(c2s.Bind(1, "/a", "nonsense", need_ident=True).encode())
        client.to_the_end()
    found = of(server_process)
    assert found["ros_sync_authentication_failed_total"] == 2
    assert found['ros_sync_errors_sent_total{code="204"}'] == found['ros_sync_errors_sent_total{code="103"}'] == 1
    assert found["ros_sync_session_failed_total"] == found["ros_sync_protocol_violated_total"] == 1
    assert found["ros_sync_conn_term_sync_protocol_error_total"] == 1
    assert found["ros_sync_conn_term_unauthorized_total"] == 1
    (line,) = [line for line in server_process.text().splitlines() if "error 204 sent" in line]
    assert f"user {login.user_id}, Realm no JSON)" in line
    assert " - warn: sync: " in line


@needs_promtool
def test_prometheus_finds_nothing_wrong(server_process: ServerProcess) -> None:
    server_process.start()
    run(write(server_process))
    answer = get(server_process.port, "/metrics", Accept="text/plain;version=0.0.4")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert complaints(answer.body) == ""


def test_figures_are_shown_here_and_to_administrators(server_process: ServerProcess) -> None:
    server_process.start()
    admin = (server_process.root / "admin_token.base64").read_text()
    forwarded: dict[str, Any] = {"X_Forwarded_For": "192.0.2.7"}
    assert get(server_process.port, "/metrics").status == 200
    assert get(server_process.port, "/metrics", **forwarded).status == 401
    assert get(server_process.port, "/metrics", **forwarded, Authorization=admin).status == 200
    assert get(server_process.http_port, "/metrics", **forwarded, Authorization=f"Bearer {admin}").status == 200
    refused = get(server_process.port, "/metrics", **forwarded, Authorization=admin[:-20])
    assert (refused.status, json.loads(refused.body)["code"]) == (401, 611)
    user = log_in(server_process.port)
    assert get(server_process.port, "/metrics", Authorization=user.access_token).status == 403
    assert "ros_sync" not in refused.body.decode()


def test_transactions_and_messages_are_logged_where_an_operator_wants_them(server_process: ServerProcess) -> None:
    server_process.settings = "logging: {level: trace}\n"
    server_process.start()
    run(write(server_process))
    lines = server_process.text().splitlines()
    integrated = [line for line in lines if " - detail: sync: " in line and ": integrated " in line]
    assert len(integrated) >= 2
    assert any(" of client file " in line and ": version " in line for line in integrated)
    assert any(" - detail: sync: " in line and ": sent " in line for line in lines)
    for way in ("received bind 1 ", "received ident 1 ", "received upload 1 ", "sent download 1 ", "is ACTIVE"):
        assert any(" - trace: sync: " in line and way in line for line in lines), way
    admin = (server_process.root / "admin_token.base64").read_text()
    assert admin[:40] not in server_process.text()
