"""Integration of what clients upload (``spec/merge.md`` 8.2), one batch at a time.

A batch holds the uploads of one or more client files of one Realm. Each upload is decoded once, merged with what its
sender had not seen, applied to the Realm's shape, and becomes log entries; whatever it changes gathers in one
:class:`~realmserver.store.interface.Commit`. An upload that is bad leaves no trace in the commit, and the others go on.

Nothing here writes to a store. The caller makes the commit durable, and tells History and Shape how that ended.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from attrs import Factory, define, evolve

from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import BadChangeset, Changeset, Instruction, PathInstruction
from realmserver.changeset.text import describe
from realmserver.merge.compact import let_go
from realmserver.merge.errors import TransformError
from realmserver.merge.summaries import Summary
from realmserver.realms.apply import any_may_drop, may_drop
from realmserver.realms.core import CompactChangeset, instructions_of, merge, parse, summary_of
from realmserver.realms.features import HIGHEST, NESTED_COLLECTIONS, may_need_more, required_protocol
from realmserver.realms.history import History
from realmserver.realms.requests import (
    BadClientFileIdent,
    BadOriginFileIdent,
    BadServerVersion,
    BadUpload,
    ClientFileExpired,
    RealmError,
    Upload,
    UploadCursor,
    UploadDone,
    UploadEntry,
)
from realmserver.realms.schema import column_names_on_path
from realmserver.realms.shape import Shape
from realmserver.store.interface import ClientFile, Commit, Head, LogEntry, Snapshot

Mended = Callable[[int, str], None]
"""Told of an instruction that was left out or replaced (8.6): the client file's ident, and a text for the log."""

MAX_MEETINGS: Final = 250_000_000
"""Meetings of instructions that merging one upload may take, about a minute and a half in pure Python: some 15,000
edits of one list on each side. The upload of a client that means no good must not hold a thread for days."""

MAX_TOLD: Final = 8
"""Instructions of one upload that were left out or replaced and of which the log tells each: an upload can have
millions, by a client that means no good."""


class Incoming(NamedTuple):
    """One uploaded changeset on its way: its header, what it is, and what it touched as it came."""

    entry: UploadEntry
    changeset: CompactChangeset
    summary: Summary
    clear_types: bool


@define
class Work:
    """What one upload has done so far; the batch takes it over when all of it is good.

    ``current`` is the server version that the whole upload is merged with, ``touched`` the versions whose reciprocals
    it has met, ``meetings`` what its merges may still take. ``mended`` counts the instructions that were left out or
    replaced, ``told`` describes the first of them. ``erased``: the columns (class, name) that others have erased
    meanwhile.
    """

    ident: int
    current: int
    size: int
    tolerant: bool
    required_protocol: int
    meetings: int
    merged: bool = False
    touched: set[int] = Factory(set)
    erased: set[tuple[str, str]] = Factory(set)
    entries: list[LogEntry] = Factory(list)
    summaries: list[Summary] = Factory(list)
    mended: int = 0
    told: list[str] = Factory(list)


