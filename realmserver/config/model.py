"""The configuration as values: one class for each section of the file, each default stated once, here.

The names are those of the Realm Object Server 1.x manual (``spec/http-api.md`` 6.2). What a key may hold is said by the
``kind`` beside its default; ``load`` reads files by it. This module knows neither YAML nor the file system.
"""

# ruff: noqa: RUF009 (key() and section() make attrs fields, not shared defaults)

import ipaddress
import os.path
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
from attrs import Attribute, Factory, field, frozen

LEVELS: Final = ("all", "trace", "debug", "detail", "info", "warn", "error", "fatal", "off")
"""Logging levels, the most talkative first (section 6.2)."""

MIN_ACCESS_TOKEN_TTL: Final = 30
"""Seconds. SDKs renew an access token 10 or 20 s before it expires; a shorter life would have them renew all the time
(section 1.2)."""

MAX_TTL: Final = 100 * 365 * 24 * 3600
"""Seconds: a hundred years. More is a slip, and dates beyond the year 9999 cannot be written."""

KEY_FILE_NAMES: Final = ("token-signature.pub", "token-signature.key")
"""The public and the private key in ``keys`` below the data directory, where no other place is configured."""


class BadValue(Exception):
    """A value does not fit its key. The text says what is wrong and what to write."""


Kind = Callable[[object], Any]
"""Turns what YAML made of a value into the key's value, or raises :class:`BadValue`. Plain words arrive as ``str``."""


def a_path(value: object) -> Path:
    """A path; a relative one is taken from the current directory, as the manual says."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadValue("must be a path, for example /var/lib/realm/object-server")
    return Path(os.path.abspath(os.path.expanduser(value)))


def an_address(value: object) -> str:
    """An IPv4 or IPv6 address to listen on."""
    try:
        if isinstance(value, str):
            return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    if isinstance(value, str) and value[:1] in "‘’“”„«" and value:
        raise BadValue(f"is in typographic quotes: {value}. Use plain ones, for example '::'")
    raise BadValue("must be an IP address in quotes, for example '127.0.0.1', or '::' for all interfaces")


def a_truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadValue("must be true or false, without quotes")
    return value


def a_level(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        raise BadValue("numbers are no longer accepted: write one of " + ", ".join(LEVELS))
    if value not in LEVELS:
        raise BadValue("must be one of " + ", ".join(LEVELS))
    return str(value)


def a_number(least: int, most: int, example: int, unit: str = "") -> Kind:
    """A whole number from ``least`` to ``most``; ``example`` and ``unit`` are for the message."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadValue(f"must be a whole number{unit}, without quotes, for example {example}")
        if not least <= value <= most:
            raise BadValue(f"must be from {least} to {most}{unit}, for example {example}")
        return value

    return read


def a_port(example: int) -> Kind:
    return a_number(1, 65535, example)


def key(kind: Kind, **default: Any) -> Any:
    """A key of the file: what it may hold and, as ``default=``, what holds when the file does not say."""
    return field(metadata={"kind": kind}, **default)


def section(cls: type) -> Any:
    """A section within a section or at the top of the file."""
    return field(default=Factory(cls), metadata={"section": cls})


@frozen
class Storage:
    """``root_path`` is the data directory."""

    root_path: Path = key(a_path)


@frozen
class Ttls:
    """Lifetimes of tokens, in seconds."""

    refresh_token: int = key(a_number(1, MAX_TTL, 315_360_000, " of seconds"), default=315_360_000)
    access_token: int = key(a_number(MIN_ACCESS_TOKEN_TTL, MAX_TTL, 600, " of seconds"), default=600)


@frozen
class Auth:
    """The files of the RSA key pair that signs and checks tokens, PEM."""

    public_key_path: Path = key(a_path)
    private_key_path: Path = key(a_path)
    ttls: Ttls = section(Ttls)


@frozen
class ProxyHttp:
    """The public listener, HTTP and sync on one port. ``::`` means all addresses, IPv4 and IPv6."""

    enable: bool = key(a_truth, default=True)
    listen_address: str = key(an_address, default="::")
    listen_port: int = key(a_port(9080), default=9080)


@frozen
class Proxy:
    http: ProxyHttp = section(ProxyHttp)


@frozen
class NetworkSync:
    """The listener for sync connections alone."""

    listen_address: str = key(an_address, default="127.0.0.1")
    listen_port: int = key(a_port(27800), default=27800)


@frozen
class NetworkHttp:
    """The listener for HTTP services alone."""

    listen_address: str = key(an_address, default="127.0.0.1")
    listen_port: int = key(a_port(27080), default=27080)


@frozen
class Network:
    sync: NetworkSync = section(NetworkSync)
    http: NetworkHttp = section(NetworkHttp)


@frozen
class Logging:
    """``path`` None means the standard output."""

    level: str = key(a_level, default="info")
    path: Path | None = key(a_path, default=None)


@frozen
class Performance:
    """``max_open_files``: Realms held open at once. One more takes memory and file handles, hence the upper limit."""

    max_open_files: int = key(a_number(1, 100_000, 256), default=256)


@frozen
class Configuration:
    """A whole configuration. ``notices`` are lines for the operator: what holds, but may surprise."""

    storage: Storage = field(metadata={"section": Storage})
    auth: Auth = field(metadata={"section": Auth})
    proxy: Proxy = section(Proxy)
    network: Network = section(Network)
    logging: Logging = section(Logging)
    performance: Performance = section(Performance)
    notices: tuple[str, ...] = ()


def all_keys(cls: type = Configuration, prefix: str = "") -> Iterator[tuple[str, Kind]]:
    """Every key of the file in dotted form (``auth.ttls.access_token``) with its kind, in the order of the manual."""
    for attribute in attrs.fields(cls):
        name = prefix + attribute.name
        if "section" in attribute.metadata:
            yield from all_keys(attribute.metadata["section"], name + ".")
        elif "kind" in attribute.metadata:
            yield name, attribute.metadata["kind"]


def make(values: dict[str, Any], notices: tuple[str, ...] = ()) -> Configuration:
    """A configuration of ``values`` by dotted key; the rest is default.

    The three keys without a default (``storage.root_path`` and the two key paths) must be there, else TypeError.
    """
    made: Configuration = _make(Configuration, "", values)
    return attrs.evolve(made, notices=notices)


def _make(cls: type, prefix: str, values: dict[str, Any]) -> Any:
    arguments: dict[str, Any] = {}
    attribute: Attribute[Any]
    for attribute in attrs.fields(cls):
        name = prefix + attribute.name
        if "section" in attribute.metadata:
            arguments[attribute.name] = _make(attribute.metadata["section"], name + ".", values)
        elif name in values:
            arguments[attribute.name] = values[name]
    return cls(**arguments)
