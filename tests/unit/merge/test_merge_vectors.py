"""The merge gives the bytes that the real implementation gave, with and without the index."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from merge_tools import unpack, vectors

from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import Changeset
from realmserver.merge import TransformError
from realmserver.merge.all_pairs import merge_all_pairs
from realmserver.merge.walk import merge

Merge = Callable[[Sequence[Changeset], Sequence[Changeset]], None]


def _decoded(side: list[dict[str, Any]]) -> list[Changeset]:
    return [decode(unpack(one["changeset"]), timestamp=one["timestamp"], origin=one["origin"]) for one in side]


def _outcome(run: Merge, vector: dict[str, Any]) -> object:
    incoming = _decoded(vector["incoming"])
    local = _decoded(vector["local"])
    try:
        run(incoming, local)
    except TransformError:
        return "transform"
    return [encode(side) for side in incoming], [encode(side) for side in local]


def _expected(vector: dict[str, Any]) -> object:
    if "error" in vector:
        return vector["error"]
    return [unpack(data) for data in vector["incoming_result"]], [unpack(data) for data in vector["local_result"]]


@pytest.mark.parametrize("run", [merge, merge_all_pairs])
@pytest.mark.parametrize(("name", "count"), [("pairs.jsonl.gz", 6000), ("pairs_nested.jsonl.gz", 3000)])
def test_every_pair_gives_the_bytes_of_the_real_implementation(name: str, count: int, run: Merge) -> None:
    lines = vectors(name)
    wrong = [number for number, vector in enumerate(lines, 1) if _outcome(run, vector) != _expected(vector)]
    assert wrong == []
    assert len(lines) == count
