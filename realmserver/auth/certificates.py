"""The server's TLS certificate and its private key, as two PEM files.

What this module keeps true: a pair that was loaded fits together, is in date, and is one that apps can trust: SDKs
refuse a self-signed certificate, so it is refused here, where the operator sees it (``spec/http-api.md`` 6.2). It knows
files and certificates, no sockets; how connections use them is ``net.tls``.
"""

from datetime import datetime
from pathlib import Path
from typing import Final

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

MAX_FILE: Final = 256 * 1024
"""Bytes; a chain of five certificates has about 10 KB. More is another kind of file."""

MIN_RSA_BITS: Final = 2048
"""Clients refuse certificates with shorter RSA keys."""

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey


class CertificateFileError(Exception):
    """A certificate or its key cannot be used; the text names the file, the fault and the cure, ``path`` is the file
    that is to be mended."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(f"{path} {text}")
        self.path: Path = path


@frozen
class ServerCertificate:
    """A certificate, the intermediate ones that lead to its authority, and its private key."""

    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    private: PrivateKey


def load_certificate(certificate_path: Path, private_key_path: Path, now: datetime) -> ServerCertificate:
    """Read and check both files; ``now`` has a time zone.

    The certificate file holds the server's own certificate first, then the intermediate ones. Raises
    :class:`CertificateFileError`.
    """
    leaf, *chain = _certificates(certificate_path)
    private = _private_key(private_key_path)
    _check_date(certificate_path, leaf, now)
    if _is_self_signed(leaf):
        raise CertificateFileError(
            certificate_path,
            "is a self-signed certificate, which apps do not trust. Have an authority sign it (Let's Encrypt, or one "
            "of your own whose certificate the devices know), or let a proxy in front do TLS",
        )
    for issuer in chain:
        _check_date(certificate_path, issuer, now)
    if not _fits(leaf, private):
        raise CertificateFileError(
            private_key_path,
            f"is not the private key of {certificate_path}. Name the key with which the certificate was requested; in "
            f"a file with a chain the server's own certificate comes first",
        )
    return ServerCertificate(leaf, tuple(chain), private)


def _certificates(path: Path) -> list[x509.Certificate]:
    content = _read(path, "certificate")
    if b"PRIVATE KEY-----" in content and b"BEGIN CERTIFICATE" not in content:
        raise CertificateFileError(path, "holds a private key where the certificate belongs. Exchange the two settings")
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise CertificateFileError(
            path, "is not a certificate in PEM form. It begins with '-----BEGIN CERTIFICATE-----'"
        ) from error


def _private_key(path: Path) -> PrivateKey:
    content = _read(path, "private key")
    try:
        private = serialization.load_pem_private_key(content, password=None)
    except TypeError as error:  # how the library says that a passphrase is needed
        raise CertificateFileError(
            path,
            f"is encrypted, and the server has no passphrase. Decrypt it: openssl pkey -in {path} -out <new file>",
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateFileError(
            path, "is not a private key in PEM form. It begins with '-----BEGIN PRIVATE KEY-----' or similar"
        ) from error
    if isinstance(private, RSAPrivateKey):
        if private.key_size < MIN_RSA_BITS:
            raise CertificateFileError(
                path, f"is an RSA key of {private.key_size} bits; clients want at least {MIN_RSA_BITS}. Make a new one"
            )
        return private
    if isinstance(private, EllipticCurvePrivateKey):
        return private
    raise CertificateFileError(path, "is neither an RSA nor an elliptic curve (ECDSA) key. Make one of these")


def _check_date(path: Path, certificate: x509.Certificate, now: datetime) -> None:
    name = certificate.subject.rfc4514_string()
    if now > certificate.not_valid_after_utc:
        raise CertificateFileError(
            path, f"expired on {certificate.not_valid_after_utc:%Y-%m-%d} ({name}). Renew the certificate"
        )
    if now < certificate.not_valid_before_utc:
        raise CertificateFileError(
            path,
            f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d} ({name}). Wait, or set the clock",
        )


def _is_self_signed(certificate: x509.Certificate) -> bool:
    if certificate.issuer != certificate.subject:
        return False
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _fits(certificate: x509.Certificate, private: PrivateKey) -> bool:
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return certificate.public_key().public_bytes(*form) == private.public_key().public_bytes(*form)


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except FileNotFoundError as error:
        raise CertificateFileError(path, f"does not exist. Name the file that holds the {what}") from error
    except PermissionError as error:
        raise CertificateFileError(
            path, "may not be read by the user the server runs as. Change its owner or its mode"
        ) from error
    except OSError as error:
        raise CertificateFileError(path, f"cannot be read: {error.strerror}. Name another file") from error
    if len(content) > MAX_FILE:
        raise CertificateFileError(path, f"is far too large for a {what}. Name another file")
    return content
