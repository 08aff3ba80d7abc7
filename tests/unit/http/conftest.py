"""Fixtures for the tests of this room."""

from pathlib import Path

import pytest
from api_server import Server

from realmserver.auth.keys import Keys, make_keys


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    directory: Path = tmp_path_factory.mktemp("keys")
    return make_keys(directory / "k.pub", directory / "k.key")


@pytest.fixture
def server(keys: Keys) -> Server:
    return Server(keys)
