"""All that an instruction says, as a value that can be compared."""

from typing import Final

from realmserver.changeset.instructions import Changeset, Instruction, Payload

_NOT_SAID: Final = frozenset({"discarded", "op"})


def facts(instruction: Instruction) -> tuple[object, ...]:
    """The fields of ``instruction``, without where its strings stand."""
    names = sorted({name for kind in type(instruction).__mro__ for name in getattr(kind, "__slots__", ())} - _NOT_SAID)
    return (type(instruction).__name__, *(_fact(getattr(instruction, name)) for name in names))


def live(changeset: Changeset) -> list[tuple[object, ...]]:
    """What is not discarded of ``changeset``."""
    return [facts(instruction) for instruction in changeset.instructions if not instruction.discarded]


def _fact(value: object) -> object:
    if isinstance(value, Payload):
        return (value.type, value.value)
    return tuple(value) if isinstance(value, list) else value
