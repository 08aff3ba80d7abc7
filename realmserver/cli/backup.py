"""``realm-backup``: a copy of the data directory, made while the server runs (``spec/http-api.md`` 6.5).

The words and exit codes are those that administrators of Realm Object Server know. What is copied, and how, is the
matter of ``backup``.
"""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from realmserver._version import __version__
from realmserver.backup.copying import BackupError, back_up
from realmserver.backup.progress import for_screen
from realmserver.backup.verify import count, summary, verify

_DIRECTORIES = 2
_TERMINATED = 128 + signal.SIGTERM
"""The exit code that shells give to a process that a signal ended."""


@click.command(
    "realm-backup",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    options_metavar="[--verify]",
)
@click.argument("directories", nargs=-1, metavar="SOURCE TARGET", type=click.Path(path_type=Path))
@click.option("--verify", "wants_check", is_flag=True, help="Read the copy back and check all of it.")
@click.version_option(__version__, prog_name="realm-backup", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context, directories: Sequence[Path], wants_check: bool) -> None:
    """Copy the data directory SOURCE of a Realm Object Server to TARGET.

    The server may run meanwhile, on this machine. TARGET must be empty or not exist; the copy can be used as a data
    directory as it is. Each Realm is copied as of one moment; Realms that are created meanwhile may be missing. Keys
    that lie outside of SOURCE are not copied: keep them, too.

    The exit code is 0 if everything was copied (and found to be good), otherwise 1. If TARGET cannot be made as a whole
    nothing is left of it; a Realm that cannot be read is named, and only that Realm is missing in TARGET.
    """
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


def _complain(text: str) -> None:
    click.echo(text, err=True)
