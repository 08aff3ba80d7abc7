"""Edits of a Realm, drawn from a fuzzer's bytes: what a correct client could have done, or nearly.

The classes: ``T`` with Int keys and a property of every kind, ``U`` without a primary key, the embedded ``E``. An edit
is drawn by walking through what is there, so most of them are valid; :class:`Writer` keeps only those that are.
"""

from typing import Final

from attrs import Factory, define

from fuzz.source import Source
from realmserver.changeset import instructions as ins
from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import BadChangeset, Changeset, Instruction, Key, PathElement, Payload
from realmserver.realms.content import DictionaryContent, ListContent, ObjectContent
from realmserver.realms.schema import Column
from realmserver.realms.values import Values

KEYS: Final[list[Key]] = [(ins.TYPE_INT, number) for number in range(3)]
NAMES: Final = ["a", "b", "", "x" * 70]

COLUMNS: Final[list[tuple[str, str, int, bool, int, str]]] = [
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
    ("T", "di", ins.TYPE_INT, False, ins.COLLECTION_DICTIONARY, ""),
    ("T", "do", ins.TYPE_LINK, True, ins.COLLECTION_DICTIONARY, "T"),
    ("T", "dm", ins.TYPE_NULL, True, ins.COLLECTION_DICTIONARY, ""),
    ("T", "de", ins.TYPE_LINK, True, ins.COLLECTION_DICTIONARY, "E"),
]
NEW_COLUMNS: Final = {"x": (ins.TYPE_INT, ins.COLLECTION_SINGLE), "y": (ins.TYPE_STRING, ins.COLLECTION_LIST)}
"""What comes and goes, by name: type and collection."""

FIELDS: Final = [*(field for table, field, *_ in COLUMNS if table == "T"), *NEW_COLUMNS]
INNER: Final = [field for table, field, *_ in COLUMNS if table == "E"]


def schema() -> list[Instruction]:
    """The classes as they are at first."""
    return [
        ins.AddTable("T", ins.TABLE_TOP_LEVEL, "_id", ins.TYPE_INT, False),
        ins.AddTable("U", ins.TABLE_TOP_LEVEL),
        ins.AddTable("E", ins.TABLE_EMBEDDED),
        *(
            ins.AddColumn(table, field, kind, nullable, collection, target)
            for table, field, kind, nullable, collection, target in COLUMNS
        ),
        ins.AddColumn("U", "i", ins.TYPE_INT, False, ins.COLLECTION_SINGLE),
        *(ins.AddColumn("T", name, kind, False, collection) for name, (kind, collection) in NEW_COLUMNS.items()),
    ]


@define
class Place:
    """Where a walk through what is there has ended: ``content`` is what is held there, ``size`` that of the list in
    which the path ends, ``column`` whose place it is."""

    key: Key
    field: str
    column: Column | None
    path: list[PathElement] = Factory(list)
    content: object = None
    size: int = 0
    walked: list[str] = Factory(list)
    """The names of the properties that lead here."""

    @property
    def last(self) -> PathElement | None:
        return self.path[-1] if self.path else None


def draw_place(source: Source, values: Values) -> Place:
    """A place in class T, near to what is there."""
    table = values.schema.tables["T"]
    field = source.choice(FIELDS)
    place = Place(source.choice(KEYS), field, table.columns.get(field), walked=[field])
    place.content = _held(values.find(table, place.key), place.column)
    while isinstance(place.content, ListContent | DictionaryContent | ObjectContent) and not source.chance(20):
        content = place.content
        if isinstance(content, ListContent):
            place.size = len(content.data)
            index = source.below(place.size + 1)
            place.path.append(index)
            place.content = content.data[index] if index < place.size else None
        elif isinstance(content, DictionaryContent):
            name = source.choice([*content.data, *NAMES])
            place.path.append(name)
            place.content = content.data.get(name)
        else:
            assert place.column is not None
            name = source.choice(INNER)
            place.path.append(name)
            place.walked.append(name)
            place.column = values.schema.target(place.column).columns.get(name)
            place.content = _held(content, place.column)
        if source.is_empty:
            break
    return place


def _held(fields: ObjectContent | None, column: Column | None) -> object:
    """What is in the property, also if it is an empty collection that has not been made yet."""
    if fields is None or column is None:
        return None
    empty = {ins.COLLECTION_LIST: ListContent, ins.COLLECTION_DICTIONARY: DictionaryContent}
    make = empty.get(column.collection)
    return fields.data.get(column.id) or (make() if make is not None else None)


