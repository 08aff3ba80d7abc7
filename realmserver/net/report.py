"""What the log and the figures hear of a connection, a line and a count for each thing that happens to it.

Keeps true: every line names the connection, and those about an error the peer, the user and the Realm; no body of a
message and no token is ever in one; each connection is counted once as begun and once as ended, with one reason. The
levels are those of ``log``, the figures those of ``metrics``; here it is decided which of what happens belongs where.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from OpenSSL.SSL import Error as SSLError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from realmserver.auth.gate import AppUser
from realmserver.log import DETAIL, TRACE, get_logger
from realmserver.metrics import Metrics
from realmserver.realms.requests import Download, Upload, UploadDone
from realmserver.sync.bodies import EncodedBody
from realmserver.sync.decisions import ErrorReceived, ErrorSent, Log, printable
from realmserver.sync.errors import Action, Code, recommended_action
from realmserver.sync.session import Session
from realmserver.sync.syntax import head_line

log = get_logger("sync")

CLIENT_RESETS: Final = frozenset(code for code in Code if recommended_action(code) is Action.CLIENT_RESET)
"""Errors after which a client file can't go on as it is."""


SEVERAL: Final = "several"
"""Stands for the user of a connection whose sessions are of more than one."""


class ConnectionReport:
    """Tells of one connection: ``connection`` is its id, ``peer`` whom it came from, ``login`` who is behind it. Where
    that is nobody, who binds its sessions is named."""

    def __init__(self, connection: str, peer: str, login: AppUser | None, metrics: Metrics) -> None:
        self.connection: str = connection
        self.metrics: Metrics = metrics
        self._peer = peer
        self._user = login.user_id if login is not None else ""
        self._ending = ""
        self._is_open = False

    # The connection

    def opened(self, protocol: str) -> None:
        """The WebSocket is open; ``protocol`` is the subprotocol agreed upon."""
        self._is_open = True
        self.metrics.connection_started.inc()
        self.metrics.connection_online.inc()
        log.info(
            "{connection}: connected from {peer}, protocol {protocol}",
            connection=self.connection,
            peer=self._peer,
            protocol=protocol,
        )

    def ends_for(self, ending: str) -> None:
        """The connection is about to end for this reason (one of ``metrics.ENDINGS``); the first that is given
        counts."""
        self._ending = self._ending or ending

    def closed(self, code: int | None, cause: Failure | None) -> None:
        """The WebSocket is gone. ``code`` is the close code, ``cause`` what the transport says."""
        if not self._is_open:
            return
        self._is_open = False
        ending = self._ending or ending_of(cause)
        self.metrics.connection_ended(ending)
        log.info(
            "{connection}: disconnected, close code {close_code} ({ending})",
            connection=self.connection,
            close_code=code,
            ending=ending,
        )

    def dropped(self, reason: str, ending: str) -> None:
        """The connection is being dropped; ``reason`` is for the log, ``ending`` as in :meth:`ends_for`."""
        self.ends_for(ending)
        log.info("{connection}: dropped: {reason}", connection=self.connection, reason=reason)

    def failed(self) -> None:
        """Our own code failed; called where the exception is at hand."""
        log.error("{connection}: internal error", connection=self.connection, failure=Failure())  # type: ignore[no-untyped-call]

    # Messages

    def received(self, data: bytes) -> None:
        """A binary message has come."""
        self.metrics.protocol_bytes_received.inc(len(data))
        if log.is_on(TRACE):
            self._message("received", data)

    def sent(self, data: bytes) -> None:
        """A binary message goes out."""
        self.metrics.protocol_bytes_sent.inc(len(data))
        if log.is_on(TRACE):
            self._message("sent", data)

    def _message(self, way: str, data: bytes) -> None:
        log.trace(
            "{connection}: {way} {head} ({bytes} bytes)",
            connection=self.connection,
            way=way,
            head=head_line(data),
            bytes=len(data),
        )

    # Sessions

    def bound(self, session: Session) -> None:
        """The session is bound to its Realm."""
        if not self._user:
            self._user = session.user
        elif self._user != session.user:
            self._user = SEVERAL
        self.metrics.session_started.inc()
        self.metrics.session_online.inc()
        self._session("bound to Realm {realm}, user {user}", session)

    def left(self, session: Session) -> None:
        """The session has left its Realm."""
        self.metrics.session_terminated.inc()
        self.metrics.session_online.dec()
        self._session("has left Realm {realm}", session)

    def identified(self, session: Session, client_file: int) -> None:
        """The Realm has accepted the IDENT of a client file."""
        self._session("is client file {client_file} of Realm {realm}", session, client_file=client_file)

    def _session(self, text: str, session: Session, **values: int) -> None:
        log.debug(
            f"{{connection}}: session {{session}} {text}",
            connection=self.connection,
            session=session.sid,
            realm=session.realm,
            user=session.user,
            **values,
        )

    def integrated(self, session: Session, upload: Upload, done: UploadDone, seconds: float) -> None:
        """``upload`` is durable, ``seconds`` after it came. One without changesets is no transaction."""
        if not upload.entries:
            return
        count, size = len(upload.entries), sum(len(entry.changeset) for entry in upload.entries)
        metrics = self.metrics
        metrics.changeset_integrated.inc(count)
        metrics.merges_performed.inc(done.merged)
        metrics.changeset_integrated_bytes.observe(size)
        metrics.changeset_integrated_merges.observe(done.merged)
        metrics.upload_processing_seconds.observe(seconds)
        if not log.is_on(DETAIL):
            return
        log.detail(
            "{connection}: integrated {changesets} changesets ({bytes} bytes) of client file {client_file} into Realm "
            "{realm}: version {version}, merged with {merged}",
            connection=self.connection,
            session=session.sid,
            realm=session.realm,
            user=session.user,
            client_file=upload.ident,
            changesets=count,
            bytes=size,
            version=done.version,
            merged=done.merged,
        )

    def downloading(self, session: Session, download: Download, body: EncodedBody, seconds: float) -> None:
        """A DOWNLOAD goes out that took ``seconds`` to make."""
        size = len(body.data)
        self.metrics.download_constructed.inc()
        self.metrics.download_constructed_bytes.observe(size)
        self.metrics.download_constructed_seconds.observe(seconds)
        if not log.is_on(DETAIL):
            return
        log.detail(
            "{connection}: sent {changesets} changesets ({bytes} bytes) of Realm {realm} to client file {client_file}: "
            "up to version {version}",
            connection=self.connection,
            session=session.sid,
            realm=session.realm,
            user=session.user,
            client_file=session.ident,
            changesets=len(download.entries),
            bytes=size,
            version=download.cursor.server_version,
        )

    def round_trip(self, milliseconds: int) -> None:
        """The client says how long its last PING took."""
        self.metrics.ping_rtt_seconds.observe(milliseconds / 1000)

    # What the state machine decides to tell

    def told(self, decision: Log) -> None:
        if decision.level == "trace":
            if log.is_on(TRACE):
                self._trace(decision)
            return
        write = {"info": log.info, "warning": log.warn}[decision.level]
        self._about(write, "{message}", decision.session, message=decision.text)

    def _trace(self, decision: Log) -> None:
        log.trace(
            "{connection}: session {session} {message}",
            connection=self.connection,
            session=decision.session.sid if decision.session is not None else 0,
            message=decision.text,
        )

    def error_sent(self, error: ErrorSent) -> None:
        code = error.code
        self.metrics.error_sent(code)
        if not code.of_connection:
            self.metrics.session_failed.inc()
        elif code != Code.CONNECTION_CLOSED:
            self.metrics.protocol_violated.inc()
        if code == Code.PERMISSION_DENIED:
            self.metrics.permission_denied.inc()
        if code in CLIENT_RESETS:
            self.metrics.client_unsyncable.inc()
        write = log.info if error.level == "info" else log.warn
        self._about(write, "error {code} sent: {message}", error.session, code=int(code), message=error.text)

    def error_received(self, error: ErrorReceived) -> None:
        self.metrics.client_errors.inc()
        text = "the client could not integrate a DOWNLOAD, error {code}: {message}"
        self._about(log.warn, text, error.session, code=error.code, message=error.text)

    def _about(self, write: Callable[..., None], text: str, session: Session | None, **values: object) -> None:
        """Write a line with all that is known of whom it is about."""
        values.update(connection=self.connection, peer=self._peer, user=self._user or "-")
        whom = "(peer {peer}, user {user})"
        if session is not None:
            text = f"session {{session}}: {text}"
            whom = "(peer {peer}, user {user}, Realm {realm})"
            # Before it is bound, a session has no more than the path that the client gave.
            values.update(session=session.sid, realm=session.realm or printable(session.path))
            values["user"] = session.user or values["user"]
        write(f"{{connection}}: {text} {whom}", **values)


