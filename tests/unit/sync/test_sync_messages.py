"""Messages and bodies (spec/protocol.md 2)."""

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmserver.realms.requests import DownloadCursor, DownloadEntry, SaltedVersion, UploadCursor, UploadEntry
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c
from realmserver.sync.bodies import PIECE, EncodedBody, encode_download_body, inflated
from realmserver.sync.server import decoded
from realmserver.sync.syntax import (
    CLIENT_LIMITS,
    MAX_INT,
    MAX_PATH,
    MAX_TOKEN,
    SERVER_LIMITS,
    BadContent,
    Limits,
    MalformedMessage,
    MessageTooBig,
)

ABC = UploadEntry(2, 0, 178000000000, 0, b"abc")
DE = UploadEntry(3, 0, 178000000500, 0, b"de")
REAL = 3058845345131003403

# The worked examples of 2.5.
CLIENT_EXAMPLES: list[tuple[bytes, c2s.ClientMessage]] = [
    (bytes.fromhex("62696e64203120352030203120300a2f74657374"), c2s.Bind(1, "/test", "", True)),
    (b"bind 1 5 17 0 0\n/testeyJhIjoxfQ==:c2ln", c2s.Bind(1, "/test", "eyJhIjoxfQ==:c2ln", False)),
    (b"refresh 1 17\neyJhIjoxfQ==:c2ln", c2s.Refresh(1, "eyJhIjoxfQ==:c2ln")),
    (b"ident 1 2 4294967311 0 0 0 0\n", c2s.Ident(1, 2, 4294967311)),
    (
        b"ident 1 2 2590037877126253093 2 3 2 7628730172535732089\n",
        c2s.Ident(1, 2, 2590037877126253093, DownloadCursor(2, 3), SaltedVersion(2, 7628730172535732089)),
    ),
    (
        b"upload 1 0 47 0 3 0 0\n2 0 178000000000 0 3 abc3 0 178000000500 0 2 de",
        c2s.Upload(1, UploadCursor(3, 0), 0, (ABC, DE)),
    ),
    (b"upload 1 0 0 0 5 1 1\n", c2s.Upload(1, UploadCursor(5, 1), 1)),
    (b"mark 1 1\n", c2s.Mark(1, 1)),
    (b"unbind 1\n", c2s.Unbind(1)),
    (b"ping 1000 0\n", c2s.Ping(1000, 0)),
    (
        b'json_error 212 48 1\n{"message":"Failed to parse received changeset"}',
        c2s.ClientError(1, 212, "Failed to parse received changeset"),
    ),
    (b"client_version_request 1 2 77\n", c2s.ClientVersionRequest(1, 2, 77)),
    (b"state_request 1 2 3 4 1 5 6 7 8\n", c2s.StateRequest(1, 2, 3, 4, True, 5, 6, 7, 8)),
    (b"alloc 1\n", c2s.Alloc(1)),
]
RESET = {
    "message": "Client reset required",
    "tryAgain": False,
    "logURL": "",
    "shouldClientReset": True,
    "isRecoveryModeDisabled": False,
    "action": "ClientReset",
}
RESET_TEXT = (
    b'{"message":"Client reset required","tryAgain":false,"logURL":"","shouldClientReset":true,'
    b'"isRecoveryModeDisabled":false,"action":"ClientReset"}'
)
SERVER_EXAMPLES: list[tuple[bytes, s2c.ServerMessage]] = [
    (bytes.fromhex("6964656e742031203220343239343936373331310a"), s2c.Ident(1, 2, 4294967311)),
    (b"mark 1 1\n", s2c.Mark(1, 1)),
    (b"unbound 1\n", s2c.Unbound(1)),
    (b"pong 1000\n", s2c.Pong(1000)),
    (b"error 202 20 0 1\nAccess token expired", s2c.Error(202, "Access token expired", False, 1)),
    (b"json_error 208 143 1\n" + RESET_TEXT, s2c.JsonError(208, 1, RESET)),
    (
        b'log_message 0 47\n{"co_id":"c0ffee","level":"info","msg":"hello"}',
        s2c.LogMessage(0, "info", "hello", "c0ffee"),
    ),
    (b"state 1 0 0 0 0 0 0\n", s2c.State(1)),
    (b"client_version 1 42\n", s2c.ClientVersion(1, 42)),
]
SALT = 7700000000000001
DOWNLOAD_EXAMPLES = [
    (
        bytes.fromhex("646f776e6c6f6164203120302030203020302030203020302030203020300a"),
        s2c.DownloadHead(1, DownloadCursor(), SaltedVersion(), UploadCursor(), 0),
        (),
    ),
    (
        b"download 1 2 3 2 7700000000000001 3 0 0 0 0 0\n",
        s2c.DownloadHead(1, DownloadCursor(2, 3), SaltedVersion(2, SALT), UploadCursor(3, 0), 0),
        (),
    ),
    (
        b"download 2 2 0 2 7700000000000001 0 0 0 0 51 0\n1 0 178000000000 2 3 3 abc2 0 178000000500 2 2 2 de",
        s2c.DownloadHead(2, DownloadCursor(2, 0), SaltedVersion(2, SALT), UploadCursor(), 0),
        (DownloadEntry(1, 0, 178000000000, 2, b"abc"), DownloadEntry(2, 0, 178000000500, 2, b"de")),
    ),
]


