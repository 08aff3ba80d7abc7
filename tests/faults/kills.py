"""Kills a loaded server again and again, and looks at what it left.

    PYTHONPATH=tests python -m faults.kills --kills 200 --clients 50 --seed 1 [--realms 10] [--pause 0.5] [--keep DIR]

A death comes at a random moment, at a named point (``points``), while the server starts, or after it was stopped for a
while. With the same seed the same deaths are tried; what clients and server are at then is up to the machine. Prints
each kind of death with its number, and the verdict; exits with 1 if anything is wrong. ``FAULTS_SOURCE`` in the
environment names another source tree for the server (``run``).
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import evolve
from server_process import WORKERS

from faults.points import COMMITS, RARE, any_call
from faults.run import LoadEnded, Run, one_line
from faults.shim import SYSTEM, Rule
from faults.verdict import Verdict

LATEST: Final = 1.5
"""Seconds after a start at which a random death comes at the latest."""

LATEST_COMMIT: Final = 40
"""A point that every commit has may be that of any commit up to this one."""

LATEST_CALL: Final = 10
"""A start makes about so many calls that change something."""

PATIENCE: Final = 12.0
"""Seconds for a point to be reached; after that death comes anyhow, and counts as a random one."""

LONG_PATIENCE: Final = 60.0
"""The same where a certain point is wanted."""

RECOVERY: Final = 8
"""Every so many deaths the clients get the time to come to each be acknowledged once, on average."""


class Killer:
    """Chooses and carries out deaths. ``deaths`` counts them by their kind."""

    def __init__(self, run: Run, seed: int, clients: int) -> None:
        self._run = run
        self._chance = random.Random(seed)
        self._clients = clients
        self._kinds: list[Callable[[], str]] = [self._at_random, self._at_commit, self._at_rare, self._at_start]
        self._kinds += [self._at_commit, self._at_random, self._while_stopped]
        if WORKERS:
            self._kinds += [self._front_alone, self._one_worker]
        self.deaths: Counter[str] = Counter()

    def kill(self) -> str:
        """One death, of a server that runs, and the start after it; what kind it was. Raises LoadEnded."""
        self._run.load.check()
        kind = self._chance.choice(self._kinds)()
        self.deaths[kind] += 1
        self._go_on()
        if self.deaths.total() % RECOVERY == 0:
            self._run.load.wait_for_more(self._clients)
        return kind

    def kill_at(self, name: str, rule: Rule) -> str:
        """As :meth:`kill`, at the named point."""
        self._run.load.check()
        kind = self._die_at(name, rule, LONG_PATIENCE)
        self.deaths[kind] += 1
        self._go_on()
        return kind

    def _go_on(self) -> None:
        self._run.shim.disarm()
        if not self._run.server.is_running:
            self._run.server.start()

    def _at_random(self) -> str:
        time.sleep(self._chance.uniform(0, LATEST))
        self._run.server.kill()
        return "at random"

    def _front_alone(self) -> str:
        """Its workers finish what they have; the next server waits for them."""
        time.sleep(self._chance.uniform(0, LATEST))
        self._run.server.kill_front()
        return "the front at random"

    def _one_worker(self) -> str:
        """It is started again, and the others go on."""
        time.sleep(self._chance.uniform(0, LATEST))
        workers = self._run.server.worker_pids()
        if workers:  # else all have just died
            os.kill(self._chance.choice(workers), signal.SIGKILL)
        return "a worker at random"

    def _at_commit(self) -> str:
        name = self._chance.choice(sorted(COMMITS))
        return self._die_at(name, evolve(COMMITS[name], nth=self._chance.randint(1, LATEST_COMMIT)))

    def _at_rare(self) -> str:
        name = self._chance.choice(sorted(RARE))
        return self._die_at(name, RARE[name])

    def _at_start(self) -> str:
        """Twice: the second death is that of a start."""
        run = self._run
        run.server.kill()
        run.shim.arm(any_call(self._chance.randint(1, LATEST_CALL)))
        try:
            run.server.start()
        except AssertionError:
            assert run.server.wait() == -signal.SIGKILL, run.server.text()
            return "while it starts"
        run.server.kill()
        return "soon after its start"

    def _while_stopped(self) -> str:
        run = self._run
        time.sleep(self._chance.uniform(0, LATEST))
        os.kill(run.server.pid, signal.SIGSTOP)
        time.sleep(self._chance.uniform(0, LATEST))
        if self._chance.random() < 0.5:
            os.kill(run.server.pid, signal.SIGCONT)
            time.sleep(self._chance.uniform(0, LATEST))
        run.server.kill()
        return "stopped before"

    def _die_at(self, name: str, rule: Rule, patience: float = PATIENCE) -> str:
        run = self._run
        fired = len(run.shim.fired())
        run.shim.arm(rule)
        try:
            run.shim.wait_until_fired(fired + 1, patience)
        except AssertionError:
            run.load.check()
            run.server.kill()
            return "at random, since a point was not reached"
        if rule.action == "stop":
            time.sleep(self._chance.uniform(0, LATEST))
            if self._chance.random() < 0.5:
                for pid in run.server.worker_pids() or [run.server.pid]:
                    os.kill(pid, signal.SIGCONT)
            run.server.kill()
        elif WORKERS and rule.pattern != SYSTEM:
            # A worker has died, perhaps both; the front starts them again, unless it comes to its end as well.
            if self._chance.random() < 0.5:
                run.server.kill()
        else:
            assert run.server.wait() == -signal.SIGKILL, run.server.text()
        return name


def kill_often(
    directory: Path, *, kills: int, clients: int, realms: int, seed: int, pause: float, tell: Callable[[str], None]
) -> tuple[Verdict, Counter[str]]:
    """Kill a loaded server ``kills`` times; the verdict, and the deaths. What each single one was goes to ``tell``."""
    with Run(directory) as run:
        run.begin(clients=clients, realms=realms, seed=seed, pause=pause)
        killer = Killer(run, seed, clients)
        begun = time.monotonic()
        for number in range(1, kills + 1):
            try:
                kind = killer.kill()
            except LoadEnded:
                break
            tell(f"{time.monotonic() - begun:7.1f} s  kill {number}: {kind}")
        return run.verdict(), killer.deaths


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m faults.kills", description="Kill a loaded server again and again.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--realms", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two writes of a client, on average")
    parser.add_argument("--keep", type=Path, help="a new directory for data, logs and journal, which stays")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        directory: Path = options.keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        verdict, deaths = kill_often(
            directory,
            kills=options.kills,
            clients=options.clients,
            realms=options.realms,
            seed=options.seed,
            pause=options.pause,
            tell=lambda text: print(text, flush=True),
        )
    for kind, number in deaths.most_common():
        print(f"{number:5}  {kind}")
    print(f"{deaths.total()} kills, {one_line(verdict)}")
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main())
