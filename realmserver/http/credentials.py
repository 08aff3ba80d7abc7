"""Where a caller's token stands in a request, in all forms that clients know (``spec/http-api.md`` 1.1, point 5)."""

import re
from typing import Final

from realmserver.http.request import Request

_REALM_ACCESS_TOKEN: Final = re.compile(
    r'\s*Realm-Access-Token\s+(?:version=1[\s,]+)?token="([^"]*)"\s*', re.IGNORECASE
)
_BEARER: Final = re.compile(r"\s*Bearer\s+(\S+)\s*", re.IGNORECASE)


def token_of(request: Request) -> str | None:
    """The token that ``request`` brings, not yet verified; None if it brings none.

    It is the whole of the header Authorization, or follows ``Bearer`` there, or stands in ``Realm-Access-Token
    version=1 token="…"``, or is the header X-Realm-Access-Token.
    """
    value = request.getHeader(b"Authorization") or request.getHeader(b"X-Realm-Access-Token")
    if not value:
        return None
    text = value.decode("ascii", "replace")
    for form in (_REALM_ACCESS_TOKEN, _BEARER):
        match = form.fullmatch(text)
        if match is not None:
            return match[1]
    return text.strip()
