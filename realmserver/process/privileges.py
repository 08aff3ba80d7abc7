"""As whom the server runs: not as root, unless the operator insists.

A server started as root for the sake of a port below 1024 or of a private key opens these first and then becomes the
user that it was told. What is read here is the process's own user and the names of users, nothing else
(``spec/http-api.md`` 6.6).
"""

import os
from pathlib import Path
from typing import Final

ROOT: Final = 0


class RootRefused(Exception):
    """The server would run as root; the text says what to do instead."""


def check_user(user: int, becomes_user: int | None, *, allow_root: bool) -> None:
    """Raise :class:`RootRefused` where a server started by ``user`` would run as root.

    ``becomes_user`` is the number that twistd was told to change to (``--uid``); it takes that user's group unless told
    otherwise.
    """
    if user == ROOT and becomes_user in (None, ROOT) and not allow_root:
        raise RootRefused(
            "the server does not run as root, since a fault in it would cost you the whole machine. Start it as "
            "another user; or have it open its ports and then become one: realm-object-server --user NAME, or twistd "
            "--uid NAME before the word realm-object-server; or, in a container perhaps, insist with --allow-root"
        )


def hand_over(path: Path, becomes_user: int | None) -> None:
    """Give the file ``path``, which root has made, to the user that the server becomes: it is opened anew later.

    Raises OSError.
    """
    if os.geteuid() == ROOT and becomes_user is not None:
        os.chown(path, becomes_user, -1)
