"""Two states of a Realm, compared: the one that is stored, and the one that its history gives.

Where the history begins with a squash, the numbers of classes, columns and nodes are others than those of the history
that it replaces. So a state is compared by names and content: classes and columns, then object by object, in the order
of their keys. Memory does not grow with the Realm.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, zip_longest
from typing import Final

from attrs import evolve

from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import Changeset
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.schema import Schema, Table, decode_table
from realmserver.realms.shape_facts import ShapeFacts
from realmserver.realms.shape_records import objects_prefix as shape_objects_prefix
from realmserver.realms.squash import ObjectWriter
from realmserver.realms.stored import all_under, read_meta, read_schema
from realmserver.realms.stored_records import objects_prefix
from realmserver.store.interface import ObjectTable
from realmserver.store.lmdb_environment import Reading
from realmserver.store.lmdb_store import OBJECTS, SCHEMA, SHAPE

Difference = tuple[str, bytes | str, str]
"""Table, key, and what differs."""

TOO_MANY: Final = "it is stored, but does not follow from the log"
MISSING: Final = "it follows from the log, but is not stored"
OTHER: Final = "it is stored otherwise than follows from the log"

_AT_ONCE: Final = 1000
"""Instructions of one object that are compared at a time."""

Rows = Iterator[tuple[bytes, bytes]]


class Objects:
    """The :class:`~realmserver.store.interface.ObjectTable` of an environment."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def object(self, key: bytes) -> bytes | None:
        return self._reading.get(OBJECTS, key)

    def objects(self, prefix: bytes, *, after: bytes = b"", limit: int) -> list[tuple[bytes, bytes]]:
        return self._reading.items(OBJECTS, prefix, after=after, limit=limit)


