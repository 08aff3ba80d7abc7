"""The client's half of the merge: the mirror image of ``realms.integrate`` (``spec/merge.md`` 8.2, last paragraph).

A client merges what it downloads ("incoming") with its own changesets that the server had not integrated yet
("local"). Its own changesets are kept twice: as they were made, to be uploaded, and as the merges have transformed
them. Both ends of a session come to the same result because both use ``merge.walk`` on the same operands.
"""

from collections.abc import Iterator
from typing import Final

from attrs import define

from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import Changeset
from realmserver.merge.summaries import HistoryIndex, summarize
from realmserver.merge.walk import merge
from realmserver.realms.requests import DownloadEntry, UploadEntry

EMPTY: Final = b""


@define
class LocalChangeset:
    """One transaction of this client that the server may not have seen.

    ``number`` counts them without gaps. ``reciprocal`` is the transformed form, parsed; None = as it was made.
    """

    number: int
    entry: UploadEntry
    reciprocal: Changeset | None = None


class ClientHistory:
    """The changesets of one client file that are still on their way, as the merge needs them.

    ``ident``, the client's own file ident, breaks ties of equal timestamps; it is set once the server has given it.
    """

    def __init__(self, ident: int = 0) -> None:
        self.ident = ident
        self._local: list[LocalChangeset] = []
        self._last = 0
        self._index = HistoryIndex()

    def committed(self, entry: UploadEntry) -> None:
        """A local transaction: ``entry`` as it will be uploaded. Client versions grow."""
        self._last += 1
        self._local.append(LocalChangeset(self._last, entry))
        self._index.add(self._last, summarize(decode(entry.changeset)))

    def pending(self, after: int) -> Iterator[UploadEntry]:
        """The changesets to upload, those of client versions above ``after``, oldest first."""
        return (local.entry for local in self._local if local.entry.client_version > after)

    def integrate(self, entry: DownloadEntry) -> Changeset:
        """Transform a downloaded entry to what it means here, and the local changesets it meets to what they mean
        after it.

        Raises :class:`~realmserver.merge.errors.TransformError` or
        :class:`~realmserver.changeset.instructions.BadChangeset`; the history is then useless.
        """
        incoming = decode(entry.changeset, timestamp=entry.timestamp, origin=entry.origin)
        met = self._meets(incoming, entry.client_version)
        if met:
            merge([incoming], [self._reciprocal(local) for local in met])
            for local in met:
                self._settle(local)
        return incoming

    def forget(self, client_version: int) -> None:
        """Drop local changesets up to ``client_version``: all entries still to come were made after them."""
        self._local = [local for local in self._local if local.entry.client_version > client_version]

    def _meets(self, incoming: Changeset, client_version: int) -> list[LocalChangeset]:
        """The local changesets that the origin of ``incoming`` had not seen and that it can meet."""
        unseen = [local for local in self._local if local.entry.client_version > client_version]
        if not unseen:
            return []
        numbers = self._index.candidates([summarize(incoming)], unseen[0].number - 1)
        if numbers is not None:
            wanted = set(numbers)
            unseen = [local for local in unseen if local.number in wanted]
        return [local for local in unseen if local.entry.changeset != EMPTY]

    def _reciprocal(self, local: LocalChangeset) -> Changeset:
        if local.reciprocal is None:
            entry = local.entry
            local.reciprocal = decode(entry.changeset, timestamp=entry.timestamp, origin=self.ident)
        return local.reciprocal

    def _settle(self, local: LocalChangeset) -> None:
        """Make a transformed changeset as if it had been parsed from its canonical bytes."""
        changeset = local.reciprocal
        if changeset is not None and changeset.dirty:
            local.reciprocal = decode(encode(changeset), timestamp=changeset.timestamp, origin=changeset.origin)
