"""The world of one history: the server, the disk, the network and the clients, and what can happen next in it.

Nothing happens by itself: :meth:`World.event` lets one thing happen that is on its way. What people and accidents do is
in ``actions``. At the end the world is *healed*: the server runs, everyone is online, and all goes on until nothing
moves any more; then ``promises`` looks at it.
"""

from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from typing import Any, Final

from attrs import evolve, frozen

from realmserver.client.local import timestamp_at

from .choices import Choices, Violation
from .device import Copy, Device
from .disk import Disk
from .edits import Editor, add_classes
from .host import Server, ServerSide
from .profiles import Profile
from .shrinking import QUIET, TTL, check_base, small_steps
from .wire import Claim, Wire
from .workers import Clock, Job

TICK: Final = 0.01
"""Seconds that pass with each event."""

SKEWS: Final = (0.0, -0.005, 0.02, -3600.0, 86_400.0, -400_000_000.0)
"""By how many seconds a client's clock may be wrong; with the last it is before 2015."""

MAX_EVENTS: Final = 20_000
"""Events after which a healed world should have come to rest. Usual are a few hundred."""

Note = Callable[[str], None]


@frozen
class Rollback:
    """A run of the server that found less of a Realm than there had been: up to this version, these file idents."""

    run: int
    version: int
    last_ident: int


