"""What a step of a history may be: what users, networks, disks and operators do, or the arrival of a few messages."""

from collections.abc import Callable
from typing import Final

from .device import RETRY_DELAY, Copy, Device
from .shrinking import TTL
from .world import World

WAITS: Final = (0.5, 1.0, 3.0, 70.0, 4000.0)
"""Seconds that may pass at once."""

PASSES: Final = (2.0 * TTL, TTL / 2, 3.0)
"""Seconds that may pass with all that happens in them, where history shrinks."""

MOMENT: Final = 60
"""Events in a moment."""

MAX_DEVICES: Final = 7
"""Devices to which no new ones are added."""

LOSABLE: Final = 4
"""Commits that a disk with a lying fsync may lose."""

EMPHASIS: Final = (1, 0, 3)
"""How often a history has each kind of step, against what is usual. The first kind may be missing too."""

Action = Callable[[], None]


class Actions:
    """The steps of histories in ``world``; the dullest come first."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._choices = world.choices
        self._actions: list[tuple[int, Action]] = [
            (40, self._events),
            (36, self._write),
            (6, self._rest),
            (6, self._stall),
            (5, self._cut),
            (4, self._restart_app),
            (3, self._wait),
            (2, self._unbind),
            (1, self._offline),
            (1, self._ping),
        ]
        profile = world.profile
        if profile.crashes:
            self._actions += [(5, self._crash), (2, self._stop), (2, self._fill)]
        if profile.is_behind:
            self._actions.append((12, self._stall))
        # Each history has accidents of its own: with all kinds in each, few would have two of one kind.
        self._weights = [weight * self._choices.pick(EMPHASIS) for weight, _ in self._actions]
        if profile.folds:
            folding: list[tuple[int, Action]] = [
                (12, self._pass),
                (12, self._timers),
                (8, self._hold),
                (6, self._long_away),
                (8, self._glimpse),
                (4, self._join),
            ]
            self._actions += folding
            self._weights += [weight for weight, _ in folding]
        if profile.rollbacks:  # which are what its histories are about
            self._actions.append((8, self._restore))
            self._weights.append(8)

    def step(self) -> None:
        """One step of the script."""
        if any(self._weights):
            self._actions[self._choices.weighted(self._weights)][1]()

    # What is on its way.

    def _events(self) -> None:
        self._world.note("some messages arrive")
        for _ in range(1 + self._choices.below(16)):
            if not self._world.event():
                return

    def _rest(self) -> None:
        self._world.note("all that is on its way arrives")
        self._world.rest()

    def _wait(self) -> None:
        seconds = self._choices.pick(WAITS)
        self._world.note(f"{seconds} s pass")
        self._world.clock.now += seconds

    def _pass(self) -> None:
        seconds = self._choices.pick(PASSES)
        self._world.note(f"{seconds} s pass, with all that happens in them")
        self._world.pass_time(seconds)

    def _timers(self) -> None:
        self._world.note("timers run out, and something happens between them")
        for _ in range(1 + self._choices.below(8)):
            self._world.clock.jump()
            for _ in range(self._choices.below(4)):
                self._world.event()

    # Users.

    def _device(self) -> Device:
        return self._choices.pick(self._world.devices)

    def _copy(self, device: Device) -> Copy:
        return self._choices.pick(list(device.copies.values()))

    def _write(self) -> None:
        self._write_by(self._device())

    def _write_by(self, device: Device) -> None:
        if device.is_reader:
            return
        copy = self._copy(device)
        for _ in range(1 + self._choices.weighted((4, 2, 1))):
            self._world.write(device, copy)
            self._world.note(f"device {device.number} writes to {copy.path}: its version {copy.local.version}")
        device.connect()

    def _unbind(self) -> None:
        device = self._device()
        copy = self._copy(device)
        if copy.is_wanted:
            self._world.note(f"device {device.number} stops syncing {copy.path}")
            device.unbind(copy)
        else:
            self._world.note(f"device {device.number} syncs {copy.path} again")
            copy.is_wanted = True
            device.bind(copy)

    def _ping(self) -> None:
        device = self._device()
        self._world.note(f"device {device.number} sends a PING")
        device.ping()

    def _restart_app(self) -> None:
        """The app is killed and started again. What it sent may still arrive, and the server hear of it late or not at
        all: then two connections of one client file are there."""
        device = self._device()
        wire = device.wire
        is_half_open = False
        if wire is not None:
            is_half_open = bool(self._choices.below(2))
            wire.client = None
            wire.to_client.clear()
            wire.cut(self._choices.below(len(wire.to_server) + 1), 0, server_knows=not is_half_open)
            device.forget_connection(is_fast=self._choices.one_in(2))
        device.is_online = True
        self._world.note(
            f"the app on device {device.number} is killed and started again"
            + (", its old connection stays half open" if is_half_open else "")
        )
        device.connect()

    def _hold(self) -> None:
        """A thread stands still for a while, at work or before it returns; or all go on."""
        world = self._world
        for _ in range(self._choices.below(8)):
            world.event()
        if world.server is None or self._choices.one_in(3):
            world.note("the threads go on")
            world.held.clear()
        elif world.server.workers.jobs:
            job = self._choices.pick(world.server.workers.jobs)
            world.note(f"a thread stands still, {'at work' if job.result is None else 'before it returns'}")
            world.held.append(job)

    # The network.

    def _cut(self) -> None:
        wires = [wire for wire in self._world.wires if not wire.is_cut]
        if not wires:
            return
        wire = self._choices.pick(wires)
        half = self._choices.weighted((3, 1, 1))
        up, down = self._choices.below(len(wire.to_server) + 1), self._choices.below(len(wire.to_client) + 1)
        wire.cut(up, down, server_knows=half != 1, client_knows=half != 2)
        told = ("", ", the server does not know", ", the client does not know")[half]
        self._world.note(f"c{wire.number} is cut{told}; {up} messages up and {down} down still arrive")

    def _stall(self) -> None:
        """A line stands still in one direction, or goes on. So a client can go on uploading what it wrote without
        knowing of the others, and the server go on without hearing of a client."""
        if not self._world.wires:
            return
        wire = self._choices.pick(self._world.wires)
        if self._choices.below(3):
            wire.is_stalled_down = not wire.is_stalled_down
            self._world.note(f"c{wire.number} down {'stands still' if wire.is_stalled_down else 'goes on'}")
        else:
            wire.is_stalled_up = not wire.is_stalled_up
            self._world.note(f"c{wire.number} up {'stands still' if wire.is_stalled_up else 'goes on'}")

    def _offline(self) -> None:
        device = self._device()
        device.is_online = not device.is_online
        self._world.note(f"device {device.number} goes {'online' if device.is_online else 'offline'}")
        if device.is_online:
            device.connect()
        else:
            self._leave(device)

    def _leave(self, device: Device) -> None:
        device.is_online = False
        if device.wire is not None:
            device.wire.cut(0, 0)

    def _long_away(self) -> None:
        """A device is cut off, perhaps with what it has written, until history is older than is kept."""
        device = self._device()
        device.is_online = not device.is_online
        self._world.note(f"device {device.number} {'comes back' if device.is_online else 'goes away for long'}")
        if device.is_online:
            device.connect()
            return
        if device.wire is not None:
            device.wire.cut(self._choices.below(len(device.wire.to_server) + 1), 0)
        for _ in range(self._choices.below(3)):
            others = [other for other in self._world.devices if other is not device and not other.is_reader]
            if others:
                other = self._choices.pick(others)
                self._world.write(other, self._copy(other))

    def _glimpse(self) -> None:
        """A device comes, and is cut off as soon as it has got something: in the middle of the history, perhaps."""
        world = self._world
        empty = [
            device
            for device in world.devices
            if not any(copy.local.file.download.server_version for copy in device.copies.values())
        ]
        if empty and self._choices.below(3):
            device = self._choices.pick(empty)
        elif len(world.devices) < MAX_DEVICES and self._choices.below(2):
            device = world.join()
        else:
            device = self._device()
        world.note(f"device {device.number} comes for a moment")
        device.is_online = True
        device.connect()
        before = [copy.local.file.download for copy in device.copies.values()]
        for _ in range(MOMENT):
            moved = [copy.local.file.download for copy in device.copies.values()] != before
            if moved or not world.event(in_order=True):
                break
        device.is_online = False
        if device.wire is not None:
            device.wire.cut(self._choices.below(len(device.wire.to_server) + 1), 0)

    def _join(self) -> None:
        """A new device comes; it may leave with its ident and nothing else."""
        if len(self._world.devices) >= MAX_DEVICES:
            return
        self._world.note("a new device comes")
        device = self._world.join()
        if self._choices.below(2):
            while not any(copy.local.file.ident for copy in device.copies.values()):
                if not self._world.event(in_order=True):
                    return
            self._world.note(f"device {device.number} goes offline")
            device.is_online = False
            if device.wire is not None:
                device.wire.cut(0, 0)

    # The server and its disk.

    def _crash(self) -> None:
        kept: dict[str, int] = {}
        for name, journal in self._world.disk.journals.items():
            last = len(journal.commits)
            least = max(0, last - LOSABLE) if self._world.profile.lies else journal.durable
            kept[name] = last - self._choices.below(last - least + 1)
        self._end("the server is killed", kept)

    def _end(self, how: str, kept: dict[str, int]) -> None:
        world = self._world
        lost = {name: len(world.disk.journals[name].commits) - count for name, count in kept.items()}
        told = ", ".join(f"{count} commits of {name}" for name, count in lost.items() if count)
        world.note(how + (f"; {told} are lost" if told else ""))
        if world.server is not None:
            world.end(kept)
            for wire in world.wires:
                wire.cut(0, self._choices.below(len(wire.to_client) + 1), client_knows=not self._choices.one_in(4))
        world.start()

    def _stop(self) -> None:
        world = self._world
        if world.server is None:
            world.note("the server is started")
            world.start()
        elif not world.server.is_stopping:
            world.note("the server is told to stop")
            world.server.stop()

    def _fill(self) -> None:
        self._world.note("the disk is full for one commit")
        self._world.disk.is_full = True

    def _restore(self) -> None:
        """Stop the server hard, put back a backup of all Realms or of one, start again. Each of them is what the Realm
        once was; most are young."""
        journals = self._world.disk.journals
        if self._world.server is None:
            return
        chosen = self._choices.below(len(journals) + 1)
        is_old = self._choices.one_in(4)
        kept: dict[str, int] = {}
        for number, (name, journal) in enumerate(journals.items(), 1):
            kept[name] = journal.durable
            if chosen in (0, number):
                kept[name] -= self._choices.below((journal.durable if is_old else min(journal.durable, LOSABLE)) + 1)
        self._end("a backup is put back", kept)
        if self._choices.below(2):
            self._stay_away()

    def _stay_away(self) -> None:
        """One device stays away for now. The others come back, are reset if they are ahead, and are in sync again: what
        they write from now on makes versions that the absent one may know from before, with other content."""
        world = self._world
        absent = self._device()
        world.note(f"device {absent.number} stays away, the others come back")
        self._leave(absent)
        for device in world.devices:
            device.connect()
        for _ in range(2):  # to be told, and to come again
            world.rest()
            world.clock.now += RETRY_DELAY
        for _ in range(self._choices.below(2 * LOSABLE)):
            device = self._device()
            if device is not absent:
                self._write_by(device)
                world.rest()
