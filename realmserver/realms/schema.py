"""The classes and columns of one Realm, as values (``spec/changeset.md`` 5, ``spec/merge.md`` 8.5).

Every table has a number that is never used again in this Realm, and every column one that is never used again in its
table. Records about objects use these numbers, so a class or column that is erased and added again starts empty
without any object being touched. Tables and columns are immutable; a change makes new ones, so keeping an earlier
mapping of tables is keeping the earlier schema.

This module knows nothing of objects, and of instructions only their paths; what may be added or erased is decided in
``apply``.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import evolve, field, frozen

from realmserver.changeset.instructions import (
    COLLECTION_DICTIONARY,
    COLLECTION_LIST,
    COLLECTION_SINGLE,
    TABLE_EMBEDDED,
    TYPE_LINK,
    TYPE_NULL,
    PathInstruction,
)
from realmserver.realms.packing import BrokenRecord, Unpacker, put_text, put_uint

TYPE_MIXED: Final = TYPE_NULL
"""As the type of a column, 0 means Mixed."""

TABLE_FORMAT: Final = 1
_TYPE_OFFSET: Final = 1  # column types begin at -1 (GlobalKey, which no column has) and are packed as unsigned


@frozen(eq=False)
class Column:
    """One property of a class.

    ``nullable`` is what AddColumn said; ``takes_null`` what holds in a client: Mixed and single links always take a
    null, dictionaries of links too, lists and sets of links never. ``embedded``: the target is an embedded class, so
    places of this column hold objects, not links. ``plain``: one value of a simple type or a link, for which nothing
    needs to be known to overwrite it.
    """

    id: int
    name: str
    type: int
    nullable: bool
    collection: int = COLLECTION_SINGLE
    target: str = ""
    embedded: bool = False
    primary: bool = False
    mixed: bool = field(init=False)
    takes_null: bool = field(init=False)
    plain: bool = field(init=False)

    @mixed.default
    def _mixed(self) -> bool:
        return self.type == TYPE_MIXED

    @takes_null.default
    def _takes_null(self) -> bool:
        if self.type == TYPE_LINK:
            return self.collection in (COLLECTION_SINGLE, COLLECTION_DICTIONARY)
        return self.nullable or self.mixed

    @plain.default
    def _plain(self) -> bool:
        return (
            self.collection == COLLECTION_SINGLE and self.type != TYPE_MIXED and not self.embedded and not self.primary
        )

    @property
    def may_drop(self) -> bool:
        """Whether an instruction that touches a place of this column may be dropped after a merge (``spec/merge.md``
        8.6)."""
        return self.mixed or (self.embedded and self.collection == COLLECTION_LIST)


@frozen(eq=False)
class Table:
    """One class.

    ``kind`` is one of TABLE_TOP_LEVEL, TABLE_EMBEDDED, TABLE_ASYMMETRIC. ``columns`` are by name, the primary key's
    among them. ``next_column`` is the number of the next column. ``mixed_target``: some Mixed place of another class
    has held a link to this one; a client then keeps a hidden column here for good and can never erase the class.
    ``targets`` are the classes that its columns link to. ``may_drop``: some instruction on its objects may be dropped
    rather than refused after a merge (``apply.may_drop``).
    """

    id: int
    name: str
    kind: int
    pk: Column | None
    columns: Mapping[str, Column]
    next_column: int = 1
    mixed_target: bool = False
    targets: frozenset[str] = field(init=False)
    may_drop: bool = field(init=False)

    @targets.default
    def _targets(self) -> frozenset[str]:
        return frozenset(column.target for column in self.columns.values() if column.type == TYPE_LINK)

    @may_drop.default
    def _may_drop(self) -> bool:
        return any(column.may_drop for column in self.columns.values())

    @property
    def embedded(self) -> bool:
        return self.kind == TABLE_EMBEDDED

    def with_column(self, column: Column) -> "Table":
        """This table with ``column`` added; its number must be ``next_column``."""
        return evolve(self, columns={**self.columns, column.name: column}, next_column=self.next_column + 1)

    def without_column(self, name: str) -> "Table":
        return evolve(self, columns={key: column for key, column in self.columns.items() if key != name})

    def as_mixed_target(self) -> "Table":
        return evolve(self, mixed_target=True)


class Schema:
    """All classes of a Realm by name, and the number of the next one.

    ``tables`` is never changed in place: whoever keeps the mapping keeps the schema as it was.
    """

    __slots__ = ("next_table", "tables")

    def __init__(self, tables: Mapping[str, Table] | None = None, next_table: int = 1) -> None:
        self.tables: Mapping[str, Table] = tables if tables is not None else {}
        self.next_table = next_table

    def put(self, table: Table) -> None:
        """Add ``table``, or replace the one of that name."""
        self.tables = {**self.tables, table.name: table}
        self.next_table = max(self.next_table, table.id + 1)

    def remove(self, name: str) -> None:
        tables = dict(self.tables)
        tables.pop(name, None)
        self.tables = tables

    def target(self, column: Column) -> Table:
        """The class that ``column`` links to; it exists as long as the column does."""
        return self.tables[column.target]

    def is_link_target(self, table: Table) -> bool:
        """Whether a client keeps links from other classes to ``table`` and so could not erase it."""
        return table.mixed_target or any(
            table.name in other.targets for other in self.tables.values() if other is not table
        )


def columns_on_path(instruction: PathInstruction, schema: Schema) -> Iterator[tuple[Column, int]]:
    """The columns that the path of ``instruction`` leads through, as far as they exist: the property itself, then those
    of embedded objects below it. With each, how many elements of the path are left behind the property's name."""
    table = schema.tables.get(instruction.table)
    name: str | int | None = instruction.field
    done = 0
    while table is not None and isinstance(name, str) and name in table.columns:
        column = table.columns[name]
        yield column, len(instruction.path) - done
        if column.mixed or not column.embedded:
            return
        if column.collection != COLLECTION_SINGLE:
            done += 1  # the index or the key
        table = schema.target(column)
        name = instruction.path[done] if done < len(instruction.path) else None
        done += 1


