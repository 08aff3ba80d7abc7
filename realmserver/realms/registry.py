"""All Realms in service: one :class:`~realmserver.realms.live.LiveRealm` for each that someone uses.

Bounds the number of open stores (``performance.max_open_files``): beyond it the least recently used one that is idle is
closed, while its sessions stay bound. Where all are in use a few more are opened, and whoever comes then waits until
one has been closed: each takes memory and descriptors, and a client can ask for thousands at once. Runs on the
reactor's thread.

A LiveRealm is remembered as long as anyone holds it: its sessions, its open store, or work on its way. So there are
never two of one name, which could not both have the store open.

**Quarantine.** A Realm that is damaged, or of a format that this server does not know, is set aside: its clients are
asked to come again later, the operator is told once, and nothing else is touched. Its files stay where they are. Were
they moved away, the next client would find an empty Realm in their place, and every client that is ahead of it, which
is every client, would be told to throw its own copy away. At most every RETRY_DELAY seconds one of the clients that
come again has the Realm tried once more: after a repair it is in service without a word from anyone. Where damage is
found in a Realm that is open, its sessions are ended, too, and its store is closed; since opening it might not find
that damage again, it is tried only when its files have changed, or at a restart.
"""

from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from contextlib import ExitStack
from typing import Final, Generic
from weakref import WeakValueDictionary

from attrs import evolve, frozen

from realmserver.realms.fanout import Body, Encode, Workers
from realmserver.realms.live import DAMAGE, LiveRealm, Permit
from realmserver.realms.observer import Observer, Unobserved
from realmserver.realms.realm import Environment, Realm
from realmserver.realms.waiting import House
from realmserver.store.interface import Quarantined, Store

RETRY_DELAY: Final = 5
"""Seconds between two attempts to open a Realm in quarantine: soon enough after a repair, and cheap."""


@frozen
class _Quarantine:
    """Why a Realm cannot be in service, and when that was last tried (Unix seconds). ``stamp``: what its files looked
    like, if they must have changed before it is opened."""

    reason: str
    tried: int
    stamp: object = None


SPARE: Final = 16
"""Stores that may be open beyond the limit while none of them is idle: twice as many as threads work on Realms, so
that a few that take long keep nobody else waiting."""

LOOK_EVERY: Final = 3600
"""Seconds after which an open Realm looks at the latest whether history has come of age."""


