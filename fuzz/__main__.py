"""The command ``python -m fuzz``."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fuzz import guided
from fuzz.pure import run_pure
from fuzz.recorder import FOUND, Recorder
from fuzz.runner import corpus_of, run_plain
from fuzz.targets import NAMES, load


def main(arguments: Sequence[str]) -> int:
    """Runs the command; the exit code is 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Look for inputs that break the server.")
    parser.add_argument("target", nargs="?", choices=NAMES, metavar="TARGET", help="see --list")
    parser.add_argument("--list", action="store_true", help="name the targets and what they check")
    parser.add_argument("--seconds", type=float, default=60, help="how long to look (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the random choices (default %(default)s)")
    parser.add_argument("--plain", action="store_true", help="random mutation, although atheris is installed")
    parser.add_argument("--repeat", nargs="+", type=Path, metavar="FILE", help="only these inputs")
    options = parser.parse_args(arguments)
    if options.list:
        for name in NAMES:
            print(f"{name:18}{load(name).about}")
        return 0
    if options.target is None:
        parser.error("which target? --list names them")
    if options.repeat:
        return _repeat(options.target, options.repeat)
    if guided.is_installed() and not options.plain:
        return _run_guided(options.target, options.seconds, options.seed)
    recorder = Recorder(options.target, load(options.target))
    outcome = run_plain(recorder, corpus_of(options.target), seconds=options.seconds, seed=options.seed)
    print(f"{options.target}: {outcome}, {len(recorder.findings)} findings")
    return 1 if recorder.findings else 0


def _repeat(name: str, files: Sequence[Path]) -> int:
    """Give the target these inputs and let what happens out, as it is."""
    target = load(name)
    for file in files:
        target.check(file.read_bytes())
        print(f"{file}: nothing happens")
    return 0


def _run_guided(name: str, seconds: float, seed: int) -> int:
    before = set(FOUND.glob(f"{name}-*"))
    command = [sys.executable, "-m", "fuzz.guided", name, str(int(seconds)), str(seed)]
    code = subprocess.run(command, check=False).returncode
    found = sorted(set(FOUND.glob(f"{name}-*")) - before)
    for file in found:
        print(f"found: python -m fuzz {name} --repeat {file}")
    print(f"{name}: {len(found)} new findings")
    return 1 if found or code else 0


if __name__ == "__main__":
    sys.exit(run_pure("fuzz", main, sys.argv[1:]))
