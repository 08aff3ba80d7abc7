"""Frames of unmodified Realm clients (realm-jvm 1.8.0, 1.11.0, 2.3.0) decode and drive the server without error."""

import re
from pathlib import Path

import pytest
from golden import TRANSCRIPTS
from sync_ends import Host, World

from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c
from realmserver.sync.syntax import CLIENT_LIMITS, SERVER_LIMITS, MalformedMessage
from realmserver.sync.versions import Negotiated, negotiate

FILES = sorted(TRANSCRIPTS.glob("*/ws-*.txt"))
PARTITION = [path for path in FILES if "flx" not in path.parent.name]
_FRAME = re.compile(r"^ +[0-9.]+ (C>S|S>C) (.*)$")
_HEX = re.compile(r"^ +([0-9a-f]{4,})  ([0-9a-f]{2,64}) ")
_OFFER = re.compile(r"^Sec-WebSocket-Protocol: (.*)$", re.MULTILINE)
_PROTOCOL = re.compile(r"^# answered with Sec-WebSocket-Protocol: (.*)$", re.MULTILINE)


def frames(path: Path) -> list[tuple[str, bytes]]:
    """(direction, message) of each frame of a transcript."""
    found: list[tuple[str, bytearray]] = []
    for line in path.read_text().splitlines():
        frame, row = _FRAME.match(line), _HEX.match(line)
        if frame:
            found.append((frame[1], bytearray(frame[2].encode() + b"\n")))
        elif row:
            found[-1][1].extend(bytes.fromhex(row[2]))
    return [(direction, bytes(data)) for direction, data in found]


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_the_transcripts_are_there() -> None:
    assert len(PARTITION) >= 15
    assert sum(len(frames(path)) for path in PARTITION) > 300


@pytest.mark.parametrize("path", FILES, ids=name)
def test_the_offers_of_real_clients_are_understood(path: Path) -> None:
    text = path.read_text()
    offer, answer = _OFFER.search(text), _PROTOCOL.search(text)
    assert offer
    assert answer
    if "flx" in path.parent.name:
        assert not isinstance(negotiate(offer[1]), Negotiated)
    else:
        assert getattr(negotiate(offer[1]), "name", None) == answer[1]


@pytest.mark.parametrize("path", PARTITION, ids=name)
def test_all_frames_decode_and_encode_to_the_same(path: Path) -> None:
    for direction, data in frames(path):
        if direction == "S>C":
            s2c.decode_server_message(data, CLIENT_LIMITS)
            continue
        message = c2s.decode_client_message(data, SERVER_LIMITS)
        if isinstance(message, c2s.Upload) and data.split(b" ")[2] == b"1":
            assert c2s.decode_client_message(message.encode(), SERVER_LIMITS) == message, "zlib streams may differ"
        else:
            assert message.encode() == data


@pytest.mark.parametrize("path", [path for path in FILES if path not in PARTITION], ids=name)
def test_frames_of_flexible_sync_are_malformed_here_and_do_no_harm(path: Path) -> None:
    refused = 0
    for direction, data in frames(path):
        if direction == "C>S":
            try:
                c2s.decode_client_message(data, SERVER_LIMITS)
            except MalformedMessage:
                refused += 1
    assert refused


@pytest.mark.parametrize("path", PARTITION, ids=name)
def test_real_clients_are_served(path: Path) -> None:
    """The client's frames, each session's in order, with the Realm grown to what the client knew at that point."""
    world = World()
    host = Host(world, 10)
    latest: dict[bytes, int] = {}
    for direction, data in frames(path):
        args = data.partition(b"\n")[0].split()
        if direction == "S>C":
            if args[0] == b"ident":
                # The client goes on with the ident and the salt which its own server gave it.
                realm = host.realms[host.session(int(args[1]))]
                realm.files[int(args[2])] = realm.files.pop(realm.last_ident)
                realm.files[int(args[2])].salt = int(args[3])
            elif args[0] == b"download":
                version, salt = int(args[4]), int(args[5])
                realm = host.realms[host.session(int(args[1]))]
                while realm.version < version:
                    realm.write(b"x")
                realm.log[version - 1].salt = salt
                world.advance(realm)
                latest[args[1]] = version
            continue
        if args[0] == b"ident" and int(args[6]):
            realm = host.realms[host.session(int(args[1]))]
            while realm.version < int(args[6]):
                realm.write(b"x")
            realm.log[int(args[6]) - 1].salt = int(args[7])
            if int(args[2]) not in realm.files:
                realm.allocate()
                realm.files[int(args[2])] = realm.files.pop(realm.last_ident)
                realm.files[int(args[2])].salt = int(args[3])
                realm.files[int(args[2])].upload = type(realm.files[int(args[2])].upload)(int(args[5]), 0)
        host.say(data)
        assert host.close is None, data[:100]
        assert not any(sent.startswith(b"json_error") for sent in host.sent), (data[:100], host.sent[-1])
    marks = sum(data.startswith(b"mark") for direction, data in frames(path) if direction == "C>S")
    assert sum(data.startswith(b"mark") for data in host.sent) == marks
