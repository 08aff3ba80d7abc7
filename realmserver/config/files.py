"""Whether the files and directories that a configuration names can serve: there, open to the server, and of the kind
they must be.

What is within key and certificate files is judged by ``auth.keys`` and ``auth.certificates``; a provider's module is
parsed, never run (``spec/http-api.md`` 6.2).
"""

import ast
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey

from realmserver.auth.certificates import CertificateFileError, load_certificate
from realmserver.auth.keys import KeyFileError, left_behind, load_keys
from realmserver.config.findings import Finding, unreachable, user, with_cure
from realmserver.config.model import Auth, ProxyHttps
from realmserver.config.providers import CloudKit, Custom

MAX_MODULE: Final = 1 << 20
"""Bytes of a provider's module; more is no source."""

MAX_KEY_FILE: Final = 1 << 16
"""Bytes of a key in PEM form, with room to spare."""

FACTORY: Final = "provider"
"""The function that a provider's module must have (section 1.8)."""


def directory(key: str, path: Path) -> Iterator[Finding]:
    """``path`` is a directory that the server can use, or make."""
    try:
        if not path.exists():
            yield from _making(key, path)
        elif not path.is_dir():
            yield Finding(key, f"{path} is not a directory; name the directory that holds (or is to hold) the data")
        elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            text = f"{user()} may not read and write in {path}; give it the directory (chown) or name another"
            yield Finding(key, text)
    except OSError as error:
        yield Finding(key, unreachable(path, error))


def _making(key: str, path: Path) -> Iterator[Finding]:
    """``path``, which does not exist, can be made with the parents it lacks."""
    existing = path
    while not existing.exists():
        if existing.is_symlink():
            gone = f"{existing} is a link to {existing.readlink()}, which is not there"
            yield Finding(key, f"{gone}; make that, or name another")
            return
        existing = existing.parent
    if not existing.is_dir():
        yield Finding(key, f"{path} cannot be made, because {existing} is not a directory; name another")
    elif not os.access(existing, os.W_OK | os.X_OK):
        text = f"{path} does not exist and {user()} may not make it in {existing}; make it, or name another"
        yield Finding(key, text)


def key_pair(auth: Auth, closed: Path | None = None) -> Iterator[Finding]:
    """Both key files are there, fit together and can be used, or neither is and they can be made.

    ``closed`` is a directory of which it was told already that nothing can be made in it.
    """
    public, private = "auth.public_key_path", "auth.private_key_path"
    pair = {public: auth.public_key_path, private: auth.private_key_path}
    if auth.public_key_path == auth.private_key_path:
        text = f"{auth.private_key_path} is also auth.public_key_path; they are two files, name both"
        yield Finding(private, text, (public,))
        return
    found = []
    missing = []
    for key, path in pair.items():
        try:
            if not path.exists():
                missing.append(key)
            elif not path.is_file():
                found.append(Finding(key, f"{path} is not a file; name the key's file"))
            elif not os.access(path, os.R_OK):
                found.append(Finding(key, f"{user()} may not read {path}; change its owner or its mode"))
        except OSError as error:
            yield Finding(key, unreachable(path, error))
            return
    if missing == [public] and left_behind(auth.public_key_path, auth.private_key_path) is not None:
        return  # a first start was cut off; the next one makes up for it
    for key in missing:
        if len(missing) == 1:
            text = "is missing, but the other key of the pair is there; restore it, or name both anew"
            found.append(Finding(key, f"{pair[key]} {text}", tuple(pair)))
        else:
            parent = pair[key].parent
            told = key == private and parent == auth.public_key_path.parent
            if not told and (closed is None or not parent.is_relative_to(closed)):
                found += directory(key, parent)
    yield from found
    if not found and not missing:
        try:
            load_keys(auth.public_key_path, auth.private_key_path)
        except KeyFileError as error:
            key = private if error.path == auth.private_key_path else public
            yield Finding(key, with_cure(str(error)), tuple(pair))


def certificate(https: ProxyHttps, now: datetime | None) -> Iterator[Finding]:
    """With HTTPS on, both files are named, fit together and can be used. Without a clock they are only looked for."""
    names = {
        "proxy.https.certificate_path": https.certificate_path,
        "proxy.https.private_key_path": https.private_key_path,
    }
    if not https.enable:
        return
    certificate_path, private_key_path = https.certificate_path, https.private_key_path
    if certificate_path is None and private_key_path is None:
        both = " and ".join(names)
        text = f"is not set, but proxy.https.enable is true; set {both}, or write enable: false"
        yield Finding("proxy.https.certificate_path", text, ("proxy.https.enable", "proxy.https"))
    elif certificate_path is None or private_key_path is None:
        key = next(name for name, path in names.items() if path is None)
        text = "is not set, but HTTPS needs both the certificate and its key; set it"
        yield Finding(key, text, ("proxy.https.enable", *names))
    elif now is not None:
        try:
            load_certificate(certificate_path, private_key_path, now)
        except CertificateFileError as error:
            key = next(name for name, path in names.items() if path == error.path)
            yield Finding(key, with_cure(str(error)), tuple(names))


