"""What the tests of applying share: a store of records in memory, and a Realm kept as values and as shape at once."""

from collections.abc import Callable

from realmserver.changeset import instructions as ins
from realmserver.changeset.instructions import BadChangeset, Instruction, Key, Payload
from realmserver.realms.shape import Changes, Shape
from realmserver.realms.values import Values

ONE: Key = (ins.TYPE_INT, 1)
TWO: Key = (ins.TYPE_INT, 2)
NULL = Payload(ins.TYPE_NULL)
OBJECT_VALUE = Payload(ins.TYPE_OBJECT_VALUE)
ERASED = Payload(ins.TYPE_ERASED)
LIST = Payload(ins.TYPE_LIST)
DICTIONARY = Payload(ins.TYPE_DICTIONARY)
SET = Payload(ins.TYPE_SET)


def integer(value: int) -> Payload:
    return Payload(ins.TYPE_INT, value)


def text(value: str) -> Payload:
    return Payload(ins.TYPE_STRING, value, 0)


def link(class_name: str, key: Key) -> Payload:
    return Payload(ins.TYPE_LINK, (class_name, key))


class Rows:
    """The schema and shape records of one Realm, as a store keeps them."""

    def __init__(self) -> None:
        self.schema: dict[str, bytes] = {}
        self.shape: dict[bytes, bytes] = {}
        self.put: dict[bytes, bytes] = {}  # what the last batch put

    def take(self, changes: Changes) -> None:
        schema, shape, prefixes = changes
        for prefix in prefixes:
            for key in [key for key in self.shape if key.startswith(prefix)]:
                del self.shape[key]
        for name, row in schema.items():
            if row is None:
                self.schema.pop(name, None)
            else:
                self.schema[name] = row
        for key, record in shape.items():
            if record is None:
                self.shape.pop(key, None)
            else:
                self.shape[key] = record
        self.put = {key: record for key, record in shape.items() if record is not None}

    def open(self) -> Shape:
        return Shape(self.shape.get, self.schema)


class Twins:
    """One Realm as values and as shape, to which every instruction is given; they must agree on whether it is good."""

    def __init__(self) -> None:
        self.values = Values()
        self.rows = Rows()
        self.shape = self.rows.open()

    def apply(self, *instructions: Instruction) -> None:
        """Apply; raises BadChangeset if both refuse, AssertionError if only one does."""
        for instruction in instructions:
            refusals = [_refusal(model.applier.apply, instruction) for model in (self.values, self.shape)]
            assert refusals[0] == refusals[1]
            if refusals[0] is not None:
                raise BadChangeset(refusals[0])

    def persist(self) -> None:
        """Make the shape's changes durable."""
        self.rows.take(self.shape.changes())
        self.shape.settle()

    def reopen(self) -> None:
        """Go on from the bytes."""
        self.persist()
        self.shape = self.rows.open()


def _refusal(apply: Callable[[Instruction], None], instruction: Instruction) -> str | None:
    try:
        apply(instruction)
    except BadChangeset as error:
        return str(error)
    return None


COLUMNS: list[tuple[str, str, int, bool, int, str]] = [
    # class, column, type, nullable, collection, target
    ("E", "n", ins.TYPE_INT, False, ins.COLLECTION_SINGLE, ""),
    ("E", "e", ins.TYPE_LINK, True, ins.COLLECTION_SINGLE, "E"),
    ("E", "kids", ins.TYPE_LINK, False, ins.COLLECTION_LIST, "E"),
    ("E", "li", ins.TYPE_INT, False, ins.COLLECTION_LIST, ""),
    ("E", "mx", ins.TYPE_NULL, True, ins.COLLECTION_SINGLE, ""),
    ("T", "i", ins.TYPE_INT, False, ins.COLLECTION_SINGLE, ""),
    ("T", "ni", ins.TYPE_INT, True, ins.COLLECTION_SINGLE, ""),
    ("T", "s", ins.TYPE_STRING, False, ins.COLLECTION_SINGLE, ""),
    ("T", "o", ins.TYPE_LINK, True, ins.COLLECTION_SINGLE, "T"),
    ("T", "mx", ins.TYPE_NULL, True, ins.COLLECTION_SINGLE, ""),
    ("T", "e", ins.TYPE_LINK, True, ins.COLLECTION_SINGLE, "E"),
    ("T", "li", ins.TYPE_INT, False, ins.COLLECTION_LIST, ""),
    ("T", "lo", ins.TYPE_LINK, False, ins.COLLECTION_LIST, "T"),
    ("T", "lm", ins.TYPE_NULL, True, ins.COLLECTION_LIST, ""),
    ("T", "le", ins.TYPE_LINK, False, ins.COLLECTION_LIST, "E"),
    ("T", "si", ins.TYPE_INT, False, ins.COLLECTION_SET, ""),
    ("T", "so", ins.TYPE_LINK, False, ins.COLLECTION_SET, "T"),
    ("T", "sm", ins.TYPE_NULL, True, ins.COLLECTION_SET, ""),
    ("T", "di", ins.TYPE_INT, False, ins.COLLECTION_DICTIONARY, ""),
    ("T", "do", ins.TYPE_LINK, True, ins.COLLECTION_DICTIONARY, "T"),
    ("T", "dm", ins.TYPE_NULL, True, ins.COLLECTION_DICTIONARY, ""),
    ("T", "de", ins.TYPE_LINK, True, ins.COLLECTION_DICTIONARY, "E"),
]


def schema() -> list[Instruction]:
    """Classes T (Int keys), U (no primary key), N (nullable String keys), A (asymmetric), embedded E; T, E with columns
    of every kind."""
    return [
        ins.AddTable("T", ins.TABLE_TOP_LEVEL, "_id", ins.TYPE_INT, False),
        ins.AddTable("U", ins.TABLE_TOP_LEVEL),
        ins.AddTable("N", ins.TABLE_TOP_LEVEL, "name", ins.TYPE_STRING, True),
        ins.AddTable("A", ins.TABLE_ASYMMETRIC, "_id", ins.TYPE_INT, False),
        ins.AddTable("E", ins.TABLE_EMBEDDED),
        *(
            ins.AddColumn(table, field, kind, nullable, collection, target)
            for table, field, kind, nullable, collection, target in COLUMNS
        ),
        ins.AddColumn("A", "mx", ins.TYPE_NULL, True, ins.COLLECTION_SINGLE),
    ]
