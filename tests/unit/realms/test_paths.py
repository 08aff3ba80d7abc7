"""Names of Realms: what is legal, and that no two partitions share one."""

import base64
import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmserver.realms import paths
from realmserver.realms.paths import (
    MAX_PATH_BYTES,
    PARTITION_ROOT,
    IllegalPath,
    check_app_id,
    check_virtual_path,
    expand_home,
    partition_realm,
)

I64 = st.integers(-(2**63), 2**63 - 1)
STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
VALUES = st.one_of(
    STRINGS.map(lambda value: ("string", value)),
    I64.map(lambda value: ("int", value)),
    st.binary(min_size=12, max_size=12).map(lambda value: ("oid", value)),
    st.uuids().map(lambda value: ("uuid", value)),
    st.just(("null", None)),
)


def extended_json(kind: str, value: object) -> list[str]:
    """All the ways in which a client may write a partition value."""
    match kind:
        case "string":
            return [json.dumps(value), json.dumps(value, ensure_ascii=False), f"  {json.dumps(value)}\n"]
        case "int":
            spellings = [str(value), json.dumps({"$numberLong": str(value)}), f'{{ "$numberLong" : "{value}" }}']
            assert isinstance(value, int)
            if -(2**31) <= value < 2**31:
                spellings.append(json.dumps({"$numberInt": str(value)}))
            return spellings
        case "oid":
            assert isinstance(value, bytes)
            return [json.dumps({"$oid": value.hex()}), json.dumps({"$oid": value.hex().upper()})]
        case "uuid":
            assert isinstance(value, uuid.UUID)
            content = base64.b64encode(value.bytes).decode()
            return [
                json.dumps({"$uuid": str(value)}),
                json.dumps({"$binary": {"base64": content, "subType": "04"}}),
                json.dumps({"$binary": {"subType": "4", "base64": content}}),
            ]
    return ["null", " null "]


@pytest.mark.parametrize(
    "path", ["/a", "/A-z_0.9/x", "/user/default", "/_x", "/a.realms", "/a/realm", "/" + "a" * 1023]
)
def test_legal_paths_come_back(path: str) -> None:
    assert check_virtual_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/a/", "//a", "/.a", "/a/..", "/a.realm", "/a.realm.lock", "/a.realm.management", "/a.realm/b"),
        *("/~/a", "/a b", "/a%20b", "/é", '{"$oid":"5f"}', "a", "/a\n", "/a\0", "/\udcff", "/" + "a" * MAX_PATH_BYTES),
        *("/__admin", "/u/__permission", "/a/__partial/u", "/\u0661"),
    ],
)
def test_illegal_paths_are_refused(path: str) -> None:
    with pytest.raises(IllegalPath):
        check_virtual_path(path)


def test_reserved_segments_pass_only_where_allowed() -> None:
    assert check_virtual_path("/u/__permission", reserved_allowed=True) == "/u/__permission"
    with pytest.raises(IllegalPath, match="query-based"):
        check_virtual_path("/a/__partial/u", reserved_allowed=True)


def test_reasons_show_hostile_text_safely() -> None:
    with pytest.raises(IllegalPath) as caught:
        check_virtual_path("/\x1b[2J\n" + "é" * 900)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800


def test_home_is_the_users_own() -> None:
    assert expand_home("/~/notes", "0af1") == "/0af1/notes"
    assert expand_home("/other/~/notes", "0af1") == "/other/~/notes"
    assert expand_home("/~", "0af1") == "/~"


@pytest.mark.parametrize("identity", ["", "a/b", "..", ".a", "__admin", "a b", "x.realm", "a\n"])
def test_an_identity_that_is_no_segment_has_no_home(identity: str) -> None:
    with pytest.raises(IllegalPath):
        expand_home("/~/notes", identity)


