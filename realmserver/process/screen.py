"""What the server says to whoever started it, at the terminal: past the log, which has a form and a place of its own.

Plain text, a dozen lines: where it listens, where its files are, how an app gets in, and what to beware of.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from realmserver._version import __version__
from realmserver.net.listeners import ALL_IPV4, ALL_IPV6, Listener, own_address

LAST_LINE = "Ctrl-C stops the server."

_WHAT = {
    "proxy.http": "apps: sync and HTTP",
    "proxy.https": "apps: sync and HTTP, by TLS",
    "network.sync": "sync only",
    "network.http": "HTTP only",
    "backup.network": "continuous backup",
}


def announcement(
    listeners: Sequence[Listener], files: Sequence[tuple[str, str]], log_path: Path | None, warnings: Sequence[str]
) -> str:
    """The screen that a start shows. ``files``: what the server keeps where, each with a title ("" for the last)."""
    lines = [f"Realm Object Server {__version__} is running.", ""]
    title = "Listens on"
    for each in listeners:
        lines.append(f"  {title:<12} {each.where:<18} {_WHAT[each.section]} ({each.section})")
        title = ""
    lines += [f"  {title:<12} {text}" for title, text in (*files, ("Log", str(log_path or "this screen")))]
    urls = [each.url(host) for each in listeners if each.section.startswith("proxy.") for host in hosts(each.address)]
    lines.append("")
    if urls:
        lines += [
            "Connect an app: give its Realm SDK this base URL and any app id, for example my-app.",
            *(f"  {url}" for url in urls),
        ]
    else:
        lines += [
            "Apps cannot connect here: proxy.http and proxy.https are off, and no other listener takes both sync and",
            "HTTP. Let a proxy of your own send them to the right one.",
        ]
    lines.append("")
    lines += [f"WARNING: {each}" for each in warnings]
    lines.append(LAST_LINE)
    return "\n".join(lines)


def hosts(address: str) -> list[str]:
    """The names under which a listener on ``address`` is reached."""
    if address not in (ALL_IPV4, ALL_IPV6):
        return [address]
    outside = own_address()
    return ["localhost"] if outside is None else ["localhost", outside]


def say(text: str) -> None:
    """Print ``text`` as it stands, past the log, which twistd makes of sys.stdout."""
    if sys.__stdout__ is not None:
        print(text, file=sys.__stdout__, flush=True)


def complain(text: str) -> None:
    """Print an error."""
    if sys.__stderr__ is not None:
        print(f"error: {text}", file=sys.__stderr__, flush=True)
