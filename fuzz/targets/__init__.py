"""The targets. Each is a module with a ``TARGET``, imported only when asked for: atheris has to be there first."""

import importlib
from typing import Final

from fuzz.target import Target

NAMES: Final = (
    "apply",
    "backend_answers",
    "changesets",
    "client_messages",
    "configuration",
    "http",
    "merge",
    "names",
    "server_messages",
    "tokens",
)


def load(name: str) -> Target:
    """The target ``name``, one of ``NAMES``."""
    found = importlib.import_module(f"fuzz.targets.{name}").TARGET
    assert isinstance(found, Target)
    return found
