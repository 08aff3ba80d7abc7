"""Tokens of strangers, and tokens whose content is any bytes behind a good signature: only TokenError may come of it.

The first byte of an input says what the rest is: a token as it comes, or the content (or head) of one that is signed
here with the server's own key, since no mutation hits upon a signature.
"""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Final

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from fuzz.keys import KEYS
from fuzz.source import Source
from fuzz.target import Target
from realmserver.auth.gate import bearer_token
from realmserver.auth.keys import signed_wire_form
from realmserver.auth.tokens import BindGrant, Claims, TokenError, Tokens

NOW: Final = 1_800_000_000.0
TOKENS: Final = Tokens(KEYS)

HEAD: Final = b'{"alg":"RS256","typ":"JWT"}'
CLAIMS: Final = json.dumps(
    {
        "sub": "u",
        "typ": "access",
        "baas_app_id": "app1",
        "baas_device_id": "d",
        "baas_session_id": "s",
        "iat": int(NOW),
        "exp": int(NOW) + 60,
    }
).encode()
GRANT: Final = b'{"identity":"u","path":"/a","access":["download","upload"],"expires":1800000060}'


def check(data: bytes) -> None:
    """Every way in which a token is verified, for every token."""
    source = Source(data)
    how = source.below(4)
    content = source.rest()
    if how == 0:
        token = content.decode("utf-8", "surrogateescape")
    elif how == 1:
        token = signed_wire_form(KEYS, content)
    elif how == 2:
        token = _jwt(HEAD, content)
    else:
        token = _jwt(content, CLAIMS)
    bearer_token(f"Bearer {token}")
    for app in ("app1", None):
        _verified(lambda app=app: TOKENS.verify_access(token, app_id=app, now=NOW))  # type: ignore[misc]
    _verified(lambda: TOKENS.verify_refresh(token, app_id="app1", now=NOW))
    grant = _verified(lambda: TOKENS.verify_bind_token(token, now=NOW))
    if isinstance(grant, BindGrant):
        assert how != 0, "a token that was not signed here"
        assert grant.identity
        grant.allows("download", "/a")


def _verified(verify: Callable[[], Claims | BindGrant]) -> Claims | BindGrant | None:
    try:
        return verify()
    except TokenError as error:
        assert error.reason.isprintable()
        return None


def _jwt(head: bytes, content: bytes) -> str:
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (head, content))
    signature = KEYS.private.sign(signed, PKCS1v15(), SHA256())
    return b".".join([signed, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode("ascii")


def seeds() -> Iterator[bytes]:
    yield b"\0" + b"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1In0.AAAA"
    yield b"\0" + base64.b64encode(GRANT) + b":AAAA"
    yield b"\0" + b"eyJhbGciOiJub25lIn0.e30."
    yield b"\x01" + GRANT
    yield b'\x01{"identity":"__admin","admin":true,"sync_label":"default","stitch_data":{"realm_path":"/a"}}'
    yield b'\x01{"sub":"u","isAdmin":false,"syncLabel":null,"access":[],"exp":1e3}'
    yield b"\x02" + CLAIMS
    yield b"\x02" + CLAIMS.replace(b"access", b"refresh")
    yield b"\x02" + GRANT
    yield b"\x03" + HEAD
    yield b'\x03{"alg":"RS256","kid":1,"crit":["b64"],"b64":false}'


TARGET: Final = Target(
    "tokens, also those whose content is anything behind a good signature",
    check,
    seeds,
    (
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b'"',
            b":",
            b",",
            b"null",
            b"true",
            b"1e999",
            b"NaN",
            b"-Infinity",
            b"\\ud800",
            b"9" * 64,
        ),
        *(
            b'"alg"',
            b'"kid"',
            b'"crit"',
            b'"b64"',
            b'"typ"',
            b'"sub"',
            b'"exp"',
            b'"iat"',
            b'"aud"',
            b'"iss"',
            b'"nbf"',
        ),
        *(
            b'"path"',
            b'"access"',
            b'"identity"',
            b'"admin"',
            b'"expires"',
            b'"stitch_data"',
            b'"RS256"',
            b'"none"',
            b'"HS256"',
        ),
    ),
    longest=1024,
)
