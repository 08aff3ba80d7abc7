"""HTTP headers on their way through a proxy: what concerns one connection only stays behind, and who asks is added.

Pure functions over values (RFC 9110, 7.6.1; RFC 6455, 4.2). What of a client's own ``X-Forwarded-*`` is believed has
been decided by ``http.site`` when these functions see a request.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from twisted.web.http_headers import Headers
from twisted.web.server import Request

from realmserver.http.answers import header
from realmserver.http.proxies import FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, is_legal_host

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"content-length",  # whoever sends a body knows its length
        b"expect",  # has been answered here
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

Pair = tuple[bytes, bytes]


def end_to_end(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """The headers that go on to the other side."""
    everything = list(pairs)
    named = {token for name, value in everything if name.lower() == b"connection" for token in tokens(value)}
    named.discard(b"host")  # a request needs one, whatever the sender says
    for name, value in everything:
        if name.lower() not in HOP_BY_HOP and name.lower() not in named:
            yield name, value


def to_backend(request: Request) -> Headers:
    """The headers of ``request`` for a backend. ``Host`` goes on as it came; who asks is ``X-Forwarded-*``'s."""
    headers = Headers()
    for name, value in end_to_end(pairs_of(request.requestHeaders)):
        headers.addRawHeader(name, value)
    client = getattr(request.getClientAddress(), "host", None)  # type: ignore[no-untyped-call]
    host = header(request, "Host") or ""
    told = {
        FORWARDED_FOR: client,
        FORWARDED_PROTO: "https" if request.isSecure() else "http",  # type: ignore[no-untyped-call]
        FORWARDED_HOST: host if is_legal_host(host) else None,
    }
    for name, text in told.items():
        if text is None:
            headers.removeHeader(name)
        else:
            headers.setRawHeaders(name, [text.encode("ascii")])
    return headers


def pairs_of(headers: Headers) -> Iterator[Pair]:
    """Every header line by itself."""
    for name, values in headers.getAllRawHeaders():
        for value in values:
            yield name, value


def wants_websocket(request: Request) -> bool:
    """Whether ``request`` asks for a WebSocket."""
    headers = request.requestHeaders

    def says(name: bytes, token: bytes) -> bool:
        return any(token in tokens(value) for value in headers.getRawHeaders(name, ()))

    is_able = request.method == b"GET" and request.clientproto == b"HTTP/1.1"
    return is_able and says(b"Connection", b"upgrade") and says(b"Upgrade", b"websocket")


def tokens(value: bytes) -> set[bytes]:
    """The elements of a header's list, in lower case."""
    return {element.strip().lower() for element in value.split(b",")}
