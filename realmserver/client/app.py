"""Logging in over the App Services client API (``spec/http-api.md`` 4), as a Realm SDK does.

Coroutines for the reactor thread. What the server refuses is an :class:`AppError` with its error code; that it cannot
be reached is :class:`~realmserver.client.access.Unreachable`. Tokens stay in memory and are logged nowhere.
"""

import json
import uuid
from typing import Any, Final
from urllib.parse import quote

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer
from zope.interface import implementer

from realmserver.client.access import AccessEnded, Unreachable, websocket_url
from realmserver.client.trust import SYSTEM, Trust
from realmserver.realms.reading import ObjectId

PREFIX: Final = "/api/client/v2.0"

TIMEOUT: Final = 60
"""Seconds for one request, as in the SDKs: a busy server may hash passwords for a while."""

MAX_ANSWER: Final = 1024 * 1024
"""Bytes of an answer: tokens and locations have a few thousand."""

_MEANS_LOGGED_OUT: Final = frozenset({401, 403, 404})
"""Answers to a refresh after which only a new login helps."""


class AppError(Exception):
    """The server's refusal: HTTP ``status``, its ``error_code`` ("" if the answer has none) and ``message``."""

    def __init__(self, status: int, error_code: str, message: str) -> None:
        super().__init__(f"{status} {error_code}: {message}")
        self.status = status
        self.error_code = error_code
        self.message = message


class App:
    """An app of a server.

    ``base_url`` as an SDK takes it, such as ``http://localhost:9080``; ``trust``: whose certificates are accepted, by
    default those of the system's authorities (see ``client.trust``); ``agent`` makes the HTTP requests instead.
    """

    def __init__(
        self,
        reactor: Any,
        base_url: str,
        app_id: str,
        agent: IAgent | None = None,
        *,
        trust: Trust = SYSTEM,
    ) -> None:
        self.app_id = app_id
        self._reactor = reactor
        self._base = base_url.rstrip("/")
        self._route = f"{PREFIX}/app/{quote(app_id, safe='')}"
        self._agent = agent if agent is not None else _agent(reactor, trust)

    async def register(self, email: str, password: str) -> None:
        """Make a user with a password. Raises :class:`AppError`, such as AccountNameInUse."""
        await self._provider("local-userpass/register", {"email": email, "password": password})

    async def login_password(self, email: str, password: str) -> "User":
        """Log a user in. Raises :class:`AppError`, such as InvalidPassword."""
        return self._user(await self._provider("local-userpass/login", {"username": email, "password": password}))

    async def login_anonymous(self) -> "User":
        """Make a user without a name and log it in. Raises :class:`AppError`."""
        return self._user(await self._provider("anon-user/login", {}))

    async def sync_url(self) -> str:
        """Where this app's WebSockets are opened, as the server says. Raises :class:`AppError`."""
        location = await self.request("GET", f"{self._route}/location")
        return websocket_url(_text(location, "ws_hostname")) + f"{self._route}/realm-sync"

    async def request(self, method: str, path: str, body: object = None, token: str = "") -> dict[str, object]:
        """One request: ``body`` as JSON, ``token`` as a Bearer. Returns the answer's JSON object, {} if empty.

        Raises :class:`AppError` or :class:`~realmserver.client.access.Unreachable`.
        """
        headers = Headers({"Content-Type": ["application/json"], "Accept": ["application/json"]})
        if token:
            headers.addRawHeader("Authorization", f"Bearer {token}")
        content = None if body is None else _Body(json.dumps(body).encode())
        call = Deferred.fromCoroutine(self._exchange(method, self._base + path, headers, content))
        try:
            status, answer = await call.addTimeout(TIMEOUT, self._reactor)
        except (
            ConnectError,
            ConnectionClosed,
            DNSLookupError,
            RequestTransmissionFailed,
            ResponseFailed,
            TimeoutError,
        ) as error:
            raise Unreachable(f"{self._base}: {error}") from error
        return _read(status, answer)

    async def _exchange(self, method: str, url: str, headers: Headers, content: "_Body | None") -> tuple[int, bytes]:
        response = await self._agent.request(method.encode(), url.encode(), headers, content)
        whole: Deferred[bytes] = Deferred()
        response.deliverBody(_Collector(whole))  # type: ignore[no-untyped-call]
        return response.code, await whole

    async def _provider(self, route: str, body: dict[str, str]) -> dict[str, object]:
        return await self.request("POST", f"{self._route}/auth/providers/{route}", body)

    def _user(self, answer: dict[str, object]) -> "User":
        return User(
            self,
            user_id=_text(answer, "user_id"),
            access_token=_text(answer, "access_token"),
            refresh_token=_text(answer, "refresh_token"),
            device_id=_text(answer, "device_id"),
        )


