"""Memory for open Realms: what LMDB asks for and does not touch is not there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from realmserver.process.memory import YOUNG, keep_large_blocks_apart

REALMS = 20

OPEN = f"""
import os, re, sys
from pathlib import Path
from realmserver.process.memory import keep_large_blocks_apart
from realmserver.store.lmdb_store import LmdbStore

def held():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

if sys.argv[2] == "apart" and not keep_large_blocks_apart():
    sys.exit("not glibc")
store = LmdbStore(Path(sys.argv[1]), random_bytes=os.urandom)
store.open("/first", create=True)
before = held()
for number in range({REALMS}):
    store.open(f"/{{number}}", create=True)
print((held() - before) // {REALMS})
"""


SELDOM = """
import gc
from realmserver.process.memory import look_for_garbage_seldom

look_for_garbage_seldom()
print(gc.get_freeze_count() > 1000, len(gc.get_objects()) < 1000, gc.get_threshold()[0])
"""


def kilobytes_each(root: Path, way: str) -> int:
    answer = subprocess.run([sys.executable, "-c", OPEN, root, way], capture_output=True, text=True, check=True)
    return int(answer.stdout)


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="the C library is not glibc")
def test_an_open_realm_takes_some_kilobytes(tmp_path: Path) -> None:
    assert kilobytes_each(tmp_path / "apart", "apart") < 100


def test_another_c_library_is_left_alone() -> None:
    assert not keep_large_blocks_apart(object())


def test_python_does_not_look_at_the_program_itself_for_garbage() -> None:
    answer = subprocess.run([sys.executable, "-c", SELDOM], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["True", "True", str(YOUNG)]
