"""Who is believed about where a request comes from, and what of it."""

import ipaddress

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.web.http_headers import Headers

from realmserver.http.proxies import (
    LOCAL_PROXIES,
    MARKS,
    Origin,
    address_of,
    came_straight,
    endpoint_address,
    marks_of,
    origin,
)

ip = ipaddress.ip_address
LOCAL = ip("127.0.0.1")
TRUSTED = (*LOCAL_PROXIES, ipaddress.IPv4Network("10.0.0.0/8"))


def client(*chains: str) -> str | None:
    """The client, where a proxy of this machine sends the headers ``chains``."""
    found = origin(LOCAL, Headers({"X-Forwarded-For": list(chains)}), TRUSTED).client
    return None if found is None else str(found)


@pytest.mark.parametrize(
    ("chains", "expected"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        (["203.0.113.7", "10.1.2.3, 10.0.0.1"], "203.0.113.7"),
        (["10.1.2.3, 10.0.0.1"], "10.1.2.3"),
        (["rubbish, 10.0.0.1"], "10.0.0.1"),
        (["203.0.113.7, rubbish"], None),
        (["unknown"], None),
        ([""], None),
        (["203.0.113.7:4711"], "203.0.113.7"),
        (["[2001:db8::7]:4711"], "2001:db8::7"),
        (["[2001:db8::7]"], "2001:db8::7"),
        (["2001:db8::7"], "2001:db8::7"),
        (["::ffff:203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7\xff"], None),
        ([", ".join(["203.0.113.7"] + ["10.0.0.1"] * 1000)], "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxys(chains: list[str], expected: str | None) -> None:
    assert client(*chains) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("https", True), ("HTTPS", True), ("wss", True), ("http", False), ("http, https", True), ("gopher", None)],
)
def test_the_scheme_is_what_the_nearest_proxy_says(value: str, expected: bool | None) -> None:
    assert origin(LOCAL, Headers({"X-Forwarded-Proto": [value]}), TRUSTED).is_secure is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("sync.example.com", "sync.example.com"),
        ("sync.example.com:8443", "sync.example.com:8443"),
        ("inner, outer.example.com", "outer.example.com"),
        ("bad host", None),
        ("evil/path", None),
        ("", None),
    ],
)
def test_the_host_must_be_one(value: str, expected: str | None) -> None:
    assert origin(LOCAL, Headers({"X-Forwarded-Host": [value]}), TRUSTED).host == expected


@pytest.mark.parametrize("peer", [ip("203.0.113.9"), ip("::2"), None])
def test_strangers_are_not_believed(peer: ipaddress.IPv4Address | None) -> None:
    told = Headers(
        {"X-Forwarded-For": ["198.51.100.1"], "X-Forwarded-Proto": ["https"], "X-Forwarded-Host": ["a.example"]}
    )
    assert origin(peer, told, TRUSTED) == Origin()


def test_an_ipv4_client_of_an_ipv6_port_is_told_by_its_ipv4_address() -> None:
    mapped = IPv6Address("TCP", "::ffff:192.0.2.1", 77)
    assert endpoint_address(mapped) == IPv4Address("TCP", "192.0.2.1", 77)
    assert address_of(mapped) == ip("192.0.2.1")
    plain = IPv6Address("TCP", "2001:db8::1", 77)
    assert endpoint_address(plain) is plain
    assert address_of(IPv6Address("TCP", "fe80::1%eth0", 77)) == ip("fe80::1")


@pytest.mark.parametrize("mark", MARKS)
def test_what_a_proxy_has_marked_did_not_come_straight(mark: bytes) -> None:
    assert came_straight(LOCAL, marks_of(Headers()))
    assert not came_straight(LOCAL, marks_of(Headers({mark: [b""]})))


def test_only_this_machine_comes_straight() -> None:
    assert came_straight(ip("::1"), [])
    assert not came_straight(ip("10.0.0.1"), [])
    assert not came_straight(None, [])
