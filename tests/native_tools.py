"""What is compared of a changeset in Python and the same one in machine code (``realmserver._native``)."""

from typing import Any

from realmserver.changeset.encode import encode, reset_offsets
from realmserver.changeset.instructions import (
    TYPE_LINK,
    TYPE_NULL,
    Changeset,
    CreateObject,
    EraseColumn,
    Key,
    Payload,
    Update,
)
from realmserver.merge.summaries import summarize

Mention = tuple[str, Key, bool]
Write = tuple[str, str, int, str, int]


def said_by_python(changeset: Changeset) -> tuple[object, ...]:
    summary = summarize(changeset)
    live = [each for each in changeset.instructions if not each.discarded]
    return (
        encode(changeset),
        summary.references,
        summary.destructive,
        [(each.table, each.field) for each in live if isinstance(each, EraseColumn)],
        plain(changeset),
        changeset.dirty,
        len(changeset.instructions),
        changeset.timestamp,
        changeset.origin,
    )


def said_by_native(changeset: Any) -> tuple[object, ...]:
    return (
        changeset.canonical(),
        changeset.references(),
        changeset.destructive(),
        changeset.erased_columns(),
        changeset.plain(),
        changeset.dirty,
        changeset.size,
        changeset.timestamp,
        changeset.origin,
    )


def plain(changeset: Changeset) -> tuple[tuple[Mention, ...], tuple[Write, ...]] | None:
    """What ``CompactChangeset.plain`` should give."""
    objects: dict[tuple[str, Key], bool] = {}
    writes: dict[Write, None] = {}
    for each in changeset.instructions:
        if each.discarded:
            continue
        if isinstance(each, CreateObject):
            if not objects.setdefault((each.table, each.key), True):
                return None
        elif isinstance(each, Update) and not each.path and each.payload.type >= TYPE_NULL:
            objects.setdefault((each.table, each.key), False)
            writes[(each.table, each.field, each.payload.type, *_target(each.payload))] = None
        else:
            return None
    return tuple((*place, created) for place, created in objects.items()), tuple(writes)


def _target(payload: Payload) -> tuple[str, int]:
    if payload.type != TYPE_LINK:
        return "", 0
    assert isinstance(payload.value, tuple)
    target, key = payload.value
    return target, key[0]


def settle(changeset: Changeset) -> None:
    """What ``CompactChangeset.settle`` should do: as if it had been parsed from its canonical bytes."""
    data = encode(changeset)
    changeset.instructions = [each for each in changeset.instructions if not each.discarded]
    if not data:
        changeset.strings, changeset.numbers = [], {}
    reset_offsets(changeset)
    changeset.dirty = False
