"""A certificate authority for tests: signs certificates for this machine, in date or not, or by themselves."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

NAMES: Final = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
)

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Authority:
    """An authority with an intermediate one. ``certificate`` is the file that clients are to trust."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._root_key, self._key = new_key(), new_key()
        self._root_name, self._name = _name("Test Authority"), _name("Test Authority, intermediate")
        root = _sign(self._root_name, self._root_key, self._root_name, self._root_key, authority=True)
        self._intermediate = _sign(self._name, self._key, self._root_name, self._root_key, authority=True)
        self.certificate: Path = directory / "authority.crt"
        self.certificate.write_bytes(pem(root))

    def issue(self, name: str = "server", *, days: int = 30, age: int = 1, key: Key | None = None) -> tuple[Path, Path]:
        """A certificate for localhost with its chain, and its private key, as the files ``<name>.crt`` and ``.key``.

        It was issued ``age`` days ago and lasts ``days`` from now.
        """
        key = key if key is not None else new_key()
        leaf = _sign(_name(name), key, self._name, self._key, days=days, age=age)
        return self._write(name, pem(leaf) + pem(self._intermediate), key)

    def self_signed(self, name: str = "self") -> tuple[Path, Path]:
        """The same signed by itself."""
        key = new_key()
        return self._write(name, pem(_sign(_name(name), key, _name(name), key)), key)

    def _write(self, name: str, certificates: bytes, key: Key) -> tuple[Path, Path]:
        certificate, private = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        certificate.write_bytes(certificates)
        private.touch(0o600)
        private.write_bytes(private_pem(key))
        return certificate, private


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def private_pem(key: Key, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _sign(
    subject: x509.Name,
    key: Key,
    issuer: x509.Name,
    issuer_key: Key,
    *,
    days: int = 30,
    age: int = 1,
    authority: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=age))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if not authority:
        builder = builder.add_extension(x509.SubjectAlternativeName(NAMES), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
