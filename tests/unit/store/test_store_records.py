"""The bytes of the store's values."""

import contextlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmserver.store import records
from realmserver.store.interface import ClientFile, Head, LogEntry

numbers = st.integers(0, 2**64 - 1)
changesets = st.builds(lambda data, times: data * times, st.binary(max_size=400), st.integers(0, 20))
entries = st.builds(LogEntry, numbers, numbers, numbers, numbers, numbers, changesets, numbers)
clients = st.builds(
    ClientFile, numbers, numbers, st.text(st.characters(codec="utf-8")), numbers, numbers, numbers, numbers
)
heads = st.builds(Head, st.binary(min_size=16, max_size=16), *[numbers] * 8, st.booleans())


@given(entries)
def test_entries_come_back(entry: LogEntry) -> None:
    assert records.unpack_entry(records.pack_entry(entry), entry.version) == entry


@given(clients)
def test_client_files_come_back(client: ClientFile) -> None:
    assert records.unpack_client(records.pack_client(client), client.ident) == client


@given(heads)
def test_heads_come_back(head: Head) -> None:
    assert records.unpack_head(records.pack_head(head), head.realm_id) == head


@given(changesets)
def test_reciprocal_changesets_come_back(changeset: bytes) -> None:
    assert records.unpack_reciprocal(records.pack_reciprocal(changeset)) == changeset


def test_identities_come_back() -> None:
    realm_id = bytes(range(16))
    assert records.unpack_identity(records.pack_identity(realm_id, "/a/b")) == (realm_id, "/a/b")
    with pytest.raises(ValueError, match="16 bytes"):
        records.pack_identity(b"short", "/a")


@given(numbers, numbers)
def test_the_order_of_keys_is_that_of_numbers(one: int, other: int) -> None:
    assert (records.number_key(one) < records.number_key(other)) == (one < other)
    assert (records.reciprocal_key(one, other) < records.reciprocal_key(other, one)) == (one < other)


def test_a_changeset_is_compressed_where_that_pays() -> None:
    plain = len(records.pack_reciprocal(b""))
    assert len(records.pack_reciprocal(bytes(10_000))) < 200
    assert len(records.pack_reciprocal(bytes(records.COMPRESS_FROM - 1))) == plain + records.COMPRESS_FROM - 1
    noise = zlib.compress(bytes(range(256)) * 2)[:300] + bytes(range(256))
    assert len(records.pack_reciprocal(noise)) == plain + len(noise)


def _claiming(length: int, packed: bytes) -> bytes:
    return bytes([records.FORMAT, 1]) + length.to_bytes(8, "big") + packed


@pytest.mark.parametrize("length", [0, 1, 255, 256, 99_999, 100_001, 2**64 - 1])
def test_no_more_is_inflated_than_was_recorded(length: int) -> None:
    packed = zlib.compress(bytes(100_000))
    assert records.unpack_reciprocal(_claiming(100_000, packed)) == bytes(100_000)
    with pytest.raises(records.BadRecord):
        records.unpack_reciprocal(_claiming(length, packed))


def test_a_damaged_compressed_changeset_never_comes_out_different() -> None:
    changeset = b"ab" * 1000
    good = records.pack_reciprocal(changeset)
    assert good[1] == 1
    found_out = 0
    for position in range(10, len(good)):
        damaged = bytearray(good)
        damaged[position] ^= 1
        try:
            assert records.unpack_reciprocal(bytes(damaged)) == changeset  # padding of deflate may change
        except records.BadRecord:
            found_out += 1
    assert found_out > (len(good) - 10) // 2


@given(st.binary(max_size=120), st.booleans())
def test_from_any_bytes_only_bad_record_escapes(data: bytes, of_this_format: bool) -> None:
    if of_this_format:
        data = bytes([records.FORMAT]) + data
    for unpack in (
        records.unpack_identity,
        records.unpack_reciprocal,
        lambda data: records.unpack_head(data, bytes(16)),
        lambda data: records.unpack_client(data, 2),
        lambda data: records.unpack_entry(data, 1),
    ):
        with contextlib.suppress(records.BadRecord):
            unpack(data)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x02" + bytes(100)])
def test_another_format_is_named(data: bytes) -> None:
    with pytest.raises(records.BadRecord, match="this server reads format 1"):
        records.unpack_entry(data, 1)
    with pytest.raises(records.BadRecord, match="this server reads format 1"):
        records.unpack_identity(data)
