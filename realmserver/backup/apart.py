"""Work in a process of its own, so that a damaged file ends that process and not the command.

LMDB trusts its pages: one that a broken disk has changed can make it read where nothing is, and the system then kills
the process. Whoever reads files that may be damaged does it here, and is told of such an end as of any other error.
"""

import faulthandler
import os
import signal
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

from realmserver.store.interface import StoreError

_TICK: Final = 0.2
"""Seconds between two calls of ``tick``: as often as a person wants to see a bar move."""

_STOPS: Final = (signal.SIGTERM, signal.SIGINT)

_DONE: Final = "done"
_FAILED: Final = "failed"
_TOLD: Final = "told"

T = TypeVar("T")
Tell = Callable[[int], None]
"""Says how far the work has come."""


def apart(
    what: str, work: Callable[[Tell], T], told: Tell = lambda _: None, tick: Callable[[], None] | None = None
) -> T:
    """The result of ``work``, which must be picklable, done in a child process.

    ``told`` hears what the work tells, ``tick`` is called now and then while it lasts. Raises the work's StoreError or
    OSError, or a :class:`StoreError` naming ``what`` where the process was killed by what it read.
    """
    here, there = Pipe(duplex=False)
    # What is raised while Python's own functions around a fork run is lost, also that the command is to stop.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    child = os.fork()
    if child == 0:
        here.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _in_child(work, there)
    there.close()
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        with here:
            answer = _answer(here, told, tick)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    if answer is None:
        raise StoreError(f"{what}: {_obituary(status)}")
    kind, value = answer
    if kind == _FAILED:
        raise value
    result: T = value
    return result


def _in_child(work: Callable[[Tell], T], parent: Connection) -> None:
    code = 1
    faulthandler.disable()  # whoever waits tells of the end
    try:
        parent.send((_DONE, work(lambda number: parent.send((_TOLD, number)))))
        code = 0
    except (StoreError, OSError) as error:
        parent.send((_FAILED, error))
        code = 0
    except Exception as error:  # noqa: BLE001 (it is told, with its kind; the child has no one else to tell)
        parent.send((_FAILED, StoreError(f"reading it failed by a fault of this program: {error!r}")))
    finally:
        os._exit(code)  # nothing of the parent's is finished or written twice


def _answer(child: Connection, told: Tell, tick: Callable[[], None] | None) -> tuple[str, Any] | None:
    """How the work ended; None if its process ended first."""
    while True:
        if tick is not None and not child.poll(_TICK):
            tick()
            continue
        try:
            kind, value = child.recv()
        except EOFError:
            return None
        if kind != _TOLD:
            return kind, value
        told(value)


def _obituary(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"the file is damaged: the process that read it was ended by {signal.Signals(number).name}"
    return "the process that read it has vanished"
