"""The App Services client API as SDKs use it: one test for each thing they rely on."""

import base64
import json
from typing import Any

import pytest
from api_server import API, APP, BASE, START, Answer, Server

from realmserver.auth.keys import Keys
from realmserver.auth.logins import NoRoom
from realmserver.auth.tokens import ACCESS_TTL, REFRESH_TTL
from realmserver.auth.workers import TooBusy
from realmserver.http.extended_json import MAX_BODY

LOCAL = f"{APP}/auth/providers/local-userpass"


def claims(token: str) -> dict[str, Any]:
    """What a client reads of a token: the part between the dots."""
    _, middle, _ = token.split(".")
    content: dict[str, Any] = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return content


def assert_error(answer: Answer, status: int, error_code: str, message: str | None = None) -> None:
    assert (answer.status, answer.json.get("error_code")) == (status, error_code)
    assert answer.headers["Content-Type"] == "application/json"
    assert all(isinstance(answer.json[key], str) and answer.json[key] for key in ("error", "error_code", "link"))
    assert answer.json["link"].startswith(f"{BASE}/logs?co_id=")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    if message is not None:
        assert answer.json["error"] == message


# --- location ---------------------------------------------------------------------------------------------------


def test_location_is_where_the_client_found_the_server(server: Server) -> None:
    answer = server.get(f"{APP}/location")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "deployment_model": "LOCAL",
        "location": "US-VA",
        "hostname": "http://realm.example.com:9080",
        "ws_hostname": "ws://realm.example.com:9080",
    }


def test_location_keeps_to_tls(server: Server) -> None:
    location = server.get(f"{APP}/location", base="https://realm.example.com").json
    assert location["hostname"] == "https://realm.example.com"
    assert location["ws_hostname"] == "wss://realm.example.com"


def test_location_does_not_believe_forwarding_headers(server: Server) -> None:
    headers = {"X-Forwarded-Host": "evil.example.com", "X-Forwarded-Proto": "https"}
    assert server.get(f"{APP}/location", headers=headers).json["hostname"] == BASE


@pytest.mark.parametrize("host", ["", "a b", "x/y", "u@h", '"', "h" * 300, "h" * 64 + ".de", "a..b", ":80", "[::1"])
def test_a_host_header_that_is_no_host_is_not_repeated(server: Server, host: str) -> None:
    assert server.get(f"{APP}/location", headers={"Host": host}).json["hostname"] == "http://127.0.0.1:9080"


def test_headers_that_are_no_text_are_the_clients_fault(server: Server) -> None:
    """Not ours: anybody could fill the log with tracebacks."""
    answer = server.get(f"{APP}/location", headers={"Host": b"h\xc3\xa9\xff:1"})
    assert answer.json["hostname"] == "http://127.0.0.1:9080"
    answer = server.get(f"{API}/auth/profile", headers={"Authorization": b"Bearer \xff\xfe"})
    assert_error(answer, 401, "InvalidSession")


def test_hosts_may_be_ip_addresses(server: Server) -> None:
    location = server.get(f"{APP}/location", headers={"Host": "[2001:db8::1]:9080"}).json
    assert location["ws_hostname"] == "ws://[2001:db8::1]:9080"


def test_apps_that_are_not_served_are_unknown(keys: Keys) -> None:
    server = Server(keys, apps=frozenset({"app1"}))
    assert server.get(f"{APP}/location").status == 200
    assert_error(server.get(f"{API}/app/app2/location"), 404, "AppNotFound")
    assert_error(server.post(f"{API}/app/app2/auth/providers/anon-user/login", {}), 404, "AppNotFound")


@pytest.mark.parametrize("app_id", ["__x", "a.b", "a%20b", "%22%3E", "a" * 65])
def test_app_ids_have_rules(server: Server, app_id: str) -> None:
    assert_error(server.get(f"{API}/app/{app_id}/location"), 404, "AppNotFound")


# --- logging in -------------------------------------------------------------------------------------------------


def test_an_anonymous_user_logs_in(server: Server) -> None:
    answer = server.log_in_anonymously()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert set(answer.json) == {"access_token", "refresh_token", "user_id", "device_id"}
    access, refresh = claims(answer.json["access_token"]), claims(answer.json["refresh_token"])
    assert (access["typ"], access["exp"], access["iat"]) == ("access", START + ACCESS_TTL, START)
    assert (refresh["typ"], refresh["exp"], refresh["iat"]) == ("refresh", START + REFRESH_TTL, START)
    assert access["sub"] == refresh["sub"] == answer.json["user_id"]
    assert access["baas_device_id"] == answer.json["device_id"]
    assert len(answer.json["device_id"]) == 24


def test_every_anonymous_login_is_a_new_user(server: Server) -> None:
    assert server.log_in_anonymously().json["user_id"] != server.log_in_anonymously().json["user_id"]


