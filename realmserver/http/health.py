"""``GET /health`` and ``GET /metrics``: whether the server is well, and its figures (``spec/http-api.md`` part 5).

Anyone may ask for the health, a load balancer above all: so it names no Realm, no user and no file. The figures are for
who brings an administrator's token, and for who asks from this machine. Both answers are made in a thread, since they
look at a disk. This module knows neither what is counted nor how problems are found: the figures are ``metrics``'s, and
whoever can have a problem is a source that is asked for it.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from realmserver._version import __version__
from realmserver.auth.tokens import TokenError, Tokens
from realmserver.figures import Figures
from realmserver.http.credentials import token_of
from realmserver.http.request import Request
from realmserver.log import get_logger
from realmserver.metrics import Metrics

JSON_TYPE: Final = "application/json; charset=utf-8"
"""What SDKs before App Services compare literally (``spec/http-api.md`` 1.1)."""

SCARCE_BYTES: Final = 1024**3
SCARCE_SHARE: Final = 0.1
"""A disk is nearly full when less than both of these is free: 1 GiB, and a tenth of it."""

RECENT: Final = 10 * 60
"""Seconds for which a Realm's failure counts as a problem of the server: longer than monitors take to come round."""

CERTIFICATE_NOTICE: Final = 14 * 24 * 60 * 60
"""Seconds before its end from which on a certificate is a problem: automatic renewal happens earlier."""

T = TypeVar("T")
Source = Callable[[float], str]
"""Says what is wrong, empty if nothing is. Its argument is the time (Unix seconds). It may block, and runs in any
thread."""

_log = get_logger("http")


class InThread(Protocol):
    """Runs a function in a thread; its result comes on the reactor thread."""

    def __call__(self, function: Callable[[], T], /) -> Deferred[T]: ...


class Health:
    """What there is to say of the server's health. It is not ready before :meth:`started` and after :meth:`stopping`.

    ``clock`` gives Unix seconds; ``sources`` are asked for problems whenever someone wants to know.
    """

    def __init__(self, clock: Callable[[], float] = time.time, sources: Iterable[Source] = ()) -> None:
        self._clock = clock
        self._sources: list[Source] = list(sources)
        self._why_not = "the server is starting"

    def add(self, source: Source) -> None:
        """Ask ``source``, too."""
        self._sources.append(source)

    def started(self) -> None:
        """The server serves from now on."""
        self._why_not = ""

    def stopping(self) -> None:
        """The server is about to stop."""
        self._why_not = "the server is stopping"

    @property
    def is_ready(self) -> bool:
        """Whether the server serves. It may have problems all the same."""
        return not self._why_not

    def problems(self) -> list[str]:
        """All that is wrong, in short texts. May wait for a disk."""
        now = self._clock()
        return [text for text in (self._why_not, *(source(now) for source in self._sources)) if text]


# Sources


class DiskSpace:
    """Notices that the filesystem of ``path`` is nearly full."""

    def __init__(self, path: Path, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs) -> None:
        self._path = path
        self._statvfs = statvfs

    def __call__(self, now: float) -> str:
        try:
            found = self._statvfs(self._path)
        except OSError as error:
            return f"the data directory cannot be looked at: {error.strerror}"
        free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        if free >= min(SCARCE_BYTES, SCARCE_SHARE * size):
            return ""
        return f"the disk of the data directory is nearly full: {free // 1024**2} MiB are free"


class ReadOnly:
    """Notices that nothing is written because too little of the disk is free. ``look`` finds out, and may block."""

    def __init__(self, look: Callable[[], bool]) -> None:
        self._look = look

    def __call__(self, now: float) -> str:
        if not self._look():
            return ""
        return "nothing is written: less of the data directory's disk is free than limits.disk_reserve"


class RealmFailures:
    """Remembers for a while that Realms failed. ``clock`` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._failed: dict[str, float] = {}

    def note(self, realm: str) -> None:
        """The storage of ``realm``, or our code for it, has just failed."""
        now = self._clock()
        # Others are forgotten here, so that this never holds more than failed within the time.
        self._failed = {name: when for name, when in self._failed.items() if now - when < RECENT} | {realm: now}

    def __call__(self, now: float) -> str:
        count = sum(now - when < RECENT for when in self._failed.values())
        if not count:
            return ""
        return f"{count} {'Realm' if count == 1 else 'Realms'} failed within {RECENT // 60} minutes, see the log"


class Quarantine:
    """Notices that Realms are damaged and set aside. ``count`` gives their number; any thread may ask."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count

    def __call__(self, now: float) -> str:
        count = self._count()
        if not count:
            return ""
        return f"{count} {'Realm is' if count == 1 else 'Realms are'} in quarantine, see the log"


class CertificateDate:
    """Notices that the TLS certificate is near its end. ``expires`` gives that in Unix seconds, None without TLS."""

    def __init__(self, expires: Callable[[], float | None]) -> None:
        self._expires = expires

    def __call__(self, now: float) -> str:
        expires = self._expires()
        if expires is None or expires - now > CERTIFICATE_NOTICE:
            return ""
        if expires <= now:
            return "the TLS certificate has expired"
        return f"the TLS certificate expires in {int((expires - now) // 86_400)} days"


