"""Servers that are broken on purpose (``tests/mutants``): each suite that is meant to find such a fault does find it,
by one of its tests, which runs against the broken server and fails for the right reason.

That the same test passes with the server as it is, the suite itself shows. What the simulator finds is in
``tests/sim/test_sim.py``; the whole table, with what takes too long for here, in ``docs/testing.md``.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from subprocess import CompletedProcess
from typing import Final

import pytest
from attrs import frozen
from faults.shim import require_shim
from mutant import (
    ACKNOWLEDGE_BEFORE_COMMIT,
    DROP_RECIPROCAL,
    INTEGRATE_AGAIN,
    NO_FSYNC,
    SKIP_SALT_CHECK,
    make_mutant,
    run_mutant,
)

pytestmark = pytest.mark.system

FAILED: Final = 1
"""What pytest returns where tests ran and some failed; a test that is not there or cannot be imported makes it more."""


@frozen
class Case:
    """A test that the server ``mutant`` must not pass, and what it says then (a pattern)."""

    mutant: str
    test: str
    says: str
    needs_shim: bool = False


CASES: Final = (
    Case(
        ACKNOWLEDGE_BEFORE_COMMIT,
        "tests/system/test_kills.py::test_deaths_at_named_points_lose_nothing_and_double_nothing",
        r"Acknowledgement\(.*\) is missing",
        needs_shim=True,
    ),
    Case(
        ACKNOWLEDGE_BEFORE_COMMIT,
        "tests/system/test_disk_faults.py::test_a_disk_that_fails_for_a_while_costs_nothing_but_time",
        r"Acknowledgement\(.*\) is missing",
        needs_shim=True,
    ),
    Case(
        ACKNOWLEDGE_BEFORE_COMMIT,
        "tests/system/test_sent_again.py::test_after_a_crash_what_was_acknowledged",
        "what was acknowledged is not there once",
    ),
    Case(
        DROP_RECIPROCAL,
        "tests/unit/realms/test_replay.py::test_every_session_of_the_real_implementation_is_reproduced[drop.jsonl.gz]",
        "first mismatch in uploads: drop-",
    ),
    Case(
        DROP_RECIPROCAL,
        "tests/unit/realms/test_integrate.py::test_the_reciprocal_history_is_kept_for_the_next_upload",
        "BadUpload.*A list has different sizes on the two sides",
    ),
    Case(
        DROP_RECIPROCAL,
        "tests/system/test_sent_again.py::test_after_a_crash_a_client_that_is_behind_is_merged_as_before",
        "A list has different sizes on the two sides",
    ),
    Case(
        SKIP_SALT_CHECK,
        "tests/system/test_backup_restore.py"
        "::test_versions_made_anew_after_the_restore_are_211_for_who_has_the_old_ones",
        r"AssertionError: Download\(",  # instead of the error
    ),
    Case(
        SKIP_SALT_CHECK,
        "tests/unit/realms/test_identify.py::test_a_client_whose_history_is_another_one_is_not_let_in[3]",
        "DID NOT RAISE.*DivergingHistories",
    ),
    Case(
        NO_FSYNC,
        "tests/system/test_disk_faults.py::test_what_cannot_be_synced_is_not_acknowledged",
        "acknowledged, but not synced",
        needs_shim=True,
    ),
    Case(
        INTEGRATE_AGAIN,
        "tests/system/test_sent_again.py::test_on_a_new_connection",
        "what was acknowledged is not there once",
    ),
)


AT_ONCE: Final = 2
"""Of a test with real servers, much is waiting."""

Find = Callable[[Case], CompletedProcess[str]]


@pytest.fixture(scope="module")
def find(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Find]:
    """How the test of a case ends. Those of all cases that were chosen are begun at once, in copies of the source that
    are made once."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    parameters = [item.callspec.params for item in items if item.module is request.module]
    cases = [case for each in parameters if isinstance(case := each["case"], Case)]
    targets = {case.mutant: tmp_path_factory.mktemp(case.mutant) for case in cases}
    for name, target in targets.items():
        make_mutant(name, target)

    def run(case: Case) -> CompletedProcess[str]:
        own = tmp_path_factory.mktemp("run")
        arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={own}", case.test]
        return run_mutant(targets[case.mutant], arguments)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        runs = {case: threads.submit(run, case) for case in cases}
        yield lambda case: runs[case].result()
        threads.shutdown(cancel_futures=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.mutant} {case.test.rpartition('::')[2]}")
def test_the_suite_finds_the_broken_server(case: Case, find: Find) -> None:
    if case.needs_shim:
        require_shim()
    found = find(case)
    assert found.returncode == FAILED, found.stdout + found.stderr
    assert re.search("^1 failed in ", found.stdout, re.MULTILINE), found.stdout
    assert re.search(f"^E .*{case.says}", found.stdout, re.MULTILINE), found.stdout
