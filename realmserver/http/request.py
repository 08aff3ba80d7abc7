"""The part of Twisted's ``IRequest`` that this room uses, with types, which the interface itself does not have."""

from typing import Any, Protocol

from twisted.internet.interfaces import IAddress


class Request(Protocol):
    """One HTTP request and the answer to it."""

    @property
    def method(self) -> bytes:
        """GET, POST, …"""

    @property
    def path(self) -> bytes:
        """The path of the URL, still percent-encoded."""

    @property
    def args(self) -> dict[bytes, list[bytes]]:
        """The query's arguments, decoded."""

    @property
    def content(self) -> Any:
        """The body: a binary file."""

    def getHeader(self, key: bytes, /) -> bytes | None:
        """The last header of this name, as it was sent: asked for text, Twisted fails where it is not UTF-8."""

    def isSecure(self) -> bool:
        """Whether the request came over TLS."""

    def getHost(self) -> IAddress:
        """The address of ours that the request came to."""

    def getClientAddress(self) -> IAddress:
        """The address that the request came from."""

    def setResponseCode(self, code: int, /) -> None:
        """Set the status of the answer."""

    def setHeader(self, name: str, value: str, /) -> None:
        """Set a header of the answer."""
