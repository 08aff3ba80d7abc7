"""A disk that fails or is full, a server that stands still, a Realm's file that is cut off: nothing acknowledged is
lost, the server stays and goes on by itself, and a damaged Realm hurts nobody else."""

import os
import signal
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from attrs import define, field
from faults.journal import Acknowledgement, read
from faults.run import LoadEnded, Run, one_line
from faults.shim import COMMIT, FOR_EVER, REALMS, SYNC, SYSTEM, TRUNCATE, WRITE, Rule, Shim, require_shim, wait_for
from raw_sync import RawSync, log_in, sync_path, upgrade_request
from server_process import ServerProcess
from sync_neighbours import new_table
from sync_verdicts import entry

from realmserver.realms.requests import UploadCursor
from realmserver.store.lmdb_environment import DATA_FILE
from realmserver.sync import server_messages as s2c

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("_shim")]

LOAD = {"clients": 9, "realms": 3, "seed": 6, "pause": 0.2}

ANY_FILE = "*"

META = struct.Struct("@NHHHH" + "IIPN" + "IHHNNNNN" * 2 + "NN")
"""The start of LMDB's file: a page's header, and the meta record, whose last three fields are the root of the tables,
the last page in use and the number of the transaction."""

_PAGE = os.sysconf("SC_PAGE_SIZE")

MOUNT_SIZE = 8 << 20
"""Bytes of the small disk: room for a few Realms, and filled within seconds."""


@pytest.fixture(scope="module")
def _shim() -> None:
    require_shim()


def check(run: Run) -> None:
    verdict = run.verdict()
    print(verdict)
    assert verdict.problems == [], one_line(verdict)


ONCE = {
    "pages that cannot be written": Rule("EIO", WRITE, REALMS, nth=3),
    "pages written by half": Rule("short", WRITE, REALMS, nth=3),
    "pages that cannot be synced": Rule("EIO", SYNC, REALMS, nth=3),
    "pages that are synced, but said not to be": Rule("EIO-after", SYNC, REALMS, nth=3),
    "a commit that cannot be written": Rule("EIO", COMMIT, REALMS, nth=3),
    "a commit that is written, but said not to be": Rule("EIO-after", COMMIT, REALMS, nth=3),
    "a file that cannot grow": Rule("ENOSPC", TRUNCATE, REALMS),
    "a login that cannot be committed": Rule("EIO", COMMIT, SYSTEM),
}

WHILE = {
    "a disk with errors": Rule("EIO", WRITE + COMMIT + SYNC, REALMS, count=FOR_EVER),
    "a full disk": Rule("ENOSPC", WRITE + COMMIT + TRUNCATE, ANY_FILE, count=FOR_EVER),
}


