"""Tokens: what was issued is believed, all else is refused, each fault under its own name."""

import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from realmserver.auth.keys import Keys, PublicHalf, signed_wire_form
from realmserver.auth.tokens import (
    ACCESS_LEEWAY,
    ACCESS_TTL,
    MAX_TOKEN,
    REFRESH_TTL,
    BadSignature,
    BindGrant,
    Claims,
    ExpiredToken,
    ForeignApp,
    MalformedToken,
    TokenError,
    Tokens,
    WrongTokenType,
)

NOW = 1_800_000_000
WHO = {"user_id": "user1", "app_id": "app1", "device_id": "device1", "session_id": "session1"}


@pytest.fixture(scope="module")
def tokens(keys: Keys) -> Tokens:
    return Tokens(keys)


def wire(keys: Keys, payload: object) -> str:
    return signed_wire_form(keys, json.dumps(payload).encode())


def unsigned(header: object, payload: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part(header)}.{part(payload)}.c2ln"


def test_an_access_token_says_what_was_put_in(tokens: Tokens) -> None:
    token = tokens.issue_access(**WHO, now=NOW + 0.9)
    assert tokens.verify_access(token, app_id="app1", now=NOW) == Claims(**WHO, issued=NOW, expires=NOW + ACCESS_TTL)


def test_the_public_half_is_enough_to_check_tokens(tokens: Tokens, keys: Keys) -> None:
    checking = Tokens(PublicHalf(keys.public))
    token = tokens.issue_access(**WHO, now=NOW)
    assert checking.verify_access(token, app_id="app1", now=NOW) == tokens.verify_access(token, app_id="app1", now=NOW)
    assert checking.verify_bind_token(wire(keys, {"identity": "user1", "access": []}), now=NOW).identity == "user1"


def test_a_refresh_token_says_what_was_put_in(tokens: Tokens) -> None:
    token = tokens.issue_refresh(**WHO, now=NOW)
    assert tokens.verify_refresh(token, app_id=None, now=NOW).expires == NOW + REFRESH_TTL
    assert tokens.verify_refresh(token, app_id=None, now=NOW).session_id == "session1"


def test_clients_can_read_the_claims_they_need(tokens: Tokens, keys: Keys) -> None:
    token = tokens.issue_access(**WHO, now=NOW)
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims == {
        "exp": NOW + ACCESS_TTL,
        "iat": NOW,
        "iss": keys.issuer,
        "sub": "user1",
        "typ": "access",
        "baas_device_id": "device1",
        "baas_app_id": "app1",
        "baas_session_id": "session1",
    }
    assert jwt.get_unverified_header(token)["alg"] == "RS256"


def test_an_access_token_ends_after_its_leeway(tokens: Tokens) -> None:
    token = tokens.issue_access(**WHO, now=NOW)
    end = NOW + ACCESS_TTL
    assert ACCESS_LEEWAY > 5
    tokens.verify_access(token, app_id="app1", now=end + ACCESS_LEEWAY)
    with pytest.raises(ExpiredToken):
        tokens.verify_access(token, app_id="app1", now=end + ACCESS_LEEWAY + 1)
    with pytest.raises(ExpiredToken):
        tokens.verify_access(token, app_id="app1", now=end + 1, leeway=0)


def test_a_refresh_token_ends_on_time(tokens: Tokens) -> None:
    token = tokens.issue_refresh(**WHO, now=NOW)
    tokens.verify_refresh(token, app_id="app1", now=NOW + REFRESH_TTL)
    with pytest.raises(ExpiredToken):
        tokens.verify_refresh(token, app_id="app1", now=NOW + REFRESH_TTL + 1)


def test_lifetimes_can_be_set(keys: Keys) -> None:
    tokens = Tokens(keys, access_ttl=60, refresh_ttl=120)
    access, refresh = tokens.issue_access(**WHO, now=NOW), tokens.issue_refresh(**WHO, now=NOW)
    assert tokens.verify_access(access, app_id=None, now=NOW).expires == NOW + 60
    assert tokens.verify_refresh(refresh, app_id=None, now=NOW).expires == NOW + 120


def test_the_two_kinds_do_not_pass_for_each_other(tokens: Tokens) -> None:
    with pytest.raises(WrongTokenType):
        tokens.verify_access(tokens.issue_refresh(**WHO, now=NOW), app_id="app1", now=NOW)
    with pytest.raises(WrongTokenType):
        tokens.verify_refresh(tokens.issue_access(**WHO, now=NOW), app_id="app1", now=NOW)


def test_a_token_is_good_for_its_app_only(tokens: Tokens) -> None:
    token = tokens.issue_access(**WHO, now=NOW)
    with pytest.raises(ForeignApp):
        tokens.verify_access(token, app_id="app2", now=NOW)


