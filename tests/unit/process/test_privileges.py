"""Who may run the server."""

import os
from pathlib import Path

import pytest

from realmserver.process.privileges import RootRefused, check_user, hand_over

NOBODY = 65534


@pytest.mark.parametrize("becomes", [None, 0])
def test_root_is_refused_and_told_what_to_do(becomes: int | None) -> None:
    with pytest.raises(RootRefused) as caught:
        check_user(0, becomes, allow_root=False)
    for way in ("--user NAME", "--uid NAME", "--allow-root"):
        assert way in str(caught.value)


def test_others_run_and_root_does_if_it_insists_or_becomes_another() -> None:
    check_user(1000, None, allow_root=False)
    check_user(0, None, allow_root=True)
    check_user(0, NOBODY, allow_root=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_roots_log_file_is_given_to_the_user_that_the_server_becomes(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.touch()
    hand_over(file, None)
    assert file.stat().st_uid == 0
    hand_over(file, NOBODY)
    assert file.stat().st_uid == NOBODY
