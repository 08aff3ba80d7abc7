"""``realm-backup`` beside a server that is written to all the time, and what clients are told by the restored one."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from raw_sync import log_in, register
from server_process import PATIENCE, ServerProcess
from sync_neighbours import GoodClient, new_object, new_table

pytestmark = pytest.mark.system

BIN: Final = Path(sys.executable).parent
WRITERS: Final = 4
BACKUPS: Final = 5


def run(command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / command, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)


def restore(server: ServerProcess, backup: Path) -> None:
    """Put the backup in the place of the data directory, as the manual says."""
    shutil.rmtree(server.root)
    shutil.copytree(backup, server.root)


class Writer(threading.Thread):
    """Writes objects to a Realm of its own, one after the other, and remembers how many were acknowledged."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(daemon=True)
        self.path = f'"writer {number}"'
        self.login = log_in(port)
        self.client = GoodClient(port, self.login, self.path)
        self.client.write(new_table())
        self.acknowledged = 1
        self.stopping = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                self.client.write(new_object(self.acknowledged))
                self.acknowledged += 1
        except BaseException as error:  # noqa: BLE001 (the test's thread raises it)
            self.error = error


@contextmanager
def load(port: int) -> Iterator[list[Writer]]:
    """Writers at work."""
    writers = [Writer(port, number) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join(PATIENCE)
            writer.client.close()
    for writer in writers:
        if writer.error is not None:
            raise writer.error


def test_a_backup_under_load_is_consistent_and_holds_what_was_acknowledged_before(
    server_process: ServerProcess, tmp_path: Path
) -> None:
    server_process.start()
    account = ("user@example.com", "correct horse")
    register(server_process.port, *account)
    with load(server_process.port) as writers:
        for number in range(BACKUPS):
            before = {writer.path: writer.acknowledged for writer in writers}
            done = run("realm-backup", "--verify", server_process.root, tmp_path / f"backup {number}")
            assert (done.returncode, done.stderr) == (0, "")
            lines = [line for line in done.stdout.splitlines() if not line.endswith("%")]
            assert lines == [
                f"Backed up {server_process.root} to {tmp_path / f'backup {number}'}.",
                f"{WRITERS} Realms backed up.",
                f"Verified {WRITERS} Realms and the accounts: all is well.",
            ]
        checked = run("realm-admin", "verify", server_process.root)  # beside the writers
        assert (checked.returncode, checked.stderr) == (0, "")
        grown = [writer.acknowledged - before[writer.path] for writer in writers]
    assert min(grown) > 0, "the backup must not hold writers up"
    assert server_process.stop() == 0
    assert server_process.text().count("error:") == 0
    restore(server_process, tmp_path / f"backup {BACKUPS - 1}")
    server_process.start()
    for writer in writers:
        reader = GoodClient(server_process.port, writer.login, writer.path)
        assert before[writer.path] <= reader.version <= writer.acknowledged
        assert sorted(reader.log) == list(range(1, reader.version + 1))
        assert [reader.log[version].changeset for version in reader.log] == writer.client.written[: reader.version]
        reader.close()


def stoppable_and_slow() -> None:
    """Where the tests run in the background of a script, SIGINT is ignored, and would be here. On a busy machine the
    backup must not be done before the test gets to stop it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.nice(19)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_backup_that_is_stopped_leaves_nothing_and_the_server_goes_on(
    server_process: ServerProcess, tmp_path: Path, number: signal.Signals
) -> None:
    server_process.start()
    login = log_in(server_process.port)
    client = GoodClient(server_process.port, login)
    client.write(new_table())
    os.mkfifo(server_process.root / "user_data" / "wait")  # not copied, only to show that it is no file
    for each in range(300):
        shutil.copytree(next((server_process.root / "user_data").rglob("*.realm")), tmp_path / "copy.realm")
        shutil.move(tmp_path / "copy.realm", server_process.root / "user_data" / f"more{each}.realm")
    target = tmp_path / "new" / "target"
    process = subprocess.Popen(
        [BIN / "realm-backup", server_process.root, target],
        stdout=subprocess.PIPE,
        preexec_fn=stoppable_and_slow,
    )
    assert process.stdout is not None
    process.stdout.readline()  # the first tenth
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode not in (0, None)
    assert not (tmp_path / "new").exists()
    client.write(new_object(1))
    client.close()
