"""The client end notices every fault of a server that real clients notice (spec/protocol.md 7)."""

import json
import zlib

import pytest

from realmserver.realms.requests import DownloadCursor, SaltedVersion, UploadCursor
from realmserver.sync.client import (
    ClientConnection,
    ClientFile,
    ClientSession,
    ConnectionEnded,
    Downloaded,
    Logged,
    SessionError,
)
from realmserver.sync.client_checks import ServerViolation
from realmserver.sync.decisions import Send
from realmserver.sync.errors import DEADLY, Code, SyncError, to_message
from realmserver.sync.versions import Negotiated

FILE = ClientFile(2, 77, DownloadCursor(5, 3), SaltedVersion(6, 66), UploadCursor(4, 2), 9)
FIRST = b"download 1 5 3 6 66 4 2 0 0 0 0\n"


def connection(version: int = 10, *, legacy_token: bool = False) -> ClientConnection:
    made = ClientConnection(legacy_token=legacy_token)
    made.connected(f"com.mongodb.realm-sync#{version}")
    return made


def bound(file: ClientFile | None = FILE, version: int = 10) -> tuple[ClientConnection, ClientSession]:
    made = connection(version)
    return made, made.bind("/test", file)[0]


def json_error(code: int, session: int, **changes: object) -> bytes:
    content: dict[str, object] = {
        "message": "m",
        "tryAgain": False,
        "logURL": "",
        "shouldClientReset": False,
        "isRecoveryModeDisabled": False,
        "action": "ApplicationBug",
    }
    content.update(changes)
    body = json.dumps({key: value for key, value in content.items() if value is not ...}).encode()
    return b"json_error %d %d %d\n" % (code, len(body), session) + body


def download(head: str, *entries: str) -> bytes:
    body = "".join(entries).encode()
    return f"download 1 {head} 0 0 {len(body)} 0\n".encode() + body


GOOD = "8 4 9 99 5 2"
ENTRY = "6 3 0 3 1 1 x"


@pytest.mark.parametrize(
    "reply",
    [None, "", "com.mongodb.realm-sync/10", "com.mongodb.realm-sync#15", "com.mongodb.realm-sync#1", "chat", "#5"],
)
def test_k1_a_reply_that_was_not_offered(reply: str | None) -> None:
    with pytest.raises(ServerViolation, match=r"^K1: "):
        ClientConnection().connected(reply)


