"""Key files: what is accepted, what the errors say, and that nothing is overwritten or left half done."""

import base64
import json
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from realmserver.auth.keys import KeyFileError, Keys, complete_keys, left_behind, load_keys, make_admin_token, make_keys


def test_what_was_made_can_be_loaded(key_directory: Path, keys: Keys) -> None:
    assert keys.private.key_size == 2048
    assert keys.private.public_key() == keys.public
    assert len(keys.issuer) == 24
    assert sorted(path.name for path in key_directory.iterdir()) == [
        "other.key",
        "other.pub",
        "server.key",
        "server.pub",
    ]


def test_only_the_owner_may_read_the_private_key(key_directory: Path) -> None:
    assert stat.S_IMODE((key_directory / "server.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((key_directory / "server.pub").stat().st_mode) == 0o644


def test_openssl_makes_keys_that_are_accepted(tmp_path: Path) -> None:
    private, public = tmp_path / "k.key", tmp_path / "k.pub"
    subprocess.run(["openssl", "genrsa", "-out", private, "2048"], check=True, capture_output=True)
    subprocess.run(["openssl", "rsa", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    assert load_keys(public, private).public.key_size == 2048


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
    private, public = tmp_path / "k.key", tmp_path / "k.pub"
    for taken in (private, public):
        taken.write_text("mine")
        with pytest.raises(KeyFileError, match=f"{taken.name} exists"):
            make_keys(public, private)
        assert [path.name for path in tmp_path.iterdir()] == [taken.name]
        assert taken.read_text() == "mine"
        taken.unlink()


def test_no_private_key_stays_behind_where_the_public_one_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be written"):
        make_keys(tmp_path / "no such directory" / "k.pub", tmp_path / "k.key")
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_was_cut_off_between_the_two_files_is_made_up_for(key_directory: Path, tmp_path: Path) -> None:
    private, public = tmp_path / "k.key", tmp_path / "k.pub"
    private.write_bytes((key_directory / "server.key").read_bytes())
    complete_keys(public, private)
    assert not public.exists()
    (tmp_path / ".k.pub.1.new").write_bytes((key_directory / "other.pub").read_bytes())  # of an even earlier start
    (tmp_path / ".k.pub.2.new").write_bytes(b"-----BEGIN PUB")
    assert left_behind(public, private) is None
    (tmp_path / ".k.pub.3.new").write_bytes((key_directory / "server.pub").read_bytes())
    assert left_behind(public, private) == tmp_path / ".k.pub.3.new"
    complete_keys(public, private)
    load_keys(public, private)
    assert left_behind(public, private) is None
    complete_keys(public, private)


def test_halves_of_different_keys_are_refused(key_directory: Path) -> None:
    with pytest.raises(KeyFileError, match=r"other\.pub.*server\.key.*openssl rsa"):
        load_keys(key_directory / "other.pub", key_directory / "server.key")


def _private_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_unusable_private_keys_are_named_with_a_cure(key_directory: Path, keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "bad.key"
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    cases = {
        "is not a private key in PEM form": b"hello",
        "is encrypted": _private_pem(keys.private, b"secret"),
        "is not an RSA key": _private_pem(ec.generate_private_key(ec.SECP256R1())),
        "is an RSA key of 1024 bits": _private_pem(small),
        "is far too large": b"x" * 100_000,
    }
    for complaint, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(KeyFileError, match=f"bad.key {complaint}.*\\. "):
            load_keys(key_directory / "server.pub", path)
    path.write_bytes(_public_pem(keys.private))
    with pytest.raises(KeyFileError, match="not a private key"):
        load_keys(key_directory / "server.pub", path)


def test_unusable_public_keys_are_named_with_a_cure(key_directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.pub"
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    cases = {
        "is not a public key in PEM form": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "is not an RSA key": _public_pem(ec.generate_private_key(ec.SECP256R1())),
        "is an RSA key of 1024 bits": _public_pem(small),
        "holds a private key": _private_pem(small),
    }
    for complaint, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(KeyFileError, match=f"bad.pub {complaint}"):
            load_keys(path, key_directory / "server.key")


def test_missing_files_are_named(key_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"public key .*none\.pub does not exist"):
        load_keys(tmp_path / "none.pub", key_directory / "server.key")
    with pytest.raises(KeyFileError, match=r"private key .* cannot be read: Is a directory"):
        load_keys(key_directory / "server.pub", tmp_path)


def test_the_admin_token_has_the_form_of_1_x(keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "admin_token.base64"
    token = make_admin_token(keys, path)
    assert path.read_text() == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content, signature = token.split(":")
    payload = base64.b64decode(content, validate=True)
    assert json.loads(payload) == {"identity": "__auth", "access": ["upload", "download", "manage"]}
    keys.public.verify(base64.b64decode(signature, validate=True), payload, padding.PKCS1v15(), SHA256())


def test_an_admin_token_is_not_overwritten(keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "admin_token.base64"
    path.write_text("mine")
    with pytest.raises(KeyFileError, match="exists"):
        make_admin_token(keys, path)
    assert path.read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["admin_token.base64"]
