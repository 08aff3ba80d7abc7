"""One Realm on a :class:`~realmserver.client.connection.Client`: its session, and who waits for what.

What it keeps true: whatever is written or downloaded while a session lasts is uploaded or reported at once, in order;
whenever a session ends without being told to, another begins, after a delay where the server asked for one. What is
waited for always comes to an end: it happens, or fails with the cause why it never will.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from realmserver.client.access import AccessEnded
from realmserver.client.errors import Closed, CompensatingWrite, SyncFailed
from realmserver.client.local import IntegrationFailed, LocalRealm, timestamp_at
from realmserver.client.transaction import Transaction
from realmserver.log import get_logger
from realmserver.realms.requests import Download, UploadEntry
from realmserver.realms.values import Values
from realmserver.sync.client import ClientConnection, ClientSession, ConnectionEnded, SessionError
from realmserver.sync.errors import Action, Code

if TYPE_CHECKING:
    from realmserver.client.connection import Client

log = get_logger("client")


class SyncedRealm:
    """A Realm that is kept in sync. Made by :meth:`Client.open`; to be used on the reactor thread.

    ``local`` is what is here of it; ``failure`` what has ended its syncing, or None.
    """

    def __init__(self, client: "Client", path: str, local: LocalRealm) -> None:
        self.path = path
        self.local = local
        self.failure: Exception | None = None
        self._client = client
        self._session: ClientSession | None = None
        self._is_wanted = True
        self._failures = 0
        self._timer: Any = None
        self._sent = 0
        self._uploads: list[tuple[int, Deferred[None]]] = []  # client version that must be acknowledged
        self._downloads: list[tuple[int, Deferred[None]]] = []  # number of the MARK, 0 if it is yet to be sent

    # For the owner.

    @property
    def values(self) -> Values:
        """The content; another object after :meth:`reset`."""
        return self.local.values

    def get(self, class_name: str, key: object) -> dict[str, object] | None:
        """An object, as :meth:`LocalRealm.get`."""
        return self.local.get(class_name, key)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction, as :meth:`LocalRealm.write`, which is uploaded when it is done.

        It must not last over an ``await``: what arrives meanwhile could not be integrated.
        """
        with self.local.write(timestamp_at(self._client.clock())) as transaction:
            yield transaction
        self._upload()

    def uploaded(self) -> Deferred[None]:
        """Fires when the server has acknowledged all that is written here until now."""
        done: Deferred[None] = Deferred()
        if self.local.is_uploaded:
            done.callback(None)
        elif self.failure is not None:
            done.errback(self.failure)
        else:
            self._uploads.append((self.local.last_written, done))
        return done

    def downloaded(self) -> Deferred[None]:
        """Fires when all that is on the server now is here."""
        done: Deferred[None] = Deferred()
        if self.failure is not None:
            done.errback(self.failure)
            return done
        session, mark = self._session, 0
        if session is not None and session.is_identified:
            self._client.act(lambda machine: machine.mark(session))
            mark = session.asked_mark
        self._downloads.append((mark, done))
        return done

    def pause(self) -> None:
        """Stop syncing; reading and writing go on."""
        self._is_wanted = False
        self._stop_waiting()
        session = self._session
        if session is not None:
            self._client.act(lambda machine: machine.unbind(session))
        self._ask_anew()

    def resume(self) -> None:
        """Sync again, also after an error. Raises what ended the client, if it has ended."""
        if self._client.failure is not None:
            raise self._client.failure
        self._is_wanted = True
        self.failure = None
        self.advance()

    def reset(self) -> tuple[UploadEntry, ...]:
        """Throw away what is here and download everything again, as a new client file (:meth:`LocalRealm.reset`).

        Returns the transactions that are lost. Raises what ended the client, if it has ended.
        """
        was_wanted = self._is_wanted
        self.pause()
        lost = self.local.reset()
        self._give_up_waiting(Closed("the Realm was reset"))
        if was_wanted:
            self.resume()
        return lost

    def close(self) -> None:
        """Stop syncing for good. What is still waited for fails with :class:`Closed`."""
        self.pause()
        self._client.removed(self)
        self.fail(Closed("the Realm was closed"))

    # For the client.

    def advance(self) -> None:
        """Begin a session, if there should be one, is none, and there can be."""
        if self._session is not None or self._timer is not None or not self._is_wanted:
            return
        if self.failure is not None or self.local.is_broken:
            return
        self._session = session = self._client.bind(self)
        if session is not None:
            self._sent = self.local.file.upload.client_version
            self._identified(session)

    def identified(self, session: ClientSession, ident: int, salt: int) -> None:
        """The server has given the client file its ident."""
        self.local.identified(ident, salt)
        self._identified(session)

    def integrate(self, session: ClientSession, download: Download) -> None:
        """A DOWNLOAD has come."""
        try:
            dropped = self.local.integrate(download)
        except IntegrationFailed as error:
            text = str(error)
            self._client.act(lambda machine: machine.reject(session, Code.BAD_CHANGESET, text))
            self._failed(error)
            return
        if dropped:
            log.warn("{path}: {count} instructions could not be applied", path=self.path, count=len(dropped))
        self._failures = 0
        acknowledged = download.upload.client_version
        done = [waiting for version, waiting in self._uploads if version <= acknowledged]
        self._uploads = [each for each in self._uploads if each[0] > acknowledged]
        self._upload()
        for waiting in done:
            waiting.callback(None)

    def mark_reached(self, request: int) -> None:
        """The answer to a MARK has come."""
        done = [waiting for mark, waiting in self._downloads if 0 < mark <= request]
        self._downloads = [each for each in self._downloads if not 0 < each[0] <= request]
        self._upload()
        for waiting in done:
            waiting.callback(None)

    def unbound(self) -> None:
        """The session has ended as asked."""
        self._session = None
        self.advance()

    def disconnected(self) -> None:
        """The connection is lost; :meth:`advance` is called when there is another."""
        self._session = None
        self._stop_waiting()
        self._ask_anew()

    def session_failed(self, event: SessionError) -> None:
        """The server has ended the session, or tells of a compensating write."""
        error = failure_of(event)
        if isinstance(error, CompensatingWrite):
            self._client.report(self, error)
            return
        self._session = None
        self._ask_anew()
        if error.action == Action.LOG_OUT_USER:
            self._client.give_up(AccessEnded(error.text))
        elif error.code == Code.TOKEN_EXPIRED or error.action == Action.REFRESH_USER:
            self._retry(with_new_token=True)
        elif event.try_again:
            self._retry()
        else:
            self._failed(error)

    def fail(self, cause: Exception) -> None:
        """Syncing is over."""
        self.failure = cause
        self._stop_waiting()
        self._give_up_waiting(cause)

    # Inside.

    def _identified(self, session: ClientSession) -> None:
        if session.is_identified:  # and so the first MARK has been sent
            self._downloads = [(mark or session.asked_mark, waiting) for mark, waiting in self._downloads]

    def _upload(self) -> None:
        session = self._session
        if session is None or not session.may_upload:
            return
        for batch in self.local.uploads(self._sent):
            self._sent = batch.progress.client_version
            self._client.act(
                partial(
                    ClientConnection.upload,
                    session=session,
                    entries=batch.entries,
                    progress=batch.progress,
                    locked_version=batch.locked_version,
                )
            )

    def _retry(self, with_new_token: bool = False) -> None:
        """Begin another session after a delay; at once with a new token, unless that has not helped before."""
        delay = 0.0 if with_new_token and not self._failures else self._client.delays(self._failures)
        self._failures += 1

        def again() -> None:
            self._timer = None
            if with_new_token:
                Deferred.fromCoroutine(self._renew()).addErrback(self._bug)
            else:
                self.advance()

        self._timer = self._client.reactor.callLater(delay, again)

    async def _renew(self) -> None:
        if await self._client.renew():
            self.advance()
        elif self._client.failure is None:
            self._retry(with_new_token=True)

    def _bug(self, failure: Any) -> None:
        """An exception that nobody foresaw."""
        self._failed(failure.value)

    def _failed(self, error: Exception) -> None:
        self.failure = error
        self._client.report(self, error)
        if self.failure is error:  # the owner may have reset or resumed the Realm
            self.fail(error)

    def _ask_anew(self) -> None:
        """The MARKs of this session will not be answered: the next one sends another."""
        self._downloads = [(0, waiting) for _, waiting in self._downloads]

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up_waiting(self, cause: Exception) -> None:
        waiting = [each for _, each in self._uploads + self._downloads]
        self._uploads, self._downloads = [], []
        for each in waiting:
            each.errback(cause)


def failure_of(event: SessionError | ConnectionEnded) -> SyncFailed:
    """What the server reports, as an exception."""
    action = (event.content or {}).get("action")
    kind = CompensatingWrite if event.code == Code.COMPENSATING_WRITE else SyncFailed
    return kind(event.code, event.text, action if isinstance(action, str) else "")
