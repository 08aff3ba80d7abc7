"""What comes to the port that speaks HTTP: one connection to the App Services API, with users in memory.

An input is the bytes of a connection. Whatever they are, the server answers in HTTP, never with a 5xx, and with the
API's own errors below its prefix. Since no mutation hits upon a token or keeps a length right, ``<access>`` and
``<refresh>`` in it stand for good tokens and ``<length>`` for the number of bytes after the head in which it is.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, ParamSpec, TypeVar

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from fuzz.keys import KEYS
from fuzz.target import Target
from realmserver.auth.accounts import Accounts
from realmserver.auth.logins import Login, Logins
from realmserver.auth.passwords import Passwords
from realmserver.auth.tokens import Tokens
from realmserver.http.app_services import PREFIX, Surroundings, make_api
from realmserver.http.site import QuietSite
from realmserver.store.system import MemorySystemStore

P = ParamSpec("P")
T = TypeVar("T")

NOW: Final = 1_800_000_000.0
TOKENS: Final = Tokens(KEYS)
PASSWORDS: Final = Passwords(time_cost=1, memory_cost=8)
NAME: Final = "a@example.com"
PASSWORD: Final = "secret1"
STATUSES: Final = frozenset({200, 201, 204, 304, 400, 401, 403, 404, 405, 409, 411, 413, 414, 417, 501, 505})
"""What an answer may be: no failure of ours among them."""

_GONE: Final = Failure(ConnectionDone())  # type: ignore[no-untyped-call]
_HEAD: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) [ -~]*\r\n")


class Workers:
    """Do everything at once, in this thread."""

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        return execute(function, *args, **kwargs)


@implementer(ILogObserver)
class Failures:
    """What the server itself noted as a fault of its own."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        failure = event.get("log_failure") or event.get("failure")
        if failure is not None:
            self.texts.append(failure.getTraceback())


class Api:
    """A server with one user who is logged in."""

    def __init__(self) -> None:
        counter = itertools.count(1)

        def new_id() -> str:
            return f"{next(counter):024x}"

        def random_bytes(size: int) -> bytes:
            return next(counter).to_bytes(size, "big")

        workers = Workers()
        self._logins = Logins(
            Accounts(MemorySystemStore(), random_bytes=random_bytes),
            TOKENS,
            PASSWORDS,
            store=workers,
            hashing=workers,
            new_id=new_id,
            on_end=lambda user, session: None,
        )
        self.login = self._log_in()
        resource = make_api(self._logins, Surroundings(lambda: NOW, new_id))
        self._site = QuietSite(resource, Clock())

    def _log_in(self) -> Login:
        found: list[Any] = []
        Deferred.fromCoroutine(self._logins.register(NAME, PASSWORD, now=NOW)).addErrback(found.append)
        Deferred.fromCoroutine(self._logins.log_in(NAME, PASSWORD, "app1", "0" * 24, now=NOW)).addBoth(found.append)
        assert isinstance(found[-1], Login), found
        return found[-1]

    def talk(self, data: bytes) -> bytes:
        """All that the server answers to the bytes of one connection."""
        transport: Any = StringTransport(peerAddress=IPv4Address("TCP", "203.0.113.5", 1))  # type: ignore[no-untyped-call]
        protocol: Any = self._site.buildProtocol(None)  # type: ignore[no-untyped-call]
        protocol.makeConnection(transport)
        middle = len(data) // 2
        for piece in (data[:middle], data[middle:]):
            if not transport.disconnecting:
                protocol.dataReceived(piece)
        answer: bytes = transport.value()
        protocol.connectionLost(_GONE)
        return answer


def check(data: bytes) -> None:
    api = Api()
    failures = Failures()
    globalLogPublisher.addObserver(failures)
    try:
        answer = api.talk(_filled_in(data, api.login))
    finally:
        globalLogPublisher.removeObserver(failures)
    assert not failures.texts, failures.texts[0]
    _check_answers(answer)


def _filled_in(data: bytes, login: Login) -> bytes:
    data = data.replace(b"<access>", login.access_token.encode()).replace(b"<refresh>", login.refresh_token.encode())
    before, mark, after = data.partition(b"<length>")
    if not mark:
        return data
    _, _, body = after.partition(b"\r\n\r\n")
    return before + str(len(body)).encode() + after