class Registry(Generic[Body]):
    """Finds or makes the LiveRealm of a name. ``max_open``: stores that may be open at once. ``observer`` hears of
    all Realms; ``fold_delay`` is that of :class:`LiveRealm`, ``history_ttl`` that of :class:`Realm`; ``house`` is what
    Realms share."""

    def __init__(
        self,
        store: Store,
        environment: Environment,
        workers: Workers,
        encode: Encode[Body],
        max_open: int,
        observer: Observer | None = None,
        fold_delay: float | None = None,
        house: House | None = None,
        history_ttl: int = 0,
    ) -> None:
        self._store = store
        self._fold_delay = fold_delay
        self._history_ttl = history_ttl
        self._environment = environment
        self._workers = workers
        self._encode = encode
        self._max_open = max_open
        self._observer = observer or Unobserved()
        self._house = house or House()
        self._realms: MutableMapping[str, LiveRealm[Body]] = WeakValueDictionary()
        self._open: OrderedDict[str, LiveRealm[Body]] = OrderedDict()  # least recently used first
        self._quarantine: dict[str, _Quarantine] = {}  # a Realm's own lane alone reads or changes its entry
        self._opening: set[LiveRealm[Body]] = set()  # open or about to be, and not idle since
        self._closing = 0
        self._waiting: OrderedDict[LiveRealm[Body], None] = OrderedDict()  # until there is room for their store
        self._stopped: Callable[[], None] | None = None

    @property
    def quarantined(self) -> int:
        """How many Realms are in quarantine. May be asked in any thread."""
        return len(self._quarantine)

    def get(self, name: str) -> LiveRealm[Body]:
        """The Realm ``name``; it is created at its first use."""
        live = self._realms.get(name)
        if live is None:
            live = LiveRealm(
                name,
                lambda permit: self._open_realm(name, permit),
                self._workers,
                self._encode,
                self._idle,
                self._observer,
                self._fold_delay,
                self._house,
                min(self._history_ttl, LOOK_EVERY) or None,
            )
            live.has_room = self._has_room
            live.damaged = self._damaged
            self._realms[name] = live
        return live

    def _open_realm(self, name: str, permit: Permit) -> Realm:
        """Open the Realm, in a thread. Raises StoreError; a Realm that is in quarantine is opened now and then only."""
        now, before = self._environment.now(), self._quarantine.get(name)
        if before is not None and 0 <= now - before.tried < RETRY_DELAY:
            raise Quarantined(before.reason)
        if before is not None and before.stamp is not None and self._store.stamp(name) == before.stamp:
            self._quarantine[name] = evolve(before, tried=now)
            raise Quarantined(before.reason)
        if not self._store.exists(name):
            read_only = self._house.read_only()
            if read_only is not None:
                raise read_only
            permit()
        try:
            store = self._store.open(name, create=True)
            with ExitStack() as undo:
                undo.callback(store.close)
                realm = Realm(store, self._environment, self._history_ttl, self._observer)
                undo.pop_all()
        except DAMAGE as error:
            reason = str(error)
            self._quarantine[name] = _Quarantine(reason, now)
            if before is None or before.reason != reason:
                self._observer.quarantined(name, reason)
            raise Quarantined(reason) from error
        if self._quarantine.pop(name, None) is not None:
            self._observer.released(name)
        return realm

    def _damaged(self, live: LiveRealm[Body], error: Exception) -> None:
        """``live`` has come upon damage, and is closed."""
        found = _Quarantine(str(error), self._environment.now())
        self._quarantine[live.name] = found
        self._observer.quarantined(live.name, found.reason)

        def stamped(stamp: object) -> None:
            if self._quarantine.get(live.name) is found:
                self._quarantine[live.name] = evolve(found, stamp=stamp)

        self._workers.run(
            lambda: self._store.stamp(live.name), stamped, lambda failure: self._workers.report(live.name, failure)
        )

    def _has_room(self, live: LiveRealm[Body]) -> bool:
        """Whether ``live`` may open its store now; if not, it is told to go on when it may."""
        if live in self._opening:
            return True
        if self._is_full():
            self._waiting[live] = None
            self._close_one()
            return False
        self._opening.add(live)
        return True

    def _is_full(self) -> bool:
        return len(self._open) + len(self._opening) + self._closing >= self._max_open + SPARE

    def _go_on(self) -> None:
        """Room may have been made: the next may open their stores."""
        while self._waiting and not self._is_full():
            live, _ = self._waiting.popitem(last=False)
            live.go_on()

    def _close_one(self) -> None:
        """Close the least recently used store that is idle, if there is one."""
        idle = next((each for each in self._open.values() if each.is_idle), None)
        if idle is not None:
            self._close(idle)

    def _idle(self, live: LiveRealm[Body]) -> None:
        """``live`` has done its work for now."""
        self._opening.discard(live)
        if not live.is_open:
            self._open.pop(live.name, None)
            self._go_on()
            self._check_stopped()
            return
        self._open[live.name] = live
        self._open.move_to_end(live.name)
        if self._stopped is not None:
            self._close(live)
            return
        if len(self._open) > self._max_open:
            self._close_one()

    def _close(self, live: LiveRealm[Body]) -> None:
        def closed() -> None:
            self._closing -= 1
            self._go_on()
            self._check_stopped()

        self._open.pop(live.name, None)
        self._closing += 1
        live.close_store(closed)

    def stop(self, stopped: Callable[[], None]) -> None:
        """Make what waits durable, close every store as it becomes idle, then call ``stopped``."""
        self._stopped = stopped
        for live in list(self._realms.values()):
            live.flush()
            if live.is_idle and live.is_open:
                self._close(live)
        self._check_stopped()

    def _check_stopped(self) -> None:
        if self._stopped is not None and all(live.is_idle and not live.is_open for live in self._realms.values()):
            stopped, self._stopped = self._stopped, lambda: None
            stopped()