def draw_payload(source: Source, column: Column | None) -> Payload:
    """Nearly always one that fits ``column``."""
    if column is None or source.chance(4):
        kind = source.choice(["int", "text", "link", "null", "object", "list", "dictionary", "set", "erased", "double"])
    elif column.embedded:
        kind = source.choice(["object", "object", "object", "null"])
    elif column.mixed:
        kind = source.choice(["int", "text", "list", "dictionary", "link", "null", "list", "dictionary", "double"])
    else:
        kind = {ins.TYPE_INT: "int", ins.TYPE_LINK: "link"}.get(column.type, "text")
    match kind:
        case "int":
            return Payload(ins.TYPE_INT, source.below(4))
        case "text":
            return Payload(ins.TYPE_STRING, source.choice(NAMES), 0)
        case "link":
            return Payload(ins.TYPE_LINK, ("T", source.choice(KEYS)))
        case "double":
            return Payload(ins.TYPE_DOUBLE, bytes(6) + source.choice([b"\x08\x40", b"\xf8\x7f", b"\0\x80", b"\0\0"]))
    return Payload(_TYPES[kind])


_TYPES: Final = {
    "null": ins.TYPE_NULL,
    "object": ins.TYPE_OBJECT_VALUE,
    "list": ins.TYPE_LIST,
    "dictionary": ins.TYPE_DICTIONARY,
    "set": ins.TYPE_SET,
    "erased": ins.TYPE_ERASED,
}


def draw_instruction(source: Source, values: Values) -> tuple[Instruction, Place | None]:
    """One instruction, valid or not, and the place that it is about."""
    roll = source.byte()
    if roll >= 244:
        name = source.choice(list(NEW_COLUMNS))
        kind, collection = NEW_COLUMNS[name]
        if source.chance(50):
            return ins.EraseColumn("T", name), None
        return ins.AddColumn("T", name, kind, False, collection), None
    if roll >= 239:
        return (ins.EraseTable("U") if source.chance(40) else ins.AddTable("U", ins.TABLE_TOP_LEVEL)), None
    if roll >= 236:
        return ins.CreateObject("U", (ins.TYPE_GLOBAL_KEY, (1, source.below(2)))), None
    if roll >= 228:
        return ins.EraseObject("T", source.choice(KEYS)), None
    if roll >= 212:
        return ins.CreateObject("T", source.choice(KEYS)), None
    place = draw_place(source, values)
    return _at(source, place), place


def _at(source: Source, place: Place) -> Instruction:
    where = ("T", place.key, place.field, place.path)
    last, column = place.last, place.column
    prior = source.below(5) if source.chance(3) else place.size
    payload = draw_payload(source, column)
    kind = source.below(8)
    if isinstance(last, int) and kind:
        if last >= place.size or kind < 3:
            return ins.ArrayInsert(*where, payload, prior)
        if kind < 5:
            return ins.ArrayMove(*where, source.below(place.size + 1), prior)
        if kind < 7:
            return ins.ArrayErase(*where, prior)
        return ins.Update(*where, payload, False, prior)
    if column is not None and column.collection == ins.COLLECTION_SET and kind < 7:
        return (ins.SetErase if kind > 4 else ins.SetInsert)(*where, payload)
    if kind == 6:
        return ins.Clear(*where, column.collection if column is not None and not place.path else source.below(4))
    if kind == 5:
        return ins.AddInteger(*where, source.choice([5, -1, 2**63 - 1]))
    if kind == 4 and isinstance(last, str):
        return ins.Update(*where, Payload(ins.TYPE_ERASED))
    if isinstance(last, int):
        return ins.Update(*where, payload, False, prior)
    return ins.Update(*where, payload, source.chance(10))


class Writer:
    """Somebody who writes to a Realm of their own: what is drawn and valid there becomes changesets."""

    def __init__(self, base: list[Changeset], origin: int) -> None:
        self.values = Values()
        self.made: list[Changeset] = []
        self.origin = origin
        for changeset in base:
            self.values.apply(changeset)

    def write(self, source: Source, timestamp: int, *, edits: int) -> None:
        """Up to ``edits`` edits in one changeset."""
        done: list[Instruction] = []
        for _ in range(edits):
            if source.is_empty:
                break
            instruction, place = draw_instruction(source, self.values)
            if not self.allows(instruction, place):
                continue
            try:
                self.values.applier.apply(instruction)
            except BadChangeset:
                continue
            self.wrote(instruction, place)
            done.append(instruction)
        self.made.append(decode(encode(Changeset(done)), timestamp=timestamp, origin=self.origin))

    def allows(self, instruction: Instruction, place: Place | None) -> bool:
        """Whether this writer makes such an edit at all."""
        return True

    def wrote(self, instruction: Instruction, place: Place | None) -> None:
        """The edit has been made."""
