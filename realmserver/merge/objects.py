"""What can meet on one object: a part of the index of :mod:`realmserver.merge.walk` over the incoming instructions.

Among the instructions on one object, rules exist only between EraseObject and anything, and between two path
instructions on one property, unless their paths begin with different names (``spec/merge.md`` 2.2). What a property is
looked up by never changes while rules edit instructions: opcode, field, the length of the path and a name at its
beginning (rules change indices only). No pair on one object has both a nested and a regular rule.
"""

from bisect import bisect_left
from collections.abc import Iterable
from heapq import merge as in_order
from itertools import islice

from realmserver.changeset.instructions import (
    ERASE_OBJECT,
    Changeset,
    Instruction,
    ObjectInstruction,
    PathInstruction,
)
from realmserver.merge.all_pairs import merge_pair
from realmserver.merge.errors import MergeTooLarge
from realmserver.merge.places import level
from realmserver.merge.rows import END, Entry, Row
from realmserver.merge.rules import NESTED, REGULAR, Rule

Meeting = tuple[Instruction, Changeset, Rule, bool, int]
"""An incoming instruction, its changeset, the rule it meets the walking one with, whether it is that rule's first
operand, and its place in the sequence of all incoming instructions."""


class Budget:
    """How many meetings of instructions may still be tried.

    The rules make the edits of one list on both sides meet each other, all with all. A budget bounds what one upload
    can cost; it may be shared by several merges.
    """

    __slots__ = ("left",)

    def __init__(self, meetings: int) -> None:
        self.left: int = meetings

    def spend(self, meetings: int) -> None:
        """Take ``meetings`` off. Raises :class:`MergeTooLarge` when there is nothing left."""
        self.left -= meetings
        if self.left < 0:
            raise MergeTooLarge("too many edits of the same places on both sides to be merged")


class Line:
    """Incoming path instructions that local ones of one shape can meet, in order.

    Discarded ones stay until as many of them have been stepped over as the line is long; so they cost little, however
    many instructions walk the line.
    """

    __slots__ = ("_wasted", "meetings")

    def __init__(self, local: Instruction, entries: list[Entry]) -> None:
        """``local`` is any instruction of the shape."""
        self.meetings: list[Meeting] = []
        self._wasted: int = 0
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

    def until(self, before: int) -> Iterable[Meeting]:
        """The meetings before a place in the sequence."""
        if before == END:
            return self.meetings
        return islice(self.meetings, bisect_left(self.meetings, before, key=_sequence_of))

    def waste(self, steps: int) -> None:
        """Count ``steps`` over discarded instructions, and remove these when it is worth it."""
        self._wasted += steps
        if self._wasted > len(self.meetings):
            self.meetings = [meeting for meeting in self.meetings if not meeting[0].discarded]
            self._wasted = 0


def _sequence_of(meeting: Meeting) -> int:
    return meeting[4]


def _walk(local: Instruction, local_side: Changeset, meetings: Iterable[Meeting], budget: Budget) -> int:
    """Let ``local`` meet one after the other until it is discarded. Returns how many discarded ones it came across."""
    wasted = steps = 0
    for incoming, incoming_side, rule, incoming_first, _ in meetings:
        steps += 1
        if incoming.discarded:
            wasted += 1
            continue
        if incoming_first:
            rule(incoming, local, incoming_side, local_side)
        else:
            rule(local, incoming, local_side, incoming_side)
        if local.discarded:
            break
    budget.spend(steps)
    return wasted


class _Field:
    """The incoming instructions on one property of one object."""

    __slots__ = ("_budget", "_everything", "_lines", "_named", "_unnamed")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._everything: list[Entry] = []
        self._named: dict[str, list[Entry]] = {}  # by the name that the path begins with: a dictionary's key
        self._unnamed: list[Entry] = []  # path empty, or beginning with an index
        self._lines: dict[tuple[int, int, str | None, bool], Line] = {}

    def add(self, entry: Entry, name: str | None) -> None:
        self._everything.append(entry)
        if name is None:
            self._unnamed.append(entry)
        else:
            self._named.setdefault(name, []).append(entry)

    def walk(self, local: PathInstruction, side: Changeset, before: int) -> None:
        name = _first_name(local)
        if name is None:
            self._walk_line(self._line(local, None, True, self._everything), local, side, before)
            return
        # All names share one line of what has no name; else many names would make many long lines.
        named = self._named.get(name)
        if named is None:
            if self._unnamed:
                self._walk_line(self._line(local, None, False, self._unnamed), local, side, before)
            return
        line = self._line(local, name, False, named)
        if not self._unnamed:
            self._walk_line(line, local, side, before)
            return
        other = self._line(local, None, False, self._unnamed)
        wasted = _walk(local, side, in_order(line.until(before), other.until(before), key=_sequence_of), self._budget)
        if wasted:
            line.waste(wasted)
            other.waste(wasted)

    def _walk_line(self, line: Line, local: PathInstruction, side: Changeset, before: int) -> None:
        wasted = _walk(local, side, line.until(before), self._budget)
        if wasted:
            line.waste(wasted)

    def _line(self, local: PathInstruction, name: str | None, everything: bool, entries: list[Entry]) -> Line:
        """The line of ``entries``, which ``name`` and ``everything`` stand for, for the shape of ``local``."""
        shape = (local.op, len(local.path), name, everything)
        line = self._lines.get(shape)
        if line is None:
            line = self._lines[shape] = Line(local, entries)
        return line


def _first_name(instruction: PathInstruction) -> str | None:
    if not instruction.path:
        return None
    element = instruction.path[0]
    return element if isinstance(element, str) else None


class IncomingObject:
    """The incoming instructions on one object."""

    __slots__ = ("_budget", "_erasures", "_everything", "_fields")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._everything: Row = Row()
        self._erasures: Row | None = None
        self._fields: dict[str, _Field] = {}

    def add(self, entry: Entry) -> None:
        """Add an instruction; they must come in order."""
        self._everything.add(entry)
        instruction = entry.instruction
        if isinstance(instruction, PathInstruction):
            field = self._fields.get(instruction.field)
            if field is None:
                field = self._fields[instruction.field] = _Field(self._budget)
            field.add(entry, _first_name(instruction))
        elif instruction.op == ERASE_OBJECT:
            if self._erasures is None:
                self._erasures = Row()
            self._erasures.add(entry)

    def erasure(self) -> Entry | None:
        """The first live EraseObject: it discards every local instruction that comes so far but another EraseObject."""
        return None if self._erasures is None else self._erasures.first()

    def walk(self, local: ObjectInstruction, side: Changeset, before: int) -> None:
        """Let a local instruction on this object meet what stands before a place in the sequence.

        That place must not lie behind :meth:`erasure` unless the instruction is an EraseObject.
        """
        if isinstance(local, PathInstruction):
            field = self._fields.get(local.field)
            if field is not None:
                field.walk(local, side, before)
        elif local.op == ERASE_OBJECT:

            def meet(entry: Entry) -> bool:
                # It discards all but another erasure; of two erasures one falls (rule O2).
                merge_pair(local, entry.instruction, side, entry.side)
                return local.discarded

            self._everything.sweep(meet, before=before)
