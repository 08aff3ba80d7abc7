"""Passwords: hashed with argon2id, compared in equal time whether the user exists or not.

What this module keeps true: a password is never stored, shown or logged; guessing one costs time and memory; and the
time an answer takes does not tell whether a user name exists. It knows no users; ``auth.logins`` brings the hash.
"""

from typing import Final

from argon2 import PasswordHasher, Type
from argon2.exceptions import VerifyMismatchError
from attrs import frozen
from twisted.internet.interfaces import IReactorFromThreads

from realmserver.auth.workers import BoundedWorker

TIME_COST: Final = 2
"""Passes over the memory. With MEMORY_COST about 50 ms on one core of a small server of today, measured: slow for who
guesses, quick enough for who logs in."""

MEMORY_COST: Final = 32 * 1024
"""KiB for one hash: above what OWASP asks with two passes (19 MiB), and PASSWORD_THREADS of them fit a small server."""

PARALLELISM: Final = 1
"""Lanes of one hash. The cores are better used by several logins."""

PASSWORD_THREADS: Final = 2
"""Hashes made at once; more would take the cores from the syncing."""

PASSWORD_QUEUE: Final = 100
"""Hashes that may wait: about 2.5 s of work. SDKs give up after 5 to 60 s (``spec/http-api.md`` 1.1)."""


@frozen
class Verdict:
    """Whether a password was right; if so, perhaps a ``new_hash`` to store, made with today's parameters."""

    ok: bool
    new_hash: str | None = None


class Passwords:
    """Hashes and verifies. Both block for as long as the parameters cost: call them through a :class:`PasswordWorker`.

    ``memory_cost`` is in KiB. Thread-safe.
    """

    def __init__(
        self, *, time_cost: int = TIME_COST, memory_cost: int = MEMORY_COST, parallelism: int = PARALLELISM
    ) -> None:
        self._hasher = PasswordHasher(
            time_cost=time_cost, memory_cost=memory_cost, parallelism=parallelism, type=Type.ID
        )
        self._nobodys = self._hasher.hash("")

    def hash(self, password: str) -> str:
        """The hash to store, with its salt and parameters. Raises UnicodeEncodeError for half a surrogate pair."""
        return self._hasher.hash(password)

    def verify(self, stored: str | None, password: str) -> Verdict:
        """Compare ``password`` with the hash ``stored``; None (no such user) takes as long and is never right.

        Raises argon2's InvalidHashError if ``stored`` is no such hash: the account is damaged, our fault.
        """
        try:
            self._hasher.verify(self._nobodys if stored is None else stored, password)
        except VerifyMismatchError:
            return Verdict(ok=False)
        if stored is None:
            return Verdict(ok=False)
        if self._hasher.check_needs_rehash(stored):
            return Verdict(ok=True, new_hash=self._hasher.hash(password))
        return Verdict(ok=True)


class PasswordWorker(BoundedWorker):
    """The threads in which passwords are hashed: few, so that a wave of logins leaves the rest of the server alone."""

    def __init__(
        self, reactor: IReactorFromThreads, *, threads: int = PASSWORD_THREADS, queue: int = PASSWORD_QUEUE
    ) -> None:
        super().__init__(reactor, threads=threads, queue=queue, name="passwords")
