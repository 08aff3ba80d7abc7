"""What a server takes of the machine: all of its processes together, children too, read from the system."""

from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
from attrs import frozen

MEBIBYTE: Final = 1 << 20


@frozen
class Usage:
    """``cpu``: seconds, user and system, since the start. ``peak``, ``resident``: MiB, the sums over the processes;
    what they share counts for each. ``own``: the part of ``resident`` that is not pages of files, which the system
    takes back when it needs them."""

    cpu: float
    peak: float
    resident: float
    own: float


def usage(pid: int) -> Usage:
    """What the process and its descendants have taken so far."""
    cpu = peak = resident = own = 0.0
    for process in _family(pid):
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            times = process.cpu_times()
            cpu += times.user + times.system + times.children_user + times.children_system
            memory = _memory(process.pid)
            peak += memory["VmHWM"]
            resident += memory["VmRSS"]
            own += memory["RssAnon"]
    return Usage(cpu, peak, resident, own)


def forget_peak(pid: int) -> None:
    """Let the system begin anew to remember the most memory; without the right to, it stays as it is."""
    for process in _family(pid):
        with suppress(OSError):
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _memory(pid: int) -> dict[str, float]:
    """The sizes in /proc, in MiB."""
    sizes = {"VmHWM": 0.0, "VmRSS": 0.0, "RssAnon": 0.0}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in sizes:
            sizes[name] = int(value.split()[0]) * 1024 / MEBIBYTE
    return sizes
