"""The Realms of one process: where they are found, the threads that work on them, and how they come to their end.

Keeps true: a Realm has one owner, so what is here is never twice in a server. One process of its own is owner of all;
with workers each of them is owner of some (``net.workforce``). It knows neither connections nor where they are.
"""

import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from realmserver.auth.tokens import Tokens
from realmserver.config.limits import Limits
from realmserver.log import get_logger
from realmserver.metrics import Metrics
from realmserver.net.admission import Refused
from realmserver.net.conversation import Live
from realmserver.net.report import RealmFigures
from realmserver.net.shared import Shared
from realmserver.net.workers import PoolWorkers, ReactorClock
from realmserver.realms.idle_work import FOLD_DELAY
from realmserver.realms.realm import MAX_SALT
from realmserver.realms.registry import Registry
from realmserver.realms.requests import RealmError
from realmserver.realms.waiting import House, anything_goes
from realmserver.store.interface import Store
from realmserver.sync.bodies import EncodedBody, encode_download_body
from realmserver.sync.client_messages import ClientMessage
from realmserver.sync.errors import Code
from realmserver.sync.server import decoded
from realmserver.sync.syntax import MalformedMessage

log = get_logger("sync")

READ_ONLY: Final = "the server's disk is nearly full: nothing can be stored until there is room again"


class RealmEnvironment:
    """Randomness, time and the log, for Realms."""

    def random_salt(self) -> int:
        return secrets.randbelow(MAX_SALT) + 1

    def now(self) -> int:
        return int(time.time())

    def warn(self, realm: str, text: str) -> None:
        log.warn("Realm {realm}: {message}", realm=realm, message=text)


class Owner:
    """Owns Realms in ``store``, and is the host of the conversations about them (``net.conversation.Host``).

    ``tokens`` verifies tokens in BIND. ``max_open_files``: Realms open at once; ``history_ttl``: seconds that history
    is kept, 0 = for ever; ``limits``: how much all of this may take, ``refused`` hears of what is turned down, and
    ``crowded`` of so much that waits that some have to wait with it. ``read_only`` says in worker threads why nothing
    may be written, None if it may; ``on_failure`` hears of each Realm whose storage, or our code for it, failed, and
    ``quarantine_changed``, in any thread, of each that is set aside or is back.
    """

    def __init__(
        self,
        reactor: ReactorClock,
        store: Store,
        tokens: Tokens,
        *,
        max_open_files: int,
        history_ttl: int,
        limits: Limits,
        refused: Refused,
        crowded: Callable[[bool], None],
        metrics: Metrics,
        read_only: Callable[[], RealmError | None] = anything_goes,
        on_failure: Callable[[str], None] = lambda realm: None,
        quarantine_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.reactor = reactor
        self.tokens = tokens
        self.metrics: Metrics = metrics
        self.shared: Shared = Shared(limits, refused, metrics, crowded, reactor)
        self._store = store
        self._on_failure = on_failure
        self._workers = PoolWorkers(reactor, self._realm_failed)
        self._registry: Registry[EncodedBody] = Registry(
            store,
            RealmEnvironment(),
            self._workers,
            encode_download_body,
            max_open_files,
            RealmFigures(metrics, quarantine_changed),
            FOLD_DELAY,
            House(self.shared.room, read_only, self._workers.run_heavy),
            history_ttl,
        )
        metrics.watch_quarantine(lambda: self.quarantined)

    @property
    def quarantined(self) -> int:
        """How many Realms are in quarantine. May be asked in any thread."""
        return self._registry.quarantined

    def realm(self, name: str) -> Live:
        """The Realm of this name."""
        return self._registry.get(name)

    def decode(self, data: bytes, done: Callable[[ClientMessage | MalformedMessage], None]) -> None:
        """Decode a message in a thread."""
        self._workers.run_heavy(
            partial(decoded, data, self.shared.messages), done, lambda error: self._not_decoded(error, done)
        )

    def _not_decoded(self, error: Exception, done: Callable[[ClientMessage | MalformedMessage], None]) -> None:
        log.error("a message could not be decoded", failure=Failure(error))  # type: ignore[no-untyped-call]
        done(MalformedMessage("the message could not be decoded", Code.OTHER_ERROR))

    def _realm_failed(self, realm: str) -> None:
        self.metrics.realm_failed.inc()
        self._on_failure(realm)

    async def stop(self) -> None:
        """Finish what was uploaded, and close every Realm."""
        stopped: Deferred[None] = Deferred()
        self._registry.stop(lambda: stopped.callback(None))
        await stopped
        self._workers.stop()
        self._store.close()
