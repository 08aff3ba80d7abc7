"""The server's RSA key pair, with which all its tokens are signed, and the administrator's token.

The pair lives in two PEM files. What this module keeps true: a pair that was loaded fits together and is strong enough,
a private key or admin token that was made is readable by its owner alone, and no file that exists is ever overwritten.
It knows the outer form of a signed token (``spec/http-api.md`` 1.2), not what tokens say; that is ``auth.tokens``.
The rules for the files are those of ``spec/http-api.md`` 6.2 and 6.6.
"""

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

MIN_KEY_BITS: Final = 2048
"""Below this an RSA key can no longer be called safe."""

NEW_KEY_BITS: Final = 2048
"""Size of the keys made here: that of the packages of 1.x, and quick to verify on every connection."""

MAX_KEY_FILE: Final = 64 * 1024
"""Bytes; a PEM file of an RSA key of 16384 bits has about 13 KB. More is another kind of file."""

ADMIN_TOKEN_PAYLOAD: Final = {"identity": "__auth", "access": ["upload", "download", "manage"]}
"""What the admin token of 1.x says: no path, no expiry (``spec/http-api.md`` 1.2)."""


_DRAFT_SUFFIX: Final = ".new"


class KeyFileError(Exception):
    """A key or token file cannot be used or made; the text names the file, the fault and the cure. ``path`` is the
    file that is to be mended, where one of a pair was found at fault."""

    path: Path | None = None


@frozen
class Keys:
    """A pair that fits together. ``issuer`` is a short name for it: 24 hexadecimal digits of the public key's hash."""

    public: RSAPublicKey
    private: RSAPrivateKey
    issuer: str


@frozen
class PublicHalf:
    """The half that is needed to check tokens: for processes that make none."""

    public: RSAPublicKey


def load_keys(public_path: Path, private_path: Path) -> Keys:
    """Read and check the key pair.

    Both files must be PEM and hold RSA keys of at least ``MIN_KEY_BITS``; the private key must not be encrypted, and
    the two must match. Raises :class:`KeyFileError`.
    """
    with _at_fault(public_path):
        public = _load_public(public_path)
    with _at_fault(private_path):
        private = _load_private(private_path)
    if private.public_key().public_numbers() != public.public_numbers():
        raise KeyFileError(
            f"{public_path} and {private_path} are not the two halves of one key. Name the right files, or make the "
            f"public half anew: openssl rsa -in {private_path} -pubout -out {public_path}"
        )
    return _pair(private)


@contextmanager
def _at_fault(path: Path) -> Iterator[None]:
    try:
        yield
    except KeyFileError as error:
        error.path = path
        raise


def make_keys(public_path: Path, private_path: Path) -> Keys:
    """Make a new key pair and write both files, the private one with mode 0600.

    Each file appears whole or not at all. Raises :class:`KeyFileError` if one of them exists or cannot be written; no
    file is left behind then.
    """
    for path in (private_path, public_path):
        if path.exists():
            raise KeyFileError(f"{path} exists and is not overwritten. Move it away first, or use it as it is")
    private = generate_private_key(public_exponent=65537, key_size=NEW_KEY_BITS)
    private_pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public_pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    # What is missing after a death between the two files is a draft by then: left_behind finds it.
    with _draft(public_path, public_pem, 0o644) as public_draft:
        _write_new(private_path, private_pem, 0o600)
        try:
            _put(public_draft, public_path)
        except KeyFileError:
            private_path.unlink()
            raise
    return _pair(private)


def make_admin_token(keys: Keys, path: Path) -> str:
    """Write the administrator's token to ``path``, see :func:`write_token`, and return it. ``spec/http-api.md`` 1.2."""
    token = signed_token(keys, ADMIN_TOKEN_PAYLOAD)
    write_token(token, path)
    return token


def write_token(token: str, path: Path) -> None:
    """Write ``token`` to the new file ``path``: one line without a newline, mode 0600.

    Clients pass the file's text on unchanged, hence no newline. Raises :class:`KeyFileError` if the file exists or
    cannot be written.
    """
    _write_new(path, token.encode(), 0o600)


def signed_token(keys: Keys, fields: Mapping[str, object]) -> str:
    """The token of 1.x that says ``fields`` (``spec/http-api.md`` 1.2)."""
    return signed_wire_form(keys, json.dumps(fields, separators=(",", ":")).encode())


def signed_wire_form(keys: Keys, payload: bytes) -> str:
    """The token ``base64(payload):base64(signature)`` of 1.x, signed with RSA PKCS#1 v1.5 and SHA-256.

    ``payload`` is the token's JSON, signed as it stands (``spec/http-api.md`` 1.2).
    """
    signature = keys.private.sign(payload, PKCS1v15(), SHA256())
    return f"{base64.b64encode(payload).decode()}:{base64.b64encode(signature).decode()}"


