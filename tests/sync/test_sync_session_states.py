"""The server end, behaviour by behaviour: sessions from BIND to UNBOUND (spec/protocol.md 3.1 to 3.4, 3.7 to 3.11)."""

import json

import pytest
from attrs import evolve
from sync_ends import File, Host, World

from realmserver.realms.requests import BadUpload, DownloadCursor, RealmUnavailable, SaltedVersion, UploadCursor
from realmserver.sync import client_messages as c2s
from realmserver.sync import decisions
from realmserver.sync.errors import AuthenticationFailed, Code, SyncError

BIND = b"bind 1 5 0 1 0\n/test"
KNOWN = b"bind 1 5 0 0 0\n/test"
IDENT = b"ident 1 2 1002 0 0 0 0\n"
FIRST_DOWNLOAD = b"download 1 0 0 0 0 0 0 0 0 0 0\n"
UPLOAD = b"upload 1 0 47 0 3 0 0\n2 0 178000000000 0 3 abc3 0 178000000500 0 2 de"
MESSAGES: dict[str, bytes] = {
    "ident": IDENT,
    "upload": UPLOAD,
    "mark": b"mark 1 1\n",
    "refresh": b"refresh 1 1\nt",
    "state_request": b"state_request 1 0 0 0 0 0 0 0 0\n",
    "client_version_request": b"client_version_request 1 2 1002\n",
    "alloc": b"alloc 1\n",
    "json_error": b"json_error 212 2 1\n{}",
}


def error(data: bytes) -> tuple[int, int, dict[str, object]]:
    """(code, session, content) of a JSON_ERROR."""
    head, _, body = data.partition(b"\n")
    verb, code, size, session = head.split()
    assert verb == b"json_error"
    assert int(size) == len(body)
    return int(code), int(session), json.loads(body)


def fails(host: Host, *messages: bytes) -> int:
    """The code of the error that ends the connection."""
    code, session, _ = error(host.say(*messages)[-1])
    assert session == 0
    assert isinstance(host.close, decisions.Close)
    assert host.close.code == 1000
    assert host.connection.is_over
    assert not host.realms
    return code


def session_error(host: Host, *messages: bytes) -> int:
    """The code of the error that ends session 1 while the connection goes on."""
    code, session, _ = error(host.say(*messages)[-1])
    assert session == 1
    assert host.close is None
    assert host.say(b"ping 5 0\n") == [b"pong 5\n"]
    return code


def active(host: Host) -> Host:
    host.say(BIND, IDENT)
    assert host.sent[-1] == FIRST_DOWNLOAD
    return host


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def host(world: World) -> Host:
    return Host(world)


def test_the_exchange_of_a_real_client(host: Host) -> None:
    """spec/protocol.md 2.5, last example."""
    assert host.say(BIND) == [b"ident 1 2 1002\n"]
    assert host.say(IDENT) == [FIRST_DOWNLOAD]
    assert host.say(b"mark 1 1\n") == [b"mark 1 1\n"]
    assert host.say(UPLOAD) == [b"download 1 2 3 2 7000002 3 0 0 0 0 0\n"]
    assert host.say(b"upload 1 0 0 0 4 2 2\n") == []
    assert host.say(b"unbind 1\n") == [b"unbound 1\n"]
    # Bound again, everything in one breath; the same changesets again are integrated already.
    again = b"ident 1 2 1002 2 3 2 7000002\n"
    assert host.say(KNOWN, again) == [b"download 1 2 3 2 7000002 4 2 0 0 0 0\n"]
    assert host.say(b"upload 1 0 11 0 4 2 2\n3 0 1 0 1 a") == []
    assert host.world.realm("/test").version == 2
    other = Host(host.world)
    other.say(b"bind 7 5 0 1 0\n/test", b"ident 7 3 1003 0 0 0 0\n")
    body = b"1 0 178000000000 2 3 3 abc2 0 178000000500 2 2 2 de"
    assert other.sent[-1] == b"download 7 2 0 2 7000002 0 0 0 0 51 0\n" + body


# The table of states (3.1). What is not accepted is error 109 for the connection.