@pytest.mark.parametrize(("data", "message"), CLIENT_EXAMPLES)
def test_worked_examples_of_the_client(data: bytes, message: c2s.ClientMessage) -> None:
    assert c2s.decode_client_message(data, SERVER_LIMITS) == message
    assert message.encode() == data


@pytest.mark.parametrize(("data", "message"), SERVER_EXAMPLES)
def test_worked_examples_of_the_server(data: bytes, message: s2c.ServerMessage) -> None:
    assert not isinstance(message, s2c.Download)
    assert s2c.decode_server_message(data, CLIENT_LIMITS) == message
    assert message.encode() == data


@pytest.mark.parametrize(("data", "head", "entries"), DOWNLOAD_EXAMPLES)
def test_worked_examples_of_download(data: bytes, head: s2c.DownloadHead, entries: tuple[DownloadEntry, ...]) -> None:
    assert s2c.decode_server_message(data, CLIENT_LIMITS) == s2c.Download(head, entries)
    assert head.encode(encode_download_body(entries)) == data


def test_the_worked_example_of_a_compressed_upload() -> None:
    data = bytes.fromhex(
        "75706c6f6164203120312031313234203336203220302030 0a"
        "7801335230503034b730800110d7d0c040a162148c86c068088c8600154200009c1f0803"
    )
    message = c2s.Upload(1, UploadCursor(2, 0), 0, (UploadEntry(2, 0, 178000000000, 0, b"x" * 1100),))
    assert c2s.decode_client_message(data, SERVER_LIMITS) == message
    assert c2s.decode_client_message(message.encode(), SERVER_LIMITS) == message
    assert message.encode().startswith(b"upload 1 1 1124 ")


HEADS = {
    b"bind": (b"1 0 0 0 0", True),
    b"refresh": (b"1 0", True),
    b"ident": (b"1 2 3 4 5 6 7", True),
    b"client_version_request": (b"1 2 3", True),
    b"state_request": (b"1 2 3 4 1 5 6 7 8", True),
    b"upload": (b"1 0 0 0 5 1 1", True),
    b"mark": (b"1 1", True),
    b"alloc": (b"1", True),
    b"unbind": (b"1", True),
    b"ping": (b"1 0", False),
    b"json_error": (b"212 2 1", False),
}
BODIES = {b"bind": b"p", b"json_error": b"{}"}


def _message(verb: bytes, args: bytes) -> bytes:
    if verb == b"bind":
        args = args.replace(b"1 0 0 0 0", b"1 1 0 0 0")
    return verb + b" " + args + b"\n" + BODIES.get(verb, b"")


def test_the_heads_that_the_malformed_ones_are_made_from_are_valid() -> None:
    for verb, (args, _) in HEADS.items():
        c2s.decode_client_message(_message(verb, args), SERVER_LIMITS)