class Batch:
    """Gathers the uploads of one transaction.

    ``snapshot`` shows the Realm as the batch found it; ``salt`` goes into every version the batch makes; ``now`` is
    Unix seconds; ``mended`` hears of instructions that the known faults of the rules made impossible to apply.
    """

    def __init__(
        self, history: History, shape: Shape, snapshot: Snapshot, *, salt: int, now: int, mended: Mended
    ) -> None:
        self._history = history
        self._shape = shape
        self._snapshot = snapshot
        self._salt = salt
        self._now = now
        self._mended = mended
        head = snapshot.head
        self._version = head.version
        self._size = head.size
        self._required_protocol = head.required_protocol
        self._tolerant = head.tolerant
        self._entries: dict[int, LogEntry] = {}
        self.commit = Commit()

    def integrate(self, upload: Upload) -> UploadDone:
        """Take one client file's changesets and progress into the batch.

        Changesets at or below the client version already integrated are skipped: they were sent again. Raises a
        :class:`RealmError`, and then the batch is as it was before the call.
        """
        client = self.commit.clients.get(upload.ident) or self._snapshot.client(upload.ident)
        if client is None:
            raise BadClientFileIdent(f"client file {upload.ident} was never given out")
        fresh = [entry for entry in upload.entries if entry.client_version > client.client_version]
        work = Work(
            client.ident,
            self._version,
            self._size,
            self._tolerant,
            self._required_protocol,
            MAX_MEETINGS,
        )
        self._shape.begin()
        incoming: list[Incoming] = []
        try:
            incoming += (self._decode(upload, client, entry) for entry in fresh)
            for base, run in groupby(incoming, key=lambda item: item.entry.server_version):
                self._integrate_run(work, base, list(run))
        except (RealmError, BadChangeset, TransformError) as error:
            self._shape.rollback()
            self._history.forget_reciprocals(work.ident, work.touched)
            if isinstance(error, RealmError):
                raise
            raise BadUpload(str(error)) from error
        finally:
            for item in incoming:
                item.changeset.release()
        self._shape.commit()
        client = advance(client, upload, self._now)
        self._accept(work, client)
        return UploadDone(
            UploadCursor(client.client_version, client.base_version), version=self._version, merged=len(work.touched)
        )

    def _decode(self, upload: Upload, client: ClientFile, entry: UploadEntry) -> Incoming:
        if entry.origin:
            raise BadOriginFileIdent(f"file ident {entry.origin} is not a subordinate of client file {client.ident}")
        if not client.base_version <= entry.server_version <= self._version:
            raise BadServerVersion(
                f"changeset {entry.client_version} is based on server version {entry.server_version}, "
                f"which is not between {client.base_version} and {self._version}"
            )
        base_version = self._snapshot.head.base_version
        if entry.server_version < base_version and client.start_version != base_version:
            raise expired(client.ident, self._snapshot.head)
        clear_types = upload.protocol >= NESTED_COLLECTIONS
        try:
            changeset = parse(entry.changeset, entry.timestamp, client.ident, clear_types)
        except BadChangeset as error:
            raise BadUpload(f"changeset {entry.client_version}: {error}") from error
        return Incoming(entry, changeset, summary_of(changeset), clear_types)

    def _integrate_run(self, work: Work, base: int, run: Sequence[Incoming]) -> None:
        """Merge and apply the changesets of one base version (a run of 8.2)."""
        summaries = [item.summary for item in run]
        versions = self._squashed(summaries, base)
        base = max(base, self._snapshot.head.base_version)
        versions += self._history.concurrent(summaries, work.ident, base, work.current, self._read_entry)
        if versions:
            work.merged = True
            local = [self._reciprocal(work, version) for version in versions]
            for changeset in local:
                work.erased.update(changeset.erased_columns())
            work.meetings = merge([item.changeset for item in run], local, work.meetings)
        for item in run:
            self._apply(work, item)

    def _squashed(self, run: Sequence[Summary], base: int) -> list[int]:
        """The versions above ``base``, below those of the log, that a run must meet."""
        base_version = self._snapshot.head.base_version
        if base >= base_version:
            return []
        return self._history.squashed(run, base, lambda: self._snapshot.entries(1, base_version))

    def _read_entry(self, version: int) -> LogEntry:
        return self._entries.get(version) or self._snapshot.entry(version)

    def _reciprocal(self, work: Work, version: int) -> CompactChangeset:
        work.touched.add(version)
        changeset = self._history.cached_reciprocal(work.ident, version)
        if changeset is not None:
            return changeset
        stored = self.commit.reciprocal.get((work.ident, version))
        if stored is None:
            stored = self._snapshot.reciprocal(work.ident, version)
        return self._history.load_reciprocal(work.ident, self._read_entry(version), stored)

    def _apply(self, work: Work, item: Incoming) -> None:
        """Apply a merged changeset to the shape, and make the log entry that it becomes."""
        plain = None if work.erased else item.changeset.plain()
        if plain is not None and self._shape.plain_applier.apply(*plain):
            data = item.changeset.canonical()
        else:
            data = self._apply_each(work, item)
        work.size += len(data)
        work.entries.append(
            LogEntry(
                version=work.current + len(work.entries) + 1,
                salt=self._salt,
                origin=work.ident,
                client_version=item.entry.client_version,
                timestamp=item.entry.timestamp,
                changeset=data,
                cumulative_size=work.size,
            )
        )
        work.summaries.append(item.summary)
        schema = self._shape.schema
        if work.merged and not work.tolerant and any_may_drop(schema):
            uploaded = decode(item.entry.changeset, clear_types=item.clear_types).instructions
            work.tolerant = any(may_drop(each, schema) for each in uploaded)

    def _apply_each(self, work: Work, item: Incoming) -> bytes:
        """Apply a merged changeset, instruction by instruction. Returns its canonical bytes, as it is to be stored."""
        applier = self._shape.applier
        changeset = instructions_of(item.changeset)
        try:
            for place, instruction in enumerate(changeset.instructions):
                if instruction.discarded:
                    continue
                if work.erased and self._is_about_erased(work, instruction):
                    _leave_out(work, changeset, instruction, "its column was erased at the same time")
                    continue
                try:
                    applier.apply(instruction)
                except BadChangeset as error:
                    if not self._is_known_fault(work, instruction):
                        raise BadUpload(f"changeset {item.entry.client_version}: {error}") from error
                    self._mend(work, changeset, place, str(error))
                if work.required_protocol < HIGHEST and may_need_more(changeset.instructions[place]):
                    # Judged by the schema as it is now: what follows may erase the column.
                    work.required_protocol = max(
                        work.required_protocol, required_protocol(changeset.instructions[place], applier.schema)
                    )
            return encode(changeset) if changeset.dirty else item.changeset.canonical()
        finally:
            let_go(changeset)

    def _is_known_fault(self, work: Work, instruction: Instruction) -> bool:
        """Whether a known fault of the rules (8.6) can be why ``instruction`` does not apply.

        Only where a merge can have caused it: one in this upload, or an earlier one in a place of this kind. After
        such a merge a client may hold something else there than the server, until the place is next written.
        """
        return (work.merged or work.tolerant) and may_drop(instruction, self._shape.applier.schema)

    def _is_about_erased(self, work: Work, instruction: Instruction) -> bool:
        """Whether ``instruction`` is about the content of a column that others have erased at the same time.

        The rules discard an Update then and nothing else (``spec/merge.md`` 2.2). To its sender the content is gone
        once it has heard of it, so nobody needs the instruction. Refused, it would stop a client that has done nothing
        wrong for good; applied to a column that was added again since, it would be there for all but its sender.
        """
        return isinstance(instruction, PathInstruction) and any(
            name in work.erased for name in column_names_on_path(instruction, self._shape.applier.schema)
        )

    def _mend(self, work: Work, changeset: Changeset, place: int, cause: str) -> None:
        """Take out an instruction that no client could apply, or put in its place what they all can (8.6)."""
        failed = changeset.instructions[place]
        applier = self._shape.applier
        replacement = applier.replacement(failed)
        if replacement is None:
            _leave_out(work, changeset, failed, cause)
            return
        applier.apply(replacement)
        changeset.instructions[place] = replacement
        changeset.dirty = True
        _tell(work, f"stored {describe(replacement)} for {describe(failed)}: {cause}")

    def _accept(self, work: Work, client: ClientFile) -> None:
        """Take over what one good upload has done."""
        commit = self.commit
        commit.clients[client.ident] = client
        commit.trim[client.ident] = client.base_version
        for key in [key for key in commit.reciprocal if key[0] == client.ident and key[1] <= client.base_version]:
            del commit.reciprocal[key]
        for version, data in self._history.write_back(client.ident, work.touched, client.base_version):
            commit.reciprocal[client.ident, version] = data
        for entry, summary in zip(work.entries, work.summaries, strict=True):
            self._entries[entry.version] = entry
            self._history.added(entry, summary)
        for text in work.told:
            self._mended(client.ident, text)
        if work.mended > MAX_TOLD:
            self._mended(client.ident, f"left out or replaced {work.mended - MAX_TOLD} more")
        commit.entries.extend(work.entries)
        self._version += len(work.entries)
        self._size = work.size
        if work.tolerant and not self._tolerant:
            self._tolerant = commit.tolerant = True
        if work.required_protocol > self._required_protocol:
            self._required_protocol = commit.required_protocol = work.required_protocol


