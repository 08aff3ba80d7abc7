"""Applies plain changesets (:mod:`realmserver.merge.compact`) as a whole: nearly all of nearly all uploads.

The rules are those of ``checks`` and ``apply``. They ask for nothing but the schema and which objects exist, where all
that a changeset does is to create objects and to overwrite properties with simple values. So each *kind* of key and of
write is judged once, for as long as the schema stays as it is, and of the content only the objects are looked up.
"""

from typing import Final

from realmserver.changeset.instructions import TYPE_LINK, BadChangeset, CreateObject, Key, Payload, Update
from realmserver.realms.checks import check_key, check_value, table_of
from realmserver.realms.core import Objects, Writes
from realmserver.realms.places import Model
from realmserver.realms.schema import Schema, Table

MAX_KINDS: Final = 10_000
"""Kinds of keys and writes that are remembered as good, all of them short since they name classes and columns that
exist: a megabyte or two. A schema has as many as it has columns, and a few more for nulls."""

_Kind = tuple[str, int] | tuple[str, str, int, str, int]


class PlainApplier:
    """Applies plain changesets to ``model``."""

    __slots__ = ("_good", "_judged", "_model")

    def __init__(self, model: Model) -> None:
        self._model = model
        self._judged = model.schema.tables  # by which the kinds were found good
        self._good: set[_Kind] = set()

    def apply(self, objects: Objects, writes: Writes) -> bool:
        """Apply a plain changeset. False, and nothing is changed, where it is bad or its instructions matter one by
        one: :class:`~realmserver.realms.apply.Applier` does it then, and says what is wrong."""
        schema = self._model.schema
        if schema.tables is not self._judged or len(self._good) > MAX_KINDS:
            self._judged = schema.tables
            self._good.clear()
        good = self._good
        for write in writes:
            if write not in good:
                if not _is_good_write(schema, *write):
                    return False
                good.add(write)
        created: list[tuple[Table, Key]] = []
        for name, key, is_created in objects:
            kind = (name, key[0])
            if kind not in good:
                if not _is_good_key(schema, name, key):
                    return False
                good.add(kind)
            if is_created:
                created.append((schema.tables[name], key))
            elif self._model.find(schema.tables[name], key) is None:
                return False
        for table, key in created:
            self._model.create(table, key)
        return True


def _is_good_key(schema: Schema, name: str, key: Key) -> bool:
    new = CreateObject(name, key)
    try:
        check_key(new, table_of(new, schema), key)
    except BadChangeset:
        return False
    return True


def _is_good_write(schema: Schema, name: str, field: str, kind: int, target: str, key_type: int) -> bool:
    """Whether a value of this kind may be written there into any object, without a look at what was there before."""
    table = schema.tables.get(name)
    column = table.columns.get(field) if table is not None else None
    if table is None or column is None or not column.plain:
        return False
    # What is checked of a value is its type, and of a link its class and its key's type.
    payload = Payload(kind, (target, (key_type, None)) if kind == TYPE_LINK else None)
    try:
        check_value(Update(name, (key_type, None), field, [], payload), schema, table, column, payload)
    except BadChangeset:
        return False
    return True
