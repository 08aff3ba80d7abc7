"""The limit of open files is raised as far as it goes, and what is missing is told."""

import pytest

from realmserver.process.open_files import raise_limit, shortage


class System:
    """In place of ``resource``."""

    RLIMIT_NOFILE = 7

    def __init__(self, soft: int, hard: int, grants: bool = True) -> None:
        self.limits = soft, hard
        self._grants = grants

    def getrlimit(self, which: int) -> tuple[int, int]:
        return self.limits

    def setrlimit(self, which: int, limits: tuple[int, int]) -> None:
        if not self._grants:
            raise ValueError("not allowed to raise maximum limit")
        self.limits = limits


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    system = System(1024, 65_536)
    assert raise_limit(system) == 65_536
    assert system.limits == (65_536, 65_536)


def test_where_the_system_refuses_what_there_is_counts() -> None:
    assert raise_limit(System(1024, 65_536, grants=False)) == 1024


@pytest.mark.parametrize(("allowed", "enough"), [(1024, False), (11_000, True), (-1, True)])
def test_a_shortage_is_told_with_its_numbers(allowed: int, enough: bool) -> None:
    text = shortage(allowed, 10_000, 256)
    assert (text == "") is enough
    assert enough or ("1,024" in text and "10,640" in text)