def test_foreign_signatures_and_algorithms_are_refused(tokens: Tokens, keys: Keys, other_keys: Keys) -> None:
    claims = {"exp": NOW + 60, "iat": NOW, "sub": "user1", "typ": "access", "baas_app_id": "app1"}
    public_pem = keys.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    hs256 = unsigned({"alg": "HS256", "typ": "JWT"}, claims).removesuffix(".c2ln")
    mac = base64.urlsafe_b64encode(hmac.digest(public_pem, hs256.encode(), "sha256")).decode().rstrip("=")
    forgeries = [
        Tokens(other_keys).issue_access(**WHO, now=NOW),
        jwt.encode(claims, keys.private, algorithm="RS512"),
        jwt.encode(claims, keys.private, algorithm="PS256"),
        f"{hs256}.{mac}",
        unsigned({"alg": "none", "typ": "JWT"}, claims),
        unsigned({"alg": "RS256", "typ": "JWT"}, claims),
    ]
    for forgery in forgeries:
        with pytest.raises(BadSignature):
            tokens.verify_access(forgery, app_id=None, now=NOW)


def test_a_changed_claim_breaks_the_signature(tokens: Tokens) -> None:
    header, payload, signature = tokens.issue_access(**WHO, now=NOW).split(".")
    changed = base64.urlsafe_b64encode(base64.urlsafe_b64decode(payload + "==").replace(b"user1", b"user2"))
    with pytest.raises(BadSignature):
        tokens.verify_access(f"{header}.{changed.decode().rstrip('=')}.{signature}", app_id="app1", now=NOW)


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "a.b.c", "a.b", "é.b.c", "\udcff", "a" * (MAX_TOKEN + 1)),
        base64.urlsafe_b64encode(b"[" * 8000).decode() + ".e30.c2ln",
        unsigned("text", {}),
    ],
)
def test_text_of_another_form_is_malformed(tokens: Tokens, text: str) -> None:
    with pytest.raises(MalformedToken):
        tokens.verify_access(text, app_id=None, now=NOW)


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        *(("sub", None), ("sub", ""), ("sub", 5), ("exp", None), ("exp", "9"), ("exp", True), ("exp", 1e10)),
        *(("iat", None), ("baas_app_id", None), ("baas_device_id", None), ("baas_session_id", None)),
    ],
)
def test_a_signed_token_without_its_claims_is_malformed(tokens: Tokens, keys: Keys, claim: str, value: Any) -> None:
    claims = jwt.decode(tokens.issue_access(**WHO, now=NOW), options={"verify_signature": False})
    claims[claim] = value
    with pytest.raises(MalformedToken):
        tokens.verify_access(jwt.encode(claims, keys.private, algorithm="RS256"), app_id=None, now=NOW)


@given(text=st.text(st.characters(codec="latin-1"), max_size=60))
def test_errors_do_not_show_the_token(tokens: Tokens, text: str) -> None:
    secret = "5ecret5ecret" + text
    for verify in (
        lambda: tokens.verify_access(secret, app_id=None, now=NOW),
        lambda: tokens.verify_bind_token(secret, now=NOW),
    ):
        with pytest.raises(TokenError) as caught:
            verify()
        assert "5ecret" not in str(caught.value)


# --- tokens in BIND -------------------------------------------------------------------------------------------------


def test_a_token_of_1_x_grants_what_it_says(tokens: Tokens, keys: Keys) -> None:
    token = wire(
        keys,
        {
            "app_id": "",
            "identity": "0af1",
            "access": ["download", "upload", "other"],
            "salt": "00112233",
            "expires": NOW + 600,
            "path": "/0af1/notes",
            "sync_label": "default",
        },
    )
    grant = tokens.verify_bind_token(token, now=NOW)
    assert grant == BindGrant(
        identity="0af1",
        admin=False,
        path="/0af1/notes",
        access=frozenset({"download", "upload"}),
        expires=NOW + 600,
    )
    assert grant.allows("upload", "/0af1/notes")
    assert not grant.allows("manage", "/0af1/notes")
    assert not grant.allows("upload", "/0af1/notes2")


def test_expired_is_told_from_invalid(tokens: Tokens, keys: Keys) -> None:
    token = wire(keys, {"identity": "a", "access": ["download"], "expires": NOW, "path": "/a"})
    tokens.verify_bind_token(token, now=NOW)
    with pytest.raises(ExpiredToken):
        tokens.verify_bind_token(token, now=NOW + 0.5)


@pytest.mark.parametrize("end", [{}, {"expires": 0}, {"expires": None}, {"exp": 0}])
def test_a_token_without_an_end_never_expires(tokens: Tokens, keys: Keys, end: dict[str, object]) -> None:
    grant = tokens.verify_bind_token(wire(keys, {"identity": "a", "path": "/a", **end}), now=NOW * 10)
    assert grant.expires is None
    assert grant.access == frozenset()


