"""What can end the syncing of a Realm or of a whole connection, as values for the owner's error callback.

With these come :class:`~realmserver.sync.client_checks.ServerViolation` (the server broke the protocol),
:class:`~realmserver.client.local.IntegrationFailed` and :class:`~realmserver.client.access.AccessEnded`.
"""

from realmserver.sync.errors import Action, Code

RESETS = frozenset(
    {
        Code.BAD_CLIENT_FILE_IDENT,
        Code.BAD_SERVER_VERSION,
        Code.BAD_CLIENT_VERSION,
        Code.DIVERGING_HISTORIES,
        Code.CLIENT_FILE_EXPIRED,
    }
)
"""Codes after which only a client reset helps, where the server says no action (``spec/protocol.md`` 4.4)."""


class SyncFailed(Exception):
    """The server reports error ``code`` (``sync.errors.Code``) and does not want us to try again by ourselves.

    ``action`` is what it asks for, "" if it does not say.
    """

    def __init__(self, code: int, text: str, action: str = "") -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text
        self.action = action

    @property
    def needs_reset(self) -> bool:
        """Whether syncing can go on only after :meth:`SyncedRealm.reset`, which loses what was not uploaded."""
        if self.action:
            return self.action in (Action.CLIENT_RESET, Action.CLIENT_RESET_NO_RECOVERY)
        return self.code in RESETS


class CompensatingWrite(SyncFailed):
    """The server has undone something that this client wrote. Syncing goes on."""


class ConnectionRefused(Exception):
    """The server does not take this client at all, such as for its protocol versions."""


class Closed(Exception):
    """The Realm or its client was closed, or the Realm reset, while something was waited for."""