def _leave_out(work: Work, changeset: Changeset, instruction: Instruction, cause: str) -> None:
    instruction.discarded = True
    changeset.dirty = True
    _tell(work, f"left out {describe(instruction)}: {cause}")


def _tell(work: Work, text: str) -> None:
    work.mended += 1
    if work.mended <= MAX_TOLD:
        work.told.append(text)


def expired(ident: int, head: Head) -> ClientFileExpired:
    """The error for a client file that would need history from before the log begins."""
    return ClientFileExpired(
        f"client file {ident} needs history from before server version {head.base_version}, where it begins now"
    )


def advance(client: ClientFile, upload: Upload, now: int) -> ClientFile:
    """The client file after ``upload``: CV and RB move together and only forward, LV only grows
    (``spec/protocol.md`` 5.3)."""
    progress = upload.progress
    if upload.entries and upload.entries[-1].client_version > progress.client_version:
        last = upload.entries[-1]
        progress = UploadCursor(last.client_version, last.server_version)
    client_version, base_version = client.client_version, client.base_version
    if progress.client_version > client_version:
        client_version, base_version = progress.client_version, max(base_version, progress.server_version)
    return evolve(
        client,
        client_version=client_version,
        base_version=base_version,
        locked_version=max(client.locked_version, upload.locked_version),
        last_seen=now,
    )
