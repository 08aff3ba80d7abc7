"""What is compared of a changeset in Python and the same one in machine code (``realmserver._native``)."""

from typing import Any


def said(changeset: Any) -> tuple[object, ...]:
    """All that a ``CompactChangeset`` of either kind says of itself."""
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