def test_a_user_registers_and_logs_in(server: Server) -> None:
    registered = server.register()
    assert (registered.status, registered.json) == (201, {})
    first, second = server.log_in(), server.log_in()
    assert first.status == second.status == 200
    assert first.json["user_id"] == second.json["user_id"]
    assert first.json["refresh_token"] != second.json["refresh_token"]


def test_a_name_can_be_taken_once(server: Server) -> None:
    server.register(password="secret1")
    assert_error(server.register(password="secret2"), 409, "AccountNameInUse", "name already in use")
    assert server.log_in(password="secret1").status == 200


def test_wrong_passwords_and_unknown_users_get_the_same_answer(server: Server) -> None:
    server.register()
    for email, password in (("a@example.com", "wrong!"), ("b@example.com", "secret1"), ("", ""), ("x" * 500, "y")):
        assert_error(server.log_in(email, password), 401, "InvalidPassword", "invalid username/password")


def test_names_are_those_of_the_password_provider(server: Server) -> None:
    server.register("Ä name")
    assert server.accounts.find("password", "Ä name") is not None


@pytest.mark.parametrize("password", ["", "12345", "x" * 129])
def test_passwords_have_6_to_128_characters(server: Server, password: str) -> None:
    message = "password must be between 6 and 128 characters"
    assert_error(server.register(password=password), 400, "BadRequest", message)


@pytest.mark.parametrize("password", ["123456", "ä" * 128])
def test_the_shortest_and_the_longest_password_work(server: Server, password: str) -> None:
    assert server.register(password=password).status == 201
    assert server.log_in(password=password).status == 200


@pytest.mark.parametrize("email", ["", "x" * 129])
def test_names_have_1_to_128_characters(server: Server, email: str) -> None:
    assert_error(server.register(email), 400, "BadRequest", "email must be between 1 and 128 characters")


def test_a_browser_keeps_its_device_id(server: Server) -> None:
    device_id = "0123456789abcdef01234567"
    for written, kept in ((device_id, True), ({"$oid": device_id}, True), ("x", False), (5, False), (None, False)):
        answer = server.post(f"{APP}/auth/providers/anon-user/login", {"options": {"device": {"deviceId": written}}})
        assert (answer.json["device_id"] == device_id) == kept


def test_older_sdks_send_no_options(server: Server) -> None:
    assert server.post(f"{APP}/auth/providers/anon-user/login", {}).status == 200
    assert server.post(f"{APP}/auth/providers/anon-user/login", {"options": []}).status == 200


def test_linking_is_not_taken_for_a_login(server: Server) -> None:
    token = server.log_in_anonymously().json["access_token"]
    server.register()
    body = {"username": "a@example.com", "password": "secret1"}
    assert_error(server.post(f"{LOCAL}/login?link=true", body, token=token), 400, "BadRequest")


@pytest.mark.parametrize(
    "provider", ["custom-token", "custom-function", "api-key", "oauth2-google", "oauth2-facebook", "oauth2-apple", "x"]
)
def test_other_providers_are_not_enabled(server: Server, provider: str) -> None:
    assert_error(server.post(f"{APP}/auth/providers/{provider}/login", {}), 404, "AuthProviderNotFound")


def test_providers_can_be_switched_off(keys: Keys) -> None:
    server = Server(keys, providers=frozenset({"local-userpass"}))
    assert_error(server.log_in_anonymously(), 404, "AuthProviderNotFound")
    assert server.register().status == 201


# --- profile, session, logout, deletion -------------------------------------------------------------------------


def test_the_profile_of_an_anonymous_user(server: Server) -> None:
    login = server.log_in_anonymously().json
    profile = server.get(f"{API}/auth/profile", token=login["access_token"]).json
    (identity,) = profile.pop("identities")
    assert profile == {"user_id": login["user_id"], "type": "normal", "data": {}}
    assert identity["provider_type"] == "anon-user"
    assert len(identity["id"]) == 24


def test_the_profile_of_a_user_with_a_password(server: Server) -> None:
    server.register()
    login = server.log_in().json
    profile = server.get(f"{API}/auth/profile", token=login["access_token"]).json
    assert profile["data"] == {"email": "a@example.com"}
    assert [identity["provider_type"] for identity in profile["identities"]] == ["local-userpass"]


def test_an_access_token_is_refreshed(server: Server) -> None:
    login = server.log_in_anonymously().json
    server.now += ACCESS_TTL + 100
    assert_error(server.get(f"{API}/auth/profile", token=login["access_token"]), 401, "InvalidSession")
    refreshed = server.post(f"{API}/auth/session", token=login["refresh_token"])
    assert refreshed.status == 200
    assert set(refreshed.json) == {"access_token"}
    assert claims(refreshed.json["access_token"])["exp"] == server.now + ACCESS_TTL
    assert server.get(f"{API}/auth/profile", token=refreshed.json["access_token"]).status == 200