@pytest.mark.parametrize(
    ("check", "messages"),
    [
        ("K3", [b"nonsense 1\n"]),
        ("K3", [b"mark 1  1\n"]),
        ("K3", [b"mark 1 1\r\n"]),
        ("K3", [b"mark 1 +1\n"]),
        ("K3", [b"mark 1 1\nx"]),
        ("K3", [b"mark 1 -1\n"]),
        ("K3", [b"state 1 0 0 0 0 0 0\n"]),
        ("K3", [b"client_version 1 0\n"]),
        ("K4", [b"mark 2 1\n"]),
        ("K4", [b"download 2 5 3 6 66 4 2 0 0 0 0\n"]),
        ("K4", [b"unbound 7\n"]),
        ("K4", [json_error(208, 2)]),
        ("K5", [b"ident 1 3 4\n"]),
        ("K7", [FIRST, download("6 3 5 55 4 2")]),
        ("K8", [FIRST, download("6 3 6 66 3 2")]),
        ("K9", [FIRST, download("6 3 6 66 10 2")]),
        ("K10", [FIRST, download("4 3 6 66 4 2")]),
        ("K11", [FIRST, download("7 3 6 66 4 2")]),
        ("K12", [FIRST, download("6 2 6 66 4 2")]),
        ("K13", [FIRST, download("6 5 6 66 4 2")]),
        ("K14", [FIRST, download(GOOD, "0 3 0 3 1 1 x")]),
        ("K15", [FIRST, download(GOOD, "5 3 0 3 1 1 x")]),
        ("K15", [FIRST, download(GOOD, ENTRY, ENTRY)]),
        ("K16", [FIRST, download(GOOD, ENTRY, "9 3 0 3 1 1 x")]),
        ("K17", [FIRST, download(GOOD, "6 2 0 3 1 1 x")]),
        ("K17", [FIRST, download(GOOD, "6 4 0 3 1 1 x", "7 3 0 3 1 1 x")]),
        ("K17", [FIRST, download(GOOD, "6 5 0 3 1 1 x")]),
        ("K18", [FIRST, download(GOOD, "6 3 0 0 1 1 x")]),
        ("K18", [FIRST, download(GOOD, "6 3 0 2 1 1 x")]),
        ("K19", [download(GOOD, "6 3 0 3 1 2 x")]),
        ("K19", [b"download 1 8 4 9 99 5 2 0 0 5 0\n" + ENTRY.encode()]),
        ("K19", [b"download 1 8 4 9 99 5 2 0 1 9 8\nnot zlib"]),
        ("K20", [FIRST, download("6 3 6 66 4 1")]),
        ("K22", [FIRST, b"mark 1 2\n"]),
        ("K22", [FIRST, b"mark 1 1\n", b"mark 1 1\n"]),
        ("K23", [b"unbound 1\n"]),
        ("K23", [json_error(208, 1), b"unbound 1\n"]),
        ("K24", [b"pong 5\n"]),
        ("K6", [json_error(208, 1), FIRST]),
        ("K6", [json_error(208, 1), b"mark 1 1\n"]),
        ("K26", [json_error(208, 1), json_error(208, 1)]),
        ("K27", [json_error(208, 0)]),
        ("K27", [json_error(103, 1)]),
        ("K27", [json_error(150, 0)]),
        ("K29", [json_error(208, 1, logURL=None)]),
        ("K29", [json_error(208, 1, action=...)]),
        ("K29", [json_error(208, 1, message=...)]),
        ("K29", [json_error(208, 1, tryAgain=1)]),
        ("K29", [json_error(208, 1, shouldClientReset=...)]),
        ("K29", [json_error(208, 1, isRecoveryModeDisabled="no")]),
        ("K29", [json_error(208, 1, backoffIntervalSec=1)]),
        ("K29", [json_error(208, 1, backoffIntervalSec=1, backoffMaxDelaySec=2, backoffMultiplier=1.5)]),
        ("K29", [json_error(232, 1)]),
        ("K29", [json_error(232, 1, partitionQuery="")]),
        ("K29", [json_error(236, 1)]),
        ("K29", [json_error(231, 1)]),
        ("K29", [b"json_error 208 3 1\n{x}"]),
        ("K32", [b"log_message 0 3\n{x}"]),
        ("K32", [b'log_message 0 27\n{"level":"loud","msg":"hm"}']),
        ("K33", [b"query_error 226 1 1 0\nx"]),
        ("K36", [json_error(236, 1, previousSchemaVersion=1)]),
        ("K36", [json_error(208, 1, action="MigrateSchema")]),
        ("K38", [FIRST, FIRST]),
        ("K39", [b"mark 1 1\n"]),
    ],
)
def test_each_check(check: str, messages: list[bytes]) -> None:
    client, _ = bound()
    for message in messages[:-1]:
        client.receive(message)
    with pytest.raises(ServerViolation) as caught:
        client.receive(messages[-1])
    assert caught.value.check == check
    assert client.is_over
    assert client.receive(b"pong 1\n") == []


@pytest.mark.parametrize("code", sorted(DEADLY))
def test_k28_codes_that_abort_clients(code: Code) -> None:
    client, _ = bound()
    session = 0 if code < 200 else 1
    with pytest.raises(ServerViolation, match=r"^K28: "):
        client.receive(json_error(code, session))
    legacy = connection(legacy_token=True)
    legacy.bind("/test", FILE)
    legacy.receive(json_error(code, session))


@pytest.mark.parametrize("messages", [[b"ident 1 0 5\n"], [b"ident 1 5 0\n"], [b"ident 1 2 3\n", b"ident 1 2 3\n"]])
def test_k5_idents(messages: list[bytes]) -> None:
    client, _ = bound(None)
    for message in messages[:-1]:
        client.receive(message)
    with pytest.raises(ServerViolation, match=r"^K5: "):
        client.receive(messages[-1])


@pytest.mark.parametrize("message", [b"download 1 0 0 0 0 0 0 0 0 0 0\n", b"mark 1 1\n"])
def test_k6_nothing_before_ident(message: bytes) -> None:
    client, _ = bound(None)
    with pytest.raises(ServerViolation, match=r"^K6: "):
        client.receive(message)


def test_k4_nothing_after_unbound() -> None:
    client, session = bound()
    client.unbind(session)
    client.receive(b"unbound 1\n")
    with pytest.raises(ServerViolation, match=r"^K4: "):
        client.receive(FIRST)


