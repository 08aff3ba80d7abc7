"""Who may open a WebSocket: the question that a connection asks before its upgrade is answered.

What this module keeps true (``spec/protocol.md`` 1.3, ``spec/http-api.md`` 4.4): nobody gets through without a token of
ours for this app whose login still stands; and no client is sent round in a circle. A client answers 401 by refreshing
its token and coming back at once, hundreds of times a second if it is refused again. So 401 is said only where either
the new token will pass, or the refresh itself will fail with 401 and log the user out: that holds for every reason here
that :meth:`auth.logins.Logins.refresh` shares. What a refresh cannot mend is 403.

A connection asks often and the account store is on disk, so a login that was found alive is believed for a moment
(``CACHE_SECONDS``). Who ends a login calls :meth:`Gate.forget`.
"""

from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed

from realmserver.auth.accounts import Accounts
from realmserver.auth.logins import InvalidSession, UserDisabled, check_login
from realmserver.auth.tokens import ForeignApp, TokenError, Tokens
from realmserver.auth.workers import TooBusy, Worker
from realmserver.log import get_logger
from realmserver.store.interface import StoreError

CACHE_SECONDS: Final = 10
"""How long a login found alive is believed. A right that is taken away must bite within a minute."""

CACHE_SIZE: Final = 10_000
"""Logins remembered, the newest; about 2 MB."""

UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
UNAVAILABLE: Final = 503

_log = get_logger("auth")


@frozen
class AppUser:
    """A user of an app, from a token that was checked. ``expires``: the end of the token, Unix seconds.

    ``session_id`` names the login, not a sync session.
    """

    user_id: str
    app_id: str
    session_id: str
    expires: int


class UpgradeRefused(Exception):
    """The upgrade is to be answered with the HTTP ``status``; ``reason`` may be shown and logged."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status: int = status
        self.reason: str = reason


class Gate:
    """Checks upgrades. To be used on the reactor thread; account look-ups go through ``store``."""

    def __init__(self, tokens: Tokens, accounts: Accounts, store: Worker) -> None:
        self._tokens = tokens
        self._accounts = accounts
        self._store = store
        self._alive: dict[str, tuple[str, float]] = {}  # session id -> user id, when it was looked up; oldest first
        self._forgotten = 0

    def authenticate_upgrade(
        self, app_id: str, baas_at: str | None, authorization: str | None, now: float
    ) -> Deferred[AppUser]:
        """Check the access token of an upgrade to the App Services sync route.

        ``app_id`` is the one in the URL, ``baas_at`` the query argument (percent-decoded), ``authorization`` the header
        as sent, which clients before core 11.11 use instead. ``now`` in Unix seconds. The Deferred fails with
        :class:`UpgradeRefused`, or with what the account store raised, which is our fault: answer that with 503.
        """
        try:
            user = self._user_of(app_id, baas_at, authorization, now)
        except UpgradeRefused as refused:
            return fail(refused)
        if self._is_known(user.session_id, user.user_id, now):  # as most are who come again: nothing to wait for
            return succeed(user)
        return Deferred.fromCoroutine(self._looked_up(user, now))

    async def is_alive(self, user: AppUser, now: float) -> bool:
        """Whether the login through which ``user`` came in still stands, for connections that stay open for long.

        False only when that is known; where the accounts cannot be asked just now, the answer is True.
        """
        if self._is_known(user.session_id, user.user_id, now):
            return True
        try:
            await self._look_up(user.session_id, user.user_id, now)
        except UpgradeRefused as refused:
            return refused.status == UNAVAILABLE
        except StoreError as error:
            _log.error("cannot look up an account: {error}", error=error)
        return True

    def forget(self, user_id: str, session_id: str | None = None) -> None:
        """Look this login up again when it comes next; without ``session_id``, all logins of the user."""
        self._forgotten += 1
        for known, (owner, _) in list(self._alive.items()):
            if owner == user_id and session_id in (None, known):
                del self._alive[known]

    def _user_of(self, app_id: str, baas_at: str | None, authorization: str | None, now: float) -> AppUser:
        token = baas_at or bearer_token(authorization)
        if not token:
            raise UpgradeRefused(UNAUTHORIZED, "no access token")
        try:
            claims = self._tokens.verify_access(token, app_id=app_id, now=now)
        except ForeignApp as error:
            # A refreshed token would be for that other app again: a circle.
            raise UpgradeRefused(FORBIDDEN, error.reason) from error
        except TokenError as error:
            raise UpgradeRefused(UNAUTHORIZED, error.reason) from error
        return AppUser(
            user_id=claims.user_id, app_id=claims.app_id, session_id=claims.session_id, expires=claims.expires
        )

    async def _looked_up(self, user: AppUser, now: float) -> AppUser:
        await self._look_up(user.session_id, user.user_id, now)
        return user

    def _is_known(self, session_id: str, user_id: str, now: float) -> bool:
        known = self._alive.get(session_id)
        return known is not None and known[0] == user_id and 0 <= now - known[1] < CACHE_SECONDS

    async def _look_up(self, session_id: str, user_id: str, now: float) -> None:
        forgotten = self._forgotten
        try:
            await self._store.run(check_login, self._accounts, user_id, session_id, now)
        except InvalidSession as error:
            raise UpgradeRefused(UNAUTHORIZED, "the user or the login is gone") from error
        except UserDisabled as error:
            raise UpgradeRefused(FORBIDDEN, "the user is disabled") from error
        except TooBusy as error:
            raise UpgradeRefused(UNAVAILABLE, "the server is busy") from error
        if forgotten != self._forgotten:
            return  # a login ended meanwhile, perhaps this one: do not remember the older answer
        self._alive.pop(session_id, None)
        while len(self._alive) >= CACHE_SIZE:
            del self._alive[next(iter(self._alive))]
        self._alive[session_id] = (user_id, now)


def bearer_token(authorization: str | None) -> str | None:
    """The token of a header ``Authorization: Bearer <token>``; None without the header or with another scheme."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