class World:
    """Everything there is. ``undo`` takes back, after the history, what it changes outside. ``note`` gets a line for
    each thing that happens."""

    def __init__(self, profile: Profile, choices: Choices, undo: ExitStack, note: Note | None = None) -> None:
        if profile.folds:
            undo.enter_context(small_steps(choices))
            accidents = choices.weighted((4, 2, 2))
            profile = evolve(profile, lies=accidents == 1, rollbacks=accidents == 2)
        self.profile = profile
        self.choices = choices
        self.may_lose = profile.may_lose
        self.tolerates_faults = profile.known_faults
        self.may_expire = profile.folds
        self.clock = Clock()
        self.disk = Disk(lambda: int(self.clock.now), check_base)
        self.wires: list[Wire] = []
        self.server: Server | None = None
        self.runs = 0
        self.held: list[Job] = []
        self.resets = 0
        self.expired = 0
        self.lost_progress = 0
        self.stopped = 0
        self.events = 0
        self.said = 0
        self.note: Note = note or (lambda text: None)
        self._is_told = note is not None
        self._wire_numbers = count(1)
        self._salts = count(1_000_003)
        self._rollbacks: dict[str, list[Rollback]] = {}
        self._max_open = 1 if profile.is_behind else 1 + choices.weighted((3, 1, 1))
        realms = 2 if profile.is_behind else 1 + choices.weighted((5, 4, 1))
        self._paths = paths = [f"/realm{number}" for number in range(realms)]
        self.editor = Editor(choices, count(), known_faults=profile.known_faults, lists_only=profile.is_behind)
        self.devices = [self._device(number, paths) for number in range(2 + choices.weighted((6, 3, 1, 1, 1)))]
        self.start()
        for device in self.devices:
            if profile.is_behind or choices.below(4):
                device.connect()
        if profile.is_behind or choices.below(2):
            self.rest()
        if profile.folds and choices.below(4):
            self._age()

    def _device(self, number: int, paths: list[str]) -> Device:
        is_everywhere = len(paths) == 1 or self.profile.is_behind
        mine = [path for path in paths if is_everywhere or self.choices.below(4)] or paths[:1]
        skew = self.choices.pick(SKEWS)
        is_reader = self.profile.folds and number > 0 and self.choices.one_in(4)
        device = Device(self, number, mine, skew, is_reader=is_reader)
        if is_reader:
            return device
        for copy in device.copies.values():
            if not self.choices.one_in(3):  # else it is empty, and gets its classes from others or with its first edit
                self.write(device, copy, is_schema=True)
        return device

    def join(self) -> Device:
        """A new device comes."""
        device = self._device(len(self.devices), self._paths)
        self.devices.append(device)
        device.connect()
        return device

    def _age(self) -> None:
        """Begin with a Realm whose history is folded, or will be soon: most of what can happen needs that."""
        writer = self.devices[0]
        writer.connect()
        for _ in range(6 + self.choices.below(10)):
            for copy in writer.copies.values():
                self.write(writer, copy)
        self.pass_time(self.choices.pick((3 * TTL, TTL / 2)))

    # What the others ask.

    def next_salt(self) -> int:
        return next(self._salts)

    def has_lost(self, name: str, claim: Claim) -> bool:
        return any(
            (claim.version_run < rollback.run and claim.version > rollback.version)
            or (claim.ident_run < rollback.run and claim.ident > rollback.last_ident)
            for rollback in self._rollbacks.get(name, ())
        )

    def has_rolled_back(self, name: str, claim: Claim) -> bool:
        return any(rollback.run > claim.ident_run for rollback in self._rollbacks.get(name, ()))

    def dial(self, device: Device) -> Wire | None:
        server = self.server
        if server is None or server.is_stopping:
            return None
        wire = Wire(next(self._wire_numbers), server.run, device)
        self.wires.append(wire)
        wire.server = ServerSide(server, wire)
        if self._is_told:
            self.note(f"    device {device.number} connects: c{wire.number}")
        return wire

    # What happens to the server and to copies.

    def write(self, device: Device, copy: Copy, *, is_schema: bool = False) -> None:
        """A transaction."""
        before = copy.local.version
        with copy.local.write(timestamp_at(self.clock.now + device.skew)) as tx:
            if is_schema:
                add_classes(tx)
            else:
                self.editor.edit(tx)
        if copy.local.version > before:
            copy.written.append(copy.local.version)
            device.upload(copy)

    def start(self) -> None:
        """Start the server."""
        self.runs += 1
        self.server = Server(self, self.runs, self._max_open)

    def end(self, kept: dict[str, int]) -> None:
        """The server's process is gone, and of each Realm so many commits are left."""
        assert self.server is not None
        self.server.crash()
        self.server = None
        self.disk.crash(kept)
        for name in self.disk.names():
            durable = self.disk.kept(name)
            rollback = Rollback(self.runs + 1, durable.version, durable.last_ident)
            self._rollbacks.setdefault(name, []).append(rollback)

    # Events.

    def _ready(self) -> list[tuple[Callable[[Any], None], Any]]:
        """What can happen next, in an order that depends on nothing but the history."""
        ready: list[tuple[Callable[[Any], None], Any]] = []
        server = self.server
        if server is not None:
            if server.is_stopped:
                ready.append((self._stopped, server))
            if server.workers.results:
                ready.append((self._result, server))
            for job in server.workers.jobs:
                if job not in self.held:
                    ready.append((self._job, job))
        for wire in self.wires:
            if wire.can_reach_server():
                ready.append((self._reach_server, wire))
            if wire.can_reach_client():
                ready.append((self._reach_client, wire))
        if self.clock.is_due():
            ready.append((self._timer, None))
        return ready

    def event(self, *, in_order: bool = False) -> bool:
        """Let one thing happen, the first if ``in_order``; False if there is none."""
        ready = self._ready()
        if not ready:
            return False
        self.events += 1
        if self.events > MAX_EVENTS:
            raise Violation("the world does not come to rest")
        self.clock.now += TICK
        happen, subject = ready[0 if in_order or len(ready) == 1 else self.choices.below(len(ready))]
        happen(subject)
        return True

    def rest(self) -> None:
        """Let everything happen that is on its way."""
        while self.event(in_order=True):
            pass

    def pass_time(self, seconds: float) -> None:
        """Let everything happen that happens by itself within ``seconds``."""
        until = self.clock.now + seconds
        self.rest()
        while self.clock.jump(until):
            self.rest()
        self.clock.now = max(self.clock.now, until)

    def heal_server(self) -> None:
        """Let the server run, and the disk and the network do what they should."""
        self.disk.is_full = False
        self.held.clear()
        if self.server is not None and self.server.is_stopping:
            self.rest()
            while self.server is not None and self.clock.jump():
                self.rest()
        if self.server is None:
            self.start()
        for wire in self.wires:
            wire.heal()

    def heal(self) -> None:
        """Let everything come to rest, with everyone there."""
        self.heal_server()
        for device in self.devices:
            device.is_online = True
            for copy in device.copies.values():
                copy.is_wanted = True
                device.bind(copy)
            device.connect()
        self._settle()

    def _settle(self) -> None:
        self.rest()
        said, quiet = self._said(), self.clock.now + QUIET
        while self.clock.jump() and (self.clock.now < quiet or not self.may_expire):
            self.rest()
            if self._said() != said:
                said, quiet = self._said(), self.clock.now + QUIET

    def _said(self) -> tuple[int, int]:
        """Grows with each message and each commit."""
        return self.said, sum(len(journal.commits) for journal in self.disk.journals.values())

    def _stopped(self, server: Server) -> None:
        self.note("    the server has stopped")
        for journal in self.disk.journals.values():
            if journal.is_open or journal.durable < len(journal.commits):
                raise Violation(f"{journal.name} is still open although the server has stopped")
        self.end({name: len(journal.commits) for name, journal in self.disk.journals.items()})
        for wire in self.wires:
            wire.cut(0, 1000)

    def _result(self, server: Server) -> None:
        if self._is_told:
            self.note("    a result is handed over")
        server.workers.results.popleft()()

    def _job(self, job: Job) -> None:
        assert self.server is not None
        done = self.server.workers.advance(job)
        if self._is_told:
            self.note(f"    a thread {done}" + (f", {len(job.written)} commits" if job.written else ""))

    def _reach_server(self, wire: Wire) -> None:
        what = wire.reach_server()
        self.said += 1
        if self._is_told:
            self.note(f"    c{wire.number} > {what}")
        self._tidy(wire)

    def _reach_client(self, wire: Wire) -> None:
        what = wire.reach_client()
        self.said += 1
        if self._is_told:
            self.note(f"    c{wire.number} < {what}")
        self._tidy(wire)

    def _timer(self, _: None) -> None:
        self.clock.fire()

    def _tidy(self, wire: Wire) -> None:
        if wire.is_over:
            self.wires.remove(wire)
