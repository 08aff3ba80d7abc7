"""Servers killed with SIGKILL under load, at random and at named points: nothing acknowledged is lost, nothing doubled.

A long run with any seed: ``python -m faults.kills`` (with ``PYTHONPATH=tests``).
"""

import signal
from contextlib import suppress
from pathlib import Path

import pytest
from attrs import evolve
from faults.kills import Killer, kill_often
from faults.points import COMMITS, FIRST_START, RARE
from faults.run import LoadEnded, Run, one_line
from faults.shim import Shim, require_shim
from raw_sync import log_in
from server_process import ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("_shim")]

SEED = 5

SETTINGS_OF_THE_LOAD = {"clients": 12, "realms": 3, "seed": SEED, "pause": 0.2}


@pytest.fixture(scope="module")
def _shim() -> None:
    require_shim()


def test_deaths_at_random_moments_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    verdict, deaths = kill_often(tmp_path, kills=4, tell=print, **SETTINGS_OF_THE_LOAD)  # type: ignore[arg-type]
    print(verdict)
    assert verdict.problems == [], one_line(verdict)
    assert deaths.total() == 4
    assert verdict.acknowledgements > 50


def test_deaths_at_named_points_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    points = COMMITS | dict(list(RARE.items())[::2])  # the others have their turn in long runs
    with Run(tmp_path) as run:
        run.begin(**SETTINGS_OF_THE_LOAD, large=0.3)  # files grow soon
        killer = Killer(run, SEED, clients=12)
        with suppress(LoadEnded):  # of which the verdict tells
            for number, (name, rule) in enumerate(points.items()):
                nth = 1 + number % 5 if name in COMMITS else 1
                assert killer.kill_at(name, evolve(rule, nth=nth)) == name
        verdict = run.verdict()
    print(verdict)
    assert verdict.problems == [], one_line(verdict)
    assert verdict.acknowledgements > 50


@pytest.mark.parametrize(
    "point", ["between the two keys", "with half an admin token", "before the system store is in its place"]
)
def test_a_first_start_that_was_cut_off_is_made_up_for_by_the_next(server_process: ServerProcess, point: str) -> None:
    shim = Shim(server_process, server_process.output.parent)
    shim.arm(FIRST_START[point])
    assert server_process.run() == -signal.SIGKILL, server_process.text()
    assert len(shim.fired()) == 1
    shim.disarm()
    server_process.start()
    log_in(server_process.port)
