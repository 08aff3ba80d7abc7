"""What the server's tokens say: issued here, and believed only after a check here.

Two kinds. App Services clients carry JSON Web Tokens, an access token for a short time and a refresh token for a login
(``spec/http-api.md`` 4.4). Clients of the 1.x era send a signed token in BIND (``spec/protocol.md`` 6.2,
``spec/http-api.md`` 1.2). Both are signed with the server's RSA key, and a token of one kind never passes as the other.

The module knows neither users nor clocks: whether a user or a login still exists is ``auth.accounts``' business, and
the time is an argument, in Unix seconds. No error text holds a token or a part of one.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import jwt
from attrs import frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from realmserver.auth.keys import Keys, PublicHalf

ACCESS_TTL: Final = 1800
"""Seconds an access token lives; that of App Services (``spec/http-api.md`` 4.4)."""

REFRESH_TTL: Final = 60 * 24 * 3600
"""Seconds a refresh token lives, 60 days, as in App Services."""

ACCESS_LEEWAY: Final = 15
"""Seconds an access token is honoured past its end. A client connects with a token up to 5 s past it
(``spec/http-api.md`` 4.4); the rest is for the way, and for clocks that differ a little."""

MAX_TOKEN: Final = 16 * 1024
"""Longest token looked at, in characters (``spec/protocol.md`` 1.5)."""

REMEMBERED: Final = 4096
"""Tokens whose signature was found good and need not be checked again: a client shows the same one at every connection
for half an hour. About 2 KB each. What must hold at the time, the end of the token above all, is not remembered."""

ALGORITHM: Final = "RS256"
TYPE_ACCESS: Final = "access"
TYPE_REFRESH: Final = "refresh"
RIGHTS: Final = frozenset({"download", "upload", "manage"})
ADMIN_IDENTITIES: Final = frozenset({"__auth", "__admin"})
"""Identities of the admin tokens of 1.x and 2.x (``spec/http-api.md`` 1.2)."""

DEVICE_ID_CLAIM: Final = "baas_device_id"
APP_ID_CLAIM: Final = "baas_app_id"
SESSION_ID_CLAIM: Final = "baas_session_id"


class TokenError(Exception):
    """A token is not to be believed. ``reason`` says why and may be shown; it holds nothing of the token."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: str = reason


class MalformedToken(TokenError):
    """The text has not the form of a token, or a claim is missing or of the wrong type."""


class BadSignature(TokenError):
    """Another key, another algorithm, or content changed after signing."""


class WrongTokenType(TokenError):
    """A token of another kind than is asked for, such as a refresh token in place of an access token."""


class ForeignApp(TokenError):
    """The token was issued for another app."""


class ExpiredToken(TokenError):
    """The token's time is over. In BIND the only fault that is answered with 202; all others are 203."""


@frozen
class Claims:
    """What an App Services token says. Times are Unix seconds.

    ``session_id`` names the login (the refresh session) from which the token comes, in both kinds of token.
    """

    user_id: str
    app_id: str
    device_id: str
    session_id: str
    issued: int
    expires: int


@frozen
class BindGrant:
    """What a token in BIND grants (``spec/protocol.md`` 6.2).

    ``path`` None: any Realm. ``access`` is a subset of ``RIGHTS``. ``expires`` None: never (Unix seconds otherwise).
    """

    identity: str
    admin: bool
    path: str | None
    access: frozenset[str]
    expires: float | None

    def allows(self, right: str, path: str) -> bool:
        """Whether the token itself gives ``right`` on exactly ``path``; being an admin does not enter here."""
        return right in self.access and self.path in (None, path)


