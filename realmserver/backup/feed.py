"""Continuous backup, the server's end: followers on the backup listener get a copy of everything, then every commit.

What it keeps true: no commit waits for a follower, and what is kept for one is bounded: one that is too slow is sent
away, and comes back for a copy of what has changed meanwhile. Nobody gets a byte who has not shown the admin token.
A commit is handed on only when it is durable here. The messages are those of ``frames``. Where other processes commit
as well, each of them hands on its own (:meth:`Feed.publish`) from before a follower's first copy is made.

Runs on the reactor's thread, but for :meth:`Feed.committed`, which the threads that write call.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from realmserver._version import __version__
from realmserver.auth.tokens import TokenError, Tokens
from realmserver.backup import frames
from realmserver.backup.copying import other_files
from realmserver.backup.frames import BadFrame, Change, FrameReader, frame
from realmserver.log import get_logger
from realmserver.metrics import Metrics
from realmserver.store.layout import realms_below
from realmserver.store.lmdb_system import SYSTEM

MAX_UNSENT: Final = 64 * 1024 * 1024
"""Bytes of commits that wait for a follower that does not read. One that falls further behind copies faster anew."""

HELLO_TIMEOUT: Final = 10
"""Seconds in which a connection must show its token."""

STATUS_INTERVAL: Final = 1.0
"""Seconds between two words about how far a follower is behind."""

MAX_FILE: Final = 16 * 1024 * 1024
"""Bytes of a file that is not LMDB's: keys are small, and what else somebody keeps in the data directory should be."""

log = get_logger("backup")


class Lag(NamedTuple):
    """How far a follower is behind: commits that it has not made durable, their bytes, and the age of the oldest."""

    commits: int = 0
    bytes: int = 0
    seconds: float = 0.0


@define
class _Sent:
    """A commit that a follower has not confirmed."""

    size: int
    when: float


