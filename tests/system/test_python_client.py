"""The Python client against a real server process: the same client code that the load tool and users run."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from running_reactor import reactor, run
from server_process import ServerProcess
from twisted.internet.defer import Deferred

import realmserver.client
from realmserver.client.access import AccessEnded
from realmserver.client.app import App, AppError, User, partition
from realmserver.client.connection import Client, connect
from realmserver.client.errors import Closed, SyncFailed
from realmserver.client.synced import SyncedRealm

pytestmark = pytest.mark.system

SHARED = partition("shared")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One for all tests that leave it alone."""
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    process.start()
    yield process
    process.kill()


@pytest.fixture
def path(request: pytest.FixtureRequest) -> str:
    """A Realm of this test's own."""
    return partition(request.node.name)


class Device:
    """A client with one Realm; errors are kept."""

    def __init__(self, user: User, path: str = SHARED) -> None:
        self.errors: list[Exception] = []
        self.user = user
        self.client = Client(reactor, user, on_error=lambda _, error: self.errors.append(error), delays=lambda _: 0.05)
        self.realm = self.client.open(path)

    async def close(self) -> None:
        await self.client.close()
        assert self.errors == []


def app(server: ServerProcess) -> App:
    return App(reactor, server.url, "my-app")


async def device(server: ServerProcess, path: str = SHARED) -> Device:
    return Device(await app(server).login_anonymous(), path)


def add_schema(realm: SyncedRealm) -> None:
    with realm.write() as tx:
        tx.add_class("Dog", "_id", "string")
        tx.add_property("Dog", "name", "string", nullable=True)
        tx.add_property("Dog", "walks", "int")
        tx.add_property("Dog", "toys", "string", collection="list")


async def settled(*devices: Device) -> None:
    for each in devices:
        await each.realm.uploaded()
    for each in devices:
        await each.realm.downloaded()


