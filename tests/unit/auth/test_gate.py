"""Who may open a WebSocket: 401 only where a refresh helps or fails, and no answer older than it may be."""

import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred, execute, fail
from twisted.python.failure import Failure

from realmserver.auth import gate as gate_module
from realmserver.auth.accounts import Accounts
from realmserver.auth.gate import CACHE_SECONDS, AppUser, Gate, UpgradeRefused, bearer_token
from realmserver.auth.keys import Keys
from realmserver.auth.logins import Login, LoginError, Logins
from realmserver.auth.passwords import Passwords
from realmserver.auth.tokens import ACCESS_LEEWAY, ACCESS_TTL, Tokens
from realmserver.auth.workers import TooBusy
from realmserver.store.interface import StoreError
from realmserver.store.system import MemorySystemStore

P = ParamSpec("P")
T = TypeVar("T")
NOW = 1_800_000_000.0


@define
class CountingWorker:
    """Works at once, or holds work back in ``held``, or fails with ``error``; counts the calls."""

    calls: int = 0
    error: Exception | None = None
    held: list[Callable[[], object]] | None = None

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        self.calls += 1
        if self.error is not None:
            return fail(self.error)
        if self.held is None:
            return execute(function, *args, **kwargs)
        result: Deferred[T] = Deferred()
        done = execute(function, *args, **kwargs)
        self.held.append(lambda: done.chainDeferred(result))
        return result


def result_of(deferred: "Deferred[Any]") -> Any:
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "the Deferred has not fired"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


@define
class House:
    """A gate, and the logins that come to it."""

    keys: Keys
    worker: CountingWorker = field(factory=CountingWorker)
    accounts: Accounts = field(factory=lambda: Accounts(MemorySystemStore(), random_bytes=os.urandom))
    tokens: Tokens = field(init=False)
    gate: Gate = field(init=False)
    logins: Logins = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tokens = Tokens(self.keys)
        self.gate = Gate(self.tokens, self.accounts, self.worker)
        self.logins = Logins(
            self.accounts,
            self.tokens,
            Passwords(time_cost=1, memory_cost=8),
            store=CountingWorker(),
            hashing=CountingWorker(),
            new_id=lambda: os.urandom(12).hex(),
            on_end=self.gate.forget,
        )

    def log_in(self) -> Login:
        login: Login = result_of(Deferred.fromCoroutine(self.logins.log_in_anonymously("app1", "00" * 12, now=NOW)))
        return login

    def log_out(self, login: Login) -> None:
        result_of(Deferred.fromCoroutine(self.logins.log_out(login.refresh_token, now=NOW)))

    def can_refresh(self, login: Login, now: float) -> bool:
        try:
            result_of(Deferred.fromCoroutine(self.logins.refresh(login.refresh_token, now=now)))
        except LoginError:
            return False
        return True

    def enter(self, token: str | None, now: float = NOW, app_id: str = "app1", header: str | None = None) -> AppUser:
        user: AppUser = result_of(self.gate.authenticate_upgrade(app_id, token, header, now))
        return user

    def status(self, token: str | None, now: float = NOW, app_id: str = "app1", header: str | None = None) -> int:
        """101, or the status of the refusal."""
        try:
            self.enter(token, now, app_id, header)
        except UpgradeRefused as refused:
            return refused.status
        return 101

    def is_alive(self, user: AppUser, now: float = NOW) -> bool:
        alive: bool = result_of(Deferred.fromCoroutine(self.gate.is_alive(user, now)))
        return alive


@pytest.fixture
def house(keys: Keys) -> House:
    return House(keys)


def test_a_token_in_the_url_lets_its_user_in(house: House) -> None:
    login = house.log_in()
    user = house.enter(login.access_token)
    assert (user.user_id, user.app_id, user.expires) == (login.user_id, "app1", NOW + ACCESS_TTL)


def test_older_clients_send_the_token_in_a_header(house: House) -> None:
    login = house.log_in()
    assert house.enter(None, header=f"Bearer {login.access_token}").user_id == login.user_id
    assert house.status(None, header=login.access_token) == 401
    assert house.status("wrong", header=f"Bearer {login.access_token}") == 401


@pytest.mark.parametrize("token", [None, "", "a.b.c", "\udcff"])
def test_without_a_good_token_it_is_401(house: House, token: str | None) -> None:
    assert house.status(token) == 401
    assert house.worker.calls == 0


def test_an_expired_token_is_401_and_its_successor_gets_in(house: House) -> None:
    login = house.log_in()
    late = NOW + ACCESS_TTL + ACCESS_LEEWAY
    assert house.status(login.access_token, late) == 101
    assert house.status(login.access_token, late + 1) == 401
    renewed = result_of(Deferred.fromCoroutine(house.logins.refresh(login.refresh_token, now=late + 1)))
    assert house.status(renewed, late + 1) == 101


