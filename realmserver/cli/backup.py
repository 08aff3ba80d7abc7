"""``realm-backup``: a copy of the data directory, made while the server runs (``spec/http-api.md`` 6.5).

The words and exit codes are those that administrators of Realm Object Server know. What is copied, and how, is the
matter of ``backup``.
"""

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

import click

from realmserver._build import complaint
from realmserver._version import __version__
from realmserver.backup.copying import BackupError, back_up
from realmserver.backup.follow import Target
from realmserver.backup.follow import follow as follow_server
from realmserver.backup.progress import for_screen
from realmserver.backup.verify import count, summary, verify

LONGEST_PAUSE: Final = 10
"""Seconds between two attempts to reach a server that does not answer: the first come sooner."""

LINE_INTERVAL: Final = 60.0
"""Seconds between two plain lines about how far a continuous backup is behind."""

_DIRECTORIES = 2
_TERMINATED = 128 + signal.SIGTERM
"""The exit code that shells give to a process that a signal ended."""


@click.command(
    "realm-backup",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    options_metavar="[--verify]",
)
@click.argument("directories", nargs=-1, metavar="SOURCE TARGET", type=click.Path(path_type=Path))
@click.option("--follow", metavar="HOST:PORT", help="Follow the server whose backup listener is there, for ever.")
@click.option("--token", "token_file", type=click.Path(path_type=Path), help="With --follow: the admin token's file.")
@click.option("--verify", "wants_check", is_flag=True, help="Read the copy back and check all of it.")
@click.version_option(__version__, prog_name="realm-backup", message="%(prog)s %(version)s")
@click.pass_context
def main(
    ctx: click.Context, directories: Sequence[Path], follow: str | None, token_file: Path | None, wants_check: bool
) -> None:
    """Copy the data directory SOURCE of a Realm Object Server to TARGET.

    The server may run meanwhile, on this machine. TARGET must be empty or not exist; the copy can be used as a data
    directory as it is. Each Realm is copied as of one moment; Realms that are created meanwhile may be missing. Keys
    that lie outside of SOURCE are not copied: keep them, too.

    The exit code is 0 if everything was copied (and found to be good), otherwise 1. If TARGET cannot be made as a whole
    nothing is left of it; a Realm that cannot be read is named, and only that Realm is missing in TARGET.

    With --follow HOST:PORT --token FILE, TARGET alone is given: a continuous backup. TARGET gets a copy of everything,
    then every commit, until the command is stopped; started again it goes on.
    """
    if foreign := complaint():
        raise click.ClickException(foreign)
    if follow is not None and token_file is not None and len(directories) == 1 and not wants_check:
        _follow(ctx, follow, token_file, directories[0])
    if len(directories) != _DIRECTORIES:
        click.echo(ctx.get_usage(), err=True)
        ctx.exit(1)
    source, target = directories
    progress = for_screen(click.echo, _complain)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # so that what was created is removed
    try:
        done = back_up(source, target, progress)
    except BackupError as error:
        _complain(f"ERROR: {error}")
        ctx.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)
    click.echo(f"Backed up {source} to {target}.")
    click.echo(f"{count(done.realms)} backed up.")
    is_good = not done.failed
    if wants_check:
        try:
            found = verify(target, progress)
        except OSError as error:
            _complain(f"ERROR: {target} cannot be read back: {error}")
            ctx.exit(1)
        click.echo(summary(found))
        is_good = is_good and not found.wrong
    ctx.exit(0 if is_good else 1)


def _follow(ctx: click.Context, server: str, token_file: Path, path: Path) -> NoReturn:
    host, _, port = server.rpartition(":")
    if not host or not port.isdigit():
        raise click.BadParameter("write HOST:PORT, for example 127.0.0.1:27810", param_hint="--follow")

    def token() -> str:
        try:
            return token_file.read_text().strip()
        except OSError as error:
            raise BackupError(f"{token_file}: {error.strerror}.") from error

    def pause(failures: int) -> None:
        time.sleep(min(failures, LONGEST_PAUSE))

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        target = Target(path)
        try:
            follow_server(target, host.strip("[]"), int(port), token, Watching(), pause)
        finally:
            target.close()
    except BackupError as error:
        _complain(f"ERROR: {error}")
    except KeyboardInterrupt:
        ctx.exit(0)
    ctx.exit(1)


class Watching:
    """Shows how a continuous backup goes: one line that changes on a terminal, one now and then elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._next = 0.0
        self._state = ""

    def copying(self, path: str) -> None:
        if not self._is_terminal:
            click.echo(f"copied {path}")
        self._next = 0.0  # and then how it stands

    def status(self, to_copy: int, commits: int, size: int, seconds: float) -> None:
        text = f"in step, {commits} commits ({size} bytes, {seconds:.1f} s) behind"
        if to_copy:
            text = f"{to_copy} Realms to be copied; {commits} commits ({size} bytes) behind"
        if self._is_terminal:
            click.echo(f"\r\x1b[K{text}", nl=False)
        elif time.monotonic() >= self._next or bool(to_copy) != self._state.endswith("copying"):
            self._next = time.monotonic() + LINE_INTERVAL
            click.echo(text)
        self._state = "copying" if to_copy else ""

    def problem(self, text: str) -> None:
        _complain(text)


def _complain(text: str) -> None:
    click.echo(text, err=True)
