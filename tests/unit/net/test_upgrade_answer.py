"""What a backend may answer to an upgrade, whole or in pieces, and what it may not."""

import pytest

from realmserver.net.upgrade_answer import MAX_BODY, MAX_HEAD, BadAnswer, UpgradeAnswer

ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x=\r\n\r\n"


def read(data: bytes, size: int = 1 << 20) -> UpgradeAnswer:
    """An answer of which ``data`` comes in pieces of ``size`` bytes."""
    answer = UpgradeAnswer()
    for start in range(0, len(data), size):
        answer.feed(data[start : start + size])
    return answer


def test_a_101_ends_with_its_head() -> None:
    answer = read(ACCEPTED + b"\x82\x01x")
    assert answer.is_complete
    assert answer.is_accepted
    assert answer.pairs == ((b"Sec-WebSocket-Accept", b"x="),)
    assert answer.rest == b"\x82\x01x"


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 5\r\n\r\nwrong",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nwr\r\n3\r\nong\r\n0\r\n\r\n",
    ],
)
def test_a_refusal_is_read_with_its_body(framed: bytes, size: int) -> None:
    answer = read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 Unauthorized\r\n" + framed, size)
    assert answer.is_complete
    assert not answer.is_accepted
    assert (answer.status, answer.phrase, answer.body) == (401, b"Unauthorized", b"wrong")


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    answer = read(b"HTTP/1.0 503 \r\n\r\nbusy")
    assert not answer.is_complete
    answer.ended()
    assert answer.is_complete
    assert answer.body == b"busy"


@pytest.mark.parametrize("head", [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"])
def test_an_answer_may_have_no_body(head: bytes) -> None:
    assert read(head).is_complete


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_BODY + 1),
        b"x" * (MAX_HEAD + 1),
    ],
)
def test_what_is_no_answer_is_told(data: bytes) -> None:
    with pytest.raises(BadAnswer):
        read(data)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfour"])
def test_an_answer_that_is_cut_short_is_none(data: bytes) -> None:
    answer = read(data)
    with pytest.raises(BadAnswer):
        answer.ended()