class RealmFigures:
    """What the figures hear of Realms (``realms.observer.Observer``). ``quarantine_changed`` is called, in whatever
    thread, when a Realm has been set aside or is back."""

    def __init__(self, metrics: Metrics, quarantine_changed: Callable[[], None] = lambda: None) -> None:
        self._metrics = metrics
        self._quarantine_changed = quarantine_changed

    def opened(self) -> None:
        self._metrics.realms_open.inc()

    def closed(self) -> None:
        self._metrics.realms_open.dec()

    def waiting(self, size: int) -> None:
        self._metrics.upload_pending_bytes.inc(size)

    def integrating(self) -> AbstractContextManager[object]:
        return self._metrics.changeset_integrated_seconds.time()

    def squashed(self) -> None:
        self._metrics.history_squashes.inc()

    def folded(self, versions: int) -> None:
        self._metrics.history_folded.inc()
        self._metrics.history_folded_versions.inc(versions)

    def folding_failed(self) -> None:
        self._metrics.history_failed.inc()

    def quarantined(self, realm: str, reason: str) -> None:
        log.error(
            "Realm {realm} is in quarantine: {reason}. Its clients are asked to come again; nothing of it was changed, "
            "and other Realms are not concerned. Repair its files or put those of a backup in their place: it comes "
            "back by itself",
            realm=realm,
            reason=reason.removeprefix(f"{realm}: "),
        )
        self._quarantine_changed()

    def released(self, realm: str) -> None:
        log.info("Realm {realm} is in service again, the quarantine is over", realm=realm)
        self._quarantine_changed()


def ending_of(cause: Failure | None) -> str:
    """Why a connection ended of which nobody here said so, by what the transport raised."""
    match cause.value if cause is not None else None:
        case None | ConnectionDone():
            return "end_of_input"
        case SSLError():
            return "ssl_error"
        case ConnectionLost():  # all that Twisted tells of an error while reading or writing
            return "connection_reset_error"
    return "network_error"