ACCEPTED = {
    "allocating": {"refresh", "client_version_request"},
    "waiting": {"ident", "state_request", "client_version_request", "refresh"},
    "active": {"upload", "mark", "refresh", "alloc", "json_error"},
}


@pytest.mark.parametrize("state", ACCEPTED)
@pytest.mark.parametrize("verb", MESSAGES)
def test_what_is_accepted_in_which_state(world: World, state: str, verb: str) -> None:
    host = Host(world, auto=False)
    host.say(BIND)
    if state != "allocating":
        host.answer()
    if state == "active":
        host.say(IDENT)
        host.answer()
    if verb in ACCEPTED[state]:
        host.say(MESSAGES[verb])
        host.answer()
        assert not host.connection.is_over
    else:
        assert fails(host, MESSAGES[verb]) == 109


@pytest.mark.parametrize("state", ["allocating", "waiting", "identifying", "active"])
def test_unbind_is_accepted_in_every_state(world: World, state: str) -> None:
    host = Host(world, auto=False)
    host.say(BIND)
    if state != "allocating":
        host.answer()
    if state in ("identifying", "active"):
        host.say(IDENT)
    if state == "active":
        host.answer()
    before = len(host.sent)
    assert host.say(b"unbind 1\n") == [b"unbound 1\n"]
    host.answer()
    assert len(host.sent) == before + 1, "nothing is sent for a session that is gone, whatever is answered late"
    assert len(host.left) == 1
    assert fails(host, b"mark 1 1\n") == 106


@pytest.mark.parametrize("verb", MESSAGES)
def test_an_unknown_session_is_error_106(host: Host, verb: str) -> None:
    assert fails(host, MESSAGES[verb]) == 106


def test_unbind_of_an_unknown_session_is_error_106(host: Host) -> None:
    assert fails(host, b"unbind 1\n") == 106


def test_a_session_ident_in_use_is_error_107(host: Host) -> None:
    assert fails(host, BIND, BIND) == 107


def test_a_second_ident_is_error_109(host: Host) -> None:
    assert fails(active(host), IDENT) == 109


def test_a_second_ident_right_behind_the_first_is_error_109(world: World) -> None:
    host = Host(world, auto=False)
    host.say(BIND)
    host.answer()
    host.say(IDENT, IDENT)
    assert error(host.answer()[-1])[0] == 109


def test_a_second_state_request_is_error_109(host: Host) -> None:
    assert fails(host, BIND, MESSAGES["state_request"], MESSAGES["state_request"]) == 109


def test_malformed_messages_are_error_103(host: Host) -> None:
    assert fails(active(host), b"mark 1  1\n") == 103


def test_unknown_verbs_are_error_103(host: Host) -> None:
    assert fails(host, b"query 1 1 2\n{}") == 103


def test_a_body_that_does_not_inflate_is_error_101_and_may_be_tried_again(host: Host) -> None:
    active(host)
    code, _, content = error(host.say(b"upload 1 1 10 3 3 0 0\nabc")[-1])
    assert (code, content["tryAgain"]) == (101, True)


def test_a_message_over_the_limit_closes_with_1009_and_no_error(host: Host) -> None:
    active(host)
    assert host.say(b"upload 1 1 999999999999 3 3 0 0\nabc") == []
    assert isinstance(host.close, decisions.Close)
    assert host.close.code == 1009


def test_after_the_error_of_a_connection_nothing_is_sent_or_heeded(world: World) -> None:
    host = Host(world, auto=False)
    host.say(BIND, b"bind 2 5 0 1 0\n/test")
    sessions = [decision.session for decision in host.decisions if isinstance(decision, decisions.Open)]
    sent = host.say(b"nonsense", b"ping 1 0\n", b"unbind 1\n")
    assert len(sent) == 1
    assert host.left == sessions
    assert host.answer() == []
    assert host.connection.lost() == []
    assert host.connection.shutdown() == []


def test_old_clients_get_error_and_newer_ones_json_error(world: World) -> None:
    old = Host(world, 3)
    text = b"session ident 1 is in use"
    assert old.say(BIND, BIND)[-1] == b"error 107 %d 0 0\n" % len(text) + text
    assert fails(Host(world, 4), BIND, BIND) == 107


