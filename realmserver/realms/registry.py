"""All Realms in service: one :class:`~realmserver.realms.live.LiveRealm` for each that someone uses.

Bounds the number of open stores (``performance.max_open_files``): beyond it the least recently used one that is idle is
closed, while its sessions stay bound. Runs on the reactor's thread.

A LiveRealm is remembered as long as anyone holds it: its sessions, its open store, or work on its way. So there are
never two of one name, which could not both have the store open.
"""

from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from contextlib import ExitStack
from typing import Final, Generic
from weakref import WeakValueDictionary

from realmserver.realms.fanout import Body, Encode, Workers
from realmserver.realms.live import LiveRealm
from realmserver.realms.observer import Observer, Unobserved
from realmserver.realms.realm import Environment, Realm
from realmserver.store.interface import Store

LOOK_EVERY: Final = 3600
"""Seconds after which an open Realm looks at the latest whether history has come of age."""


class Registry(Generic[Body]):
    """Finds or makes the LiveRealm of a name. ``max_open``: stores that may be open at once. ``observer`` hears of
    all Realms; ``fold_delay`` is that of :class:`LiveRealm`, ``history_ttl`` that of :class:`Realm`."""

    def __init__(
        self,
        store: Store,
        environment: Environment,
        workers: Workers,
        encode: Encode[Body],
        max_open: int,
        observer: Observer | None = None,
        fold_delay: float | None = None,
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
        self._realms: MutableMapping[str, LiveRealm[Body]] = WeakValueDictionary()
        self._open: OrderedDict[str, LiveRealm[Body]] = OrderedDict()  # least recently used first
        self._stopped: Callable[[], None] | None = None

    def get(self, name: str) -> LiveRealm[Body]:
        """The Realm ``name``; it is created at its first use."""
        live = self._realms.get(name)
        if live is None:
            live = LiveRealm(
                name,
                lambda: self._open_realm(name),
                self._workers,
                self._encode,
                self._idle,
                self._observer,
                self._fold_delay,
                min(self._history_ttl, LOOK_EVERY) or None,
            )
            self._realms[name] = live
        return live

    def _open_realm(self, name: str) -> Realm:
        store = self._store.open(name, create=True)
        with ExitStack() as undo:
            undo.callback(store.close)
            realm = Realm(store, self._environment, self._history_ttl)
            undo.pop_all()
        return realm

    def _idle(self, live: LiveRealm[Body]) -> None:
        """``live`` has done its work for now."""
        if not live.is_open:
            self._open.pop(live.name, None)
            self._check_stopped()
            return
        self._open[live.name] = live
        self._open.move_to_end(live.name)
        if self._stopped is not None:
            self._close(live)
            return
        if len(self._open) > self._max_open:
            idle = next((each for each in self._open.values() if each.is_idle), None)
            if idle is not None:
                self._close(idle)

    def _close(self, live: LiveRealm[Body]) -> None:
        self._open.pop(live.name, None)
        live.close_store(self._check_stopped)

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
