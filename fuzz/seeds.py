"""Writes the corpus anew: ``python -m fuzz.seeds [TARGET ...]``, from the golden vectors and from examples.

What random runs have reached besides is in ``fuzz/corpus``, too, and stays: a seed is added, none is taken away.
"""

import hashlib
import sys
from collections.abc import Sequence

from fuzz.runner import CORPUS
from fuzz.targets import NAMES, load


def main(names: Sequence[str]) -> int:
    for name in names or NAMES:
        directory = CORPUS / name
        directory.mkdir(parents=True, exist_ok=True)
        target = load(name)
        for data in target.seeds():
            assert len(data) <= target.longest, f"{name}: a seed of {len(data)} bytes"
            (directory / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        print(f"{name}: {len(list(directory.iterdir()))} inputs")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
