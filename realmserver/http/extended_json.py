"""Request bodies in extended JSON (EJSON): read with a limit, checked, given on as plain values.

SDKs may write a number as ``{"$numberInt": "1"}`` and an id as ``{"$oid": "…"}`` (``spec/http-api.md`` 4.1). What is no
JSON object, or has a field of the wrong type, is answered with BadRequest.
"""

import json
from typing import IO, Final

from realmserver.http.problems import CONTENT_TOO_LARGE, bad_request

MAX_BODY: Final = 256 * 1024
"""Bytes in a request. Logins have less than a kilobyte; the arguments of a function call may have some more."""

_NUMBERS: Final = {"$numberInt": int, "$numberLong": int, "$numberDouble": float}
_TEXTS: Final = frozenset({"$oid", "$uuid", "$symbol"})


def read_object(content: IO[bytes]) -> dict[str, object]:
    """The JSON object in ``content``, wrappers of extended JSON resolved. Raises ``ApiError`` BadRequest."""
    body = content.read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise bad_request(f"the request has more than {MAX_BODY} bytes", CONTENT_TOO_LARGE)
    try:
        value: object = json.loads(body, object_hook=_unwrap)
    except (ValueError, RecursionError) as error:
        raise bad_request("the request is not valid JSON") from error
    if not isinstance(value, dict):
        raise bad_request("the request is not a JSON object")
    return value


def text_field(body: dict[str, object], name: str) -> str:
    """The string ``name`` of the body; raises ``ApiError`` BadRequest if it is missing or of another type."""
    value = body.get(name)
    if not isinstance(value, str):
        raise bad_request(f"'{name}' must be given, as a string")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise bad_request(f"'{name}' holds half of a surrogate pair")
    return value


def _unwrap(members: dict[str, object]) -> object:
    """The plain value of an extended JSON wrapper; other objects as they are."""
    if len(members) != 1:
        return members
    ((key, value),) = members.items()
    if key in _NUMBERS and isinstance(value, str):
        return _NUMBERS[key](value)
    if key in _TEXTS and isinstance(value, str):
        return value
    return members
