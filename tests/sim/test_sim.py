"""A fixed set of simulated histories, and the proof that the simulator can find something.

More of them: ``python -m tests.sim`` (``docs/testing.md``).
"""

import gc
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mutant import (
    ACKNOWLEDGE_BEFORE_COMMIT,
    DROP_RECIPROCAL,
    INTEGRATE_AGAIN,
    MUTANTS,
    SKIP_SALT_CHECK,
    TORN_SQUASH,
    make_mutant,
    run_mutant,
)

from sim.choices import Choices, from_text, to_text
from sim.histories import Outcome, run, shrink
from sim.profiles import PROFILES

ROOT = Path(__file__).resolve().parents[2]

SEEDS_AT_A_TIME = 20
BLOCKS = 3


@pytest.fixture(autouse=True)
def no_collections() -> Iterator[None]:
    """Worlds are full of cycles; looking for them all the time is slow."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.parametrize("profile", PROFILES)
def test_promises_are_kept(profile: str, block: int) -> None:
    for seed in range(block * SEEDS_AT_A_TIME, (block + 1) * SEEDS_AT_A_TIME):
        outcome = run(PROFILES[profile], Choices(seed=seed))
        assert outcome.failure is None, f"python -m tests.sim --profile {profile} --seed {seed}"


def test_clients_are_reset_where_the_server_has_lost_something() -> None:
    for profile in ("restore", "lying-fsync"):
        outcomes = [run(PROFILES[profile], Choices(seed=seed)) for seed in range(SEEDS_AT_A_TIME)]
        assert sum(outcome.world.resets for outcome in outcomes if outcome.world is not None) > 0


def test_history_is_folded_and_whoever_comes_too_late_is_reset() -> None:
    outcomes = [run(PROFILES["history"], Choices(seed=seed)) for seed in range(SEEDS_AT_A_TIME)]
    worlds = [outcome.world for outcome in outcomes if outcome.world is not None]
    journals = [journal for world in worlds for journal in world.disk.journals.values()]
    assert sum(journal.kept.base_version > 0 for journal in journals) > 5
    assert sum(client.start_version > 0 for journal in journals for client in journal.kept.clients.values()) > 5
    assert sum(world.expired for world in worlds) > 2


@pytest.mark.parametrize("profile", PROFILES)
def test_a_script_is_the_same_history_as_its_seed(profile: str) -> None:
    told: list[list[str]] = [[], []]
    seeded = run(PROFILES[profile], Choices(seed=7), told[0].append)
    again = run(PROFILES[profile], Choices(script=from_text(to_text(seeded.script))), told[1].append)
    assert again.digest == seeded.digest
    assert told[0] == told[1]


def test_a_history_does_not_depend_on_the_order_in_which_python_hashes() -> None:
    program = (
        "from tests.sim.histories import run\n"
        "from tests.sim.choices import Choices\n"
        "from tests.sim.profiles import PROFILES\n"
        "print([run(profile, Choices(seed=3)).digest for profile in PROFILES.values()])\n"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1]


def test_a_history_that_fails_becomes_short(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = run(PROFILES["crash"], Choices(seed=1))
    assert failed.failure is None
    real = run

    def has_a_kill(profile: object, choices: Choices) -> Outcome:
        told: list[str] = []
        outcome = real(PROFILES["crash"], choices, told.append)
        killed = [line for line in told if line.startswith("the server is killed")]
        return Outcome(outcome.script, ValueError("killed") if killed else None, outcome.world)

    monkeypatch.setattr("sim.histories.run", has_a_kill)
    seed = next(seed for seed in range(100) if has_a_kill(None, Choices(seed=seed)).failure)
    shrunk = shrink(PROFILES["crash"], has_a_kill(None, Choices(seed=seed)))
    assert len(shrunk.script) == 2, "the setup, and the kill"


@pytest.mark.parametrize("name", MUTANTS)
def test_patches_apply_to_this_source(name: str, tmp_path: Path) -> None:
    make_mutant(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "profile", "histories", "says"),
    [
        (ACKNOWLEDGE_BEFORE_COMMIT, "crash", 5, "is shown, only"),
        (DROP_RECIPROCAL, "behind", 40, "different sizes|holds"),
        (SKIP_SALT_CHECK, "restore", 60, "is let in although the server has lost"),
        (INTEGRATE_AGAIN, "crash", 200, "the log has|prior size"),
        (SKIP_SALT_CHECK, "lying-fsync", 80, "is let in although the server has lost"),
        (TORN_SQUASH, "history", 300, "the squash up to version [0-9]+ leads to"),
    ],
)
def test_broken_servers_are_found(name: str, profile: str, histories: int, says: str, tmp_path: Path) -> None:
    make_mutant(name, tmp_path)
    arguments = ["-m", "tests.sim", "--profile", profile, "--histories", str(histories), "--as-it-is"]
    found = run_mutant(tmp_path, arguments)
    assert found.returncode == 1, found.stdout + found.stderr
    assert re.search(f"FAILED.*{says}", found.stdout), found.stdout
