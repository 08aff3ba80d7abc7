"""``python -m tests.sim``: runs histories until one fails, or as many or as long as asked for.

A history that fails is made as short as can be, told step by step, and can be run again by its seed or its script.
"""

import argparse
import gc
import itertools
import sys
import time
from collections.abc import Iterator
from typing import Final

from tqdm import tqdm

from realmserver._build import complaint

from .choices import Choices, from_text, to_text
from .histories import Outcome, run, shrink
from .profiles import PROFILES, Profile

COLLECT_EVERY: Final = 50
"""Histories between two collections of garbage: worlds are full of cycles, and looking for them at any time is slow."""


def main(arguments: list[str]) -> int:
    """Returns 0 if all promises were kept, 1 if not."""
    asked = _parse(arguments)
    if foreign := complaint():
        raise SystemExit(f"error: {foreign}")
    profiles = [PROFILES[name] for name in asked.profile or PROFILES]
    if asked.script is not None:
        if len(profiles) != 1:
            raise SystemExit("--script needs one --profile")
        return _tell(profiles[0], run(profiles[0], Choices(script=from_text(asked.script)), print))
    if asked.seed is not None and asked.histories is None and asked.minutes is None:
        asked.histories = len(profiles)
    deadline = time.monotonic() + 60 * asked.minutes if asked.minutes else None
    total = asked.histories if asked.histories or deadline else 10_000
    first = asked.seed or 0
    failed: list[str] = []
    gc.disable()
    with tqdm(total=total, unit=" histories", mininterval=1, smoothing=0.02) as bar:
        try:
            for number, (profile, seed) in enumerate(_seeds(profiles, first)):
                if (total and number >= total) or (deadline and time.monotonic() > deadline):
                    break
                outcome = run(profile, Choices(seed=seed))
                if number % COLLECT_EVERY == 0:
                    gc.collect()
                bar.update()
                if outcome.failure is not None:
                    bar.clear()
                    _report(profile, seed, outcome, is_shortened=not asked.as_it_is)
                    failed.append(f"{profile.name} {seed}")
                    if not asked.go_on:
                        return 1
        except KeyboardInterrupt:
            bar.clear()
    print(f"{bar.n} histories, {len(failed)} failed", *failed, sep="\n  ")
    return 1 if failed else 0


def _seeds(profiles: list[Profile], first: int) -> Iterator[tuple[Profile, int]]:
    return ((profile, seed) for seed in itertools.count(first) for profile in profiles)


def _report(profile: Profile, seed: int, failed: Outcome, *, is_shortened: bool) -> None:
    print(f"FAILED: profile {profile.name}, seed {seed}: {failed.failure!r}")
    if not is_shortened:
        return
    with tqdm(unit=" tries", desc="making it shorter", mininterval=1, leave=False) as bar:
        shrunk = shrink(profile, failed, bar.update)
    print(f"as short as it gets, after {shrunk.tried} tries, {len(shrunk.script) - 1} steps:")
    _tell(profile, run(profile, Choices(script=shrunk.script), print))
    print(f"the whole history: python -m tests.sim --profile {profile.name} --seed {seed}")
    print(f"the short one:     python -m tests.sim --profile {profile.name} --script {to_text(shrunk.script)}")


def _tell(profile: Profile, outcome: Outcome) -> int:
    if outcome.failure is None:
        print(f"profile {profile.name}: all promises are kept")
        return 0
    print(f"profile {profile.name}: {type(outcome.failure).__name__}: {outcome.failure}")
    return 1


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="the first seed (alone: only this one is run); default 0")
    parser.add_argument("--histories", type=int, help="how many to run; default 10000, or by --minutes")
    parser.add_argument("--minutes", type=float, help="how long to run")
    parser.add_argument("--profile", action="append", choices=PROFILES, help="kind of history; default all, in turns")
    parser.add_argument("--script", help="run the history of this script, as a failure prints it, and tell it")
    parser.add_argument("--go-on", action="store_true", help="do not stop at the first failure")
    parser.add_argument("--as-it-is", action="store_true", help="do not make failed histories shorter")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
