"""Counts HTTP requests and the bytes of their bodies, those of monitors aside (``spec/http-api.md`` part 5)."""

from typing import Final

from twisted.web.http import Request

from realmserver.metrics import Metrics

UNCOUNTED: Final = frozenset({b"/health", b"/metrics"})
"""What monitors ask for all day long says nothing about the traffic of apps."""


class Traffic:
    """Hears of each request that is done; see :class:`realmserver.http.site.QuietSite`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __call__(self, request: Request) -> None:
        if request.path.rstrip(b"/") not in UNCOUNTED:
            received: int = getattr(request, "received_length", 0)
            self._metrics.http_answered(request.code, received, request.sentLength)
