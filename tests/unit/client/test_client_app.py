"""Logging in: what is asked of the server, and what its answers become."""

import json
import uuid
from collections.abc import Coroutine
from typing import Any

import pytest
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.web.resource import Resource

from realmserver.client.access import AccessEnded, SignedToken, Unreachable, websocket_url
from realmserver.client.app import MAX_ANSWER, TIMEOUT, App, AppError, User, partition
from realmserver.realms.paths import partition_realm
from realmserver.realms.reading import ObjectId

LOGIN = {"user_id": "u1", "access_token": "a1", "refresh_token": "r1", "device_id": "d1"}


class Api(Resource):
    """Answers everything from ``answers`` (path → status, body) and remembers what it was asked."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.answers: dict[str, tuple[int, object]] = {}
        self.asked: list[tuple[str, str, object, str | None]] = []

    def render(self, request: Any) -> bytes:
        path = request.path.decode()
        content = request.content.read()
        token = request.getHeader("Authorization")
        self.asked.append((request.method.decode(), path, json.loads(content) if content else None, token))
        status, answer = self.answers[path.removeprefix("/api/client/v2.0")]
        request.setResponseCode(status)
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()


class Scene:
    def __init__(self) -> None:
        self.api = Api()
        self.clock = Clock()
        self.agent: Any = RequestTraversalAgent(self.api)  # type: ignore[no-untyped-call]
        self.app = App(self.clock, "http://server:9080/", "my app", self.agent)
        self.user = User(self.app, user_id="u1", access_token="a+1", refresh_token="r1", device_id="d1")

    def result(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        found: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(found.append)
        self.agent.flush()
        self.clock.advance(0)
        if hasattr(found[0], "value"):
            raise found[0].value
        return found[0]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_logging_in_asks_the_provider_and_keeps_the_tokens(scene: Scene) -> None:
    route = "/app/my%20app/auth/providers"
    scene.api.answers = {
        f"{route}/local-userpass/register": (201, {}),
        f"{route}/local-userpass/login": (200, LOGIN),
        f"{route}/anon-user/login": (200, {**LOGIN, "user_id": "u2"}),
    }
    scene.result(scene.app.register("ann", "secret"))
    user = scene.result(scene.app.login_password("ann", "secret"))
    assert (user.user_id, user.access_token, user.refresh_token, user.device_id) == ("u1", "a1", "r1", "d1")
    assert scene.result(scene.app.login_anonymous()).user_id == "u2"
    assert [each[2] for each in scene.api.asked] == [
        {"email": "ann", "password": "secret"},
        {"username": "ann", "password": "secret"},
        {},
    ]


def test_sessions_are_refreshed_and_ended_with_the_refresh_token(scene: Scene) -> None:
    scene.api.answers["/auth/session"] = (201, {"access_token": "a2"})
    scene.result(scene.user.refresh())
    assert scene.user.access_token == "a2"
    scene.api.answers["/auth/session"] = (204, b"")
    scene.result(scene.user.logout())
    assert [(method, token) for method, _, _, token in scene.api.asked] == [
        ("POST", "Bearer r1"),
        ("DELETE", "Bearer r1"),
    ]


def test_the_websocket_is_where_the_server_says_with_the_token_escaped(scene: Scene) -> None:
    scene.api.answers["/app/my%20app/location"] = (200, {"ws_hostname": "wss://other:1"})
    url = scene.result(scene.user.url())
    assert url == "wss://other:1/api/client/v2.0/app/my%20app/realm-sync?baas_at=a%2B1"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, {"error": "invalid session", "error_code": "InvalidSession"}, (401, "InvalidSession", "invalid session")),
        (500, {"error": 5}, (500, "", "")),
        (502, b"<html>", (502, "", "the answer is not a JSON object")),
        (200, b"[1]", (200, "", "the answer is not a JSON object")),
        (200, {"user": 1}, (200, "", "the answer has no access_token")),
        (200, b"x" * (MAX_ANSWER + 1), (200, "", f"the answer has more than {MAX_ANSWER} bytes")),
    ],
    ids=range(6),
)
def test_an_answer_that_is_no_success_is_an_error_with_its_code(
    scene: Scene, status: int, body: object, expected: tuple[int, str, str]
) -> None:
    scene.api.answers["/auth/session"] = (status, body)
    with pytest.raises(AppError) as caught:
        scene.result(scene.user.refresh())
    assert (caught.value.status, caught.value.error_code, caught.value.message) == expected


@pytest.mark.parametrize(("status", "error"), [(401, AccessEnded), (403, AccessEnded), (503, Unreachable)])
def test_a_refused_refresh_is_the_end_and_a_failed_one_is_not(scene: Scene, status: int, error: type) -> None:
    scene.api.answers["/auth/session"] = (status, {})
    with pytest.raises(error):
        scene.result(scene.user.renew())


def test_a_server_that_cannot_be_reached_is_told_apart_from_one_that_refuses() -> None:
    class NoRoute:
        def request(self, *_: object) -> Deferred[Any]:
            return fail(ConnectionRefusedError("nobody listens"))  # type: ignore[no-untyped-call]

    agent: Any = NoRoute()
    found: list[Any] = []
    app = App(Clock(), "http://server", "a", agent)
    Deferred.fromCoroutine(app.login_anonymous()).addBoth(found.append)
    assert isinstance(found[0].value, Unreachable)


def test_a_server_that_does_not_answer_is_not_waited_for_for_ever() -> None:
    class Silence:
        def request(self, *_: object) -> Deferred[Any]:
            return Deferred()

    agent: Any = Silence()
    clock, found = Clock(), list[Any]()
    Deferred.fromCoroutine(App(clock, "http://server", "a", agent).login_anonymous()).addBoth(found.append)
    clock.advance(TIMEOUT - 1)
    assert found == []
    clock.advance(1)
    assert isinstance(found[0].value, Unreachable)


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        ("a b", "string-a_20b"),
        (7, "int-7"),
        (-(2**63), "int--9223372036854775808"),
        (None, "null"),
        (ObjectId(bytes(12)), "objectid-" + "0" * 24),
        (uuid.UUID(int=1), "uuid-00000000-0000-0000-0000-000000000001"),
    ],
)
def test_partition_values_name_the_realms_that_the_server_means(value: Any, segment: str) -> None:
    assert partition_realm("my-app", partition(value)).endswith(f"/{segment}")


@pytest.mark.parametrize("base", ["server:9080", "ftp://server", ""])
def test_what_is_no_base_url_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="no base URL"):
        websocket_url(base)


def test_a_signed_token_without_renewal_ends() -> None:
    found: list[Any] = []
    Deferred.fromCoroutine(SignedToken("https://server", "t").renew()).addErrback(found.append)
    assert isinstance(found[0].value, AccessEnded)
