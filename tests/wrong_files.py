"""Configuration files that are wrong, each with what the server is to say about it: ``tests/wrong_configurations``.

A case is one file: a line that says what it shows, perhaps ``options: …`` (the command line's) and ``escapes: yes``
(the configuration is written with Python's escapes), then the configuration, then the messages in full. ``{dir}`` is
the directory that the server is started in, ``{port}`` a port that ``{process}`` has taken,
``{date}`` a date and ``{user}`` the number of the user.
:func:`make_surroundings` makes the files that the cases name.
"""

import os
import re
from pathlib import Path
from typing import Final

import psutil
from attrs import frozen
from authority import Authority, private_pem
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CASES: Final = Path(__file__).resolve().parent / "wrong_configurations"
NAME: Final = "c.yml"
"""The configuration's file name in ``{dir}``, as it is given to the server."""


@frozen
class WrongFile:
    """One case. ``options`` are those of the command line, without dashes."""

    name: str
    options: dict[str, str]
    content: bytes
    messages: str


def cases() -> list[WrongFile]:
    return [read(path) for path in sorted(CASES.glob("*.case"))]


def read(path: Path) -> WrongFile:
    head, configuration, messages = re.split(r"=== (?:configuration|messages)\n", path.read_text())
    settings = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    if "escapes" in settings:
        content = configuration.removesuffix("\n").encode().decode("unicode_escape").encode("latin-1")
    else:
        content = configuration.encode()
    options = {"default-root": "data"}
    for word in settings.get("options", "").split():
        name, _, value = word.partition("=")
        options[name] = value
    if "no-default-root" in options:
        options = {}
    return WrongFile(path.stem, options, content, messages)


def make_surroundings(directory: Path) -> None:
    """Everything that a case names beside its configuration."""
    (directory / "a_file").write_text("rubbish")
    (directory / "a_directory").mkdir()
    (directory / "a_link").symlink_to("gone")
    _key_pair(directory / "good", rsa.generate_private_key(65537, 2048))
    _key_pair(directory / "other", rsa.generate_private_key(65537, 2048))
    _key_pair(directory / "short", rsa.generate_private_key(65537, 1024))
    _key_pair(directory / "elliptic", ec.generate_private_key(ec.SECP256R1()))
    encrypted = private_pem(rsa.generate_private_key(65537, 2048), b"secret")
    _write_private(directory / "encrypted.key", encrypted)
    _write_private(directory / "apple.key", private_pem(ec.generate_private_key(ec.SECP256R1())))
    _write_private(directory / "p384.key", private_pem(ec.generate_private_key(ec.SECP384R1())))
    authority = Authority(directory)
    authority.issue("server")
    authority.issue("expired", days=-1, age=400)
    authority.issue("future", days=30, age=-2)
    authority.self_signed("self")
    modules = directory / "providers"
    modules.mkdir()
    (modules / "good.py").write_text("def provider(deps):\n    raise RuntimeError('a check runs nothing')\n")
    (modules / "broken.py").write_text("raise RuntimeError('a check runs nothing')\ndef provider(deps:\n")
    (modules / "no_factory.py").write_text("def Provider(deps):\n    return None\n")


def place_names(text: str, directory: Path, port: int) -> str:
    """What the server said, with what differs from one run to the next replaced by its name."""
    process = psutil.Process()
    for found, name in (
        (f"{process.name()} (process {os.getpid()})", "{process}"),
        (str(directory), "{dir}"),
        (str(port), "{port}"),
    ):
        text = text.replace(found, name)
    text = re.sub(r"number \d+\)", "number {user})", text)
    return re.sub(r"\b20\d\d-\d\d-\d\d\b", "{date}", text)


def _key_pair(path: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    path.with_suffix(".pub").write_bytes(key.public_key().public_bytes(*form))
    _write_private(path.with_suffix(".key"), private_pem(key))


def _write_private(path: Path, content: bytes) -> None:
    path.touch(0o600)
    path.write_bytes(content)
