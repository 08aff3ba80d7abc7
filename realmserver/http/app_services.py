"""The App Services client API over HTTP: what a Realm SDK from version 10 on asks before it syncs.

Implements ``spec/http-api.md`` part 4. What this module keeps true: every request below ``/api/client/v2.0`` gets an
answer in the API's own form, an error in the form of 4.1 if need be, and nothing secret is logged. It turns requests
into calls of ``auth.logins`` and back; it knows no accounts and no token formats, and the time is an argument.

Served are anonymous users and users with a password. The other providers, functions, API keys and push services answer
with the errors that the SDKs know for an app that has none of them. The WebSocket below the same prefix is not ours.
"""

import hashlib
import re
from collections.abc import Callable, Container
from typing import Any, Final

from attrs import frozen
from klein import Klein, KleinRenderable
from klein.resource import KleinResource
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException

from realmserver.auth.accounts import Account, User
from realmserver.auth.gate import bearer_token
from realmserver.auth.logins import (
    ANONYMOUS,
    PASSWORD,
    BadRegistration,
    InvalidPassword,
    InvalidSession,
    Login,
    LoginError,
    Logins,
    NameTaken,
    NoRoom,
    UserDisabled,
)
from realmserver.auth.workers import TooBusy
from realmserver.http import problems
from realmserver.http.answers import (
    base_url,
    empty_answer,
    error_answer,
    has_legal_host,
    header,
    json_answer,
    page_answer,
    peer_of,
    preflight_answer,
)
from realmserver.http.extended_json import read_object, text_field
from realmserver.http.problems import ApiError
from realmserver.http.request import Request
from realmserver.http.welcome import welcome_page
from realmserver.log import get_logger
from realmserver.realms.paths import IllegalPath, check_app_id

PREFIX: Final = "/api/client/v2.0"
APP: Final = f"{PREFIX}/app/<app_id>"
PROVIDERS: Final = f"{APP}/auth/providers"
LOCAL_USERPASS: Final = "local-userpass"
SERVED_PROVIDERS: Final = frozenset({ANONYMOUS, LOCAL_USERPASS})

_PROVIDER_TYPES: Final = {PASSWORD: LOCAL_USERPASS}
"""App Services' names for providers that 1.x named otherwise."""

_log = get_logger("http")

_DEVICE_ID: Final = re.compile(r"[0-9a-f]{24}", re.ASCII)


@frozen
class Surroundings:
    """What the API needs from outside.

    ``clock`` gives Unix seconds; ``new_id`` 24 random hexadecimal digits. ``apps`` holds the app ids served, None
    serves every legal one. ``providers`` are those enabled, among ``SERVED_PROVIDERS``.
    """

    clock: Callable[[], float]
    new_id: Callable[[], str]
    apps: Container[str] | None = None
    providers: frozenset[str] = SERVED_PROVIDERS


def make_api(logins: Logins, surroundings: Surroundings) -> IResource:
    """The resource for the root of the site: the client API, and a welcome page at ``/``."""
    return ApiResource(AppServices(logins, surroundings))


class ApiResource(KleinResource):
    """Klein's resource, kept from what makes it fail before any route or error handler is asked."""

    def __init__(self, api: "AppServices") -> None:
        super().__init__(api.app)
        self._api = api

    def render(self, request: Any) -> KleinRenderable:
        if not has_legal_host(request):
            request.requestHeaders.removeHeader("Host")
        try:
            b"/".join(request.postpath).decode()
        except UnicodeDecodeError:
            return self._api.answer_error(request, problems.route_not_found())
        return super().render(request)


