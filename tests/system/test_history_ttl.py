"""A real server whose history is kept for one second: devices stay connected while it is folded, a new one begins from
what it was folded into, and all go on together."""

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import lmdb
import pytest
from promtool import figures
from raw_sync import ask
from running_reactor import run
from server_process import ServerProcess
from test_python_client import add_schema, device, settled

from realmserver.store.records import unpack_head

pytestmark = pytest.mark.system

PATIENCE = 40.0
METRICS = b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path, "history: {ttl: 1}\n")
    process.start()
    yield process
    process.kill()


def base_version(server: ServerProcess) -> int:
    """Where the log of the server's only Realm begins."""
    (file,) = (server.root / "user_data").rglob("data.mdb")
    with (
        lmdb.open(str(file.parent), readonly=True, lock=False, max_dbs=8) as env,
        env.begin(db=env.open_db(b"meta", create=False)) as txn,
    ):
        return unpack_head(txn.get(b"head") or b"", bytes(16)).base_version


def test_history_is_folded_under_connected_devices(server: ServerProcess) -> None:
    chance = Random(1)

    async def write() -> None:
        one = await device(server)
        add_schema(one.realm)
        for number in range(60):
            with one.realm.write() as tx:
                if number == 0:
                    tx.create("Dog", "rex")
                tx.set("Dog", "rex", "name", chance.randbytes(800).hex())
        await settled(one)
        folded = time.monotonic() + PATIENCE
        while base_version(server) == 0:
            assert time.monotonic() < folded, "the history was not folded"
            time.sleep(0.2)  # the device's connection may wait meanwhile
        young = await device(server)
        add_schema(young.realm)
        with young.realm.write() as tx:
            tx.create("Dog", "ace", {"walks": 3})
        await settled(young, one)
        with one.realm.write() as tx:
            tx.increment("Dog", "ace", "walks")
        with young.realm.write() as tx:
            tx.increment("Dog", "ace", "walks", 10)
        await settled(one, young)
        await settled(one, young)
        assert one.realm.values.state() == young.realm.values.state()
        ace = young.realm.get("Dog", "ace")
        assert ace is not None
        assert ace["walks"] == 14
        found = figures(ask(server.port, METRICS).body)
        assert found["ros_sync_history_squashes_total"] >= found["ros_sync_history_folded_total"] >= 1
        assert found["ros_sync_history_folded_versions_total"] == base_version(server)
        assert found["ros_sync_history_failed_total"] == 0
        await one.close()
        await young.close()

    run(write())
    assert server.stop() == 0
    assert "Traceback" not in server.text()
