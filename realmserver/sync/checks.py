"""The cursor checks of an UPLOAD (``spec/protocol.md`` 3.5), as pure functions.

They keep out histories that cannot be: a client whose numbers go backwards or whose progress contradicts what the
server knows would diverge silently if it were let in. Rights (row 0) and the backlog (row 12) are not checked here.
"""

from collections.abc import Sequence

from realmserver.realms.requests import UploadCursor, UploadEntry
from realmserver.sync.errors import Code


class BadCursor(Exception):
    """An UPLOAD breaks a rule of 3.5; ``code`` is 209 or 210, ``rule`` the row of its table."""

    def __init__(self, rule: int, code: Code, text: str) -> None:
        super().__init__(text)
        self.rule = rule
        self.code = code
        self.text = text


def consistent(cursor: UploadCursor) -> bool:
    """Before its first version a client cannot have integrated anything."""
    return not (cursor.client_version == 0 and cursor.server_version != 0)


def mutually_consistent(one: UploadCursor, other: UploadCursor) -> bool:
    """Whether two positions can lie in one history: whichever is later on one side is not earlier on the other."""
    if one.client_version < other.client_version:
        return one.server_version <= other.server_version
    if one.client_version > other.client_version:
        return one.server_version >= other.server_version
    return one.server_version == other.server_version


def check_upload(
    entries: Sequence[UploadEntry],
    progress: UploadCursor,
    locked_version: int,
    *,
    threshold: UploadCursor,
    previous: UploadCursor,
    downloaded: int,
    previous_locked: int,
) -> None:
    """Rows 1 to 11 of 3.5 in order; the first that does not hold is raised as :class:`BadCursor`.

    ``threshold`` is T, what was integrated when the session began; ``previous`` U, the progress of the session's last
    UPLOAD; ``downloaded`` the server version of D, what has been sent in this session; ``previous_locked`` L.
    """
    _check_progress(progress, threshold, previous, downloaded)
    if locked_version < previous_locked:
        raise BadCursor(6, Code.BAD_SERVER_VERSION, "the locked server version decreases")
    if locked_version > downloaded:
        raise BadCursor(7, Code.BAD_SERVER_VERSION, "the locked server version has not been sent yet")
    last = previous
    for entry in entries:
        cursor = UploadCursor(entry.client_version, entry.server_version)
        if cursor.client_version <= last.client_version:
            raise BadCursor(8, Code.BAD_CLIENT_VERSION, "the client versions of the changesets do not increase")
        if not (consistent(cursor) and mutually_consistent(cursor, last) and mutually_consistent(cursor, threshold)):
            raise BadCursor(9, Code.BAD_SERVER_VERSION, "the server version of a changeset contradicts its neighbours")
        last = cursor
    if entries and last.client_version > progress.client_version:
        raise BadCursor(10, Code.BAD_CLIENT_VERSION, "the last changeset is beyond the progress")
    if entries and not mutually_consistent(last, progress):
        raise BadCursor(11, Code.BAD_SERVER_VERSION, "the last changeset contradicts the progress")


def _check_progress(progress: UploadCursor, threshold: UploadCursor, previous: UploadCursor, downloaded: int) -> None:
    if progress.client_version < previous.client_version:
        raise BadCursor(1, Code.BAD_CLIENT_VERSION, "the client version of the progress decreases")
    if progress.server_version > downloaded:
        raise BadCursor(2, Code.BAD_SERVER_VERSION, "the server version of the progress has not been sent yet")
    if not consistent(progress):
        raise BadCursor(3, Code.BAD_SERVER_VERSION, "the progress is at client version 0 and a server version above 0")
    if not mutually_consistent(progress, threshold):
        raise BadCursor(4, Code.BAD_SERVER_VERSION, "the progress contradicts what is integrated")
    if not mutually_consistent(progress, previous):
        raise BadCursor(5, Code.BAD_SERVER_VERSION, "the progress contradicts that of the last UPLOAD")
