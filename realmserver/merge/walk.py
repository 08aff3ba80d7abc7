"""The merge of two concurrent histories, at a cost that follows the pairs of instructions that can meet.

The result is that of :mod:`realmserver.merge.all_pairs`, the walk as it is specified (``spec/merge.md`` 2), to the last
byte. Instead of trying every pair, the incoming side is put into an index, and each local instruction walks only its
*line*: the incoming instructions that a rule can exist with, in their order. This works because what the index is made
of never changes while rules edit instructions: opcode, class, key, field, the length of the path and a name at its
beginning (rules change indices only). Rules exist only between (section 2.2)

- AddTable and AddTable of one class, AddColumn and AddColumn of one column,
- EraseObject and anything on that object,
- two path instructions on one property of one object, unless their paths begin with different names,
- and EraseTable or EraseColumn and much else. Where one of these is on either side, every pair is tried.

No line has a pair with both a nested and a regular rule: such pairs need EraseTable or EraseColumn.
"""

from bisect import bisect_left
from collections.abc import Sequence

from realmserver.changeset.instructions import (
    ERASE_COLUMN,
    ERASE_OBJECT,
    ERASE_TABLE,
    AddColumn,
    Changeset,
    Instruction,
    Key,
    ObjectInstruction,
    PathInstruction,
)
from realmserver.merge.all_pairs import merge_all_pairs
from realmserver.merge.places import level
from realmserver.merge.rules import NESTED, REGULAR, Rule

_Meeting = tuple[Instruction, Changeset, Rule, bool, int]
"""An incoming instruction, its changeset, the rule it meets the walking one with, whether it is that rule's first
operand, and its place in the sequence of all incoming instructions."""


def merge(incoming: Sequence[Changeset], local: Sequence[Changeset]) -> None:
    """Transform two concurrent runs of changesets against each other, in place (``spec/merge.md`` 2).

    ``incoming`` are the changesets just received, ``local`` those of the receiver's history that the sender had not
    seen, both in version order, with ``timestamp`` and ``origin`` set (an origin of 0 already replaced: section 0).
    Afterwards ``incoming`` is what to apply and to store, and ``local`` the new reciprocal history. Instructions are
    changed or marked as discarded; a changeset of which anything changed is marked ``dirty``, no mark is taken away.
    No two instructions may share a path list.

    Raises :class:`~realmserver.merge.errors.TransformError` where the sides contradict each other. Both are then half
    transformed and must be thrown away.
    """
    if _is_destructive(incoming) or _is_destructive(local):
        merge_all_pairs(incoming, local)
        return
    index = _Index(incoming)
    for side in local:
        for instruction in side.instructions:
            if not instruction.discarded:
                index.meet(instruction, side)


def _is_destructive(side: Sequence[Changeset]) -> bool:
    for changeset in side:
        for instruction in changeset.instructions:
            if (instruction.op == ERASE_TABLE or instruction.op == ERASE_COLUMN) and not instruction.discarded:
                return True
    return False


class _Entry:
    """A live instruction of the incoming side, where it stands, and its place in the sequence of all."""

    __slots__ = ("instruction", "sequence", "side")

    def __init__(self, instruction: Instruction, side: Changeset, sequence: int) -> None:
        self.instruction: Instruction = instruction
        self.side: Changeset = side
        self.sequence: int = sequence


class _Line:
    """The incoming instructions that local instructions of one shape can meet, in order.

    Discarded ones stay until as many of them have been stepped over as the line is long; so they cost little, however
    many instructions walk the line.
    """

    __slots__ = ("meetings", "wasted")

    def __init__(self, local: Instruction, entries: list[_Entry]) -> None:
        """``local`` is any instruction of the shape."""
        self.meetings: list[_Meeting] = []
        self.wasted: int = 0
        local_level = level(local)
        for entry in entries:
            incoming = entry.instruction
            incoming_level = level(incoming)
            if incoming_level < local_level:
                rule, incoming_first = NESTED.get(incoming.op), True
            elif incoming_level > local_level:
                rule, incoming_first = NESTED.get(local.op), False
            elif incoming.op > local.op:
                rule, incoming_first = REGULAR.get((incoming.op, local.op)), True
            else:
                rule, incoming_first = REGULAR.get((local.op, incoming.op)), False
            if rule is not None:
                self.meetings.append((incoming, entry.side, rule, incoming_first, entry.sequence))

    def walk(self, local: Instruction, local_side: Changeset) -> None:
        """Let ``local`` meet the instructions of the line until it is discarded."""
        self._walk(local, local_side, self.meetings)

    def walk_until(self, local: Instruction, local_side: Changeset, sequence: int) -> None:
        """As :meth:`walk`, but only those before a place in the sequence."""
        end = bisect_left(self.meetings, sequence, key=_sequence_of)
        self._walk(local, local_side, self.meetings[:end])

    def _walk(self, local: Instruction, local_side: Changeset, meetings: list[_Meeting]) -> None:
        wasted = 0
        for incoming, incoming_side, rule, incoming_first, _ in meetings:
            if incoming.discarded:
                wasted += 1
                continue
            if incoming_first:
                rule(incoming, local, incoming_side, local_side)
            else:
                rule(local, incoming, local_side, incoming_side)
            if local.discarded:
                break
        if wasted:
            self.wasted += wasted
            if self.wasted > len(self.meetings):
                self.meetings = [meeting for meeting in self.meetings if not meeting[0].discarded]
                self.wasted = 0