def _pair(private: RSAPrivateKey) -> Keys:
    public = private.public_key()
    encoded = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Keys(public=public, private=private, issuer=hashlib.sha256(encoded).hexdigest()[:24])


def _load_public(path: Path) -> RSAPublicKey:
    content = _read(path, "public")
    if b"PRIVATE KEY" in content:
        raise KeyFileError(f"{path} holds a private key where the public one belongs. Exchange the two settings")
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            f"{path} is not a public key in PEM form. It begins with '-----BEGIN PUBLIC KEY-----'; make it from the "
            f"private key: openssl rsa -in <private key> -pubout -out {path}"
        ) from error
    if not isinstance(key, RSAPublicKey):
        raise KeyFileError(f"{path} is not an RSA key. Make an RSA pair: openssl genrsa -out <private key> 2048")
    _check_size(path, key.key_size)
    return key


def _load_private(path: Path) -> RSAPrivateKey:
    content = _read(path, "private")
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError as error:  # how the library says that a passphrase is needed
        raise KeyFileError(
            f"{path} is encrypted, and the server has no passphrase. Decrypt it: openssl rsa -in {path} -out <new file>"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            f"{path} is not a private key in PEM form. It begins with '-----BEGIN RSA PRIVATE KEY-----' or "
            f"'-----BEGIN PRIVATE KEY-----'; make one: openssl genrsa -out <new file> 2048"
        ) from error
    if not isinstance(key, RSAPrivateKey):
        raise KeyFileError(f"{path} is not an RSA key. Make one: openssl genrsa -out <new file> 2048")
    _check_size(path, key.key_size)
    return key


def _check_size(path: Path, bits: int) -> None:
    if bits < MIN_KEY_BITS:
        raise KeyFileError(
            f"{path} is an RSA key of {bits} bits; at least {MIN_KEY_BITS} are needed. "
            f"Make a new pair: openssl genrsa -out <private key> {MIN_KEY_BITS}"
        )


def _read(path: Path, half: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_KEY_FILE + 1)
    except FileNotFoundError as error:
        raise KeyFileError(f"the {half} key {path} does not exist. Name another file, or make the key pair") from error
    except PermissionError as error:
        raise KeyFileError(
            f"the {half} key {path} may not be read by the user the server runs as. Change its owner or its mode"
        ) from error
    except OSError as error:
        raise KeyFileError(f"the {half} key {path} cannot be read: {error.strerror}. Name another file") from error
    if len(content) > MAX_KEY_FILE:
        raise KeyFileError(f"{path} is far too large for a key. Name another file")
    return content


def left_behind(public_path: Path, private_path: Path) -> Path | None:
    """The draft of the public key that a first start has left behind which was cut off when only the private one was in
    its place; None if there is none that fits."""
    for draft in sorted(public_path.parent.glob(f".{public_path.name}.*{_DRAFT_SUFFIX}")):
        try:
            load_keys(draft, private_path)
        except KeyFileError:  # of an even earlier start, or not written to its end
            continue
        return draft
    return None


def complete_keys(public_path: Path, private_path: Path) -> None:
    """Make up for what :func:`left_behind` finds, if the public key is missing. Raises :class:`KeyFileError`."""
    draft = None if public_path.exists() else left_behind(public_path, private_path)
    if draft is not None:
        _put(draft, public_path)
        draft.unlink(missing_ok=True)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Make the file ``path`` with ``content``, durable and whole, or raise :class:`KeyFileError` without a trace."""
    with _draft(path, content, mode) as draft:
        _put(draft, path)


@contextmanager
def _draft(path: Path, content: bytes, mode: int) -> Iterator[Path]:
    """A file beside ``path`` with ``content``, durable, which is gone afterwards. Raises :class:`KeyFileError`."""
    draft = path.with_name(f".{path.name}.{os.getpid()}{_DRAFT_SUFFIX}")
    with _told(path):
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with _told(path), os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _put(draft: Path, path: Path) -> None:
    """Give ``draft`` the name ``path`` too, durably. Raises :class:`KeyFileError`.

    A hard link, unlike a rename, fails where the name is taken: nothing is overwritten even by two servers at once.
    """
    with _told(path):
        os.link(draft, path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """The system's errors about ``path`` as ours."""
    try:
        yield
    except FileExistsError as error:
        raise KeyFileError(f"{path} exists and is not overwritten. Move it away first, or use it as it is") from error
    except OSError as error:
        raise KeyFileError(
            f"{path} cannot be written: {error.strerror}. Check that its directory exists and may be written"
        ) from error
