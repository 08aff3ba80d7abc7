"""Copies environments into frames, in a process of its own beside the server: ``python -m realmserver.backup.sender``.

A server cannot copy a Realm by itself while it writes to it: growing its map would take the ground from under the copy.
So this process reads, as a bystander, what is asked for on its standard input (a line of JSON for each environment:
``path``, and ``have`` if the follower has a state of it), and writes the answer's frames to its standard output. It
ends when its input does.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from realmserver.backup.frames import BEGIN, CURRENT, DATA, END, FAILED, frame
from realmserver.store.interface import StoreError
from realmserver.store.lmdb_bystander import copy_environment, state_number
from realmserver.store.lmdb_environment import DATA_FILE

_CHUNK: Final = 256 * 1024

Write = Callable[[bytes], object]


def main(root: Path) -> None:
    """Answer every line of the standard input."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            _answer(root, asked["path"], asked.get("have"), out.write)
        except (StoreError, OSError) as error:
            out.write(frame(FAILED, {"path": asked["path"], "text": str(error)}))


def _answer(root: Path, path: str, have: Any, write: Write) -> None:
    directory = root / path
    stamp, before = _state(directory, path)
    if have == [stamp, before]:
        write(frame(CURRENT, {"path": path, "stamp": stamp, "number": before}))
        return
    mode = (directory / DATA_FILE).stat().st_mode & 0o777
    write(frame(BEGIN, {"path": path, "stamp": stamp, "before": before, "mode": mode}))
    reader, writer = os.pipe()
    errors: list[BaseException] = []

    def copy() -> None:
        try:
            copy_environment(directory, path, writer)
        except (StoreError, OSError) as error:
            errors.append(error)
        finally:
            os.close(writer)

    thread = threading.Thread(target=copy)
    thread.start()
    with os.fdopen(reader, "rb", buffering=0) as file:
        while data := file.read(_CHUNK):
            write(frame(DATA, {"path": path}, data))
    thread.join()
    if errors:
        raise StoreError(str(errors[0]))
    stamp_now, after = _state(directory, path)
    if stamp_now != stamp:
        raise StoreError(f"{path}: its file was exchanged meanwhile")
    write(frame(END, {"path": path, "after": after}))


def _state(directory: Path, what: str) -> tuple[list[int], int]:
    """What tells the file from others, and the number of its newest state."""
    found = (directory / DATA_FILE).stat()
    return [found.st_dev, found.st_ino], state_number(directory, what)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
