"""The protocol's errors: their numbers, what a client should do about each, and how each client is told.

Keeps true: a client never receives a code that aborts its process (``spec/protocol.md`` 4.2), and a JSON_ERROR always
has all six keys that clients demand (2.4). Which error a situation gives is decided elsewhere (``session``, ``server``,
the Realm); only the mapping of the Realm's refusals to codes is here.
"""

from enum import IntEnum, StrEnum
from typing import Final

from attrs import evolve, frozen

from realmserver.realms import requests
from realmserver.sync.server_messages import Error, JsonError
from realmserver.sync.versions import Negotiated


class Code(IntEnum):
    """Error numbers of the wire. 100 .. 199 concern a connection, 200 .. 299 a session (``spec/protocol.md`` 4.4)."""

    CONNECTION_CLOSED = 100
    OTHER_ERROR = 101
    UNKNOWN_MESSAGE = 102
    BAD_SYNTAX = 103
    LIMITS_EXCEEDED = 104
    WRONG_PROTOCOL_VERSION = 105
    BAD_SESSION_IDENT = 106
    REUSE_OF_SESSION_IDENT = 107
    BOUND_IN_OTHER_SESSION = 108
    BAD_MESSAGE_ORDER = 109
    BAD_DECOMPRESSION = 110
    BAD_CHANGESET_HEADER_SYNTAX = 111
    BAD_CHANGESET_SIZE = 112
    SWITCH_TO_FLX_SYNC = 113
    SWITCH_TO_PBS = 114
    SESSION_CLOSED = 200
    OTHER_SESSION_ERROR = 201
    TOKEN_EXPIRED = 202
    BAD_AUTHENTICATION = 203
    ILLEGAL_REALM_PATH = 204
    NO_SUCH_REALM = 205
    PERMISSION_DENIED = 206
    BAD_SERVER_FILE_IDENT = 207
    BAD_CLIENT_FILE_IDENT = 208
    BAD_SERVER_VERSION = 209
    BAD_CLIENT_VERSION = 210
    DIVERGING_HISTORIES = 211
    BAD_CHANGESET = 212
    SUPERSEDED = 213
    PARTIAL_SYNC_DISABLED = 214
    UNSUPPORTED_SESSION_FEATURE = 215
    BAD_ORIGIN_FILE_IDENT = 216
    BAD_CLIENT_FILE = 217
    SERVER_FILE_DELETED = 218
    CLIENT_FILE_BLACKLISTED = 219
    USER_BLACKLISTED = 220
    TRANSACT_BEFORE_UPLOAD = 221
    CLIENT_FILE_EXPIRED = 222
    USER_MISMATCH = 223
    TOO_MANY_SESSIONS = 224
    INVALID_SCHEMA_CHANGE = 225
    BAD_QUERY = 226
    OBJECT_ALREADY_EXISTS = 227
    SERVER_PERMISSIONS_CHANGED = 228
    INITIAL_SYNC_NOT_COMPLETED = 229
    WRITE_NOT_ALLOWED = 230
    COMPENSATING_WRITE = 231
    MIGRATE_TO_FLX = 232
    BAD_PROGRESS = 233
    REVERT_TO_PBS = 234
    BAD_SCHEMA_VERSION = 235
    SCHEMA_VERSION_CHANGED = 236

    @property
    def of_connection(self) -> bool:
        """Whether the error is told with session ident 0. The wrong pairing makes a client drop the connection."""
        return self < 200


class Action(StrEnum):
    """What the client should do, as JSON_ERROR names it (``spec/protocol.md`` 4.3)."""

    PROTOCOL_VIOLATION = "ProtocolViolation"
    APPLICATION_BUG = "ApplicationBug"
    WARNING = "Warning"
    TRANSIENT = "Transient"
    DELETE_REALM = "DeleteRealm"
    CLIENT_RESET = "ClientReset"
    CLIENT_RESET_NO_RECOVERY = "ClientResetNoRecovery"
    MIGRATE_TO_FLX = "MigrateToFLX"
    REVERT_TO_PBS = "RevertToPBS"
    REFRESH_USER = "RefreshUser"
    REFRESH_LOCATION = "RefreshLocation"
    LOG_OUT_USER = "LogOutUser"
    MIGRATE_SCHEMA = "MigrateSchema"


