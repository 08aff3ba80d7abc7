"""The follower's end of a continuous backup, as far as no server is needed."""

import os
from pathlib import Path

from realmserver.backup.follow import _Copy


def test_the_file_of_a_copy_is_closed_once_and_what_is_opened_then_stays_open(tmp_path: Path) -> None:
    copy = _Copy(tmp_path, os.open(tmp_path / "data.mdb", os.O_WRONLY | os.O_CREAT))
    copy.close()
    other = os.open(tmp_path / "other", os.O_WRONLY | os.O_CREAT)
    copy.close()
    os.close(other)