def test_a_disk_that_fails_for_a_while_costs_nothing_but_time(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.begin(**LOAD, large=0.3)  # files grow soon
        pid = run.server.pid
        with suppress(LoadEnded):  # of which the verdict tells
            go_through(run, ONCE | WHILE)
        assert run.server.pid == pid
        os.kill(pid, 0)
        check(run)
        assert "no room is left on the disk" in run.server.text()


def go_through(run: Run, faults: Mapping[str, Rule]) -> None:
    """One fault after the other; after each, the clients go on."""
    fired = 0
    for name, rule in faults.items():
        print(name)
        run.shim.arm(rule)
        fired += 1 if rule.count == 1 else 20
        run.shim.wait_until_fired(fired)
        run.shim.disarm()
        fired = len(run.shim.fired())
        run.load.wait_for_more(10)


def test_a_server_that_stands_still_in_the_middle_of_a_commit_goes_on(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.begin(**LOAD)
        for number, calls in enumerate((WRITE, SYNC, COMMIT), 1):
            run.shim.arm(Rule("stop", calls, REALMS, nth=number))
            run.shim.wait_until_fired(number)
            time.sleep(0.5)  # clients write on, and some come back on other connections
            run.shim.disarm()
            for pid in (run.server.pid, *run.server.worker_pids()):
                os.kill(pid, signal.SIGCONT)
            run.load.wait_for_more(20)
        check(run)


def test_what_cannot_be_synced_is_not_acknowledged(server_process: ServerProcess, tmp_path: Path) -> None:
    shim = Shim(server_process, tmp_path)
    server_process.start()
    request = upgrade_request(sync_path(log_in(server_process.port).access_token))
    with RawSync(server_process.port, request) as client:
        file, _ = client.join('"synced"')
        shim.arm(Rule("EIO", SYNC, REALMS, count=FOR_EVER))
        client.upload([entry(2, 0, new_table())], UploadCursor(2, 0))
        answer = client.next()
        assert isinstance(answer, s2c.JsonError), f"acknowledged, but not synced: {answer}"
        assert answer.content["tryAgain"]
        assert shim.fired()
        shim.disarm()
    with RawSync(server_process.port, request) as client:
        client.rejoin('"synced"', file)
        client.upload([entry(2, 0, new_table())], UploadCursor(2, 0))
        while client.expect(s2c.Download).head.upload.client_version < 2:
            pass


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that is soon full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={MOUNT_SIZE}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root, who may mount a small file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_stops_writing_until_there_is_room_again(tmp_path: Path, small_disk: Path) -> None:
    with Run(tmp_path) as run:
        run.server.root = small_disk / "data"
        run.server.settings = "limits: {disk_reserve: 0}\n"  # the disk is smaller than the usual reserve
        ballast = small_disk / "ballast"
        run.begin(**LOAD, large=0.5)
        full = "no room is left"
        with suppress(OSError):  # it takes all that is left
            ballast.write_bytes(bytes(MOUNT_SIZE))
        wait_for(lambda: full in run.server.text(), f"{full!r} in the log")
        ballast.unlink()
        run.load.wait_for_more(20)
        check(run)


@define
class Damage:
    """A Realm's file that is damaged while no server has it open, and mended again."""

    path: Path
    content: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.content = self.path.read_bytes()

    def mend(self) -> None:
        self.path.write_bytes(self.content)

    def cut(self) -> None:
        """The last page that is in use was written by half."""
        _, last_page = _newest_meta(self.content)
        os.truncate(self.path, last_page * _PAGE + _PAGE // 2)

    def garble(self) -> None:
        """A page of the newest transaction, the root of all tables, has never been written."""
        root, _ = _newest_meta(self.content)
        with self.path.open("r+b") as file:
            file.seek(root * _PAGE)
            file.write(bytes(_PAGE))


def _newest_meta(content: bytes) -> tuple[int, int]:
    """LMDB's newest meta record: the page of the root, and the last page in use."""
    metas = [META.unpack_from(content, number * _PAGE) for number in (0, 1)]
    newest = max(metas, key=lambda meta: int(meta[-1]))
    return newest[-3], newest[-2]


def acknowledged_realms(journal: Path, after: int) -> set[str]:
    """The Realms in which anything was acknowledged since there were ``after`` records."""
    return {record.realm for record in list(read(journal))[after:] if isinstance(record, Acknowledgement)}


def test_a_damaged_realm_is_refused_and_hurts_nobody_else(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.begin(**LOAD)
        run.load.wait_for_more(30)
        run.server.kill()
        files = {path: run.server.root / f"user_data/__partition/my-app/string-{path}.realm" for path in ("r0", "r1")}
        cut, garbled = (Damage(directory / DATA_FILE) for directory in files.values())
        cut.cut()
        garbled.garble()
        run.server.start()
        wait_for(lambda: f"{cut.path} is cut short" in run.server.text(), "word of the file that is cut short")
        wait_for(
            lambda: f"{garbled.path} cannot be opened: the file is damaged" in run.server.text(),
            "word of the damaged file",
        )
        journal = run.load.directory / "journal"
        before = len(list(read(journal)))
        wait_for(lambda: "r2" in acknowledged_realms(journal, before), "acknowledgement in the healthy Realm")
        wait_for(lambda: len(acknowledged_realms(journal, before)) > 2, "acknowledgements in new Realms")
        assert not acknowledged_realms(journal, before) & set(files)
        run.server.kill()
        cut.mend()
        garbled.mend()
        run.server.start()
        check(run)