@pytest.mark.parametrize("app_id", ["", "a" * 65, "a.b", "a/b", "__x", "é", "a\n"])
def test_bad_app_ids_are_refused(app_id: str) -> None:
    with pytest.raises(IllegalPath):
        check_app_id(app_id)
    with pytest.raises(IllegalPath):
        partition_realm(app_id, "null")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('"part1"', "string-part1"),
        ('""', "string-"),
        ('"a_b.c/é"', "string-a_5fb_2ec_2f_c3_a9"),
        ('"x.realm"', "string-x_2erealm"),
        ('"line\nbreak"', "string-line_0abreak"),
        ("-7", "int--7"),
        ("-0", "int-0"),
        ('{"$numberLong":"007"}', "int-7"),
        ("null", "null"),
        ('{"$oid":"5F0000000000000000000001"}', "objectid-5f0000000000000000000001"),
        ('{"$uuid":"00112233-4455-6677-8899-AABBCCDDEEFF"}', "uuid-00112233-4455-6677-8899-aabbccddeeff"),
        (
            '{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"04"}}',
            "uuid-00112233-4455-6677-8899-aabbccddeeff",
        ),
    ],
)
def test_partition_values_have_readable_names(text: str, name: str) -> None:
    assert partition_realm("my-app_1", text) == f"{PARTITION_ROOT}/my-app_1/{name}"


@pytest.mark.parametrize(
    "text",
    [
        *("", "part1", '"open', "[1]", "{}", "true", "1.0", "1e3", "NaN", "-Infinity", str(2**63), "9" * 5000),
        *('{"$oid":"5f"}', '{"$oid":5}', '{"$numberInt":"2147483648"}', '{"$numberLong":"+1"}', '{"$numberLong":1}'),
        *('{"$numberLong":"\u0661"}', '{"$oid":"5f0000000000000000000001","x":1}', '{"$date":1}', '{"a":"b"}'),
        *('{"$oid":"5f0000000000000000000001","$oid":"5f0000000000000000000002"}', '{"$uuid":"00"}', '"\\ud800"'),
        *('{"$binary":{"base64":"AAAA","subType":"04"}}', '{"$binary":{"base64":"?","subType":"04"}}', '"\udcff"'),
        *('{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"00"}}', "[" * 10000, '"' + "a" * 20000 + '"'),
        *('{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"04","x":1}}', '{"$binary":{"base64":"é"}}'),
    ],
)
def test_other_partition_texts_are_refused(text: str) -> None:
    with pytest.raises(IllegalPath):
        partition_realm("app", text)


@given(VALUES)
def test_every_spelling_of_a_value_names_one_legal_realm(value: tuple[str, object]) -> None:
    names = {partition_realm("app", text) for text in extended_json(*value)}
    assert len(names) == 1
    (name,) = names
    assert check_virtual_path(name, reserved_allowed=True) == name
    assert all(len(segment) <= 200 for segment in name.split("/"))
    with pytest.raises(IllegalPath):
        check_virtual_path(name)


@given(VALUES, VALUES)
def test_different_values_never_share_a_realm(one: tuple[str, object], other: tuple[str, object]) -> None:
    same_name = partition_realm("app", extended_json(*one)[0]) == partition_realm("app", extended_json(*other)[0])
    assert same_name == (one == other)


@given(st.text("a_5fA.-/", max_size=8), st.text("a_5fA.-/", max_size=8))
def test_strings_made_to_look_escaped_stay_apart(one: str, other: str) -> None:
    same_name = partition_realm("app", json.dumps(one)) == partition_realm("app", json.dumps(other))
    assert same_name == (one == other)


def test_long_strings_stay_apart_and_within_a_file_name() -> None:
    long, longer = "é" * 100, "é" * 101
    names = {partition_realm("app", json.dumps(value)) for value in (long, longer)}
    assert len(names) == 2
    assert all("/sha256-" in name for name in names)
    digest = next(iter(names)).rsplit("/", 1)[1]
    assert partition_realm("app", json.dumps(digest)) not in names


@given(st.from_regex(r"\A[A-Za-z0-9-][A-Za-z0-9_-]{0,63}\Z"), st.from_regex(r"\A[A-Za-z0-9-][A-Za-z0-9_-]{0,63}\Z"))
def test_apps_do_not_share_realms(one: str, other: str) -> None:
    assert (partition_realm(one, "null") == partition_realm(other, "null")) == (one == other)


def test_long_partition_values_are_not_remembered() -> None:
    """A thousand of them would take megabytes, and nobody comes with them twice."""
    before = paths._remembered.cache_info().currsize
    long = '"' + "x" * paths.MAX_REMEMBERED_TEXT + '"'
    assert partition_realm("my-app", long) == partition_realm("my-app", long)
    assert paths._remembered.cache_info().currsize == before
    partition_realm("my-app", '"never heard of before"')
    assert paths._remembered.cache_info().currsize == min(before + 1, paths.REMEMBERED)
