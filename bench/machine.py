"""The machine that figures come from."""

import os
import platform
import time
from pathlib import Path

import psutil


def machine(data: Path) -> dict[str, object]:
    """What a reader needs to judge figures; ``data`` is where servers keep theirs."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_mib": psutil.virtual_memory().total >> 20,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "file_system": _file_system(data),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def in_words(facts: dict[str, object]) -> str:
    """One line."""
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['memory_mib']} MiB, Linux {facts['kernel']}, "
        f"Python {facts['python']}, data on {facts['file_system']}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(path: Path) -> str:
    """The type of the file system that ``path`` is on."""
    found = ("", "")
    for part in psutil.disk_partitions(all=True):
        if path.resolve().is_relative_to(part.mountpoint) and len(part.mountpoint) >= len(found[0]):
            found = (part.mountpoint, part.fstype)
    return found[1]
