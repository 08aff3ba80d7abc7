"""Both ends together in memory: what the server sends is what the client end accepts."""

import random
from collections import deque

import pytest
from sync_ends import Host, World

from realmserver.realms.requests import DownloadCursor, SaltedVersion, UploadCursor, UploadEntry
from realmserver.sync import client
from realmserver.sync.client import ClientConnection, ClientFile, ClientSession
from realmserver.sync.decisions import Send
from realmserver.sync.errors import Code, SyncError
from realmserver.sync.versions import negotiate, offer


class Peer:
    """A client that answers DOWNLOADs as real ones do: each makes a local version, which is then reported."""

    def __init__(self, world: World, *, version: int = 14, auto: bool = True) -> None:
        self.host = Host(world, version, auto=auto)
        self.client = ClientConnection()
        self.client.connected(f"com.mongodb.realm-sync#{version}")
        self.events: list[client.Output] = []
        self.to_server: deque[bytes] = deque()
        self.delivered = 0
        self.versions: dict[ClientSession, int] = {}
        self.received: dict[ClientSession, list[bytes]] = {}

    def do(self, outputs: list[client.Output]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                self.to_server.append(output.data)
                continue
            self.events.append(output)
            if isinstance(output, client.Downloaded):
                found = [entry.changeset for entry in output.download.entries]
                self.received.setdefault(output.session, []).extend(found)
                self.versions[output.session] = self.versions.get(output.session, 1) + 1
                self.report(output.session)
            elif isinstance(output, client.MarkReached):
                self.report(output.session)

    def bind(self, path: str, file: ClientFile | None = None, *, fast: bool = False) -> ClientSession:
        session, outputs = self.client.bind(path, file, fast=fast)
        self.versions[session] = max(1, session.file.newest_version)
        self.do(outputs)
        return session

    def report(self, session: ClientSession) -> None:
        if session.may_upload:
            server = session.file.download.server_version
            self.do(self.client.upload(session, (), UploadCursor(self.versions[session], server), server))

    def write(self, session: ClientSession, changeset: bytes) -> None:
        self.versions[session] += 1
        version, server = self.versions[session], session.file.download.server_version
        entry = UploadEntry(version, server, 9, 0, changeset)
        self.do(self.client.upload(session, (entry,), UploadCursor(version, server), server))

    def step(self) -> bool:
        """Move one message, of the server first."""
        if self.delivered < len(self.host.sent):
            self.delivered += 1
            self.do(self.client.receive(self.host.sent[self.delivered - 1]))
        elif self.to_server:
            self.host.say(self.to_server.popleft())
        else:
            return False
        return True

    def settle(self) -> None:
        for _ in range(1000):
            if not self.step():
                return
        raise AssertionError("the two ends do not come to rest")

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


@pytest.fixture
def world() -> World:
    return World()


def test_our_offer_and_our_answer_fit() -> None:
    negotiated = negotiate(offer())
    connection = ClientConnection()
    connection.connected(getattr(negotiated, "name", None))
    assert connection.negotiated == negotiated


def test_the_first_messages_are_those_of_a_real_client(world: World) -> None:
    peer = Peer(world)
    session = peer.bind('"part1"')
    assert list(peer.to_server) == [b'bind 1 7 0 1 0\n"part1"']
    peer.step()
    peer.step()
    assert list(peer.to_server) == [b"ident 1 2 1002 0 0 0 0\n", b"mark 1 1\n"]
    assert not session.may_upload
    peer.settle()
    assert peer.kinds() == ["IdentAllocated", "Downloaded", "MarkReached"]
    assert session.may_upload


def test_no_upload_before_the_first_mark_is_answered(world: World) -> None:
    peer = Peer(world)
    session = peer.bind("/a")
    with pytest.raises(ValueError, match="may not upload"):
        peer.client.upload(session, (), UploadCursor(), 0)


def test_uploads_are_acknowledged_and_the_ends_come_to_rest(world: World) -> None:
    peer = Peer(world)
    session = peer.bind("/a")
    peer.settle()
    peer.write(session, b"one")
    peer.write(session, b"two")
    peer.settle()
    assert session.file.upload.client_version >= peer.versions[session] - 2
    assert [entry.changeset for entry in world.realm("/a").log] == [b"one", b"two"]
    downloads = peer.kinds().count("Downloaded")
    assert downloads == 3, "the first, and one for each upload; none for mere progress"


def test_a_known_file_comes_back_in_one_breath(world: World) -> None:
    peer = Peer(world)
    session = peer.bind("/a")
    peer.settle()
    peer.write(session, b"one")
    peer.settle()
    peer.host.carry_out(peer.host.connection.lost())
    again = Peer(world)
    back = again.bind("/a", session.file)
    assert [data.split()[0] for data in again.to_server] == [b"bind", b"ident", b"mark"]
    again.settle()
    assert again.kinds() == ["Downloaded", "MarkReached"]
    again.write(back, b"two")
    again.settle()
    assert [entry.changeset for entry in world.realm("/a").log] == [b"one", b"two"]


def test_a_fast_reconnect_uploads_at_once(world: World) -> None:
    peer = Peer(world)
    session = peer.bind("/a")
    peer.settle()
    again = Peer(world)
    back = again.bind("/a", session.file, fast=True)
    again.write(back, b"at once")
    assert [data.split()[0] for data in again.to_server] == [b"bind", b"ident", b"upload"]
    again.settle()
    assert [entry.changeset for entry in world.realm("/a").log] == [b"at once"]


def test_changes_reach_other_clients_in_order(world: World) -> None:
    writer, reader = Peer(world), Peer(world, version=2)
    session, other = writer.bind("/a"), reader.bind("/a")
    writer.settle()
    reader.settle()
    for number in range(10):
        writer.write(session, b"%d" % number)
    writer.settle()
    world.write("/a", b"server")
    reader.settle()
    assert reader.received[other] == [b"%d" % number for number in range(10)] + [b"server"]


def test_sessions_share_a_connection(world: World) -> None:
    peer = Peer(world)
    one, two = peer.bind("/a"), peer.bind("/b")
    peer.settle()
    peer.write(one, b"for a")
    peer.write(two, b"for b")
    peer.settle()
    assert [entry.changeset for entry in world.realm("/a").log] == [b"for a"]
    assert [entry.changeset for entry in world.realm("/b").log] == [b"for b"]
    peer.do(peer.client.unbind(one))
    peer.settle()
    assert isinstance(peer.events[-1], client.Unbound)
    world.write("/a", b"unheard")
    world.write("/b", b"heard")
    peer.settle()
    assert peer.received[two] == [b"heard"]
    assert one not in peer.received or b"unheard" not in peer.received[one]


def test_an_error_that_crosses_unbind_ends_the_session_for_both(world: World) -> None:
    peer = Peer(world)
    session = peer.bind("/a")
    peer.settle()
    handle = peer.host.session(1)
    peer.do(peer.client.unbind(session))
    peer.host.carry_out(peer.host.connection.refused(handle, SyncError(Code.BAD_CLIENT_FILE, "crossing")))
    peer.settle()
    assert isinstance(peer.events[-1], client.SessionError)
    assert peer.host.connection.sessions == 0


def test_downloads_on_their_way_at_unbind_are_ignored(world: World) -> None:
    peer = Peer(world)
    session = peer.bind("/a")
    peer.settle()
    world.write("/a", b"late")
    peer.do(peer.client.unbind(session))
    peer.settle()
    assert peer.kinds()[-1] == "Unbound"
    assert peer.received[session] == []


def test_a_failed_session_is_unbound_by_the_client_and_free_again(world: World) -> None:
    peer = Peer(world)
    session = peer.bind("/a", ClientFile(9, 9))
    peer.settle()
    [event] = peer.events
    assert isinstance(event, client.SessionError)
    assert (event.code, event.content and event.content["action"]) == (208, "ClientReset")
    assert peer.host.connection.sessions == 0
    assert not session.is_identified


def test_a_client_reset_takes_the_cursors_of_a_fresh_copy(world: World) -> None:
    """NOTES.md 5: the original file binds again with a new ident and the position of the fresh copy."""
    world.write("/a", b"x")
    peer = Peer(world)
    fresh = peer.bind("/a")
    peer.settle()
    peer.do(peer.client.unbind(fresh))
    peer.settle()
    reset = ClientFile(download=DownloadCursor(fresh.file.download.server_version, 0), latest=fresh.file.latest)
    back = peer.bind("/a", reset)
    peer.settle()
    assert back.file.ident == 3
    assert peer.received[back] == []
    peer.write(back, b"again")
    peer.settle()
    assert world.realm("/a").version == 2


def test_a_rejected_download_ends_in_a_transient_error(world: World) -> None:
    peer = Peer(world)
    session = peer.bind("/a")
    peer.settle()
    peer.do(peer.client.reject(session, Code.BAD_CHANGESET, "cannot apply"))
    world.write("/a", b"more")
    peer.settle()
    event = peer.events[-1]
    assert isinstance(event, client.SessionError)
    assert (event.code, event.try_again) == (201, True)
    assert b"more" not in peer.received[session]


def test_ping_and_refresh_and_shutdown(world: World) -> None:
    peer = Peer(world)
    session = peer.bind("/a")
    peer.settle()
    peer.do(peer.client.ping(1234, 0))
    peer.do(peer.client.refresh(session, "fresh"))
    peer.settle()
    assert peer.events[-1] == client.Pong(1234)
    peer.host.carry_out(peer.host.connection.shutdown())
    peer.settle()
    event = peer.events[-1]
    assert isinstance(event, client.ConnectionEnded)
    assert (event.code, event.try_again) == (100, True)


@pytest.mark.parametrize("seed", range(20))
def test_random_traffic_never_offends_the_client_and_converges(seed: int) -> None:
    """Three clients with two Realms, answers of the host delayed at random; the client end checks every message."""
    chance = random.Random(seed)
    world = World()
    for path in ("/a", "/b"):
        world.realm(path).batch = chance.choice([0, 10, 1000])
    peers = [Peer(world, version=chance.randint(2, 14), auto=False) for _ in range(3)]
    sessions: list[tuple[Peer, ClientSession]] = [(peer, peer.bind(path)) for peer in peers for path in ("/a", "/b")]
    for number in range(300):
        peer, session = chance.choice(sessions)
        match chance.randrange(8):
            case 0 if session.may_upload:
                peer.write(session, b"%d" % number)
            case 1:
                world.write(session.path, b"s%d" % number)
            case 2:
                peer.host.answer(1)
            case 3 if session.is_identified:
                peer.do(peer.client.mark(session))
            case 4:
                is_writable = chance.random() < 0.7
                peer.host.carry_out(peer.host.connection.writable(is_writable))
            case 5 if session.is_identified and chance.random() < 0.1:
                peer.do(peer.client.unbind(session))
                sessions.remove((peer, session))
                sessions.append((peer, peer.bind(session.path)))
            case _:
                peer.step()
    for peer in peers:
        peer.host.carry_out(peer.host.connection.writable(True))
    for _ in range(2000):
        for peer in peers:
            peer.step()
            peer.host.answer(1)
    for peer, session in sessions:
        realm = world.realm(session.path)
        assert session.file.download.server_version == realm.version, seed
        assert session.file.latest == SaltedVersion(realm.version, realm.salt(realm.version))
        assert session.reached_mark == session.asked_mark
        theirs = [entry.changeset for entry in realm.log if entry.origin != session.file.ident]
        assert peer.received.get(session, []) == theirs
        assert peer.host.connection.outstanding_bytes == 0
        assert peer.host.close is None
