"""Writes the manual's page on the configuration and the commented default file, from the classes the server reads by.

``python -m realmserver.config.manual`` writes both files of this source tree, with ``--check`` it only says whether
they are as they would be written (exit code 1 if not). The page's example of an error is a real one. The order of the
commented file is that of ``spec/http-api.md`` 6.3.
"""

import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
from attrs import NOTHING

from realmserver.config import model, prose, schema
from realmserver.config.kinds import yaml_form
from realmserver.config.load import Options, finish
from realmserver.config.problem import ConfigurationError
from realmserver.config.providers import CloudKit, Custom, Facebook, Google, Providers
from realmserver.config.reader import Reader
from realmserver.config.schema import Key

TREE: Final = Path(__file__).resolve().parents[2]
PAGE: Final = TREE / "docs" / "configuration.md"
DEFAULT_FILE: Final = TREE / "etc" / "configuration.yml"

WIDTH: Final = 80
"""Columns of the commented file: it is read in terminals."""

SET: Final = {
    "storage.root_path": "/var/lib/realm/object-server",
    "auth.public_key_path": "/etc/realm/token-signature.pub",
    "auth.private_key_path": "/etc/realm/token-signature.key",
    "proxy.http.listen_address": "'::'",
    "logging.path": "/var/log/realm-object-server.log",
}
"""What the default file sets: the places that packages use."""

BLOCKS: Final = {
    CloudKit: {"key_id": "''", "private_key_path": "cloudkit_key.pem", "container": "''"},
    Google: {"clientId": "''"},
    Custom: {"implementation": "my_provider"},
}
"""What the blocks of providers hold for keys without a default: nothing, so that nothing is forgotten."""

RULE: Final = "## " + "-" * (WIDTH - 3)


def page() -> str:
    """The manual's page."""
    text = prose.PAGE.format(example=prose.EXAMPLE, error=_real_error())
    return text + "".join(f"\n{section}" for section in _page_sections(model.Configuration, ""))


def _real_error() -> str:
    """What the server says about a wrong file."""
    reader = Reader("my-server.yml")
    reader.read(prose.WRONG_EXAMPLE.encode())
    try:
        finish(reader, Options(root="data"), None)
    except ConfigurationError as error:
        return "\n".join(f"error: {problem}" for problem in error.problems)
    raise AssertionError("the example of a wrong file is right")


def _page_sections(cls: type, name: str) -> Iterator[str]:
    """A heading and a table for each section that has keys of its own, then those within it."""
    rows = [_row(key) for key in schema.keys_of(cls, f"{name}." if name else "")]
    nested = list(_nested(cls, name))
    if name:
        head = "| key | default | legal | meaning |\n|---|---|---|---|\n" if rows else ""
        yield f"### {name}\n\n{_about(cls)}\n" + (f"\n{head}{''.join(rows)}" if rows else "")
    for below, section in nested:
        yield from _page_sections(section, below)


def _nested(cls: type, name: str) -> Iterator[tuple[str, type]]:
    prefix = f"{name}." if name else ""
    for attribute in attrs.fields(cls):
        about, word = attribute.metadata, schema.word_of(attribute)
        if "section" in about:
            yield prefix + word, about["section"]
        elif "entries" in about:
            yield f"{prefix}{word}[]", about["entries"]
        elif "own" in about:
            yield f"{prefix}custom/NAME", about["own"]


def _row(key: Key) -> str:
    default = prose.MANDATORY_NOTES.get(key.name)
    if default is None:
        default = "required" if key.is_required else f"`{yaml_form(key.default)}`"
        default = "none" if key.default is None else default
    return f"| `{key.name}` | {default} | {key.kind.legal} | {key.help} |\n"


def _about(cls: type) -> str:
    """What the docstring of a section says, as running text."""
    return " ".join(inspect.cleandoc(cls.__doc__ or "").split())


