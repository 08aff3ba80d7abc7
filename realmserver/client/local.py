"""A Realm in memory that is written to here and kept in step with a server's: one client file, without I/O or clock.

What it keeps true: ``values`` is always the server's history up to the download cursor merged with all local
transactions, in the form that every other client comes to (``spec/merge.md`` 8.2, last paragraph). It numbers its
versions as real clients do: an empty file is version 1, each transaction makes the next one, and so does each DOWNLOAD
with entries. It knows no messages: ``connection`` carries uploads and downloads, and tests carry them by hand.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from attrs import evolve, frozen

from realmserver.changeset.instructions import BadChangeset, Instruction
from realmserver.client.address import native_key
from realmserver.client.transaction import Transaction
from realmserver.merge.errors import TransformError
from realmserver.realms.mirror import ClientHistory
from realmserver.realms.requests import Download, UploadCursor, UploadEntry
from realmserver.realms.values import Values
from realmserver.sync.client import ClientFile

FIRST_VERSION: Final = 1
"""The version of an empty file."""

UPLOAD_SIZE: Final = 128 * 1024
"""Bytes of changesets after which an UPLOAD ends and the next begins, as in real clients (``spec/protocol.md`` 1.5)."""

TIMESTAMP_EPOCH: Final = 1_420_070_400
"""2015-01-01 in Unix seconds: where the timestamps of changesets begin."""


def timestamp_at(seconds: float) -> int:
    """The timestamp of a changeset made at ``seconds``, Unix time; 0 before 2015."""
    return max(0, int((seconds - TIMESTAMP_EPOCH) * 1000))


class IntegrationFailed(Exception):
    """A downloaded changeset does not parse, merge or apply here. The Realm is of no more use until it is reset."""


@frozen
class UploadBatch:
    """What one UPLOAD carries."""

    entries: tuple[UploadEntry, ...]
    progress: UploadCursor
    locked_version: int


class LocalRealm:
    """One client file. Not thread-safe.

    ``values`` may be read at any time, but only :meth:`write` and :meth:`integrate` change it, and :meth:`reset` puts
    another in its place.
    """

    def __init__(self) -> None:
        self._writing: Transaction | None = None
        self._start_empty()

    def _start_empty(self) -> None:
        self.values = Values()
        self._file = ClientFile()
        self._history = ClientHistory()
        self._is_broken = False
        self._progress = UploadCursor(FIRST_VERSION, 0)
        self._last_written = 0

    @property
    def version(self) -> int:
        """The client version that ``values`` is."""
        return self._progress.client_version

    @property
    def file(self) -> ClientFile:
        """What a new session has to know: :meth:`ClientConnection.bind` takes it."""
        return evolve(self._file, newest_version=self.version)

    @property
    def is_broken(self) -> bool:
        """Whether a download could not be integrated: only :meth:`reset` helps."""
        return self._is_broken

    @property
    def last_written(self) -> int:
        """The client version of the last local transaction; 0 if there was none."""
        return self._last_written

    @property
    def is_uploaded(self) -> bool:
        """Whether the server has acknowledged all local transactions."""
        return self._file.upload.client_version >= self._last_written

    def get(self, class_name: str, key: object) -> dict[str, object] | None:
        """The properties of an object by name, None if there is none; ``key`` as :meth:`Transaction.create` takes it.

        KeyError if there is no such class.
        """
        return self.values.get(class_name, native_key(self.values, class_name, key))

    def identified(self, ident: int, salt: int) -> None:
        """The server has given the file its ident and salt."""
        self._file = evolve(self._file, ident=ident, salt=salt)
        self._history.ident = ident

    @contextmanager
    def write(self, timestamp: int) -> Iterator[Transaction]:
        """A transaction as a context manager: all of it is there afterwards, or nothing if the block raises.

        ``timestamp``: milliseconds since 2015 (:func:`timestamp_at`); among concurrent writes the later one wins.
        Raises ValueError within another transaction, and in a broken Realm.
        """
        self._check_usable()
        transaction = self._writing = Transaction(self.values)
        self.values.begin()
        is_whole = False
        try:
            yield transaction
            changeset = transaction.finish()
            is_whole = True
        finally:
            self._writing = None
            transaction.close()
            if is_whole:
                self.values.keep()
            else:
                self.values.undo()
        if changeset:
            self._last_written = self._advance()
            self._history.committed(UploadEntry(self.version, self._progress.server_version, timestamp, 0, changeset))

    def integrate(self, download: Download) -> list[Instruction]:
        """Merge and apply what the server sends, and move the cursors.

        Returns the instructions that were left out because of the known faults of the merge rules (``spec/merge.md``
        8.6), usually none. Raises :class:`IntegrationFailed`; ValueError within a transaction and in a broken Realm.
        """
        self._check_usable()
        dropped: list[Instruction] = []
        for entry in download.entries:
            try:
                dropped += self.values.apply_tolerantly(self._history.integrate(entry))
            except (BadChangeset, TransformError) as error:
                self._is_broken = True
                raise IntegrationFailed(f"server version {entry.server_version}: {error}") from error
        self._file = evolve(self._file, download=download.cursor, latest=download.latest, upload=download.upload)
        if download.entries:
            self._advance()
        self._history.forget(download.cursor.client_version)
        return dropped

    def uploads(self, after: int) -> Iterator[UploadBatch]:
        """What to upload, client versions above ``after``, in the portions of one UPLOAD each.

        The last one reports where the Realm stands, even without entries; nothing is left to report where ``after`` is
        that already.
        """
        entries: list[UploadEntry] = []
        size = 0
        for entry in self._history.pending(after):
            if size > UPLOAD_SIZE:
                last = entries[-1]
                yield self._batch(entries, UploadCursor(last.client_version, last.server_version))
                entries, size = [], 0
            entries.append(entry)
            size += len(entry.changeset)
        if self.version > after:
            yield self._batch(entries, self._progress)

    def reset(self) -> tuple[UploadEntry, ...]:
        """Throw everything away and begin again as an empty, new file: a client reset that keeps nothing.

        Returns the transactions that were never acknowledged; they are lost. ValueError within a transaction.
        """
        if self._writing is not None:
            raise ValueError("a transaction is open")
        lost = tuple(self._history.pending(self._file.upload.client_version))
        self._start_empty()
        return lost

    def _batch(self, entries: list[UploadEntry], progress: UploadCursor) -> UploadBatch:
        # What was integrated is never needed again from the server, so nothing before the cursor is locked.
        return UploadBatch(tuple(entries), progress, self._file.download.server_version)

    def _advance(self) -> int:
        """Make the next version: it stands on all that has been downloaded."""
        self._progress = UploadCursor(self.version + 1, self._file.download.server_version)
        return self.version

    def _check_usable(self) -> None:
        if self._writing is not None:
            raise ValueError("a transaction is open")
        if self._is_broken:
            raise ValueError("a download could not be integrated: the Realm has to be reset")
