"""How long a start takes: from the process to the first answer, with 0 and with many existing Realms.

``python -m bench.start [--realms 1000] [--runs 7]``
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from tqdm import tqdm

from bench.processes import running
from realmserver.store.lmdb_store import LmdbStore


def make_realms(root: Path, count: int) -> None:
    """A data directory with ``count`` empty Realms."""
    store = LmdbStore(root, random_bytes=os.urandom)
    for number in tqdm(range(count), desc="making Realms", leave=False, disable=None):
        store.open(f"/bench/realm-{number}", create=True).close()
    store.close()


def start_times(directory: Path, realms: int, runs: int) -> list[float]:
    """Seconds of ``runs`` starts; the first start makes the keys and does not count."""
    (directory / "data").mkdir(parents=True, mode=0o700)
    make_realms(directory / "data", realms)
    times: list[float] = []
    for _ in tqdm(range(runs + 1), desc=f"{realms} Realms", leave=False, disable=None):
        with running(directory) as server:
            times.append(server.started_in)
    return times[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--realms", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    print(f"{'Realms':>8} {'median s':>9} {'min s':>7} {'max s':>7}")
    with tempfile.TemporaryDirectory() as directory:
        for realms in (0, options.realms):
            times = start_times(Path(directory) / str(realms), realms, options.runs)
            print(f"{realms:8} {statistics.median(times):9.3f} {min(times):7.3f} {max(times):7.3f}")


if __name__ == "__main__":
    main()
