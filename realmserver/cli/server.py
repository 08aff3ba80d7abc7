"""``realm-object-server``: the server in the foreground, as a supervisor or a terminal wants it.

It is ``twistd realm-object-server`` with the options of both that operators need; what they mean is said once, in
``tap``. ``spec/http-api.md`` 6.1.
"""

import grp
import pwd
from typing import Any

import click
from twisted.scripts.twistd import ServerOptions, runApp  # type: ignore[attr-defined]

from realmserver._build import BUILD
from realmserver._version import __version__
from realmserver.tap import FLAGS, PARAMETERS

NAME = "realm-object-server"

_EXAMPLES = """\b
Examples:
  realm-object-server --root /var/lib/realm/object-server
  realm-object-server -c /etc/realm/configuration.yml
  realm-object-server --check-configuration /etc/realm/configuration.yml
\b
Signals: SIGTERM and SIGINT stop the server in order, once more at once; SIGHUP begins a new
log file and reads the TLS certificate anew.
"""


class _User(click.ParamType[pwd.struct_passwd]):
    """A user by name or number; its value is the user's entry among the system's."""

    name = "user"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> pwd.struct_passwd:
        if isinstance(value, pwd.struct_passwd):
            return value
        try:
            return pwd.getpwuid(int(value)) if value.isdigit() else pwd.getpwnam(value)
        except KeyError:
            self.fail(f"there is no user {value} on this machine", param, ctx)


class _Group(click.ParamType[int]):
    """A group by name or number; its value is its number."""

    name = "group"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return (grp.getgrgid(int(value)) if value.isdigit() else grp.getgrnam(value)).gr_gid
        except KeyError:
            self.fail(f"there is no group {value} on this machine", param, ctx)


def run(
    user: pwd.struct_passwd | None, group: int | None, pidfile: str | None, daemon: bool, **options: str | bool | None
) -> None:
    """A sync server for Realm databases: unmodified Realm SDKs connect to it.

    Without a configuration file it keeps its data below --root, makes the keys that it needs there, and listens for
    apps on port 9080.
    """
    arguments = [] if daemon else ["--nodaemon"]
    arguments.append(f"--pidfile={pidfile or ''}")
    if user is not None:
        arguments.append(f"--uid={user.pw_uid}")
    if user is not None or group is not None:
        arguments.append(f"--gid={group if group is not None or user is None else user.pw_gid}")
    arguments.append(NAME)
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            arguments += [option] if value else []
        elif value is not None:
            arguments.append(f"{option}={value}")
    config = ServerOptions()  # type: ignore[no-untyped-call]
    config.parseOptions(arguments)  # type: ignore[no-untyped-call]
    runApp(config)  # type: ignore[no-untyped-call]


def _parameters() -> list[click.Parameter]:
    """The options of ``tap`` and those of twistd that have a name of their own here."""
    options: list[click.Parameter] = [
        click.Option(
            [f"--{each.name}", *([f"-{each.short}"] if each.short else [])],
            type=click.Path(),
            metavar=each.value,
            help=each.help,
        )
        for each in PARAMETERS
        if not each.hidden
    ]
    options += [click.Option([f"--{name}"], is_flag=True, help=text) for name, text in FLAGS]
    return [
        *options,
        click.Option(["--user"], type=_User(), metavar="NAME", help="Open the ports as root, then become this user."),
        click.Option(["--group"], type=_Group(), metavar="NAME", help="And this group; else the user's own."),
        click.Option(["--daemon"], is_flag=True, help="Go to the background once the start has succeeded."),
        click.Option(["--pidfile"], type=click.Path(), metavar="FILE", help="Keep the number of the process here."),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            help="Show the server's version and exit.",
            callback=_show_version,
        ),
    ]


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"{NAME} {__version__} ({BUILD})")
        ctx.exit()


main = click.Command(
    NAME,
    callback=run,
    params=_parameters(),
    help=run.__doc__,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
