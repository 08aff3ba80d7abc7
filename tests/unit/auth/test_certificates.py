"""Which certificates and keys a server may use."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from authority import Authority, new_key, private_pem
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from realmserver.auth.certificates import CertificateFileError, load_certificate

NOW = datetime.now(UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def refusal(certificate: Path, key: Path, now: datetime = NOW) -> tuple[str, str]:
    """The name of the file to mend, and what is said of it."""
    with pytest.raises(CertificateFileError) as caught:
        load_certificate(certificate, key, now)
    path = caught.value.path
    assert str(caught.value).startswith(f"{path} ")
    return path.name, str(caught.value).removeprefix(f"{path} ")


def test_a_signed_certificate_comes_with_its_chain(authority: Authority) -> None:
    loaded = load_certificate(*authority.issue(), NOW)
    assert loaded.leaf.subject.rfc4514_string() == "CN=server"
    assert [each.subject for each in loaded.chain] == [loaded.leaf.issuer]


def test_an_rsa_key_serves_as_well(authority: Authority) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert load_certificate(*authority.issue(key=key), NOW).chain
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    assert refusal(*authority.issue(key=short)) == (
        "server.key",
        "is an RSA key of 1024 bits; clients want at least 2048. Make a new one",
    )


def test_a_self_signed_certificate_is_refused(authority: Authority) -> None:
    name, text = refusal(*authority.self_signed())
    assert name == "self.crt"
    assert text.startswith("is a self-signed certificate, which apps do not trust. Have an authority sign it")


def test_a_certificate_counts_only_between_its_dates(authority: Authority) -> None:
    pair = authority.issue(days=5)
    name, text = refusal(*pair, NOW + timedelta(days=6))
    assert (name, text.split(" on ")[0]) == ("server.crt", "expired")
    assert text.endswith("(CN=server). Renew the certificate")
    assert refusal(*pair, NOW - timedelta(days=2))[1].startswith("is not valid before ")


def test_an_expired_link_of_the_chain_is_told(authority: Authority) -> None:
    pair = authority.issue(days=60)
    assert "(CN=Test Authority\\, intermediate). Renew" in refusal(*pair, NOW + timedelta(days=40))[1]


def test_the_key_must_be_the_certificates(authority: Authority, tmp_path: Path) -> None:
    certificate, _ = authority.issue()
    (tmp_path / "other.key").write_bytes(private_pem(new_key()))
    name, text = refusal(certificate, tmp_path / "other.key")
    assert name == "other.key"
    assert text.startswith(f"is not the private key of {certificate}. ")


def test_exchanged_files_are_told(authority: Authority) -> None:
    certificate, key = authority.issue()
    assert refusal(key, certificate) == (
        "server.key",
        "holds a private key where the certificate belongs. Exchange the two settings",
    )
    assert refusal(certificate, certificate)[1].startswith("is not a private key in PEM form")


def test_keys_that_cannot_be_used_are_told(authority: Authority, tmp_path: Path) -> None:
    certificate, _ = authority.issue()
    file = tmp_path / "odd.key"
    file.write_bytes(private_pem(new_key(), b"secret"))
    assert refusal(certificate, file)[1].startswith("is encrypted, and the server has no passphrase. Decrypt it: ")
    file.write_bytes(private_pem(ed25519.Ed25519PrivateKey.generate()))  # type: ignore[arg-type]
    assert refusal(certificate, file)[1].startswith("is neither an RSA nor an elliptic curve")


def test_files_that_are_none_are_told(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue()
    assert refusal(tmp_path / "gone.crt", key) == (
        "gone.crt",
        "does not exist. Name the file that holds the certificate",
    )
    assert refusal(tmp_path, key)[1] == "cannot be read: Is a directory. Name another file"
    (tmp_path / "rubbish").write_bytes(b"\0" * 300_000)
    assert refusal(certificate, tmp_path / "rubbish")[1] == "is far too large for a private key. Name another file"
    (tmp_path / "rubbish").write_bytes(b"-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
    assert refusal(tmp_path / "rubbish", key)[1].startswith("is not a certificate in PEM form")
