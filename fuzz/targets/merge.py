"""The merge of two histories: any two give a result or TransformError, and two valid ones converge.

The first byte of an input says which. *Any*: two runs of changesets in any bytes; the result has to be that of the walk
as it is specified (``merge.all_pairs``). *Valid*: two writers edit the same Realm at the same time (``realm_edits``),
in XX

The writers leave out the known faults of the rules (``spec/merge.md`` 8.6), which no merge can put right, and one that
this found: EraseColumn has a rule with Update only (2.2), so whatever else the other side does in that column is left
without it. SDKs never erase a column of a Realm that syncs.
"""

import random
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from fuzz import vectors
from fuzz.facts import live
from fuzz.realm_edits import NAMES, Place, Writer, schema
from fuzz.source import Source
from fuzz.target import Target
from realmserver.changeset import instructions as ins
from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import BadChangeset, Changeset, Instruction, Key
from realmserver.changeset.text import describe
from realmserver.merge.all_pairs import merge_all_pairs
from realmserver.merge.errors import TransformError
from realmserver.merge.walk import merge
from realmserver.realms.content import DictionaryContent, ListContent
from realmserver.realms.values import Values

SEPARATOR: Final = b"\n%%\n"
MOST_CHANGESETS: Final = 4
LONGEST_TEXT: Final = 3000
"""Characters of a state that the text of a finding repeats."""


def check(data: bytes) -> None:
    source = Source(data)
    if source.below(2):
        _check_valid(source)
    else:
        _check_any(source.rest())


def _check_any(data: bytes) -> None:
    sides = _any_sides(data)
    if sides is None:
        return
    incoming, local = sides
    specified, mirrored = _any_sides(data), _any_sides(data)
    assert specified is not None
    assert mirrored is not None
    specified_incoming, specified_local = specified
    mirrored_incoming, mirrored_local = mirrored
    failed = _fails(lambda: merge(incoming, local))
    assert failed == _fails(lambda: merge_all_pairs(specified_incoming, specified_local))
    if failed:
        return
    for ours, theirs in zip([*incoming, *local], [*specified_incoming, *specified_local], strict=True):
        assert live(ours) == live(theirs), "another result than the specified walk"
        assert ours.dirty == theirs.dirty
        assert live(decode(encode(ours))) == live(ours), "the result cannot be read back"
    merge(mirrored_local, mirrored_incoming)
    _check_mirrored([*incoming, *local], [*mirrored_incoming, *mirrored_local])


def _copies(side: Sequence[Changeset]) -> list[Changeset]:
    """``side`` once more, as it was decoded from its canonical bytes."""
    return [decode(encode(each), timestamp=each.timestamp, origin=each.origin) for each in side]


def _check_mirrored(one: Sequence[Changeset], other: Sequence[Changeset]) -> None:
    assert [live(each) for each in one] == [live(each) for each in other], "the other side merges to something else"


def _any_sides(data: bytes) -> tuple[list[Changeset], list[Changeset]] | None:
    """Changesets with a byte for side and time before each; None where one does not parse."""
    sides: tuple[list[Changeset], list[Changeset]] = ([], [])
    for part in data.split(SEPARATOR)[:MOST_CHANGESETS]:
        head = part[0] if part else 0
        try:
            changeset = decode(part[1:], timestamp=head >> 1 & 3, origin=2 + (head & 1))
        except BadChangeset:
            return None
        sides[head & 1].append(changeset)
    return sides


def _fails(run: Callable[[], None]) -> bool:
    try:
        run()
    except TransformError as error:
        assert str(error).isprintable()
        return True
    return False


