"""``run-tests`` in lanes: what each says stays together, whatever fails is told, and both end when they are told to."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import lanes
import pytest
from lanes import Lane, Step

pytestmark = pytest.mark.system

WAITS = "import os, sys, time; print('waiting', flush=True); time.sleep(600)"


def step(name: str, program: str) -> Step:
    return Step(name, (sys.executable, "-c", program))


def test_what_fails_is_told_and_what_comes_after_it_is_done(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    one = Lane("one", [step("bad", "raise SystemExit(3)"), step("good", "print('after it')")])
    other = Lane("other", [step("fine", "print('beside it')"), Step("not there", (Path("/not/there"),))])
    assert lanes.run([one, other], ["known before"]) == 1
    said = capfdbinary.readouterr().out.decode()
    assert said.index("==== one") < said.index("after it") < said.index("==== other") < said.index("beside it")
    assert said.endswith("run-tests: FAILED: known before, bad, not there\n")


def test_all_that_passes_is_a_pass(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert lanes.run([Lane("one", [step("a", "")]), Lane("other", [step("b", "")])]) == 0
    assert capfdbinary.readouterr().out.decode().endswith("run-tests: passed\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_both_lanes(number: int) -> None:
    program = (
        "import sys, lanes, test_lanes as t\n"
        "both = [lanes.Lane(name, [t.step(name, t.WAITS), t.step('never', '')]) for name in ('one', 'other')]\n"
        "sys.exit(lanes.run(both))"
    )
    path = os.pathsep.join(str(Path(each.__file__).parent) for each in (lanes, sys.modules[__name__]) if each.__file__)
    running = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    while "waiting" not in running.stdout.readline():
        pass
    running.send_signal(number)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == lanes.INTERRUPTED
    assert said.endswith("run-tests: stopped\n")
    assert "never" not in said


def test_every_directory_of_tests_is_in_one_lane() -> None:
    both = [step.command for lane in lanes.lanes([]) for step in lane.steps if step.name.startswith("pytest")]
    (rest,) = (command for command in both if any(str(word).startswith("--ignore=") for word in command))
    apart = {f"--ignore={command[-1]}" for command in both if command[1:3] == ("-m", "pytest") and command != rest}
    assert apart == set(rest[3:])


def test_with_arguments_there_is_one_lane_and_pytest_has_them() -> None:
    (lane,) = lanes.lanes(["-k", "this"])
    assert lane.steps[-1].command[-2:] == ("-k", "this")
