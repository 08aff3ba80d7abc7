"""The bytes of a configuration file: a configuration, or ConfigurationError with problems that can be shown."""

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fuzz.target import Target
from realmserver.config.load import ConfigurationError, Options, load
from realmserver.config.manual import DEFAULT_FILE
from realmserver.config.model import Configuration
from realmserver.config.reader import MAX_PROBLEMS
from realmserver.config.schema import all_keys

DIRECTORY: Final = Path(tempfile.mkdtemp(prefix="fuzz-configuration-"))
"""Where the file is; empty otherwise, and gone at the end."""

FILE: Final = DIRECTORY / "c.yml"

atexit.register(shutil.rmtree, DIRECTORY, ignore_errors=True)


def check(data: bytes) -> None:
    """The problems are few and short enough to be read."""
    FILE.write_bytes(data)
    try:
        load(str(FILE), Options(root=str(DIRECTORY / "data")))
    except ConfigurationError as error:
        assert 0 < len(error.problems) < 2 * MAX_PROBLEMS
        for problem in error.problems:
            shown = str(problem)
            shown.encode()
            assert len(shown.splitlines()) in (1, 3), shown


def seeds() -> Iterator[bytes]:
    lines = DEFAULT_FILE.read_text(encoding="utf-8").splitlines()
    settings = [line.replace("# ", "", 1) for line in lines if "## " not in line and line]
    starts = [number for number, line in enumerate(settings) if line and not line.startswith((" ", "#"))]
    for start, end in zip(starts, [*starts[1:], len(settings)], strict=True):
        yield "\n".join(settings[start:end]).encode()[: TARGET.longest]
    yield b"network: {http: {forward_to: 127.0.0.1:1}}\nsync: {servers: [{id: a, address: 127.0.0.1, port: 2}]}\n"
    yield b"&a storage: &b\n  root_path: !!str /x\nproxy: *b\n<<: *b\n? [x]\n: y\n"
    yield b"%YAML 1.1\n---\nlogging: {level: info}\n...\n---\nb: c\n"


TARGET: Final = Target(
    "the bytes of configuration files",
    check,
    seeds,
    (
        *sorted({part.encode() for key in all_keys(Configuration) for part in key.name.split(".")}),
        *(
            b": ",
            b"\n  ",
            b"- ",
            b"{",
            b"}",
            b"[",
            b"]",
            b"'",
            b'"',
            b"&a ",
            b"*a",
            b"!!",
            b"<<: ",
            b"? ",
            b"| ",
            b"> ",
        ),
        *(
            b"yes",
            b"null",
            b"~",
            b"0x1f",
            b"1e3",
            b"2020-01-01",
            b"--- ",
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b"\\ud800",
            b"=",
            b".inf",
        ),
    ),
    longest=2048,
)
