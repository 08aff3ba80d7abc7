"""Registering, logging in, staying logged in, logging out: what an API asks for, without HTTP.

What this module keeps true: a refresh token is worth exactly as much as its session, which every login creates and a
logout ends; a user who is gone or disabled gets no token; and neither the answer to a failed login nor its time tells
whether the user name exists (``spec/http-api.md`` 4.2 to 4.5). It knows no wire format.

Everything that blocks runs in a worker: account calls and the signing of tokens in one, hashing in another. So the
methods are coroutines, to be awaited on the reactor thread. Times are Unix seconds.
"""

from collections.abc import Callable
from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred

from realmserver.auth.accounts import Account, Accounts, NameInUse, NoSuchUser, User
from realmserver.auth.passwords import Passwords
from realmserver.auth.tokens import Claims, TokenError, Tokens
from realmserver.auth.workers import Worker

ANONYMOUS: Final = "anon-user"
PASSWORD: Final = "password"  # noqa: S105 (the name of a provider)
"""The provider of accounts with a password. Clients of both eras share them: 1.x calls it ``password``, App Services
``local-userpass`` (``spec/http-api.md`` 4.3)."""

MAX_NAME: Final = 128
"""Characters in a user name or e-mail address, as in App Services."""

MIN_PASSWORD: Final = 6
MAX_PASSWORD: Final = 128
"""Characters in a password, as in App Services."""


class LoginError(Exception):
    """What a client asked for cannot be granted; the text may be shown to it."""


class BadRegistration(LoginError):
    """The name or the password does not follow the rules."""


class NameTaken(LoginError):
    """The name belongs to an account already."""


class InvalidPassword(LoginError):
    """Wrong password, or no such user."""


class InvalidSession(LoginError):
    """The token is wrong or expired, or its login or its user is gone."""


class UserDisabled(LoginError):
    """The user exists and may not log in."""


class NoRoom(LoginError):
    """Nothing may be written just now; the client should come again later."""


@frozen
class Login:
    """What a client gets when it logs in."""

    user_id: str
    device_id: str
    access_token: str
    refresh_token: str


def check_login(accounts: Accounts, user_id: str, session_id: str, now: float) -> User:
    """The user of a login that still stands. Blocks.

    Raises :class:`InvalidSession` if the user or the session is gone, :class:`UserDisabled`.
    """
    user = accounts.get(user_id)
    if user is None or not accounts.is_live(session_id, user_id, now):
        raise InvalidSession("invalid session")
    if user.disabled:
        raise UserDisabled("user disabled")
    return user


