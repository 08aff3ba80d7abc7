"""The load generators' WebSockets: what they prepare is what clients send, and what comes in is cut where it should."""

import os
import socket
from collections.abc import Iterator

import pytest
from raw_sync import BINARY, CLOSE
from raw_sync import frame as other_frame

from bench.load.client import Place, Session, open_all
from bench.load.wire import HEAD, Loop, Trouble, Wire, frame
from realmserver.sync.server_messages import Ident

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


class Pair:
    """A wire and the server's end of it; ``messages`` is what the wire was told."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.messages: list[bytes] = []
        self.is_open = False
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.wire = Wire(self.loop, server.getsockname(), b"GET /", self._opened, self.messages.append)
            self.server, _ = server.accept()

    def _opened(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.server.close()
        if not self.wire.is_closed:
            self.wire.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200_000])
def test_a_prepared_frame_is_what_a_client_sends_whose_key_is_zero(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", bytes)
    payload = b"x" * size
    assert frame(payload) == other_frame(BINARY, payload)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000, 10**6])
def test_messages_are_found_however_the_stream_is_cut(pair: Pair, step: int) -> None:
    sent = [b"a", b"", b"b" * 125, b"c" * 126, b"d" * 70_000, b"e"]
    stream = ANSWER + b"".join(other_frame(BINARY, message, masked=False) for message in sent)
    for start in range(0, len(stream), step):
        pair.wire.received(stream[start : start + step])
    assert pair.is_open
    assert pair.messages == [message[:HEAD] for message in sent]


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "the upgrade is answered"),
        (ANSWER + other_frame(CLOSE, b"\x03\xe9going", masked=False), "a frame of kind 0x88: b'going'"),
    ],
)
def test_what_is_no_good_answer_ends_the_run(pair: Pair, stream: bytes, text: str) -> None:
    with pytest.raises(Trouble, match=text):
        pair.wire.received(stream)


def test_an_ended_connection_ends_the_run(pair: Pair) -> None:
    pair.server.close()
    with pytest.raises(Trouble, match=r"the server has (ended|cut) a connection"):
        pair.loop.run("anything")


def test_a_silent_server_ends_the_run(pair: Pair) -> None:
    with pytest.raises(Trouble, match=r"nothing has come for 0 s, waiting for an answer"):
        pair.loop.run("an answer", patience=0.01)


def test_what_the_server_does_not_take_is_sent_later(pair: Pair) -> None:
    data = bytes(range(256)) * 80_000
    pair.wire.send(data)
    pair.server.setblocking(False)
    taken = bytearray()

    def take() -> None:
        while True:
            try:
                taken.extend(pair.server.recv(1 << 20))
            except BlockingIOError:
                break
        if len(taken) == len(data) + len(b"GET /"):
            pair.loop.stop()
        else:
            pair.loop.at(0, take)

    pair.loop.at(0, take)
    pair.loop.run("nothing")
    assert taken == b"GET /" + data


def session_told(*heads: bytes) -> Session:
    session = Session("/a", "token")
    for head in heads:
        session.downloaded(head.split(b" ", 8))
    return session


def test_a_session_knows_how_far_it_is() -> None:
    session = session_told(b"download 1 3 0 5 77 2 0 0 0 0 0\n")
    assert (session.version, session.uploaded, session.is_caught_up) == (3, 2, False)
    session.downloaded(b"download 1 5 0 5 77 2 0 0 0 0 0\n".split(b" ", 8))
    assert session.is_caught_up


@pytest.mark.parametrize("head", [b"download 1 2 0 5 77 2 0 0 0 0 0\n", b"download 1 3 0 5 77 1 0 0 0 0 0\n"])
def test_cursors_that_go_back_end_the_run(head: bytes) -> None:
    with pytest.raises(Trouble, match="a DOWNLOAD goes back"):
        session_told(b"download 1 3 0 5 77 2 0 0 0 0 0\n", head)


def test_an_error_ends_the_run_with_its_text() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        loop = Loop()
        place = Place(host, port, "/realm-sync", "any", ("token",))

        def answer() -> None:
            accepted, _ = server.accept()
            error = b'json_error 206 2 1\n{"message":"no"}'
            ident = Ident(1, 2, 3).encode()
            accepted.sendall(ANSWER + b"".join(other_frame(BINARY, each, masked=False) for each in (ident, error)))
            kept.append(accepted)

        kept: list[socket.socket] = []
        loop.at(0, answer)
        with pytest.raises(Trouble, match="the server says json_error 206"):
            open_all(loop, place, [Session("/a", "token")])
        kept[0].close()
