"""Damaged Realms in a real server: told once, harmless to others, and back after a repair, without a restart."""

import json
import shutil
from pathlib import Path

import pytest
from promtool import figures
from raw_sync import Closed, Login, RawSync, ask, log_in, sync_path, upgrade_request
from server_process import ServerProcess
from sync_neighbours import GoodClient, new_object, new_table
from sync_verdicts import check_error, content

from realmserver.realms.registry import RETRY_DELAY
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c

pytestmark = pytest.mark.system

AGAIN = content("Transient", try_again=True) | {
    "backoffIntervalSec": 10,
    "backoffMaxDelaySec": 300,
    "backoffMultiplier": 2,
}
GOOD, BAD = '"good"', '"bad"'


def problems(port: int) -> list[str]:
    answer = ask(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    found: list[str] = json.loads(answer.body)["problems"]
    return [text for text in found if "disk" not in text]


def quarantined(port: int) -> float:
    answer = ask(port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    return figures(answer.body)["ros_sync_realms_quarantined"]


def bind(port: int, login: Login) -> s2c.ServerMessage:
    """What is answered to a client that begins a session with the damaged Realm."""
    with RawSync(port, upgrade_request(sync_path(login.access_token))) as client:
        client.send_message(c2s.Bind(1, BAD, "", need_ident=True).encode())
        answer = client.next()
        assert client.is_alive()
    assert not isinstance(answer, Closed)
    return answer


def test_a_damaged_realm_waits_for_its_repair(server_process: ServerProcess, tmp_path: Path) -> None:
    server_process.start()
    port = server_process.port
    login = log_in(port)
    bad = GoodClient(port, login, BAD)
    bad.write(new_table())
    (directory,) = (server_process.root / "user_data").rglob("*.realm")
    bad.close()
    assert server_process.stop() == 0
    shutil.copytree(directory, tmp_path / "kept")
    (directory / "data.mdb").write_bytes(b"rubbish" * 2000)
    server_process.start()
    good = GoodClient(port, login, GOOD)
    good.write(new_table())
    for _ in range(3):
        check_error(bind(port, login), 201, 1, AGAIN)
        good.write(new_object(good.version))
    assert problems(port) == ["1 Realm is in quarantine, see the log"]
    assert quarantined(port) == 1
    assert server_process.text().count("is in quarantine") == 1
    assert (directory / "data.mdb").read_bytes() == b"rubbish" * 2000
    shutil.copyfile(tmp_path / "kept" / "data.mdb", directory / "data.mdb")
    for _ in range(RETRY_DELAY * 10):
        with RawSync(port, upgrade_request(sync_path(login.access_token))) as client:
            client.send_message(c2s.Bind(1, BAD, "", need_ident=True).encode())
            if isinstance(client.next(), s2c.Ident):
                break
            client.socket.settimeout(0.2)
            try:
                client.socket.recv(1)
            except TimeoutError:
                client.socket.settimeout(None)
    else:
        raise AssertionError("it does not come back")
    back = GoodClient(port, login, BAD)
    assert [entry.changeset for entry in back.log.values()] == [new_table()]
    assert problems(port) == []
    assert quarantined(port) == 0
    assert "is in service again" in server_process.text()
    back.close()
    good.close()
