"""What must be right about an instruction before its place is looked for: names, keys and types.

Implements the type checks of ``spec/merge.md`` 8.5 and the limits of ``spec/changeset.md`` 8. Everything here raises
:class:`~realmserver.changeset.instructions.BadChangeset` with a text that names the instruction, its target and the
reason, and knows only the schema.
"""

from typing import Final, NoReturn

from realmserver.changeset.instructions import (
    COLLECTION_DICTIONARY,
    COLLECTION_SET,
    TABLE_ASYMMETRIC,
    TYPE_GLOBAL_KEY,
    TYPE_INT,
    TYPE_LINK,
    TYPE_NULL,
    TYPE_STRING,
    TYPE_UUID,
    AddColumn,
    AddTable,
    BadChangeset,
    EraseColumn,
    Instruction,
    Key,
    ObjectInstruction,
    PathInstruction,
    Payload,
)
from realmserver.realms.schema import TYPE_MIXED, Column, Schema, Table

MAX_CLASS_NAME: Final = 57
"""Bytes: clients cut a longer name silently, so that two names could become one (``spec/changeset.md`` 8)."""

MAX_COLUMN_NAME: Final = 63
"""Bytes: clients fail on a longer one (``spec/changeset.md`` 8)."""

MAX_PATH: Final = 256
"""Elements of a path: clients make up to 100 nested collections, with names of properties between them."""

MAX_TABLES: Final = 4096
"""Classes in a Realm: all are kept in memory as long as the Realm is open."""

MAX_COLUMNS: Final = 4096
"""Columns of a class: its row is rewritten when one is added. Clients take 65,535, hidden ones included."""

TYPE_NAMES: Final = {
    -6: "Set",
    -5: "List",
    -4: "Erased",
    -3: "Dictionary",
    -2: "ObjectValue",
    -1: "GlobalKey",
    0: "Null",
    1: "Int",
    2: "Bool",
    3: "String",
    4: "Binary",
    5: "Timestamp",
    6: "Float",
    7: "Double",
    8: "Decimal",
    9: "Link",
    10: "ObjectId",
    11: "UUID",
}
_SHOWN_TEXT: Final = 64  # characters of a name or key from outside that an error repeats


def shown(text: str) -> str:
    """``text`` quoted, printable and not too long, for an error or a log."""
    return ascii(text if len(text) <= _SHOWN_TEXT else text[:_SHOWN_TEXT] + "...")


def shown_key(key: Key) -> str:
    """A primary key for an error or a log."""
    kind, value = key
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, bytes):
        return f"{TYPE_NAMES[kind]} {value.hex()}"
    return f"{TYPE_NAMES[kind]} {value}"


def target_of(instruction: Instruction) -> str:
    """What an instruction is about: ``Update "T"[Int 3]."list"[2].name``."""
    text = f"{type(instruction).__name__} {shown(instruction.table)}"
    if isinstance(instruction, ObjectInstruction):
        text += f"[{shown_key(instruction.key)}]"
    if isinstance(instruction, PathInstruction | AddColumn | EraseColumn):
        text += f".{shown(instruction.field)}"
    if isinstance(instruction, PathInstruction):
        text += "".join(f"[{shown(at) if isinstance(at, str) else at}]" for at in instruction.path[:MAX_PATH])
    return text


def bad(instruction: Instruction, reason: str) -> NoReturn:
    """Refuse ``instruction``."""
    raise BadChangeset(f"{target_of(instruction)}: {reason}")


def table_of(instruction: Instruction, schema: Schema) -> Table:
    """The class that ``instruction`` names."""
    table = schema.tables.get(instruction.table)
    if table is None:
        bad(instruction, "no such class")
    return table


def check_key(instruction: Instruction, table: Table, key: Key) -> None:
    """That ``key`` can be the key of an object of ``table``: of the primary key's type, null only where that is
    nullable, a GlobalKey only where there is no primary key. Objects of embedded classes have no key."""
    kind = key[0]
    pk = table.pk
    if table.embedded:
        bad(instruction, f"objects of the embedded class {shown(table.name)} are not addressed by key")
    if pk is None:
        if kind != TYPE_GLOBAL_KEY:
            bad(instruction, f"key {shown_key(key)} for the class {shown(table.name)}, which has no primary key")
    elif kind == TYPE_NULL:
        if not pk.nullable:
            bad(instruction, f"the primary key of {shown(table.name)} is not nullable")
    elif kind != pk.type:
        bad(instruction, f"key {shown_key(key)} for primary keys of type {TYPE_NAMES[pk.type]}")


