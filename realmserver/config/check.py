"""What must hold between the keys of a configuration, and on this machine, before the server starts.

A value's own type and range are the business of ``model``. Whether a port is free is known only by listening, and what
is in the key files only by loading them; both happen at the start (``tap``), with errors of the same form.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from realmserver.config.model import Configuration

Problem = tuple[str, str]
"""A key, and what is wrong with it and what to do."""

LOOPBACK = ("127.0.0.1", "::1")


def problems(configuration: Configuration) -> Iterator[Problem]:
    """Everything that forbids a start."""
    yield from _port_problems(configuration)
    ttls = configuration.auth.ttls
    if ttls.refresh_token < ttls.access_token:
        yield (
            "auth.ttls.refresh_token",
            f"{ttls.refresh_token} s is less than auth.ttls.access_token ({ttls.access_token} s); make it longer",
        )
    yield from _directory_problems("storage.root_path", configuration.storage.root_path)
    yield from _key_problems(configuration)
    if configuration.logging.path is not None:
        yield from _log_problems(configuration.logging.path)


def notices(configuration: Configuration) -> Iterator[str]:
    """What holds, but may surprise."""
    http, network = configuration.proxy.http, configuration.network
    outside = [network.sync.listen_address, network.http.listen_address]
    if http.enable:
        outside.append(http.listen_address)
    if all(address in LOOPBACK for address in outside):
        yield "The server listens on this machine's own addresses only: other devices cannot reach it."


def listeners(configuration: Configuration) -> Iterator[tuple[str, str, int]]:
    """Section, address and port of every enabled listener."""
    http, network = configuration.proxy.http, configuration.network
    if http.enable:
        yield "proxy.http", http.listen_address, http.listen_port
    yield "network.sync", network.sync.listen_address, network.sync.listen_port
    yield "network.http", network.http.listen_address, network.http.listen_port


def _port_problems(configuration: Configuration) -> Iterator[Problem]:
    taken: dict[int, str] = {}
    for section, _, port in listeners(configuration):
        if port in taken:
            yield f"{section}.listen_port", f"{port} is also {taken[port]}.listen_port; give each its own port"
        taken.setdefault(port, section)


def _directory_problems(key: str, path: Path) -> Iterator[Problem]:
    """``path`` is a usable directory, or can be made one."""
    try:
        if not path.exists():
            yield from _making_problems(key, path)
        elif not path.is_dir():
            yield key, f"{path} is not a directory; name the directory that holds (or is to hold) the data"
        elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            yield key, f"{_user()} may not read and write in {path}; give it the directory (chown) or name another"
    except OSError as error:
        yield key, _unreachable(path, error)


def _making_problems(key: str, path: Path) -> Iterator[Problem]:
    """``path``, which does not exist, can be made with the parents it lacks."""
    existing = path
    while not existing.exists():
        if existing.is_symlink():
            yield key, f"{existing} is a link to {existing.readlink()}, which is not there; make that, or name another"
            return
        existing = existing.parent
    if not existing.is_dir():
        yield key, f"{path} cannot be made, because {existing} is not a directory"
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield key, f"{path} does not exist and {_user()} may not make it in {existing}"


def _key_problems(configuration: Configuration) -> Iterator[Problem]:
    """Both key files are there and readable, or neither is and they can be made."""
    auth = configuration.auth
    pair = {"auth.public_key_path": auth.public_key_path, "auth.private_key_path": auth.private_key_path}
    if auth.public_key_path == auth.private_key_path:
        yield "auth.private_key_path", f"{auth.private_key_path} is also auth.public_key_path; they are two files"
        return
    try:
        missing = [key for key, path in pair.items() if not path.exists()]
    except OSError as error:
        yield "auth.private_key_path", _unreachable(auth.private_key_path, error)
        return
    for key, path in pair.items():
        if key in missing:
            if len(missing) == 1:
                yield key, f"{path} is missing, but the other key of the pair is there; restore it, or name both anew"
            else:
                yield from _directory_problems(key, path.parent)
        elif not path.is_file():
            yield key, f"{path} is not a file"
        elif not os.access(path, os.R_OK):
            yield key, f"{_user()} may not read {path}"


def _log_problems(path: Path) -> Iterator[Problem]:
    key = "logging.path"
    try:
        exists, has_directory = path.exists(), path.parent.is_dir()
    except OSError as error:
        yield key, _unreachable(path, error)
        return
    if exists:
        if path.is_dir():
            yield key, f"{path} is a directory; name a file"
        elif not os.access(path, os.W_OK):
            yield key, f"{_user()} may not write to {path}"
    elif not has_directory:
        yield key, f"the directory {path.parent} does not exist; make it, or name another file"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        yield key, f"{_user()} may not make a file in {path.parent}"


def _unreachable(path: Path, error: OSError) -> str:
    """For a name that is too long, or a directory on the way that is closed to the server."""
    return f"{_user()} cannot get at {path}: {error.strerror}; open the way to it or name another"


def _user() -> str:
    return f"the server's user (number {os.geteuid()})"
