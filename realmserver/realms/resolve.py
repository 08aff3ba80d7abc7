"""Follows the path of an instruction to the place it names (``spec/merge.md`` 8.5, "Path resolution").

A path begins at a property of a top-level object and goes on, depending on the schema, by index into a list, by key
into a dictionary, by name into an embedded object, and in a Mixed place by what that holds now. Nothing is changed
here.
"""

from typing import Final

from realmserver.changeset.instructions import (
    COLLECTION_DICTIONARY,
    COLLECTION_LIST,
    COLLECTION_SINGLE,
    PathInstruction,
)
from realmserver.frozen import frozen
from realmserver.realms.checks import MAX_PATH, bad, check_key, shown, table_of
from realmserver.realms.places import (
    DICTIONARY,
    LIST,
    OBJECT,
    PLAIN,
    DictionaryPlaces,
    Fields,
    ListPlaces,
    Model,
)
from realmserver.realms.schema import Column, Table

_KIND_OF_COLUMN: Final = {COLLECTION_LIST: LIST, COLLECTION_DICTIONARY: DICTIONARY}


@frozen
class Property:
    """A path ended at a property of ``fields``. ``owner`` here and below is the class that has the column."""

    fields: Fields
    owner: Table
    column: Column


@frozen
class Slot:
    """A path ended with an index (perhaps out of range) into ``places``, a list in ``column``."""

    places: ListPlaces
    index: int
    owner: Table
    column: Column


@frozen
class Entry:
    """A path ended with a key (perhaps absent) of ``places``, a dictionary in ``column``."""

    places: DictionaryPlaces
    key: str
    owner: Table
    column: Column


def resolve(model: Model, instruction: PathInstruction) -> Property | Slot | Entry:
    """Follow the path of ``instruction`` to the place it names.

    That the last step exists (an index in range, a key present) is left to the caller. Raises BadChangeset where
    anything before it does not.
    """
    owner = table_of(instruction, model.schema)
    fields = model.find(owner, instruction.key)
    if fields is None:
        check_key(instruction, owner, instruction.key)
        bad(instruction, "no such object")
    name = instruction.field
    path = instruction.path
    if len(path) > MAX_PATH:
        bad(instruction, f"a path of more than {MAX_PATH} elements")
    done = 0
    while True:
        column = owner.columns.get(name)
        if column is None:
            bad(instruction, f"no column {shown(name)} in {shown(owner.name)}")
        if done == len(path):
            return Property(fields, owner, column)
        if column.collection == COLLECTION_SINGLE and column.embedded:
            if fields.kind(column) != OBJECT:
                bad(instruction, f"the path goes through {shown(name)}, which is null")
            fields = fields.object_at(column)
        else:
            end = _enter(instruction, fields, owner, column, done)
            if not isinstance(end, tuple):
                return end
            fields, done = end
        next_name = path[done]
        if not isinstance(next_name, str):
            bad(instruction, "an index where the path names a property of an embedded object")
        owner = model.schema.target(column)
        name = next_name
        done += 1


def _enter(
    instruction: PathInstruction, fields: Fields, owner: Table, column: Column, done: int
) -> Slot | Entry | tuple[Fields, int]:
    """Follow the path from a property that is or holds a list or dictionary; see :func:`_descend`."""
    if column.collection == COLLECTION_SINGLE and column.mixed:
        held = fields.kind(column)
    else:
        held = _KIND_OF_COLUMN.get(column.collection, PLAIN)
    if held == LIST:
        return _descend(instruction, owner, column, fields.list_at(column), None, done)
    if held == DICTIONARY:
        return _descend(instruction, owner, column, None, fields.dictionary_at(column), done)
    return bad(instruction, f"the path goes through {shown(column.name)}, which holds nothing that has parts")


def _descend(
    instruction: PathInstruction,
    owner: Table,
    column: Column,
    slots: ListPlaces | None,
    entries: DictionaryPlaces | None,
    done: int,
) -> Slot | Entry | tuple[Fields, int]:
    """Follow the path from a list (``slots``) or dictionary (``entries``) on, to its end or to an embedded object.

    ``done`` elements of the path are behind us; an embedded object comes with the number that then are.
    """
    path = instruction.path
    nesting = column.mixed or column.embedded
    while True:
        at = path[done]
        done += 1
        if slots is not None:
            if not isinstance(at, int):
                bad(instruction, f"the key {shown(at)} into a list")
            if done == len(path):
                return Slot(slots, at, owner, column)
            if at >= slots.size():
                bad(instruction, f"the path goes through index {at} of a list of {slots.size()}")
            kind = slots.kind(at) if nesting else PLAIN
            if kind == OBJECT:
                return slots.object_at(at), done
            if kind == LIST:
                slots = slots.list_at(at)
            elif kind == DICTIONARY:
                entries = slots.dictionary_at(at)
                slots = None
            else:
                bad(instruction, f"the path goes through index {at}, which holds nothing that has parts")
        else:
            assert entries is not None
            if not isinstance(at, str):
                bad(instruction, f"the index {at} into a dictionary")
            if done == len(path):
                return Entry(entries, at, owner, column)
            kind = entries.kind(at) if nesting else PLAIN
            if kind == OBJECT:
                return entries.object_at(at), done
            if kind == LIST:
                slots = entries.list_at(at)
            elif kind == DICTIONARY:
                entries = entries.dictionary_at(at)
            else:
                bad(instruction, f"the path goes through key {shown(at)}, which holds nothing that has parts")
