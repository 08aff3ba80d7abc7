"""Decoding against what the real implementation printed, accepted, refused and wrote."""

from changeset_vectors import changeset_bytes, lines

from realmserver.changeset.decode import decode, decode_canonical
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import BadChangeset
from realmserver.changeset.text import describe_changeset


def test_every_changeset_reads_as_the_real_implementation_prints_it() -> None:
    count = 0
    for line in lines("changeset.jsonl.gz"):
        data = changeset_bytes(line["changeset"])
        changeset, canonical = decode_canonical(data)
        assert describe_changeset(changeset) == line["text"]
        assert canonical == encode(changeset)
        assert describe_changeset(decode(canonical)) == line["text"]
        count += 1
    assert count == 195


def test_every_malformed_changeset_gets_the_verdict_of_the_real_parser() -> None:
    count = 0
    for line in lines("malformed.jsonl.gz"):
        data = changeset_bytes(line["changeset"])
        error = None
        try:
            decode(data)
        except BadChangeset as bad:
            error = str(bad)
        assert (error is None) == line["accepted"], (line, error)
        count += 1
    assert count == 349


def test_every_result_of_a_real_merge_is_canonical_already() -> None:
    count = 0
    for name in ("pairs.jsonl.gz", "pairs_nested.jsonl.gz"):
        for line in lines(name):
            for text in line.get("incoming_result", []) + line.get("local_result", []):
                data = changeset_bytes(text)
                changeset, canonical = decode_canonical(data)
                assert canonical is data or not data
                assert encode(changeset) == data
                count += 1
    assert count > 10_000
