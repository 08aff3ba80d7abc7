"""An App Services API in memory, with a client that speaks HTTP to it as SDKs do."""

import itertools
import json
import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from attrs import define, field, frozen
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, execute, fail
from twisted.python.failure import Failure

from realmserver.auth.accounts import Accounts
from realmserver.auth.gate import Gate
from realmserver.auth.keys import Keys
from realmserver.auth.logins import Logins
from realmserver.auth.passwords import Passwords
from realmserver.auth.tokens import Tokens
from realmserver.http.app_services import SERVED_PROVIDERS, Surroundings, make_api
from realmserver.store.system import MemorySystemStore

P = ParamSpec("P")
T = TypeVar("T")

START = 1_800_000_000
BASE = "http://realm.example.com:9080"
API = "/api/client/v2.0"
APP = f"{API}/app/app1"


@define
class DirectWorker:
    """Does its work at once, in this thread; or fails with ``error``."""

    error: Exception | None = None

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        if self.error is not None:
            return fail(self.error)
        return execute(function, *args, **kwargs)


@frozen
class Answer:
    """What a client sees of an answer."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def result_of(deferred: "Deferred[T]") -> T:
    """The result of a Deferred that has fired."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "the Deferred has not fired"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]  # type: ignore[no-any-return]


@define
class Server:
    """The API and what it hangs on. ``now`` is its clock; ``ended`` the logins it said have ended."""

    keys: Keys
    apps: frozenset[str] | None = None
    providers: frozenset[str] = SERVED_PROVIDERS
    now: float = START
    ended: list[tuple[str, str | None]] = field(factory=list)
    accounts: Accounts = field(factory=lambda: Accounts(MemorySystemStore(), random_bytes=os.urandom))
    store: DirectWorker = field(factory=DirectWorker)
    hashing: DirectWorker = field(factory=DirectWorker)
    tokens: Tokens = field(init=False)
    gate: Gate = field(init=False)
    _client: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tokens = Tokens(self.keys)
        self.gate = Gate(self.tokens, self.accounts, self.store)
        counter = itertools.count(1)

        def new_id() -> str:
            return f"{next(counter):024x}"

        def on_end(user_id: str, session_id: str | None) -> None:
            self.ended.append((user_id, session_id))
            self.gate.forget(user_id, session_id)

        logins = Logins(
            self.accounts,
            self.tokens,
            Passwords(time_cost=1, memory_cost=8),
            store=self.store,
            hashing=self.hashing,
            new_id=new_id,
            on_end=on_end,
        )
        surroundings = Surroundings(lambda: self.now, new_id, apps=self.apps, providers=self.providers)
        self._client = StubTreq(make_api(logins, surroundings))  # type: ignore[no-untyped-call]

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        base: str = BASE,
    ) -> Answer:
        """One request; ``body`` is sent as JSON, or as it is if it is bytes, ``token`` as a Bearer token."""
        sent = {"Accept": "application/json", **(headers or {})}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data = b""
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent["Content-Type"] = "application/json;charset=utf-8"
        response = result_of(self._client.request(method, base + path, headers=sent, data=data))
        self._client.flush()
        text = result_of(response.text("utf-8"))
        fields = {name.decode(): value[0].decode() for name, value in response.headers.getAllRawHeaders()}
        return Answer(response.code, fields, text)

    def get(self, path: str, **how: Any) -> Answer:
        return self.request("GET", path, **how)

    def post(self, path: str, body: object = None, **how: Any) -> Answer:
        return self.request("POST", path, body, **how)

    def delete(self, path: str, **how: Any) -> Answer:
        return self.request("DELETE", path, **how)

    def register(self, email: str = "a@example.com", password: str = "secret1") -> Answer:
        return self.post(f"{APP}/auth/providers/local-userpass/register", {"email": email, "password": password})

    def log_in(self, email: str = "a@example.com", password: str = "secret1") -> Answer:
        body = {"provider": "local-userpass", "username": email, "password": password, "options": {"device": {}}}
        return self.post(f"{APP}/auth/providers/local-userpass/login", body)

    def log_in_anonymously(self) -> Answer:
        body = {"provider": "anon-user", "options": {"device": {"appId": "app1", "platform": "Linux"}}}
        return self.post(f"{APP}/auth/providers/anon-user/login", body)