def test_k24_one_pong_for_each_ping() -> None:
    client = connection()
    client.ping(1000, 0)
    with pytest.raises(ValueError, match="not answered"):
        client.ping(2000, 0)
    client.receive(b"pong 1000\n")
    assert not client.awaits_pong
    with pytest.raises(ServerViolation, match=r"^K24: "):
        client.receive(b"pong 1000\n")
    other = connection()
    other.ping(1000, 0)
    with pytest.raises(ServerViolation, match=r"^K24: "):
        other.receive(b"pong 1001\n")


COMPENSATION = {
    "action": "Warning",
    "tryAgain": True,
    "compensatingWriteServerVersion": 7,
    "rejectedClientVersion": 4,
}


@pytest.mark.parametrize("key", ["AwFh", "AA==", "ASo=", "CgABAgMEBQYHCAkKCw==", "CwABAgMEBQYHCAkKCwwNDg8="])
def test_compensating_writes_do_not_end_a_session(key: str) -> None:
    client, session = bound()
    update = [{"reason": "r", "table": "t", "pk": key}]
    [event] = client.receive(json_error(231, 1, rejectedUpdates=update, **COMPENSATION))
    assert isinstance(event, SessionError)
    client.receive(FIRST)
    assert isinstance(client.receive(download(GOOD, "7 3 0 3 1 1 x"))[0], Downloaded)
    assert session.is_identified


@pytest.mark.parametrize("key", ["", "a", "!!!!", "AwJh", "AwE=", "AAA=", "CgAB", "AQ==", "Ag=="])
def test_k30_malformed_primary_keys(key: str) -> None:
    client, _ = bound()
    update = [{"reason": "r", "table": "t", "pk": key}]
    with pytest.raises(ServerViolation, match=r"^K30: "):
        client.receive(json_error(231, 1, rejectedUpdates=update, **COMPENSATION))


@pytest.mark.parametrize(
    "updates", ["x", ["x"], [{"reason": "r", "table": "t"}], [{"reason": 1, "table": "t", "pk": ""}]]
)
def test_k29_rejected_updates(updates: object) -> None:
    client, _ = bound()
    with pytest.raises(ServerViolation, match=r"^K29: "):
        client.receive(json_error(231, 1, rejectedUpdates=updates, **COMPENSATION))


def test_k31_a_compensating_write_announced_too_late() -> None:
    client, _ = bound()
    client.receive(FIRST)
    update = [{"reason": "r", "table": "t", "pk": "AwFh"}]
    client.receive(json_error(231, 1, rejectedUpdates=update, **COMPENSATION))
    with pytest.raises(ServerViolation, match=r"^K31: "):
        client.receive(download(GOOD, "8 3 0 3 1 1 x"))


def test_k32_log_messages_only_from_version_10_on() -> None:
    data = b'log_message 0 47\n{"co_id":"c0ffee","level":"info","msg":"hello"}'
    assert connection(10).receive(data) == [Logged("info", "hello", "c0ffee")]
    assert connection(10).receive(b"log_message 0 2\n{}") == [Logged("", "", "")]
    with pytest.raises(ServerViolation, match=r"^K32: "):
        connection(9).receive(data)


def test_k3_json_errors_only_from_version_4_on() -> None:
    client, _ = bound(version=3)
    with pytest.raises(ServerViolation, match=r"^K3: "):
        client.receive(json_error(208, 1))
    client, _ = bound(version=3)
    assert isinstance(client.receive(b"error 208 0 0 1\n")[0], SessionError)


def test_what_real_clients_tolerate_passes() -> None:
    client, _ = bound()
    client.receive(b"download 1 05 3 6 66 4 2 0 0 0 0\n")
    body = zlib.compress(b"7 3 0 3 9 1 x")
    data = b"download 1 10 4 15 99 5 0 77 1 13 %d\n" % len(body) + body
    [event] = client.receive(data)
    assert isinstance(event, Downloaded)
    assert event.download.cursor == DownloadCursor(10, 4)
    unknown = client.receive(json_error(299, 1, action="SomethingNew"))
    assert isinstance(unknown[0], SessionError)


@pytest.mark.parametrize("version", [2, 3, 4, 7, 14])
@pytest.mark.parametrize("code", sorted(set(Code) - set(DEADLY) - {231, 232, 236}))
def test_every_error_we_can_send_passes(version: int, code: Code) -> None:
    client, _ = bound(version=version)
    negotiated = Negotiated(f"com.mongodb.realm-sync#{version}", version)
    data = to_message(SyncError(code, "text"), 0 if code < 200 else 1, negotiated).encode()
    [event, *rest] = client.receive(data)
    assert isinstance(event, ConnectionEnded if code < 200 else SessionError)
    assert rest == ([] if code < 200 else [Send(b"unbind 1\n")])