@pytest.mark.parametrize("verb", HEADS)
def test_malformed_heads_of_every_verb(verb: bytes) -> None:
    args, begins_with_session = HEADS[verb]
    good = _message(verb, args)
    line, _, body = good.partition(b"\n")
    broken = {
        "no line end": line,
        "CR LF": line + b"\r\n" + body,
        "CR": line + b"\r" + body,
        "two spaces": good.replace(b" ", b"  ", 1),
        "tab": good.replace(b" ", b"\t", 1),
        "space before": b" " + good,
        "space at the end": line + b" \n" + body,
        "plus": line[:-1] + b"+" + line[-1:] + b"\n" + body,
        "hexadecimal": line + b"x1\n" + body,
        "decimal point": line + b".0\n" + body,
        "upper case": good.replace(verb, verb.upper(), 1),
        "no numbers": verb + b"\n" + body,
        "only a space": verb + b" \n" + body,
        "one number too many": line + b" 1\n" + body,
        "one number too few": line.rpartition(b" ")[0] + b"\n" + body,
        "bytes behind": good + b"x",
        "number too large": line.rpartition(b" ")[0] + b" %d\n" % (MAX_INT + 1) + body,
        "negative": line.rpartition(b" ")[0] + b" -1\n" + body,
        "endless": verb + b" " + b"1" * 1000 + b"\n" + body,
    }
    if begins_with_session:
        broken["session 0"] = verb + b" 0" + line[len(verb) + 2 :] + b"\n" + body
    for name, data in broken.items():
        with pytest.raises(MalformedMessage) as caught:
            c2s.decode_client_message(data, SERVER_LIMITS)
        assert caught.value.code == 103, name