_RECOMMENDED: Final[dict[Code, Action]] = {
    Code.CONNECTION_CLOSED: Action.TRANSIENT,
    Code.OTHER_ERROR: Action.TRANSIENT,
    Code.SWITCH_TO_FLX_SYNC: Action.APPLICATION_BUG,
    Code.SWITCH_TO_PBS: Action.APPLICATION_BUG,
    Code.SESSION_CLOSED: Action.TRANSIENT,
    Code.BAD_SERVER_FILE_IDENT: Action.CLIENT_RESET,
    Code.BAD_CLIENT_FILE_IDENT: Action.CLIENT_RESET,
    Code.BAD_SERVER_VERSION: Action.CLIENT_RESET,
    Code.BAD_CLIENT_VERSION: Action.CLIENT_RESET,
    Code.DIVERGING_HISTORIES: Action.CLIENT_RESET,
    Code.BAD_ORIGIN_FILE_IDENT: Action.PROTOCOL_VIOLATION,
    Code.BAD_CLIENT_FILE: Action.CLIENT_RESET,
    Code.TRANSACT_BEFORE_UPLOAD: Action.PROTOCOL_VIOLATION,
    Code.CLIENT_FILE_EXPIRED: Action.CLIENT_RESET,
    Code.OBJECT_ALREADY_EXISTS: Action.CLIENT_RESET,
    Code.SERVER_PERMISSIONS_CHANGED: Action.CLIENT_RESET,
    Code.INITIAL_SYNC_NOT_COMPLETED: Action.TRANSIENT,
    Code.WRITE_NOT_ALLOWED: Action.CLIENT_RESET,
    Code.COMPENSATING_WRITE: Action.WARNING,
    Code.MIGRATE_TO_FLX: Action.MIGRATE_TO_FLX,
    Code.REVERT_TO_PBS: Action.REVERT_TO_PBS,
    Code.SCHEMA_VERSION_CHANGED: Action.MIGRATE_SCHEMA,
}
_TRY_AGAIN: Final = frozenset(
    {
        Code.CONNECTION_CLOSED,
        Code.OTHER_ERROR,
        Code.SESSION_CLOSED,
        Code.INITIAL_SYNC_NOT_COMPLETED,
        Code.COMPENSATING_WRITE,
        Code.SCHEMA_VERSION_CHANGED,
    }
)

MAX_TEXT: Final = 1000
"""Characters of an error's text: enough to say what is wrong; the text may quote what a peer sent."""


@frozen
class Backoff:
    """How long a client should wait before it tries again: seconds, at first and at most (``spec/protocol.md`` 4.5)."""

    first: int
    longest: int
    multiplier: int = 2


LONG_BACKOFF: Final = Backoff(first=60, longest=3600)
"""For a client that could not integrate what we sent: trying again soon would give it the same entry again."""

SERVER_BACKOFF: Final = Backoff(first=10, longest=300)
"""For failures on our side, which an operator has to see to."""


@frozen
class SyncError:
    """One error to tell a client. ``action`` and ``try_again`` default to what 4.4 recommends for ``code``."""

    code: Code
    text: str
    action: Action | None = None
    try_again: bool | None = None
    backoff: Backoff | None = None


@frozen
class AuthenticationFailed:
    """A token was refused: ``expired``, or else missing, forged or for another user (``spec/protocol.md`` 3.3, 3.9)."""

    text: str
    expired: bool = False


_OF_REALM: Final[dict[type[requests.RealmError], Code]] = {
    requests.BadClientFileIdent: Code.BAD_CLIENT_FILE_IDENT,
    requests.BadServerVersion: Code.BAD_SERVER_VERSION,
    requests.BadClientVersion: Code.BAD_CLIENT_VERSION,
    requests.DivergingHistories: Code.DIVERGING_HISTORIES,
    requests.ClientFileExpired: Code.CLIENT_FILE_EXPIRED,
    requests.UserMismatch: Code.USER_MISMATCH,
    requests.BadOriginFileIdent: Code.BAD_ORIGIN_FILE_IDENT,
    requests.BadUpload: Code.BAD_CHANGESET,
    requests.ProtocolTooOld: Code.OTHER_SESSION_ERROR,
}

