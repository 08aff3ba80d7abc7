"""The server end: uploads, downloads, turns and back-pressure (spec/protocol.md 3.5, 3.6)."""

import json

import pytest
from sync_ends import Host, World

from realmserver.realms import requests
from realmserver.realms.requests import UploadCursor, UploadEntry
from realmserver.sync import backlog, decisions
from realmserver.sync import client_messages as c2s
from realmserver.sync.bodies import EncodedBody

BIND = b"bind 1 5 0 1 0\n/test"
KNOWN = b"bind 1 5 0 0 0\n/test"
IDENT = b"ident 1 2 1002 0 0 0 0\n"
FIRST_DOWNLOAD = b"download 1 0 0 0 0 0 0 0 0 0 0\n"


def upload(first: int, last: int, content: bytes = b"x", server: int = 0, sid: int = 1) -> bytes:
    entries = tuple(UploadEntry(version, server, 1, 0, content) for version in range(first, last + 1))
    return c2s.Upload(sid, UploadCursor(last, server), server, entries).encode()


def code_of(data: bytes) -> int:
    assert data.startswith(b"json_error")
    return int(data.split()[1])


def active(world: World, *, auto: bool = True, version: int = 10) -> Host:
    host = Host(world, version)
    host.say(BIND, IDENT)
    host.auto = auto
    return host


@pytest.fixture
def world() -> World:
    return World()


def asked_uploads(host: Host) -> list[requests.Upload]:
    """What the Realm has been asked to take, entries or progress alone."""
    uploads: list[requests.Upload] = []
    for decision in host.decisions:
        match decision:
            case decisions.Ask(request=requests.Upload() as asked) | decisions.Report(progress=asked):
                uploads.append(asked)
    return uploads


# Uploads (3.5)


def test_an_upload_reaches_the_realm_with_progress_and_version(world: World) -> None:
    host = active(world, version=13)
    host.say(upload(2, 3))
    [asked] = asked_uploads(host)
    assert asked.ident == 2
    assert [entry.client_version for entry in asked.entries] == [2, 3]
    assert (asked.progress, asked.locked_version, asked.protocol) == (UploadCursor(3, 0), 0, 13)


def test_an_acknowledgement_follows_only_an_upload_that_made_a_version(world: World) -> None:
    host = active(world)
    assert host.say(upload(2, 3)) == [b"download 1 2 3 2 7000002 3 0 0 0 0 0\n"]
    fetches = host.fetches
    assert host.say(b"upload 1 0 0 0 4 2 2\n", b"upload 1 0 0 0 5 2 2\n") == []
    assert host.fetches == fetches, "progress alone must not cause a DOWNLOAD, or the two would go on for ever"
    assert host.world.realm("/test").files[2].upload == UploadCursor(5, 2)
    assert host.world.realm("/test").files[2].locked == 2


def test_progress_alone_waits_for_no_answer(world: World) -> None:
    host = active(world, auto=False)
    host.say(upload(2, 2), b"upload 1 0 0 0 3 0 0\n")
    assert host.asked() == ["Ask", "Report"]
    waiting = host.connection.outstanding_bytes
    host.say(b"upload 1 0 0 0 4 0 0\n")
    assert host.connection.outstanding_bytes == waiting
    host.answer()
    assert host.connection.outstanding_bytes == 0


def test_an_upload_that_says_nothing_new_is_not_asked(world: World) -> None:
    host = active(world)
    host.say(upload(2, 3))
    before = len(asked_uploads(host))
    host.say(b"upload 1 0 0 0 3 0 0\n")
    assert len(asked_uploads(host)) == before


def test_changesets_integrated_before_are_left_out(world: World) -> None:
    host = active(world)
    host.say(upload(2, 4), b"unbind 1\n", KNOWN, IDENT)
    host.say(upload(3, 5))
    assert [entry.client_version for entry in asked_uploads(host)[-1].entries] == [5]
    assert world.realm("/test").version == 4
    host.say(b"unbind 1\n", KNOWN, IDENT)
    before = len(asked_uploads(host))
    host.say(upload(2, 3))
    assert len(asked_uploads(host)) == before, "nothing new at all"