class User:
    """A user who has logged in; the :class:`~realmserver.client.access.Access` of a client that syncs."""

    bind_token = ""

    def __init__(self, app: App, *, user_id: str, access_token: str, refresh_token: str, device_id: str) -> None:
        self.app = app
        self.user_id = user_id
        self.access_token = access_token
        self.refresh_token = refresh_token
        self.device_id = device_id

    async def refresh(self) -> None:
        """Get a fresh access token. Raises :class:`AppError`, InvalidSession where the login has ended."""
        answer = await self.app.request("POST", f"{PREFIX}/auth/session", token=self.refresh_token)
        self.access_token = _text(answer, "access_token")

    async def logout(self) -> None:
        """End this login on the server. Raises :class:`AppError`."""
        await self.app.request("DELETE", f"{PREFIX}/auth/session", token=self.refresh_token)

    async def url(self) -> str:
        try:
            return f"{await self.app.sync_url()}?baas_at={quote(self.access_token, safe='')}"
        except AppError as error:
            raise Unreachable(str(error)) from error

    async def renew(self) -> None:
        try:
            await self.refresh()
        except AppError as error:
            if error.status in _MEANS_LOGGED_OUT:
                raise AccessEnded(str(error)) from error
            raise Unreachable(str(error)) from error


def _agent(reactor: Any, trust: Trust) -> IAgent:
    policy = BrowserLikePolicyForHTTPS(trustRoot=trust.root)  # type: ignore[no-untyped-call]
    agent: IAgent = Agent(reactor, policy)  # type: ignore[no-untyped-call]
    return agent


def partition(value: str | int | ObjectId | uuid.UUID | None) -> str:
    """The path under which a client of an app opens the Realm of a partition value (``spec/protocol.md`` 6.1)."""
    if isinstance(value, ObjectId):
        return json.dumps({"$oid": str(value)})
    if isinstance(value, uuid.UUID):
        return json.dumps({"$uuid": str(value)})
    return json.dumps(value, ensure_ascii=False)


def _read(status: int, answer: bytes) -> dict[str, object]:
    try:
        content = json.loads(answer) if answer else {}
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise AppError(status, "", "the answer is not a JSON object")
    if status >= 300:
        error, code = content.get("error"), content.get("error_code")
        raise AppError(status, code if isinstance(code, str) else "", error if isinstance(error, str) else "")
    return content


def _text(answer: dict[str, object], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str):
        raise AppError(200, "", f"the answer has no {name}")
    return value


@implementer(IBodyProducer)
class _Body:
    """The body of a request, all at once: logins are small."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length = len(content)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._content)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Everything is written already."""

    def resumeProducing(self) -> None:
        """Everything is written already."""

    def stopProducing(self) -> None:
        """Everything is written already."""


class _Collector(Protocol):
    """Gathers the body of an answer."""

    def __init__(self, whole: Deferred[bytes]) -> None:
        self._whole: Deferred[bytes] | None = whole
        self._body = bytearray()

    def dataReceived(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > MAX_ANSWER and self._whole is not None:
            whole, self._whole = self._whole, None
            whole.errback(AppError(200, "", f"the answer has more than {MAX_ANSWER} bytes"))
            assert self.transport is not None
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._whole is None:
            return
        if isinstance(reason.value, ResponseDone | PotentialDataLoss):
            self._whole.callback(bytes(self._body))
        else:
            self._whole.errback(reason)
