"""Error codes, what is recommended for each, and how each client is told (spec/protocol.md 4)."""

import json

import pytest

from realmserver.realms import requests
from realmserver.sync.errors import (
    DEADLY,
    Action,
    AuthenticationFailed,
    Backoff,
    Code,
    SyncError,
    of_authentication,
    of_realm,
    survivable,
    to_message,
)
from realmserver.sync.server_messages import Error, JsonError, decode_server_message
from realmserver.sync.syntax import CLIENT_LIMITS
from realmserver.sync.versions import Negotiated

# spec/protocol.md 4.2 and 4.4, written down a second time.
ABORTS_CLIENTS = {104, 202, 203, 205, 207, 214, 215, 218, 219, 220, 221, 224}
CLIENT_RESET = {207, 208, 209, 210, 211, 217, 222, 227, 228, 230}
TRANSIENT = {100, 101, 200, 229}
TRY_AGAIN = {100, 101, 200, 229, 231, 236}


def negotiated(version: int) -> Negotiated:
    return Negotiated(f"com.mongodb.realm-sync#{version}", version)


def message(error: SyncError, session: int, version: int) -> JsonError:
    found = to_message(error, session, negotiated(version))
    assert isinstance(found, JsonError)
    return found


def test_the_deadly_codes_are_those_of_the_specification() -> None:
    assert set(DEADLY) == ABORTS_CLIENTS


@pytest.mark.parametrize("code", Code)
def test_no_code_that_aborts_clients_survives(code: Code) -> None:
    error = SyncError(code, "text")
    if code in (202, 203):
        with pytest.raises(ValueError, match="close the connection"):
            survivable(error)
    else:
        assert survivable(error).code not in ABORTS_CLIENTS
        assert survivable(error).code.of_connection == code.of_connection
        assert (survivable(error) == error) == (code not in ABORTS_CLIENTS)


@pytest.mark.parametrize(("code", "instead"), [(104, 103), (205, 204), (207, 208), (219, 206), (220, 206), (224, 201)])
def test_replacements(code: int, instead: int) -> None:
    assert survivable(SyncError(Code(code), "text")).code == instead


def test_a_deleted_realm_wipes_the_copy_under_a_safe_code() -> None:
    error = message(survivable(SyncError(Code.SERVER_FILE_DELETED, "deleted")), 1, 10)
    assert (error.code, error.content["action"]) == (206, "DeleteRealm")


def test_too_many_sessions_may_be_tried_again() -> None:
    error = message(survivable(SyncError(Code.TOO_MANY_SESSIONS, "many")), 1, 10)
    assert (error.code, error.content["action"], error.content["tryAgain"]) == (201, "Transient", True)


@pytest.mark.parametrize("code", Code)
def test_recommended_actions(code: Code) -> None:
    error = message(SyncError(code, "text"), 0 if code < 200 else 1, 10)
    assert list(error.content) == [
        "message",
        "tryAgain",
        "logURL",
        "shouldClientReset",
        "isRecoveryModeDisabled",
        "action",
    ]
    assert error.content["tryAgain"] == (code in TRY_AGAIN)
    assert error.content["shouldClientReset"] == (code in CLIENT_RESET)
    assert (error.content["action"] == "ClientReset") == (code in CLIENT_RESET)
    assert (error.content["action"] == "Transient") == (code in TRANSIENT)
    assert error.content["logURL"] == ""


@pytest.mark.parametrize("version", [2, 3, 4, 6, 7, 14])
def test_the_form_by_version(version: int) -> None:
    error = to_message(SyncError(Code.BAD_SERVER_VERSION, "text"), 1, negotiated(version))
    assert isinstance(error, Error if version < 4 else JsonError)
    assert decode_server_message(error.encode(), CLIENT_LIMITS) == error


def test_the_pairing_of_codes_and_sessions_is_kept() -> None:
    for code, session in ((Code.BAD_SYNTAX, 1), (Code.BAD_CHANGESET, 0)):
        with pytest.raises(ValueError, match="does not go with"):
            to_message(SyncError(code, "text"), session, negotiated(10))


def test_back_off_keys_come_together_or_not_at_all() -> None:
    keys = {"backoffIntervalSec": 10, "backoffMaxDelaySec": 300, "backoffMultiplier": 2}
    error = message(SyncError(Code.OTHER_SESSION_ERROR, "x", Action.TRANSIENT, True, Backoff(10, 300)), 1, 10)
    assert {key: error.content[key] for key in keys} == keys
    assert not keys.keys() & message(SyncError(Code.OTHER_SESSION_ERROR, "x"), 1, 10).content.keys()


def test_a_reset_without_recovery() -> None:
    error = message(SyncError(Code.BAD_CHANGESET, "x", Action.CLIENT_RESET_NO_RECOVERY), 1, 5)
    assert error.content["shouldClientReset"] is True
    assert error.content["isRecoveryModeDisabled"] is True


def test_texts_are_bounded_and_any_text_can_be_sent() -> None:
    error = to_message(SyncError(Code.BAD_CHANGESET, "\ud800ü\0" * 5000), 1, negotiated(3))
    assert len(error.encode()) < 4000
    data = to_message(SyncError(Code.BAD_CHANGESET, "\ud800ü\0" * 5000), 1, negotiated(4)).encode()
    head, _, body = data.partition(b"\n")
    assert head == b"json_error 212 %d 1" % len(body)
    assert len(json.loads(body)["message"]) == 1000


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (requests.BadClientFileIdent("x"), 208),
        (requests.BadServerVersion("x"), 209),
        (requests.BadClientVersion("x"), 210),
        (requests.DivergingHistories("x"), 211),
        (requests.ClientFileExpired("x"), 222),
        (requests.UserMismatch("x"), 223),
        (requests.BadOriginFileIdent("x"), 216),
        (requests.BadUpload("x"), 212),
        (requests.ProtocolTooOld("x"), 201),
        (requests.RealmUnavailable("x"), 201),
        (requests.RealmError("x"), 201),
    ],
)
def test_a_realms_refusals(error: requests.RealmError, code: int) -> None:
    assert of_realm(error).code == code


def test_every_refusal_of_a_realm_is_known() -> None:
    """A new kind of RealmError must be given its code on purpose."""
    blamed = {type(requests.RealmUnavailable("x"))}
    for kind in requests.RealmError.__subclasses__():
        assert (of_realm(kind("x")).try_again is True) == (kind in blamed), kind


def test_our_own_failures_are_tried_again_and_the_clients_are_not() -> None:
    assert message(of_realm(requests.RealmUnavailable("disk")), 1, 10).content["tryAgain"] is True
    assert message(of_realm(requests.ProtocolTooOld("old")), 1, 10).content["tryAgain"] is False


def test_authentication_failures_have_codes_for_legacy_clients() -> None:
    assert of_authentication(AuthenticationFailed("x", True)).code == 202
    assert of_authentication(AuthenticationFailed("x")).code == 203