class Tokens:
    """Issues and verifies tokens with one key pair; with its public half it verifies them.

    ``access_ttl`` and ``refresh_ttl`` are in seconds. Thread-safe. Signing takes about a millisecond of computing,
    verifying a tenth of that, and next to nothing for a token that was seen before.
    """

    def __init__(
        self, keys: Keys | PublicHalf, *, access_ttl: int = ACCESS_TTL, refresh_ttl: int = REFRESH_TTL
    ) -> None:
        self._keys = keys
        self.access_ttl: int = access_ttl
        self.refresh_ttl: int = refresh_ttl
        self._open_jwt: Callable[[str], Mapping[str, object]] = lru_cache(REMEMBERED)(self._check_jwt)

    def issue_access(self, *, user_id: str, app_id: str, device_id: str, session_id: str, now: float) -> str:
        """A new access token for the App Services API and the WebSocket."""
        return self._issue(TYPE_ACCESS, user_id, app_id, device_id, session_id, int(now), self.access_ttl)

    def issue_refresh(self, *, user_id: str, app_id: str, device_id: str, session_id: str, now: float) -> str:
        """A new refresh token. It is worth nothing once the session ``session_id`` has been revoked."""
        return self._issue(TYPE_REFRESH, user_id, app_id, device_id, session_id, int(now), self.refresh_ttl)

    def verify_access(self, token: str, *, app_id: str | None, now: float, leeway: float = ACCESS_LEEWAY) -> Claims:
        """Check an access token and return what it says.

        ``app_id`` None means any app (some routes of the API name none); ``leeway`` in seconds. Raises a
        :class:`TokenError`: one class for each fault.
        """
        return self._verify(token, TYPE_ACCESS, app_id, now - leeway)

    def verify_refresh(self, token: str, *, app_id: str | None, now: float) -> Claims:
        """Check a refresh token as :meth:`verify_access` does, without leeway; the session is not looked up."""
        return self._verify(token, TYPE_REFRESH, app_id, now)

    def verify_bind_token(self, text: str, *, now: float) -> BindGrant:
        """Check the token of a BIND or REFRESH: the signed form of 1.x, or a JWT with the same keys.

        An admin is who has the field for it, set to true, or an admin token (no path, and one of its identities); the
        reference server's guesses from missing fields are not followed. Raises :class:`ExpiredToken` (202) or another
        :class:`TokenError` (203). ``spec/protocol.md`` 6.2, ``spec/http-api.md`` 1.2.
        """
        if len(text) > MAX_TOKEN or not text.isascii():
            raise MalformedToken("the token is too long or not ASCII")
        if ":" in text:
            payload = self._open_wire_form(text)
        elif "." in text:
            payload = self._open_jwt(text.strip())
            if payload.get("typ") == TYPE_REFRESH:
                raise WrongTokenType("a refresh token has no place in a sync session")
        else:
            raise MalformedToken("the token is not signed")
        grant = _read_grant(payload)
        if grant.expires is not None and now > grant.expires:
            raise ExpiredToken("the token has expired")
        return grant

    def _issue(self, kind: str, user_id: str, app_id: str, device_id: str, session_id: str, now: int, ttl: int) -> str:
        assert isinstance(self._keys, Keys), "nothing can be signed with the public half"
        claims: dict[str, str | int] = {
            "exp": now + ttl,
            "iat": now,
            "iss": self._keys.issuer,
            "sub": user_id,
            "typ": kind,
            DEVICE_ID_CLAIM: device_id,
            APP_ID_CLAIM: app_id,
            SESSION_ID_CLAIM: session_id,
        }
        return jwt.encode(claims, self._keys.private, algorithm=ALGORITHM)

    def _verify(self, token: str, kind: str, app_id: str | None, earliest_end: float) -> Claims:
        if len(token) > MAX_TOKEN or not token.isascii():
            raise MalformedToken("the token is too long or not ASCII")
        payload = self._open_jwt(token)
        if payload.get("typ") != kind:
            raise WrongTokenType(f"this is not a token of type '{kind}'")
        claims = Claims(
            user_id=_text(payload, "sub"),
            app_id=_text(payload, APP_ID_CLAIM),
            device_id=_text(payload, DEVICE_ID_CLAIM),
            session_id=_text(payload, SESSION_ID_CLAIM),
            issued=_integer(payload, "iat"),
            expires=_integer(payload, "exp"),
        )
        if app_id is not None and claims.app_id != app_id:
            raise ForeignApp("the token was issued for another app")
        if claims.expires < earliest_end:
            raise ExpiredToken("the token has expired")
        return claims

    def _check_jwt(self, token: str) -> Mapping[str, object]:
        """The payload of a JWT of ours; its times and claims are not yet checked."""
        try:
            payload: dict[str, object] = jwt.decode(
                token,
                self._keys.public,
                algorithms=[ALGORITHM],
                options={
                    # The library would compare with its own clock; the claims are checked here instead.
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                    "verify_aud": False,
                    "verify_iss": False,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
        except jwt.InvalidSignatureError as error:
            raise BadSignature("the token's signature is not this server's") from error
        except jwt.InvalidAlgorithmError as error:
            raise BadSignature(f"the token is not signed with {ALGORITHM}") from error
        except (jwt.InvalidTokenError, RecursionError) as error:  # deeply nested JSON in the header
            raise MalformedToken("the token is not a JSON Web Token") from error
        return payload

    def _open_wire_form(self, text: str) -> Mapping[str, object]:
        """The payload of a token ``base64(json):base64(signature)``; the signature is over the JSON's bytes."""
        content, _, signature = text.partition(":")
        payload = _decode_base64(content)
        try:
            self._keys.public.verify(_decode_base64(signature), payload, PKCS1v15(), SHA256())
        except InvalidSignature as error:
            raise BadSignature("the token's signature is not this server's") from error
        try:
            parsed: object = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise MalformedToken("the token's content is not JSON") from error
        if not isinstance(parsed, dict):
            raise MalformedToken("the token's content is not a JSON object")
        return parsed


def _read_grant(payload: Mapping[str, object]) -> BindGrant:
    """The fields of ``spec/protocol.md`` 6.2 under their names or aliases; a wrong type is :class:`MalformedToken`."""
    stitch = payload.get("stitch_data", {})
    if not isinstance(stitch, dict):
        raise MalformedToken("the token's field stitch_data is not an object")
    identity = _either(payload, "identity", "sub")
    if not isinstance(identity, str) or not identity:
        raise MalformedToken("the token has no identity")
    label = _either(payload, "sync_label", "syncLabel", stitch.get("realm_sync_label"))
    if label not in (None, "default"):
        raise MalformedToken("the token is for another sync worker")
    admin = _either(payload, "admin", "isAdmin")
    if not isinstance(admin, bool | None):
        raise MalformedToken("the token's field admin is not a boolean")
    path = _either(payload, "path", "path", stitch.get("realm_path"))
    if not isinstance(path, str | None):
        raise MalformedToken("the token's field path is not a string")
    access = _either(payload, "access", "access", stitch.get("realm_access"))
    if not isinstance(access, list | None) or not all(isinstance(right, str) for right in access or []):
        raise MalformedToken("the token's field access is not an array of strings")
    expires = _either(payload, "expires", "exp")
    if isinstance(expires, bool) or not isinstance(expires, int | float | None):
        raise MalformedToken("the token's field expires is not a number")
    return BindGrant(
        identity=identity,
        admin=bool(admin) or (path is None and identity in ADMIN_IDENTITIES),
        path=path,
        access=RIGHTS.intersection(access or []),
        expires=expires or None,  # 0 is the same as absent
    )


def _either(payload: Mapping[str, object], name: str, alias: str, fallback: object = None) -> object:
    for key in (name, alias):
        if payload.get(key) is not None:
            return payload[key]
    return fallback


def _text(payload: Mapping[str, object], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str) or not value:
        raise MalformedToken(f"the token has no claim {name}")
    return value


def _integer(payload: Mapping[str, object], name: str) -> int:
    value = payload.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise MalformedToken(f"the token has no claim {name}")
    return value


def _decode_base64(text: str) -> bytes:
    """Decode either alphabet, without white space and with or without padding (``spec/protocol.md`` 6.2)."""
    compact = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except binascii.Error as error:
        raise MalformedToken("the token is not base64") from error