class Shapes:
    """The :class:`~realmserver.realms.shape_facts.ShapeRecords` of an environment."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def shape(self, key: bytes) -> bytes | None:
        return self._reading.get(SHAPE, key)

    def shapes(self, prefix: bytes) -> Rows:
        after = b""
        while True:
            found = self._reading.items(SHAPE, prefix, after=after, limit=_AT_ONCE)
            yield from found
            if len(found) < _AT_ONCE:
                return
            after = found[-1][0]

    def schema(self) -> Schema:
        """The schema of the shape. Raises BrokenRecord."""
        rows = ((key.decode("utf-8", "surrogateescape"), row) for key, row in self._reading.items(SCHEMA))
        return Schema({name: decode_table(name, row) for name, row in rows})


def compare(
    table: str,
    stored: Rows,
    replayed: Rows,
    differs: Callable[[bytes, bytes], str | None],
    show: Callable[[bytes], bytes | str] = bytes,
) -> Iterator[Difference]:
    """Walk through both, which are in the order of their keys. ``differs`` says what differs between two records of one
    key, if anything; ``show`` makes of a key what is told."""
    left, right = next(stored, None), next(replayed, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left[0] < right[0]):
            assert left is not None
            yield table, show(left[0]), TOO_MANY
            left = next(stored, None)
        elif left is None or right[0] < left[0]:
            yield table, show(right[0]), MISSING
            right = next(replayed, None)
        else:
            what = differs(left[1], right[1])
            if what is not None:
                yield table, show(left[0]), what
            left, right = next(stored, None), next(replayed, None)


def same_bytes(stored: bytes, replayed: bytes) -> str | None:
    """Where both came the same way, they are the same."""
    return None if stored == replayed else OTHER


def value_differences(stored: ObjectTable, replayed: ObjectTable) -> Iterator[Difference]:
    """Where the stored values are others. Raises BrokenRecord where nothing can be compared."""
    ours, theirs = (_sorted_schema(table) for table in (stored, replayed))
    yield from _schema_differences(OBJECTS, ours, theirs)
    one, other = ObjectWriter(stored, ours), ObjectWriter(replayed, theirs)
    for left, right in _classes(ours, theirs):
        yield from compare(
            OBJECTS,
            _rows(all_under(stored, objects_prefix(left.id)), objects_prefix(left.id)),
            _rows(all_under(replayed, objects_prefix(right.id)), objects_prefix(right.id)),
            _difference(partial(_pieces, one, left), partial(_pieces, other, right)),
            partial(_shown, left.name),
        )
        said, found = (read_meta(each).counts.get(table.id, 0) for each, table in ((stored, left), (replayed, right)))
        if said != found:
            yield OBJECTS, left.name, f"it is said to have {said} objects, and has {found}"


def shape_differences(stored: Shapes, replayed: Shapes) -> Iterator[Difference]:
    """Where the stored shape is another. Raises BrokenRecord where nothing can be compared."""
    ours, theirs = stored.schema(), replayed.schema()
    yield from _schema_differences(SCHEMA, ours, theirs)
    one, other = ShapeFacts(stored, ours), ShapeFacts(replayed, theirs)
    for left, right in _classes(ours, theirs):
        yield from compare(
            SHAPE,
            _rows(stored.shapes(shape_objects_prefix(left.id)), shape_objects_prefix(left.id)),
            _rows(replayed.shapes(shape_objects_prefix(right.id)), shape_objects_prefix(right.id)),
            _difference(partial(one.of, left), partial(other.of, right)),
            partial(_shown, left.name),
        )


def _sorted_schema(table: ObjectTable) -> Schema:
    """With the columns in the order of their names, so that objects are told the same way on both sides."""
    schema = read_schema(table, read_meta(table).next_table)
    return Schema(
        {name: evolve(each, columns=dict(sorted(each.columns.items()))) for name, each in schema.tables.items()}
    )


def _schema_differences(table: str, ours: Schema, theirs: Schema) -> Iterator[Difference]:
    for name in sorted({*ours.tables, *theirs.tables}):
        left, right = ours.tables.get(name), theirs.tables.get(name)
        if right is None:
            yield table, name, TOO_MANY
        elif left is None:
            yield table, name, MISSING
        elif _described(left) != _described(right) or left.mixed_target < right.mixed_target:
            # What a link has made impossible stays so, although a squash does not show it.
            yield table, name, OTHER


def _described(table: Table) -> tuple[object, ...]:
    columns = sorted(
        (each.name, each.type, each.nullable, each.collection, each.target, each.embedded, each.primary)
        for each in table.columns.values()
    )
    return table.kind, columns


def _classes(ours: Schema, theirs: Schema) -> Iterator[tuple[Table, Table]]:
    """The classes, on both sides, that can have objects of their own."""
    for name, table in sorted(ours.tables.items()):
        if not table.embedded and name in theirs.tables:
            yield table, theirs.tables[name]


def _rows(found: Rows, prefix: bytes) -> Rows:
    """``found`` with what is left of the keys behind ``prefix``: the same for one object in all histories."""
    return ((key[len(prefix) :], data) for key, data in found)


def _shown(name: str, key: bytes) -> str:
    return f"{name} {key.hex()}"


def _pieces(writer: ObjectWriter, table: Table, data: bytes) -> Iterator[bytes]:
    """All that makes an object, as bytes that can be compared."""
    instructions = writer.instructions(table, data)
    while some := list(islice(instructions, _AT_ONCE)):
        yield encode(Changeset(some))


def _difference(
    ours: Callable[[bytes], Iterator[object]], theirs: Callable[[bytes], Iterator[object]]
) -> Callable[[bytes, bytes], str | None]:
    """Says what differs between two records, by what both sides tell of them."""

    def differs(stored: bytes, replayed: bytes) -> str | None:
        try:
            is_same = all(one == other for one, other in zip_longest(ours(stored), theirs(replayed)))
        except BrokenRecord as error:
            return str(error)
        return None if is_same else OTHER

    return differs
