"""Which protocol version a connection speaks, and what that version has (``spec/protocol.md`` 1.2, 1.3, 8).

The reply to an upgrade request is a name in the client's own spelling: real clients crash on any other answer, so a
request without a name we can repeat is refused with an HTTP status and never with a bare 101. This module reads and
writes header text; it knows nothing of HTTP beyond a status and a body.
"""

import re
from typing import Final

from attrs import frozen

LOWEST_VERSION: Final = 2
"""Every client since core v10.5 still offers it; version 1 has other merge rules (``spec/protocol.md`` 8)."""

HIGHEST_VERSION: Final = 14
"""The newest version any Realm SDK speaks."""

CLIENT_PREFIX: Final = "com.mongodb.realm-sync#"
"""How today's clients, and ours, spell the names they offer."""

MISMATCH: Final = "REALM_SYNC_PROTOCOL_MISMATCH"
"""Clients look for this word in the body of a refusal; without it they do not give up."""

_NAME: Final = re.compile(
    r"(?P<prefix>com\.mongodb\.realm-(?:query-)?sync[/#]|io\.realm\.sync-)(?P<low>[0-9]{1,18})(?:-(?P<high>[0-9]{1,18}))?"
)
_LEGACY: Final = "io.realm.sync-"


@frozen
class Negotiated:
    """``name`` is the value for Sec-WebSocket-Protocol in the reply; ``version`` what both sides speak from now on."""

    name: str
    version: int

    @property
    def json_error(self) -> bool:
        """The client understands JSON_ERROR (otherwise only ERROR)."""
        return self.version >= 4

    @property
    def error_action(self) -> bool:
        """The client acts on ``action`` in a JSON_ERROR; before, on ``shouldClientReset`` and on the code."""
        return self.version >= 7

    @property
    def close_codes(self) -> bool:
        """The client understands the close codes 4001 .. 4006."""
        return self.version >= 8

    @property
    def log_message(self) -> bool:
        """The client understands LOG_MESSAGE; older ones drop the connection."""
        return self.version >= 10


@frozen
class Refusal:
    """The upgrade is refused: answer ``status`` with ``body`` as text/plain and with a Content-Length, because the
    clients' HTTP parser reads no other bodies (``spec/protocol.md`` 1.3)."""

    status: int
    body: str


def offer(lowest: int = LOWEST_VERSION, highest: int = HIGHEST_VERSION) -> str:
    """Sec-WebSocket-Protocol for a client: all versions, the newest first, in the spelling of core v13.10 and later."""
    return ", ".join(f"{CLIENT_PREFIX}{version}" for version in range(highest, lowest - 1, -1))


@frozen
class _Offer:
    prefix: str
    low: int
    high: int


def negotiate(header: str | None) -> Negotiated | Refusal:
    """Choose the highest version that both sides know.

    ``header`` is the value of Sec-WebSocket-Protocol (several header lines joined by commas), None if there is none.
    Names that are not Realm's are ignored. Flexible Sync names and names with no version in common give a Refusal
    (``spec/protocol.md`` 1.2, 1.3).
    """
    offers = [_offer(element.strip(" \t")) for element in (header or "").split(",")]
    known = [offer for offer in offers if offer is not None]
    partition = [offer for offer in known if "query" not in offer.prefix and offer.prefix != _LEGACY]
    best: Negotiated | None = None
    for offer in partition:
        version = min(offer.high, HIGHEST_VERSION)
        if version >= max(offer.low, LOWEST_VERSION) and (best is None or version > best.version):
            best = Negotiated(f"{offer.prefix}{version}", version)
    if best is not None:
        return best
    if partition:
        return _mismatch(partition)
    legacy = [offer for offer in known if offer.prefix == _LEGACY]
    if legacy:
        return _refuse("The client speaks a protocol that is too old for this server.", legacy, ":CLIENT_TOO_OLD")
    if known:
        return Refusal(400, "This server does not offer Flexible Sync.\n")
    return Refusal(400, "Sec-WebSocket-Protocol is missing, or names no version of the Realm sync protocol.\n")


def _offer(element: str) -> _Offer | None:
    match = _NAME.fullmatch(element)
    if match is None:
        return None
    low = int(match["low"])
    high = int(match["high"] or low)
    return _Offer(match["prefix"], low, high) if low <= high else None


def _mismatch(offers: list[_Offer]) -> Refusal:
    if all(offer.high < LOWEST_VERSION for offer in offers):
        return _refuse("The client is too old for this server.", offers, ":CLIENT_TOO_OLD")
    if all(offer.low > HIGHEST_VERSION for offer in offers):
        return _refuse("The client is too new for this server.", offers, ":CLIENT_TOO_NEW")
    return _refuse("Client and server have no protocol version in common.", offers, "")


def _refuse(sentence: str, offers: list[_Offer], hint: str) -> Refusal:
    spans = sorted({(offer.low, offer.high) for offer in offers})
    client = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)
    return Refusal(
        400,
        f"{sentence}\n\nServer supports: {LOWEST_VERSION}-{HIGHEST_VERSION}\nClient supports: {client}\n\n"
        f"{MISMATCH}{hint}\n",
    )