_REPLACED: Final[dict[Code, tuple[Code, Action | None]]] = {
    Code.LIMITS_EXCEEDED: (Code.BAD_SYNTAX, None),
    Code.NO_SUCH_REALM: (Code.ILLEGAL_REALM_PATH, None),
    Code.BAD_SERVER_FILE_IDENT: (Code.BAD_CLIENT_FILE_IDENT, None),
    Code.PARTIAL_SYNC_DISABLED: (Code.OTHER_SESSION_ERROR, None),
    Code.UNSUPPORTED_SESSION_FEATURE: (Code.OTHER_SESSION_ERROR, None),
    Code.SERVER_FILE_DELETED: (Code.PERMISSION_DENIED, Action.DELETE_REALM),
    Code.CLIENT_FILE_BLACKLISTED: (Code.PERMISSION_DENIED, None),
    Code.USER_BLACKLISTED: (Code.PERMISSION_DENIED, None),
    Code.TRANSACT_BEFORE_UPLOAD: (Code.OTHER_SESSION_ERROR, Action.PROTOCOL_VIOLATION),
    Code.TOO_MANY_SESSIONS: (Code.OTHER_SESSION_ERROR, Action.TRANSIENT),
}

DEADLY: Final = frozenset({*_REPLACED, Code.TOKEN_EXPIRED, Code.BAD_AUTHENTICATION})
"""The codes that abort the process of real clients (``spec/protocol.md`` 4.2)."""


def of_realm(error: requests.RealmError) -> SyncError:
    """The wire error for a Realm's refusal (``spec/protocol.md`` 3.4, 3.5). What is not the client's fault (also a kind
    of RealmError this table does not know) becomes 201, to be tried again."""
    code = next((_OF_REALM[kind] for kind in type(error).__mro__ if kind in _OF_REALM), None)
    if code is None:
        return SyncError(Code.OTHER_SESSION_ERROR, str(error), Action.TRANSIENT, True, SERVER_BACKOFF)
    return SyncError(code, str(error))


def of_authentication(failure: AuthenticationFailed) -> SyncError:
    """The session error for a refused token; only for clients that survive it, see :func:`survivable`."""
    return SyncError(Code.TOKEN_EXPIRED if failure.expired else Code.BAD_AUTHENTICATION, failure.text)


def survivable(error: SyncError) -> SyncError:
    """``error`` under a code that no real client dies of (``spec/protocol.md`` 4.2).

    Raises ValueError for 202 and 203: there is no error that stands for them, the connection is closed instead.
    """
    if error.code in (Code.TOKEN_EXPIRED, Code.BAD_AUTHENTICATION):
        raise ValueError(f"error {error.code} has no safe form; close the connection")
    if error.code not in _REPLACED:
        return error
    code, action = _REPLACED[error.code]
    try_again = error.try_again
    if action is Action.TRANSIENT and try_again is None:
        try_again = True
    return evolve(error, code=code, action=error.action or action, try_again=try_again)


def to_message(error: SyncError, session: int, negotiated: Negotiated) -> Error | JsonError:
    """The message that tells ``error`` to a client: JSON_ERROR from version 4 on, ERROR before (``spec/protocol.md``
    4.1). ``session`` is 0 exactly for codes below 200; anything else raises ValueError, since a client would drop the
    connection."""
    if error.code.of_connection != (session == 0):
        raise ValueError(f"error {error.code} does not go with session {session}")
    try_again = error.code in _TRY_AGAIN if error.try_again is None else error.try_again
    text = error.text[:MAX_TEXT]
    if not negotiated.json_error:
        return Error(error.code, text, try_again, session)
    action = error.action or recommended_action(error.code)
    content: dict[str, object] = {
        "message": text,
        "tryAgain": try_again,
        "logURL": "",
        "shouldClientReset": action in (Action.CLIENT_RESET, Action.CLIENT_RESET_NO_RECOVERY),
        "isRecoveryModeDisabled": action is Action.CLIENT_RESET_NO_RECOVERY,
        "action": str(action),
    }
    if error.backoff is not None:
        content["backoffIntervalSec"] = error.backoff.first
        content["backoffMaxDelaySec"] = error.backoff.longest
        content["backoffMultiplier"] = error.backoff.multiplier
    return JsonError(error.code, session, content)


def recommended_action(code: Code) -> Action:
    """What 4.4 recommends for ``code``."""
    if code in _RECOMMENDED:
        return _RECOMMENDED[code]
    return Action.PROTOCOL_VIOLATION if code.of_connection else Action.APPLICATION_BUG