class AppServices:
    """The routes of ``spec/http-api.md`` 4.2. A method is named for what its route does."""

    app = Klein()

    def __init__(self, logins: Logins, surroundings: Surroundings) -> None:
        self._logins = logins
        self._surroundings = surroundings

    # --- the app -----------------------------------------------------------------------------------------------

    @app.route("/", methods=["GET"])
    def welcome(self, request: Request) -> bytes:
        return page_answer(request, welcome_page(base_url(request)), "text/html")

    @app.route(f"{APP}/location", methods=["GET"])
    def location(self, request: Request, app_id: str) -> bytes:
        self._check_app(app_id)
        return json_answer(
            request,
            {
                "deployment_model": "LOCAL",
                "location": "US-VA",
                "hostname": base_url(request),
                "ws_hostname": base_url(request, "ws"),
            },
        )

    # --- logging in --------------------------------------------------------------------------------------------

    @app.route(f"{PROVIDERS}/{ANONYMOUS}/login", methods=["POST"])
    async def log_in_anonymously(self, request: Request, app_id: str) -> bytes:
        self._check_provider(app_id, ANONYMOUS)
        _refuse_linking(request)
        body = read_object(request.content)
        login = await self._logins.log_in_anonymously(app_id, self._device_id(body), now=self._now())
        return self._logged_in(request, login, app_id, ANONYMOUS)

    @app.route(f"{PROVIDERS}/{LOCAL_USERPASS}/login", methods=["POST"])
    async def log_in(self, request: Request, app_id: str) -> bytes:
        self._check_provider(app_id, LOCAL_USERPASS)
        _refuse_linking(request)
        body = read_object(request.content)
        name, password = text_field(body, "username"), text_field(body, "password")
        login = await self._logins.log_in(name, password, app_id, self._device_id(body), now=self._now())
        return self._logged_in(request, login, app_id, LOCAL_USERPASS)

    @app.route(f"{PROVIDERS}/<provider>/login", methods=["POST"])
    def log_in_otherwise(self, request: Request, app_id: str, provider: str) -> bytes:
        self._check_app(app_id)
        raise problems.provider_not_found(provider)

    @app.route(f"{PROVIDERS}/{LOCAL_USERPASS}/register", methods=["POST"])
    async def register(self, request: Request, app_id: str) -> bytes:
        self._check_provider(app_id, LOCAL_USERPASS)
        body = read_object(request.content)
        user = await self._logins.register(text_field(body, "email"), text_field(body, "password"), now=self._now())
        _log.info("user {user} registered in app {app}", user=user.user_id, app=app_id)
        return json_answer(request, {}, problems.CREATED)

    # --- confirming addresses and resetting passwords: both need e-mail, which this server does not send -------

    @app.route(f"{PROVIDERS}/{LOCAL_USERPASS}/confirm", methods=["POST"])
    @app.route(f"{PROVIDERS}/{LOCAL_USERPASS}/reset", methods=["POST"], endpoint="reset_password")
    def take_mailed_token(self, request: Request, app_id: str) -> bytes:
        self._check_provider(app_id, LOCAL_USERPASS)
        body = read_object(request.content)
        text_field(body, "token")
        text_field(body, "tokenId")
        raise problems.invalid_token_data()  # no such pair was ever issued

    @app.route(f"{PROVIDERS}/{LOCAL_USERPASS}/confirm/send", methods=["POST"])
    @app.route(f"{PROVIDERS}/{LOCAL_USERPASS}/confirm/call", methods=["POST"], endpoint="confirm_by_function")
    async def confirm_again(self, request: Request, app_id: str) -> bytes:
        await self._check_registered(request, app_id)
        raise problems.already_confirmed()  # users are confirmed as they register

    @app.route(f"{PROVIDERS}/{LOCAL_USERPASS}/reset/send", methods=["POST"])
    async def mail_reset(self, request: Request, app_id: str) -> bytes:
        await self._check_registered(request, app_id)
        raise problems.bad_request("this server sends no e-mail: ask its administrator for a new password")

    @app.route(f"{PROVIDERS}/{LOCAL_USERPASS}/reset/call", methods=["POST"])
    async def reset_by_function(self, request: Request, app_id: str) -> bytes:
        await self._check_registered(request, app_id)
        raise problems.function_not_found("resetPassword")

    # --- the session and the user ------------------------------------------------------------------------------

    @app.route(f"{PREFIX}/auth/profile", methods=["GET"])
    async def profile(self, request: Request) -> bytes:
        user = await self._logins.user_of_access_token(_bearer(request), now=self._now())
        return json_answer(request, _profile(user))

    @app.route(f"{PREFIX}/auth/session", methods=["POST"])
    async def refresh(self, request: Request) -> bytes:
        token = await self._logins.refresh(_bearer(request), now=self._now())
        return json_answer(request, {"access_token": token})

    @app.route(f"{PREFIX}/auth/session", methods=["DELETE"])
    async def log_out(self, request: Request) -> bytes:
        await self._logins.log_out(_bearer(request), now=self._now())
        return empty_answer(request)

    @app.route(f"{PREFIX}/auth/delete", methods=["DELETE"])
    async def delete_user(self, request: Request) -> bytes:
        user_id = await self._logins.delete(_bearer(request), now=self._now())
        _log.info("user {user} deleted itself", user=user_id)
        return empty_answer(request)

    # --- what an app of this server does not have --------------------------------------------------------------

    @app.route(f"{PREFIX}/auth/api_keys", methods=["GET", "POST"])
    async def api_keys(self, request: Request) -> bytes:
        await self._logins.user_of_refresh_token(_bearer(request), now=self._now())
        raise problems.provider_not_found("api-key")

    @app.route(f"{PREFIX}/auth/api_keys/<key_id>", methods=["GET", "DELETE"])
    @app.route(f"{PREFIX}/auth/api_keys/<key_id>/enable", methods=["PUT"], endpoint="enable_api_key")
    @app.route(f"{PREFIX}/auth/api_keys/<key_id>/disable", methods=["PUT"], endpoint="disable_api_key")
    async def api_key(self, request: Request, key_id: str) -> bytes:
        await self._logins.user_of_refresh_token(_bearer(request), now=self._now())
        raise problems.api_key_not_found()

    @app.route(f"{APP}/functions/call", methods=["POST"])
    async def call_function(self, request: Request, app_id: str) -> bytes:
        self._check_app(app_id)
        await self._logins.user_of_access_token(_bearer(request), app_id=app_id, now=self._now())
        body = read_object(request.content)
        service = body.get("service")
        if isinstance(service, str) and service:
            raise problems.service_not_found(service)
        raise problems.function_not_found(text_field(body, "name"))

    @app.route(f"{APP}/functions/call", methods=["GET"])
    def watch(self, request: Request, app_id: str) -> bytes:
        self._check_app(app_id)
        raise problems.function_not_found("watch")

    @app.route(f"{APP}/push/providers/<service>/registration", methods=["PUT", "DELETE"])
    async def push(self, request: Request, app_id: str, service: str) -> bytes:
        self._check_app(app_id)
        await self._logins.user_of_access_token(_bearer(request), app_id=app_id, now=self._now())
        raise problems.service_not_found(service)

    # --- errors ------------------------------------------------------------------------------------------------

    @app.handle_errors(ApiError)
    def refuse(self, request: Request, failure: Failure) -> bytes:
        error = failure.value
        assert isinstance(error, ApiError)
        return self.answer_error(request, error)

    @app.handle_errors(LoginError, TooBusy)
    def refuse_login(self, request: Request, failure: Failure) -> bytes:
        return self.answer_error(request, _api_error(failure.value))

    @app.handle_errors(HTTPException)
    def no_route(self, request: Request, failure: Failure) -> bytes:
        """No route, or one with other methods; also where the router would redirect, which clients must not see."""
        if not request.path.startswith(f"{PREFIX}/".encode()):
            return page_answer(request, "Not found\n", "text/plain", problems.NOT_FOUND)
        if request.method == b"OPTIONS":
            return preflight_answer(request)
        if getattr(failure.value, "code", None) == problems.METHOD_NOT_ALLOWED:
            return self.answer_error(request, problems.method_not_allowed())
        return self.answer_error(request, problems.route_not_found())

    @app.handle_errors(Exception)
    def fail(self, request: Request, failure: Failure) -> bytes:
        request_id = self._surroundings.new_id()
        _log.error("request {request_id} failed", request_id=request_id, failure=failure)
        return error_answer(request, problems.internal_error(), request_id)

    def answer_error(self, request: Request, error: ApiError) -> bytes:
        """Answer with ``error`` and note it in the log."""
        request_id = self._surroundings.new_id()
        _log.debug(
            "request {request_id} from {peer} refused: {status} {error_code}",
            request_id=request_id,
            peer=peer_of(request),
            status=error.status,
            error_code=error.error_code,
        )
        return error_answer(request, error, request_id)

    # --- helpers -----------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return self._surroundings.clock()

    def _check_app(self, app_id: str) -> None:
        try:
            check_app_id(app_id)
        except IllegalPath as error:
            raise problems.app_not_found(app_id) from error
        if self._surroundings.apps is not None and app_id not in self._surroundings.apps:
            raise problems.app_not_found(app_id)

    def _check_provider(self, app_id: str, provider: str) -> None:
        self._check_app(app_id)
        if provider not in self._surroundings.providers:
            raise problems.provider_not_found(provider)

    async def _check_registered(self, request: Request, app_id: str) -> None:
        self._check_provider(app_id, LOCAL_USERPASS)
        if not await self._logins.is_registered(text_field(read_object(request.content), "email")):
            raise problems.user_not_found()

    def _device_id(self, body: dict[str, object]) -> str:
        """The id that the device says it was given at an earlier login (browsers do), or a new one."""
        options = body.get("options")
        device = options.get("device") if isinstance(options, dict) else None
        known = device.get("deviceId") if isinstance(device, dict) else None
        if isinstance(known, str) and _DEVICE_ID.fullmatch(known):
            return known
        return self._surroundings.new_id()

    def _logged_in(self, request: Request, login: Login, app_id: str, provider: str) -> bytes:
        _log.info("user {user} logged in to app {app} ({provider})", user=login.user_id, app=app_id, provider=provider)
        return json_answer(
            request,
            {
                "access_token": login.access_token,
                "refresh_token": login.refresh_token,
                "user_id": login.user_id,
                "device_id": login.device_id,
            },
        )


