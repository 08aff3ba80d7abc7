"""What a key of the configuration may hold: one *kind* of value each, with the words that say so.

A kind turns what YAML made of a value into the key's value, or raises :class:`BadValue` with what is wrong and what to
write. Plain words arrive as ``str``, also those that YAML takes for dates or fractions; lists arrive as ``list``. This
module knows neither YAML nor the file system (``spec/http-api.md`` 6.2, column "type").
"""

import ipaddress
import os.path
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from attrs import evolve, frozen

LEVELS: Final = ("all", "trace", "debug", "detail", "info", "warn", "error", "fatal", "off")
"""Logging levels, the most talkative first (section 6.2)."""

MAX_TEXT: Final = 1000
"""Characters. Identifiers of other services, addresses and names of hosts are far shorter; more is a slip."""

MAX_PATH: Final = 4096
"""Characters; no system takes more."""

_HOST_NAME: Final = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_-]{1,63})*\.?"
)
_LOOKS_NUMERIC: Final = re.compile(r"[0-9.]+")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class BadValue(Exception):
    """A value does not fit its key. The text says what is wrong and what to write; ``item`` is the number of the
    faulty element where the value is a list."""

    def __init__(self, text: str, item: int | None = None) -> None:
        super().__init__(text)
        self.item: int | None = item


@frozen
class HostPort:
    """A host (a name or an IP address) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class Kind:
    """``legal`` is what may be written, for the manual; ``example`` a value in the form of YAML. What is ``obvious``
    needs no words where key and default stand side by side."""

    read: Callable[[object], Any]
    legal: str
    example: str
    obvious: bool = False

    def __call__(self, found: object) -> Any:
        return self.read(found)


def yaml_form(value: object) -> str:
    """How a configuration file writes ``value``; None is written as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(yaml_form(each) for each in value)}]"
    if isinstance(value, Path):
        return str(value)
    return f"'{_short_network(value)}'" if isinstance(value, Network) else f"'{value}'"


def _short_network(network: Network) -> str:
    """A network of one address is written as that address."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _path(value: object) -> Path:
    """A relative path is taken from the current directory, as the manual says."""
    if not isinstance(value, str) or not value or not value.isprintable() or len(value) > MAX_PATH:
        raise BadValue("must be a path; write for example /var/lib/realm/object-server")
    return Path(os.path.abspath(os.path.expanduser(value)))


def _address(value: object) -> str:
    try:
        if isinstance(value, str) and value.isprintable() and len(value) < MAX_TEXT:
            return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    raise BadValue("must be an IP address in quotes; write for example '127.0.0.1', or '::' for all addresses")


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        quoted = isinstance(value, str) and value.lower() in ("true", "false")
        raise BadValue(f"must be {str(value).lower()} without quotes" if quoted else "must be true or false")
    return value


def _level(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        raise BadValue("numbers are no longer accepted; write one of " + ", ".join(LEVELS))
    return _one_of(LEVELS, value)


def _one_of(words: tuple[str, ...], value: object) -> str:
    if value not in words:
        raise BadValue(f"must be one of {', '.join(words)}")
    return str(value)


def _host(value: object) -> str:
    """An IP address, or a host name as the resolver takes it."""
    if isinstance(value, str) and value.isprintable() and len(value) < MAX_TEXT:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            if _HOST_NAME.fullmatch(value) and not _LOOKS_NUMERIC.fullmatch(value):
                return value
    raise BadValue("must be an IP address or a host name; write for example '192.0.2.7' or sync.example.com")


def _host_port(value: object) -> HostPort:
    wrong = "must be a host and a port in quotes; write for example 'realm.example.com:9080' or '[::1]:9080'"
    if not isinstance(value, str):
        raise BadValue(wrong)
    if "://" in value:
        raise BadValue("is a URL; leave out what is before the host: 'realm.example.com:9080'")
    host, colon, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isascii() or not port.isdigit() or (":" in host and not bracketed):
        raise BadValue(wrong)
    if not 1 <= int(port[:6]) <= 65535:
        raise BadValue("the port must be from 1 to 65535; write for example 'realm.example.com:9080'")
    try:
        return HostPort(_host(host[1:-1] if bracketed else host), int(port))
    except BadValue as error:
        raise BadValue(wrong) from error


def _network(value: object) -> Network:
    try:
        if not isinstance(value, str) or "%" in value:  # networks have no zones
            raise ValueError
        whole = ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise BadValue("must be an IP address or a network in quotes; write for example '10.0.0.0/8'") from error
    address = ipaddress.ip_address(value.partition("/")[0])
    if address != whole.network_address:
        raise BadValue(f"{value} is an address within a network; write '{whole}' for all of it, or '{address}'")
    return whole


def a_number(least: int, most: int, example: int, unit: str = "") -> Kind:
    """A whole number from ``least`` to ``most``; ``unit`` is ready to stand behind a number (" seconds")."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadValue(f"must be a whole number in plain digits without quotes; write for example {example}")
        if not least <= value <= most:
            raise BadValue(f"must be from {least} to {most}{unit}; write for example {example}")
        return value

    return Kind(read, f"a whole number from {least:,} to {most:,}{unit}", str(example))


def a_port(example: int) -> Kind:
    return evolve(a_number(1, 65535, example), legal="1 to 65535", obvious=True)


def one_of(*words: str) -> Kind:
    named = ", ".join(f"`{word}`" for word in words[:-1])
    return Kind(lambda value: _one_of(words, value), f"{named} or `{words[-1]}`", words[0])


def a_text(example: str, pattern: str = ".+", rule: str = "") -> Kind:
    """A text that ``pattern`` matches as a whole; ``rule`` says that in words ("64 hexadecimal digits")."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise BadValue(f"must be text in quotes; write for example '{example}'")
        if not value.strip():
            raise BadValue(f"is empty; write {rule or 'its value'}, for example '{example}'")
        if len(value) > MAX_TEXT or not value.isprintable() or not re.fullmatch(pattern, value):
            raise BadValue(f"must be {rule or 'one short line of text'}; write for example '{example}'")
        return value

    return Kind(read, rule or "text", f"'{example}'", obvious=not rule)


def _list_of(read: Callable[[object], Any], legal: str, example: str) -> Kind:
    def read_all(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise BadValue(f"must be a list; write for example {example}")
        found = []
        for number, each in enumerate(value):
            try:
                found.append(read(each))
            except BadValue as error:
                raise BadValue(str(error), number) from error
        return tuple(found)

    return Kind(read_all, legal, example)


A_PATH: Final = Kind(_path, "a path", "/var/lib/realm/object-server", obvious=True)
AN_ADDRESS: Final = Kind(_address, "an IP address", "'::'", obvious=True)
A_TRUTH: Final = Kind(_truth, "`true` or `false`", "true", obvious=True)
A_LEVEL: Final = Kind(_level, one_of(*LEVELS).legal, "info")
A_HOST: Final = Kind(_host, "an IP address or a host name", "'0.0.0.0'", obvious=True)
A_HOST_PORT: Final = Kind(_host_port, "`'host:port'`", "'127.0.0.1:27080'", obvious=True)
HOSTS_AND_PORTS: Final = _list_of(_host_port, "a list of `'host:port'`", "['realm.example.com:9080']")
NETWORKS: Final = _list_of(_network, "a list of IP addresses and networks", "['10.0.0.0/8']")