def _check_answers(answer: bytes) -> None:
    """The first answer is HTTP, and so is each that follows as far as its length tells where it ends."""
    while answer:
        head, end, rest = answer.partition(b"\r\n\r\n")
        found = _HEAD.match(head + b"\r\n")
        assert found is not None, f"not HTTP: {answer[:200]!r}"
        assert end, "a head without an end"
        status = int(found[1])
        if status == 100:
            answer = rest
            continue
        assert status in STATUSES, head
        length = re.search(rb"(?i)\r\ncontent-length: ?([0-9]+)", head)
        if length is None:
            return
        if rest.startswith(b"HTTP/1."):  # that was the answer to a HEAD
            answer = rest
            continue
        body, answer = rest[: int(length[1])], rest[int(length[1]) :]
        if b"application/json" in head and body:
            content = json.loads(body)
            assert status < 400 or isinstance(content["error"], str)


def seeds() -> Iterator[bytes]:
    app = f"{PREFIX}/app/app1"
    for method, path, token, body in (
        ("GET", f"{app}/location", "", b""),
        (
            "POST",
            f"{app}/auth/providers/anon-user/login",
            "",
            b'{"options":{"device":{"deviceId":"' + b"0" * 24 + b'"}}}',
        ),
        (
            "POST",
            f"{app}/auth/providers/local-userpass/login?link=false",
            "",
            b'{"username":"a@example.com","password":"secret1"}',
        ),
        (
            "POST",
            f"{app}/auth/providers/local-userpass/register",
            "",
            b'{"email":"b@example.com","password":"secret2"}',
        ),
        ("POST", f"{app}/auth/providers/local-userpass/confirm", "", b'{"token":"t","tokenId":"i"}'),
        ("POST", f"{app}/auth/providers/local-userpass/reset/send", "", b'{"email":"a@example.com"}'),
        ("POST", f"{app}/auth/providers/oauth2-google/login", "", b'{"id_token":"x"}'),
        ("GET", f"{PREFIX}/auth/profile", "<access>", b""),
        ("POST", f"{PREFIX}/auth/session", "<refresh>", b""),
        ("DELETE", f"{PREFIX}/auth/session", "<refresh>", b""),
        ("DELETE", f"{PREFIX}/auth/delete", "<access>", b""),
        ("GET", f"{PREFIX}/auth/api_keys/1", "<refresh>", b""),
        ("POST", f"{app}/functions/call", "<access>", b'{"name":"f","arguments":[]}'),
        ("PUT", f"{app}/push/providers/gcm/registration", "<access>", b"{}"),
        ("OPTIONS", f"{app}/location", "", b""),
        ("HEAD", "/", "", b""),
        ("GET", "/", "", b""),
    ):
        yield _request(method, path, token, body)
    chunked = _request("POST", f"{app}/auth/providers/anon-user/login", "", b"2\r\n{}\r\n0\r\n\r\n")
    yield chunked.replace(b"Content-Length: <length>", b"Transfer-Encoding: chunked")
    yield (
        _request("GET", f"{app}/location", "", b"").replace(
            b"\r\n\r\n",
            b"\r\nX-Forwarded-For: 10.0.0.1, 127.0.0.1\r\nX-Forwarded-Proto: https\r\nForwarded: for=x\r\n\r\n",
        )
        * 2
    )


def _request(method: str, path: str, token: str, body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: realm.example.com:9080"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines += ["Content-Type: application/json", "Content-Length: <length>"]
    return "\r\n".join([*lines, "", ""]).encode() + body


TARGET: Final = Target(
    "the bytes of HTTP connections to the App Services API",
    check,
    seeds,
    (
        *(
            b"GET ",
            b"POST ",
            b"PUT ",
            b"DELETE ",
            b"OPTIONS ",
            b"HEAD ",
            b"PATCH ",
            b" HTTP/1.1\r\n",
            b" HTTP/1.0\r\n",
            b"\r\n",
        ),
        *(
            b"Content-Length: ",
            b"Transfer-Encoding: chunked\r\n",
            b"Expect: 100-continue\r\n",
            b"Connection: close\r\n",
        ),
        *(
            b"Host: ",
            b"Authorization: Bearer ",
            b"X-Forwarded-For: ",
            b"Origin: http://x\r\n",
            b"Accept-Encoding: gzip\r\n",
        ),
        *(
            b"<access>",
            b"<refresh>",
            b"<length>",
            b"application/x-www-form-urlencoded",
            b"multipart/form-data; boundary=x",
        ),
        *(
            f"{PREFIX}/".encode(),
            b"/app/app1",
            b"/auth/",
            b"/login",
            b"..",
            b"//",
            b"%2f",
            b"%00",
            b"%ff",
            b"?link=true",
            b"#",
        ),
        *(
            b'{"username":',
            b'"password":',
            b'"options":',
            b"null",
            b"[",
            b"{",
            b"1e999",
            b"NaN",
            b'"\\ud800"',
            b"\xed\xa0\x80",
        ),
    ),
    longest=2048,
)