def _bearer(request: Request) -> str:
    token = bearer_token(header(request, "Authorization"))
    if token is None:
        raise problems.must_authenticate()
    return token


def _refuse_linking(request: Request) -> None:
    """A login with ``link=true`` must not be taken for a fresh one, which would leave the user with two accounts."""
    if request.args.get(b"link", [b"false"])[0] == b"true":
        raise problems.bad_request("this server does not link identities")


def _profile(user: User) -> dict[str, object]:
    """The answer to GET profile. ``data`` holds what is known of the user: the e-mail address, if any."""
    identities = [
        {
            "id": _identity_id(account),
            "provider_type": _PROVIDER_TYPES.get(account.provider, account.provider),
            "provider_id": account.provider_id,
        }
        for account in user.accounts
    ]
    names = [account.provider_id for account in user.accounts if account.provider == PASSWORD]
    data = {"email": names[0]} if names else {}
    return {"user_id": user.user_id, "type": "normal", "identities": identities, "data": data}


def _identity_id(account: Account) -> str:
    """24 hexadecimal digits that name an identity, always the same: SDKs expect an opaque id here, not a name."""
    return hashlib.sha256(f"{account.provider}\0{account.provider_id}".encode()).hexdigest()[:24]


def _api_error(error: BaseException | None) -> ApiError:
    match error:
        case BadRegistration():
            return problems.bad_request(str(error))
        case NameTaken():
            return problems.name_in_use()
        case InvalidPassword():
            return problems.invalid_password()
        case InvalidSession():
            return problems.invalid_session(str(error))
        case UserDisabled():
            return problems.user_disabled()
        case TooBusy():
            return problems.busy()
        case NoRoom():
            return problems.no_room()
    return problems.internal_error()
