"""What processes take, children too."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.usage import Usage, forget_peak, usage

PARENT = """
import subprocess, sys
block = b"x" * (40 << 20)
sum(range(3_000_000))
child = subprocess.Popen([sys.executable, "-c", "block = b'x' * (40 << 20); print('ready', flush=True); input()"])
input()
child.kill()
"""


@pytest.fixture
def family() -> Iterator[int]:
    """A process with a child; each holds 40 MiB."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        assert parent.stdout.readline() == "ready\n"
        yield parent.pid
        parent.communicate("\n")


def test_a_family_is_counted_together(family: int) -> None:
    found = usage(family)
    assert found.cpu > 0
    assert 80 < found.own < found.resident <= found.peak < 200


def test_a_peak_can_be_forgotten(family: int) -> None:
    forget_peak(family)
    found = usage(family)
    assert found.peak == pytest.approx(found.resident, rel=0.1)


def test_who_is_gone_takes_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert usage(gone.pid) == Usage(0.0, 0.0, 0.0, 0.0)
    forget_peak(gone.pid)