# BIND (3.3)


@pytest.mark.parametrize(
    ("token", "legacy_code"),
    [("expired", 202), ("forged", 203)],
)
def test_a_bad_token_closes_real_clients_and_tells_legacy_ones(world: World, token: str, legacy_code: int) -> None:
    bind = c2s.Bind(1, "/test", token, True).encode()
    for version, close_code in ((10, 4001), (8, 4001), (7, 1008), (3, 1008)):
        host = Host(world, version)
        assert host.say(bind) == [], "202 and 203 abort real clients"
        assert isinstance(host.close, decisions.Close)
        assert host.close.code == close_code
        assert len(host.left) == 1
    legacy = Host(world, legacy_token=True)
    assert session_error(legacy, bind) == legacy_code


def test_an_expired_token_can_be_reported_at_any_time(world: World) -> None:
    host = active(Host(world))
    host.carry_out(host.connection.refused(host.session(1), SyncError(Code.TOKEN_EXPIRED, "expired")))
    assert isinstance(host.close, decisions.Close)
    assert host.close.code == 4001


def test_a_missing_right_is_a_session_error_and_keeps_the_ident_in_use(host: Host) -> None:
    assert session_error(host, b"bind 1 7 0 1 0\n/secret") == 206
    assert fails(host, BIND) == 107


def test_sub_servers_are_for_the_host_to_refuse(host: Host) -> None:
    assert session_error(host, b"bind 1 5 0 1 1\n/test") == 206


def test_a_withdrawn_right_ends_the_session(host: Host) -> None:
    active(host)
    host.carry_out(host.connection.refused(host.session(1), SyncError(Code.PERMISSION_DENIED, "withdrawn")))
    assert error(host.sent[-1])[0] == 206
    assert len(host.left) == 1
    assert host.say(b"mark 1 1\n", UPLOAD) == []


def test_a_failure_of_ours_may_be_tried_again(world: World) -> None:
    host = Host(world, auto=False)
    host.say(BIND)
    [opened] = [decision for decision in host.decisions if isinstance(decision, decisions.Open)]
    host.carry_out(host.connection.refused(opened.session, RealmUnavailable("the disk is full")))
    code, _, content = error(host.sent[-1])
    assert (code, content["tryAgain"], content["action"]) == (201, True, "Transient")
    assert content["backoffIntervalSec"]


def test_the_ident_is_not_sent_before_it_is_allocated_and_never_unasked(world: World) -> None:
    host = Host(world, auto=False)
    assert host.say(BIND) == []
    assert host.answer() == [b"ident 1 2 1002\n"]
    other = Host(world)
    assert other.say(KNOWN) == []


def test_a_host_cannot_send_ident_0(world: World) -> None:
    host = Host(world, auto=False)
    host.say(BIND)
    [opened] = [decision for decision in host.decisions if isinstance(decision, decisions.Open)]
    with pytest.raises(ValueError, match="must not be sent"):
        host.connection.opened(opened.session, 2, 0)


def test_sessions_of_a_connection_are_limited(world: World) -> None:
    host = Host(world, max_sessions=2)
    for sid in (1, 2):
        host.say(c2s.Bind(sid, "/test", "", True).encode())
    [refusal] = host.say(c2s.Bind(3, "/test", "", True).encode())
    code, session, content = error(refusal)
    assert (code, session, content["tryAgain"], content["action"]) == (201, 3, True, "Transient")
    assert host.limits_hit == ["sessions_per_connection"]
    assert host.say(b"unbind 3\n") == []
    assert host.say(b"unbind 1\n") == [b"unbound 1\n"]
    assert host.say(c2s.Bind(4, "/test", "", True).encode()) == [b"ident 4 4 1004\n"]


def test_refused_sessions_that_are_never_unbound_end_the_connection(world: World) -> None:
    host = Host(world, max_sessions=2)
    binds = [c2s.Bind(sid, "/test", "", True).encode() for sid in range(1, 6)]
    assert fails(host, *binds) == 100
    assert len(host.left) == 2


# IDENT (3.4)


