"""A worker process: it owns some of a server's Realms, and speaks to their clients by way of the front.

Started by the front (``net.hiring``), never by hand: settings come through the standard input, the link and the lock of
the data directory as descriptors. Keeps true: it ends when it is told to, or when the link ends, and only after what
was uploaded is durable and every Realm is closed; signals that a terminal or a supervisor sends to all processes of a
server are for the front. Besides ``tap`` the only module that imports the reactor. An owner for each Realm, reached by
messages alone, is what a cluster will be made of (``design.md`` 4 and 7).
"""

import os
import socket
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner

from realmserver import log
from realmserver.auth.keys import PublicHalf
from realmserver.auth.tokens import Tokens
from realmserver.backup.frames import Change, commit_frame
from realmserver.config.limits import MEBIBYTE
from realmserver.figures import Figures, figures_of
from realmserver.metrics import Metrics
from realmserver.net.delay import DelayMeter
from realmserver.net.hiring import LINK, Settings, adopt, leave_signals_to_the_front
from realmserver.net.link import Link
from realmserver.net.owner import READ_ONLY, Owner
from realmserver.net.refusals import Refusals
from realmserver.net.seat import Desk
from realmserver.process.memory import keep_large_blocks_apart, look_for_garbage_seldom
from realmserver.process.open_files import raise_limit
from realmserver.process.server import SWITCH_INTERVAL
from realmserver.realms.requests import LimitReached, RealmError
from realmserver.store.lmdb_store import LmdbStore
from realmserver.store.reserve import DiskReserve

logger = log.get_logger("workers")


class Worker:
    """The process. ``reactor`` is not running yet."""

    def __init__(self, settings: Settings, observer: log.LineObserver, reactor: Any) -> None:
        self._observer = observer
        self._reactor = reactor
        self._is_stopping = False
        self._is_followed = False
        root = Path(settings.root)
        metrics = self._metrics = Metrics()
        metrics.watch_log(observer.lines, log.LEVELS)
        # The front looks at the disk as well, and tells the operator.
        reserve = DiskReserve(root, settings.limits.disk_reserve * MEBIBYTE)

        def read_only() -> RealmError | None:
            return LimitReached("disk_reserve", READ_ONLY) if reserve.look() else None

        def exchanged(directory: Path, given_back: int) -> None:
            metrics.history_freed_bytes.inc(given_back)
            if self._is_followed:
                reactor.callFromThread(self._desk.exchanged, directory.relative_to(root).as_posix())

        def committed(directory: Path, number: int, changes: list[Change]) -> None:
            if self._is_followed:
                path = directory.relative_to(root).as_posix()
                reactor.callFromThread(self._desk.committed, path, commit_frame(path, number, changes))

        public = load_pem_public_key(settings.public_key.encode())
        assert isinstance(public, RSAPublicKey)
        self._owner = Owner(
            reactor,
            LmdbStore(
                root,
                random_bytes=os.urandom,
                committed=committed if settings.has_backup else None,
                exchanged=exchanged,
                is_guest=True,
            ),
            Tokens(PublicHalf(public)),
            max_open_files=settings.max_open_files,
            history_ttl=settings.history_ttl,
            limits=settings.limits,
            refused=Refusals(metrics, reactor.seconds),
            crowded=lambda is_crowded: self._desk.crowded(is_crowded),
            metrics=metrics,
            read_only=read_only,
            on_failure=lambda realm: self._desk.realm_failed(realm),
            quarantine_changed=lambda: reactor.callFromThread(self._desk.look),
        )
        self._desk = Desk(self._owner, self)
        self._owner.shared.new.on_make = lambda user: reactor.callFromThread(self._desk.made, user)
        self.link = Link(reactor, self._desk.heard, lambda: None, self.stop)
        self._desk.serve(self.link)
        DelayMeter(reactor, metrics).startService()

    def stop(self) -> None:
        """Finish what was uploaded, close the Realms, and end."""
        if not self._is_stopping:
            self._is_stopping = True
            Deferred.fromCoroutine(self._stop()).addErrback(
                lambda failure: logger.error("the worker could not stop in order", failure=failure)
            ).addBoth(lambda _: self._reactor.stop())

    async def _stop(self) -> None:
        self._desk.end()
        await self._owner.stop()

    def reopen_log(self) -> None:
        try:
            self._observer.reopen()
        except OSError as error:
            logger.error("the log file cannot be opened anew: {cause}", cause=error.strerror)

    def followed(self, is_followed: bool) -> None:
        """Looked at by the threads that write, when a commit is durable."""
        self._is_followed = is_followed

    def figures(self) -> Figures:
        return figures_of(self._metrics.registry)


def main() -> None:
    """The process's whole life."""
    leave_signals_to_the_front()
    settings = Settings.from_json(sys.stdin.buffer.read())
    from twisted.internet import reactor as found

    reactor: Any = found

    log.set_level(settings.level)
    log.route_standard_logging()
    path = Path(settings.log_path) if settings.log_path is not None else None
    observer = log.LineObserver(sys.stdout, path, as_json=settings.as_json)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    sys.setswitchinterval(SWITCH_INTERVAL)
    raise_limit()
    keep_large_blocks_apart()
    worker = Worker(settings, observer, reactor)
    with socket.socket(fileno=LINK) as stream:
        adopt(reactor, stream, worker.link)
    look_for_garbage_seldom()
    logger.debug("a worker is there: number {number}, process {process}", number=settings.number, process=os.getpid())
    reactor.run(installSignalHandlers=False)


if __name__ == "__main__":
    main()
