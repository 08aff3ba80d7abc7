"""A fuzz run guided by coverage: atheris (libFuzzer) chooses the inputs. A process of its own, since it never returns.

``python -m fuzz.guided TARGET SECONDS SEED`` is what ``python -m fuzz TARGET`` starts where atheris is installed. The
inputs that reached something new are kept in ``fuzz/work/TARGET``, beside the corpus, and the next run goes on from
them.
"""

import importlib
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any, Final

from fuzz.recorder import FOUND, Recorder
from fuzz.runner import CORPUS
from fuzz.targets import load

WORK: Final = Path(__file__).parent / "work"
"""What earlier runs have reached; not under version control."""

HANGS: Final = 60
"""Seconds after which libFuzzer ends a run over one input."""

MEMORY: Final = 2048
"""MiB at which it does so."""


def is_installed() -> bool:
    """Whether atheris can be imported."""
    return importlib.util.find_spec("atheris") is not None


def main(arguments: list[str]) -> None:
    name, seconds, seed = arguments
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["realmserver"]):
        target = load(name)
    work = WORK / name
    for directory in (work, FOUND):
        directory.mkdir(parents=True, exist_ok=True)
    words = work.parent / f"{name}.dict"
    words.write_text("".join(f'"{_escaped(token)}"\n' for token in target.tokens))
    recorder = Recorder(name, target)
    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-max_len={target.longest}",
        f"-timeout={HANGS}",
        f"-rss_limit_mb={MEMORY}",
        f"-artifact_prefix={FOUND}/{name}-",
        f"-dict={words}",
        "-print_final_stats=1",
        "-verbosity=1",
        "-reload=0",
        "-len_control=0",
    ]
    start = time.monotonic()
    atheris.Setup([sys.argv[0], *options, str(work), str(CORPUS / name)], recorder.run)
    print(f"{name}: guided by atheris, {time.monotonic() - start:.1f} s to set up", flush=True)
    atheris.Fuzz()


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token)


if __name__ == "__main__":
    main(sys.argv[1:])
