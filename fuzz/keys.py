"""The key pair of the fuzzers. It is made anew in every process: signatures are no part of an input."""

import tempfile
from pathlib import Path
from typing import Final

from realmserver.auth.keys import Keys, make_keys


def _made() -> Keys:
    with tempfile.TemporaryDirectory() as directory:
        return make_keys(Path(directory) / "key.pub", Path(directory) / "key")


KEYS: Final = _made()
