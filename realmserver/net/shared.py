"""What the connections of a server share, and how much of it each may take: built from the section ``limits``.

Everything here is touched on the reactor thread only, :class:`~realmserver.net.quotas.NewRealms` apart.
"""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from realmserver.config.limits import MEBIBYTE, Limits
from realmserver.metrics import Metrics
from realmserver.net.admission import Refused
from realmserver.net.intake import Turns
from realmserver.net.ledger import Ledger
from realmserver.net.quotas import BoundRealms, NewRealms
from realmserver.realms.waiting import WaitingRoom
from realmserver.sync import syntax


class Holder(Protocol):
    """A connection, as far as this module is concerned."""

    def overdrawn(self, limit: str) -> None:
        """It has to go: it holds memory that others need."""


class Shared:
    """``limits`` as configured; ``refused`` hears of what is turned down; ``crowded`` of the uploads that wait being
    many, and being few again."""

    def __init__(
        self,
        limits: Limits,
        refused: Refused,
        metrics: Metrics,
        crowded: Callable[[bool], None],
        reactor: IReactorTime,
    ) -> None:
        self.limits = limits
        self.turns = Turns(reactor)
        self.refused = refused
        self.messages = syntax.Limits(body=limits.message_size * MEBIBYTE)
        self.room = WaitingRoom(limits.upload_backlog_per_realm * MEBIBYTE, limits.upload_backlog * MEBIBYTE, crowded)
        self.receiving: Ledger[Holder] = Ledger(
            limits.receive_buffer * MEBIBYTE,
            lambda holder: holder.overdrawn("receive_buffer"),
            metrics.receiving_bytes.set,
        )
        self.unread: Ledger[Holder] = Ledger(
            limits.download_buffer * MEBIBYTE,
            lambda holder: holder.overdrawn("download_buffer"),
            metrics.unread_bytes.set,
        )
        self.bound = BoundRealms(limits.realms_per_user)
        self.new = NewRealms(limits.new_realms_per_user, reactor.seconds)
