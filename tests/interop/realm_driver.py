"""Builds the driver of the real Realm SDK core once, and knows the command that starts it.

Maven fetches the SDK's own jars for a version, javac compiles ``driver/src`` against them, and the native library is
taken out of its jar: the SDK would unpack it at first use into the home directory, where two processes that do so at
once break each other. Everything lands in ``.build/realm-jvm`` of the repository (or ``$REALM_JVM_OUT``), never in the
source tree. A lock keeps two builders apart; a stamp with the digest of the sources says that nothing is to be done.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

VERSIONS: Final = ("1.8.0", "1.11.0", "2.3.0")
"""Realm Kotlin releases: core 13.10.0, 13.19.0 and 14.12.0; sync protocols up to 8, 10 and 14."""

SOURCES: Final = Path(__file__).resolve().parent / "driver"
JAVA_AT_LEAST: Final = 17
BUILD_SECONDS: Final = 600
"""A first build downloads about 30 MB for each version."""

_COPY_DEPENDENCIES: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"


class DriverBuildError(Exception):
    """Maven or javac failed; the message holds their output."""


def output_directory() -> Path:
    """Where the built driver lives."""
    configured = os.environ.get("REALM_JVM_OUT")
    return Path(configured).resolve() if configured else SOURCES.parents[2] / ".build" / "realm-jvm"


def why_unavailable() -> str | None:
    """What this machine lacks to run the SDK, or None."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return "the SDK's JVM library is used on Linux x86-64 only"
    for tool in ("java", "javac", "mvn"):
        if shutil.which(tool) is None:
            return f"{tool} is missing: the interop tests need Java {JAVA_AT_LEAST} and Maven"
    banner = subprocess.run(["javac", "-version"], capture_output=True, text=True, timeout=60, check=False)
    digits = (banner.stdout + banner.stderr).removeprefix("javac ").split(".", 1)[0].strip()
    if not digits.isdigit() or int(digits) < JAVA_AT_LEAST:
        return f"javac is too old ({digits or 'unknown version'}): the interop tests need Java {JAVA_AT_LEAST}"
    return None


def client_command(version: str) -> list[str]:
    """The command that starts a client of this SDK version, without its options.

    The driver must have been built (``build``). The flags keep a short-lived JVM small and quick.
    """
    out = output_directory()
    return [
        "java",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Xmx512m",
        f"-Djava.library.path={out / 'lib' / version}",
        "-cp",
        f"{out / 'classes' / version}:{out / 'lib' / version}/*",
        "RealmClient",
    ]


def build() -> None:
    """Builds the driver for all versions unless that is done already.

    Raises:
        DriverBuildError: Maven or javac failed.
    """
    out = output_directory()
    out.mkdir(parents=True, exist_ok=True)
    with _locked(out / "lock"):
        for version in VERSIONS:
            lib, classes = out / "lib" / version, out / "classes" / version
            with _made(lib, _digest([SOURCES / "pom.xml"])) as stale:
                if stale:
                    _run("mvn", "-q", "-B", "-f", SOURCES / "pom.xml", f"-Drealm.version={version}", _COPY_DEPENDENCIES,
                         f"-DoutputDirectory={lib}", "-DincludeScope=runtime")  # fmt: skip
                    with zipfile.ZipFile(lib / f"cinterop-jvm-{version}.jar") as jar:
                        (lib / "librealmc.so").write_bytes(jar.read("jni/linux/librealmc.so"))
            sources = sorted((SOURCES / "src").glob("*.java"))
            with _made(classes, _digest([SOURCES / "pom.xml", *sources])) as stale:
                if stale:
                    _run("javac", "-nowarn", "-cp", f"{lib}/*", "-d", classes, *sources)


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _run(*command: str | Path) -> None:
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise DriverBuildError(f"{words[0]} took more than {BUILD_SECONDS} s") from error
    if done.returncode != 0:
        raise DriverBuildError(f"{' '.join(words)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")


@contextmanager
def _made(directory: Path, digest: str) -> Iterator[bool]:
    """Gives True, and an empty directory, where it was not made from these sources; marks it when that was done."""
    stamp = directory / ".made-from"
    stale = not stamp.exists() or stamp.read_text() != digest
    if stale:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    yield stale
    if stale:
        stamp.write_text(digest)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # A user who may not write here can still run what another one built.
    writable = os.access(path if path.exists() else path.parent, os.W_OK)
    with path.open("a" if writable else "r") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
