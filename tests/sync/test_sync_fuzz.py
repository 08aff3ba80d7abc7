"""Whatever a peer sends, an end gives decisions or a documented failure, never another exception."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sync_ends import Host, World

from realmserver.realms.requests import DownloadCursor, SaltedVersion, UploadCursor
from realmserver.sync import decisions
from realmserver.sync.client import ClientConnection, ClientFile
from realmserver.sync.client_checks import ServerViolation

CLIENT = [
    b"bind 1 5 0 1 0\n/test",
    b"bind 2 5 0 0 0\n/test",
    b"bind 3 5 3 0 0\n/testabc",
    b"ident 1 2 1002 0 0 0 0\n",
    b"ident 2 3 1003 0 0 0 0\n",
    b"mark 1 1\n",
    b"mark 2 1\n",
    b"upload 1 0 47 0 3 0 0\n2 0 178000000000 0 3 abc3 0 178000000500 0 2 de",
    b"upload 1 0 0 0 5 1 1\n",
    bytes.fromhex(
        "75706c6f6164203120312031313234203336203220302030 0a"
        "7801335230503034b730800110d7d0c040a162148c86c068088c8600154200009c1f0803"
    ),
    b"unbind 1\n",
    b"unbind 2\n",
    b"ping 1000 0\n",
    b"refresh 1 3\nabc",
    b"state_request 1 0 0 0 0 0 0 0 0\n",
    b"client_version_request 1 2 1002\n",
    b"alloc 1\n",
    b'json_error 212 15 1\n{"message":"x"}',
]
SERVER = [
    b"ident 1 2 1002\n",
    b"download 1 5 3 6 66 4 2 0 0 0 0\n",
    b"download 1 6 3 6 66 4 2 0 0 13 0\n6 3 0 3 1 1 x",
    b"mark 1 1\n",
    b"unbound 1\n",
    b"pong 1000\n",
    b"error 208 3 0 1\nabc",
    b'json_error 208 132 1\n{"message":"m","tryAgain":false,"logURL":"","shouldClientReset":false,'
    b'"isRecoveryModeDisabled":false,"action":"ApplicationBug"  }',
    b'log_message 0 47\n{"co_id":"c0ffee","level":"info","msg":"hello"}',
]


def mutated(chance: random.Random, messages: list[bytes]) -> bytes:
    data = bytearray(chance.choice(messages))
    for _ in range(chance.choice([0, 0, 1, 1, 2, 5])):
        position = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                data[position:position] = bytes([chance.choice(b"0123456789 -\n\r+x\xff")])
            case 1:
                del data[position : position + chance.choice([1, 1, 4])]
            case 2 if position < len(data):
                data[position] = chance.randrange(256)
            case 3:
                data[position:position] = chance.choice([b"99999999999999999999", b" 0", b" -1", b"\n", b"\0" * 10])
            case 4:
                del data[position:]
            case _:
                data[position:position] = chance.choice(messages)
        if not data:
            return b""
    return bytes(data)


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_arbitrary_bytes_are_answered_with_one_error_and_the_end(messages: list[bytes]) -> None:
    host = Host(World(), auto=False)
    host.say(*messages)
    if host.close is not None:
        assert [type(decision) for decision in host.decisions] in (
            [decisions.ErrorSent, decisions.Send, decisions.Close],
            [decisions.Log, decisions.Close],
        )


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_mutated_sequences_never_break_the_server_end(seed: int) -> None:
    chance = random.Random(seed)
    world = World()
    host = Host(world, chance.choice([2, 4, 10]), auto=chance.random() < 0.5)
    for _ in range(15):
        host.say(mutated(chance, CLIENT) if chance.random() < 0.3 else chance.choice(CLIENT))
        if chance.random() < 0.3:
            host.answer(1)
    host.answer()
    if host.close is not None:
        assert not host.realms
        assert host.connection.lost() == []
    else:
        assert host.connection.outstanding_bytes == 0
        host.carry_out(host.connection.lost())
    opened = [decision for decision in host.decisions if isinstance(decision, decisions.Open)]
    assert sorted(map(id, host.left)) == sorted(id(decision.session) for decision in opened), "one Leave for each Open"


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_mutated_sequences_never_break_the_client_end(seed: int) -> None:
    chance = random.Random(seed)
    client = ClientConnection()
    client.connected("com.mongodb.realm-sync#10")
    file = ClientFile(2, 77, DownloadCursor(5, 3), SaltedVersion(6, 66), UploadCursor(4, 2), 9)
    client.bind("/test", file if chance.random() < 0.5 else None)
    client.ping(1000, 0)
    for _ in range(10):
        data = mutated(chance, SERVER) if chance.random() < 0.5 else chance.choice(SERVER)
        try:
            client.receive(data)
        except ServerViolation as violation:
            assert violation.check.startswith("K")  # noqa: PT017 - any other exception fails the test
            assert client.is_over


@pytest.mark.parametrize("data", [b"", b"\n", b" ", b"\0", b"a" * 100_000, b"mark " + b"1" * 100_000])
def test_edges(data: bytes) -> None:
    host = Host(World())
    [answer] = host.say(data)
    assert answer.startswith(b"json_error 103 ")
