"""What must hold when a healed world has come to rest (``docs/testing.md``)."""

from realmserver.changeset.decode import decode
from realmserver.changeset.instructions import BadChangeset
from realmserver.realms.fold import is_behind
from realmserver.realms.retention import next_step
from realmserver.realms.values import Values

from .choices import Violation
from .device import Copy, Device
from .disk import Journal
from .host import Server
from .shrinking import TTL, check_snapshot, is_lost
from .world import World

State = dict[str, list[list[object]]]


def check_all(world: World) -> None:
    """Raise :class:`Violation` for the first promise that is broken."""
    server = world.server
    if server is None:
        raise Violation("the server is not running")
    _check_rest(world, server)
    states = {name: _check_log(journal) for name, journal in world.disk.journals.items()}
    if world.may_expire:
        check_folded(world)
        for name, state in states.items():
            with world.disk.look(name) as snapshot:
                check_snapshot(name, snapshot, state)
    for device in world.devices:
        for copy in device.copies.values():
            _check_copy(world, device, copy, states[copy.path])
    _check_once(world)


def _check_rest(world: World, server: Server) -> None:
    """Nothing waits anywhere, and no more Realms are open than may be."""
    if server.workers.jobs or server.workers.results:
        raise Violation("work is left in the threads")
    for side in server.connections:
        if side.machine.outstanding_bytes or not side.is_reading:
            raise Violation(f"c{side.wire.number} has {side.machine.outstanding_bytes} bytes waiting")
        if side.wire.to_client or side.wire.to_server:
            raise Violation(f"c{side.wire.number} has messages on their way")
    for live in server.realms.values():
        if not live.is_idle:
            raise Violation(f"{live.name} is not idle")
    is_open = [journal.name for journal in world.disk.journals.values() if journal.is_open]
    if len(is_open) > server.max_open:
        raise Violation(f"{len(is_open)} Realms are open, {server.max_open} may be")
    for journal in world.disk.journals.values():
        if journal.durable != len(journal.commits):
            raise Violation(f"{journal.name} has commits that were never synced")


def check_folded(world: World) -> None:
    """In Realms that are open, history that is old enough is folded and swept, whoever is not there."""
    assert world.server is not None
    for name, live in world.server.realms.items():
        journal = world.disk.journals[name]
        if not journal.is_open or live._realm is None:
            continue
        with world.disk.look(name) as snapshot:
            is_worth = snapshot.head.size > live._realm._not_worth
            due = next_step(snapshot, TTL, journal.now() + TTL, 1) if is_worth else None
            if is_behind(snapshot) or due is not None:
                raise Violation(f"{name}: its history is not folded in time: {due}")
        if world.disk.has_useless(name):
            raise Violation(f"{name}: what is of no more use is not swept")


def _check_log(journal: Journal) -> State:
    """The log has no gap and applies from the start, strictly; returns what it comes to."""
    values = Values()
    version = size = 0
    for commit in journal.commits:
        for entry in commit.entries:
            version, size = version + 1, size + len(entry.changeset)
            if (entry.version, entry.cumulative_size) != (version, size):
                raise Violation(f"{journal.name}: {entry} should be version {version} of size {size}")
            try:
                values.apply(decode(entry.changeset))
            except BadChangeset as error:
                raise Violation(f"{journal.name}: no client can apply version {version}: {error}") from error
    return values.state()


def _check_copy(world: World, device: Device, copy: Copy, state: State) -> None:
    """The copy is in sync: all is acknowledged, all is here, and it is what the server's log comes to."""
    kept = world.disk.kept(copy.path)
    file = copy.local.file
    who = f"device {device.number} at {copy.path}, client file {file.ident},"
    if copy.session is None or not copy.session.is_identified:
        raise Violation(f"{who} has no session")
    if not copy.local.is_uploaded:
        raise Violation(f"{who} was never told that version {copy.local.last_written} is there")
    if file.download.server_version != kept.version or file.latest.version != kept.version:
        raise Violation(f"{who} stands at server version {file.download.server_version}, not at {kept.version}")
    if world.may_expire and is_lost(world.disk.journals[copy.path], copy.claim()):
        raise Violation(f"{who} has received what never was one history")
    record = kept.clients[file.ident]
    if record.salt != file.salt or record.client_version < copy.local.last_written:
        raise Violation(f"{who} is not the server's {record}")
    if not world.tolerates_faults and copy.local.values.state() != state:
        raise Violation(f"{who} holds {copy.local.values.state()}, the server {state}")


def _check_once(world: World) -> None:
    """Every transaction of every client file is in the log exactly once, in order, and no other is."""
    for name, journal in world.disk.journals.items():
        found: dict[int, list[int]] = {}
        for commit in journal.commits:
            for entry in commit.entries:
                if entry.origin or entry.changeset:  # else it says where a squash begins to count
                    found.setdefault(entry.origin, []).append(entry.client_version)
        for device in world.devices:
            copy = device.copies.get(name)
            if copy is not None:
                ident = copy.local.file.ident
                logged = found.pop(ident, [])
                if logged != copy.written:
                    raise Violation(f"{name}: client file {ident} wrote versions {copy.written}, the log has {logged}")
        for ident, logged in found.items():  # of files that were reset
            if not world.resets:
                raise Violation(f"{name}: the log has versions {logged} of client file {ident}, which nobody is")
            if sorted(set(logged)) != logged:
                raise Violation(f"{name}: the log has versions {logged} of client file {ident}")