def test_a_higher_lock_alone_is_news(world: World) -> None:
    world.realm("/test").write(b"a")
    host = active(world)
    host.say(upload(2, 2), b"unbind 1\n", KNOWN, IDENT)
    host.say(b"upload 1 0 0 0 1 0 1\n")
    asked = asked_uploads(host)[-1]
    assert (asked.entries, asked.progress, asked.locked_version) == ((), UploadCursor(2, 0), 1)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (210, b"upload 1 0 0 0 2 0 0\n"),
        (209, b"upload 1 0 0 0 4 3 0\n"),
        (209, b"upload 1 0 0 0 4 0 3\n"),
        (210, upload(3, 4)),
        (209, c2s.Upload(1, UploadCursor(5, 0), 0, (UploadEntry(4, 1, 1, 0, b"x"),)).encode()),
    ],
)
def test_bad_cursors_end_the_session_before_the_realm_is_asked(world: World, code: int, message: bytes) -> None:
    host = active(world)
    host.say(upload(2, 3))
    before = len(asked_uploads(host))
    assert code_of(host.say(message)[-1]) == code
    assert len(asked_uploads(host)) == before
    assert host.close is None


def test_several_uploads_are_asked_in_order_without_waiting(world: World) -> None:
    host = active(world, auto=False)
    host.say(upload(2, 2), upload(3, 3), upload(4, 4))
    assert host.asked() == ["Ask", "Ask", "Ask"]
    assert [asked.progress.client_version for asked in asked_uploads(host)] == [2, 3, 4]


@pytest.mark.parametrize(("content", "origin", "code"), [(b"bad", 0, 212), (b"x", 5, 216)])
def test_a_refused_upload_ends_the_session_and_drops_what_follows(
    world: World, content: bytes, origin: int, code: int
) -> None:
    host = active(world, auto=False)
    entries = (UploadEntry(2, 0, 1, origin, content),)
    host.say(c2s.Upload(1, UploadCursor(2, 0), 0, entries).encode(), upload(3, 3))
    host.answer()
    assert code_of(host.sent[-1]) == code
    assert host.say(upload(4, 4)) == []
    host.answer()
    assert world.realm("/test").version == 0
    assert host.connection.outstanding_bytes == 0


# A client that does not wait for replies


def test_a_known_file_may_send_everything_in_one_breath(world: World) -> None:
    world.realm("/test").allocate()
    host = Host(world, auto=False)
    assert host.say(KNOWN, IDENT, b"mark 1 1\n", upload(2, 3), b"ping 9 0\n") == [b"pong 9\n"]
    assert host.asked() == ["Open"]
    host.answer(1)
    assert host.asked() == ["Ask"]
    host.answer(1)
    assert host.asked() == ["Ask", "FetchDownload"]
    assert host.answer() == [b"download 1 2 3 2 7000002 3 0 0 0 0 0\n", b"mark 1 1\n"]
    assert host.connection.outstanding_bytes == 0


def test_what_waits_is_dropped_when_the_open_is_refused(world: World) -> None:
    host = Host(world, auto=False)
    host.say(b"bind 1 7 0 0 0\n/secret", IDENT, b"mark 1 1\n", upload(2, 3))
    assert host.connection.outstanding_bytes > 0
    assert [code_of(data) for data in host.answer()] == [206]
    assert host.connection.outstanding_bytes == 0


def test_what_waits_is_dropped_when_ident_is_refused(world: World) -> None:
    host = Host(world, auto=False)
    host.say(KNOWN, IDENT, b"mark 1 1\n", upload(2, 3))
    assert [code_of(data) for data in host.answer()] == [208]
    assert world.realm("/test").version == 0
    assert host.connection.outstanding_bytes == 0


def test_order_is_checked_for_what_waited(world: World) -> None:
    host = Host(world, auto=False)
    host.say(KNOWN, b"mark 1 1\n", IDENT)
    assert [code_of(data) for data in host.answer()] == [109]


# Downloads (3.6)


def test_the_first_download_comes_even_if_nothing_is_new(world: World) -> None:
    host = active(world)
    assert host.sent[-1] == FIRST_DOWNLOAD
    host.say(upload(2, 2), b"unbind 1\n")
    assert host.say(KNOWN, b"ident 1 2 1002 1 2 1 7000001\n") == [b"download 1 1 2 1 7000001 2 0 0 0 0 0\n"]


def test_no_download_before_ident_is_accepted(world: World) -> None:
    host = Host(world)
    host.say(BIND)
    world.write("/test", b"a")
    assert host.sent == [b"ident 1 2 1002\n"]
    assert host.say(IDENT) == [b"download 1 1 0 1 7000001 0 0 0 0 13 0\n1 0 7 1 1 1 a"]


