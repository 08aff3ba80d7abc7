"""Random sides of a merge whose instructions keep meeting: few classes, objects, properties, keys and elements."""

from hypothesis import strategies as st

from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import (
    TABLE_EMBEDDED,
    TABLE_TOP_LEVEL,
    TYPE_DECIMAL,
    TYPE_DICTIONARY,
    TYPE_DOUBLE,
    TYPE_ERASED,
    TYPE_INT,
    TYPE_LINK,
    TYPE_LIST,
    TYPE_NULL,
    TYPE_OBJECT_VALUE,
    TYPE_SET,
    TYPE_STRING,
    AddColumn,
    AddInteger,
    AddTable,
    ArrayErase,
    ArrayInsert,
    ArrayMove,
    Changeset,
    Clear,
    CreateObject,
    EraseColumn,
    EraseObject,
    EraseTable,
    Instruction,
    Key,
    PathElement,
    Payload,
    SetErase,
    SetInsert,
    Update,
)

TABLES = ("A", "B")
KEYS: tuple[Key, ...] = ((TYPE_INT, 1), (TYPE_STRING, "k"), (TYPE_NULL, None))
FIELDS = ("f", "g")
LIST_SIZE = 4
"""Every list is said to have this many elements at first; what a side does changes that."""

_VALUES: tuple[tuple[int, object], ...] = (
    (TYPE_NULL, None),
    (TYPE_INT, 1),
    (TYPE_INT, 2**63 - 1),
    (TYPE_STRING, "x"),
    (TYPE_STRING, "y"),
    (TYPE_DOUBLE, b"\0" * 8),
    (TYPE_DOUBLE, b"\0" * 7 + b"\x80"),
    (TYPE_DECIMAL, (10, 0, False)),
    (TYPE_DECIMAL, (1, 1, False)),
    (TYPE_LINK, ("A", KEYS[0])),
    (TYPE_LINK, ("B", KEYS[1])),
)
_COLLECTIONS: tuple[tuple[int, object], ...] = (
    (TYPE_OBJECT_VALUE, None),
    (TYPE_LIST, None),
    (TYPE_DICTIONARY, None),
    (TYPE_SET, None),
    (TYPE_ERASED, None),
)

Draw = st.DrawFn


class _Side:
    """Draws the instructions of one side, and keeps the sizes of its lists so that prior sizes mostly agree."""

    def __init__(self, draw: Draw, *, destructive: bool, fields: int) -> None:
        self.draw = draw
        self.destructive = destructive
        self.fields = FIELDS[:fields]
        self.sizes: dict[tuple[object, ...], int] = {}

    def instruction(self) -> Instruction:
        draw = self.draw
        kind = draw(st.integers(0, 19))
        table = draw(st.sampled_from(TABLES))
        if kind < 3:
            return self.schema(kind, table)
        key = draw(st.sampled_from(KEYS[:2]))
        if kind == 3:
            return CreateObject(table, key)
        if kind == 4:
            return EraseObject(table, key)
        return self.on_path(kind, table, key, draw(st.sampled_from(self.fields)))

    def schema(self, kind: int, table: str) -> Instruction:
        draw = self.draw
        if kind == 0:
            if self.destructive and draw(st.booleans()):
                return EraseTable(table)
            # One class may mean two things, rarely.
            return AddTable(table, TABLE_TOP_LEVEL if draw(st.integers(0, 9)) else TABLE_EMBEDDED, "_id", TYPE_INT)
        field = draw(st.sampled_from(self.fields))
        if self.destructive and kind == 1:
            return EraseColumn(table, field)
        target = "B" if table == "A" else "A"
        return AddColumn(table, field, TYPE_LINK, True, 0, target)

    def on_path(self, kind: int, table: str, key: Key, field: str) -> Instruction:
        draw = self.draw
        path: list[PathElement] = draw(st.lists(st.sampled_from([0, 1, "n", "m"]), max_size=2))
        if kind < 9:
            return self.update(table, key, field, path)
        if kind == 9:
            return AddInteger(table, key, field, path, draw(st.sampled_from([0, 1, -5])))
        if kind == 10:
            return Clear(table, key, field, path, draw(st.integers(0, 3)))
        if kind < 13:
            payload = self.payload(False)
            return (SetInsert if kind == 11 else SetErase)(table, key, field, path, payload)
        return self.in_list(kind, table, key, field, path)

    def update(self, table: str, key: Key, field: str, path: list[PathElement]) -> Instruction:
        payload = self.payload(True)
        if path and isinstance(path[-1], int):
            size = self.sizes.get((table, key, field, *path[:-1]), LIST_SIZE)
            return Update(table, key, field, path, payload, False, size)
        return Update(table, key, field, path, payload, self.draw(st.booleans()))

    def in_list(self, kind: int, table: str, key: Key, field: str, path: list[PathElement]) -> Instruction:
        draw = self.draw
        place = (table, key, field, *path)
        size = self.sizes.get(place, LIST_SIZE)
        if kind < 16 or size < 2:
            self.sizes[place] = size + 1
            path.append(draw(st.integers(0, size)))
            return ArrayInsert(table, key, field, path, self.payload(True), size)
        path.append(draw(st.integers(0, size - 1)))
        if kind < 18:
            self.sizes[place] = size - 1
            return ArrayErase(table, key, field, path, size)
        return ArrayMove(table, key, field, path, draw(st.integers(0, size - 1)), size)

    def payload(self, collections: bool) -> Payload:
        choice = _VALUES + _COLLECTIONS * 2 if collections else _VALUES
        type, value = self.draw(st.sampled_from(choice))
        return Payload(type, value)


