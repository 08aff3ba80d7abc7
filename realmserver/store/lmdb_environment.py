"""One LMDB environment: opened with care, read through views, written in durable transactions, grown in steps.

What it keeps true: a transaction is on the disk when :meth:`Environment.write` returns, or has left no trace; a view
shows one state whatever is written meanwhile; no error of LMDB and no damaged file gets past it as anything but a
:class:`~realmserver.store.interface.StoreError`. It knows nothing of Realms: names are "what" in error texts, keys and
values are bytes. Implements ``design.md`` 4 (the map grows in steps, a full disk is an error and nothing more).

Three traps of LMDB shape this module. The map may not be resized while this process has transactions open, so views of
the newest state are set aside and begun anew on the larger map, which shows them the same state, and views of older
states are waited for. And a data file shorter than its pages kills the process that reads it (SIGBUS): so the file is
kept as long as the map, as a sparse file, and one that is shorter than its own page count is refused.
The same death awaits who writes to its lock file, which is mapped too, where a full disk has no room for it: so that
file is given its room before LMDB opens it.
"""

import os
import resource
import shutil
import struct
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import lmdb

from realmserver.store.interface import StoreError, StoreFull, UnknownFormat
from realmserver.store.layout import DIRECTORY_MODE, FILE_MODE, FULL, make_directories, store_error, sync_directory

INITIAL_MAP_SIZE: Final = 1 << 20
"""Bytes of a new map: most Realms are small, and address space times open Realms is limited on small machines."""

MAX_MAP_STEP: Final = 1 << 30
"""The map doubles until its steps are this large."""

MAX_MAP_SIZE: Final = 1 << 40
"""A Realm that wants more than a tebibyte is out of control."""

MAX_READERS: Final = 252
"""Views open at a time, in all processes: twice LMDB's own number, for the threads of a busy server and for tools."""

LOCK_FILE_SIZE: Final = (MAX_READERS + 4) * 64
"""Bytes of LMDB's lock file: 64 for each reader, and its head. LMDB takes as many readers as the file has room for."""

PATIENCE: Final = 30.0
"""Seconds that a growing map waits for views of older states: readers are short, so who holds one longer hangs."""

DATA_FILE: Final = "data.mdb"
LOCK_FILE: Final = "lock.mdb"

LEAST_GAIN: Final = 1 << 20
"""Free bytes in a file from which it is written anew without them, if it is half free at least."""

PAGES_OF_A_TABLE: Final = 16
"""Pages that adding an empty table to an environment takes, with what LMDB copies meanwhile: a few, and some more."""

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_PROBE_SLACK: Final = 64 * 1024  # LMDB writes the branches of its trees besides what a commit puts

# The start of LMDB's data file, format 1, native byte order: a page header, then the meta record
# (magic, version, address, map size, two tables, last page, transaction).
_META: Final = struct.Struct("@NHHHH" + "IIPN" + "IHHNNNNN" * 2 + "NN")
_MAGIC: Final = 0xBEEFC0DE
_DATA_VERSION: Final = 1

Change = tuple[str, bytes, bytes | None]
"""A table, a key, and what was put there; None: it was deleted."""

Committed = Callable[[Path, int, list[Change]], None]
"""Hears of a transaction that is durable: the environment's directory, LMDB's number of the state after it, which is
one more than before it, and what has changed, in order. Called by the thread that wrote, in the order of the numbers;
it must neither raise nor wait."""

_Result = TypeVar("_Result")


