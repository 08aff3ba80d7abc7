"""An SDK that does not know collections in Mixed places, and a Realm that holds one: the server stops its session with
one error that resets nothing, and everybody else goes on.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest
from interop_devices import Devices, assert_equal
from interop_schema import NESTED
from realm_client import ClientError, RealmClient, settle
from server_process import ServerProcess

pytestmark = pytest.mark.interop

Json = Any

NEW: Final = "2.3.0"
OLDER: Final = {"1.8.0": 8, "1.11.0": 10}
"""SDKs below protocol 13, and what they speak."""

QUIET_SECONDS: Final = 2.0
"""A client that came back at once would do so many times in this time."""

NESTED_VALUE: Final = {"secret": [1, ["deep"]]}


def connections(server: ServerProcess, version: str) -> int:
    """How often a client of that version connected."""
    return server.text().count(f"protocol com.mongodb.realm-sync#{OLDER[version]}\n")


def assert_stopped_for_good(old: RealmClient, server: ServerProcess, times: int = 1) -> None:
    """The device got one error, which says why and resets nothing, and leaves the server alone from then on.

    Args:
        old: the device.
        server: its server, with no other device of that version.
        times: how often the device has opened the Realm in vain by now.
    """
    (error,) = old.wait_errors(1)
    assert "needs sync protocol 13" in json.dumps(error)
    assert error["isFatal"]
    assert not error["isClientResetRequested"]
    received = re.findall(r"Received: ERROR .*error_code=(\d+).*error_action=(\w+)", old.log_path.read_text())
    assert received == [("201", "ApplicationBug")] * times
    before = connections(server, old.version)
    assert 1 <= before <= times
    with pytest.raises(ClientError, match="timeout"):
        old.wait_download(QUIET_SECONDS)
    assert connections(server, old.version) == before
    assert old.cmd("errors") == [error]
    assert server.text().count("error 201 sent") == times


@pytest.mark.parametrize("version", OLDER)
def test_an_older_sdk_stops_when_a_nested_collection_enters_its_realm(
    server: ServerProcess, devices: Devices, version: str
) -> None:
    old, writer, other = devices.open(version, NEW, NEW, schema=NESTED)
    old.cmd("create", "Box", "from the old one", {"any": 1, "list": [1], "dict": {"k": "v"}})
    settle(old, writer, other)
    shared = assert_equal([old, writer, other])

    writer.cmd("set", "Box", "from the old one", "any", NESTED_VALUE)
    settle(writer, other)
    assert_stopped_for_good(old, server)
    assert old.dump() == shared

    old.cmd("add", "Box", "from the old one", "n", 5)  # its application goes on with what it has
    other.cmd("append", "Box", "from the old one", ["any", "secret"], 2)
    settle(writer, other)
    assert assert_equal([writer, other])["Box"]['"from the old one"']["any"] == {"secret": [1, ["deep"], 2]}

    old.cmd("close")
    old.cmd("open", devices.partition)
    assert_stopped_for_good(old, server, times=2)
    assert old.cmd("get", "Box", "from the old one") == shared["Box"]['"from the old one"'] | {"n": 5}


@pytest.mark.parametrize("version", OLDER)
def test_an_older_sdk_gets_nothing_of_a_realm_with_a_nested_collection(
    server: ServerProcess, devices: Devices, version: str
) -> None:
    writer, other = devices.open(NEW, NEW, schema=NESTED)
    writer.cmd("create", "Box", "b", {"list": [NESTED_VALUE]})
    settle(writer, other)
    (old,) = devices.open(version, schema=NESTED)
    assert_stopped_for_good(old, server)
    assert old.dump() == {"Box": {}}
    other.cmd("erase", "Box", "b", ["list", 0, "secret", 1])
    settle(writer, other)
    assert assert_equal([writer, other])["Box"]['"b"']["list"] == [{"secret": [1]}]