def test_a_login_ends_with_its_refresh_token(server: Server) -> None:
    login = server.log_in_anonymously().json
    server.now += REFRESH_TTL + 1
    assert_error(server.post(f"{API}/auth/session", token=login["refresh_token"]), 401, "InvalidSession")


def test_logging_out_kills_both_tokens_of_this_login_only(server: Server) -> None:
    server.register()
    login, other = server.log_in().json, server.log_in().json
    out = server.delete(f"{API}/auth/session", token=login["refresh_token"])
    assert (out.status, out.text) == (204, "")
    assert "Content-Type" not in out.headers
    assert_error(server.post(f"{API}/auth/session", token=login["refresh_token"]), 401, "InvalidSession")
    assert_error(server.get(f"{API}/auth/profile", token=login["access_token"]), 401, "InvalidSession")
    assert server.get(f"{API}/auth/profile", token=other["access_token"]).status == 200
    assert server.post(f"{API}/auth/session", token=other["refresh_token"]).status == 200
    assert server.ended == [(login["user_id"], claims(login["access_token"])["baas_session_id"])]


def test_logging_out_twice_is_no_error(server: Server) -> None:
    token = server.log_in_anonymously().json["refresh_token"]
    assert [server.delete(f"{API}/auth/session", token=token).status for _ in range(2)] == [204, 204]


def test_a_deleted_user_is_gone(server: Server) -> None:
    server.register()
    login = server.log_in().json
    assert server.delete(f"{API}/auth/delete", token=login["access_token"]).status == 204
    assert_error(server.log_in(), 401, "InvalidPassword")
    assert_error(server.get(f"{API}/auth/profile", token=login["access_token"]), 401, "InvalidSession")
    assert_error(server.post(f"{API}/auth/session", token=login["refresh_token"]), 401, "InvalidSession")
    assert server.ended == [(login["user_id"], None)]
    assert server.register().status == 201


def test_tokens_do_not_pass_for_each_other(server: Server) -> None:
    login = server.log_in_anonymously().json
    for method, path, token in (
        ("GET", "profile", login["refresh_token"]),
        ("DELETE", "delete", login["refresh_token"]),
        ("POST", "session", login["access_token"]),
        ("DELETE", "session", login["access_token"]),
    ):
        assert_error(server.request(method, f"{API}/auth/{path}", token=token), 401, "InvalidSession")


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic YTpi", "abc", "Bearer a.b.c", "Bearer é"])
def test_routes_for_users_need_a_token(server: Server, authorization: str) -> None:
    for method, path in (
        ("GET", "/auth/profile"),
        ("POST", "/auth/session"),
        ("DELETE", "/auth/session"),
        ("DELETE", "/auth/delete"),
        ("GET", "/auth/api_keys"),
        ("POST", "/app/app1/functions/call"),
        ("PUT", "/app/app1/push/providers/gcm/registration"),
    ):
        answer = server.request(method, API + path, headers={"Authorization": authorization})
        assert_error(answer, 401, "InvalidSession")
        assert_error(server.request(method, API + path), 401, "InvalidSession", "must authenticate first")


# --- what apps of this server do not have -----------------------------------------------------------------------


def test_api_keys_are_not_enabled(server: Server) -> None:
    token = server.log_in_anonymously().json["refresh_token"]
    keys = f"{API}/auth/api_keys"
    assert_error(server.get(keys, token=token), 404, "AuthProviderNotFound")
    assert_error(server.post(keys, {"name": "k"}, token=token), 404, "AuthProviderNotFound")
    for method, path in (("GET", ""), ("DELETE", ""), ("PUT", "/enable"), ("PUT", "/disable")):
        answer = server.request(method, f"{keys}/5f0000000000000000000001{path}", token=token)
        assert_error(answer, 404, "APIKeyNotFound", "API key not found")


def test_functions_and_services_are_not_found(server: Server) -> None:
    token = server.log_in_anonymously().json["access_token"]
    call = f"{APP}/functions/call"
    answer = server.post(call, {"name": "sum", "arguments": [{"$numberInt": "1"}]}, token=token)
    assert_error(answer, 404, "FunctionNotFound", "function not found: 'sum'")
    answer = server.post(call, {"name": "find", "arguments": [{}], "service": "mongodb-atlas"}, token=token)
    assert_error(answer, 404, "ServiceNotFound", "service not found: 'mongodb-atlas'")
    assert_error(server.get(f"{call}?baas_request=e30%3D&baas_at=x"), 404, "FunctionNotFound")
    for method in ("PUT", "DELETE"):
        answer = server.request(method, f"{APP}/push/providers/gcm/registration", {}, token=token)
        assert_error(answer, 404, "ServiceNotFound", "service not found: 'gcm'")