def check_value(instruction: Instruction, schema: Schema, owner: Table, column: Column, payload: Payload) -> None:
    """That ``payload`` is a simple value, link or null which a place of ``column`` (of class ``owner``) can hold."""
    kind = payload.type
    if kind == column.type and TYPE_INT <= kind != TYPE_LINK:
        return
    if kind == TYPE_NULL:
        if not column.takes_null:
            bad(instruction, "null where the column does not take it")
    elif kind == TYPE_LINK:
        _check_link(instruction, schema, owner, column, payload)
    elif kind < 0 or kind > TYPE_UUID:
        bad(instruction, f"{TYPE_NAMES.get(kind, str(kind))} is not a value for this place")
    elif not column.mixed:
        bad(instruction, f"{TYPE_NAMES[kind]} where the column holds {TYPE_NAMES[column.type]}")


def _check_link(instruction: Instruction, schema: Schema, owner: Table, column: Column, payload: Payload) -> None:
    class_name, key = link_of(payload)
    target = schema.tables.get(class_name)
    if target is None:
        bad(instruction, f"link to {shown(class_name)}, which is no class")
    if target.embedded or target.kind == TABLE_ASYMMETRIC:
        bad(instruction, f"link to {shown(class_name)}, whose objects cannot be linked to")
    if owner.kind == TABLE_ASYMMETRIC:
        bad(instruction, "link in an asymmetric class")
    if not column.mixed:
        if column.type != TYPE_LINK:
            bad(instruction, f"Link where the column holds {TYPE_NAMES[column.type]}")
        if column.target != class_name:
            bad(instruction, f"link to {shown(class_name)} where the column links to {shown(column.target)}")
    check_key(instruction, target, key)


def link_of(payload: Payload) -> tuple[str, Key]:
    """Class name and key of a Link payload."""
    value = payload.value
    assert isinstance(value, tuple)
    class_name, key = value
    assert isinstance(class_name, str)
    return class_name, key


def check_new_table(instruction: AddTable, schema: Schema) -> None:
    """That a class of this name and primary key can be added."""
    if not 0 < _size(instruction.table) <= MAX_CLASS_NAME:
        bad(instruction, f"class names have 1 to {MAX_CLASS_NAME} bytes")
    if len(schema.tables) >= MAX_TABLES:
        bad(instruction, f"more than {MAX_TABLES} classes")
    if instruction.pk_type != TYPE_GLOBAL_KEY:
        _check_column_name(instruction, instruction.pk_field)


def check_new_column(instruction: AddColumn, schema: Schema, table: Table) -> None:
    """That the column can be added to ``table`` (which has none of that name) by every client.

    Beyond ``spec/merge.md`` 8.5 and ``spec/changeset.md`` 8, clients throw on links without a target class, on links to
    an asymmetric class and on sets of embedded objects.
    """
    _check_column_name(instruction, instruction.field)
    if len(table.columns) >= MAX_COLUMNS:
        bad(instruction, f"more than {MAX_COLUMNS} columns")
    if instruction.collection == COLLECTION_DICTIONARY and instruction.key_type != TYPE_STRING:
        bad(instruction, "a dictionary whose keys are not strings")
    if not TYPE_MIXED <= instruction.type <= TYPE_UUID:
        bad(instruction, f"{TYPE_NAMES.get(instruction.type, str(instruction.type))} is not a column's type")
    if instruction.type == TYPE_MIXED:
        if not instruction.nullable and instruction.collection != COLLECTION_DICTIONARY:
            bad(instruction, "a Mixed column that is not nullable")
    elif instruction.type == TYPE_LINK:
        target = schema.tables.get(instruction.target)
        if target is None:
            bad(instruction, f"links to {shown(instruction.target)}, which is no class")
        if target.kind == TABLE_ASYMMETRIC:
            bad(instruction, f"links to the asymmetric class {shown(instruction.target)}")
        if target.embedded and instruction.collection == COLLECTION_SET:
            bad(instruction, "a set of embedded objects")


def check_dictionary_key(instruction: Instruction, key: str) -> None:
    """That ``key`` can be put into a dictionary: clients throw on these (``spec/changeset.md`` 8)."""
    if key.startswith("$") or "." in key:
        bad(instruction, "dictionary keys begin with no '$' and contain no '.'")


def _check_column_name(instruction: Instruction, name: str) -> None:
    if not 0 < _size(name) <= MAX_COLUMN_NAME:
        bad(instruction, f"column names have 1 to {MAX_COLUMN_NAME} bytes")


def _size(name: str) -> int:
    return len(name.encode("utf-8", "surrogateescape"))
