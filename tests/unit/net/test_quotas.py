"""What a user may take of Realms, what connections may hold of memory, and how often the log hears of it."""

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from realmserver.metrics import Metrics
from realmserver.net.ledger import Ledger
from realmserver.net.quotas import WINDOW, BoundRealms, NewRealms
from realmserver.net.refusals import INTERVAL, Refusals
from realmserver.realms.requests import LimitReached


def test_the_same_realm_on_several_devices_counts_once() -> None:
    bound = BoundRealms(1)
    bound.bind("user", "/a")
    assert bound.has_room("user", "/a")
    bound.bind("user", "/a")
    assert not bound.has_room("user", "/b")
    assert bound.has_room("other", "/b")
    bound.leave("user", "/a")
    assert not bound.has_room("user", "/b")
    bound.leave("user", "/a")
    assert bound.has_room("user", "/b")


def test_new_realms_are_counted_by_the_hour() -> None:
    now = [10.0 * WINDOW]
    new = NewRealms(2, lambda: now[0])
    new.make("user")
    new.make("user")
    with pytest.raises(LimitReached) as caught:
        new.make("user")
    assert caught.value.limit == "new_realms_per_user"
    new.make("other")
    now[0] += WINDOW
    new.make("user")


def test_new_realms_that_others_make_count_as_well_and_they_hear_of_those_made_here() -> None:
    now = [10.0 * WINDOW]
    new = NewRealms(2, lambda: now[0])
    made: list[str] = []
    new.on_make = made.append
    new.make("user")
    new.made_elsewhere("user")
    with pytest.raises(LimitReached):
        new.make("user")
    assert made == ["user"]
    now[0] += WINDOW
    new.made_elsewhere("user")
    new.make("user")


def test_who_has_held_on_for_longest_goes_first() -> None:
    gone: list[str] = []
    totals: list[int] = []
    ledger: Ledger[str] = Ledger(100, gone.append, totals.append)
    ledger.hold("slow", 40)
    ledger.hold("quick", 50)
    ledger.release("quick")
    ledger.hold("quick", 50)
    ledger.hold("slow", 45)
    assert gone == []
    ledger.hold("late", 10)
    assert gone == ["slow"]
    assert ledger.total == totals[-1] == 60
    ledger.release("slow")
    ledger.hold("late", 1000)
    assert gone == ["slow", "quick", "late"]
    assert ledger.total == 0


def test_every_refusal_is_counted_and_few_are_told() -> None:
    clock, metrics = Clock(), Metrics()
    refused = Refusals(metrics, clock.seconds)
    with capturedLogs() as events:
        for _ in range(100):
            refused("connections", "a connection was closed", "192.0.2.1")
        refused("message_size", "a message was too long")
        clock.advance(INTERVAL)
        refused("connections", "a connection was closed", "192.0.2.1")
    assert [(event["limit"], event["untold"]) for event in events] == [
        ("connections", 0), ("message_size", 0), ("connections", 99),
    ]  # fmt: skip
    counted = metrics.registry.get_sample_value("ros_limit_refused_total", {"limit": "connections"})
    assert counted == 101
