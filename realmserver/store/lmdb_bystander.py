"""An LMDB environment seen by a bystander: a process that reads it while a server may be writing it.

What it keeps true: what is read, or copied, is one state; nothing of the data is changed, and no writer waits for it.
It knows nothing of Realms. Implements ``spec/http-api.md`` 6.5 (a copy while the server runs) for one environment.

A server makes the map larger whenever it wants, so the map of a bystander may turn out to be too small when it begins:
then it opens the environment again. While it reads, the pages of its state are not used again, so the file may grow by
what is written meanwhile. LMDB refuses to open an environment twice in one process: a server's own process reads
through its own :class:`~realmserver.store.lmdb_environment.Environment`.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import lmdb

from realmserver.store.interface import StoreError, UnknownFormat
from realmserver.store.layout import FILE_MODE, store_error
from realmserver.store.lmdb_environment import (
    DATA_FILE,
    LOCK_FILE,
    MAX_READERS,
    Reading,
    check_data_file,
    read_error,
    reserve_lock_file,
    whole_pages,
)

_ATTEMPTS: Final = 100
"""Times that the environment is opened again because it has grown: it doubles, so a few are enough."""


class Bystander(Reading):
    """One state of an environment. Errors are translated, unlike those of :class:`Reading`."""

    __slots__ = ("_what",)

    def __init__(self, what: str, txn: "lmdb.Transaction[bytes]", tables: "dict[str, lmdb._Database]") -> None:
        super().__init__(txn, tables)
        self._what = what

    def each(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """All keys of ``table`` in order, with their values, one in memory at a time. Raises StoreError."""
        try:
            with self.txn.cursor(self._tables[table]) as cursor:
                more = cursor.first()
                while more:
                    yield cursor.item()
                    more = cursor.next()
        except lmdb.Error as error:
            raise read_error(self._what, error) from error

    def get(self, table: str, key: bytes) -> bytes | None:
        try:
            return super().get(table, key)
        except lmdb.Error as error:
            raise read_error(self._what, error) from error

    def items(
        self, table: str, prefix: bytes = b"", *, after: bytes = b"", limit: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        try:
            return super().items(table, prefix, after=after, limit=limit)
        except lmdb.Error as error:
            raise read_error(self._what, error) from error

    def has(self, table: str) -> bool:
        """Whether the environment has ``table``, which it may lack."""
        return table in self._tables


@contextmanager
def bystander(directory: Path, what: str, tables: Sequence[str], later: Sequence[str] = ()) -> Iterator[Bystander]:
    """The newest state of the environment in ``directory``, called ``what`` in error texts; it has ``tables``, and
    perhaps those of ``later``.

    Raises :class:`UnknownFormat` for what is not such an environment, and :class:`StoreError`.
    """
    for _ in range(_ATTEMPTS):
        env = _open(directory, what, len(tables) + len(later))
        try:
            try:
                found = {table: env.open_db(table.encode(), create=False) for table in tables}
                for table in later:
                    with suppress(lmdb.NotFoundError):
                        found[table] = env.open_db(table.encode(), create=False)
                txn = env.begin()
            except lmdb.MapResizedError:
                continue
            except lmdb.Error as error:
                raise read_error(f"{what}: {directory / DATA_FILE} cannot be opened", error) from error
            try:
                yield Bystander(what, txn, found)
            finally:
                txn.abort()
            return
        finally:
            env.close()
    raise StoreError(f"{what}: it grows faster than it can be opened")


def copy_environment(directory: Path, what: str, target: int) -> None:
    """Copy the newest state of the environment in ``directory`` to the descriptor ``target``, a new file or a pipe:
    without the room that is free inside. Not durable before the caller has synced it.

    Raises :class:`UnknownFormat` or :class:`StoreError` for what is wrong with the environment, OSError for what is
    wrong with the target.
    """
    for _ in range(_ATTEMPTS):
        env = _open(directory, what, 0)
        try:
            env.copyfd(target, compact=True)
            return
        except lmdb.MapResizedError:
            continue  # found before anything was written
        except lmdb.Error as error:
            raise _copy_error(what, error) from error
        finally:
            env.close()
    raise StoreError(f"{what}: it grows faster than it can be copied")


def _open(directory: Path, what: str, tables: int) -> "lmdb.Environment":
    data = directory / DATA_FILE
    try:
        length = _length(data, what)
        _prepare_lock_file(directory / LOCK_FILE, data)
        # Not larger than the file: whatever a damaged page names beyond its end would kill this process.
        return lmdb.open(
            str(directory),
            map_size=max(whole_pages(length), 1),
            mode=FILE_MODE,
            create=False,
            readonly=True,
            max_dbs=tables,
            max_readers=MAX_READERS,
        )
    except OSError as error:
        raise store_error(f"{what}: {data}", error) from error
    except lmdb.Error as error:
        raise read_error(f"{what}: {data} cannot be opened", error) from error


def _length(data: Path, what: str) -> int:
    """As :func:`check_data_file`; a file that has grown between two looks at it only seems to be cut short."""
    try:
        return check_data_file(data, what)
    except UnknownFormat:
        return check_data_file(data, what)


def _prepare_lock_file(lock: Path, data: Path) -> None:
    """Readers stand in LMDB's lock file, so that no writer uses their pages again. Where it is missing (in a copy), it
    is made for the owner of the data, who could not open one of root's."""
    is_new = not lock.exists()
    reserve_lock_file(lock)
    if is_new and os.geteuid() == 0:
        owner = data.stat()
        os.chown(lock, owner.st_uid, owner.st_gid)


def _copy_error(what: str, error: "lmdb.Error") -> Exception:
    code = getattr(error, "code", None)
    if isinstance(code, int) and code > 0:  # the system's, of writing: where reading fails, it sends a signal
        return OSError(code, os.strerror(code))
    found = read_error(what, error)
    return found if isinstance(found, UnknownFormat) else StoreError(f"{what}: it cannot be copied: {error}")


def state_number(directory: Path, what: str) -> int:
    """LMDB's number of the newest state of the environment in ``directory``. Raises as :func:`bystander`."""
    for _ in range(_ATTEMPTS):
        env = _open(directory, what, 0)
        try:
            # Not what LMDB's meta page says, which is ahead of what readers see while a commit is under way.
            with env.begin() as txn:
                return int(txn.id())
        except lmdb.MapResizedError:
            continue
        except lmdb.Error as error:
            raise read_error(what, error) from error
        finally:
            env.close()
    raise StoreError(f"{what}: it grows faster than it can be opened")
