"""Running one history, and making one that fails short."""

import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import sha256
from typing import Final

from attrs import define, frozen

from .actions import Actions
from .choices import Choices, Script, Violation
from .profiles import Profile
from .promises import check_all, check_folded
from .shrinking import QUIET
from .world import Note, World

SHRINK_SECONDS: Final = 60.0
"""Time that may be spent on making a history short."""


KIND_LENGTH: Final = 40
"""Characters of a failure that say what kind it is of; what comes later are details."""


@define
class Outcome:
    """How a history ended: ``failure`` is None if all promises were kept. ``digest`` tells two histories apart."""

    script: Script
    failure: BaseException | None
    world: World | None

    @property
    def digest(self) -> str:
        """Of all that is in the logs at the end."""
        hashed = sha256(repr(self.script).encode())
        if self.world is not None:
            for journal in self.world.disk.journals.values():
                hashed.update(repr(journal.commits).encode())
        return hashed.hexdigest()


def run(profile: Profile, choices: Choices, note: Note | None = None) -> Outcome:
    """Run one history and look at its end. A bug of the simulator ends it as a failure too."""
    world: World | None = None
    try:
        with ExitStack() as undo:
            world = World(profile, choices, undo, note)
            actions = Actions(world)
            while choices.next_step():
                actions.step()
            if profile.folds:
                world.note("time passes for those who are there")
                world.heal_server()
                world.pass_time(QUIET)
                check_folded(world)
            world.note("the world is healed")
            world.heal()
            check_all(world)
    except (Violation, Exception) as failure:  # noqa: BLE001 (whatever it is, the seed has to be told)
        return Outcome(choices.script, failure, world)
    return Outcome(choices.script, None, world)


@frozen
class Shrunk:
    """The shortest script found, how it fails, and how many were tried."""

    script: Script
    failure: BaseException
    tried: int


def shrink(profile: Profile, failed: Outcome, progress: Callable[[], object] = lambda: None) -> Shrunk:
    """Make the script of a failed history as short and dull as can be, while it still fails."""
    assert failed.failure is not None
    best = Shrunk(failed.script, failed.failure, 0)
    deadline = time.monotonic() + SHRINK_SECONDS
    kind = _kind(failed)

    def better(script: Script) -> bool:
        nonlocal best
        if time.monotonic() > deadline:
            return False
        progress()
        outcome = run(profile, Choices(script=script))
        is_smaller = _kind(outcome) == kind and _size(outcome.script) < _size(best.script)
        if is_smaller and outcome.failure is not None:
            best = Shrunk(outcome.script, outcome.failure, best.tried + 1)
        else:
            best = Shrunk(best.script, best.failure, best.tried + 1)
        return is_smaller

    while any([_without_steps(lambda: best.script, better), _with_smaller_numbers(lambda: best.script, better)]):
        pass
    return best


def _kind(outcome: Outcome) -> str:
    """What went wrong, without the numbers: making a history short must not lead to another fault."""
    return re.sub("[0-9]+", "0", repr(outcome.failure))[:KIND_LENGTH] if outcome.failure is not None else ""


def _size(script: Script) -> tuple[int, int, int]:
    return len(script), sum(map(len, script)), sum(map(sum, script))


def _without_steps(script: Callable[[], Script], better: Callable[[Script], bool]) -> bool:
    found = False
    length = len(script()) // 2
    while length:
        start = len(script()) - length
        while start >= 1:
            now = script()
            if better(now[:start] + now[start + length :]):
                found = True
            start -= length
        length //= 2
    return found


def _with_smaller_numbers(script: Callable[[], Script], better: Callable[[Script], bool]) -> bool:
    found = False
    for step in range(len(script())):
        place = 0
        while step < len(script()) and place < len(script()[step]):
            now = script()
            number = now[step][place]
            for smaller in dict.fromkeys((0, number // 2, number - 1)):
                if smaller < number and better(
                    [*now[:step], [*now[step][:place], smaller, *now[step][place + 1 :]], *now[step + 1 :]]
                ):
                    found = True
                    break
            else:
                place += 1
    return found
