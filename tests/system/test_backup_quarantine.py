"""Damaged Realms in a real server: told once, harmless to others, and back after a repair, without a restart."""

import json
import mmap
import os
import shutil
import time
from pathlib import Path

import pytest
from promtool import figures
from raw_sync import Closed, Login, RawSync, ask, log_in, sync_path, upgrade_request
from server_process import ServerProcess
from sync_neighbours import GoodClient, new_object, new_table
from sync_verdicts import check_error, content, entry

from realmserver.realms.registry import RETRY_DELAY
from realmserver.realms.requests import DownloadCursor, SaltedVersion, UploadCursor
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c

pytestmark = pytest.mark.system

AGAIN = content("Transient", try_again=True) | {
    "backoffIntervalSec": 10,
    "backoffMaxDelaySec": 300,
    "backoffMultiplier": 2,
}
PAGE = mmap.PAGESIZE
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


def wait_until_it_is_back(port: int, login: Login) -> None:
    for _ in range(RETRY_DELAY * 10):
        if isinstance(bind(port, login), s2c.Ident):
            return
        time.sleep(0.2)
    raise AssertionError("it does not come back")


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
    wait_until_it_is_back(port, login)
    back = GoodClient(port, login, BAD)
    assert [entry.changeset for entry in back.log.values()] == [new_table()]
    assert problems(port) == []
    assert quarantined(port) == 0
    assert "is in service again" in server_process.text()
    back.close()
    good.close()


MARK = b"stands in the old entries of the log"


def write_marked(client: GoodClient, first: int, last: int) -> None:
    for number in range(first, last):
        client.write(new_object(number, MARK + os.urandom(900)))


def zero_marked_pages(data: Path) -> int:
    """What a disk does that has lost writes; the file is open and mapped meanwhile. How many pages."""
    found = 0
    with data.open("r+b") as file:
        for page in range(2, data.stat().st_size // PAGE):  # the first two say where all is, and stay
            file.seek(page * PAGE)
            if MARK in file.read(PAGE):
                file.seek(page * PAGE)
                file.write(bytes(PAGE))
                found += 1
    return found


def test_damage_to_an_open_realm_sets_it_aside_until_it_is_repaired(
    server_process: ServerProcess, tmp_path: Path
) -> None:
    server_process.start()
    port = server_process.port
    login = log_in(port)
    writer = GoodClient(port, login, BAD)
    writer.write(new_table())
    write_marked(writer, 0, 60)
    writer.close()
    assert server_process.stop() == 0
    (directory,) = (server_process.root / "user_data").rglob("*.realm")
    shutil.copytree(directory, tmp_path / "kept")
    server_process.start()

    def connect() -> RawSync:
        return RawSync(port, upgrade_request(sync_path(login.access_token)))

    with connect() as bound, connect() as newcomer:
        good = GoodClient(port, login, GOOD)
        good.write(new_table())
        file, head = bound.join(BAD)
        bound.upload([entry(2, head.latest.version, new_object(1000))], UploadCursor(2, head.latest.version))
        bound.send_message(c2s.Mark(1, 1).encode())
        bound.expect(s2c.Mark)
        ahead = DownloadCursor(head.latest.version + 1, 2)
        assert zero_marked_pages(directory / "data.mdb") > 5
        newcomer.send_message(c2s.Bind(1, BAD, "", need_ident=True).encode())
        answer = newcomer.next()
        if isinstance(answer, s2c.Ident):  # the values, which follow the log, have not come upon the damage before
            newcomer.send_message(c2s.Ident(1, answer.ident, answer.salt).encode())
            answer = newcomer.expect(s2c.JsonError)
        check_error(answer, 201, 1, AGAIN)
        check_error(bound.expect(s2c.JsonError), 201, 1, AGAIN)  # who had asked for nothing
        good.write(new_object(good.version))
        assert bound.is_alive()
        assert newcomer.is_alive()
    assert problems(port) == ["1 Realm is in quarantine, see the log"]
    assert quarantined(port) == 1
    time.sleep(RETRY_DELAY + 1)
    check_error(bind(port, login), 201, 1, AGAIN)
    assert server_process.text().count("is in quarantine") == 1
    assert "is in service again" not in server_process.text()

    shutil.copyfile(tmp_path / "kept" / "data.mdb", directory / "data.mdb")
    wait_until_it_is_back(port, login)
    back = GoodClient(port, login, BAD)
    assert len(back.log) == 61
    write_marked(back, 100, 110)
    with connect() as returning:  # it knows what the repaired file does not have
        returning.rejoin(BAD, file, ahead, SaltedVersion(ahead.server_version, 1))
        error = returning.expect(s2c.JsonError)
        assert error.content["shouldClientReset"] is True
    good.write(new_object(good.version))
    assert problems(port) == []
    assert quarantined(port) == 0
    back.close()
    good.close()
    assert server_process.stop() == 0
