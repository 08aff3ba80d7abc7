"""A Realm in service: the work that waits for it, and the sessions that listen to it.

Everything here runs on one thread, the reactor's, and never waits: work that may block is handed to
:class:`~realmserver.realms.fanout.Workers` and its result comes back as a call. What keeps order:

- work that writes runs alone in its Realm (the *lane*), in the order it came;
- uploads that wait together are integrated together and share one commit (group commit), and so do client files that
  are wanted together: these concern nobody else, so they have a queue of their own and take turns with the other;
- an IDENT of a client file that is in memory is answered at once, unless something waits or is done that could change
  the answer;
- a progress report without changesets needs no answer and waits for PROGRESS_DELAY, with all others of the Realm: of
  those of one client file, the last says what the earlier ones do; it never overtakes an upload;
- where an upload fails, all that waits of the same client file fails with it;
- only what is durable is shown to anyone: answers and the news of new versions go out after the commit;
- what can wait is done in small steps (``idle_work``), each of which is work like any other: an upload waits for one;
- where damage is found, nothing more is done: everyone is told to come again later, and the store is closed.
"""

from __future__ import annotations  # those of functions within functions would be evaluated at each call

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Final, Generic, Protocol, TypeVar

from realmserver.frozen import frozen
from realmserver.realms.fanout import ENTRY_COST, Body, Done, Encode, Fanout, Made, Workers
from realmserver.realms.idle_work import IdleWork
from realmserver.realms.line import Line
from realmserver.realms.observer import Observer, Unobserved
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.realm import Integration, Realm
from realmserver.realms.requests import (
    DownloadCursor,
    Identified,
    Identify,
    ProtocolTooOld,
    RealmError,
    RealmUnavailable,
    Upload,
    UploadCursor,
    UploadDone,
)
from realmserver.realms.stored_reading import StoredReader
from realmserver.realms.waiting import House
from realmserver.store.interface import ClientFile, Head, StoreFull, UnknownFormat

PROGRESS_DELAY: Final = 1.0
"""Seconds that a progress report waits. Clients report after each DOWNLOAD: it saves most of the work for them where
there are many. A crash may lose it: the client reports again."""

MAX_BATCH_UPLOADS: Final = 256
"""Uploads in one commit: bounds how long the first waits for the last."""

MAX_BATCH_SIZE: Final = 16 * 1024 * 1024
"""Bytes of uploads in one commit beyond the first upload: bounds the memory of a batch."""

MAX_ALLOCATIONS: Final = 256
"""Client files in one commit, for the same reason."""

HEAVY: Final = 256 * 1024
"""Bytes of uploads from which on integrating them counts as heavy work: some hundredths of a second, at least."""

DAMAGE: Final = (UnknownFormat, BrokenRecord)
"""What is raised where a Realm's files are not what was written."""

T = TypeVar("T")

Permit = Callable[[], None]
"""Raises a RealmError where a new Realm may not be made. Called in a worker thread."""


def no_question() -> None:
    """Permit it."""


class Subscriber(Protocol):
    """A session that is bound to a Realm."""

    def advanced(self, version: int) -> None:
        """The Realm has moved to ``version``."""

    def superseded(self, by: Subscriber) -> None:
        """The session ``by`` has identified with the same client file: this one is assumed dead."""

    def expelled(self, error: RealmError) -> None:
        """The Realm has been set aside for ``error``: the session is over."""


@frozen
class _Call:
    """Work for the lane that is not an upload. ``work`` runs in a thread and returns what to do with its result on
    the reactor's; ``failed`` is called instead where our side failed. ``permit`` is asked before a Realm that does not
    exist is made for it."""

    work: Callable[[Realm], Callable[[], None]]
    failed: Callable[[RealmError], None]
    permit: Permit = no_question


@frozen
class _Allocation:
    """A client file of ``owner`` is wanted. ``permit`` as in :class:`_Call`."""

    owner: str
    done: Done[ClientFile]
    permit: Permit


@frozen
class _Flush:
    """What has been reported is to be made durable."""


@frozen
class _Waiting:
    """An upload in the queue. ``size``: the bytes that it takes in memory."""

    upload: Upload
    done: Done[UploadDone]
    size: int


