"""How a client gets in: what it must know to open its WebSocket and to prove who it is.

Two ways, behind one protocol: a user of an app (``app.User``), whose access token stands in the URL; and a signed token
that goes into each BIND, as with clients of the 1.x era (``spec/protocol.md`` 1.1, 6.2).
"""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

REALM_SYNC: Final = "/realm-sync"
"""Where servers take clients that bring their token in BIND."""


class AccessEnded(Exception):
    """The login or token is no longer good, and cannot be made good without the user."""


class Unreachable(Exception):
    """The server cannot be asked just now; trying again may help."""


class Access(Protocol):
    """What a :class:`~realmserver.client.connection.Client` needs to get in."""

    @property
    def bind_token(self) -> str:
        """The token for BIND; "" where the URL says who the user is."""

    async def url(self) -> str:
        """The address of the WebSocket, token included. Raises :class:`AccessEnded` or :class:`Unreachable`."""

    async def renew(self) -> None:
        """Get a fresh token: the server refused the last one. Raises :class:`AccessEnded` or :class:`Unreachable`."""


class SignedToken:
    """Access by a signed token.

    ``base_url`` as ``ws://host:port`` (or ``http``); ``renew`` returns a fresh token, without it an expired one is the
    end.
    """

    def __init__(self, base_url: str, token: str, renew: Callable[[], Awaitable[str]] | None = None) -> None:
        self.bind_token = token
        self._url = websocket_url(base_url) + REALM_SYNC
        self._renew = renew

    async def url(self) -> str:
        return self._url

    async def renew(self) -> None:
        if self._renew is None:
            raise AccessEnded("the server refuses the token, and there is no way to get another")
        self.bind_token = await self._renew()


def websocket_url(base_url: str) -> str:
    """``base_url`` with the scheme of WebSockets and without a slash at its end. ValueError for other schemes."""
    scheme, separator, rest = base_url.rstrip("/").partition("://")
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    if not separator or scheme not in schemes:
        raise ValueError(f"{base_url!r} is no base URL")
    return f"{schemes[scheme]}://{rest}"
