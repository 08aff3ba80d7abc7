"""The errors of the App Services client API: their names, statuses and messages (``spec/http-api.md`` 4.1 and 4.5).

SDKs key on ``error_code``, and their tests compare some of the messages. Each function here makes one error; nothing
else in the server spells their names.
"""

from typing import Final

CREATED: Final = 201
BAD_REQUEST: Final = 400
UNAUTHORIZED: Final = 401
NOT_FOUND: Final = 404
METHOD_NOT_ALLOWED: Final = 405
CONFLICT: Final = 409
CONTENT_TOO_LARGE: Final = 413
INTERNAL_SERVER_ERROR: Final = 500
SERVICE_UNAVAILABLE: Final = 503


class ApiError(Exception):
    """An answer other than success: the HTTP ``status``, the ``error_code`` and the text for ``error``."""

    def __init__(self, status: int, error_code: str, message: str) -> None:
        super().__init__(f"{status} {error_code}: {message}")
        self.status: int = status
        self.error_code: str = error_code
        self.message: str = message


def bad_request(message: str, status: int = BAD_REQUEST) -> ApiError:
    return ApiError(status, "BadRequest", message)


def app_not_found(app_id: str) -> ApiError:
    return ApiError(NOT_FOUND, "AppNotFound", f"cannot find app using Client App ID '{app_id}'")


def route_not_found() -> ApiError:
    return ApiError(NOT_FOUND, "NotFound", "no such route")


def method_not_allowed() -> ApiError:
    return ApiError(METHOD_NOT_ALLOWED, "MethodNotAllowed", "this route does not take this method")


def provider_not_found(provider: str) -> ApiError:
    return ApiError(NOT_FOUND, "AuthProviderNotFound", f"authentication provider not found: '{provider}'")


def name_in_use() -> ApiError:
    return ApiError(CONFLICT, "AccountNameInUse", "name already in use")


def invalid_password() -> ApiError:
    return ApiError(UNAUTHORIZED, "InvalidPassword", "invalid username/password")


def must_authenticate() -> ApiError:
    return ApiError(UNAUTHORIZED, "InvalidSession", "must authenticate first")


def invalid_session(message: str) -> ApiError:
    return ApiError(UNAUTHORIZED, "InvalidSession", message)


def user_disabled() -> ApiError:
    return ApiError(UNAUTHORIZED, "UserDisabled", "user disabled")


def user_not_found() -> ApiError:
    return ApiError(NOT_FOUND, "UserNotFound", "user not found")


def already_confirmed() -> ApiError:
    return ApiError(BAD_REQUEST, "UserAlreadyConfirmed", "already confirmed")


def invalid_token_data() -> ApiError:
    return ApiError(BAD_REQUEST, "UserpassTokenInvalid", "invalid token data")


def api_key_not_found() -> ApiError:
    return ApiError(NOT_FOUND, "APIKeyNotFound", "API key not found")


def function_not_found(name: str) -> ApiError:
    return ApiError(NOT_FOUND, "FunctionNotFound", f"function not found: '{name}'")


def service_not_found(name: str) -> ApiError:
    return ApiError(NOT_FOUND, "ServiceNotFound", f"service not found: '{name}'")


def busy() -> ApiError:
    """503 makes SDKs try again with growing delays, and logs nobody out."""
    return ApiError(SERVICE_UNAVAILABLE, "InternalServerError", "the server is busy, try again")


def no_room() -> ApiError:
    """As :func:`busy`, until the operator has made room."""
    return ApiError(SERVICE_UNAVAILABLE, "InternalServerError", "the server's disk is nearly full, try again later")


def internal_error() -> ApiError:
    return ApiError(INTERNAL_SERVER_ERROR, "InternalServerError", "internal server error")
