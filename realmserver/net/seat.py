"""The worker's end of a link: connections that are elsewhere, as far as they have sessions with this process.

A :class:`Seat` carries one client's conversation to and from the link (``net.relay`` is the front's half); the
:class:`Desk` finds the seat that a frame is for. Keeps true: connections are heard in turns, as sockets are
(``net.intake``), so that one that asks much does not keep the others waiting; nothing is heard of one while its
conversation takes nothing more, and the front then reads no more of it. It knows no sockets, and of the process no more
than whom to tell that it should stop.
"""

import json
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from realmserver.figures import Figures
from realmserver.log import get_logger
from realmserver.net.conversation import Conversation, Upgrade
from realmserver.net.holdings import Holdings
from realmserver.net.intake import TURN
from realmserver.net.link import (
    ALIVE,
    BEGIN,
    BIND,
    BINDING,
    BOUND,
    CLOSE,
    CLOSING,
    COMMITTED,
    DROP,
    EXCHANGED,
    FAILED,
    FIGURES,
    FOLLOWED,
    GONE,
    MADE,
    MESSAGE,
    NOTICE,
    QUARANTINED,
    REOPEN,
    STOP,
    TAKEN,
    Line,
    Link,
    of_realm,
)
from realmserver.net.owner import Owner
from realmserver.net.relay import upgrade_from_json
from realmserver.net.report import ConnectionReport

log = get_logger("workers")

ITS_TURN: Final = "turn"

OF_THE_PROCESS: Final = 0
"""The number of frames that are about no connection."""


class Process(Protocol):
    """The worker process, as far as the front has a say in it."""

    def stop(self) -> None:
        """Come to an end."""

    def reopen_log(self) -> None:
        """Begin a new log file."""

    def figures(self) -> Figures:
        """What was counted."""

    def followed(self, is_followed: bool) -> None:
        """Whether a backup follows: from now on each commit is told (:meth:`Desk.committed`)."""


class Desk:
    """Takes what comes over ``link``, which is there before anything does (:meth:`serve`)."""

    def __init__(self, owner: Owner, process: Process) -> None:
        self._owner = owner
        self._process = process
        self._seats: dict[int, Seat] = {}
        self._quarantined = 0
        self.link: Link

    def serve(self, link: Link) -> None:
        """``link`` is the way to the front."""
        self.link = link

    def heard(self, number: int, kind: int, payload: bytes) -> None:
        """The front has told something."""
        if kind == MESSAGE:
            seat = self._seats.get(number)
            if seat is not None:
                seat.put(payload)
        elif kind == TAKEN:
            seat = self._seats.get(number)
            if seat is not None:
                seat.line.taken(payload)
        elif kind == BIND:
            seat = self._seats.get(number)
            if seat is not None:
                seat.put((payload,))
        elif kind == BEGIN:
            self._seats[number] = Seat(self._owner, self.link, number, upgrade_from_json(payload))
        elif kind == GONE:
            seat = self._seats.pop(number, None)
            if seat is not None:
                seat.end()
        elif kind == FIGURES:
            self.link.tell(OF_THE_PROCESS, FIGURES, self._process.figures().to_json())
        elif kind == REOPEN:
            self._process.reopen_log()
        elif kind == ALIVE:
            self.link.tell(OF_THE_PROCESS, ALIVE)
        elif kind == MADE:
            self._owner.shared.new.made_elsewhere(payload.decode())
        elif kind == FOLLOWED:
            self._process.followed(NOTICE.unpack(payload)[0] != 0)
            self.link.tell(OF_THE_PROCESS, FOLLOWED, payload)
        elif kind == STOP:
            self._process.stop()

    def crowded(self, is_crowded: bool) -> None:
        """So much waits in this process that some have to wait with it, or no more."""
        for seat in list(self._seats.values()):
            seat.talk.crowded(is_crowded)

    def realm_failed(self, realm: str) -> None:
        """Storage or our code failed for a Realm."""
        self.link.tell(OF_THE_PROCESS, FAILED, realm.encode())

    def made(self, user: str) -> None:
        """Tell all others that ``user`` has made a Realm."""
        self.link.tell(OF_THE_PROCESS, MADE, user.encode())

    def committed(self, path: str, commit: bytes) -> None:
        """Tell the front of a commit in the Realm at ``path``, for backups that follow."""
        self.link.tell(OF_THE_PROCESS, COMMITTED, of_realm(path, commit))

    def exchanged(self, path: str) -> None:
        """Tell the front that the Realm at ``path`` has another file now."""
        self.link.tell(OF_THE_PROCESS, EXCHANGED, of_realm(path))

    def look(self) -> None:
        """Tell the front what has changed of this process's state, if anything has."""
        count = self._owner.quarantined
        if count != self._quarantined:
            self._quarantined = count
            self.link.tell(OF_THE_PROCESS, QUARANTINED, str(count).encode())

    def end(self) -> None:
        """The front is gone, or wants an end: nobody has a seat any more."""
        seats, self._seats = self._seats, {}
        for seat in seats.values():
            seat.end()