# Resources


class _Answering(Resource):
    """Answers GET and HEAD with what is made in a thread."""

    isLeaf = True

    def render(self, request: Any) -> int | bytes:
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader("Allow", "GET, HEAD")
            return _problem(request, 405, 405, "method-not-allowed", "This address takes GET and HEAD only")
        return self.answer(request)

    def answer(self, request: Any) -> int | bytes:
        """Answer a GET."""
        raise NotImplementedError

    def _finish(self, request: Any, made: "Deferred[T]", show: Callable[[T], bytes]) -> int:
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)

        def fail(failure: Failure) -> bytes:
            _log.error("{path} failed", path=request.path.decode("ascii", "replace"), failure=failure)
            return _problem(request, 500, 500, "internal-server-error", "The server failed")

        def send(body: bytes) -> None:
            if not gone:
                request.write(body)
                request.finish()

        made.addCallback(show).addErrback(fail).addCallback(send)
        made.addErrback(lambda failure: _log.error("an answer could not be sent", failure=failure))
        return NOT_DONE_YET


class HealthResource(_Answering):
    """``GET /health``: 200 if the server is ready, otherwise 503."""

    def __init__(self, health: Health, in_thread: InThread) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._health = health
        self._in_thread = in_thread

    def answer(self, request: Any) -> int | bytes:
        if not self._health.is_ready:  # threads may not run yet, or not any more
            return self._show(request, self._health.problems())
        return self._finish(request, self._in_thread(self._health.problems), lambda found: self._show(request, found))

    def _show(self, request: Request, problems: list[str]) -> bytes:
        is_ready = self._health.is_ready
        return _json(
            request,
            200 if is_ready else 503,
            {"ready": is_ready, "version": __version__, "problems": problems},
        )


def no_others() -> "Deferred[Sequence[Figures]]":
    """Of a server that is one process."""
    return succeed(())


class MetricsResource(_Answering):
    """``GET /metrics``: all figures as Prometheus wants them.

    ``is_local`` says whether a request came directly from this machine, through no proxy; ``tokens`` verifies an
    administrator's token otherwise, None where the server has no keys; ``clock`` gives Unix seconds. ``others`` asks
    the other processes of this server for their figures.
    """

    def __init__(
        self,
        metrics: Metrics,
        tokens: Tokens | None,
        is_local: Callable[[Any], bool],
        in_thread: InThread,
        clock: Callable[[], float] = time.time,
        others: "Callable[[], Deferred[Sequence[Figures]]]" = no_others,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._others = others
        self._metrics = metrics
        self._tokens = tokens
        self._is_local = is_local
        self._in_thread = in_thread
        self._clock = clock

    def answer(self, request: Any) -> int | bytes:
        token = token_of(request)
        if token is not None:
            if self._tokens is None:
                return _unauthorized(request, "this server has no keys to check a token with: ask from its own machine")
            try:
                grant = self._tokens.verify_bind_token(token, now=self._clock())
            except TokenError as error:
                return _unauthorized(request, str(error))
            if not grant.admin:
                return _problem(request, 403, 614, "access-denied", "Only an administrator may see the figures")
        elif not self._is_local(request):
            return _unauthorized(request, "send an administrator's token, or ask from the server's own machine")
        accept = (request.getHeader(b"Accept") or b"").decode("ascii", "replace")

        def show(found: tuple[bytes, str]) -> bytes:
            body, content_type = found
            return _body(request, 200, body, content_type)

        def made(others: Sequence[Figures]) -> Deferred[tuple[bytes, str]]:
            return self._in_thread(lambda: self._metrics.exposition(accept, others))

        return self._finish(request, self._others().addCallback(made), show)


def _json(request: Request, status: int, value: object) -> bytes:
    request.setHeader("Access-Control-Allow-Origin", "*")  # there is nothing to steal for a page that has no token
    return _body(request, status, json.dumps(value).encode(), JSON_TYPE)


def _body(request: Request, status: int, body: bytes, content_type: str) -> bytes:
    request.setResponseCode(status)
    request.setHeader("Content-Type", content_type)
    request.setHeader("Content-Length", str(len(body)))
    request.setHeader("Cache-Control", "no-store")
    return body


def _unauthorized(request: Request, detail: str) -> bytes:
    request.setHeader("WWW-Authenticate", "Bearer")
    return _problem(request, 401, 611, "invalid-credentials", "The token is missing or cannot be used", detail)


def _problem(request: Request, status: int, code: int, slug: str, title: str, detail: str = "") -> bytes:
    """An error in the form of ``spec/http-api.md`` 1.4."""
    problem: dict[str, object] = {
        "type": f"https://realm.io/docs/object-server/problems/{slug}",
        "title": title,
        "status": status,
        "code": code,
    }
    if detail:
        problem["detail"] = problem["hint"] = detail
    return _json(request, status, problem)