@pytest.mark.parametrize("verb", [b"transact", b"query", b"test_command", b"download", b"nonsense", b"_"])
def test_unknown_verbs_are_malformed(verb: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        c2s.decode_client_message(verb + b" 1 2 3\n", SERVER_LIMITS)
    assert caught.value.code == 103


def test_leading_zeros_are_tolerated() -> None:
    assert c2s.decode_client_message(b"mark 001 0002\n", SERVER_LIMITS) == c2s.Mark(1, 2)


@pytest.mark.parametrize("number", [2**63 - 1, 10**18, 10**18 - 1, 0])
def test_a_report_may_have_any_number_of_the_protocol(number: int) -> None:
    report = c2s.Upload(7, UploadCursor(number, number), number)
    assert c2s.decode_client_message(b"upload 007 0 0 0 %d %d %d\n" % (number, number, number), SERVER_LIMITS) == report


@pytest.mark.parametrize(
    "data",
    [
        b"upload 0 0 0 0 5 0 0\n",
        b"upload 1 0 0 0 9223372036854775808 0 0\n",
        b"upload 1 0 0 0 5 0 9223372036854775808\n",
        b"upload 1 0 0 0 5 0 0",
        b"upload 1 0 0 0 5 0 0\n\n",
        b"upload 1 0 0 1 5 0 0\n",
        b"upload 1 0 0 0 5 0 -1\n",
        b"upload 1 0 0 0 5  0 0\n",
        b"upload 1 0 0 0 5 0\n",
    ],
)
def test_what_is_nearly_a_report_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        c2s.decode_client_message(data, SERVER_LIMITS)


def test_any_number_but_zero_is_true() -> None:
    assert c2s.decode_client_message(b"bind 1 1 0 7 2\np", SERVER_LIMITS) == c2s.Bind(1, "p", "", True, True)


def test_paths_and_tokens_have_limits() -> None:
    longest = c2s.Bind(1, "p" * MAX_PATH, "t" * MAX_TOKEN, False)
    assert c2s.decode_client_message(longest.encode(), SERVER_LIMITS) == longest
    for message in (
        c2s.Bind(1, "p" * (MAX_PATH + 1), "", False),
        c2s.Bind(1, "p", "t" * (MAX_TOKEN + 1), False),
        c2s.Refresh(1, "t" * (MAX_TOKEN + 1)),
        c2s.Bind(1, "", "t", False),
    ):
        with pytest.raises(MalformedMessage):
            c2s.decode_client_message(message.encode(), SERVER_LIMITS)


def test_sizes_count_bytes_not_characters() -> None:
    bind = c2s.Bind(1, '"日本"', "", True)
    assert bind.encode().startswith(b"bind 1 8 0 ")
    assert c2s.decode_client_message(bind.encode(), SERVER_LIMITS) == bind
    with pytest.raises(MalformedMessage):
        c2s.decode_client_message(b"bind 1 2 0 1 0\n\xff\xfe", SERVER_LIMITS)


def test_a_clients_error_needs_json_but_not_a_message() -> None:
    assert c2s.decode_client_message(b"json_error 212 2 1\n{}", SERVER_LIMITS) == c2s.ClientError(1, 212, "")
    for body in (b"", b"{", b"\xff", b"[" * 60000):
        with pytest.raises(MalformedMessage):
            c2s.decode_client_message(b"json_error 212 %d 1\n" % len(body) + body, SERVER_LIMITS)


@pytest.mark.parametrize(
    "body",
    [
        b"2",
        b"2 0 1 0 3 ab",
        b"2 0 1 0 3  abc",
        b"2 0 1 0 -1 ",
        b"-2 0 1 0 1 a",
        b"2 0 1 0 a",
        b"2 0 1 0 1 ab",
        b"2 0 9223372036854775808 0 1 a",
        b"2 0 1 0 99999999999999999999999 a",
        b"2 0 1 0 " + b"0" * 40 + b"1 a",
    ],
)
def test_bad_changeset_headers_are_malformed(body: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        c2s.decode_client_message(b"upload 1 0 %d 0 5 0 0\n" % len(body) + body, SERVER_LIMITS)
    assert caught.value.code == 103


@pytest.mark.parametrize("stated", [0, 1, 3, 100])
def test_an_uncompressed_body_has_the_stated_size(stated: int) -> None:
    with pytest.raises(MalformedMessage) as caught:
        c2s.decode_client_message(b"upload 1 0 %d 0 5 0 0\n2 0 1 0 1 a" % stated, SERVER_LIMITS)
    assert caught.value.code == 103
    with pytest.raises(MalformedMessage):
        c2s.decode_client_message(b"upload 1 0 11 11 5 0 0\n2 0 1 0 1 a", SERVER_LIMITS)


def _compressed(data: bytes, size: int) -> bytes:
    return b"upload 1 1 %d %d 5 0 0\n" % (size, len(data)) + data


def test_bodies_that_do_not_inflate_exactly_are_error_101() -> None:
    body = b"2 0 1 0 2000 " + b"x" * 2000
    good = zlib.compress(body)
    c2s.decode_client_message(_compressed(good, len(body)), SERVER_LIMITS)
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    dictionary = zlib.compressobj(zdict=b"xxxxxxxx")
    for data, size in (
        (good, len(body) - 1),
        (good, len(body) + 1),
        (good[:-1], len(body)),
        (good + b"x", len(body)),
        (good[:-1] + bytes([good[-1] ^ 1]), len(body)),
        (raw.compress(body) + raw.flush(), len(body)),
        (dictionary.compress(body) + dictionary.flush(), len(body)),
        (b"", 0),
        (b"x", 5),
    ):
        with pytest.raises(MalformedMessage) as caught:
            c2s.decode_client_message(_compressed(data, size), SERVER_LIMITS)
        assert caught.value.code == 101


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7])
@pytest.mark.parametrize("is_noise", [False, True])
def test_bodies_inflate_to_exactly_their_size_wherever_pieces_end(size: int, is_noise: bool) -> None:
    body = random.Random(size).randbytes(size) if is_noise else b"1234567" * (size // 7) + b"7" * (size % 7)
    data = zlib.compress(body, 6)
    assert inflated(data, True, size, len(data), SERVER_LIMITS) == body
    for wrong_data, wrong_size, says in [
        (data, size - 1, "more than the stated size"),
        (data, size + 1, "ends before"),
        (data[:-1], size, "ends before"),
        (data + b"x", size, "something follows"),
        (data + bytes(2 * PIECE), size, "something follows"),
    ]:
        with pytest.raises(BadContent, match=says) as caught:
            inflated(wrong_data, True, wrong_size, len(wrong_data), SERVER_LIMITS)
        assert caught.value.code == 101


def test_a_body_over_the_limit_is_refused_before_it_is_inflated() -> None:
    limits = Limits(body=10_000)
    bomb = zlib.compress(b"\0" * 1_000_000)
    with pytest.raises(MessageTooBig):
        c2s.decode_client_message(_compressed(bomb, 1_000_000), limits)
    with pytest.raises(MalformedMessage) as caught:
        c2s.decode_client_message(_compressed(bomb, 5_000), limits)
    assert caught.value.code == 101


def test_the_number_of_changesets_is_limited() -> None:
    body = b"2 0 1 0 0 " * 11
    limits = Limits(entries=10)
    with pytest.raises(MalformedMessage):
        c2s.decode_client_message(b"upload 1 0 %d 0 5 0 0\n" % len(body) + body, limits)
    assert len(body) == 110
    c2s.decode_client_message(b"upload 1 0 100 0 5 0 0\n" + body[:100], limits)


def test_bodies_are_compressed_only_if_long_and_only_if_that_helps() -> None:
    def entry(changeset: bytes) -> DownloadEntry:
        return DownloadEntry(1, 0, 0, 2, changeset)

    assert encode_download_body([]) == EncodedBody(False, 0, b"")
    overhead = len("1 0 0 2 1000 1000 ")
    assert not encode_download_body([entry(b"x" * (1024 - overhead))]).is_compressed
    longer = encode_download_body([entry(b"x" * (1025 - overhead))])
    assert longer.is_compressed
    assert longer.uncompressed_size == 1025
    assert longer.compressed_size == len(longer.data) < 1025
    noise = zlib.compress(b"".join(b"%d" % (n * n) for n in range(3000)), 9)
    assert not encode_download_body([entry(noise)]).is_compressed


numbers = st.integers(0, MAX_INT)
positive = st.integers(1, MAX_INT)
texts = st.text(max_size=50)
cursors = st.builds(UploadCursor, numbers, numbers)
upload_entries = st.lists(
    st.builds(UploadEntry, numbers, numbers, numbers, numbers, st.binary(max_size=2000)), max_size=4
).map(tuple)
client_messages = st.one_of(
    st.builds(c2s.Bind, positive, texts.filter(bool), texts, st.booleans(), st.booleans()),
    st.builds(c2s.Refresh, positive, texts),
    st.builds(
        c2s.Ident,
        positive,
        numbers,
        numbers,
        st.builds(DownloadCursor, numbers, numbers),
        st.builds(SaltedVersion, numbers, numbers),
    ),
    st.builds(c2s.Upload, positive, cursors, numbers, upload_entries),
    st.builds(c2s.Mark, positive, positive),
    st.builds(c2s.Ping, numbers, numbers),
    st.builds(c2s.ClientError, positive, numbers, texts),
)


@given(client_messages)
def test_what_a_client_says_is_what_the_server_hears(message: c2s.ClientMessage) -> None:
    assert c2s.decode_client_message(message.encode(), SERVER_LIMITS) == message


download_entries = st.lists(
    st.builds(DownloadEntry, numbers, numbers, numbers, numbers, st.binary(max_size=2000)), max_size=4
).map(tuple)
heads = st.builds(
    s2c.DownloadHead,
    positive,
    st.builds(DownloadCursor, numbers, numbers),
    st.builds(SaltedVersion, numbers, numbers),
    cursors,
    numbers,
)


@given(heads, download_entries)
def test_what_a_server_sends_is_what_the_client_gets(
    head: s2c.DownloadHead, entries: tuple[DownloadEntry, ...]
) -> None:
    data = head.encode(encode_download_body(entries))
    assert s2c.decode_server_message(data, CLIENT_LIMITS) == s2c.Download(head, entries)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_decode_or_are_malformed(data: bytes) -> None:
    for decode in (c2s.decode_client_message, s2c.decode_server_message):
        try:
            decode(data, SERVER_LIMITS)
        except MalformedMessage as error:
            assert error.code in (101, 103)  # noqa: PT017 - any other exception fails the test


def test_the_error_of_a_body_does_not_keep_the_body() -> None:
    """Its traceback would: the frames in it hold what was inflated."""
    bomb = zlib.compress(bytes(100_000))
    error = decoded(b"upload 1 1 50000 %d 2 0 0\n" % len(bomb) + bomb, SERVER_LIMITS)
    assert isinstance(error, MalformedMessage)
    assert (error.__traceback__, error.__context__, error.__cause__) == (None, None, None)
