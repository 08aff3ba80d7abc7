"""WebSockets that nobody uses, at a real server whose clock is fast (``hasty/sitecustomize.py``)."""

import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from raw_sync import Closed, RawSync, log_in, sync_path, upgrade_request
from server_process import ServerProcess
from test_limits import figures

from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c

pytestmark = pytest.mark.system

SETTINGS: Final = "limits: {bind_timeout: 60, idle_timeout: 150}\n"
"""The shortest that there are: 2 and 5 seconds of this server."""

HASTE: Final = Path(__file__).parent / "hasty"
PATIENCE: Final = 40.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path, SETTINGS)
    process.environment["PYTHONPATH"] = str(HASTE)
    process.start()
    yield process
    process.kill()


def has_ended(client: RawSync) -> bool:
    """Whether the server has closed the connection; nothing else is expected from it."""
    return bool(select.select([client.socket], [], [], 0)[0]) and client.next() == Closed(None)


def test_silent_websockets_and_those_without_a_realm_are_closed_and_may_come_again(server: ServerProcess) -> None:
    login = log_in(server.port)

    def connect() -> RawSync:
        return RawSync(server.port, upgrade_request(sync_path(login.access_token)))

    with connect() as busy, connect() as silent, connect() as unbound:
        busy.join('"shared"')
        file, _ = silent.join('"shared"')
        ended: set[str] = set()
        until = time.monotonic() + PATIENCE
        while len(ended) < 2:
            assert time.monotonic() < until, f"only {ended} have ended"
            assert busy.is_alive()
            if "unbound" not in ended:
                unbound.send_message(c2s.Ping(1, 0).encode())
                if isinstance(unbound.next(), Closed):
                    ended.add("unbound")
            if "silent" not in ended and has_ended(silent):
                ended.add("silent")
            time.sleep(0.1)
        found = figures(server.port)
        assert found['ros_limit_refused_total{limit="bind_timeout"}'] == 1
        assert found['ros_limit_refused_total{limit="idle_timeout"}'] == 1
        assert found["ros_sync_conn_term_limit_reached_total"] == 1
        assert found["ros_sync_conn_term_heartbeat_timeout_total"] == 1
        assert "it had no session for 60 seconds" in server.text()
        assert "nothing came from it for 150 seconds" in server.text()
        with connect() as again:
            again.rejoin('"shared"', file)
            again.send_message(c2s.Mark(1, 1).encode())
            again.expect(s2c.Mark)
        assert busy.is_alive()