class Reading:
    """A transaction of LMDB, with tables by name. Errors are LMDB's own: its users below translate them."""

    __slots__ = ("_tables", "txn")

    def __init__(self, txn: "lmdb.Transaction[bytes]", tables: "dict[str, lmdb._Database]") -> None:
        self.txn = txn
        self._tables = tables

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value under ``key``, or None."""
        return self.txn.get(key, db=self._tables[table])

    def items(
        self, table: str, prefix: bytes = b"", *, after: bytes = b"", limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """The keys that begin with ``prefix`` and are greater than ``after``, in order, with their values; at most
        ``limit`` of them."""
        found: list[tuple[bytes, bytes]] = []
        first = max(prefix, after)
        with self.txn.cursor(self._tables[table]) as cursor:
            more = cursor.set_range(first) if first else cursor.first()
            if more and cursor.key() == after:
                more = cursor.next()
            while more and cursor.key().startswith(prefix) and (limit is None or len(found) < limit):
                found.append(cursor.item())
                more = cursor.next()
        return found


class Writing(Reading):
    """The one transaction that writes. ``changes`` gathers what it does, if somebody wants to know."""

    __slots__ = ("changes",)

    def __init__(
        self,
        txn: "lmdb.Transaction[bytes]",
        tables: "dict[str, lmdb._Database]",
        changes: list[Change] | None = None,
    ) -> None:
        super().__init__(txn, tables)
        self.changes = changes

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Put ``value`` under ``key``, in the place of what is there."""
        self.txn.put(key, value, db=self._tables[table])
        if self.changes is not None:
            self.changes.append((table, key, value))

    def put_all(self, table: str, items: Iterable[tuple[bytes, bytes]], *, last: bool = False) -> None:
        """As :meth:`put` for each, at less cost. ``last`` is for keys in order and after all others, which fills pages
        better; raises LMDB's error if they are not."""
        if self.changes is not None:
            items = self._noted(table, items)
        with self.txn.cursor(self._tables[table]) as cursor:
            cursor.putmulti(items, append=last)

    def _noted(self, table: str, items: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        assert self.changes is not None
        for key, value in items:
            self.changes.append((table, key, value))
            yield key, value

    def delete(self, table: str, key: bytes) -> None:
        """Delete ``key`` if it is there."""
        self.txn.delete(key, db=self._tables[table])
        if self.changes is not None:
            self.changes.append((table, key, None))

    def delete_prefix(self, table: str, prefix: bytes) -> None:
        """Delete the keys that begin with ``prefix``."""
        self.delete_range(table, prefix, lambda key: key.startswith(prefix))

    def delete_range(self, table: str, first: bytes, belongs: Callable[[bytes], bool], limit: int | None = None) -> int:
        """Delete the keys from ``first`` on, as far as ``belongs`` holds, at most ``limit``. Returns how many."""
        deleted = 0
        with self.txn.cursor(self._tables[table]) as cursor:
            more = cursor.set_range(first) if first else cursor.first()
            while more and deleted != limit and (key := cursor.key()) and belongs(key):  # past the end it is empty
                if self.changes is not None:
                    self.changes.append((table, bytes(key), None))
                more = cursor.delete()
                deleted += 1
        return deleted


class View:
    """One state of the environment, to be read by any thread until it is closed."""

    __slots__ = ("_id", "_lock", "_reading", "_what")

    def __init__(self, what: str, reading: Reading) -> None:
        self._what = what
        self._reading: Reading | None = reading
        self._id: int = reading.txn.id()
        self._lock = threading.Lock()

    @property
    def id(self) -> int:
        """LMDB's number of the state: it grows with each transaction that wrote."""
        return self._id

    def get(self, table: str, key: bytes) -> bytes | None:
        """As :meth:`Reading.get`. Raises StoreError."""
        with self._lock:
            if self._reading is None:
                raise self._closed()
            try:
                return self._reading.get(table, key)
            except lmdb.Error as error:
                raise read_error(self._what, error) from error

    def items(
        self, table: str, prefix: bytes = b"", *, after: bytes = b"", limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """As :meth:`Reading.items`. Raises StoreError."""
        with self._lock:
            if self._reading is None:
                raise self._closed()
            try:
                return self._reading.items(table, prefix, after=after, limit=limit)
            except lmdb.Error as error:
                raise read_error(self._what, error) from error

    def _closed(self) -> StoreError:
        return StoreError(f"{self._what}: this view is closed, or was lost when the file was opened again")

    # The environment calls these; it holds its gate meanwhile.

    def suspend(self) -> None:
        self._lock.acquire()
        if self._reading is not None:
            self._reading.txn.abort()
            self._reading = None

    def resume(self, begin: Callable[[], Reading] | None) -> None:
        """Undo :meth:`suspend`, if ``begin`` makes a transaction and it shows the same state."""
        try:
            if begin is not None:
                reading = begin()
                if reading.txn.id() == self._id:
                    self._reading = reading
                else:
                    reading.txn.abort()
        finally:
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            if self._reading is not None:
                self._reading.txn.abort()
                self._reading = None


class Environment:
    """An open environment in the directory ``directory``.

    ``what`` names it in error texts, ``tables`` are the tables it must have; those among ``later_tables`` are added
    where they are missing. ``map_size`` is the smallest map in bytes, ``patience`` the seconds a growing map waits for
    views of older states. Raises :class:`UnknownFormat` for what is not such an environment, and :class:`StoreError`.
    ``committed`` hears of each transaction that wrote.
    """

    def __init__(
        self,
        directory: Path,
        what: str,
        tables: Sequence[str],
        *,
        later_tables: Sequence[str] = (),
        map_size: int = INITIAL_MAP_SIZE,
        patience: float = PATIENCE,
        committed: Committed | None = None,
    ) -> None:
        self._committed = committed
        self._directory = directory
        self._what = what
        self._table_names = tables
        self._later_tables = later_tables
        self._map_size = map_size
        self._patience = patience
        self._writing = threading.Lock()
        self._gate = threading.RLock()
        self._left: threading.Condition | None = None  # of the gate, while a growing map waits for views to be left
        self._views: set[View] = set()
        self._closed = False
        self._suspect = False  # LMDB has reported an error
        self._at_work = False  # a transaction that writes may be open
        self._env: lmdb.Environment | None = None
        self._tables: dict[str, lmdb._Database] = {}
        self._open()

    @staticmethod
    def create(
        directory: Path,
        workplace: Path,
        what: str,
        tables: Sequence[str],
        fill: Callable[[Writing], None],
        *,
        map_size: int = INITIAL_MAP_SIZE,
    ) -> None:
        """Make a new environment with what ``fill`` puts: in ``workplace``, which is then moved to ``directory``.

        So it appears there as a whole or not at all; neither may exist before. After a crash ``workplace`` may be left
        and is to be thrown away. Raises :class:`StoreFull` or :class:`StoreError`.
        """
        try:
            workplace.mkdir(DIRECTORY_MODE)
            _fill_new(workplace, what, tables, fill, map_size)
            sync_directory(workplace)
            make_directories(directory.parent)
            workplace.rename(directory)
            sync_directory(directory.parent)
        except (OSError, StoreError) as error:
            with suppress(OSError):  # to be cleared away later, then; the first error is the one to tell
                shutil.rmtree(workplace)
            if isinstance(error, OSError):
                raise store_error(f"{what}: {directory}", error) from error
            raise

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self._directory

    @contextmanager
    def view(self) -> Iterator[View]:
        """The newest state. Raises StoreError; leave the context before the environment is closed."""
        with self._gate:
            self._revive()
            view = View(self._what, self._begin())
            self._views.add(view)
        try:
            yield view
        finally:
            with self._gate:
                view.close()
                self._views.discard(view)
                if self._left is not None:
                    self._left.notify_all()

    def write(self, change: Callable[[Writing], _Result], size: int) -> _Result:
        """Make what ``change`` puts and deletes durable as a whole, and return its result.

        ``change`` is called again where the map had to grow; what it raises undoes all. ``size`` is about the number
        of bytes it puts. Raises :class:`StoreFull` or :class:`StoreError`; the environment stays usable.
        """
        with self._writing:
            with self._gate:
                self._revive()
                self._at_work = True
            try:
                while True:
                    try:
                        with self._open_env().begin(write=True) as txn:
                            writing = Writing(txn, self._tables, None if self._committed is None else [])
                            result, number = change(writing), txn.id()
                        if self._committed is not None and writing.changes:
                            self._committed(self._directory, number, writing.changes)
                        return result
                    except lmdb.MapFullError:
                        self._grow(size)
            except lmdb.Error as error:
                self._suspect = True
                raise _write_error(self._what, error, self._directory, size) from error
            finally:
                with self._gate:
                    self._at_work = False

    def close(self) -> None:
        """Give all resources back; closing twice is allowed. Raises StoreError if a view is open."""
        with self._writing, self._gate:
            if self._views:
                raise StoreError(f"{self._what}: {len(self._views)} views are open; it cannot be closed")
            self._closed = True
            self._drop_env()

    def shrink(self, workplace: Path) -> int | None:
        """Give free pages back to the disk, if they are many: by a copy without them, made in ``workplace``, which
        takes the file's place as a whole. Returns the bytes given back, and the environment is closed then; or None.

        Where there is no room for the copy, all stays as it is. After a crash ``workplace`` may be left.
        """
        with self._writing, self._gate:
            env = self._open_env()
            try:
                if self._views or not _is_mostly_free(env, self._tables):
                    return None
            except lmdb.Error:
                return None  # a damaged file: whoever reads it is told
            copy = workplace / DATA_FILE
            try:
                workplace.mkdir(DIRECTORY_MODE)
                env.copy(str(workplace), compact=True)
                copy.chmod(FILE_MODE)
                with copy.open("rb") as file:
                    os.fsync(file.fileno())
            except (OSError, lmdb.Error):
                shutil.rmtree(workplace, ignore_errors=True)
                return None
            self._closed = True
            self._drop_env()
            data = self._directory / DATA_FILE
            try:
                given_back = _room(data) - _room(copy)
                copy.replace(data)
                sync_directory(self._directory)
                workplace.rmdir()
            except OSError as error:
                raise store_error(self._what, error) from error
            return max(0, given_back)

    # Opening, and opening again after an error.

    def _open(self) -> None:
        data = self._directory / DATA_FILE
        try:
            length = check_data_file(data, self._what)
            self._map_size = max(self._map_size, whole_pages(length))
            if length < self._map_size:
                _extend(data, self._map_size)
            reserve_lock_file(self._directory / LOCK_FILE)
        except OSError as error:
            raise store_error(f"{self._what}: {data}", error) from error
        try:
            self._env = lmdb.open(
                str(self._directory),
                map_size=self._map_size,
                mode=FILE_MODE,
                create=False,
                max_dbs=len(self._table_names),
                max_readers=MAX_READERS,
            )
            self._env.reader_check()  # views of a process that was killed would keep old pages for ever
            self._tables = {table: self._open_table(self._env, table) for table in self._table_names}
        except lmdb.Error as error:
            self._drop_env()
            raise read_error(f"{self._what}: {data} cannot be opened", error) from error
        except StoreError:
            self._drop_env()
            raise

    def _open_table(self, env: "lmdb.Environment", table: str) -> "lmdb._Database":
        """The table ``table``; made, durably, if it may be missing. No transaction may be open."""
        try:
            return env.open_db(table.encode(), create=False)
        except lmdb.NotFoundError:
            if table not in self._later_tables:
                raise
        try:
            try:
                return env.open_db(table.encode())
            except lmdb.MapFullError:
                self._map_size += _PAGE * PAGES_OF_A_TABLE
                _extend(self._directory / DATA_FILE, self._map_size)
                env.set_mapsize(self._map_size)
                return env.open_db(table.encode())
        except OSError as error:
            raise store_error(self._what, error) from error
        except lmdb.Error as error:
            raise _write_error(self._what, error, self._directory, _PAGE * PAGES_OF_A_TABLE) from error

    def _revive(self) -> None:
        """Open the environment again after an error: LMDB may refuse all further work of the old one. A view of an
        older state, which cannot be carried over, puts that off, and so does a transaction that writes. Called with
        the gate held."""
        if self._closed:
            raise StoreError(f"{self._what}: it is closed")
        if self._suspect and not self._at_work and (self._env is None or not self._older_views(self._env)):
            self._suspect = False
            self._exchange(self._drop_env)
        if self._env is None:
            self._open()

    def _drop_env(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None

    def _open_env(self) -> "lmdb.Environment":
        if self._env is None:
            raise StoreError(f"{self._what}: it is closed")
        return self._env

    def _begin(self) -> Reading:
        try:
            return Reading(self._open_env().begin(), self._tables)
        except lmdb.Error as error:
            raise read_error(self._what, error) from error

    # Growing.

    def _grow(self, size: int) -> None:
        with self._gate:
            env = self._open_env()
            env.reader_check()  # a backup that was killed would keep old pages, and the map would grow on and on
            map_size = whole_pages(self._map_size + max(min(self._map_size, MAX_MAP_STEP), size))
            if map_size > MAX_MAP_SIZE:
                raise StoreFull(f"{self._what}: it would grow to more than {MAX_MAP_SIZE} bytes")
            if not self._wait_for_older_views(env):
                raise StoreError(f"{self._what}: a view of an older state has been open for {self._patience} s")
            try:
                _extend(self._directory / DATA_FILE, map_size)
            except OSError as error:
                raise store_error(self._what, error) from error
            self._exchange(lambda: self._remap(env, map_size))

    def _wait_for_older_views(self, env: "lmdb.Environment") -> bool:
        """Whether they are left in time. Called with the gate held, by the one who writes."""
        self._left = threading.Condition(self._gate)
        try:
            return self._left.wait_for(lambda: not self._older_views(env), self._patience)
        finally:
            self._left = None

    def _remap(self, env: "lmdb.Environment", map_size: int) -> None:
        try:
            env.set_mapsize(map_size)
        except lmdb.Error as error:
            self._drop_env()  # it may be without any map now
            raise StoreError(f"{self._what}: no map of {map_size} bytes: {error}") from error
        self._map_size = map_size

    def _older_views(self, env: "lmdb.Environment") -> bool:
        newest = env.info()["last_txnid"]
        return any(view.id != newest for view in self._views)

    def _exchange(self, action: Callable[[], None]) -> None:
        """Do ``action``, which may not run while a transaction is open, and carry the views over."""
        views = list(self._views)
        for view in views:
            view.suspend()
        begin: Callable[[], Reading] | None = None
        try:
            action()
            if self._env is None:
                self._open()
            begin = self._begin
        finally:
            for view in views:
                view.resume(begin)


def _room(data: Path) -> int:
    """The bytes that a file takes on the disk; it may be much longer (:func:`_extend`)."""
    return data.stat().st_blocks * 512


def _is_mostly_free(env: "lmdb.Environment", tables: "dict[str, lmdb._Database]") -> bool:
    with env.begin() as txn:
        stats = [env.stat(), *(txn.stat(table) for table in tables.values())]
    used = sum(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"] for stat in stats)
    pages = env.info()["last_pgno"] + 1
    return (pages - used) * stats[0]["psize"] >= LEAST_GAIN and used * 2 <= pages


def _fill_new(
    directory: Path, what: str, tables: Sequence[str], fill: Callable[[Writing], None], map_size: int
) -> None:
    try:
        reserve_lock_file(directory / LOCK_FILE)
        # Nobody sees the file before it is whole, so it need not be on the disk in an order: once is enough for all.
        with lmdb.open(str(directory), map_size=map_size, mode=FILE_MODE, max_dbs=len(tables), sync=False) as env:
            os.truncate(directory / DATA_FILE, map_size)  # see _extend
            with env.begin(write=True) as txn:
                fill(Writing(txn, {table: env.open_db(table.encode(), txn=txn) for table in tables}))
            env.sync(True)
    except lmdb.Error as error:
        raise _write_error(what, error, directory, map_size) from error


def check_data_file(path: Path, what: str) -> int:
    """The length of LMDB's data file; raises :class:`UnknownFormat` if it is not one, or not all of it is there."""
    if not path.is_file():
        raise UnknownFormat(f"{what}: there is no file {path}")
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        first = _META.unpack(file.read(_META.size).ljust(_META.size, b"\0"))
        if first[5] != _MAGIC:
            raise UnknownFormat(f"{what}: {path} is damaged or not an LMDB file")
        if first[6] != _DATA_VERSION:
            raise UnknownFormat(f"{what}: {path} has LMDB's data format {first[6]}, not {_DATA_VERSION}")
        page_size = first[9]
        file.seek(page_size)
        second = _META.unpack(file.read(_META.size).ljust(_META.size, b"\0"))
    if second[5] != _MAGIC:
        raise UnknownFormat(f"{what}: {path} is damaged or not an LMDB file")
    last_page = max(first, second, key=lambda meta: int(meta[-1]))[-2]
    if length < (last_page + 1) * page_size:
        raise UnknownFormat(f"{what}: {path} is cut short: it has {length} bytes and {last_page + 1} pages")
    return length


def whole_pages(size: int) -> int:
    """``size``, rounded up to whole pages of memory."""
    return -(-size // _PAGE) * _PAGE


def _extend(path: Path, length: int) -> None:
    """Make the file ``length`` bytes long, durably; what is added takes no room. Raises OSError."""
    with path.open("r+b") as file:
        os.ftruncate(file.fileno(), length)
        os.fsync(file.fileno())


def reserve_lock_file(path: Path) -> None:
    """Give LMDB's lock file its room on the disk; zeros are a lock file that nobody has used. Raises OSError.

    May be called only while this process has the environment closed: closing any descriptor of a file gives up the
    locks that the process has on it.
    """
    with open(path, "ab", opener=lambda name, flags: os.open(name, flags, FILE_MODE)) as file:
        missing = LOCK_FILE_SIZE - os.fstat(file.fileno()).st_size
        if missing > 0:
            file.write(bytes(missing))


def read_error(what: str, error: "lmdb.Error") -> StoreError:
    """The store's error for LMDB's: :class:`UnknownFormat` where the file is not what this server writes."""
    # A transaction that only reads goes bad where LMDB has come upon a page that cannot be.
    if isinstance(error, lmdb.InvalidError | lmdb.CorruptedError | lmdb.PageNotFoundError | lmdb.BadTxnError):
        return UnknownFormat(f"{what}: the file is damaged: {error}")
    if isinstance(error, lmdb.VersionMismatchError | lmdb.NotFoundError | lmdb.IncompatibleError):
        return UnknownFormat(f"{what}: the file was not written by this server: {error}")
    return StoreError(f"{what}: {error}")


def _write_error(what: str, error: "lmdb.Error", directory: Path, size: int) -> StoreError:
    """LMDB says "Input/output error" for a disk that fills up in the middle of a page: ask the disk itself."""
    if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError):
        return read_error(what, error)
    if isinstance(error, lmdb.DiskError) or _no_room(directory, size + _PROBE_SLACK):
        return StoreFull(f"{what}: no room is left on the disk: {error}")
    return StoreError(f"{what}: {error}")


def _no_room(directory: Path, size: int) -> bool:
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    block = bytes(64 * 1024)
    try:
        if limit != resource.RLIM_INFINITY and limit < (directory / DATA_FILE).stat().st_size + size:
            return True
        with tempfile.TemporaryFile(dir=directory) as file:
            for _ in range(-(-size // len(block))):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in FULL
    return False