def cloudkit(provider: CloudKit) -> Iterator[Finding]:
    """The key that signs requests to Apple is one that Apple takes."""
    key, path = "auth.providers.cloudkit.private_key_path", provider.private_key_path
    make = "make one: openssl ecparam -name prime256v1 -genkey -noout -out <new file>"
    try:
        with path.open("rb") as file:
            content = file.read(MAX_KEY_FILE)
    except FileNotFoundError:
        yield Finding(key, f"{path} does not exist; name the key's file, or {make}")
        return
    except PermissionError:
        yield Finding(key, f"{user()} may not read {path}; change its owner or its mode")
        return
    except OSError as error:
        yield Finding(key, unreachable(path, error))
        return
    try:
        private = serialization.load_pem_private_key(content, password=None)
    except TypeError:  # how the library says that a passphrase is needed
        decrypt = f"decrypt it: openssl pkey -in {path} -out <new file>"
        yield Finding(key, f"{path} is encrypted, and the server has no passphrase; {decrypt}")
    except (ValueError, UnsupportedAlgorithm):
        yield Finding(key, f"{path} is not a private key in PEM form; {make}")
    else:
        if not isinstance(private, EllipticCurvePrivateKey) or not isinstance(private.curve, SECP256R1):
            yield Finding(key, f"{path} is not an elliptic curve key on P-256, which CloudKit asks for; {make}")


def custom(provider: Custom, default_include_path: Path) -> Iterator[Finding]:
    """The module is found and has a function ``provider``. It is parsed, not run."""
    section = f"auth.providers.{provider.name}"
    key = f"{section}.implementation"
    name = provider.implementation.removesuffix(".py")
    if provider.include_path is not None:
        include_key, include_path = f"{section}.include_path", provider.include_path
    else:
        include_key, include_path = "auth.providers_include_path", default_include_path
    if name.endswith((".js", ".ts")):
        text = f"{name} is JavaScript, but providers are Python modules now; port it to {name[:-3]}.py"
        yield Finding(key, f"{text}, with a function {FACTORY}(deps), and write implementation: '{name[:-3]}'")
        return
    path = include_path / f"{name}.py"
    try:
        if not include_path.is_dir():
            text = (
                f"{include_path} is not a directory, but {section} looks for its module there; make it, or name another"
            )
            yield Finding(include_key, text, (section,))
            return
        if not path.is_file():
            yield Finding(key, f"there is no file {path}; put it there, or correct include_path", (include_key,))
            return
        with path.open("rb") as file:
            source = file.read(MAX_MODULE + 1)
    except OSError as error:
        yield Finding(key, unreachable(path, error))
        return
    yield from _module(key, path, source)


def _module(key: str, path: Path, source: bytes) -> Iterator[Finding]:
    if len(source) > MAX_MODULE:
        yield Finding(key, f"{path} is far too large for a module; name another")
        return
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        yield Finding(key, f"{path}{line}: this is not Python: {error.msg}; correct it")
        return
    except (ValueError, RecursionError, MemoryError):  # zero bytes, or nested without end
        yield Finding(key, f"{path} is not Python; name the module that implements the provider")
        return
    if not any(isinstance(each, ast.FunctionDef) and each.name == FACTORY for each in tree.body):
        text = f"{path} has no function {FACTORY}; write def {FACTORY}(deps), which returns the provider's class"
        yield Finding(key, text)


def log(key: str, path: Path) -> Iterator[Finding]:
    """``path``, which ``key`` names, can be written to, or made."""
    try:
        exists, has_directory = path.exists(), path.parent.is_dir()
    except OSError as error:
        yield Finding(key, unreachable(path, error))
        return
    if exists:
        if path.is_dir():
            yield Finding(key, f"{path} is a directory; name a file")
        elif not os.access(path, os.W_OK):
            yield Finding(key, f"{user()} may not write to {path}; change its owner, or name another file")
    elif not has_directory:
        yield Finding(key, f"the directory {path.parent} does not exist; make it, or name another file")
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        yield Finding(key, f"{user()} may not make a file in {path.parent}; make it, or name another file")


def is_open_to_all(path: Path | None) -> bool:
    """Whether any user of the machine may read a private key."""
    try:
        return path is not None and path.is_file() and bool(path.stat().st_mode & 0o004)
    except OSError:
        return False
