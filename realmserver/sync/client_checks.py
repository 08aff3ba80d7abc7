"""What a client demands of a server's messages, as pure functions: the checks of ``spec/protocol.md`` 7.

Each raises :class:`ServerViolation` with the number of the check. Where a real client would only log, hang or crash,
this one complains all the same: it is the server's conscience in tests.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

from realmserver.realms.requests import Download, DownloadCursor, SaltedVersion, UploadCursor
from realmserver.sync.errors import DEADLY, Action, Code
from realmserver.sync.server_messages import JsonError


class ServerViolation(Exception):
    """The server broke the rule ``check`` (such as ``K7``) of ``spec/protocol.md`` 7."""

    def __init__(self, check: str, text: str) -> None:
        super().__init__(f"{check}: {text}")
        self.check = check
        self.text = text


def check_download(
    download: Download,
    *,
    ident: int,
    cursor: DownloadCursor,
    latest: SaltedVersion,
    upload: UploadCursor,
    newest_version: int,
    is_first: bool,
    compensations: Sequence[int],
) -> None:
    """Check a DOWNLOAD against what was known before it (K7 to K18, K20, K31, K38).

    ``ident`` is the receiver's; ``cursor``, ``latest`` and ``upload`` are those of the last DOWNLOAD. The server can
    know of client versions up to ``newest_version``. ``compensations`` are the server versions of the compensating
    writes that were announced.
    """
    _demand(download.latest.version >= latest.version, "K7", "the latest server version decreases")
    _demand(download.upload.client_version >= upload.client_version, "K8", "the upload's client version decreases")
    _demand(download.upload.client_version <= newest_version, "K9", "the upload's client version does not exist")
    _demand(download.cursor.server_version >= cursor.server_version, "K10", "the download cursor decreases")
    _demand(download.cursor.server_version <= download.latest.version, "K11", "the cursor is beyond the latest version")
    _demand(download.cursor.client_version >= cursor.client_version, "K12", "the cursor's client version decreases")
    _demand(
        download.cursor.client_version <= download.upload.client_version,
        "K13",
        "the cursor's client version is beyond the upload's",
    )
    integrated = download.upload.server_version
    _demand(integrated == 0 or integrated >= upload.server_version, "K20", "the upload's server version decreases")
    _check_entries(download, ident, cursor)
    if download.entries and compensations:
        first = download.entries[0].server_version
        _demand(min(compensations) >= first, "K31", "a compensating write is announced after its time")
    if not is_first:
        # Real clients tolerate one repeated DOWNLOAD; but each makes them upload progress, so there must be no habit.
        moved = download.cursor.server_version > cursor.server_version
        _demand(moved, "K38", "a DOWNLOAD although the server version did not advance")


def _check_entries(download: Download, ident: int, cursor: DownloadCursor) -> None:
    server_version, client_version = cursor.server_version, cursor.client_version
    for entry in download.entries:
        _demand(entry.server_version > 0, "K14", "a changeset has server version 0")
        _demand(entry.server_version > server_version, "K15", "the server versions of the changesets do not increase")
        _demand(entry.server_version <= download.cursor.server_version, "K16", "a changeset is beyond the cursor")
        _demand(entry.client_version >= client_version, "K17", "the client versions of the changesets decrease")
        _demand(entry.client_version <= download.cursor.client_version, "K17", "a client version is beyond the cursor")
        _demand(entry.origin not in (0, ident), "K18", "a changeset has origin 0 or comes from its receiver")
        server_version, client_version = entry.server_version, entry.client_version


def check_error(session: int, code: int, *, legacy: bool) -> None:
    """Check an error's code: that it goes with ``session`` (K27), kills nobody (K28, unless ``legacy``), and is none of
    those for another kind of client (K36)."""
    _demand((code < 200) == (session == 0), "K27", f"error {code} with session {session}")
    _demand(code >= 200 or code in set(Code), "K27", f"unknown error {code} for the connection")
    _demand(legacy or code not in DEADLY, "K28", f"error {code} aborts clients")
    _demand(code != Code.SCHEMA_VERSION_CHANGED, "K36", "a schema migration without Flexible Sync")


def check_content(error: JsonError) -> None:
    """Check what a JSON_ERROR says about rejected writes (K30) and the action it demands (K36)."""
    _demand(error.content.get("action") != Action.MIGRATE_SCHEMA, "K36", "a schema migration without Flexible Sync")
    updates = error.content.get("rejectedUpdates")
    if updates is None:
        _demand(error.code != Code.COMPENSATING_WRITE, "K29", "a compensating write without rejectedUpdates")
        return
    _demand(isinstance(updates, list), "K29", "rejectedUpdates is no list")
    assert isinstance(updates, list)
    for update in updates:
        texts = [update.get(key) for key in ("reason", "table", "pk")] if isinstance(update, dict) else [None]
        _demand(all(isinstance(text, str) for text in texts), "K29", "an update lacks reason, table or pk")
        _demand(_is_primary_key(update["pk"]), "K30", "the primary key of an update is malformed")
    for key in ("compensatingWriteServerVersion", "rejectedClientVersion"):
        _demand(isinstance(error.content.get(key), int), "K29", f"JSON_ERROR has no valid {key}")


_FIXED_SIZES: Final = {0: 0, 10: 12, 11: 16}
_INTEGER: Final = 1
_STRING: Final = 3


def _is_primary_key(text: str) -> bool:
    """Whether ``text`` is base64 of a type byte and a value, as in changesets (``spec/protocol.md`` 2.4)."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    if not data:
        return False
    kind, value = data[0], data[1:]
    if kind in _FIXED_SIZES:
        return len(value) == _FIXED_SIZES[kind]
    length = next((position for position, byte in enumerate(value, 1) if byte < 0x80), 0)
    if kind == _INTEGER:
        return 0 < length == len(value)
    if kind == _STRING and 0 < length <= 9:
        size = sum((byte & 0x7F) << (7 * position) for position, byte in enumerate(value[:length]))
        return size == len(value) - length
    return False


def _demand(holds: bool, check: str, text: str) -> None:
    if not holds:
        raise ServerViolation(check, text)
