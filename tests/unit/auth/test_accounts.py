"""Users, accounts and sessions, over both system stores."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmserver.auth import accounts as module
from realmserver.auth.accounts import Account, Accounts, NameInUse, NoSuchAccount, NoSuchUser, User
from realmserver.store.interface import Conflict, StoreError
from realmserver.store.lmdb_system import LmdbSystemStore
from realmserver.store.system import MemorySystemStore, SystemStore, Values

NOW = 1_700_000_000.5
UNKNOWN = "0123456789abcdef01234567"


def counting_bytes() -> Callable[[int], bytes]:
    """Stands in for randomness: 1, 2, 3 …, big-endian; for several threads."""
    state = [0]
    lock = threading.Lock()

    def take(size: int) -> bytes:
        with lock:
            state[0] += 1
            return state[0].to_bytes(size, "big")

    return take


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SystemStore]:
    store: SystemStore = MemorySystemStore() if request.param == "memory" else LmdbSystemStore(tmp_path / "data")
    yield store
    store.close()


@pytest.fixture
def accounts(store: SystemStore) -> Accounts:
    return Accounts(store, random_bytes=counting_bytes())


def everything_in(store: SystemStore) -> list[tuple[str, bytes]]:
    tables = (module.USERS, module.ACCOUNTS, module.SESSIONS, module.USER_SESSIONS, module.SESSION_ENDS)
    return [(table, key) for table in tables for key, _ in store.items(table)]


# Users and accounts


def test_a_user_is_made_with_one_account_and_found_by_it(accounts: Accounts, store: SystemStore) -> None:
    user = accounts.create_user("password", "ann@example.com", password_hash="$hash$", now=NOW)
    account = Account("password", "ann@example.com", user.user_id, "$hash$")
    assert user == User(user.user_id, NOW, (account,), disabled=False, admin=False)
    assert len(user.user_id) == 24
    assert int(user.user_id, 16) > 0
    for found_in in (accounts, Accounts(store, random_bytes=counting_bytes())):
        assert found_in.find("password", "ann@example.com") == account
        assert found_in.get(user.user_id) == user


def test_names_are_compared_as_they_are(accounts: Accounts) -> None:
    pairs = [("password", "ann"), ("password", "Ann"), ("debug", "ann"), ("passworda", "nn"), ("password", "ann ")]
    pairs += [("password", "ä" * 500), ("password", "a\u0308" * 500), ("custom/x", "\ud800"), ("password", "")]
    users = {pair: accounts.create_user(*pair, now=NOW) for pair in pairs}
    assert len({user.user_id for user in users.values()}) == len(pairs)
    for pair, user in users.items():
        found = accounts.find(*pair)
        assert found is not None
        assert (found.provider, found.provider_id, found.user_id) == (*pair, user.user_id)


def test_a_name_can_be_taken_once_only(accounts: Accounts) -> None:
    user = accounts.create_user("password", "ann", password_hash="1", now=NOW)
    with pytest.raises(NameInUse, match=r"^name already in use$"):
        accounts.create_user("password", "ann", password_hash="2", now=NOW)
    assert accounts.find("password", "ann") == user.accounts[0]
    assert accounts.users() == [user]


def test_of_many_who_register_a_name_at_the_same_moment_one_wins(accounts: Accounts) -> None:
    ready = threading.Barrier(6)
    winners: list[str] = []
    losers: list[int] = []

    def register(number: int) -> None:
        ready.wait()
        try:
            winners.append(accounts.create_user("password", "ann", password_hash=str(number), now=NOW).user_id)
        except NameInUse:
            losers.append(number)

    threads = [threading.Thread(target=register, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(winners) == 1
    assert len(losers) == 5
    assert [user.user_id for user in accounts.users()] == winners


class Rival(MemorySystemStore):
    """Lets another writer in between a reading and the next writing."""

    def __init__(self) -> None:
        super().__init__()
        self.strike: Callable[[], object] | None = None

    def write(self, changes: Values, expected: Values | None = None) -> None:
        strike, self.strike = self.strike, None
        if strike is not None:
            strike()
        super().write(changes, expected)


@pytest.fixture
def rival() -> Rival:
    return Rival()


@pytest.fixture
def contested(rival: Rival) -> Accounts:
    return Accounts(rival, random_bytes=counting_bytes())


def test_a_name_taken_between_look_and_write_is_in_use(contested: Accounts, rival: Rival) -> None:
    rival.strike = lambda: contested.create_user("password", "ann", now=NOW)
    with pytest.raises(NameInUse):
        contested.create_user("password", "ann", now=NOW + 1)
    assert [user.created for user in contested.users()] == [NOW]


def test_an_id_that_was_given_out_is_not_given_out_again(store: SystemStore) -> None:
    ids = iter([b"a" * 12, b"a" * 12, b"b" * 12])
    accounts = Accounts(store, random_bytes=lambda size: next(ids))
    first = accounts.create_user("password", "ann", now=NOW)
    second = accounts.create_user("password", "bob", now=NOW)
    assert (first.user_id, second.user_id) == ("61" * 12, "62" * 12)
    assert accounts.get(first.user_id) == first


def test_randomness_that_repeats_for_ever_is_an_error(store: SystemStore) -> None:
    accounts = Accounts(store, random_bytes=bytes)
    accounts.create_user("password", "ann", now=NOW)
    with pytest.raises(StoreError, match="100 times"):
        accounts.create_user("password", "bob", now=NOW)


def test_flags_are_set_and_taken_back(accounts: Accounts) -> None:
    user = accounts.create_user("debug", "admin", admin=True, now=NOW)
    assert user.admin
    assert not accounts.set_admin(user.user_id, False).admin
    assert accounts.set_disabled(user.user_id, True).disabled
    found = accounts.get(user.user_id)
    assert found is not None
    assert (found.admin, found.disabled) == (False, True)
    for change in (accounts.set_admin, accounts.set_disabled):
        with pytest.raises(NoSuchUser):
            change(UNKNOWN, True)


def test_two_changes_of_one_user_at_the_same_moment_are_both_made(contested: Accounts, rival: Rival) -> None:
    user = contested.create_user("password", "ann", now=NOW)
    rival.strike = lambda: contested.set_disabled(user.user_id, True)
    contested.set_admin(user.user_id, True)
    found = contested.get(user.user_id)
    assert found is not None
    assert (found.disabled, found.admin) == (True, True)


def test_a_user_may_have_several_accounts(accounts: Accounts) -> None:
    user = accounts.create_user("anon-user", "x", now=NOW)
    other = accounts.create_user("password", "taken", now=NOW)
    user = accounts.add_account(user.user_id, "password", "ann", password_hash="h")
    assert [account.provider for account in user.accounts] == ["anon-user", "password"]
    assert accounts.get(user.user_id) == user
    assert accounts.find("password", "ann") == Account("password", "ann", user.user_id, "h")
    for name in ("ann", "taken"):
        with pytest.raises(NameInUse):
            accounts.add_account(user.user_id, "password", name)
    with pytest.raises(NoSuchUser):
        accounts.add_account(UNKNOWN, "password", "new")
    assert accounts.get(other.user_id) == other
    assert accounts.find("password", "new") is None


def test_users_are_listed_in_pages(accounts: Accounts) -> None:
    users = [accounts.create_user("password", str(number), now=NOW) for number in range(7)]
    assert accounts.users(limit=3) == users[:3]
    assert accounts.users(after=users[2].user_id, limit=3) == users[3:6]
    assert accounts.users(after=users[5].user_id) == users[6:]
    assert accounts.users(after=users[6].user_id) == []


@pytest.mark.parametrize("user_id", ["", "x", UNKNOWN, UNKNOWN.upper(), UNKNOWN + "\n", "é" * 500, "\ud800", "__auth"])
def test_any_text_may_be_asked_for_as_an_id(accounts: Accounts, user_id: str) -> None:
    assert accounts.get(user_id) is None
    assert accounts.session(user_id) is None
    assert accounts.sessions(user_id) == []
    assert not accounts.is_live(user_id, user_id, NOW)
    accounts.revoke(user_id)
    assert accounts.revoke_all(user_id) == []
    accounts.delete_user(user_id)


# Passwords


def test_a_password_hash_is_replaced(accounts: Accounts) -> None:
    user = accounts.create_user("password", "ann", password_hash="old", now=NOW)
    accounts.add_account(user.user_id, "debug", "ann")
    accounts.set_password_hash("password", "ann", "new")
    found = accounts.get(user.user_id)
    assert found is not None
    assert [(account.provider, account.password_hash) for account in found.accounts] == [
        ("password", "new"),
        ("debug", None),
    ]
    with pytest.raises(NoSuchAccount):
        accounts.set_password_hash("password", "bob", "new")


def test_a_renewed_hash_does_not_undo_a_change_of_password(accounts: Accounts) -> None:
    accounts.create_user("password", "ann", password_hash="old", now=NOW)
    assert accounts.renew_password_hash("password", "ann", "old", "old, made anew")
    accounts.set_password_hash("password", "ann", "changed")
    assert not accounts.renew_password_hash("password", "ann", "old", "old, made anew")
    assert not accounts.renew_password_hash("password", "bob", "old", "old, made anew")
    found = accounts.find("password", "ann")
    assert found is not None
    assert found.password_hash == "changed"


def test_a_password_changed_between_look_and_write_stays_changed(contested: Accounts, rival: Rival) -> None:
    contested.create_user("password", "ann", password_hash="old", now=NOW)
    rival.strike = lambda: contested.set_password_hash("password", "ann", "changed")
    assert not contested.renew_password_hash("password", "ann", "old", "old, made anew")
    found = contested.find("password", "ann")
    assert found is not None
    assert found.password_hash == "changed"


def test_a_user_deleted_while_the_password_changes_stays_deleted(contested: Accounts, rival: Rival) -> None:
    user = contested.create_user("password", "ann", password_hash="old", now=NOW)
    rival.strike = lambda: contested.delete_user(user.user_id)
    with pytest.raises(NoSuchAccount):
        contested.set_password_hash("password", "ann", "new")
    assert contested.users() == []


def test_a_hash_does_not_show_when_a_user_is_printed(accounts: Accounts) -> None:
    user = accounts.create_user("password", "ann", password_hash="$secret$", now=NOW)
    assert "ann" in repr(user)
    assert "$secret$" not in repr(user)


# Sessions


def test_a_login_stands_until_it_is_over(accounts: Accounts) -> None:
    user = accounts.create_user("password", "ann", now=NOW)
    other = accounts.create_user("password", "bob", now=NOW)
    session_id = accounts.create_session(user.user_id, "app", "device", now=NOW, expires=NOW + 60)
    session = accounts.session(session_id)
    assert session is not None
    assert (session.user_id, session.app_id, session.device_id) == (user.user_id, "app", "device")
    assert (session.created, session.expires) == (NOW, NOW + 60)
    assert accounts.is_live(session_id, user.user_id, NOW)
    assert accounts.is_live(session_id, user.user_id, NOW + 59.9)
    assert not accounts.is_live(session_id, user.user_id, NOW + 60)
    assert not accounts.is_live(session_id, other.user_id, NOW)
    assert not accounts.is_live(UNKNOWN, user.user_id, NOW)


def test_a_login_of_nobody_is_refused(accounts: Accounts, store: SystemStore) -> None:
    with pytest.raises(NoSuchUser):
        accounts.create_session(UNKNOWN, "app", "device", now=NOW, expires=NOW + 60)
    assert everything_in(store) == []


def test_revoking_ends_one_login_and_leaves_nothing(accounts: Accounts, store: SystemStore) -> None:
    user = accounts.create_user("password", "ann", now=NOW)
    before = everything_in(store)
    first = accounts.create_session(user.user_id, "app", "1", now=NOW, expires=NOW + 60)
    second = accounts.create_session(user.user_id, "app", "2", now=NOW, expires=NOW + 60)
    accounts.revoke(first)
    accounts.revoke(first)
    assert not accounts.is_live(first, user.user_id, NOW)
    assert accounts.is_live(second, user.user_id, NOW)
    assert [session.device_id for session in accounts.sessions(user.user_id)] == ["2"]
    accounts.revoke(second)
    assert everything_in(store) == before


def test_all_logins_of_a_user_can_be_ended(accounts: Accounts) -> None:
    ann, bob = (accounts.create_user("password", name, now=NOW) for name in ("ann", "bob"))
    of_ann = [accounts.create_session(ann.user_id, "app", str(n), now=NOW, expires=NOW + n + 1) for n in range(5)]
    of_bob = accounts.create_session(bob.user_id, "app", "x", now=NOW, expires=NOW + 60)
    assert sorted(accounts.revoke_all(ann.user_id)) == sorted(of_ann)
    assert [accounts.is_live(session_id, ann.user_id, NOW) for session_id in of_ann] == [False] * 5
    assert accounts.is_live(of_bob, bob.user_id, NOW)
    assert accounts.revoke_all(ann.user_id) == []


def test_a_deleted_user_leaves_nothing_and_the_name_is_free(accounts: Accounts, store: SystemStore) -> None:
    user = accounts.create_user("password", "ann", now=NOW)
    accounts.add_account(user.user_id, "debug", "ann")
    session_id = accounts.create_session(user.user_id, "app", "device", now=NOW, expires=NOW + 60)
    accounts.delete_user(user.user_id)
    accounts.delete_user(user.user_id)
    assert everything_in(store) == []
    assert accounts.get(user.user_id) is None
    assert accounts.find("password", "ann") is None
    assert not accounts.is_live(session_id, user.user_id, NOW)
    assert accounts.create_user("password", "ann", now=NOW).user_id != user.user_id


def test_no_login_outlives_its_user_though_they_meet(contested: Accounts, rival: Rival) -> None:
    user = contested.create_user("password", "ann", now=NOW)
    rival.strike = lambda: contested.delete_user(user.user_id)
    with pytest.raises(NoSuchUser):
        contested.create_session(user.user_id, "app", "device", now=NOW, expires=NOW + 60)
    assert everything_in(rival) == []
    user = contested.create_user("password", "ann", now=NOW)
    rival.strike = lambda: contested.create_session(user.user_id, "app", "device", now=NOW, expires=NOW + 60)
    contested.delete_user(user.user_id)
    assert everything_in(rival) == []


def test_only_logins_that_are_over_are_purged(
    accounts: Accounts, store: SystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PURGE_BATCH", 4)
    user = accounts.create_user("password", "ann", now=NOW)
    before = everything_in(store)
    ids = [accounts.create_session(user.user_id, "app", "d", now=NOW, expires=NOW + n) for n in range(20)]
    assert accounts.purge_expired(NOW - 1) == 0
    assert accounts.purge_expired(NOW + 10.5) == 11
    assert [accounts.session(session_id) is not None for session_id in ids] == [False] * 11 + [True] * 9
    assert len(accounts.sessions(user.user_id)) == 9
    assert accounts.purge_expired(NOW + 1000) == 9
    assert everything_in(store) == before


@given(st.floats(0, 2**40), st.floats(0, 2**40))
def test_no_login_that_stands_is_purged(expires: float, now: float) -> None:
    accounts = Accounts(MemorySystemStore(), random_bytes=counting_bytes())
    user = accounts.create_user("password", "ann", now=0)
    session_id = accounts.create_session(user.user_id, "app", "d", now=0, expires=expires)
    purged = accounts.purge_expired(now)
    assert accounts.is_live(session_id, user.user_id, now) == (now < expires)
    assert purged == 0 or now >= expires
    assert accounts.purge_expired(expires + 1) == 1 - purged


# Damage


@pytest.mark.parametrize("damaged", [b"", b"\x02{}", b"\x01", b"\x01{", b"\x01{}", b"\x01[1]", b"\x01\xff", b"\x017"])
def test_a_damaged_record_is_an_error_of_the_store(accounts: Accounts, store: SystemStore, damaged: bytes) -> None:
    user = accounts.create_user("password", "ann", now=NOW)
    session_id = accounts.create_session(user.user_id, "app", "d", now=NOW, expires=NOW + 60)
    for table in (module.USERS, module.SESSIONS, module.ACCOUNTS, module.SESSION_ENDS):
        store.write({(table, key): damaged for key, _ in store.items(table)})
    for ask in (
        lambda: accounts.get(user.user_id),
        lambda: accounts.users(),
        lambda: accounts.find("password", "ann"),
        lambda: accounts.session(session_id),
        lambda: accounts.purge_expired(NOW + 100),
    ):
        with pytest.raises(StoreError) as caught:
            ask()
        assert not isinstance(caught.value, Conflict)
