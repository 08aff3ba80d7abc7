"""The server's end of a continuous backup."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from realmserver.auth.keys import make_keys
from realmserver.auth.tokens import Tokens
from realmserver.backup.feed import HELLO_TIMEOUT, Feed
from realmserver.metrics import Metrics


class OneThread(Clock):
    """A reactor on whose thread everything happens."""

    def callFromThread(self, call: Callable[..., object], *args: object) -> None:
        call(*args)


def follower(root: Path) -> tuple[Feed, OneThread, Any]:
    """A feed with one connection that it has let in, and the connection's transport."""
    reactor = OneThread()
    feed = Feed(reactor, root, Tokens(make_keys(root / "key.pub", root / "key")), Metrics())
    transport: Any = StringTransport()  # type: ignore[no-untyped-call]
    one = feed.buildProtocol(None)
    one.makeConnection(transport)  # type: ignore[no-untyped-call]
    feed.joined(one)
    return feed, reactor, transport


def test_who_follows_a_realm_whose_file_is_exchanged_has_to_come_again(tmp_path: Path) -> None:
    """The new file counts its transactions anew: a follower would take them for old ones."""
    feed, _, transport = follower(tmp_path)
    feed.exchanged(tmp_path / "user_data" / "a.realm")
    assert transport.disconnected
    assert feed.lag().commits == 0


def test_who_shows_no_token_in_time_is_sent_away(tmp_path: Path) -> None:
    _, reactor, transport = follower(tmp_path)
    reactor.advance(HELLO_TIMEOUT - 1)
    assert not transport.disconnected
    reactor.advance(1)
    assert transport.disconnected


def test_others_who_commit_hear_of_the_first_follower_and_the_last(tmp_path: Path) -> None:
    feed, _, _ = follower(tmp_path)
    told: list[bool] = []

    def announce(is_followed: bool) -> Deferred[None]:
        told.append(is_followed)
        return Deferred()

    feed.announce = announce
    other = feed.buildProtocol(None)
    other.makeConnection(StringTransport())  # type: ignore[no-untyped-call]
    feed.joined(other)
    other.end("a reason")
    other.end("a reason")
    assert told == [True]
    feed.stop()
    assert told == [True, False]


def test_nothing_is_copied_before_all_who_commit_know_that_somebody_follows(tmp_path: Path) -> None:
    feed, _, _ = follower(tmp_path)
    known: Deferred[None] = Deferred()
    feed.announce = lambda _: known
    other = feed.buildProtocol(None)
    other.makeConnection(StringTransport())  # type: ignore[no-untyped-call]
    listed: list[bool] = []
    other._look_around = lambda: listed.append(True)  # type: ignore[method-assign]
    other._begin({})
    assert listed == []
    known.callback(None)
    assert listed == [True]


def test_rubbish_ends_the_connection(tmp_path: Path) -> None:
    feed, _, transport = follower(tmp_path)
    transport.protocol = None
    (one,) = feed._followers
    one.dataReceived(os.urandom(64))
    assert transport.disconnected