class Seat:
    """One connection's (a ``net.conversation.Carrier``)."""

    def __init__(self, owner: Owner, link: Link, number: int, upgrade: Upgrade) -> None:
        report = ConnectionReport(upgrade.connection_id, upgrade.client, upgrade.login, owner.metrics)
        self.talk = Conversation(owner, upgrade, report, self)
        self.line = Line(link, number, self.talk.writable)
        self._link = link
        self._turns = owner.shared.turns
        self._clock: Callable[[], float] = owner.reactor.seconds
        self._holdings = Holdings(self, owner.shared, self.talk.overfull)
        self._shared = owner.shared
        self._client = upgrade.client
        self._came: deque[bytes | tuple[bytes]] = deque()  # a BIND is in a tuple
        self._reasons: set[str] = set()  # for which nothing is taken
        self._is_taking = False
        self._round = 0
        self._spent = 0.0  # seconds of this turn
        self._was_bound = False

    def put(self, payload: bytes | tuple[bytes]) -> None:
        """A message has come, or a BIND with what the front knows of it."""
        if self._round != self._link.rounds:
            self._round, self._spent = self._link.rounds, 0.0
        self._came.append(payload)
        self._take()

    def take_turn(self) -> None:
        """The next turn has come."""
        self._spent = 0.0
        self.resume_reading(ITS_TURN)

    def _take(self) -> None:
        if self._is_taking:
            return
        self._is_taking = True
        try:
            while self._came and not self._reasons:
                if self._spent > TURN:
                    self._reasons.add(ITS_TURN)
                    self._turns.wait(self)
                    break
                begun = self._clock()
                payload = self._came.popleft()
                if isinstance(payload, bytes):
                    self.line.took(len(payload))
                    self.talk.receive(payload)
                else:
                    self._bind(*payload)
                self._spent += self._clock() - begun
        finally:
            self._is_taking = False

    def _bind(self, payload: bytes) -> None:
        self.line.took(len(payload))
        elsewhere, has_room = BINDING.unpack_from(payload)
        self.talk.receive_bind(payload[BINDING.size :], elsewhere, has_room)

    def end(self) -> None:
        """The connection is gone."""
        self._came.clear()
        self._turns.leave(self)
        self.line.end()
        self.talk.end()
        self._holdings.gone()

    # The conversation's side

    def send(self, data: bytes) -> None:
        self.line.send(data)

    def flush(self) -> None:
        """The link sees to that. Here the front is told what it asks of a connection now and then."""
        is_bound = self.talk.has_sessions
        if is_bound is not self._was_bound:
            self._was_bound = is_bound
            self.line.tell(BOUND, b"1" if is_bound else b"0")

    def close(self, code: int, reason: str) -> None:
        self.line.tell(CLOSE, CLOSING.pack(code) + reason.encode())

    def drop(self, reason: str, ending: str) -> None:
        self.line.tell(DROP, json.dumps([reason, ending]).encode())

    def pause_reading(self, reason: str) -> None:
        self._reasons.add(reason)

    def resume_reading(self, reason: str) -> None:
        if reason in self._reasons:
            self._reasons.discard(reason)
            self._take()

    def waiting(self, size: int) -> None:
        self._holdings.outstanding(size)

    def overdrawn(self, limit: str) -> None:
        """Of what the ledgers count, nothing is held here: the front holds it."""
        raise AssertionError(f"a seat holds nothing of limits.{limit}")