@st.composite
def sides(
    draw: Draw, *, origin: int, destructive: bool = True, timestamps: tuple[int, ...] = (1, 2), fields: int = 2
) -> list[Changeset]:
    """One side: one to three decoded changesets of up to twelve instructions in all."""
    side = _Side(draw, destructive=destructive, fields=fields)
    changesets = []
    for _ in range(draw(st.integers(1, 3))):
        made = Changeset([side.instruction() for _ in range(draw(st.integers(0, 4)))])
        # Through the bytes, so that strings have numbers and payloads offsets.
        changesets.append(decode(encode(made), timestamp=draw(st.sampled_from(timestamps)), origin=origin))
    return changesets


LINKED_TABLES = ("A", "B", "C")


def _schema_instruction(draw: Draw, kind: int, table: str, field: str) -> Instruction:
    if kind == 0:
        return EraseTable(table)
    if kind == 1:
        return EraseColumn(table, field)
    if kind == 2:
        return AddTable(table, TABLE_TOP_LEVEL, "_id", TYPE_INT)
    if kind == 3:
        return AddColumn(table, field, TYPE_INT, True, 0)
    return AddColumn(table, field, TYPE_LINK, True, 0, draw(st.sampled_from(LINKED_TABLES)))


def _data_instruction(draw: Draw, kind: int, table: str, field: str) -> Instruction:
    key = draw(st.sampled_from(KEYS[:2]))
    if kind == 0:
        return CreateObject(table, key)
    if kind == 1:
        return EraseObject(table, key)
    path: list[PathElement] = draw(st.sampled_from([[], ["n"], ["m"], ["n", "m"]]))
    if kind < 5:
        type, value = draw(st.sampled_from([(TYPE_INT, 1), (TYPE_NULL, None), (TYPE_DICTIONARY, None)]))
        return Update(table, key, field, path, Payload(type, value))
    if kind == 5:
        return Clear(table, key, field, path, 2)
    return AddInteger(table, key, field, path, 1)


@st.composite
def schema_sides(draw: Draw, *, origin: int, linking: bool = False) -> list[Changeset]:
    """One side, most of it erasing and adding classes, columns and links. ``linking``: above all links and EraseTable,
    so that rule S4 makes several new instructions."""
    # Later kinds of schema instructions are links, later ones than these are about objects.
    kinds = st.sampled_from([0, 0, 0, 1, 4, 4, 4, 4, 7] if linking else [0, 0, 1, 1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 9, 10])
    changesets = []
    for _ in range(draw(st.integers(1, 3))):
        instructions: list[Instruction] = []
        for kind in draw(st.lists(kinds, max_size=7)):
            table = draw(st.sampled_from(LINKED_TABLES))
            field = draw(st.sampled_from(FIELDS))
            if kind < 5:
                instructions.append(_schema_instruction(draw, kind, table, field))
            else:
                instructions.append(_data_instruction(draw, kind - 5, table, field))
        changesets.append(decode(encode(Changeset(instructions)), timestamp=draw(st.integers(1, 2)), origin=origin))
    return changesets
