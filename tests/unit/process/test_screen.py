"""What the screen says when the server has started."""

from pathlib import Path

from twisted.internet.testing import MemoryReactor

from realmserver.net.listeners import Listener
from realmserver.process.screen import LAST_LINE, announcement


def screen(address: str, log_path: Path | None = None, section: str = "proxy.http") -> list[str]:
    public = Listener(MemoryReactor(), section, address, 9081)  # type: ignore[no-untyped-call]
    files = [("Keys", "/keys/public"), ("", "/keys/private (keep it secret)")]
    return announcement([public], files, log_path, ["Beware."]).splitlines()


def test_it_says_how_to_connect() -> None:
    lines = screen("::")
    assert "  Listens on   [::]:9081          apps: sync and HTTP (proxy.http)" in lines
    assert "  http://localhost:9081" in lines
    assert "WARNING: Beware." in lines
    assert lines[-1] == LAST_LINE


def test_it_says_where_the_files_are() -> None:
    lines = screen("::")
    first = lines.index("  Keys         /keys/public")
    assert lines[first + 1 : first + 3] == [
        "               /keys/private (keep it secret)",
        "  Log          this screen",
    ]
    assert "  Log          /var/log/server.log" in screen("::", Path("/var/log/server.log"))


def test_it_names_the_one_address_that_is_configured() -> None:
    assert [line for line in screen("192.0.2.7") if "http://" in line] == ["  http://192.0.2.7:9081"]


def test_no_address_is_given_to_apps_where_none_takes_them() -> None:
    lines = screen("127.0.0.1", section="network.http")
    assert not [line for line in lines if "http://" in line]
    assert (
        "Apps cannot connect here: proxy.http and proxy.https are off, and no other listener takes both sync and"
        in lines
    )
