"""The messages of a continuous backup: they come back as they went, however the stream is cut, and rubbish does not."""

import pytest

from realmserver.backup.frames import (
    COMMIT,
    DATA,
    MAX_HELLO,
    BadFrame,
    Change,
    FrameReader,
    frame,
    pack_changes,
    unpack_changes,
)

CHANGES: list[Change] = [("log", b"\0" * 8, b"x" * 1000), ("shape", b"k", None), ("meta", b"head", b"")]


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_frames_come_back_however_the_stream_is_cut(step: int) -> None:
    stream = frame(DATA, {"path": "a"}, b"\xff\0") + frame(COMMIT, {"path": "b", "number": 3}, pack_changes(CHANGES))
    reader = FrameReader()
    found = [each for at in range(0, len(stream), step) for each in reader.feed(stream[at : at + step])]
    assert found[0] == (DATA, {"path": "a"}, b"\xff\0")
    assert found[1][:2] == (COMMIT, {"path": "b", "number": 3})
    assert list(unpack_changes(found[1][2])) == CHANGES


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 9, b"\0\0\0\x09\x01\0\0\0\x09{", bytes(9)])
def test_what_is_no_frame_is_refused_before_it_is_read(data: bytes) -> None:
    with pytest.raises(BadFrame):
        list(FrameReader(MAX_HELLO).feed(data))


def test_a_head_that_is_no_json_is_refused() -> None:
    data = bytearray(frame(DATA, "text"))
    data[-1] = 0
    with pytest.raises(BadFrame):
        list(FrameReader().feed(bytes(data)))


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_changes_that_are_cut_short_are_refused(cut: int) -> None:
    with pytest.raises(BadFrame):
        list(unpack_changes(pack_changes(CHANGES[:1])[:-cut]))
