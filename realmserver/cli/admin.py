"""``realm-admin``: what an administrator does beside the running server.

Each subcommand is one function that reads options and prints; the work is done by the room that it belongs to.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from realmserver._build import complaint
from realmserver._version import __version__
from realmserver.auth.keys import (
    ADMIN_TOKEN_PAYLOAD,
    KeyFileError,
    load_keys,
    make_keys,
    signed_token,
    write_token,
)
from realmserver.backup.progress import for_screen
from realmserver.backup.verify import summary
from realmserver.backup.verify import verify as verify_directory
from realmserver.config.model import KEY_FILE_NAMES
from realmserver.realms.paths import IllegalPath, check_virtual_path
from realmserver.store.layout import USER_DATA

ACCESS = ("download", "upload", "manage")
"""The rights a token may hold, in the order in which it names them (``spec/http-api.md`` 1.2)."""

DEFAULT_ROOT = Path("/var/lib/realm/object-server")
"""The data directory of an installed server (``spec/http-api.md`` 6.6)."""

_FILE = click.Path(dir_okay=False, path_type=Path)
_DIRECTORY = click.Path(file_okay=False, path_type=Path)
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="realm-admin", message="%(prog)s %(version)s")
def main() -> None:
    """Administer a Realm Object Server on this machine."""
    if foreign := complaint():
        raise click.ClickException(foreign)


@main.group()
def keys() -> None:
    """The key pair that signs and checks all tokens."""


@keys.command()
@click.argument("directory", type=_DIRECTORY)
def generate(directory: Path) -> None:
    """Make a new RSA key pair in DIRECTORY.

    The files are token-signature.pub and token-signature.key, which only its owner may read. Name them in the
    configuration as auth.public_key_path and auth.private_key_path. Nothing that exists is overwritten. Tokens signed
    with another pair are worth nothing to a server that has the new one: all users must log in again.
    """
    public, private = (directory / name for name in KEY_FILE_NAMES)
    try:
        directory.mkdir(0o700, parents=True, exist_ok=True)
        make_keys(public, private)
    except KeyFileError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{directory}: {error.strerror}") from error
    click.echo(f"{public}\n{private} (keep it secret)")


@main.command()
@click.option("--root", type=_DIRECTORY, help="Use the keys in this data directory (its folder keys).")
@click.option("--public-key", type=_FILE, help="Use this key pair: its public half …")
@click.option("--private-key", type=_FILE, help="… and its private half.")
@click.option("--output", type=_FILE, help="Write the token to this new file, mode 0600, instead of printing it.")
@click.option("--identity", help="A token for this user id instead of the administrator.")
@click.option("--path", "virtual_path", help="For this Realm only, for example /products.")
@click.option("--access", type=click.Choice(ACCESS), multiple=True, help="With this right; may be given several times.")
@click.option("--expires-in", type=click.IntRange(min=1), metavar="SECONDS", help="For so long; else for ever.")
def token(
    root: Path | None,
    public_key: Path | None,
    private_key: Path | None,
    output: Path | None,
    identity: str | None,
    virtual_path: str | None,
    access: Sequence[str],
    expires_in: int | None,
) -> None:
    """Make a token for the sync address /realm-sync and for GET /metrics.

    Without --identity it is an administrator's, which opens every Realm and never expires: keep it secret. The server
    makes one at its first start: admin_token.base64 in the data directory.
    """
    public, private = _key_paths(root, public_key, private_key)
    fields: dict[str, object] = dict(ADMIN_TOKEN_PAYLOAD)
    if identity is not None:
        fields = {"identity": identity, "access": [right for right in ACCESS if right in (access or ACCESS[:2])]}
        if virtual_path is None:
            raise click.UsageError("--identity needs --path: only an administrator's token is good for every Realm")
        try:
            fields["path"] = check_virtual_path(virtual_path)
        except IllegalPath as error:
            raise click.BadParameter(str(error), param_hint="--path") from error
    elif virtual_path is not None or access:
        raise click.UsageError("--path and --access go with --identity: an administrator may do everything everywhere")
    if expires_in is not None:
        fields["expires"] = int(time.time()) + expires_in
    try:
        text = signed_token(load_keys(public, private), fields)
        if output is not None:
            write_token(text, output)
    except KeyFileError as error:
        raise click.ClickException(str(error)) from error
    if output is not None:
        click.echo(f"{output} (keep it secret)")
    else:
        click.echo(text, nl=sys.stdout.isatty())  # clients take a file's text as it is, and a newline for rubbish


@main.command()
@click.argument("root", type=click.Path(path_type=Path), default=DEFAULT_ROOT)
def verify(root: Path) -> None:
    """Check every Realm in the data directory ROOT (/var/lib/realm/object-server unless given), and the accounts.

    Everything is read: records, versions, sizes, client files; and each Realm's log is replayed, which must give the
    state that is stored. Nothing is changed, and the server may run meanwhile. What is wrong is named by Realm, table
    and key on the standard error; the exit code is 1 then. Temporary files go where TMPDIR says, and take less room
    than the largest Realm.
    """
    if not (root / USER_DATA).is_dir():
        raise click.ClickException(f"{root} is not a data directory: it holds no {USER_DATA}")
    try:
        found = verify_directory(root, for_screen(click.echo, lambda text: click.echo(text, err=True)))
    except OSError as error:
        raise click.ClickException(f"{root}: {error}") from error
    click.echo(summary(found))
    if found.wrong:
        sys.exit(1)


def _key_paths(root: Path | None, public: Path | None, private: Path | None) -> tuple[Path, Path]:
    if public is not None and private is not None:
        return public, private
    if public is not None or private is not None:
        raise click.UsageError("--public-key and --private-key go together")
    if root is None:
        raise click.UsageError("name the keys: --root DIR, or --public-key FILE and --private-key FILE")
    public, private = (root / "keys" / name for name in KEY_FILE_NAMES)
    return public, private