def default_file() -> str:
    """The commented default file."""
    lines: list[str] = [*_words(prose.HEADER, ""), RULE, *_words(prose.MANDATORY, ""), RULE]
    for name, cls in schema.sections_of(model.Configuration):
        lines += ["", f"{name}:", *_words(_about(cls), "  "), *_section(cls, name, "  "), "", RULE]
    return "\n".join(lines[:-2]) + "\n"


def _section(cls: type, name: str, indent: str) -> Iterator[str]:
    """The lines below a section's name."""
    if cls is model.Proxy:
        yield from (f"{indent}##{f' {line}' if line else ''}" for line in prose.DIAGRAM.rstrip().split("\n"))
    for attribute in attrs.fields(cls):
        about, word = attribute.metadata, schema.word_of(attribute)
        below = f"{name}.{word}"
        if "kind" in about:
            yield ""
            yield from _key(Key(below, about["kind"], about["help"], attribute.default), indent)
        elif about.get("section") is Providers:
            yield from ("", f"{indent}providers:", *_words(prose.PROVIDERS, indent + "  "))
            yield from _providers(indent + "  ")
        elif "section" in about:
            yield from ("", f"{indent}{word}:", *_words(_about(about["section"]), indent + "  "))
            yield from _section(about["section"], below, indent + "  ")
        elif "entries" in about:
            yield from ("", f"{indent}{word}:")
            yield from _entries(about["entries"], indent + "  ")


def _key(key: Key, indent: str) -> Iterator[str]:
    yield from _words(key.help + _legal(key), indent)
    if key.name in SET:
        yield f"{indent}{key.word}: {SET[key.name]}"
    else:
        yield f"{indent}# {key.word}: {yaml_form(key.default)}".rstrip()


def _providers(indent: str) -> Iterator[str]:
    """A block for each provider that can be turned on, comments and keys behind one and the same mark."""
    for name, cls in schema.sections_of(Providers):
        if name not in ("realm", "password", "debug"):
            yield from ("", *_words(_about(cls), indent))
            if cls is Facebook:
                yield f"{indent}# {name}: {{}}"
            else:
                yield f"{indent}# {name}:"
                yield from _block(cls, indent)
    yield from ("", *_words(prose.CUSTOM_PROVIDER, indent), f"{indent}# custom/example:")
    yield from _block(Custom, indent)


def _block(cls: type, indent: str) -> Iterator[str]:
    for key in schema.keys_of(cls):
        yield from _words(key.help + _legal(key), indent, "##   ")
        value = BLOCKS.get(cls, {}).get(key.word, "''") if key.default is NOTHING else yaml_form(key.default)
        yield f"{indent}#   {key.word}: {value}".rstrip()


def _entries(cls: type, indent: str) -> Iterator[str]:
    for key in schema.keys_of(cls):
        yield from _words(f"{key.word}: {key.help}", indent)
    yield from _words(prose.LOCAL_SERVER, indent)
    mark = "- "
    for key in schema.keys_of(cls):
        yield f"{indent}# {mark}{key.word}: {key.kind.example}"
        mark = "  "


def _legal(key: Key) -> str:
    return "" if key.kind.obvious else f" Legal: {key.kind.legal}."


def _words(text: str, indent: str, mark: str = "## ") -> list[str]:
    """``text`` as lines of explanation; backquotes, which are for the page, are left out."""
    lines = []
    for line in text.strip("\n").replace("`", "").split("\n"):
        wrapped = textwrap.wrap(
            line, WIDTH - len(indent) - len(mark), subsequent_indent=" " * (len(line) - len(line.lstrip()))
        )
        lines += [f"{indent}{mark}{each}".rstrip() for each in wrapped or [""]]
    return lines


def main(arguments: list[str]) -> int:
    """Write both files, or with ``--check`` compare them; returns the exit code."""
    outdated = [
        path
        for path, text in ((PAGE, page()), (DEFAULT_FILE, default_file()))
        if not path.exists() or path.read_text() != text
    ]
    for path in outdated:
        if arguments == ["--check"]:
            print(f"{path} is out of date: run python -m realmserver.config.manual", file=sys.stderr)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(page() if path == PAGE else default_file())
            print(path)
    return 1 if outdated and arguments == ["--check"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