def test_aliases_and_stitch_data_are_read(tokens: Tokens, keys: Keys) -> None:
    payload = {
        "sub": "a",
        "exp": NOW + 5.5,
        "isAdmin": False,
        "stitch_data": {"realm_path": "/p", "realm_access": ["download"], "realm_sync_label": "default"},
    }
    for token in (wire(keys, payload), jwt.encode(payload, keys.private, algorithm="RS256")):
        grant = tokens.verify_bind_token(token, now=NOW)
        assert grant == BindGrant("a", False, "/p", frozenset({"download"}), NOW + 5.5)


def test_admins_are_those_who_are_named_as_such(tokens: Tokens, keys: Keys) -> None:
    everything = ["download", "upload", "manage"]
    admins: list[dict[str, object]] = [
        {"identity": "a", "path": "/p", "admin": True},
        {"identity": "a", "isAdmin": True},
        {"identity": "__auth", "access": everything},
        {"identity": "__admin", "access": everything},
    ]
    others: list[dict[str, object]] = [
        {"identity": "a", "access": everything},
        {"identity": "a", "access": everything, "path": "/p"},
        {"identity": "a", "is_admin": True, "access": ["refresh"]},
        {"identity": "__auth", "path": "/p", "access": everything},
    ]
    assert all(tokens.verify_bind_token(wire(keys, payload), now=NOW).admin for payload in admins)
    assert not any(tokens.verify_bind_token(wire(keys, payload), now=NOW).admin for payload in others)


def test_both_base64_alphabets_white_space_and_missing_padding_are_read(tokens: Tokens, keys: Keys) -> None:
    content, signature = wire(keys, {"identity": "a", "path": "/?>?>?>~~~", "x": "~" * 30}).split(":")
    assert set("+/") & set(content + signature)
    variants = [
        f"{content}:{signature}\n",
        f" {content[:10]}\n{content[10:]}:{signature}",
        f"{content.rstrip('=')}:{signature.rstrip('=')}",
        f"{content}:{signature}".replace("+", "-").replace("/", "_"),
        f"{content}:{signature.replace('+', '-')}",
    ]
    for variant in variants:
        assert tokens.verify_bind_token(variant, now=NOW).path == "/?>?>?>~~~"


def test_tokens_of_other_keys_or_without_signature_are_invalid(tokens: Tokens, keys: Keys, other_keys: Keys) -> None:
    payload = {"identity": "__admin", "access": ["download"]}
    content, signature = wire(keys, payload).split(":")
    changed = base64.b64encode(json.dumps({**payload, "x": 1}).encode()).decode()
    for text in (wire(other_keys, payload), f"{changed}:{signature}", f"{content}:", f"{content}:AAAA"):
        with pytest.raises(BadSignature):
            tokens.verify_bind_token(text, now=NOW)
    for text in ("", content, f"{content}:{signature}:", f"{content}:é", "?:?", "A:A", ":", "\udcff:", "a" * 20000):
        with pytest.raises((MalformedToken, BadSignature)):
            tokens.verify_bind_token(text, now=NOW)
    with pytest.raises(BadSignature):
        tokens.verify_bind_token(jwt.encode(payload, other_keys.private, algorithm="RS256"), now=NOW)


@pytest.mark.parametrize(
    "payload",
    [
        *([], {}, {"identity": 5}, {"identity": ""}, {"identity": "a", "access": "download"}),
        *({"identity": "a", "access": [1]}, {"identity": "a", "path": 1}, {"identity": "a", "expires": "soon"}),
        *({"identity": "a", "expires": True}, {"identity": "a", "admin": 1}, {"identity": "a", "stitch_data": []}),
        *({"identity": "a", "sync_label": "west"}, {"identity": "a", "stitch_data": {"realm_sync_label": "west"}}),
    ],
)
def test_fields_of_the_wrong_type_make_a_token_invalid(tokens: Tokens, keys: Keys, payload: object) -> None:
    with pytest.raises(MalformedToken):
        tokens.verify_bind_token(wire(keys, payload), now=NOW)


@pytest.mark.parametrize("content", [b"not json", b"[" * 5000, b"\xff"])
def test_signed_content_that_is_no_json_is_invalid(tokens: Tokens, keys: Keys, content: bytes) -> None:
    with pytest.raises(MalformedToken):
        tokens.verify_bind_token(signed_wire_form(keys, content), now=NOW)


def test_app_services_tokens_open_no_realm_in_bind(tokens: Tokens) -> None:
    grant = tokens.verify_bind_token(tokens.issue_access(**WHO, now=NOW), now=NOW)
    assert grant.access == frozenset()
    assert not grant.admin
    with pytest.raises(WrongTokenType):
        tokens.verify_bind_token(tokens.issue_refresh(**WHO, now=NOW), now=NOW)
