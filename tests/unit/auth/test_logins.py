"""Logins that end although who asked for it has gone. What the API does with logins is tested in tests/unit/http."""

import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec, TypeVar

import pytest
from twisted.internet.defer import CancelledError, Deferred

from realmserver.auth.accounts import Accounts
from realmserver.auth.keys import Keys
from realmserver.auth.logins import Login, Logins, NoRoom
from realmserver.auth.passwords import Passwords
from realmserver.auth.tokens import Tokens
from realmserver.store.system import MemorySystemStore

P = ParamSpec("P")
T = TypeVar("T")

NOW = 1_800_000_000.0


class LateWorker:
    """Does its work when it is told to, whether the caller has given up or not, as the worker with threads does."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        result: Deferred[T] = Deferred()
        self.waiting.append(lambda: result.callback(function(*args, **kwargs)))
        return result

    def work(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()


def start(coroutine: Coroutine[Any, Any, T]) -> "tuple[Deferred[T], list[Any]]":
    """What runs, and its result when there is one."""
    results: list[Any] = []
    running: Deferred[T] = Deferred.fromCoroutine(coroutine)
    running.addBoth(results.append)
    return running, results


@pytest.mark.parametrize("whole_user", [False, True])
@pytest.mark.parametrize("hangs_up", [False, True])
def test_the_end_of_a_login_is_told_though_the_client_hangs_up(keys: Keys, whole_user: bool, hangs_up: bool) -> None:
    ended: list[tuple[str, str | None]] = []
    accounts, tokens, worker = Accounts(MemorySystemStore(), random_bytes=os.urandom), Tokens(keys), LateWorker()
    logins = Logins(
        accounts,
        tokens,
        Passwords(time_cost=1, memory_cost=8),
        store=worker,
        hashing=LateWorker(),
        new_id=lambda: os.urandom(12).hex(),
        on_end=lambda user_id, session_id: ended.append((user_id, session_id)),
    )
    _, results = start(logins.log_in_anonymously("app1", "00" * 12, now=NOW))
    worker.work()
    login: Login = results[0]
    session_id = tokens.verify_refresh(login.refresh_token, app_id=None, now=NOW).session_id
    end = partial(logins.delete, login.access_token) if whole_user else partial(logins.log_out, login.refresh_token)

    running, results = start(end(now=NOW))
    if whole_user:
        worker.waiting.pop(0)()  # who is it?
    assert len(worker.waiting) == 1
    assert not results
    if hangs_up:
        running.cancel()
        assert results[0].check(CancelledError)
    worker.work()
    assert not accounts.is_live(session_id, login.user_id, NOW)
    assert ended == [(login.user_id, None if whole_user else session_id)]
    assert len(results) == 1


def test_where_there_is_no_room_nobody_logs_in_and_who_is_in_stays_and_may_leave(keys: Keys) -> None:
    accounts, tokens, worker = Accounts(MemorySystemStore(), random_bytes=os.urandom), Tokens(keys), LateWorker()
    no_room: list[NoRoom] = []

    def check_room() -> None:
        if no_room:
            raise no_room[0]

    logins = Logins(
        accounts,
        tokens,
        Passwords(time_cost=1, memory_cost=8),
        store=worker,
        hashing=LateWorker(),
        new_id=lambda: os.urandom(12).hex(),
        on_end=lambda user_id, session_id: None,
        check_room=check_room,
    )
    _, results = start(logins.log_in_anonymously("app1", "00" * 12, now=NOW))
    worker.work()
    login: Login = results[0]
    no_room.append(NoRoom("nothing can be stored"))
    start(logins.log_in_anonymously("app1", "00" * 12, now=NOW))
    with pytest.raises(NoRoom):
        worker.work()
    _, refreshed = start(logins.refresh(login.refresh_token, now=NOW))
    worker.work()
    assert tokens.verify_access(refreshed[0], app_id="app1", now=NOW).user_id == login.user_id
    start(logins.log_out(login.refresh_token, now=NOW))
    worker.work()
    assert accounts.sessions(login.user_id) == []
