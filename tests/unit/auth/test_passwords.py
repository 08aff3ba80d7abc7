"""Passwords: what is right, what is wrong, and what nobody may learn."""

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError
from thread_reactor import ThreadReactor

from realmserver.auth import passwords
from realmserver.auth.passwords import Passwords, PasswordWorker, Verdict


@pytest.fixture(scope="module")
def cheap() -> Passwords:
    return Passwords(time_cost=1, memory_cost=8)


def test_the_right_password_passes_and_others_do_not(cheap: Passwords) -> None:
    stored = cheap.hash("pässword")
    assert cheap.verify(stored, "pässword") == Verdict(ok=True)
    assert cheap.verify(stored, "passwort") == Verdict(ok=False)
    assert cheap.verify(stored, "") == Verdict(ok=False)


def test_hashes_are_salted_argon2id_and_hide_the_password(cheap: Passwords) -> None:
    one, other = cheap.hash("secret1"), cheap.hash("secret1")
    assert one != other
    assert one.startswith("$argon2id$")
    assert "secret1" not in one


def test_nobody_has_a_password(cheap: Passwords) -> None:
    assert cheap.verify(None, "") == Verdict(ok=False)
    assert cheap.verify(None, "x") == Verdict(ok=False)


def test_an_unknown_user_costs_one_hash(cheap: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    verify = PasswordHasher.verify

    def recording(hasher: PasswordHasher, stored: str, password: str) -> object:
        compared.append(stored)
        return verify(hasher, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", recording)
    cheap.verify(cheap.hash("secret1"), "wrong")
    cheap.verify(None, "wrong")
    known, unknown = compared
    assert known.rsplit("$", 2)[0] == unknown.rsplit("$", 2)[0]  # same algorithm, version and parameters


def test_old_hashes_are_made_anew_when_the_password_is_right(cheap: Passwords) -> None:
    dearer = Passwords(time_cost=2, memory_cost=16)
    old = cheap.hash("secret1")
    verdict = dearer.verify(old, "secret1")
    assert verdict.ok
    assert verdict.new_hash is not None
    assert dearer.verify(verdict.new_hash, "secret1") == Verdict(ok=True)
    assert dearer.verify(old, "wrong") == Verdict(ok=False)


def test_a_damaged_hash_is_our_error(cheap: Passwords) -> None:
    with pytest.raises(InvalidHashError):
        cheap.verify("plain", "plain")


def test_the_default_parameters_meet_the_recommendations() -> None:
    assert passwords.MEMORY_COST >= 19 * 1024
    assert passwords.TIME_COST >= 2
    stored = Passwords().hash("x")
    assert f"m={passwords.MEMORY_COST},t={passwords.TIME_COST},p={passwords.PARALLELISM}" in stored


def test_the_worker_hashes_in_its_threads(cheap: Passwords) -> None:
    reactor = ThreadReactor()
    worker = PasswordWorker(reactor)
    worker.startService()
    got: list[str] = []
    worker.run(cheap.hash, "secret1").addCallback(got.append)
    reactor.deliver()
    worker.stopService()
    assert cheap.verify(got[0], "secret1").ok