def restored(host: Host) -> Host:
    """A Realm at version 3 with client file 2 at CV 5, RB 2, bound and waiting for IDENT."""
    realm = host.world.realm("/test")
    realm.allocate()
    for changeset in (b"a", b"b", b"c"):
        realm.write(changeset)
    realm.files[2] = File(1002, UploadCursor(5, 2), 1)
    host.say(KNOWN)
    return host


GOOD_IDENT = c2s.Ident(1, 2, 1002, DownloadCursor(2, 5), SaltedVersion(3, 7000003))


@pytest.mark.parametrize(
    ("row", "code", "ident"),
    [
        (1, 209, evolve(GOOD_IDENT, latest=SaltedVersion(4, 7000004))),
        (1, 209, evolve(GOOD_IDENT, ident=99, latest=SaltedVersion(4, 7000004))),
        (2, 208, evolve(GOOD_IDENT, ident=99)),
        (2, 208, evolve(GOOD_IDENT, ident=0)),
        (3, 211, evolve(GOOD_IDENT, salt=5)),
        (4, 209, evolve(GOOD_IDENT, download=DownloadCursor(1, 0))),
        (7, 210, evolve(GOOD_IDENT, download=DownloadCursor(2, 6))),
        (8, 209, evolve(GOOD_IDENT, download=DownloadCursor(3, 5), latest=SaltedVersion(2, 7000002))),
        (9, 211, evolve(GOOD_IDENT, latest=SaltedVersion(3, 1))),
        (9, 211, evolve(GOOD_IDENT, download=DownloadCursor(2, 5), latest=SaltedVersion(3, 0))),
    ],
)
def test_each_refusal_of_ident_resets_the_client(host: Host, row: int, code: int, ident: c2s.Ident) -> None:
    restored(host)
    assert session_error(host, ident.encode()) == code, f"row {row}"
    content = next(error(data)[2] for data in host.sent if data.startswith(b"json_error"))
    assert content["action"] == "ClientReset"
    assert content["tryAgain"] is False


def test_a_good_ident_passes(host: Host) -> None:
    assert restored(host).say(GOOD_IDENT.encode()) == [
        b"download 1 3 5 3 7000003 5 2 0 0 13 0\n3 5 7 1 1 1 c",
    ]


def test_an_expired_client_file_is_error_222(host: Host) -> None:
    restored(host)
    host.world.realm("/test").files[2].expired = True
    assert session_error(host, GOOD_IDENT.encode()) == 222


def test_a_client_file_twice_on_one_connection_is_error_108(host: Host) -> None:
    active(host)
    assert fails(host, b"bind 2 5 0 0 0\n/test", b"ident 2 2 1002 0 0 0 0\n") == 108


def test_the_same_file_ident_of_another_realm_is_another_file(host: Host) -> None:
    active(host)
    assert host.say(b"bind 2 6 0 1 0\n/other", b"ident 2 2 1002 0 0 0 0\n")[-1] == b"download 2 0 0 0 0 0 0 0 0 0 0\n"


def test_a_client_file_may_come_back_after_unbind_or_error(host: Host) -> None:
    active(host)
    host.say(b"unbind 1\n")
    assert host.say(KNOWN, IDENT) == [FIRST_DOWNLOAD]
    host.carry_out(host.connection.refused(host.session(1), SyncError(Code.SESSION_CLOSED, "again")))
    assert host.say(b"bind 2 5 0 0 0\n/test", b"ident 2 2 1002 0 0 0 0\n")[-1].startswith(b"download 2 ")


def test_a_superseded_connection_is_dropped_without_a_word(host: Host) -> None:
    active(host)
    before = len(host.sent)
    host.carry_out(host.connection.superseded())
    assert isinstance(host.close, decisions.Abort)
    assert len(host.sent) == before
    assert len(host.left) == 1


# MARK (3.7)


def test_mark_is_answered_after_everything_that_existed_when_it_came(world: World) -> None:
    host = Host(world, auto=False)
    world.realm("/test").batch = 0
    for changeset in (b"a", b"b"):
        world.realm("/test").write(changeset)
    host.say(BIND)
    host.answer()
    host.say(IDENT, b"mark 1 1\n")
    verbs: list[bytes] = []
    for changeset in (b"c", b"d", b"e", b"f"):
        verbs += [data.split()[0] + b" " + data.split()[2] for data in host.answer(1)]
        world.write("/test", changeset)
    assert verbs == [b"download 1", b"download 2", b"mark 1", b"download 3"]


