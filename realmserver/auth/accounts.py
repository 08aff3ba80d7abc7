"""Users, the accounts they log in with, and their logins.

What this module keeps true: one (provider, provider id) belongs to one user, also where two register it at the same
moment; a user's id is given out once; a login ends when it is revoked, when its time is over, or with its user. It
knows no passwords, only the text of their hashes, and no tokens, only the sessions that refresh tokens stand for.
Implements what ``spec/http-api.md`` 1.7, 4.3 and 4.4 want kept, over a :class:`~realmserver.store.system.SystemStore`.

All calls may block on a disk and may be made by any thread; besides what they name they raise ``StoreError``. Times are
Unix seconds.

Tables: ``users`` holds all of a user, with his accounts; ``accounts`` leads from a digest of (provider, provider id),
which may be longer than a key, to the user's id. ``sessions`` holds the logins, ``user_sessions`` and
``session_ends`` find those of a user and those that are over: their keys begin with the user's id and with the end.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable
from typing import Any, Final

from attrs import evolve, field, frozen

from realmserver.store.interface import Conflict, StoreError
from realmserver.store.system import Place, SystemStore, Values

FORMAT: Final = b"\x01"
"""Leading byte of every value; what follows is JSON. A change of form needs a new number."""

ID_BYTES: Final = 12
"""Random bytes in a user's or a session's id, shown as 24 hexadecimal digits as App Services do."""

ATTEMPTS: Final = 100
"""Tries to change a record that others change at the same time. Each lost try is another's success, so that many in a
row mean a bug."""

PURGE_BATCH: Final = 500
"""Sessions purged in one transaction, so that logins do not wait long behind it."""

PAGE: Final = 100
"""Users listed by one call, if nothing else is asked."""

USERS: Final = "users"
ACCOUNTS: Final = "accounts"
SESSIONS: Final = "sessions"
USER_SESSIONS: Final = "user_sessions"
SESSION_ENDS: Final = "session_ends"

_ID: Final = re.compile(r"[0-9a-f]{24}", re.ASCII)
_END_BYTES: Final = 8
_PRESENT: Final = FORMAT  # the value where the key says all


class AccountError(Exception):
    """What was asked for cannot be done; the text may be shown to the client."""


class NameInUse(AccountError):
    """The account belongs to a user already."""


class NoSuchUser(AccountError):
    """There is no user with this id: never made, or deleted meanwhile."""


class NoSuchAccount(AccountError):
    """No user has this account."""


@frozen
class Account:
    """One way in which a user logs in: his name (``provider_id``) with a provider. ``password_hash`` is opaque text of
    ``auth.passwords``, None where the provider has no passwords."""

    provider: str
    provider_id: str
    user_id: str
    password_hash: str | None = field(default=None, repr=False)  # it must not reach a log


@frozen
class User:
    """A user. ``created`` is when; ``disabled`` users may not log in; ``admin`` is what 1.x tokens call is_admin."""

    user_id: str
    created: float
    accounts: tuple[Account, ...]
    disabled: bool = False
    admin: bool = False


@frozen
class Session:
    """A login: it lasts until ``expires``, unless it is revoked or its user deleted before."""

    session_id: str
    user_id: str
    app_id: str
    device_id: str
    created: float
    expires: float


class Accounts:
    """The accounts in ``store``. ``random_bytes`` gives the bytes of ids; it must not be foreseeable."""

    def __init__(self, store: SystemStore, *, random_bytes: Callable[[int], bytes]) -> None:
        self._store = store
        self._random_bytes = random_bytes

    # Users

    def create_user(
        self,
        provider: str,
        provider_id: str,
        *,
        password_hash: str | None = None,
        admin: bool = False,
        now: float,
    ) -> User:
        """Make a user with one account. Raises :class:`NameInUse`, also for the slower of two at the same moment."""
        place = (ACCOUNTS, _account_key(provider, provider_id))
        for _ in range(ATTEMPTS):
            if self._store.read(*place) is not None:
                raise NameInUse("name already in use")
            user_id = self._new_id()
            account = Account(provider, provider_id, user_id, password_hash)
            user = User(user_id, now, (account,), admin=admin)
            changes: Values = {(USERS, user_id.encode()): _pack_user(user), place: _pack(user_id)}
            if self._write(changes, dict.fromkeys(changes)):
                return user
        raise _never_settles()

    def get(self, user_id: str) -> User | None:
        """The user with this id."""
        record = self._user_record(user_id)
        return None if record is None else _unpack_user(user_id, record)

    def find(self, provider: str, provider_id: str) -> Account | None:
        """The account, if a user has it."""
        data = self._store.read(ACCOUNTS, _account_key(provider, provider_id))
        user = None if data is None else self.get(_unpack_text(ACCOUNTS, data))
        if user is None:
            return None
        return _account_of(user, provider, provider_id)

    def users(self, *, after: str = "", limit: int = PAGE) -> list[User]:
        """Up to ``limit`` users whose ids are greater than ``after``, in the order of ids."""
        records = self._store.items(USERS, after=after.encode("utf-8", "replace"), limit=limit)
        return [_unpack_user(key.decode(), data) for key, data in records]

    def set_disabled(self, user_id: str, disabled: bool) -> User:
        """Allow or forbid the user to log in. Raises :class:`NoSuchUser`."""
        return self._change_user(user_id, lambda user: evolve(user, disabled=disabled))

    def set_admin(self, user_id: str, admin: bool) -> User:
        """Make the user an administrator or take that away. Raises :class:`NoSuchUser`."""
        return self._change_user(user_id, lambda user: evolve(user, admin=admin))

    def delete_user(self, user_id: str) -> None:
        """Remove the user, all accounts and all logins. To delete a user who does not exist is no error."""
        for _ in range(ATTEMPTS):
            record = self._user_record(user_id)
            if record is None:
                break
            user = _unpack_user(user_id, record)
            place = (USERS, user_id.encode())
            changes: dict[Place, bytes | None] = {place: None}
            for account in user.accounts:
                changes[ACCOUNTS, _account_key(account.provider, account.provider_id)] = None
            if self._write(changes, {place: record}):
                break
        else:
            raise _never_settles()
        # Sessions are worth nothing without their user, and none can be added any more.
        self.revoke_all(user_id)

    # Accounts

    def add_account(self, user_id: str, provider: str, provider_id: str, *, password_hash: str | None = None) -> User:
        """Give the user another way to log in. Raises :class:`NameInUse`, :class:`NoSuchUser`."""
        account = Account(provider, provider_id, user_id, password_hash)
        place = (ACCOUNTS, _account_key(provider, provider_id))

        def add(user: User) -> User:
            if self._store.read(*place) is not None:
                raise NameInUse("name already in use")
            return evolve(user, accounts=(*user.accounts, account))

        return self._change_user(user_id, add, {place: _pack(user_id)}, {place: None})

    def set_password_hash(self, provider: str, provider_id: str, password_hash: str) -> None:
        """Give the account another password. Raises :class:`NoSuchAccount`."""
        self._change_hash(provider, provider_id, None, password_hash)

    def renew_password_hash(self, provider: str, provider_id: str, old: str, new: str) -> bool:
        """Put the hash ``new`` in the place of ``old``, both of one password; False if the account is gone or its
        password has changed since ``old`` was read, which must not be undone."""
        try:
            return self._change_hash(provider, provider_id, old, new)
        except NoSuchAccount:
            return False

    def _change_hash(self, provider: str, provider_id: str, old: str | None, new: str) -> bool:
        account = self.find(provider, provider_id)
        if account is None:
            raise NoSuchAccount("no such account")
        changed = False

        def change(user: User) -> User:
            nonlocal changed
            current = _account_of(user, provider, provider_id)
            if current is None:
                raise NoSuchAccount("no such account")
            changed = old is None or current.password_hash == old
            if not changed:
                return user
            replaced = evolve(current, password_hash=new)
            return evolve(user, accounts=tuple(replaced if each is current else each for each in user.accounts))

        try:
            self._change_user(account.user_id, change)
        except NoSuchUser as error:
            raise NoSuchAccount("no such account") from error
        return changed

    # Sessions

    def create_session(self, user_id: str, app_id: str, device_id: str, *, now: float, expires: float) -> str:
        """Begin a login that lasts until ``expires`` and return its id. Raises :class:`NoSuchUser`."""
        for _ in range(ATTEMPTS):
            record = self._user_record(user_id)
            if record is None:
                raise NoSuchUser("no such user")
            session = Session(self._new_id(), user_id, app_id, device_id, now, expires)
            place = (SESSIONS, session.session_id.encode())
            changes: Values = {
                place: _pack_session(session),
                _user_session(user_id, session.session_id): _PRESENT,
                _session_end(session.session_id, expires): _pack(user_id),
            }
            if self._write(changes, {place: None, (USERS, user_id.encode()): record}):
                return session.session_id
        raise _never_settles()

    def session(self, session_id: str) -> Session | None:
        """The login with this id, live or over but not yet purged; None if it was revoked or never was."""
        if not _is_id(session_id):
            return None
        data = self._store.read(SESSIONS, session_id.encode())
        return None if data is None else _unpack_session(session_id, data)

    def is_live(self, session_id: str, user_id: str, now: float) -> bool:
        """Whether this is a login of this user that still stands: not revoked, not over, the user not deleted."""
        session = self.session(session_id)
        return (
            session is not None
            and session.user_id == user_id
            and now < session.expires
            and self._user_record(user_id) is not None
        )

    def sessions(self, user_id: str) -> list[Session]:
        """The user's logins, in no order."""
        if not _is_id(user_id):
            return []
        items = self._store.items(USER_SESSIONS, user_id.encode())
        ids = [key[len(user_id) :].decode() for key, _ in items]
        found = (self.session(session_id) for session_id in ids)
        return [session for session in found if session is not None]

    def revoke(self, session_id: str) -> None:
        """End a login; to end it twice is no error."""
        session = self.session(session_id)
        if session is not None:
            self._store.write(_without(session))

    def revoke_all(self, user_id: str) -> list[str]:
        """End all logins of a user; returns their ids."""
        sessions = self.sessions(user_id)
        changes: dict[Place, bytes | None] = {}
        for session in sessions:
            changes.update(_without(session))
        if changes:
            self._store.write(changes)
        return [session.session_id for session in sessions]

    def purge_expired(self, now: float) -> int:
        """Remove the logins that are over; returns how many they were."""
        purged = 0
        while True:
            changes: dict[Place, bytes | None] = {}
            ended = 0
            for key, data in self._store.items(SESSION_ENDS, limit=PURGE_BATCH):
                if now < int.from_bytes(key[:_END_BYTES], "big"):
                    break
                session_id = key[_END_BYTES:].decode()
                changes[SESSION_ENDS, key] = None
                changes[SESSIONS, session_id.encode()] = None
                changes[_user_session(_unpack_text(SESSION_ENDS, data), session_id)] = None
                ended += 1
            if not ended:
                return purged
            self._store.write(changes)
            purged += ended

    # Records

    def _change_user(
        self,
        user_id: str,
        change: Callable[[User], User],
        more: Values | None = None,
        more_expected: Values | None = None,
    ) -> User:
        """Put ``change`` of the user in his place, with ``more`` besides. ``change`` may be called again."""
        for _ in range(ATTEMPTS):
            record = self._user_record(user_id)
            if record is None:
                raise NoSuchUser("no such user")
            place = (USERS, user_id.encode())
            user = change(_unpack_user(user_id, record))
            if self._write({place: _pack_user(user), **(more or {})}, {place: record, **(more_expected or {})}):
                return user
        raise _never_settles()

    def _user_record(self, user_id: str) -> bytes | None:
        return self._store.read(USERS, user_id.encode()) if _is_id(user_id) else None

    def _write(self, changes: Values, expected: Values) -> bool:
        try:
            self._store.write(changes, expected)
        except Conflict:
            return False
        return True

    def _new_id(self) -> str:
        return self._random_bytes(ID_BYTES).hex()