def column_names_on_path(instruction: PathInstruction, schema: Schema) -> Iterator[tuple[str, str]]:
    """Class and name of each column that the path of ``instruction`` leads through, whether it is there or not; what
    lies below one that is not there is not told."""
    yield instruction.table, instruction.field
    for column, left in columns_on_path(instruction, schema):
        if column.embedded:
            at = len(instruction.path) - left + (column.collection != COLLECTION_SINGLE)
            name = instruction.path[at] if at < len(instruction.path) else None
            if isinstance(name, str):
                yield column.target, name


def encode_table(table: Table) -> bytes:
    """A table as one row of ``Commit.schema``."""
    out = bytearray((TABLE_FORMAT,))
    put_uint(out, table.id)
    put_uint(out, table.kind)
    put_uint(out, table.next_column)
    put_uint(out, table.mixed_target)
    put_uint(out, len(table.columns))
    for column in table.columns.values():
        put_uint(out, column.id)
        put_text(out, column.name)
        put_uint(out, column.type + _TYPE_OFFSET)
        put_uint(out, column.nullable)
        put_uint(out, column.collection)
        put_text(out, column.target)
        put_uint(out, column.embedded)
        put_uint(out, column.primary)
    return bytes(out)


def decode_table(name: str, row: bytes) -> Table:
    """The table that :func:`encode_table` wrote under ``name``. Raises :class:`packing.BrokenRecord`."""
    data = Unpacker(row, TABLE_FORMAT)
    table_id, kind, next_column, mixed_target = data.uint(), data.uint(), data.uint(), bool(data.uint())
    columns: dict[str, Column] = {}
    pk = None
    for _ in range(data.uint()):
        column = Column(
            id=data.uint(),
            name=data.text(),
            type=data.uint() - _TYPE_OFFSET,
            nullable=bool(data.uint()),
            collection=data.uint(),
            target=data.text(),
            embedded=bool(data.uint()),
            primary=bool(data.uint()),
        )
        columns[column.name] = column
        if column.primary:
            pk = column
    data.done()
    if kind > 2:
        raise BrokenRecord(f"table type {kind} in the row of {name}")
    return Table(table_id, name, kind, pk, columns, next_column, mixed_target)