class Feed(Factory):
    """Takes followers, and hands every commit to each. ``root`` is the data directory, ``tokens`` checks what followers
    show, ``clock`` gives seconds. ``announce`` tells the other processes that commit whether anybody follows, and fires
    when they know."""

    noisy = False

    def __init__(
        self,
        reactor: Any,
        root: Path,
        tokens: Tokens,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.reactor = reactor
        self.root = root
        self.tokens = tokens
        self.clock = clock
        self.announce: Callable[[bool], Deferred[None]] = lambda _: succeed(None)
        self._followers: set[Follower] = set()
        metrics.watch_followers(lambda: len(self._followers), self.lag)

    def buildProtocol(self, addr: Any) -> "Follower":
        return Follower(self)

    def committed(self, directory: Path, number: int, changes: list[Change]) -> None:
        """Hand on a commit. Called in any thread, in the order of an environment's numbers."""
        if self._followers:
            path = directory.relative_to(self.root).as_posix()
            self.reactor.callFromThread(self.publish, path, frames.commit_frame(path, number, changes))

    def exchanged(self, directory: Path) -> None:
        """The environment in ``directory`` has another file now, which counts its transactions anew: followers would
        take its commits for old ones, so they have to come again. Called in any thread."""
        self.reactor.callFromThread(self.written_anew, directory.relative_to(self.root).as_posix())

    def written_anew(self, path: str) -> None:
        """The environment at ``path`` was exchanged."""
        self.send_away(f"{path} was written anew")

    def send_away(self, why: str) -> None:
        """No follower can be sure to have everything: all have to come again."""
        for follower in list(self._followers):
            follower.end(why)

    def publish(self, path: str, data: bytes) -> None:
        """Hand on a commit in the environment at ``path``: ``data`` is its frame."""
        for follower in list(self._followers):
            follower.commit(path, data)

    def lag(self) -> Lag:
        """That of the follower that is furthest behind; none without followers."""
        lags = [follower.lag() for follower in list(self._followers)]
        return max(lags, key=lambda lag: lag.seconds, default=Lag())

    def joined(self, follower: "Follower") -> Deferred[None]:
        """Fires when it hears of every commit."""
        self._followers.add(follower)
        return self.announce(True)

    def left(self, follower: "Follower") -> None:
        if follower in self._followers:
            self._followers.discard(follower)
            if not self._followers:
                self.announce(False)

    def stop(self) -> None:
        """Close all connections."""
        self.send_away("the server stops")


class FeedService(Service):
    """Sends all followers away when the server stops."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        self._feed.stop()


@implementer(IPushProducer)
class Follower(Protocol):
    """One connection."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._reader = FrameReader(frames.MAX_HELLO)
        self._is_trusted = False
        self._have: dict[str, Any] = {}
        self._asked: set[str] = set()  # copied, or being copied: their commits are handed on
        self._to_copy: dict[str, None] = {}  # in this order
        self._sender: _Sender | None = None
        self._copying: str | None = None
        self._unsent: list[bytes] = []
        self._unsent_size = 0
        self._paused = False
        self._unconfirmed: list[_Sent] = []
        self._confirmed = 0
        self._peer = ""
        self._timers: list[Any] = []
        self._ended = False

    # The connection.

    def connectionMade(self) -> None:
        self._peer = str(self.transport.getPeer().host)  # type: ignore[union-attr]
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        self._timers.append(self._feed.reactor.callLater(HELLO_TIMEOUT, self._too_late))

    def dataReceived(self, data: bytes) -> None:
        try:
            for kind, head, _ in self._reader.feed(data):
                if not self._ended:
                    self._received(kind, head)
        except (BadFrame, KeyError, TypeError, ValueError, AttributeError) as error:
            self.end(f"it does not speak the protocol: {error}")

    def connectionLost(self, reason: Any = None) -> None:
        if self._is_trusted:
            log.info("follower {peer} has left", peer=self._peer)
        self._finish()

    def end(self, why: str) -> None:
        """Send the follower away; it may come again."""
        if not self._ended:
            log.warn("follower {peer} is sent away: {why}", peer=self._peer, why=why)
            self._finish()
            self.transport.abortConnection()  # type: ignore[union-attr]

    def _too_late(self) -> None:
        if not self._is_trusted:
            self.end("it shows no token")

    def _finish(self) -> None:
        self._ended = True
        self._feed.left(self)
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._unsent.clear()
        self.transport.unregisterProducer()  # type: ignore[union-attr]
        if self._sender is not None:
            self._sender.stop()

    # What it says.

    def _received(self, kind: int, head: Any) -> None:
        if not self._is_trusted:
            self._hello(kind, head)
        elif kind == frames.HAVE:
            self._begin(dict(head))
        elif kind == frames.DONE:
            count = int(head) - self._confirmed
            self._confirmed += count
            del self._unconfirmed[: max(count, 0)]

    def _hello(self, kind: int, head: Any) -> None:
        if kind != frames.HELLO or head["protocol"] != frames.PROTOCOL:
            raise BadFrame(f"it wants protocol {head.get('protocol')}, this server has {frames.PROTOCOL}")
        try:
            is_admin = self._feed.tokens.verify_bind_token(str(head["token"]), now=self._feed.clock()).admin
            why = "" if is_admin else "this is no administrator's token"
        except TokenError as error:
            why = error.reason
        if why:
            log.warn("follower {peer} is refused: {why}", peer=self._peer, why=why)
            self.transport.write(frame(frames.REFUSED, {"text": why}))  # type: ignore[union-attr]
            self._finish()
            self.transport.loseConnection()  # type: ignore[union-attr]
            return
        self._is_trusted = True
        self._reader.limit = frames.MAX_FRAME
        self._send(frame(frames.WELCOME, {"version": __version__}))
        log.info("follower {peer} has come", peer=self._peer)

    def _begin(self, have: dict[str, Any]) -> None:
        """Subscribe first, list afterwards: so no commit can fall between the two."""
        self._have = have
        self._timers.append(self._feed.reactor.callLater(STATUS_INTERVAL, self._status))
        self._feed.joined(self).addCallback(lambda _: self._look_around())

    def _look_around(self) -> None:
        if self._ended:
            return
        listed: Deferred[tuple[list[str], list[bytes]]] = deferToThreadPool(
            self._feed.reactor, self._feed.reactor.getThreadPool(), self._list
        )
        listed.addCallbacks(self._listed, lambda failure: self.end(f"the data directory: {failure.value}"))

    def _list(self) -> tuple[list[str], list[bytes]]:
        root = self._feed.root
        realms = sorted(directory.relative_to(root).as_posix() for _, directory in realms_below(root))
        return [*realms, SYSTEM], list(_files(root))

    def _listed(self, found: tuple[list[str], list[bytes]]) -> None:
        paths, files = found
        for data in files:
            self._send(data)
        for path in paths:  # Realms before accounts, as in every backup
            self._follow(path)

    # Copies.

    def _follow(self, path: str) -> None:
        if path not in self._asked and path not in self._to_copy:
            self._to_copy[path] = None
            self._copy_next()

    def _copy_next(self) -> None:
        if self._copying is None and self._to_copy and not self._ended:
            self._copying = next(iter(self._to_copy))
            del self._to_copy[self._copying]
            self._asked.add(self._copying)
            if self._sender is None:
                self._sender = _Sender(self, self._feed)
                if self._paused:
                    self._sender.pause()
            self._sender.ask(self._copying, self._have.pop(self._copying, None))

    def copied(self, kind: int, head: Any, body: bytes) -> None:
        """The sender has something for the follower."""
        self._send(frame(kind, head, body))
        if kind == frames.FAILED:
            log.error("cannot copy for follower {peer}: {cause}", peer=self._peer, cause=head["text"])
            self._asked.discard(head["path"])  # a commit brings it back
        if kind in (frames.CURRENT, frames.END, frames.FAILED):
            self._copying = None
            self._copy_next()

    def sender_ended(self) -> None:
        """What it read may have killed it."""
        self._sender = None
        if self._copying is not None:
            self.copied(frames.FAILED, {"path": self._copying, "text": f"{self._copying}: it cannot be read"}, b"")

    # Commits.

    def commit(self, path: str, data: bytes) -> None:
        """Hand on a commit of an environment that is followed; begin to follow one that is not, and whose copy will
        have this commit, since it is durable."""
        if path not in self._asked:
            self._follow(path)
            return
        self._unconfirmed.append(_Sent(len(data), self._feed.clock()))
        self._send(data)

    def lag(self) -> Lag:
        """How far it is behind now."""
        sent = self._unconfirmed
        if not sent:
            return Lag()
        return Lag(len(sent), sum(each.size for each in sent), max(self._feed.clock() - sent[0].when, 0.0))

    def _status(self) -> None:
        lag = self.lag()
        waiting = len(self._to_copy) + (self._copying is not None)
        self._send(
            frame(
                frames.STATUS,
                {"to_copy": waiting, "commits": lag.commits, "bytes": lag.bytes, "seconds": round(lag.seconds, 3)},
            )
        )
        self._timers[-1] = self._feed.reactor.callLater(STATUS_INTERVAL, self._status)

    # Back-pressure.

    def _send(self, data: bytes) -> None:
        if self._ended:
            return
        if not self._paused:
            self.transport.write(data)  # type: ignore[union-attr]
            return
        self._unsent.append(data)
        self._unsent_size += len(data)
        if self._unsent_size > MAX_UNSENT:
            self.end("it is too slow; it will copy anew what has changed")

    def pauseProducing(self) -> None:
        self._paused = True
        if self._sender is not None:
            self._sender.pause()

    def resumeProducing(self) -> None:
        self._paused = False
        while self._unsent and not self._paused:
            data = self._unsent.pop(0)
            self._unsent_size -= len(data)
            self.transport.write(data)  # type: ignore[union-attr]
        if not self._paused and self._sender is not None:
            self._sender.resume()

    def stopProducing(self) -> None:
        self._paused = True


@define(eq=False)
class _Sender(ProcessProtocol):
    """The process that copies for one follower (``sender``)."""

    _follower: Follower
    _feed: Feed
    _reader: FrameReader = field(factory=FrameReader)
    _stopped: bool = False

    def __attrs_post_init__(self) -> None:
        command = [sys.executable, "-m", "realmserver.backup.sender", str(self._feed.root)]
        self._feed.reactor.spawnProcess(self, sys.executable, command, env=None)

    @property
    def _process(self) -> Any:
        return self.transport

    def ask(self, path: str, have: Any) -> None:
        self._process.write(json.dumps({"path": path, "have": have}).encode() + b"\n")

    def outReceived(self, data: bytes) -> None:
        for kind, head, body in self._reader.feed(data):
            if not self._stopped:
                self._follower.copied(kind, head, body)

    def errReceived(self, data: bytes) -> None:
        log.warn("copying: {message}", message=data.decode("utf-8", "replace").strip())

    def processEnded(self, reason: Any) -> None:
        if not self._stopped:
            self._stopped = True
            self._follower.sender_ended()

    def pause(self) -> None:
        self._process.pauseProducing()

    def resume(self) -> None:
        if not self._stopped:
            self._process.resumeProducing()

    def stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            self._process.signalProcess("KILL")


def _files(root: Path) -> Iterator[bytes]:
    """Frames of the files that are not LMDB's."""
    for name in other_files(root):
        path = root / name
        if path.is_file() and path.stat().st_size <= MAX_FILE:
            head = {"path": name.as_posix(), "mode": path.stat().st_mode & 0o777}
            yield frame(frames.FILE, head, path.read_bytes())