class CarefulWriter(Writer):
    """Makes no edit by which the rules' known faults come about."""

    def __init__(self, base: list[Changeset], origin: int) -> None:
        super().__init__(base, origin)
        self._collections: set[tuple[Key, str]] = set()

    def allows(self, instruction: Instruction, place: Place | None) -> bool:
        if isinstance(instruction, ins.EraseColumn):
            return False
        if place is None or place.column is None:
            return True
        mixed, nested = place.column.mixed, len(place.path) > 1 or place.column.mixed or place.column.embedded
        holds_collection = isinstance(place.content, ListContent | DictionaryContent)
        match instruction:
            case ins.ArrayMove():
                return not nested  # F1
            case ins.Clear():
                return not mixed or (not place.path and place.column.collection != ins.COLLECTION_SINGLE)  # F2, F3
            case ins.SetErase():
                return instruction.payload.type == ins.TYPE_INT  # C5
            case ins.Update():
                kind = instruction.payload.type
                if mixed and kind in (ins.TYPE_LIST, ins.TYPE_DICTIONARY) and holds_collection:
                    return False  # F4
                if mixed and holds_collection and (place.key, place.field) in self._collections:
                    return False  # F5
                if kind == ins.TYPE_OBJECT_VALUE and place.column.collection == ins.COLLECTION_DICTIONARY:
                    return place.content is None and place.last == NAMES[self.origin % 2]  # F6
        return True

    def wrote(self, instruction: Instruction, place: Place | None) -> None:
        payload = getattr(instruction, "payload", None)
        if place is not None and payload is not None and payload.type in (ins.TYPE_LIST, ins.TYPE_DICTIONARY):
            self._collections.add((place.key, place.field))


def _check_valid(source: Source) -> None:
    base = _base(source)
    ours, theirs = CarefulWriter(base, 2), CarefulWriter(base, 3)
    for _ in range(1 + source.below(3)):
        writer = theirs if source.chance(50) else ours
        writer.write(source, source.below(4), edits=1 + source.below(4))
    for writer in (ours, theirs):
        writer.write(source, source.below(4), edits=4)
    before = f"{_text(base[1:])}\nours:\n{_text(ours.made)}\ntheirs:\n{_text(theirs.made)}"
    mirrored = _copies(ours.made), _copies(theirs.made)
    merge(theirs.made, ours.made)
    merge(*mirrored)
    _check_mirrored([*ours.made, *theirs.made], [*mirrored[0], *mirrored[1]])
    _apply(ours.values, theirs.made, before)
    _apply(theirs.values, ours.made, before)
    one, other = ours.values.state(), theirs.values.state()
    assert one == other, f"diverged:\n{before}\n{str(one)[:LONGEST_TEXT]}\n{str(other)[:LONGEST_TEXT]}"


def _base(source: Source) -> list[Changeset]:
    """What both have: the classes, some objects, and up to twelve edits."""
    made: list[Instruction] = [
        *schema(),
        ins.CreateObject("T", (ins.TYPE_INT, 0)),
        ins.CreateObject("T", (ins.TYPE_INT, 1)),
    ]
    start = decode(encode(Changeset(made)), timestamp=0, origin=1)
    writer = Writer([start], 1)
    writer.write(source, 0, edits=source.below(13))
    return [start, *writer.made]


def _apply(values: Values, changesets: Sequence[Changeset], before: str) -> None:
    try:
        for changeset in changesets:
            values.apply(decode(encode(changeset)))
    except BadChangeset as error:
        raise AssertionError(f"{error}\n{before}") from error


def _text(changesets: Sequence[Changeset]) -> str:
    lines = []
    for changeset in changesets:
        lines.append(f"- timestamp {changeset.timestamp}")
        lines += [describe(instruction) for instruction in changeset.instructions]
    return "\n".join(lines)


def seeds() -> Iterator[bytes]:
    for name, step in (("pairs.jsonl.gz", 400), ("pairs_nested.jsonl.gz", 150)):
        for line in vectors.lines(name, step=step):
            parts = []
            for number, side in enumerate(("incoming", "local")):
                for each in line[side]:
                    parts.append(bytes([number | (each["timestamp"] & 3) << 1]) + b64decode(each["changeset"]))
            yield b"\0" + SEPARATOR.join(parts)
    chance = random.Random(1)
    for size in (40, 60, 80, 100, 120, 160, 200, 250):
        for _ in range(2):
            yield b"\x01" + chance.randbytes(size)


TARGET: Final = Target(
    "merges of any two histories, and of two valid ones, which must converge", check, seeds, (SEPARATOR,), 600
)
