"""Subprotocol negotiation (spec/protocol.md 1.2, 1.3)."""

import pytest

from realmserver.sync.versions import Negotiated, Refusal, negotiate, offer


@pytest.mark.parametrize(
    ("header", "name", "version"),
    [
        (
            "com.mongodb.realm-sync#10, com.mongodb.realm-sync#9, com.mongodb.realm-sync#2",
            "com.mongodb.realm-sync#10",
            10,
        ),
        ("com.mongodb.realm-sync#2,com.mongodb.realm-sync#14", "com.mongodb.realm-sync#14", 14),
        ("com.mongodb.realm-sync/7, com.mongodb.realm-sync/6", "com.mongodb.realm-sync/7", 7),
        ("com.mongodb.realm-sync/1-3", "com.mongodb.realm-sync/3", 3),
        ("com.mongodb.realm-sync#1-99", "com.mongodb.realm-sync#14", 14),
        ("com.mongodb.realm-sync#20, com.mongodb.realm-sync#5", "com.mongodb.realm-sync#5", 5),
        ("chat, com.mongodb.realm-sync#5, superchat", "com.mongodb.realm-sync#5", 5),
        ("io.realm.sync-30, com.mongodb.realm-sync/2", "com.mongodb.realm-sync/2", 2),
        ("com.mongodb.realm-query-sync#10, com.mongodb.realm-sync#3", "com.mongodb.realm-sync#3", 3),
        ("\tcom.mongodb.realm-sync#4 ,", "com.mongodb.realm-sync#4", 4),
    ],
)
def test_the_highest_common_version_is_answered_in_the_clients_spelling(header: str, name: str, version: int) -> None:
    assert negotiate(header) == Negotiated(name, version)


@pytest.mark.parametrize(
    ("header", "marker", "client"),
    [
        ("com.mongodb.realm-sync/1", "REALM_SYNC_PROTOCOL_MISMATCH:CLIENT_TOO_OLD", "1"),
        ("io.realm.sync-30", "REALM_SYNC_PROTOCOL_MISMATCH:CLIENT_TOO_OLD", "30"),
        ("io.realm.sync-23-30", "REALM_SYNC_PROTOCOL_MISMATCH:CLIENT_TOO_OLD", "23-30"),
        (
            "com.mongodb.realm-sync#15, com.mongodb.realm-sync#16",
            "REALM_SYNC_PROTOCOL_MISMATCH:CLIENT_TOO_NEW",
            "15, 16",
        ),
        ("com.mongodb.realm-sync#15, com.mongodb.realm-sync#1", "REALM_SYNC_PROTOCOL_MISMATCH", "1, 15"),
    ],
)
def test_a_mismatch_is_refused_with_its_marker_in_the_body(header: str, marker: str, client: str) -> None:
    refusal = negotiate(header)
    assert isinstance(refusal, Refusal)
    sentence, blank, server, offered, blank_too, last = refusal.body.rstrip("\n").split("\n")
    assert (refusal.status, blank, blank_too, last) == (400, "", "", marker)
    assert sentence.endswith(".")
    assert server == "Server supports: 2-14"
    assert offered == f"Client supports: {client}"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "chat",
        "com.mongodb.realm-sync",
        "com.mongodb.realm-sync#",
        "com.mongodb.realm-sync#-3",
        "com.mongodb.realm-sync#3x",
        "com.mongodb.realm-sync#5-3",
        "COM.MONGODB.REALM-SYNC#5",
        "com.mongodb.realm-sync#٣",
        "com.mongodb.realm-query-sync#10, com.mongodb.realm-query-sync#9",
        "com.mongodb.realm-query-sync/2",
    ],
)
def test_without_a_name_of_partition_sync_there_is_no_hint(header: str | None) -> None:
    refusal = negotiate(header)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400
    assert "MISMATCH" not in refusal.body


def test_our_own_offer_is_accepted() -> None:
    assert offer(9, 11) == "com.mongodb.realm-sync#11, com.mongodb.realm-sync#10, com.mongodb.realm-sync#9"
    assert negotiate(offer()) == Negotiated("com.mongodb.realm-sync#14", 14)


def test_what_each_version_has() -> None:
    features = {
        version: [
            name
            for name in ("json_error", "error_action", "close_codes", "log_message")
            if getattr(Negotiated("", version), name)
        ]
        for version in (2, 3, 4, 6, 7, 8, 9, 10, 14)
    }
    assert features == {
        2: [],
        3: [],
        4: ["json_error"],
        6: ["json_error"],
        7: ["json_error", "error_action"],
        8: ["json_error", "error_action", "close_codes"],
        9: ["json_error", "error_action", "close_codes"],
        10: ["json_error", "error_action", "close_codes", "log_message"],
        14: ["json_error", "error_action", "close_codes", "log_message"],
    }
