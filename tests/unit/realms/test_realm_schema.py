"""Tables and columns as values and as rows."""

from typing import NoReturn

import pytest
from apply_model import schema

from realmserver.changeset import instructions as ins
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.schema import Column, Schema, Table, decode_table, encode_table
from realmserver.realms.values import Values


def table(name: str = "T") -> Table:
    values = Values()
    values.applier.apply_all(schema())
    return values.schema.tables[name]


def described(one: Table) -> object:
    columns = [
        (c.id, c.name, c.type, c.nullable, c.collection, c.target, c.embedded, c.primary) for c in one.columns.values()
    ]
    return one.id, one.name, one.kind, one.pk and one.pk.name, columns, one.next_column, one.mixed_target


@pytest.mark.parametrize("name", ["T", "U", "N", "A", "E"])
def test_a_row_gives_the_table_back(name: str) -> None:
    one = table(name).as_mixed_target()
    assert described(decode_table(name, encode_table(one))) == described(one)


def test_broken_rows_are_refused() -> None:
    row = encode_table(table())
    for broken in (b"", b"\x02" + row[1:], row + b"\0", *(row[:size] for size in range(1, len(row)))):
        with pytest.raises(BrokenRecord):
            decode_table("T", broken)


def test_numbers_of_columns_and_tables_are_not_used_again() -> None:
    values = Values()
    values.applier.apply_all(schema())
    before = values.schema.tables["T"]
    values.applier.apply(ins.EraseColumn("T", "i"))
    values.applier.apply(ins.AddColumn("T", "i", ins.TYPE_INT, False, ins.COLLECTION_SINGLE))
    after = values.schema.tables["T"]
    assert after.columns["i"].id > max(column.id for column in before.columns.values())
    numbers = {one.id for one in values.schema.tables.values()}
    values.applier.apply_all([ins.EraseTable("N"), ins.AddTable("N", ins.TABLE_TOP_LEVEL)])
    assert values.schema.tables["N"].id not in numbers


def test_an_earlier_mapping_of_tables_is_the_earlier_schema() -> None:
    values = Values()
    values.applier.apply_all(schema())
    earlier = values.schema.tables
    names = {name: list(one.columns) for name, one in earlier.items()}
    values.applier.apply_all(
        [
            ins.AddTable("Z", ins.TABLE_TOP_LEVEL),
            ins.AddColumn("U", "z", ins.TYPE_INT, False, ins.COLLECTION_SINGLE),
            ins.EraseColumn("T", "i"),
            ins.EraseTable("N"),
        ]
    )
    assert {name: list(one.columns) for name, one in earlier.items()} == names


@pytest.mark.parametrize(
    ("type_", "nullable", "collection", "takes_null"),
    [
        (ins.TYPE_INT, False, ins.COLLECTION_SINGLE, False),
        (ins.TYPE_INT, True, ins.COLLECTION_LIST, True),
        (ins.TYPE_NULL, False, ins.COLLECTION_DICTIONARY, True),
        (ins.TYPE_LINK, False, ins.COLLECTION_SINGLE, True),
        (ins.TYPE_LINK, False, ins.COLLECTION_DICTIONARY, True),
        (ins.TYPE_LINK, True, ins.COLLECTION_LIST, False),
        (ins.TYPE_LINK, True, ins.COLLECTION_SET, False),
    ],
)
def test_which_columns_take_null(type_: int, nullable: bool, collection: int, takes_null: bool) -> None:
    assert Column(1, "c", type_, nullable, collection, "T").takes_null is takes_null


def test_link_targets() -> None:
    tables = Schema({name: table(name) for name in ("T", "E", "U")}, 9)
    assert tables.is_link_target(tables.tables["E"])
    assert not tables.is_link_target(tables.tables["T"])  # only its own columns link to it
    assert not tables.is_link_target(tables.tables["U"])
    tables.put(tables.tables["U"].as_mixed_target())
    assert tables.is_link_target(tables.tables["U"])


def test_whether_a_class_is_linked_to_is_known_without_looking_at_columns() -> None:
    class Columns(dict[str, Column]):
        def values(self) -> NoReturn:
            raise AssertionError("a Realm may have millions of columns, and one upload may erase a million classes")

    link = Column(1, "to", ins.TYPE_LINK, True, target="Other")
    source = Table(1, "Source", ins.TABLE_TOP_LEVEL, None, {"to": link})
    others = {name: Table(2, name, ins.TABLE_TOP_LEVEL, None, {}) for name in ("Other", "Free")}
    tables = Schema({"Source": source, **others})
    object.__setattr__(source, "columns", Columns(source.columns))  # frozen, and made with columns that can be read
    assert tables.is_link_target(others["Other"])
    assert not tables.is_link_target(others["Free"])
    assert "Other" not in source.without_column("to").targets
