"""How this server's HTTP answers look from outside: JSON, errors, headers for browsers, and the caller's own address.

The rules are those of ``spec/http-api.md`` 4.1: clients look into a body only if its Content-Type is exactly
``application/json``; an answer without a body has no Content-Type; every error has a link.
"""

import json
from typing import Final

from twisted.internet.interfaces import IAddress

from realmserver.http.problems import ApiError
from realmserver.http.proxies import endpoint_address, is_legal_host
from realmserver.http.request import Request

REQUEST_ID_HEADER: Final = "X-Appservices-Request-Id"
"""SDKs show it in their logs (``spec/protocol.md`` 1.3)."""

_CORS: Final = {
    # Credentials are tokens in a header, never cookies, so a page from anywhere may ask: it has to hold a token.
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": REQUEST_ID_HEADER,
}
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Accept, Authorization, Content-Type, X-Requested-With",
    "Access-Control-Max-Age": "86400",
}


def json_answer(request: Request, value: object, status: int = 200) -> bytes:
    """Answer with ``value`` as JSON."""
    _set_headers(request, status)
    body = json.dumps(value, separators=(",", ":")).encode()
    request.setHeader("Content-Type", "application/json")
    request.setHeader("Content-Length", str(len(body)))
    return body


def empty_answer(request: Request, status: int = 204) -> bytes:
    """Answer without a body."""
    _set_headers(request, status)
    return b""


def preflight_answer(request: Request) -> bytes:
    """Answer a browser's question whether a page of another site may ask (CORS)."""
    for name, value in _PREFLIGHT.items():
        request.setHeader(name, value)
    return empty_answer(request)


def error_answer(request: Request, error: ApiError, request_id: str) -> bytes:
    """Answer with an error. ``request_id`` stands in its link and in our log, to bring the two together."""
    request.setHeader(REQUEST_ID_HEADER, request_id)
    if error.status == 503:
        request.setHeader("Retry-After", "1")
    link = f"{base_url(request)}/logs?co_id={request_id}"
    return json_answer(
        request, {"error": error.message, "error_code": error.error_code, "link": link}, status=error.status
    )


def page_answer(request: Request, text: str, content_type: str, status: int = 200) -> bytes:
    """Answer with a page for people; ``content_type`` such as ``text/html``."""
    request.setResponseCode(status)
    body = text.encode()
    request.setHeader("Content-Type", f"{content_type}; charset=utf-8")
    request.setHeader("Content-Length", str(len(body)))
    request.setHeader("X-Content-Type-Options", "nosniff")
    return body


def base_url(request: Request, scheme: str = "http") -> str:
    """This server's address as the client has it, without a trailing slash; ``scheme`` is ``http`` or ``ws``.

    The host is that of the request's Host header, the one name known to work for this client. Where a proxy that is
    trusted stands in front, the site has made the header, and whether the request is secure, what the client sees.
    """
    host = header(request, "Host") if has_legal_host(request) else _own_host(request.getHost())
    return f"{scheme}{'s' if request.isSecure() else ''}://{host}"


def has_legal_host(request: Request) -> bool:
    """Whether the Host header is there and is a name or an IP address, perhaps with a port."""
    return is_legal_host(header(request, "Host") or "")


def header(request: Request, name: str) -> str | None:
    """The last header ``name``, with a replacement character for every byte that is no ASCII."""
    value = request.getHeader(name.encode("ascii"))
    return None if value is None else value.decode("ascii", "replace")


def peer_of(request: Request) -> str:
    """Whom a request came from, for the log."""
    return str(getattr(request.getClientAddress(), "host", "unknown"))


def _own_host(address: IAddress) -> str:
    """The address a request came in on, for clients that do not say how they call the server."""
    address = endpoint_address(address)
    host, port = getattr(address, "host", "localhost"), getattr(address, "port", None)
    host = f"[{host}]" if ":" in host else host
    return host if port is None else f"{host}:{port}"


def _set_headers(request: Request, status: int) -> None:
    request.setResponseCode(status)
    request.setHeader("Cache-Control", "no-store")  # answers hold tokens
    for name, value in _CORS.items():
        request.setHeader(name, value)