def test_a_batch_that_does_not_fit_is_continued(world: World) -> None:
    """The example of 3.6: six entries, a limit below two of them."""
    realm = world.realm("/test")
    realm.batch = 20
    for _ in range(6):
        realm.write(b"x" * 18)
    host = Host(world)
    host.say(BIND, IDENT, b"mark 1 1\n")
    heads = [data.partition(b"\n")[0].split() for data in host.sent if data.startswith(b"download")]
    assert [(int(head[2]), int(head[4]), int(head[8])) for head in heads] == [(2, 6, 72), (4, 6, 36), (6, 6, 0)]
    assert host.sent[-1] == b"mark 1 1\n"


def test_own_changes_do_not_come_back(world: World) -> None:
    host = active(world)
    other = Host(world)
    other.say(BIND, b"ident 1 3 1003 0 0 0 0\n")
    host.say(upload(2, 2, b"mine"))
    assert host.sent[-1] == b"download 1 1 2 1 7000001 2 0 0 0 0 0\n"
    assert other.sent[-1] == b"download 1 1 0 1 7000001 0 0 0 0 16 0\n1 0 1 2 4 4 mine"


def test_long_downloads_are_compressed(world: World) -> None:
    world.realm("/test").write(b"x" * 5000)
    host = active(world)
    head = host.sent[-1].partition(b"\n")
    assert head[0].split()[9:] == [b"1", b"5018", b"%d" % len(head[2])]


def test_one_download_is_fetched_at_a_time_and_sessions_take_turns(world: World) -> None:
    for path in ("/a", "/b", "/c"):
        world.realm(path).batch = 0
        for _ in range(3):
            world.realm(path).write(b"x")
    host = Host(world)
    for sid, path in enumerate(("/a", "/b", "/c"), 1):
        host.say(c2s.Bind(sid, path, "", True).encode())
    host.auto = False
    for sid in (1, 2, 3):
        host.say(b"ident %d 2 1002 0 0 0 0\n" % sid)
    order: list[tuple[int, int]] = []
    while host.questions:
        assert host.asked().count("FetchDownload") <= 1
        order += [(int(data.split()[1]), int(data.split()[2])) for data in host.answer(1)]
    assert [sid for sid, _ in order] == [1, 2, 3] * 3
    for sid in (1, 2, 3):
        assert [version for other, version in order if other == sid] == [1, 2, 3]


def test_a_session_that_wants_much_does_not_hold_up_another(world: World) -> None:
    world.realm("/big").batch = 0
    for _ in range(50):
        world.realm("/big").write(b"x")
    host = Host(world)
    host.say(b"bind 1 4 0 1 0\n/big", b"bind 2 6 0 1 0\n/small")
    host.auto = False
    host.say(b"ident 1 2 1002 0 0 0 0\n")
    host.answer(5)
    host.say(b"ident 2 2 1002 0 0 0 0\n")
    sent = host.answer(4)
    assert any(data.startswith(b"download 2 ") for data in sent)


def test_the_end_of_a_fetching_session_lets_the_next_one_fetch(world: World) -> None:
    host = Host(world)
    host.say(b"bind 1 4 0 1 0\n/one", b"bind 2 4 0 1 0\n/two")
    host.auto = False
    host.say(b"ident 1 2 1002 0 0 0 0\n", b"ident 2 2 1002 0 0 0 0\n")
    host.answer(2)
    assert host.asked() == ["FetchDownload"]
    host.say(b"unbind 1\n")
    assert host.asked() == ["FetchDownload", "FetchDownload"]
    assert host.answer() == [b"download 2 0 0 0 0 0 0 0 0 0 0\n"]


def test_a_realm_that_moves_during_a_fetch_is_fetched_again(world: World) -> None:
    host = active(world, auto=False)
    world.write("/test", b"a")
    assert host.asked() == ["FetchDownload"]
    [decision] = [decision for decision, _ in host.questions]
    assert isinstance(decision, decisions.FetchDownload)
    old = world.realm("/test").download(2, decision.cursor)
    world.write("/test", b"b")
    host.questions.clear()
    body = b"1 0 7 1 1 1 a"
    host.carry_out(host.connection.downloaded(decision.session, old, EncodedBody(False, len(body), body)))
    assert host.asked() == ["FetchDownload"]
    assert host.answer() == [b"download 1 2 0 2 7000002 0 0 0 0 13 0\n2 0 7 1 1 1 b"]
    assert host.asked() == []


