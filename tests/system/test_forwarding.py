"""Two server processes: one has the services, the other only forwards to it, and no app can tell."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest
from authority import Authority
from raw_sync import APP, PING, PONG, RawSync, RawWebSocket, UpgradeFailed, ask, log_in, sync_path, upgrade_request
from route_checks import close, get, hear_each_other, location, start
from server_process import PATIENCE, ServerProcess

pytestmark = pytest.mark.system


class House:
    """``front`` forwards everything to ``back``, whose own proxy is off."""

    def __init__(self, directory: Path) -> None:
        for name in ("front", "back"):
            (directory / name).mkdir()
        self.back = ServerProcess(directory / "back", "logging: {level: detail}\n", proxy={"http": {"enable": False}})
        self.front = ServerProcess(
            directory / "front",
            f"sync: {{servers: [{{id: '0', address: 127.0.0.1, port: {self.back.sync_port}}}]}}\n"
            "logging: {level: detail}\n",
            network={"http": {"forward_to": f"127.0.0.1:{self.back.http_port}"}},
        )

    def start(self) -> None:
        """Start what does not run as it should."""
        if self.front.is_running and self.front.proxy:
            self.front.kill()
        self.front.proxy = {}
        for process in (self.back, self.front):
            if not process.is_running:
                process.start()

    def end(self) -> None:
        self.front.kill()
        self.back.kill()


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"))
    yield made
    made.end()


@pytest.fixture
def house(houses: House) -> House:
    """Both, running; a test may stop them and leave them so."""
    houses.start()
    return houses


def status(url: str) -> int:
    try:
        get(url)
    except HTTPError as error:
        return error.code
    return 200


def test_apps_sync_through_a_front(house: House) -> None:
    devices = [start(house.front.url), start(house.front.url)]
    hear_each_other(*devices)
    close(*devices)


def test_a_front_may_speak_tls(house: House, tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    authority = Authority(tmp_path / "tls")
    certificate, private = authority.issue()
    house.front.stop()
    house.front.proxy = {"https": {"enable": True, "certificate_path": certificate, "private_key_path": private}}
    house.front.start()
    secure = f"https://localhost:{house.front.https_port}"
    assert location(secure, authority.certificate)["ws_hostname"] == secure.replace("https", "wss")
    devices = [start(secure, authority.certificate), start(house.front.url)]
    hear_each_other(*devices)
    close(*devices)


def test_apps_are_told_the_fronts_address(house: House) -> None:
    found = location(house.front.url)
    assert found["hostname"] == house.front.url
    assert found["ws_hostname"] == house.front.url.replace("http", "ws")


def test_the_backend_knows_the_client_whoever_is_between(house: House) -> None:
    told = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "sync.example.com"}
    found = location(house.front.url, headers=told)
    assert found["hostname"] == "https://sync.example.com"
    login = log_in(house.front.port)
    with RawSync(house.front.port, upgrade_request(sync_path(login.access_token), **told)) as device:
        assert device.is_alive()
        device.join('"shared"')
    assert "connected from 203.0.113.7," in house.back.text()


def test_a_refusal_reaches_the_client_as_the_backend_wrote_it(house: House) -> None:
    for path, subprotocol in ((sync_path("no-token"), "com.mongodb.realm-sync#14"), ("/realm-sync", "rubbish")):
        request = upgrade_request(path, subprotocol)
        direct, forwarded = (ask(port, request) for port in (house.back.sync_port, house.front.port))
        assert direct.status in (400, 401)
        assert (forwarded.status, forwarded.body) == (direct.status, direct.body)
        assert forwarded.headers["content-type"] == direct.headers["content-type"]


def test_much_goes_through_in_both_directions(house: House) -> None:
    login = log_in(house.front.port)
    with RawWebSocket(house.front.port, upgrade_request(sync_path(login.access_token))) as one:
        for number in range(20):
            asked = [f"{number} {place}".encode().ljust(125) for place in range(500)]
            for payload in asked:
                one.send_frame(PING, payload)
            answered: list[bytes] = []
            while len(answered) < len(asked):
                received = one.receive_frame()
                assert received is not None
                if received[0] == PONG:
                    answered.append(received[1])
            assert answered == asked


def test_while_the_backend_is_away_clients_are_told_and_come_back_by_themselves(house: House) -> None:
    device = start(house.front.url)
    house.back.kill()
    with pytest.raises(HTTPError) as caught:
        location(house.front.url)
    assert caught.value.code == 502
    assert caught.value.headers["Content-Type"] == "application/json"
    assert set(json.loads(caught.value.read())) == {"error", "error_code", "link"}
    with pytest.raises(HTTPError) as caught:
        get(f"{house.front.url}/auth")
    assert caught.value.headers["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(caught.value.read())["code"] == 502
    with pytest.raises(UpgradeFailed) as refused:
        RawSync(house.front.port, upgrade_request(sync_path("x")))
    assert refused.value.answer.status == 502
    house.back.start()
    newcomer = start(house.front.url)
    hear_each_other(device, newcomer)
    close(device, newcomer)


def test_a_front_stops_in_order_under_open_websockets(house: House) -> None:
    login = log_in(house.front.port)
    with RawSync(house.front.port, upgrade_request(sync_path(login.access_token))) as device:
        device.join('"shared"')
        assert house.front.stop() == 0
        assert device.read_all() == b""
    assert "Traceback" not in house.front.text() + house.back.text()


def test_a_client_that_ends_ends_at_the_backend(house: House) -> None:
    login = log_in(house.front.port)
    device = RawSync(house.front.port, upgrade_request(sync_path(login.access_token)))
    device.join('"shared"')
    device.reset()
    with RawSync(house.front.port, upgrade_request(sync_path(login.access_token))) as other:
        other.join('"shared"')
    assert house.back.stop() == 0  # it does not wait for the one that has gone


def test_no_token_is_in_a_log(house: House) -> None:
    login = log_in(house.front.port, APP)
    with RawSync(house.front.port, upgrade_request(sync_path(login.access_token))) as device:
        device.join('"shared"')
    house.back.kill()
    assert status(f"{house.front.url}/auth?token={login.refresh_token}") == 502
    for text in (house.front.text(), house.back.text()):
        for token in (login.access_token, login.refresh_token):
            assert token[-40:] not in text


def test_with_the_proxy_off_the_services_are_reached_at_their_own_ports(house: House) -> None:
    back = house.back
    assert status(f"http://127.0.0.1:{back.http_port}/") == 200
    assert status(f"http://127.0.0.1:{back.sync_port}/realm-sync") == 400
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", back.port), timeout=PATIENCE)
