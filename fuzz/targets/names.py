"""What clients name: partition values, virtual paths, identities, subprotocols.

IllegalPath or a Refusal is what may come of it, or a name that is legal, fits into a file name and stands for one
partition value alone. An input is two texts with ``SEPARATOR`` between them.
"""

import json
from collections.abc import Callable, Iterator
from typing import Final

from fuzz.target import Target
from realmserver.realms.paths import PARTITION_ROOT, IllegalPath, check_virtual_path, expand_home, partition_realm
from realmserver.store.layout import check_name
from realmserver.sync.versions import HIGHEST_VERSION, LOWEST_VERSION, Negotiated, negotiate

SEPARATOR: Final = b"\n%%\n"
LONGEST_FILE: Final = 200
"""Bytes of a segment, for the file system and the store's own endings."""


def check(data: bytes) -> None:
    one, _, other = (part.decode("utf-8", "surrogateescape") for part in data.partition(SEPARATOR))
    for text in (one, other):
        _check_subprotocol(text)
        _check_path(text, other)
    names = [_legal(lambda text=text: partition_realm("app1", text)) for text in (one, other)]  # type: ignore[misc]
    for name in names:
        if name is not None:
            _check_realm(name)
            assert name.startswith(f"{PARTITION_ROOT}/app1/")
            assert _legal(lambda name=name: check_virtual_path(name)) is None, "a client can name it"  # type: ignore[misc]
    if None not in names:
        values = [json.loads(text, strict=False) for text in (one, other)]
        if all(isinstance(value, str | int) for value in values):
            assert (names[0] == names[1]) == (values[0] == values[1]), "two partitions in one Realm, or one in two"


def _check_path(path: str, identity: str) -> None:
    expanded = _legal(lambda: expand_home(path, identity))
    if expanded is None:
        return
    legal = _legal(lambda: check_virtual_path(expanded))
    if legal is None:
        return
    _check_realm(legal)
    assert not legal.startswith("/__")
    if path.startswith("/~/"):
        assert legal.startswith(f"/{identity}/"), "into another user's home"


def _check_realm(name: str) -> None:
    check_name(name)
    for segment in name[1:].split("/"):
        assert segment not in ("", ".", "..")
        assert name.startswith(PARTITION_ROOT) is False or len(segment.encode()) <= LONGEST_FILE


def _check_subprotocol(text: str) -> None:
    found = negotiate(text)
    if isinstance(found, Negotiated):
        assert LOWEST_VERSION <= found.version <= HIGHEST_VERSION
    else:
        assert found.status == 400
        assert "\0" not in found.body


def _legal(name: Callable[[], str]) -> str | None:
    try:
        return name()
    except IllegalPath as error:
        assert str(error).isprintable()
        return None


def seeds() -> Iterator[bytes]:
    texts = [
        *(
            '"shared"',
            '"7"',
            "7",
            "null",
            '{"$oid":"5f3c0000000000000000abcd"}',
            '{"$numberLong":"7"}',
            '{"$numberInt":"-7"}',
        ),
        *(
            '{"$uuid":"00000000-0000-4000-8000-00000000000a"}',
            '{"$binary":{"base64":"AAAAAAAAAAAAAAAAAAAAAA==","subType":"04"}}',
        ),
        *("/a/b", "/~/mine", "/__admin", "/a.realm", "/x/..", '"' + "é" * 90 + '"', '"\\ud800"', '"_5f"', '"a_b"'),
        *("com.mongodb.realm-sync#14, com.mongodb.realm-sync#9", "com.mongodb.realm-sync/1-14", "io.realm.sync-30"),
    ]
    for one, other in zip(texts, [*texts[1:], texts[0]], strict=True):
        yield one.encode() + SEPARATOR + other.encode()


TARGET: Final = Target(
    "partition values, virtual paths and subprotocols",
    check,
    seeds,
    (
        SEPARATOR,
        *(b'"', b"{", b"}", b'"$oid":', b'"$uuid":', b'"$binary":', b'"$numberInt":', b'"$numberLong":', b'"base64":'),
        *(
            b"/~/",
            b"/__",
            b"..",
            b".realm",
            b".realm.lock",
            b"\\u0000",
            b"\\ud800",
            b"_2f",
            b"null",
            b"1e3",
            b"-0",
            b"true",
        ),
        *(
            b"com.mongodb.realm-sync#",
            b"com.mongodb.realm-sync/",
            b"com.mongodb.realm-query-sync#",
            b", ",
            b"99999999999999999999",
        ),
    ),
    longest=2048,
)