def test_a_refresh_token_does_not_open_a_websocket(house: House) -> None:
    assert house.status(house.log_in().refresh_token) == 401


def test_a_token_of_another_app_is_403_because_a_refresh_would_not_help(house: House) -> None:
    login = house.log_in()
    assert house.status(login.access_token, app_id="app2") == 403


def test_no_401_where_a_refresh_succeeds_without_helping(house: House) -> None:
    """The circle that would have a client ask hundreds of times a second."""
    login = house.log_in()
    for spoil in (
        lambda: house.accounts.set_disabled(login.user_id, True),
        lambda: house.accounts.set_disabled(login.user_id, False),
        lambda: house.log_out(login),
        lambda: house.accounts.delete_user(login.user_id),
    ):
        spoil()
        house.gate.forget(login.user_id)
        status = house.status(login.access_token)
        assert status == 101 if house.can_refresh(login, NOW) else status in (401, 403)


def test_disabled_users_are_403_and_deleted_users_401(house: House) -> None:
    one, other = house.log_in(), house.log_in()
    house.accounts.set_disabled(one.user_id, True)
    house.accounts.delete_user(other.user_id)
    assert house.status(one.access_token) == 403
    assert house.status(other.access_token) == 401


def test_who_has_logged_out_is_refused_at_once(house: House) -> None:
    login = house.log_in()
    assert house.status(login.access_token) == 101
    house.log_out(login)
    assert house.status(login.access_token) == 401


def test_a_login_is_looked_up_once_in_a_while(house: House) -> None:
    login = house.log_in()
    for moment in (0, 1, CACHE_SECONDS - 1):
        assert house.status(login.access_token, NOW + moment) == 101
    assert house.worker.calls == 1
    house.accounts.delete_user(login.user_id)
    assert house.status(login.access_token, NOW + CACHE_SECONDS) == 401
    assert house.status(login.access_token, NOW + CACHE_SECONDS) == 401
    assert house.worker.calls == 3


def test_a_clock_set_back_does_not_stretch_what_is_remembered(house: House) -> None:
    login = house.log_in()
    house.status(login.access_token, NOW + 500)
    house.status(login.access_token, NOW)
    assert house.worker.calls == 2


def test_only_some_logins_are_remembered(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "CACHE_SIZE", 2)
    logins = [house.log_in() for _ in range(3)]
    for login in (*logins, logins[2], logins[1], logins[0]):
        house.status(login.access_token)
    assert house.worker.calls == 4


def test_an_answer_older_than_a_logout_is_not_remembered(house: House) -> None:
    login = house.log_in()
    house.worker.held = []
    waiting = house.gate.authenticate_upgrade("app1", login.access_token, None, NOW)
    house.log_out(login)
    house.worker.held[0]()
    result_of(waiting)
    house.worker.held = None
    assert house.status(login.access_token) == 401


def test_a_busy_or_broken_account_store_is_not_the_clients_fault(house: House) -> None:
    login = house.log_in()
    house.worker.error = TooBusy("full")
    assert house.status(login.access_token) == 503
    house.worker.error = StoreError("broken")
    with pytest.raises(StoreError):
        house.enter(login.access_token)


def test_an_open_connection_learns_that_its_login_has_ended(house: House) -> None:
    login, other = house.log_in(), house.log_in()
    user, other_user = house.enter(login.access_token), house.enter(other.access_token)
    assert house.is_alive(user)
    house.log_out(login)
    assert not house.is_alive(user)
    house.accounts.set_disabled(other.user_id, True)
    assert not house.is_alive(other_user, NOW + CACHE_SECONDS)


def test_a_login_outlives_its_access_token(house: House) -> None:
    user = house.enter(house.log_in().access_token)
    assert house.is_alive(user, NOW + 10 * ACCESS_TTL)


def test_an_account_store_in_trouble_ends_no_connection(house: House) -> None:
    user = house.enter(house.log_in().access_token)
    for error in (TooBusy("full"), StoreError("broken")):
        house.worker.error = error
        assert house.is_alive(user, NOW + CACHE_SECONDS)


def test_refusals_do_not_show_the_token(house: House) -> None:
    token = house.log_in().access_token
    with pytest.raises(UpgradeRefused) as caught:
        house.enter(token[:-4] + "AAAA")
    assert not any(part in str(caught.value) for part in token.split("."))


@pytest.mark.parametrize(
    ("header", "token"),
    [
        *((None, None), ("", None), ("Bearer", None), ("Bearer ", None), ("Basic x", None), ("x", None)),
        *(("Bearer x", "x"), ("bearer  x ", "x")),
    ],
)
def test_bearer_headers(header: str | None, token: str | None) -> None:
    assert bearer_token(header) == token