def test_a_token_of_another_app_calls_no_function(server: Server) -> None:
    token = server.log_in_anonymously().json["access_token"]
    answer = server.post(f"{API}/app/app2/functions/call", {"name": "sum"}, token=token)
    assert_error(answer, 401, "InvalidSession")


def test_confirmation_and_reset_answer_as_for_an_app_without_mail(server: Server) -> None:
    server.register()
    pair = {"token": "t", "tokenId": "i"}
    assert_error(server.post(f"{LOCAL}/confirm", pair), 400, "UserpassTokenInvalid", "invalid token data")
    assert_error(
        server.post(f"{LOCAL}/reset", {**pair, "password": "secret2"}),
        400,
        "UserpassTokenInvalid",
        "invalid token data",
    )
    known, unknown = {"email": "a@example.com"}, {"email": "b@example.com"}
    for path in ("confirm/send", "confirm/call", "reset/send", "reset/call"):
        assert_error(server.post(f"{LOCAL}/{path}", unknown), 404, "UserNotFound", "user not found")
    assert_error(server.post(f"{LOCAL}/confirm/send", known), 400, "UserAlreadyConfirmed", "already confirmed")
    assert_error(server.post(f"{LOCAL}/confirm/call", known), 400, "UserAlreadyConfirmed", "already confirmed")
    assert_error(server.post(f"{LOCAL}/reset/send", known), 400, "BadRequest")
    by_function = {**known, "password": "secret2", "arguments": []}
    assert_error(server.post(f"{LOCAL}/reset/call", by_function), 404, "FunctionNotFound")
    assert server.log_in(password="secret1").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/x",
        "/auth",
        "/auth/profile/",
        "/app/app1",
        "/app/app1/location/",
        "//auth/profile",
        "/app//location",
        "/%ff",
    ],
)
def test_unknown_routes_answer_in_the_apis_own_form(server: Server, path: str) -> None:
    assert_error(server.get(API + path), 404, "NotFound")


def test_other_methods_are_refused(server: Server) -> None:
    assert_error(server.post(f"{APP}/location"), 405, "MethodNotAllowed")
    assert_error(server.get(f"{LOCAL}/login"), 405, "MethodNotAllowed")


# --- bodies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"{}x", b"[" * 100_000, b'{"a":' * 50_000),
        *(b'{"username":5,"password":"x"}', b'{"username":"x"}', b'{"username":"\\ud800","password":"x"}'),
        *(b'{"username":"x","password":"\\udfff"}', b'{"username":{"$numberInt":"x"},"password":"x"}'),
        b'{"username":{"$numberLong":"' + b"9" * 5000 + b'"},"password":"x"}',
    ],
)
def test_malformed_bodies_are_bad_requests(server: Server, body: bytes) -> None:
    assert_error(server.post(f"{LOCAL}/login", body), 400, "BadRequest")


def test_bodies_have_a_limit(server: Server) -> None:
    body = b'{"username":"x","password":"' + b"x" * MAX_BODY + b'"}'
    assert_error(server.post(f"{LOCAL}/login", body), 413, "BadRequest")


# --- browsers, people, trouble ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [f"{APP}/location", f"{LOCAL}/login", f"{API}/auth/session", f"{API}/auth/delete"])
def test_browsers_may_ask_from_other_sites(server: Server, path: str) -> None:
    asked = {
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = server.request("OPTIONS", path, headers=asked)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "DELETE" in answer.headers["Access-Control-Allow-Methods"].split(", ")
    assert {"Authorization", "Content-Type"} <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))
    assert server.get(f"{APP}/location", headers=asked).headers["Access-Control-Allow-Origin"] == "*"


def test_a_person_finds_out_what_this_is(server: Server) -> None:
    page = server.get("/", headers={"Host": "realm.example.com:9080"})
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Realm Object Server" in page.text
    assert page.text.count(BASE) == 2
    assert server.get("/nowhere").status == 404


def test_a_busy_server_asks_to_come_again(server: Server) -> None:
    server.register()
    token = server.log_in().json["refresh_token"]
    server.store.error = NoRoom("nothing can be stored")
    assert_error(server.post(f"{APP}/auth/providers/anon-user/login", {}), 503, "InternalServerError")
    server.store.error = None
    server.hashing.error = TooBusy("full")
    busy = server.log_in()
    assert_error(busy, 503, "InternalServerError")
    assert busy.headers["Retry-After"] == "1"
    server.store.error = TooBusy("full")
    assert_error(server.post(f"{API}/auth/session", token=token), 503, "InternalServerError")


def test_our_own_failures_tell_nothing(server: Server) -> None:
    server.store.error = OSError("disk /var/lib on fire")
    answer = server.log_in_anonymously()
    assert_error(answer, 500, "InternalServerError", "internal server error")
    assert "fire" not in answer.text