def test_a_failed_fetch_ends_the_session_and_not_the_others(world: World) -> None:
    host = Host(world)
    host.say(b"bind 1 4 0 1 0\n/one", b"bind 2 4 0 1 0\n/two")
    host.auto = False
    host.say(b"ident 1 2 1002 0 0 0 0\n", b"ident 2 2 1002 0 0 0 0\n")
    host.answer(2)
    host.questions.clear()
    host.carry_out(host.connection.refused(host.session(1), requests.ClientFileExpired("expired")))
    assert code_of(host.sent[-1]) == 222
    assert host.answer() == [b"download 2 0 0 0 0 0 0 0 0 0 0\n"]


# Back-pressure


def test_nothing_is_fetched_or_read_while_the_peer_does_not_read(world: World) -> None:
    host = active(world)
    host.carry_out(host.connection.writable(False))
    assert not host.is_reading
    fetches = host.fetches
    world.write("/test", b"a")
    world.write("/test", b"b")
    assert host.fetches == fetches
    host.carry_out(host.connection.writable(True))
    assert host.is_reading
    assert host.fetches == fetches + 1, "both versions in one DOWNLOAD"
    assert host.sent[-1].startswith(b"download 1 2 0 2 ")


def test_a_download_fetched_before_is_still_sent(world: World) -> None:
    host = active(world, auto=False)
    world.write("/test", b"a")
    host.carry_out(host.connection.writable(False))
    assert host.answer()[0].startswith(b"download 1 1 ")


def test_reading_pauses_while_too_much_waits_at_the_realm(world: World) -> None:
    host = active(world, auto=False)
    piece = b"x" * (backlog.PAUSE_ABOVE // 4)
    for version in range(2, 6):
        assert host.is_reading
        host.say(upload(version, version, piece))
    assert not host.is_reading
    while host.connection.outstanding_bytes > backlog.RESUME_AT:
        assert not host.is_reading
        host.answer(1)
    assert host.is_reading


def test_a_connection_that_ends_is_read_from_again(world: World) -> None:
    """Otherwise nobody would see the peer answer the close frame, or go away."""
    host = active(world, auto=False)
    host.carry_out(host.connection.writable(False))
    assert not host.is_reading
    host.carry_out(host.connection.shutdown())
    assert isinstance(host.close, decisions.Close)
    assert host.is_reading


def test_messages_behind_an_unanswered_bind_count_as_well(world: World) -> None:
    host = Host(world, auto=False)
    host.say(KNOWN)
    messages = 0
    while host.is_reading:
        host.say(b"mark 1 1\n")
        messages += 1
    assert messages == backlog.PAUSE_ABOVE // (backlog.MESSAGE_OVERHEAD + len(b"mark 1 1\n")) + 1
    host.say(b"unbind 1\n")
    assert host.is_reading
    assert host.connection.outstanding_bytes == 0


def test_compressed_uploads_count_with_their_full_size(world: World) -> None:
    host = active(world, auto=False)
    message = upload(2, 2, b"\0" * 1_000_000)
    assert len(message) < 10_000
    host.say(message)
    assert host.connection.outstanding_bytes > 1_000_000


def test_a_host_that_goes_on_delivering_loses_the_connection(world: World) -> None:
    host = active(world, auto=False)
    message = b"\0" * 40_000_000
    version = 2
    while host.close is None:
        host.say(upload(version, version, message))
        version += 1
        assert version < 10
    content = json.loads(host.sent[-1].partition(b"\n")[2])
    assert code_of(host.sent[-1]) == 100
    assert content["tryAgain"] is True


def test_the_locked_version_must_not_decrease(world: World) -> None:
    world.realm("/test").write(b"a")
    world.realm("/test").write(b"b")
    host = active(world)
    assert host.say(b"upload 1 0 0 0 2 2 2\n") == []
    assert code_of(host.say(b"upload 1 0 0 0 3 2 1\n")[-1]) == 209


def test_what_waited_behind_a_bad_upload_is_dropped(world: World) -> None:
    world.realm("/test").allocate()
    host = Host(world, auto=False)
    host.say(KNOWN, IDENT, b"upload 1 0 0 0 3 9 0\n", b"mark 1 1\n", upload(4, 4))
    assert [code_of(data) for data in host.answer()] == [209]
    assert host.connection.outstanding_bytes == 0
    assert asked_uploads(host) == []


def test_a_download_that_tells_of_newer_versions_is_continued_without_being_told(world: World) -> None:
    world.realm("/test").batch = 0
    host = active(world, auto=False)
    world.realm("/test").write(b"a")
    host.carry_out(host.connection.advanced(host.session(1), 1))
    world.realm("/test").write(b"b")
    assert [data.split()[2] for data in host.answer()] == [b"1", b"2"]
