"""The names of Realms: virtual paths, and the partition values of App Services clients.

Whoever names a Realm goes through here, so that every name the server stores is one that these rules allow, and two
different partitions never share a Realm. The module knows nothing of files, rights or tokens; it is pure.
Implements ``spec/protocol.md`` 6.1 and ``spec/http-api.md`` 1.6.

A partition value arrives in BIND as extended JSON text. It becomes one segment, ``<kind>-<value>``, below the reserved
path ``/__partition/<app id>``. The kind keeps the string "7" and the integer 7 apart; the escape makes any string a
legal segment and can be undone, so different strings stay different. Strings too long for a file name are named by
their SHA-256, under a kind of their own.
"""

import base64
import binascii
import hashlib
import json
import re
from functools import lru_cache
from typing import Final, NoReturn

MAX_PATH_BYTES: Final = 1024
"""Longest virtual path (``spec/protocol.md`` 6.1)."""

MAX_PARTITION_TEXT: Final = 16 * 1024
"""Longest partition value, in characters of extended JSON. The specification sets none; ids and names are far shorter,
and the text of a hostile client must not cost more than a moment."""

REMEMBERED: Final = 1024
"""Partition values whose Realms are remembered: many clients come with the same one, and come again."""

MAX_REMEMBERED_TEXT: Final = 256
"""Characters of a partition value that is remembered: ids and names are shorter, and all of them take no more than a
megabyte, whoever they are from."""

MAX_ESCAPED: Final = 160
"""Longest escaped string in a partition's segment. A segment becomes a file name, which may have 255 bytes, and the
store adds endings of its own."""

PARTITION_ROOT: Final = "/__partition"
"""All Realms of App Services clients lie below it; no client can name it in a virtual path."""

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_FORBIDDEN_ENDS: Final = (".realm", ".realm.lock", ".realm.management")
_APP_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_OBJECT_ID: Final = re.compile(r"[0-9A-Fa-f]{24}", re.ASCII)
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)
_UNESCAPED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")
_SHOWN: Final = 80


class IllegalPath(Exception):
    """The peer's name for a Realm is not allowed (``spec/protocol.md`` 4.4: code 204); the text says why."""


def check_virtual_path(path: str, *, reserved_allowed: bool = False) -> str:
    """Return ``path`` if it is a legal virtual path, else raise :class:`IllegalPath` with the reason.

    Segments that begin with ``__`` belong to the server and are refused unless ``reserved_allowed``; ``__partial``
    (a query-based view, which this server does not have) is refused always. ``spec/protocol.md`` 6.1.
    """
    if len(path) > MAX_PATH_BYTES:  # a legal path is ASCII: characters are bytes
        raise IllegalPath(f"the path is longer than {MAX_PATH_BYTES} bytes")
    if not path.startswith("/"):
        raise IllegalPath(f"{_show(path)} does not begin with a slash")
    for segment in path[1:].split("/"):
        _check_segment(path, segment, reserved_allowed)
    return path


def _check_segment(path: str, segment: str, reserved_allowed: bool) -> None:
    if not segment:
        raise IllegalPath(f"{_show(path)} has an empty segment")
    if not _SEGMENT.fullmatch(segment):
        raise IllegalPath(f"{_show(path)} has a segment with other characters than letters, digits, '_', '-' and '.'")
    if segment.startswith("."):
        raise IllegalPath(f"{_show(path)} has a segment that begins with a dot")
    if segment.endswith(_FORBIDDEN_ENDS):
        raise IllegalPath(f"{_show(path)} has a segment that ends like a Realm's own files")
    if segment == "__partial":
        raise IllegalPath(f"{_show(path)} names a query-based view, which this server does not have")
    if segment.startswith("__") and not reserved_allowed:
        raise IllegalPath(f"{_show(path)} has a segment that begins with two underscores, which are the server's")


def expand_home(path: str, identity: str) -> str:
    """Replace a leading ``/~/`` with ``/<identity>/``; other paths come back as they are.

    ``identity`` is the user's id. Raises :class:`IllegalPath` if it is not one legal segment, because then the path
    would lead into another user's Realms (``spec/http-api.md`` 1.6). The result is not yet checked.
    """
    if not path.startswith("/~/"):
        return path
    if not _SEGMENT.fullmatch(identity) or identity.startswith(("__", ".")) or identity.endswith(_FORBIDDEN_ENDS):
        raise IllegalPath("this user's identity cannot stand in a path")
    return f"/{identity}/{path[3:]}"