def test_only_the_newest_mark_is_answered(world: World) -> None:
    host = Host(world, auto=False)
    host.say(BIND)
    host.answer()
    host.say(IDENT, b"mark 1 1\n", b"mark 1 2\n", b"mark 1 3\n")
    assert host.answer() == [FIRST_DOWNLOAD, b"mark 1 3\n"]
    assert host.say(b"mark 1 4\n") == [b"mark 1 4\n"]


# UNBIND and errors (3.8)


def test_after_an_error_everything_but_unbind_is_ignored(host: Host) -> None:
    active(host)
    assert session_error(host, b"upload 1 0 0 0 3 9 0\n") == 209
    assert host.say(*MESSAGES.values()) == []
    assert host.connection.sessions == 1
    assert host.say(b"unbind 1\n") == [], "no UNBOUND after an error"
    assert host.connection.sessions == 0
    assert host.say(BIND) == [b"ident 1 3 1003\n"]


def test_an_error_concerns_only_its_session(host: Host) -> None:
    active(host)
    host.say(b"bind 2 5 0 1 0\n/test", b"ident 2 3 1003 0 0 0 0\n")
    assert session_error(host, b"upload 1 0 0 0 3 9 0\n") == 209
    host.world.write("/test", b"x")
    assert host.sent[-1].startswith(b"download 2 1 ")
    assert not any(data.startswith(b"download 1 1") for data in host.sent)


def test_an_ident_may_be_used_again_while_old_answers_are_on_their_way(world: World) -> None:
    host = Host(world, auto=False)
    host.say(BIND, b"unbind 1\n", BIND)
    assert host.asked() == ["Open", "Open"]
    assert host.answer() == [b"ident 1 3 1003\n"], "the first answer is for a session that is gone"
    host.say(b"ident 1 3 1003 0 0 0 0\n")
    host.answer(1)
    assert host.asked() == ["FetchDownload"]
    host.say(b"unbind 1\n", KNOWN)
    assert host.answer() == []


def test_a_client_that_could_not_integrate_is_told_to_begin_anew(host: Host) -> None:
    active(host)
    [answer] = host.say(c2s.ClientError(1, 212, "bad\n\x1b[31m red").encode())
    code, session, content = error(answer)
    assert (code, session, content["action"], content["tryAgain"]) == (201, 1, "Transient", True)
    assert content["backoffIntervalSec"] == 60
    (report,) = [line for line in host.log if isinstance(line, decisions.ErrorReceived)]
    assert (report.code, report.text, report.session.path) == (212, "bad\\x0a\\x1b[31m red", "/test")
    assert all(line.text.isprintable() for line in host.log)


def test_errors_are_logged_with_number_and_text(host: Host) -> None:
    fails(host, BIND, BIND)
    (line,) = [line for line in host.log if isinstance(line, decisions.ErrorSent)]
    assert (line.level, line.code, line.session) == ("warning", 107, None)
    assert "in use" in line.text


def test_an_error_is_logged_with_the_session_whose_message_caused_it(host: Host) -> None:
    host.say(BIND)
    session = host.session(1)
    session.user, session.realm = "user", "/test"  # as a host notes them
    fails(host, MESSAGES["mark"])
    (line,) = [line for line in host.log if isinstance(line, decisions.ErrorSent)]
    assert line.session is session
    assert (line.session.user, line.session.realm) == ("user", "/test")


def test_what_becomes_of_a_session_can_be_followed(host: Host) -> None:
    active(host)
    host.say(b"unbind 1\n")
    states = [line.text for line in host.log if isinstance(line, decisions.Log) and line.level == "trace"]
    assert states == ["is WAITING_FOR_IDENT", "is ACTIVE", "is GONE"]


def test_round_trips_are_told_once_one_has_been_measured(host: Host) -> None:
    host.say(b"ping 5 0\n", b"ping 6 17\n")
    assert [each for each in host.decisions if isinstance(each, decisions.RoundTrip)] == [decisions.RoundTrip(17)]


