"""Key pairs for the tests of this room: made once, because making one takes a good part of a second."""

from pathlib import Path

import pytest

from realmserver.auth.keys import Keys, load_keys, make_keys


@pytest.fixture(scope="session")
def key_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the pairs server.key/server.pub and other.key/other.pub."""
    directory = tmp_path_factory.mktemp("keys")
    for name in ("server", "other"):
        make_keys(directory / f"{name}.pub", directory / f"{name}.key")
    return directory


@pytest.fixture(scope="session")
def keys(key_directory: Path) -> Keys:
    return load_keys(key_directory / "server.pub", key_directory / "server.key")


@pytest.fixture(scope="session")
def other_keys(key_directory: Path) -> Keys:
    return load_keys(key_directory / "other.pub", key_directory / "other.key")
