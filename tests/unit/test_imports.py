"""Dependencies point downwards only (``docs/architecture.md``): each room names what it may use, and nothing else.

Read from the source by ``ast``: imports within functions count, imports for type checking only do not, because nothing
runs through them.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

PACKAGE: Final = Path(__file__).resolve().parents[2] / "realmserver"

ALLOWED: Final[dict[str, tuple[str, ...]]] = {
    "_version": (),
    "_build": (),
    "log": (),
    "figures": (),
    "frozen": (),
    "metrics": ("_build", "_version", "figures"),
    "changeset": (),
    "merge": ("changeset",),
    "store": ("frozen",),
    "realms": ("changeset", "frozen", "merge", "store.interface"),
    "backup": ("_version", "auth.tokens", "changeset", "log", "metrics", "realms", "store"),
    "sync": ("frozen", "realms.line", "realms.requests"),
    "config": ("auth.certificates", "auth.keys"),
    "auth": ("log", "store"),
    "client": ("changeset", "log", "merge", "realms", "store", "sync"),
    "http": ("_version", "auth", "config", "figures", "log", "metrics", "realms.paths", "store"),
    "net": ("_version", "auth", "config", "figures", "http", "log", "metrics", "realms", "store", "sync"),
    "process": ("_build", "_version", "log", "net.admission", "net.listeners"),
    "worker": (
        *("auth", "backup.frames", "config", "figures", "log", "metrics", "net", "process"),
        *("realms.requests", "store"),
    ),
    "wiring": (
        *("auth", "backup.feed", "config", "http", "log", "metrics", "net", "process"),
        *("realms.requests", "store"),
    ),
    "tap": (
        "_build",
        "_version",
        "auth.certificates",
        "config",
        "http.health",
        "log",
        "metrics",
        "net",
        "process",
        "wiring",
    ),
    "cli": ("_build", "_version", "auth", "backup", "config", "realms.paths", "store.layout", "tap"),
}
"""Room → what of ours it may import besides itself: a room, or one module of it."""

EXCEPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "realms/core.py": ("_build", "_native"),  # the same as merge/compact, in Rust
    "realms/replay.py": ("store.memory",),  # the command that checks vector files picks an engine
}

FOREIGN_FORBIDDEN: Final[dict[str, tuple[str, ...]]] = {
    "changeset": ("twisted", "autobahn", "lmdb", "time", "random", "secrets", "socket", "logging"),
    "merge": ("twisted", "autobahn", "lmdb", "time", "random", "secrets", "socket", "logging"),
    "sync": ("twisted", "autobahn", "lmdb", "time", "random", "secrets", "socket"),
    "realms": ("twisted", "autobahn", "lmdb", "time", "random", "secrets", "socket"),
    "store": ("twisted", "autobahn", "time", "random", "secrets", "socket"),
    "config": ("twisted", "autobahn", "lmdb", "time", "random", "secrets"),
}
"""Room → what it must not know of: its storage, time and randomness come in as arguments."""

MODULES: Final = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(source: str) -> Iterator[str]:
    """Every module, or name in a module, that ``source`` imports when it runs, in dotted form."""
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that they can be searched for"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            waiting += ast.iter_child_nodes(node)


def is_within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(place + ".") for place in places)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_lies_below_it(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        assert list(imports_of(path.read_text())) == []
        return
    room = room_of(path)
    allowed = (room, *ALLOWED[room], *EXCEPTIONS.get(path.relative_to(PACKAGE).as_posix(), ()))
    ours = [
        name.removeprefix("realmserver.") for name in imports_of(path.read_text()) if is_within(name, ("realmserver",))
    ]
    assert [name for name in ours if not is_within(name, allowed)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_knows_nothing_of_what_comes_in_as_an_argument(path: Path) -> None:
    forbidden = FOREIGN_FORBIDDEN.get(room_of(path), ())
    assert [name for name in imports_of(path.read_text()) if is_within(name, forbidden)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_wiring_imports_the_reactor(path: Path) -> None:
    if path not in (PACKAGE / "tap.py", PACKAGE / "worker.py"):
        assert "twisted.internet.reactor" not in list(imports_of(path.read_text()))


def test_the_wiring_does_import_the_reactor() -> None:
    """Else the test above would prove nothing."""
    assert "twisted.internet.reactor" in list(imports_of((PACKAGE / "tap.py").read_text()))


def test_every_room_has_its_rule() -> None:
    assert {room_of(path) for path in MODULES if path != PACKAGE / "__init__.py"} == set(ALLOWED)


def test_no_package_named_twisted_is_ours() -> None:
    """It would hide Twisted itself."""
    assert [path.name for path in (PACKAGE.parent / "twisted").rglob("__init__.py")] == []


def test_imports_are_found_wherever_they_stand() -> None:
    source = (
        "import a.b\nfrom c import d\nif TYPE_CHECKING:\n    import e\nelse:\n    import f\n"
        "def g() -> None:\n    from h.i import j\n    try:\n        import k\n    except ImportError:\n        pass\n"
    )
    assert sorted(imports_of(source)) == ["a.b", "c.d", "f", "h.i.j", "k"]