class LiveRealm(Generic[Body]):
    """The one place through which sessions reach the Realm ``name``.

    ``open_realm`` opens it (may block), and asks the Permit before it makes a new one; ``encode`` turns entries into
    the body of a DOWNLOAD (may run in a thread); ``idle`` is called whenever nothing runs and nothing waits any more;
    ``observer`` hears how it goes. ``fold_delay``: seconds after an upload until the stored values follow, None = only
    when they are read. ``house`` is what it shares with others. ``look_every``: seconds after which an open Realm looks
    whether history has come of age, None = never.
    """

    def __init__(
        self,
        name: str,
        open_realm: Callable[[Permit], Realm],
        workers: Workers,
        encode: Encode[Body],
        idle: Callable[[LiveRealm[Body]], None],
        observer: Observer | None = None,
        fold_delay: float | None = None,
        house: House | None = None,
        look_every: float | None = None,
    ) -> None:
        self.name = name
        self._reopening_due = False
        self.has_room: Callable[[LiveRealm[Body]], bool] = lambda live: True
        """Asked before the store is opened. After a False, :meth:`go_on` is called when there is room."""
        self.damaged: Callable[[LiveRealm[Body], Exception], None] = lambda live, error: None
        """Called when the store has been closed because damage was found in it."""
        self._damage: Exception | None = None  # found in the store that is open, which is to be closed
        self._open_realm = open_realm
        self._workers = workers
        self._idle = idle
        self._observer = observer or Unobserved()
        self._house = house or House()
        self._idle_work = IdleWork(
            workers,
            self._tidy,
            lambda: self._realm is not None,
            lambda: self.is_idle,
            self._not_tidied,
            self._tidied,
            fold_delay,
            look_every,
        )
        self._fanout: Fanout[Body] = Fanout(workers, encode, self._next, self._failed)
        self._realm: Realm | None = None
        self._head: Head | None = None
        self._queue: Line[_Call | _Waiting | _Flush] = Line()
        self._wanted: Line[_Allocation] = Line()
        self._waiting_size = 0
        self._progress: dict[int, _Waiting] = {}
        self._flush_due = False
        self._busy = False
        self._is_allocating = False  # the last work of the lane was that, or is
        self._subscribers: dict[int, Subscriber] = {}
        self._cursors: dict[int, UploadCursor] = {}

    # What the registry asks.

    @property
    def is_open(self) -> bool:
        """Whether the Realm's store is open, being opened or being closed."""
        return self._realm is not None or self._busy

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not (self._busy or self._queue or self._wanted or self._progress or self._fanout.is_reading)

    def go_on(self) -> None:
        """There is room for the store now."""
        self._next()

    def close_store(self, closed: Callable[[], None]) -> None:
        """Close the store of an idle Realm. Its sessions stay bound; it is opened again when it is needed."""
        realm, self._realm, self._head = self._realm, None, None
        self._fanout.forget()
        if realm is None:
            closed()
            return
        self._busy = True

        def done(_: None) -> None:
            self._busy = False
            self._observer.closed()
            closed()
            if self._queue or self._wanted:
                self._next()

        def failed(error: Exception) -> None:
            self._workers.report(self.name, error)
            done(None)

        self._workers.run(realm.close, done, failed)

    # What sessions ask.

    def open(self, done: Done[None], permit: Permit = no_question) -> None:
        """Make sure that the Realm exists and opens. ``permit``: whether it may be made if it does not."""
        if self._realm is not None:
            done(None)
        else:
            self._call(lambda realm: None, done, permit)

    def allocate(self, owner: str, done: Done[ClientFile], permit: Permit = no_question) -> None:
        """Give out a new client file for user ``owner``; ``permit`` as in :meth:`open`."""
        self._wanted.append(_Allocation(owner, done, permit))
        self._next()

    def client_version(self, ident: int, salt: int, done: Done[int]) -> None:
        """The last version of a client file that is here."""
        self._call(lambda realm: realm.client_version(ident, salt), done)

    def identify(
        self, request: Identify, owner: str, protocol: int, subscriber: Subscriber, done: Done[Identified]
    ) -> None:
        """Check an IDENT; if it is good, ``subscriber`` hears of new versions from now on."""

        def identified(answer: Identified | RealmError) -> None:
            if isinstance(answer, Identified):
                earlier = self._subscribers.get(request.ident)
                self._subscribers[request.ident] = subscriber
                self._cursors[request.ident] = answer.upload
                if earlier is not None and earlier is not subscriber:
                    earlier.superseded(subscriber)
            done(answer)

        report = self._progress.pop(request.ident, None)
        if report is not None:  # an earlier session's, which counts for the new one (spec/protocol.md 3.4)
            self._queue.append(report)
        answer = self._at_hand(lambda realm: realm.identify_at_hand(request, owner, protocol))
        if answer is not None:
            identified(answer)
        else:
            self._call(lambda realm: realm.identify(request, owner, protocol), identified)

    def _at_hand(self, look: Callable[[Realm], Identified | None]) -> Identified | None:
        """What ``look`` finds in memory where nothing is done and nothing waits but to give out client files."""
        if self._realm is None or self._queue or self._damage or (self._busy and not self._is_allocating):
            return None
        return look(self._realm)

    def leave(self, ident: int, subscriber: Subscriber) -> None:
        """``subscriber`` is gone. What it has uploaded is integrated all the same."""
        if self._subscribers.get(ident) is subscriber:
            del self._subscribers[ident]
            del self._cursors[ident]

    def upload(self, upload: Upload, done: Done[UploadDone]) -> None:
        """Integrate ``upload`` and make it durable; then answer."""
        if upload.entries:
            size = sum(len(entry.changeset) + ENTRY_COST for entry in upload.entries)
            refusal = self._house.room.refusal(size, self._waiting_size)
            if refusal is not None:
                done(refusal)
                return
            self._waits(size)
            self._queue.append(_Waiting(upload, done, size))
            self._next()
            return
        earlier = self._progress.pop(upload.ident, None)
        self._progress[upload.ident] = _Waiting(upload, done, 0)
        if earlier is not None:
            earlier.done(UploadDone(self._cursors.get(upload.ident, UploadCursor())))
        self._flush_later()

    def _flush_later(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._workers.later(PROGRESS_DELAY, self.flush)

    def flush(self) -> None:
        """Make the waiting progress reports durable now: those that are there when their turn has come, so that however
        long that takes there is one of each client file at most."""
        if self._progress:
            self._queue.append(_Flush())
        else:
            self._flush_due = False
        self._next()

    def fetch(self, ident: int, cursor: DownloadCursor, protocol: int, done: Done[Made[Body]]) -> None:
        """The next DOWNLOAD for client file ``ident``, whose session stands at ``cursor`` and speaks ``protocol``."""
        head, realm = self._head, self._realm
        if head is None or realm is None:

            def reopened(answer: RealmError | None) -> None:
                if isinstance(answer, RealmError):
                    done(answer)
                else:
                    self.fetch(ident, cursor, protocol, done)

            self.open(reopened)
        elif protocol < head.required_protocol:
            done(ProtocolTooOld(f"this Realm now holds data that needs sync protocol {head.required_protocol}"))
        else:
            self._fanout.fetch(realm, head, ident, cursor, self._cursors.get(ident, UploadCursor()), done)

    def read(self, look: Callable[[StoredReader], T], done: Done[T]) -> None:
        """What ``look`` finds in the stored values, which have caught up with all that is durable now. ``look`` runs in
        a thread, alone in the Realm, so it is to be short."""

        def folded(answer: bool | RealmError) -> None:
            if isinstance(answer, RealmError):
                done(answer)
            elif answer:
                self._call(Realm.fold, folded)
            else:
                self._call(lambda realm: realm.read(look), done)

        self._call(Realm.fold, folded)

    # What is done in idle time.

    def _tidy(self, done: Done[bool | StoreFull]) -> None:
        def tidy(realm: Realm) -> bool | StoreFull:
            try:
                return realm.tidy()
            except StoreFull as error:
                return error

        self._call(tidy, done)

    def _not_tidied(self, error: StoreFull | RealmError) -> None:
        self._observer.folding_failed()
        if isinstance(error, StoreFull):  # the others have been reported
            self._workers.report(self.name, error)

    def _tidied(self) -> None:
        self._reopening_due = self._realm is not None and self._realm.wants_reopening

    # Damage.

    def _failed(self, error: Exception) -> RealmError:
        """Our side failed with ``error``: what to answer those who wait."""
        answer = RealmUnavailable("the Realm's storage failed, see the server's log")
        if isinstance(error, DAMAGE):
            self._damage = self._damage or error
            self._expel(answer)
        else:
            self._workers.report(self.name, error)
        return answer

    def _expel(self, answer: RealmError) -> None:
        """Nobody stays: after a repair the Realm may be another than they know, and each must identify anew."""
        subscribers, self._subscribers, self._cursors = self._subscribers, {}, {}
        queue, self._queue = self._queue, Line()
        wanted, self._wanted = self._wanted, Line()
        progress, self._progress = self._progress, {}
        for subscriber in subscribers.values():
            subscriber.expelled(answer)
        for each in queue:
            match each:
                case _Call():
                    each.failed(answer)
                case _Waiting():
                    self._waits(-each.size)
                    each.done(answer)
                case _Flush():
                    self._flush_due = False
        for allocation in wanted:
            allocation.done(answer)
        for report in progress.values():
            report.done(answer)

    def _close_damaged(self, error: Exception) -> None:
        """Close the store, once nobody reads it any more, and tell of the damage."""
        if self._fanout.is_reading:
            return  # it calls when it has read
        self._failed(error)  # whoever has come in meanwhile hears it, too
        self._damage = None

        def closed() -> None:
            self.damaged(self, error)
            self._idle(self)

        self.close_store(closed)
        self._next()

    # The lane.

    def _call(self, work: Callable[[Realm], T], done: Done[T], permit: Permit = no_question) -> None:
        def run(realm: Realm) -> Callable[[], None]:
            try:
                result = work(realm)
            except RealmError as error:
                refused = error
                return lambda: done(refused)
            return lambda: done(result)

        self._queue.append(_Call(run, done, permit))
        self._next()

    def _next(self) -> None:
        """Start the work that is first in the queue, if none is running."""
        if self._busy:
            return
        if self._damage is not None:
            self._close_damaged(self._damage)
            return
        if not (self._queue or self._wanted):
            if self.is_idle and self._reopening_due:
                self._reopening_due = False
                self.close_store(lambda: self._idle(self))  # it is opened again when it is needed
            elif self.is_idle:
                self._idle(self)
            return
        if self._realm is None and not self.has_room(self):
            return
        self._busy = True
        self._is_allocating = bool(self._wanted) and not (self._queue and self._is_allocating)
        if self._is_allocating:
            permit = self._wanted[0].permit
            self._allocate(self._take_allocations(), permit)
            return
        first = self._queue[0]
        if isinstance(first, _Call):
            self._queue.popleft()
            self._run(first.work, [first.failed], first.permit)
        else:
            batch = self._take_batch()
            if batch:
                self._run_batch(batch)
            else:
                self._busy = False
                self._next()

    def _take_allocations(self) -> list[_Allocation]:
        """Those that may share a commit. Only one while the Realm is not open: whether a new one may be made is asked
        for each user by himself."""
        most = MAX_ALLOCATIONS if self._realm is not None else 1
        return [self._wanted.popleft() for _ in range(min(most, len(self._wanted)))]

    def _allocate(self, batch: list[_Allocation], permit: Permit) -> None:
        def work(realm: Realm) -> Callable[[], None]:
            answers: Sequence[ClientFile | RealmError]
            read_only = self._house.read_only()
            if read_only is not None:
                answers = [read_only] * len(batch)
            else:
                answers = realm.allocate_all([each.owner for each in batch])

            def answer() -> None:
                for each, result in zip(batch, answers, strict=True):
                    each.done(result)

            return answer

        self._run(work, [each.done for each in batch], permit)

    def _take_batch(self) -> list[_Waiting]:
        """The uploads at the head of the queue that may share a commit."""
        batch: list[_Waiting] = []
        size = 0
        is_flush = False
        while self._queue and len(batch) < MAX_BATCH_UPLOADS:
            waiting = self._queue[0]
            if isinstance(waiting, _Flush):
                is_flush, self._flush_due = True, False
                self._queue.popleft()
                continue
            if not isinstance(waiting, _Waiting):
                break
            size += waiting.size
            if batch and size > MAX_BATCH_SIZE:
                break
            batch.append(waiting)
            self._queue.popleft()
        if is_flush:
            batch.extend(self._take_reports())
        return batch

    def _take_reports(self) -> list[_Waiting]:
        """Those that overtake no upload of their client file, which would count as integrated."""
        ahead = {each.upload.ident for each in self._queue if isinstance(each, _Waiting)}
        found = [each for ident, each in self._progress.items() if ident not in ahead]
        self._progress = {ident: each for ident, each in self._progress.items() if ident in ahead}
        if self._progress:
            self._flush_later()
        return found

    def _run_batch(self, batch: list[_Waiting]) -> None:
        is_heavy = sum(waiting.size for waiting in batch) > HEAVY
        computing = nullcontext() if is_heavy else self._house.computing

        def work(realm: Realm) -> Callable[[], None]:
            read_only = self._house.read_only()
            if read_only is not None:
                reason = read_only
                return lambda: self._put_off(batch, reason)
            with self._observer.integrating():
                result = realm.integrate([waiting.upload for waiting in batch], computing)
            return lambda: self._integrated(batch, result)

        self._run(work, [self._answer(waiting) for waiting in batch], is_heavy=is_heavy)

    def _put_off(self, batch: list[_Waiting], reason: RealmError) -> None:
        """Nothing may be written: uploads come again; progress, which clients report again, is forgotten."""
        for waiting in batch:
            if waiting.upload.entries:
                self._answer(waiting)(reason)
            else:
                waiting.done(UploadDone(self._cursors.get(waiting.upload.ident, UploadCursor())))

    def _answer(self, waiting: _Waiting) -> Done[UploadDone]:
        """Answers an upload that has left the queue."""

        def answer(result: UploadDone | RealmError) -> None:
            self._waits(-waiting.size)
            waiting.done(result)
            if isinstance(result, RealmError):
                self._refuse_waiting(waiting.upload.ident, result)

        return answer

    def _refuse_waiting(self, ident: int, error: RealmError) -> None:
        """Drop all that client file ``ident`` has waiting, because an earlier upload of it failed: integrating what
        came after would take that one for integrated, and it would be lost (``spec/protocol.md`` 3.5)."""
        kept: Line[_Call | _Waiting | _Flush] = Line()
        refused: list[_Waiting] = []
        for each in self._queue:
            if isinstance(each, _Waiting) and each.upload.ident == ident:
                refused.append(each)
            else:
                kept.append(each)
        self._queue = kept
        report = self._progress.pop(ident, None)
        if report is not None:
            refused.append(report)
        for waiting in refused:
            self._waits(-waiting.size)
            waiting.done(error)

    def _waits(self, size: int) -> None:
        if size:
            self._waiting_size += size
            self._house.room.changed(size)
            self._observer.waiting(size)

    def _integrated(self, batch: list[_Waiting], result: Integration) -> None:
        self._fanout.appended(result.entries)
        for waiting, answer in zip(batch, result.answers, strict=True):
            if isinstance(answer, UploadDone) and waiting.upload.ident in self._cursors:
                self._cursors[waiting.upload.ident] = answer.upload
        for waiting, answer in zip(batch, result.answers, strict=True):
            self._answer(waiting)(answer)
        if result.entries:
            self._idle_work.changed()
            self._advanced(result.head)

    def _advanced(self, head: Head) -> None:
        for subscriber in list(self._subscribers.values()):
            subscriber.advanced(head.version)

    def _run(
        self,
        work: Callable[[Realm], Callable[[], None]],
        failed: Sequence[Callable[[RealmError], None]],
        permit: Permit = no_question,
        *,
        is_heavy: bool = False,
    ) -> None:
        """Run ``work`` in a thread, alone in this Realm; open the Realm first if need be."""
        open_now = self._realm

        def job() -> tuple[Realm, Head, Callable[[], None]]:
            if open_now is not None:
                then = work(open_now)
                return open_now, open_now.head, then
            realm = self._open_realm(permit)
            try:
                then = work(realm)
            except BaseException:
                realm.close()  # nobody has it yet, and it can be open only once
                raise
            return realm, realm.head, then

        def done(result: tuple[Realm, Head, Callable[[], None]]) -> None:
            before, (self._realm, self._head, then) = self._head, result
            self._busy = False
            if before is not None and before.base_version != self._head.base_version:
                self._fanout.forget()  # entries have another form now
                self._advanced(self._head)
            if open_now is None:
                self._observer.opened()
                self._idle_work.opened()
            then()
            self._next()

        def give_up(error: Exception) -> None:
            self._busy = False
            if isinstance(error, RealmError):  # it does not exist and may not be made
                answer: RealmError = error
            else:
                answer = self._failed(error)
            for each in failed:
                each(answer)
            self._next()

        run = self._house.run_heavy if is_heavy else None
        (run or self._workers.run)(job, done, give_up)