def _is_id(text: str) -> bool:
    """Whether this can be an id of ours: others, from tokens of any origin, are not even looked up."""
    return _ID.fullmatch(text) is not None


def _never_settles() -> StoreError:
    return StoreError(f"accounts: a record changed {ATTEMPTS} times while it was to be changed")


def _account_key(provider: str, provider_id: str) -> bytes:
    """Names are compared as they are, byte by byte; JSON keeps where the one ends and the other begins."""
    return hashlib.sha256(json.dumps([provider, provider_id]).encode("ascii")).digest()


def _account_of(user: User, provider: str, provider_id: str) -> Account | None:
    for account in user.accounts:
        if (account.provider, account.provider_id) == (provider, provider_id):
            return account
    return None


def _user_session(user_id: str, session_id: str) -> Place:
    return USER_SESSIONS, (user_id + session_id).encode()


def _session_end(session_id: str, expires: float) -> Place:
    return SESSION_ENDS, math.ceil(expires).to_bytes(_END_BYTES, "big") + session_id.encode()


def _without(session: Session) -> Values:
    """The changes that remove a login."""
    return {
        (SESSIONS, session.session_id.encode()): None,
        _user_session(session.user_id, session.session_id): None,
        _session_end(session.session_id, session.expires): None,
    }


def _pack(value: object) -> bytes:
    return FORMAT + json.dumps(value, separators=(",", ":")).encode("ascii")


