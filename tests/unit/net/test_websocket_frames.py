"""The short way for whole messages in one frame: what goes it, and that nobody can tell which way a message went."""

import os
import struct
from pathlib import Path

import pytest
from test_connection import Fixture

from realmserver.net import connection as shell
from realmserver.net.frames import LONG_TO_UNMASK, LONGEST, framed, payload_of

WHOLE, TEXT, PART, REST, END = 0x82, 0x81, 0x02, 0x00, 0x80
CLOSE, PING, PONG = 0x88, 0x89, 0x8A
MESSAGE = b"ping 17 0\n"
LONG_MESSAGE = b"ping %d 0\n" % (10**17) + bytes(120)
"""Is malformed, but that is for the state machine to say."""


def frame(payload: bytes, first: int = WHOLE, mask: bytes = b"\x01\x80\xff\x00") -> bytes:
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", first, 0x80 | length)
    elif length <= 0xFFFF:
        head = struct.pack("!BBH", first, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, length)
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


@pytest.mark.parametrize(
    "length", [0, 1, 3, 4, 5, 125, 126, 127, LONG_TO_UNMASK - 1, LONG_TO_UNMASK, LONG_TO_UNMASK + 1, LONGEST]
)
def test_a_whole_message_is_unmasked(length: int) -> None:
    payload = os.urandom(length)
    assert payload_of(frame(payload, mask=os.urandom(4))) == payload


@pytest.mark.parametrize(
    "other",
    [
        b"",
        frame(b"")[:-1],
        frame(b"abc")[:-1],
        frame(b"abc") + b"\x82",
        frame(bytes(200))[:-1],
        frame(bytes(LONGEST + 1)),
        b"\x82\x03" + bytes(7),  # no mask
        b"\x82\xfe\x00\x03" + bytes(7),  # three bytes of length for three bytes
        b"\x82\xff" + bytes(7) + b"\x03" + bytes(7),
        *(frame(b"abc", first) for first in range(256) if first != WHOLE),
    ],
)
def test_anything_else_is_not_for_the_short_way(other: bytes) -> None:
    assert payload_of(other) is None


@pytest.mark.parametrize("length", [0, 1, 125, 126, LONGEST])
def test_a_message_is_framed_as_short_as_it_can_be(length: int) -> None:
    payload = os.urandom(length)
    head = b"\x82" + (bytes([length]) if length < 126 else b"\x7e" + length.to_bytes(2, "big"))
    assert framed(payload) == head + payload


def conversation(server: Fixture, pieces: list[bytes]) -> list[bytes]:
    """What is sent to a client that says these ``pieces``, after each of them."""
    transport = server.connect(b"/realm-sync")
    (connection,) = [each for each in server.service._connections if each.transport is transport]
    sent = []
    for piece in pieces:
        connection.dataReceived(piece)
        sent.append(transport.value())
    sent.append(b"gone" if transport.disconnecting else b"there")
    connection.connectionLost()
    return sent


STREAMS = {
    "a message": frame(MESSAGE),
    "messages": frame(MESSAGE) + frame(b"ping 9 2\n") + frame(b"ping 1 1\n"),
    "a malformed message": frame(MESSAGE) + frame(LONG_MESSAGE) + frame(MESSAGE),
    "an empty message": frame(MESSAGE) + frame(b"") + frame(MESSAGE),
    "a text": frame(b"hallo", TEXT) + frame(MESSAGE),
    "a text that is none": frame(MESSAGE) + frame(b"\xff", TEXT) + frame(MESSAGE),
    "a ping between": frame(MESSAGE) + frame(b"there?", PING) + frame(MESSAGE),
    "a pong between": frame(MESSAGE) + frame(b"", PONG) + frame(MESSAGE),
    "a message in parts": frame(MESSAGE[:4], PART) + frame(MESSAGE[4:], END) + frame(MESSAGE),
    "parts with a ping between": frame(MESSAGE[:4], PART) + frame(b"", PING) + frame(MESSAGE[4:], END) + frame(MESSAGE),
    "a whole message among parts": frame(MESSAGE) + frame(MESSAGE[:4], PART) + frame(MESSAGE) + frame(MESSAGE[4:], END),
    "a part of nothing": frame(MESSAGE) + frame(MESSAGE, REST) + frame(MESSAGE),
    "no mask": frame(MESSAGE) + b"\x82\x0a" + MESSAGE + frame(MESSAGE),
    "too long a length": frame(MESSAGE) + b"\x82\xfe\x00\x0a" + bytes(4) + MESSAGE,
    "a very long length": frame(MESSAGE) + b"\x82\xff" + bytes(7) + b"\x0a" + bytes(4) + MESSAGE,
    "too long a message": frame(MESSAGE) + b"\x82\xff\x00\x00\x01" + bytes(5) + bytes(4) + MESSAGE,
    "a close frame": frame(MESSAGE) + frame(b"\x03\xe8", CLOSE) + frame(MESSAGE),
    **{f"RSV bits {bits}": frame(MESSAGE) + frame(MESSAGE, WHOLE | bits << 4) + frame(MESSAGE) for bits in range(1, 8)},
    **{f"opcode {code}": frame(MESSAGE) + frame(MESSAGE, END | code) + frame(MESSAGE) for code in range(3, 16)},
}


def long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "payload_of", lambda piece: None)
    monkeypatch.setattr(shell, "LONGEST", -1)


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_messages_on_the_short_way_are_answered_like_those_on_the_long_way(
    stream: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Fixture(tmp_path)
    cuts: list[list[bytes]] = [
        [stream],
        [stream[place : place + 1] for place in range(len(stream))],
        *([stream[:cut], stream[cut:]] for cut in range(1, len(stream))),
    ]
    short = [conversation(server, pieces) for pieces in cuts]
    assert b"pong" in b"".join(short[0])
    long_way(monkeypatch)
    assert [conversation(server, pieces) for pieces in cuts] == short


def test_which_way_a_message_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bytes | None] = []

    def watch(piece: bytes) -> bytes | None:
        taken.append(payload_of(piece))
        return taken[-1]

    monkeypatch.setattr(shell, "payload_of", watch)
    server = Fixture(tmp_path)
    conversation(server, [frame(MESSAGE) + frame(b"", PING) + frame(MESSAGE)])
    assert taken == [MESSAGE, None, MESSAGE]
    taken.clear()
    conversation(server, [frame(MESSAGE[:4], PART) + frame(MESSAGE[4:], END) + frame(MESSAGE)])
    assert taken == [None, MESSAGE], "nothing of a message in parts is even looked at, once it has begun"
