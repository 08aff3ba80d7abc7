"""The bytes of a changeset: they are refused with BadChangeset, or they are read and can be written again."""

from collections.abc import Iterator
from typing import Final

from fuzz import vectors
from fuzz.facts import live
from fuzz.target import Target
from realmserver.changeset.decode import decode, decode_canonical
from realmserver.changeset.encode import encode, reset_offsets
from realmserver.changeset.instructions import BadChangeset, Changeset, Payload
from realmserver.changeset.text import describe
from realmserver.merge.summaries import summarize


def check(data: bytes) -> None:
    """Both ways to read ``data`` agree, and what they read is written in the one canonical form."""
    for clear_types in (True, False):
        try:
            changeset = decode(data, timestamp=1, origin=2, clear_types=clear_types)
        except BadChangeset as error:
            assert str(error).isprintable()
            _check_refused(data, clear_types)
        else:
            _check_read(data, changeset, clear_types)


def _check_refused(data: bytes, clear_types: bool) -> None:
    try:
        decode_canonical(data, clear_types=clear_types)
    except BadChangeset:
        return
    raise AssertionError("decode refuses what decode_canonical takes")


def _check_read(data: bytes, changeset: Changeset, clear_types: bool) -> None:
    said = live(changeset)
    for instruction in changeset.instructions:
        assert describe(instruction).isprintable()
    summarize(changeset)
    same, canonical = decode_canonical(data, timestamp=1, origin=2, clear_types=clear_types)
    assert live(same) == said
    assert encode(changeset) == canonical, "decode_canonical gives other bytes than encode"
    again, kept = decode_canonical(canonical)
    assert live(again) == said, "the canonical bytes say something else"
    assert kept == canonical, "canonical bytes are changed once more"
    reset_offsets(changeset)
    assert _offsets(changeset) == _offsets(again), "offsets other than those of the canonical bytes"


def _offsets(changeset: Changeset) -> list[int]:
    payloads = [getattr(instruction, "payload", None) for instruction in changeset.instructions]
    return [payload.offset for payload in payloads if isinstance(payload, Payload)]


def seeds() -> Iterator[bytes]:
    yield from vectors.changesets(step=20)
    yield from vectors.changesets("malformed.jsonl.gz", step=20)


TARGET: Final = Target(
    "the bytes of changesets: decode, decode_canonical, encode, and the way back",
    check,
    seeds,
    (
        *(
            b"\x3f\x00\x01T",
            b"\x3f\x01\x01f",
            b"\x00\x00\x00\x01\x01\x00",
            b"\x02\x00\x01\x01",
            b"\x04\x00\x01\x01\x01\x00",
        ),
        *(bytes([opcode]) for opcode in range(14)),
        *(bytes([0x40 | -kind - 1]) for kind in range(-6, 0)),
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    ),
    longest=1024,
)