# REFRESH, STATE_REQUEST, CLIENT_VERSION_REQUEST, ALLOC (3.9 to 3.11)


def test_a_refused_refresh_closes_real_clients(host: Host) -> None:
    active(host)
    assert host.say(b"refresh 1 5\nfresh") == []
    assert host.close is None
    assert host.say(b"refresh 1 7\nexpired") == []
    assert isinstance(host.close, decisions.Close)
    assert host.close.code == 4001


def test_messages_behind_a_refresh_wait_for_it(world: World) -> None:
    host = Host(world, auto=False)
    host.say(BIND)
    host.answer()
    host.say(IDENT)
    host.answer()
    host.say(b"refresh 1 5\nfresh", UPLOAD, b"mark 1 1\n")
    assert host.asked() == ["Refresh"]
    host.answer(1)
    assert host.asked() == ["Ask"]
    assert host.answer()[-1].startswith(b"download 1 2 3 ")


def test_state_requests_are_answered_with_nothing_available(host: Host) -> None:
    host.say(BIND)
    assert host.say(MESSAGES["state_request"]) == [b"state 1 0 0 0 0 0 0\n"]
    assert host.say(IDENT) == [FIRST_DOWNLOAD]


def test_client_version_requests(host: Host) -> None:
    restored(host)
    assert host.say(b"client_version_request 1 2 1002\n") == [b"client_version 1 5\n"]
    assert host.say(b"client_version_request 1 2 1003\n") == [b"client_version 1 0\n"]


def test_sub_servers_get_no_idents(host: Host) -> None:
    assert session_error(active(host), b"alloc 1\n") == 206


# The connection


def test_ping_is_answered_with_its_timestamp(host: Host) -> None:
    assert host.say(b"ping 1000 0\n", b"ping 0 17\n") == [b"pong 1000\n", b"pong 0\n"]


def test_the_id_of_the_connection_is_told_to_clients_that_understand_it(world: World) -> None:
    for version, messages in ((9, 0), (10, 1)):
        host = Host(world, version)
        host.carry_out(host.connection.connected("c0ffee"))
        assert len(host.sent) == messages
    assert b'"co_id":"c0ffee"' in host.sent[0]


def test_a_planned_stop_asks_clients_to_come_again(host: Host) -> None:
    active(host)
    host.carry_out(host.connection.shutdown())
    code, session, content = error(host.sent[-1])
    assert (code, session, content["tryAgain"]) == (100, 0, True)
    assert len(host.left) == 1


def test_a_lost_connection_leaves_every_session_once(host: Host) -> None:
    active(host)
    host.say(b"bind 2 5 0 1 0\n/test", b"bind 3 7 0 1 0\n/secret")
    host.carry_out(host.connection.lost())
    assert sorted(session.sid for session in host.left) == [1, 2, 3]
    assert host.connection.lost() == []


def test_answers_that_were_never_asked_for_are_our_own_bug(host: Host) -> None:
    active(host)
    with pytest.raises(ValueError, match="awaits"):
        host.connection.opened(host.session(1))


def test_a_late_failure_of_a_session_that_is_gone_is_ignored(host: Host) -> None:
    active(host)
    session = host.session(1)
    host.say(b"unbind 1\n")
    for failure in (BadUpload("x"), AuthenticationFailed("x"), SyncError(Code.BAD_SYNTAX, "x")):
        assert host.connection.refused(session, failure) == []
    assert host.connection.answered(session, BadUpload("x")) == []
    assert host.connection.advanced(session, 5) == []


@pytest.mark.parametrize(("code", "instead"), [(205, 204), (218, 206), (224, 201), (104, 103)])
def test_codes_that_abort_real_clients_are_replaced_for_them_only(world: World, code: int, instead: int) -> None:
    for is_legacy in (False, True):
        host = active(Host(world, legacy_token=is_legacy))
        host.carry_out(host.connection.refused(host.session(1), SyncError(Code(code), "text")))
        assert error(host.sent[-1])[0] == (code if is_legacy else instead)
        host.carry_out(host.connection.lost())
        world.realms.clear()