class Logins:
    """The logins of one server.

    ``store`` runs account calls, ``hashing`` runs ``passwords``. ``new_id`` gives 24 random hexadecimal digits at each
    call. ``on_end`` is told, on the reactor thread, when a login ends (user id, session id) or all of a user's do
    (user id, None), so that what hangs on it can be closed. ``check_room`` is called in the store's worker before a
    user or a login is made, and raises :class:`NoRoom` where there is none; ends of logins are always written.
    """

    def __init__(
        self,
        accounts: Accounts,
        tokens: Tokens,
        passwords: Passwords,
        *,
        store: Worker,
        hashing: Worker,
        new_id: Callable[[], str],
        on_end: Callable[[str, str | None], None],
        check_room: Callable[[], None] = lambda: None,
    ) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._passwords = passwords
        self._store = store
        self._hashing = hashing
        self._new_id = new_id
        self._on_end = on_end
        self._check_room = check_room

    async def register(self, name: str, password: str, *, now: float) -> User:
        """Make a user with a password.

        Raises :class:`BadRegistration`, :class:`NameTaken`, ``TooBusy``.
        """
        check_registration(name, password)
        password_hash = await self._hashing.run(self._passwords.hash, password)
        return await self._store.run(self._create_user, PASSWORD, name, password_hash, now)

    async def log_in_anonymously(self, app_id: str, device_id: str, *, now: float) -> Login:
        """Make a user without a name and log it in. Raises ``TooBusy``."""
        user = await self._store.run(self._create_user, ANONYMOUS, self._new_id(), None, now)
        return await self._store.run(self._open_session, user.user_id, app_id, device_id, now)

    async def log_in(self, name: str, password: str, app_id: str, device_id: str, *, now: float) -> Login:
        """Log a user in with a password.

        Raises :class:`InvalidPassword`, :class:`UserDisabled`, ``TooBusy``.
        """
        account: Account | None = None
        if name and len(name) <= MAX_NAME:  # others were never registered
            account = await self._store.run(self._accounts.find, PASSWORD, name)
        stored = account.password_hash if account is not None else None
        verdict = await self._hashing.run(self._passwords.verify, stored, password)
        if account is None or not verdict.ok:
            raise InvalidPassword("invalid username/password")
        if verdict.new_hash is not None:
            assert stored is not None
            await self._store.run(self._accounts.renew_password_hash, PASSWORD, name, stored, verdict.new_hash)
        return await self._store.run(self._open_session, account.user_id, app_id, device_id, now)

    async def refresh(self, refresh_token: str, *, now: float) -> str:
        """A new access token for a login that still stands.

        Raises :class:`InvalidSession`, :class:`UserDisabled`, ``TooBusy``.
        """
        claims = self._refresh_claims(refresh_token, now)
        return await self._store.run(self._renew, claims, now)

    async def log_out(self, refresh_token: str, *, now: float) -> None:
        """End a login; to end it twice is no error. Raises :class:`InvalidSession`, ``TooBusy``."""
        claims = self._refresh_claims(refresh_token, now)
        await self._end(claims.user_id, claims.session_id, self._accounts.revoke, claims.session_id)

    async def user_of_access_token(self, access_token: str, *, app_id: str | None = None, now: float) -> User:
        """The user of an access token (of the app ``app_id``, if given).

        Raises :class:`InvalidSession`, :class:`UserDisabled`, ``TooBusy``.
        """
        try:
            claims = self._tokens.verify_access(access_token, app_id=app_id, now=now)
        except TokenError as error:
            raise InvalidSession(f"invalid session: {error.reason}") from error
        return await self._store.run(check_login, self._accounts, claims.user_id, claims.session_id, now)

    async def user_of_refresh_token(self, refresh_token: str, *, now: float) -> User:
        """The user of a refresh token. Raises :class:`InvalidSession`, :class:`UserDisabled`, ``TooBusy``."""
        claims = self._refresh_claims(refresh_token, now)
        return await self._store.run(check_login, self._accounts, claims.user_id, claims.session_id, now)

    async def is_registered(self, name: str) -> bool:
        """Whether a user has this name. Raises ``TooBusy``."""
        if not name or len(name) > MAX_NAME:
            return False
        return await self._store.run(self._accounts.find, PASSWORD, name) is not None

    async def delete(self, access_token: str, *, now: float) -> str:
        """Remove the user of an access token with all accounts and logins; returns the user's id.

        Raises :class:`InvalidSession`, :class:`UserDisabled`, ``TooBusy``.
        """
        user = await self.user_of_access_token(access_token, now=now)
        await self._end(user.user_id, None, self._accounts.delete_user, user.user_id)
        return user.user_id

    async def _end(self, user_id: str, session_id: str | None, end: Callable[[str], None], what: str) -> None:
        """Do ``end(what)`` in the store and tell ``on_end``, also where the caller gives up meanwhile (a client that
        hangs up cancels its request): the login has ended then all the same, and what hangs on it must be closed."""
        work = self._store.run(end, what)
        work.addCallback(lambda _: self._on_end(user_id, session_id))
        answer: Deferred[None] = Deferred()
        work.chainDeferred(answer)
        await answer

    def _refresh_claims(self, token: str, now: float) -> Claims:
        try:
            return self._tokens.verify_refresh(token, app_id=None, now=now)
        except TokenError as error:
            raise InvalidSession(f"invalid session: {error.reason}") from error

    # What follows blocks, and runs in the store's worker.

    def _create_user(self, provider: str, name: str, password_hash: str | None, now: float) -> User:
        self._check_room()
        try:
            return self._accounts.create_user(provider, name, password_hash=password_hash, now=now)
        except NameInUse as error:
            raise NameTaken("name already in use") from error

    def _open_session(self, user_id: str, app_id: str, device_id: str, now: float) -> Login:
        user = self._accounts.get(user_id)
        if user is not None and user.disabled:
            raise UserDisabled("user disabled")
        self._check_room()
        try:
            session_id = self._accounts.create_session(
                user_id, app_id, device_id, now=now, expires=now + self._tokens.refresh_ttl
            )
        except NoSuchUser as error:  # deleted since its password was compared
            raise InvalidPassword("invalid username/password") from error
        who = {"user_id": user_id, "app_id": app_id, "device_id": device_id, "session_id": session_id}
        return Login(
            user_id=user_id,
            device_id=device_id,
            access_token=self._tokens.issue_access(**who, now=now),
            refresh_token=self._tokens.issue_refresh(**who, now=now),
        )

    def _renew(self, claims: Claims, now: float) -> str:
        check_login(self._accounts, claims.user_id, claims.session_id, now)
        return self._tokens.issue_access(
            user_id=claims.user_id,
            app_id=claims.app_id,
            device_id=claims.device_id,
            session_id=claims.session_id,
            now=now,
        )


def check_registration(name: str, password: str) -> None:
    """The rules of App Services for a new name and password. Raises :class:`BadRegistration`."""
    if not 1 <= len(name) <= MAX_NAME:
        raise BadRegistration(f"email must be between 1 and {MAX_NAME} characters")
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise BadRegistration(f"password must be between {MIN_PASSWORD} and {MAX_PASSWORD} characters")
