"""What a backend answers to an upgrade: BadAnswer, or the same answer in whatever pieces it comes."""

from collections.abc import Iterator
from typing import Final

from fuzz.source import Source
from fuzz.target import Target
from realmserver.net.upgrade_answer import MAX_BODY, MAX_HEAD, BadAnswer, UpgradeAnswer

SIZES: Final = (1, 2, 3, 7, 64, 1000)


def check(data: bytes) -> None:
    """An input is a byte for the size of the pieces, and the answer."""
    source = Source(data)
    size = source.choice(SIZES)
    answer = source.rest()
    whole, in_pieces = _read(answer, len(answer) or 1), _read(answer, size)
    assert (whole is None) == (in_pieces is None), "the pieces decide whether it is an answer"
    if whole is None or in_pieces is None:
        return
    assert _said(whole) == _said(in_pieces)
    assert whole.is_complete
    assert len(whole.body) <= MAX_BODY
    assert sum(len(name) + len(value) for name, value in whole.pairs) <= MAX_HEAD
    assert not (whole.rest and not whole.is_accepted)


def _read(data: bytes, size: int) -> UpgradeAnswer | None:
    """The answer at the end of the connection, None if it is none."""
    answer = UpgradeAnswer()
    try:
        for start in range(0, len(data), size):
            if answer.is_complete:
                answer.rest += data[start : start + size] if answer.is_accepted else b""
            else:
                answer.feed(data[start : start + size])
        if not answer.is_complete:
            answer.ended()
    except BadAnswer as error:
        assert str(error).isprintable()
        return None
    return answer


def _said(answer: UpgradeAnswer) -> tuple[object, ...]:
    return (answer.status, answer.phrase, answer.pairs, answer.body, answer.rest)


def seeds() -> Iterator[bytes]:
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x=\r\n\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n\r\n2\r\nwr\r\n3;a=b\r\nong\r\n0\r\nTrailer: x\r\n\r\n"
    answers = [
        head + b"\x82\x01x",
        b"HTTP/1.1 100 Continue\r\n\r\n" + head,
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nwrong",
        b"HTTP/1.0 503 \r\n\r\nbusy",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\n" + chunked,
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ]
    for number, answer in enumerate(answers):
        yield bytes([number]) + answer


TARGET: Final = Target(
    "what backends answer to an upgrade, in pieces of any size",
    check,
    seeds,
    (
        *(b"\r\n", b"\r\n\r\n", b"HTTP/1.1 ", b"HTTP/1.0 ", b"101 ", b"200 ", b"100 ", b"304 ", b"500 "),
        *(b"Content-Length: ", b"Transfer-Encoding: ", b"chunked", b"identity", b"0\r\n\r\n", b"ffffffff\r\n", b": "),
    ),
)