def test_the_example_of_the_package_runs(server: ServerProcess) -> None:
    text = inspect.getdoc(realmserver.client)
    assert text is not None
    example = inspect.cleandoc(text.partition("::\n")[2].partition("\nRun with")[0])
    for walks in (1, 2):
        done = subprocess.run([sys.executable, "-c", example, server.url], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        dog = ast.literal_eval(done.stdout)
        assert dog == {"_id": 7, "name": "Rex", "walks": walks}


def test_two_devices_write_at_once_and_come_to_one_state(server: ServerProcess, path: str) -> None:
    async def scene() -> None:
        one, two = await device(server, path), await device(server, path)
        for each in (one, two):
            add_schema(each.realm)
        for number in range(30):
            with one.realm.write() as tx:
                if number == 0:
                    tx.create("Dog", "rex", {"name": "Rex"})
                tx.increment("Dog", "rex", "walks")
                tx.list_append("Dog", "rex", "toys", f"one {number}")
            with two.realm.write() as tx:
                if two.realm.get("Dog", "rex") is None:
                    tx.create("Dog", "rex")
                tx.increment("Dog", "rex", "walks", 10)
                tx.list_insert("Dog", "rex", "toys", 0, f"two {number}")
            if number % 7 == 0:
                await one.realm.downloaded()
        await settled(one, two)
        assert one.realm.values.state() == two.realm.values.state()
        rex = one.realm.get("Dog", "rex")
        assert rex is not None
        assert rex["walks"] == 330
        assert len(rex["toys"]) == 60  # type: ignore[arg-type]
        await one.close()
        await two.close()

    run(scene())


def test_what_is_written_while_the_server_is_away_arrives_when_it_is_back(server_process: ServerProcess) -> None:
    server_process.start()

    async def begin() -> tuple[Device, Device]:
        one, two = await device(server_process), await device(server_process)
        add_schema(one.realm)
        await settled(one, two)
        return one, two

    one, two = run(begin())
    server_process.kill()

    async def write() -> list[Deferred[None]]:
        with one.realm.write() as tx:
            tx.create("Dog", "rex", {"name": "Rex"})
        with two.realm.write() as tx:
            tx.create("Dog", "rex", {"walks": 3})
        return [one.realm.uploaded(), two.realm.uploaded()]

    waiting = run(write())
    server_process.start()

    async def end() -> None:
        for each in waiting:
            await each
        await settled(one, two)
        assert one.realm.get("Dog", "rex") == two.realm.get("Dog", "rex")
        assert one.realm.values.state() == two.realm.values.state()
        await one.close()
        await two.close()

    run(end())


def test_a_paused_realm_is_silent_until_it_is_resumed(server: ServerProcess, path: str) -> None:
    async def scene() -> None:
        one, two = await device(server, path), await device(server, path)
        add_schema(one.realm)
        await settled(one, two)
        two.realm.pause()
        with one.realm.write() as tx:
            tx.create("Dog", "rex")
        with two.realm.write() as tx:
            tx.create("Dog", "fido")
        await one.realm.uploaded()
        await one.realm.downloaded()
        assert two.realm.get("Dog", "rex") is None
        assert one.realm.get("Dog", "fido") is None
        two.realm.resume()
        await settled(two, one)
        assert one.realm.values.state() == two.realm.values.state()
        assert len(two.realm.values.objects("Dog")) == 2
        await one.close()
        await two.close()

    run(scene())


def test_one_connection_carries_many_realms(server: ServerProcess, path: str) -> None:
    async def scene() -> None:
        one = await device(server, path)
        others = [one.client.open(partition(number)) for number in range(5)]
        for number, realm in enumerate(others):
            add_schema(realm)
            with realm.write() as tx:
                tx.create("Dog", f"dog {number}")
        for realm in others:
            await realm.uploaded()
        reader = await device(server, partition(3))
        await reader.realm.downloaded()
        assert [key[1] for key in reader.realm.values.objects("Dog")] == ["dog 3"]
        others[0].close()
        with pytest.raises(Closed):
            await others[0].downloaded()
        await one.close()
        await reader.close()

    run(scene())


def test_a_client_with_a_stale_access_token_gets_a_new_one(server: ServerProcess, path: str) -> None:
    async def scene() -> None:
        user = await app(server).login_anonymous()
        user.access_token = stale = user.access_token[:-8] + "AAAAAAAA"
        one = Device(user, path)
        await one.realm.downloaded()
        assert user.access_token != stale
        await one.close()

    run(scene())


def test_a_client_whose_login_has_ended_gives_up(server: ServerProcess, path: str) -> None:
    async def scene() -> None:
        user = await app(server).login_anonymous()
        await user.logout()
        user.access_token = "nothing"
        one = Device(user, path)
        with pytest.raises(AccessEnded):
            await one.realm.downloaded()
        assert [type(error) for error in one.errors] == [AccessEnded]
        with pytest.raises(AccessEnded):
            one.client.open(path)
        await one.client.close()

    run(scene())


def test_users_register_log_in_refresh_and_log_out(server: ServerProcess) -> None:
    async def error_of(call: Any) -> tuple[int, str]:
        with pytest.raises(AppError) as caught:
            await call
        return caught.value.status, caught.value.error_code

    async def scene() -> None:
        my_app = app(server)
        await my_app.register("ann@example.org", "correct horse")
        assert await error_of(my_app.register("ann@example.org", "other words")) == (409, "AccountNameInUse")
        assert await error_of(my_app.login_password("ann@example.org", "wrong")) == (401, "InvalidPassword")
        user = await my_app.login_password("ann@example.org", "correct horse")
        again = await my_app.login_password("ann@example.org", "correct horse")
        assert user.user_id == again.user_id
        await user.refresh()
        await user.logout()
        assert await error_of(user.refresh()) == (401, "InvalidSession")
        await again.refresh()

    run(scene())


def test_a_signed_token_opens_a_realm_without_an_app(server: ServerProcess) -> None:
    token = (server.root / "admin_token.base64").read_text().strip()

    async def scene() -> None:
        errors: list[Exception] = []
        client = connect(reactor, server.url, token=token, on_error=lambda _, error: errors.append(error))
        realm = client.open("/shared/dogs")
        add_schema(realm)
        await realm.uploaded()
        other = connect(reactor, server.url, token=token)
        copy = other.open("/shared/dogs")
        await copy.downloaded()
        assert copy.values.classes() == ["Dog"]
        illegal = client.open("no path")
        with pytest.raises(SyncFailed) as caught:
            await illegal.downloaded()
        assert caught.value.code == 204
        assert errors == [caught.value]
        await client.close()
        await other.close()

    run(scene())
