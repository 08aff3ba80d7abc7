"""``python -m bench [WORKLOAD ...]``: measure this server, alone or against another, and show how fast it is.

Servers and load generators are processes of their own on this machine. Each case runs several times, each time on a
server that was just started with an empty directory; two targets take turns. The manual's page Performance says what
the workloads do and how to read the table.
"""

import argparse
import json
import re
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from bench.cases import Case, Size
from bench.machine import in_words, machine
from bench.measure import SETTLE, Result, run_all
from bench.processes import merged
from bench.table import table
from bench.targets import HERE, Checkout, Target, parse_target
from bench.workloads import WORKLOADS
from realmserver._build import complaint


def main(arguments: Sequence[str] | None = None) -> None:
    if foreign := complaint():
        raise SystemExit(f"error: {foreign}")
    options = parse(arguments)
    cases = chosen(options.workloads, options.size, options.only)
    if options.list:
        for case in cases:
            print(f"{case.workload}: {case.name}")
        return
    if options.chart:
        from bench.chart import check_library

        check_library(options.chart)
    raise_file_limit()
    targets = named_targets(options)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as name:
        directory = Path(name).resolve()
        facts = machine(directory)
        descriptions = {target.name: target.facts() for target in targets}
        print(in_words(facts))
        for target, description in descriptions.items():
            print(f"{target}: " + ", ".join(f"{name} {value}" for name, value in description.items() if value != {}))
        results: list[Result] = []
        for result in with_progress(cases, targets, options, directory):
            results.append(result)
            if options.json:
                content = {
                    "machine": facts,
                    "targets": descriptions,
                    "size": options.size,
                    "generators": options.generators,
                    "results": [each.content() for each in results],
                }
                options.json.write_text(json.dumps(content, indent=1) + "\n")
    if options.chart:
        from bench.chart import draw

        draw(results, options.chart, in_words(facts))
    if any(result.failures for result in results):
        raise SystemExit("some cases have failed")


def with_progress(
    cases: Sequence[Case], targets: Sequence[Target], options: argparse.Namespace, directory: Path
) -> Iterator[Result]:
    """Run all cases and print a table of each workload, or each of its lines, when it is complete."""
    settle = 0.0 if options.size == "tiny" else SETTLE
    with tqdm(total=len(cases) * options.runs * len(targets), leave=False, disable=None, unit="run") as progress:

        def began(text: str) -> None:
            progress.set_description(text)
            progress.update()

        for title, group in groupby(cases, title_of):
            results: list[Result] = []
            for result in run_all(list(group), targets, options.runs, directory, options.generators, settle, began):
                results.append(result)
                yield result
            tqdm.write(f"\n{title}\n{table(results)}", file=sys.stdout)
            for result in results:
                for target, failure in result.failures.items():
                    tqdm.write(f"\n{result.case.name}, {target}: {failure}", file=sys.stdout)
            sys.stdout.flush()


def title_of(case: Case) -> str:
    """Of the table that the case belongs to: a workload has one, or one for each of its lines."""
    return f"{case.workload}: {case.line}" if case.line else case.workload


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("workloads", nargs="*", metavar="WORKLOAD", help=f"what to measure, of {', '.join(WORKLOADS)}; all by default")
    add("--runs", type=int, default=3, help="how often to run each case (3)")
    add("--quick", dest="size", action="store_const", const="quick", help="less work, for a first look")
    add("--tiny", dest="size", action="store_const", const="tiny", help="next to no work: only shows that all works")
    add("--only", default="", metavar="PATTERN", help="only the cases in whose names this regular expression is found")
    add("--list", action="store_true", help="name the cases and end")
    add("--against", metavar="TARGET", help="a checkout's directory, ws://host:port/realm-sync, or a target file")
    add("--against-pid", type=int, metavar="PID", help="the process of a server given by its URL, for its figures")
    add("--against-key", type=Path, metavar="FILE", help="the private key that signs its tokens")
    add("--setting", action="append", default=[], metavar="KEY=VALUE", help="of the configuration, such as workers=2")
    add("--against-setting", action="append", default=[], metavar="KEY=VALUE", help="the same for --against")
    add("--alone", action="store_true", help="measure only what --against names")
    add("--generators", type=int, default=1, metavar="N", help="processes that make the load, where it can be divided")
    add("--directory", type=Path, metavar="DIRECTORY", help="where servers keep their data meanwhile")
    add("--json", type=Path, metavar="FILE", help="write everything")
    add("--chart", type=Path, metavar="FILE", help="draw a picture, .svg or .png (needs matplotlib)")
    parser.set_defaults(size="full")
    options = parser.parse_args(arguments)
    unknown = set(options.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"there is no workload {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    if options.runs < 1 or options.generators < 1:
        parser.error("at least one run, and one process that makes the load")
    if options.alone and not options.against:
        parser.error("--alone needs --against")
    return options


def chosen(workloads: Sequence[str], size: Size, only: str) -> list[Case]:
    """The cases to run; without ``workloads``, those of all."""
    names = [name for name in WORKLOADS if not workloads or name in workloads]
    return [case for name in names for case in WORKLOADS[name](size) if re.search(only, case.name)]


def named_targets(options: argparse.Namespace) -> list[Target]:
    """This checkout, and what ``--against`` names, under names that differ."""
    targets: list[Target] = []
    if not options.alone:
        targets.append(Checkout(HERE.name, HERE, settings(options.setting)))
    if options.against:
        targets.append(
            parse_target(
                options.against,
                taken=[target.name for target in targets],
                settings=settings(options.against_setting),
                pid=options.against_pid,
                key=options.against_key,
            )
        )
    return targets


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """``limits.connections=5`` and so on as sections of a configuration file; values are YAML."""
    sections: dict[str, Any] = {}
    for pair in pairs:
        key, found, value = pair.partition("=")
        if not found or not key:
            raise SystemExit(f"{pair} is not of the form KEY=VALUE")
        content: Any = yaml.safe_load(value)
        for name in reversed(key.split(".")):
            content = {name: content}
        sections = merged(sections, content)
    return sections


def raise_file_limit() -> None:
    """As many sockets as the system lets us have, for this process and those that it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()
