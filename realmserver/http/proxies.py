"""Whom a request comes from where proxies stand between: what ``X-Forwarded-*`` says, and whether it is believed.

What this module keeps true: only an address that the operator trusts is believed (``network.trusted_proxies``), and
what it says counts only where it is well-formed; an IPv4 client that came to an IPv6 port is told by its IPv4 address.
It knows values alone: ``http.site`` applies them to requests, ``net.headers`` writes the same headers for backends.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.web.http_headers import Headers

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FORWARDED_FOR: Final = b"X-Forwarded-For"
FORWARDED_PROTO: Final = b"X-Forwarded-Proto"
FORWARDED_HOST: Final = b"X-Forwarded-Host"

MARKS: Final = (
    FORWARDED_FOR,
    FORWARDED_PROTO,
    FORWARDED_HOST,
    b"X-Forwarded-Port",
    b"X-Forwarded-Server",
    b"X-Real-IP",
    b"Forwarded",
    b"Via",
)
"""Headers that proxies leave: a request with any of them did not come straight from its client."""

LOCAL_PROXIES: Final[tuple[Network, ...]] = (
    ipaddress.IPv4Network("127.0.0.0/8"),
    ipaddress.IPv6Network("::1/128"),
)
"""Who is believed unless the operator says otherwise: whatever runs on this machine."""

MAX_HOPS: Final = 32
"""Addresses that are looked at in one request; real chains have two or three."""

MAX_HOST: Final = 261
"""Characters in a Host header: 255 for a name, a colon and a port."""

_LABEL: Final = r"[A-Za-z0-9_-]{1,63}"
_HOST: Final = re.compile(rf"(\[[0-9A-Fa-f:.]+\]|{_LABEL}(\.{_LABEL})*\.?)(:[0-9]{{1,5}})?", re.ASCII)

ADDRESSES: Final = 4096
"""Texts of addresses whose meaning is remembered: each request is asked several times whom it comes from."""

_SECURE: Final = {"https": True, "wss": True, "http": False, "ws": False}
_WITH_PORT: Final = re.compile(r"\[(?P<six>[^\]]+)\](:[0-9]{1,5})?|(?P<four>[0-9.]+):[0-9]{1,5}", re.ASCII)


@frozen
class Origin:
    """Where a request began, as far as it is known. ``client``: its address; ``is_secure``: whether it spoke TLS;
    ``host``: how it calls the server. None: nobody who is believed said so."""

    client: Address | None = None
    is_secure: bool | None = None
    host: str | None = None


def origin(peer: Address | None, headers: Headers, trusted: Sequence[Network]) -> Origin:
    """What ``peer``, from whom the connection came, says of a request."""
    if peer is None or not _is_within(peer, trusted):
        return Origin()
    scheme = _last(headers, FORWARDED_PROTO)
    host = _last(headers, FORWARDED_HOST)
    return Origin(
        _client(_values(headers, FORWARDED_FOR), trusted),
        _SECURE.get(scheme.lower()) if scheme is not None else None,
        host if host is not None and is_legal_host(host) else None,
    )


def came_straight(peer: Address | None, marks: Sequence[bytes]) -> bool:
    """Whether a request that bears ``marks`` was made on this machine, by whoever opened the connection."""
    return peer is not None and peer.is_loopback and not marks


def marks_of(headers: Headers) -> list[bytes]:
    """The marks of proxies that a request bears."""
    return [mark for mark in MARKS if headers.hasHeader(mark)]


def is_legal_host(host: str) -> bool:
    """Whether ``host`` is a name or an IP address, perhaps with a port."""
    return len(host) <= MAX_HOST and _HOST.fullmatch(host) is not None


def address_of(peer: IAddress | None) -> Address | None:
    """The IP address of one end of a connection; None if it has none."""
    return _address(getattr(peer, "host", None))


def endpoint_address(peer: IAddress) -> IAddress:
    """``peer`` with its IPv4 address where an IPv6 port has put it into an IPv6 one."""
    address = address_of(peer)
    if isinstance(peer, IPv6Address) and isinstance(address, ipaddress.IPv4Address):
        return IPv4Address("TCP", str(address), peer.port)
    return peer


def _client(chain: list[str], trusted: Sequence[Network]) -> Address | None:
    """The last address of ``chain`` that is not a proxy's; the first, if all are. What is left of rubbish is none."""
    found: Address | None = None
    for text in reversed(chain[-MAX_HOPS:]):
        address = _forwarded_address(text)
        if address is None:
            break
        found = address
        if not _is_within(address, trusted):
            break
    return found


def _forwarded_address(text: str) -> Address | None:
    """An address as proxies write it: with a port or without, IPv6 in brackets or not."""
    found = _WITH_PORT.fullmatch(text)
    return _address(text if found is None else found["six"] or found["four"])


def _address(text: object) -> Address | None:
    return _parsed(text) if isinstance(text, str) else None


@lru_cache(maxsize=ADDRESSES)
def _parsed(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _values(headers: Headers, name: bytes) -> list[str]:
    """The elements of all headers ``name``."""
    text = b",".join(headers.getRawHeaders(name, ())).decode("ascii", "replace")
    return [element.strip() for element in text.split(",")] if text else []


def _last(headers: Headers, name: bytes) -> str | None:
    """What the nearest proxy wrote."""
    values = _values(headers, name)
    return values[-1] if values else None