def _sequence_of(meeting: _Meeting) -> int:
    return meeting[4]


class _Field:
    """The incoming instructions on one property of one object."""

    __slots__ = ("everything", "lines", "named", "unnamed")

    def __init__(self) -> None:
        self.everything: list[_Entry] = []
        self.named: dict[str, list[_Entry]] = {}  # by the name that the path begins with: a dictionary's key
        self.unnamed: list[_Entry] = []  # path empty, or beginning with an index
        self.lines: dict[tuple[int, int, str | None], _Line] = {}

    def add(self, entry: _Entry, name: str | None) -> None:
        self.everything.append(entry)
        if name is None:
            self.unnamed.append(entry)
        else:
            self.named.setdefault(name, []).append(entry)

    def line(self, local: PathInstruction) -> _Line:
        name = _first_name(local)
        shape = (local.op, len(local.path), name)
        line = self.lines.get(shape)
        if line is None:
            line = self.lines[shape] = _Line(local, self._within_reach(name))
        return line

    def _within_reach(self, name: str | None) -> list[_Entry]:
        if name is None:
            return self.everything
        named = self.named.get(name)
        if named is None:
            return self.unnamed
        if not self.unnamed:
            return named
        return sorted(self.unnamed + named, key=lambda entry: entry.sequence)


def _first_name(instruction: PathInstruction) -> str | None:
    if not instruction.path:
        return None
    element = instruction.path[0]
    return element if isinstance(element, str) else None


class _Object:
    """The incoming instructions on one object."""

    __slots__ = ("erasures", "everything", "fields", "lines", "next_erasure")

    def __init__(self) -> None:
        self.everything: list[_Entry] = []
        self.erasures: list[_Entry] = []
        self.next_erasure: int = 0
        self.fields: dict[str, _Field] = {}
        self.lines: dict[int, _Line] = {}

    def add(self, entry: _Entry) -> None:
        self.everything.append(entry)
        instruction = entry.instruction
        if isinstance(instruction, PathInstruction):
            field = self.fields.get(instruction.field)
            if field is None:
                field = self.fields[instruction.field] = _Field()
            field.add(entry, _first_name(instruction))
        elif instruction.op == ERASE_OBJECT:
            self.erasures.append(entry)

    def meet(self, local: ObjectInstruction, side: Changeset) -> None:
        if not isinstance(local, PathInstruction):
            line = self.lines.get(local.op)
            if line is None:
                # A CreateObject meets nothing but erasures; no need to look at the rest.
                met = self.everything if local.op == ERASE_OBJECT else self.erasures
                line = self.lines[local.op] = _Line(local, met)
            line.walk(local, side)
            return
        field = self.fields.get(local.field)
        erasure = self._first_erasure()
        if erasure is None:
            if field is not None:
                field.line(local).walk(local, side)
            return
        # The first live erasure ends the walk, so the other ones need not stand in any line.
        if field is not None:
            field.line(local).walk_until(local, side, erasure.sequence)
        if not local.discarded:
            NESTED[ERASE_OBJECT](erasure.instruction, local, erasure.side, side)

    def _first_erasure(self) -> _Entry | None:
        while self.next_erasure < len(self.erasures):
            entry = self.erasures[self.next_erasure]
            if not entry.instruction.discarded:
                return entry
            self.next_erasure += 1
        return None


class _Index:
    """The incoming side of a merge without EraseTable and EraseColumn, by what its instructions are about."""

    __slots__ = ("objects", "schema", "schema_lines")

    def __init__(self, incoming: Sequence[Changeset]) -> None:
        self.objects: dict[tuple[str, Key], _Object] = {}
        self.schema: dict[str | tuple[str, str], list[_Entry]] = {}
        self.schema_lines: dict[str | tuple[str, str], _Line] = {}
        sequence = 0
        for side in incoming:
            for instruction in side.instructions:
                if not instruction.discarded:
                    self._add(_Entry(instruction, side, sequence))
                    sequence += 1

    def _add(self, entry: _Entry) -> None:
        instruction = entry.instruction
        if isinstance(instruction, ObjectInstruction):
            place = (instruction.table, instruction.key)
            found = self.objects.get(place)
            if found is None:
                found = self.objects[place] = _Object()
            found.add(entry)
        else:
            self.schema.setdefault(_schema_place(instruction), []).append(entry)

    def meet(self, local: Instruction, side: Changeset) -> None:
        """Let a local instruction meet what it can meet."""
        if isinstance(local, ObjectInstruction):
            found = self.objects.get((local.table, local.key))
            if found is not None:
                found.meet(local, side)
            return
        place = _schema_place(local)
        added = self.schema.get(place)
        if added is not None:
            line = self.schema_lines.get(place)
            if line is None:
                line = self.schema_lines[place] = _Line(local, added)
            line.walk(local, side)


def _schema_place(instruction: Instruction) -> str | tuple[str, str]:
    """The class that an AddTable names, or the column that an AddColumn names."""
    if isinstance(instruction, AddColumn):
        return (instruction.table, instruction.field)
    return instruction.table