def check_app_id(app_id: str) -> str:
    """Return ``app_id`` if it is legal: 1 to 64 of ``A-Z a-z 0-9 _ -``, not beginning with ``__``.

    Raises :class:`IllegalPath` otherwise.
    """
    if not _APP_ID.fullmatch(app_id) or app_id.startswith("__"):
        raise IllegalPath("an app id has 1 to 64 letters, digits, '_' and '-', and does not begin with '__'")
    return app_id


def partition_realm(app_id: str, text: str) -> str:
    """The name of the Realm that holds the partition ``text`` of the app ``app_id``.

    ``text`` is the extended JSON that an App Services client sends as the path of its BIND: a string, an integer
    (plain, ``$numberInt`` or ``$numberLong``), an ObjectId (``$oid``), a UUID (``$uuid``, or ``$binary`` of subtype 4)
    or null (``spec/protocol.md`` 6.1). Equal values have one name however they are written, different values have
    different names, and no virtual path of a client is among them.

    Raises :class:`IllegalPath` for a bad app id, for text that is not JSON and for a value of another type.
    """
    return (_remembered if len(text) <= MAX_REMEMBERED_TEXT else _partition_realm)(app_id, text)


def _partition_realm(app_id: str, text: str) -> str:
    check_app_id(app_id)
    if len(text) > MAX_PARTITION_TEXT:
        raise IllegalPath(f"the partition value is longer than {MAX_PARTITION_TEXT} characters")
    try:
        # Cores of 2020 write strings without escaping control characters: strict=False reads those too.
        value: object = json.loads(text, strict=False, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise IllegalPath(f"the partition value {_show(text)} is not extended JSON") from error
    name = f"{PARTITION_ROOT}/{app_id}/{_partition_segment(value)}"
    return check_virtual_path(name, reserved_allowed=True)


_remembered: Final = lru_cache(maxsize=REMEMBERED)(_partition_realm)


def _partition_segment(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return _string_segment(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _integer_segment(value, 64)
    if isinstance(value, dict) and len(value) == 1:
        ((key, inner),) = value.items()
        return _extended_segment(key, inner)
    raise IllegalPath("a partition value is a string, an integer, an ObjectId, a UUID or null")


def _extended_segment(key: str, inner: object) -> str:
    match key, inner:
        case "$numberInt", str() if _INTEGER.fullmatch(inner):
            return _integer_segment(int(inner), 32)
        case "$numberLong", str() if _INTEGER.fullmatch(inner):
            return _integer_segment(int(inner), 64)
        case "$oid", str() if _OBJECT_ID.fullmatch(inner):
            return f"objectid-{inner.lower()}"
        case "$uuid", str() if _UUID.fullmatch(inner):
            return f"uuid-{inner.lower()}"
        case "$binary", {"base64": str(content), "subType": "04" | "4", **others} if not others:
            return f"uuid-{_uuid(content)}"
    raise IllegalPath(f"{_show(key)} does not make a partition value here, or its content is wrong")


def _string_segment(value: str) -> str:
    try:
        content = value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise IllegalPath("the partition value holds half of a surrogate pair") from error
    escaped = "".join(chr(byte) if byte in _UNESCAPED else f"_{byte:02x}" for byte in content)
    if len(escaped) <= MAX_ESCAPED:
        return f"string-{escaped}"
    return f"sha256-{hashlib.sha256(content).hexdigest()}"


def _integer_segment(value: int, bits: int) -> str:
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise IllegalPath(f"the partition value is no integer of {bits} bits")
    return f"int-{value}"


def _uuid(content: str) -> str:
    """The usual spelling of the UUID whose 16 bytes ``content`` is in base64."""
    try:
        raw = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise IllegalPath("the UUID in the partition value is not base64") from error
    if len(raw) != 16:
        raise IllegalPath("the UUID in the partition value has not 16 bytes")
    digits = raw.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _show(text: str) -> str:
    """``text`` from outside as it may stand in an error: printable ASCII, cut."""
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
