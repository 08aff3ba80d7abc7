"""Random instructions, valid and invalid, on the classes of ``apply_model``."""

from random import Random

from realmserver.changeset import instructions as ins
from realmserver.changeset.instructions import Instruction, Key, PathElement, Payload
from realmserver.realms.content import DictionaryContent, ListContent, ObjectContent
from realmserver.realms.schema import Column, Table
from realmserver.realms.values import Values

KEYS: list[Key] = [(ins.TYPE_INT, number) for number in range(3)]
NAMES = ["a", "b", "", "x" * 500]


FIELDS = ["mx", "lm", "dm", "le", "de", "e"] * 4 + ["i", "s", "o", "li", "lo", "si", "so", "sm", "di", "do", "x"]
ERASABLE = {  # columns that come and go: type, nullable, collection
    "mx": (ins.TYPE_NULL, True, ins.COLLECTION_SINGLE),
    "lm": (ins.TYPE_NULL, True, ins.COLLECTION_LIST),
    "dm": (ins.TYPE_NULL, True, ins.COLLECTION_DICTIONARY),
    "si": (ins.TYPE_INT, False, ins.COLLECTION_SET),
}
TYPES = {
    "null": ins.TYPE_NULL,
    "object": ins.TYPE_OBJECT_VALUE,
    "list": ins.TYPE_LIST,
    "dictionary": ins.TYPE_DICTIONARY,
    "set": ins.TYPE_SET,
    "erased": ins.TYPE_ERASED,
}


def random_payload(random: Random, column: Column | None) -> Payload:
    """Nearly always one that fits ``column``."""
    if column is None or random.random() < 0.08:
        kinds = ["int", "text", "link", *TYPES]
    elif column.embedded:
        kinds = ["object"] * 6 + ["null"]
    elif column.mixed:
        kinds = ["list", "dictionary"] * 3 + ["int", "text", "link", "null"]
    else:
        kinds = {ins.TYPE_INT: ["int"], ins.TYPE_LINK: ["link"]}.get(column.type, ["text"])
    kind = random.choice(kinds)
    if kind == "int":
        return Payload(ins.TYPE_INT, random.randrange(4))
    if kind == "text":
        return Payload(ins.TYPE_STRING, random.choice(NAMES), 0)
    if kind == "link":
        return Payload(ins.TYPE_LINK, ("T", random.choice(KEYS)))
    return Payload(TYPES[kind])


class Place:
    """Where a random walk through what is there has ended."""

    def __init__(self, random: Random, values: Values) -> None:
        table: Table = values.schema.tables["T"]
        objects = [key for key in KEYS if values.exists("T", key)]
        self.key = random.choice(objects if objects and random.random() < 0.95 else KEYS)
        self.field = random.choice(FIELDS)
        self.path: list[PathElement] = []
        self.column: Column | None = table.columns.get(self.field)
        self.size = 0  # of the list in which the path ends
        fields = values.find(table, self.key)
        content = self._held(fields)
        while isinstance(content, ListContent | DictionaryContent | ObjectContent) and random.random() < 0.85:
            if isinstance(content, ListContent):
                self.size = len(content.data)
                index = random.randrange(self.size + 1)
                self.path.append(index)
                content = content.data[index] if index < self.size else None
            elif isinstance(content, DictionaryContent):
                name = random.choice([*content.data, random.choice(NAMES)])
                self.path.append(name)
                content = content.data.get(name)
            else:
                assert self.column is not None
                name = random.choice(["n", "e", "kids", "kids", "li", "mx", "mx", "x"])
                self.path.append(name)
                self.column = values.schema.target(self.column).columns.get(name)
                content = self._held(content)

    def _held(self, fields: ObjectContent | None) -> object:
        """What is in the property, also if it is an empty collection that the values have not made yet."""
        if fields is None or self.column is None:
            return None
        empty = {ins.COLLECTION_LIST: ListContent, ins.COLLECTION_DICTIONARY: DictionaryContent}
        make = empty.get(self.column.collection)
        return fields.data.get(self.column.id) or (make() if make is not None else None)


def random_instruction(random: Random, values: Values) -> Instruction:
    """One instruction; about half are bad."""
    columns = values.schema.tables["T"].columns
    roll = random.random()
    if roll < 0.07:
        return ins.CreateObject("T", random.choice(KEYS))
    if roll < 0.08:
        return ins.EraseObject("T", random.choice(KEYS))
    if roll < 0.1:
        field, (kind, nullable, collection) = random.choice(list(ERASABLE.items()))
        if field not in columns:
            return ins.AddColumn("T", field, kind, nullable, collection)
        if roll < 0.085:
            return ins.EraseColumn("T", field)
    place = Place(random, values)
    prior = place.size if random.random() < 0.95 else random.randrange(5)
    payload = random_payload(random, place.column)
    return _at(random, place, payload, prior)


def _at(random: Random, place: Place, payload: Payload, prior: int) -> Instruction:
    where = ("T", place.key, place.field, place.path)
    last = place.path[-1] if place.path else None
    if isinstance(last, int) and random.random() < 0.85:
        if last >= place.size or random.random() < 0.5:
            return ins.ArrayInsert(*where, payload, prior)
        if random.random() < 0.5:
            return ins.ArrayMove(*where, random.randrange(place.size + 1), prior)
        return ins.ArrayErase(*where, prior)
    if place.column is not None and place.column.collection == ins.COLLECTION_SET and random.random() < 0.8:
        return random.choice([ins.SetInsert, ins.SetErase])(*where, payload)
    roll = random.random()
    if roll < 0.06:
        return ins.Clear(*where, random.randrange(4))
    if roll < 0.12:
        return ins.AddInteger(*where, 5)
    if roll < 0.15:
        return random.choice([ins.SetInsert, ins.SetErase])(*where, payload)
    if roll < 0.2 and isinstance(last, str):
        return ins.Update(*where, Payload(ins.TYPE_ERASED))
    return ins.Update(*where, payload)
