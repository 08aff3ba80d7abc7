"""What a session asks of its Realm, and what comes back: frozen values that could cross a process.

A session (``sync``) never calls a Realm; it gives out one of these requests and is handed the answer later, or one of
the errors below. So a session can live in another process than the Realm it talks to.
"""

from typing import NamedTuple

from attrs import field

from realmserver.frozen import frozen


@frozen
class UploadCursor:
    """How far a client's history is integrated: a client version, and the last server version the client had
    integrated when it made that (``spec/protocol.md`` 3.5)."""

    client_version: int = 0
    server_version: int = 0


@frozen
class DownloadCursor:
    """How far the server's history has been sent: a server version, and the last version of the receiving client
    integrated before it (``spec/protocol.md`` 3.6)."""

    server_version: int = 0
    client_version: int = 0


@frozen
class SaltedVersion:
    version: int = 0
    salt: int = 0


@frozen
class Identify:
    """The IDENT of a client file."""

    ident: int
    salt: int
    download: DownloadCursor
    latest: SaltedVersion


@frozen
class Identified:
    """IDENT is accepted. ``upload`` is (CV, RB), ``locked_version`` LV, ``latest_version`` where the Realm stands."""

    upload: UploadCursor
    locked_version: int
    latest_version: int


class UploadEntry(NamedTuple):
    """One changeset of an UPLOAD, as in its header. ``origin`` 0 is the sending client file itself."""

    client_version: int
    server_version: int
    timestamp: int
    origin: int
    changeset: bytes


@frozen
class Upload:
    """Changesets to integrate, already checked against the session's cursors, and the client's progress.

    ``protocol`` is the version the session speaks: below 13 the last value of a Clear means nothing
    (``spec/changeset.md`` 1).
    """

    ident: int
    entries: tuple[UploadEntry, ...]
    progress: UploadCursor
    locked_version: int
    protocol: int


@frozen
class UploadDone:
    """The upload is durable; ``upload`` is the client file's (CV, RB) from now on.

    For the log only: the server ``version`` that the upload led to, and with how many of others' changesets it had to
    be ``merged`` (what else is known decides which can be passed over, so this is no property of the upload).
    """

    upload: UploadCursor
    version: int = field(default=0, eq=False)
    merged: int = field(default=0, eq=False, repr=False)


@frozen
class DownloadEntry:
    """One changeset of a DOWNLOAD. ``client_version``: the receiver's last version integrated before it."""

    server_version: int
    client_version: int
    timestamp: int
    origin: int
    changeset: bytes


@frozen
class Download:
    """Entries for one DOWNLOAD and the cursors of its header (``spec/protocol.md`` 3.6)."""

    cursor: DownloadCursor
    latest: SaltedVersion
    upload: UploadCursor
    downloadable_bytes: int
    entries: tuple[DownloadEntry, ...]


class RealmError(Exception):
    """A Realm refuses what a client asked for: the client's fault or its history's. ``sync.errors`` gives each kind
    its wire code; the text goes to the log and to the client."""


class BadClientFileIdent(RealmError):
    """The file ident was never given out."""


class BadServerVersion(RealmError):
    """A server version that cannot be: the client knows more than this server, or less than it must."""


class BadClientVersion(RealmError):
    """A client version that cannot be."""


class DivergingHistories(RealmError):
    """A salt differs: client and server have parted, as after a restored backup."""


class ClientFileExpired(RealmError):
    """The history that the client file needs is gone."""


class UserMismatch(RealmError):
    """The client file belongs to another user."""


class BadOriginFileIdent(RealmError):
    """An uploaded changeset claims an origin that its sender may not use."""


class BadUpload(RealmError):
    """A changeset does not parse, merge or apply."""


class ProtocolTooOld(RealmError):
    """The Realm holds entries that clients of this protocol version cannot read."""


class RealmUnavailable(RealmError):
    """Our side failed (a full disk, a broken file); the client should come again."""


class LimitReached(RealmUnavailable):
    """There is no room for it now; the client should come again. ``limit`` is the key in the section ``limits`` of the
    configuration."""

    def __init__(self, limit: str, text: str) -> None:
        super().__init__(text)
        self.limit: str = limit