def _unpack(table: str, data: bytes) -> Any:
    if data[:1] != FORMAT:
        raise StoreError(f"the table {table} holds a value in format {data[:1].hex() or 'none'}, not {FORMAT.hex()}")
    try:
        return json.loads(data[1:])
    except ValueError as error:
        raise StoreError(f"the table {table} holds a damaged value") from error


def _unpack_text(table: str, data: bytes) -> str:
    value = _unpack(table, data)
    if not isinstance(value, str):
        raise StoreError(f"the table {table} holds a damaged value")
    return value


def _pack_user(user: User) -> bytes:
    accounts = [[account.provider, account.provider_id, account.password_hash] for account in user.accounts]
    return _pack({"created": user.created, "disabled": user.disabled, "admin": user.admin, "accounts": accounts})


def _unpack_user(user_id: str, data: bytes) -> User:
    value = _unpack(USERS, data)
    try:
        accounts = tuple(Account(provider, name, user_id, secret) for provider, name, secret in value["accounts"])
        return User(user_id, value["created"], accounts, value["disabled"], value["admin"])
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"the user {user_id} is damaged") from error


def _pack_session(session: Session) -> bytes:
    return _pack([session.user_id, session.app_id, session.device_id, session.created, session.expires])


def _unpack_session(session_id: str, data: bytes) -> Session:
    try:
        user_id, app_id, device_id, created, expires = _unpack(SESSIONS, data)
    except (TypeError, ValueError) as error:
        raise StoreError("a session is damaged") from error
    return Session(session_id, user_id, app_id, device_id, created, expires)
