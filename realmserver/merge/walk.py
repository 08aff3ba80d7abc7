"""The merge of two concurrent histories, at a cost that follows the pairs of instructions that can meet.

The result is that of :mod:`realmserver.merge.all_pairs`, the walk as it is specified (``spec/merge.md`` 2), to the last
byte. Instead of trying every pair, the incoming side is put into an index, and each local instruction meets, in their
order, only the incoming ones that a rule can exist with. This works because what the index is made of never changes
while rules edit instructions. Rules exist only between (section 2.2)

- instructions on one object (:mod:`realmserver.merge.objects`),
- AddTable and AddTable of one class, AddColumn and AddColumn of one column,
- EraseTable and everything of its class, and each AddColumn that links to its class,
- EraseColumn and AddColumn, EraseColumn and Update of its column.

Of each pair of schema instructions that a rule is about, one is discarded at least, and so is what meets an erasure of
its class or column. Hence:

- For an AddTable, an AddColumn and a CreateObject only the first that it can meet counts: there it ends.
- Any other local instruction on an object ends at the first incoming erasure of its class or column (a path
  instruction: of its object, too). It walks what comes before on its object.
- A local EraseTable or EraseColumn (an EraseObject, too) sweeps: all it comes across falls and is never looked at
  again, until it ends itself, at an erasure of the same or of its class.

Rule S4 prepends an EraseColumn to an EraseTable (2.1). A new incoming one gets a place in the sequence between its
neighbours, and later local instructions find it in the index. A new local one sweeps what is behind the AddColumn that
caused it, at once. Both are put into their changesets when all is done, so that each costs the same in long ones.
"""

import sys
from collections.abc import Sequence
from typing import TypeVar

from realmserver.changeset.instructions import (
    ADD_COLUMN,
    ADD_TABLE,
    ERASE_COLUMN,
    ERASE_OBJECT,
    ERASE_TABLE,
    AddColumn,
    Changeset,
    EraseColumn,
    EraseTable,
    Instruction,
    Key,
    ObjectInstruction,
    Update,
)
from realmserver.merge.all_pairs import merge_pair
from realmserver.merge.objects import Budget, IncomingObject
from realmserver.merge.rows import BEGINNING, END, GAP, Entry, Row, earlier
from realmserver.merge.rules_schema import erase_linking_column, linked_class

_Place = TypeVar("_Place")


def merge(incoming: Sequence[Changeset], local: Sequence[Changeset], budget: Budget | None = None) -> None:
    """Transform two concurrent runs of changesets against each other, in place (``spec/merge.md`` 2).

    ``incoming`` are the changesets just received, ``local`` those of the receiver's history that the sender had not
    seen, both in version order, with ``timestamp`` and ``origin`` set (an origin of 0 already replaced: section 0).
    Afterwards ``incoming`` is what to apply and to store, and ``local`` the new reciprocal history. Instructions are
    changed or marked as discarded; a changeset of which anything changed is marked ``dirty``, no mark is taken away.
    No two instructions may share a path list.

    Raises :class:`~realmserver.merge.errors.TransformError` where the sides contradict each other, or where the merge
    takes more than ``budget`` (None: as long as it takes). Both are then half transformed and must be thrown away.
    """
    index = _Index(incoming, budget or Budget(sys.maxsize), swept=_erases_schema(local))
    for side in local:
        for instruction in side.instructions:
            if not instruction.discarded:
                index.meet(instruction, side)
    index.put_prepended()


def _erases_schema(side: Sequence[Changeset]) -> bool:
    for changeset in side:
        for instruction in changeset.instructions:
            if (instruction.op == ERASE_TABLE or instruction.op == ERASE_COLUMN) and not instruction.discarded:
                return True
    return False


class _Index:
    """The incoming side, by what its instructions are about, and what rule S4 has made."""

    __slots__ = (
        "_budget",
        "_classes",
        "_columns",
        "_erases",
        "_objects",
        "_prepended",
        "_prepended_incoming",
        "_schema",
        "_swept",
    )

    def __init__(self, incoming: Sequence[Changeset], budget: Budget, *, swept: bool) -> None:
        """``swept``: whether the local side erases a class or a column, so that whole classes and columns must be
        found."""
        self._budget: Budget = budget
        self._objects: dict[tuple[str, Key], IncomingObject] = {}
        self._schema: dict[tuple[int, str, str], Row] = {}  # by opcode, class, and field where it has one
        self._erases: bool = False  # whether there is an EraseTable or EraseColumn
        self._swept: bool = swept
        self._classes: dict[str, Row] = {}  # what a local EraseTable sweeps
        self._columns: dict[tuple[str, str], Row] = {}  # what a local EraseColumn sweeps
        self._prepended: dict[Changeset, dict[Instruction, list[Instruction]]] = {}
        self._prepended_incoming: int = 0
        sequence = 0
        for side in incoming:
            for instruction in side.instructions:
                if not instruction.discarded:
                    sequence += GAP
                    self._add(Entry(instruction, side, sequence))

    def _add(self, entry: Entry) -> None:
        instruction = entry.instruction
        if isinstance(instruction, ObjectInstruction):
            place = (instruction.table, instruction.key)
            found = self._objects.get(place)
            if found is None:
                found = self._objects[place] = IncomingObject(self._budget)
            found.add(entry)
        else:
            field = instruction.field if isinstance(instruction, AddColumn | EraseColumn) else ""
            _add_to(self._schema, (instruction.op, instruction.table, field), entry)
            if instruction.op == ERASE_TABLE or instruction.op == ERASE_COLUMN:
                self._erases = True
        if self._swept:
            self._add_to_swept(entry)

    def _add_to_swept(self, entry: Entry) -> None:
        instruction = entry.instruction
        _add_to(self._classes, instruction.table, entry)
        if isinstance(instruction, Update | AddColumn | EraseColumn):
            _add_to(self._columns, (instruction.table, instruction.field), entry)
        if isinstance(instruction, AddColumn):
            linked = linked_class(instruction)
            if linked is not None and linked != instruction.table:
                _add_to(self._classes, linked, entry)

    def meet(self, local: Instruction, side: Changeset) -> None:
        """Let a local instruction meet what it can meet."""
        if isinstance(local, ObjectInstruction):
            self._meet_on_object(local, side)
        elif isinstance(local, EraseTable):
            self._sweep(self._classes.get(local.table), local, side)
        elif isinstance(local, EraseColumn):
            self._erase_column(local, side)
        else:
            self._meet_at(self._end_of_addition(local), local, side)

    def _meet_on_object(self, local: ObjectInstruction, side: Changeset) -> None:
        end = self._end_by_schema(local) if self._erases else None
        found = self._objects.get((local.table, local.key))
        if found is not None:
            if local.op != ERASE_OBJECT:
                end = earlier(end, found.erasure())
            found.walk(local, side, END if end is None else end.sequence)
        self._meet_at(end, local, side)

    def _end_by_schema(self, local: ObjectInstruction) -> Entry | None:
        """The first erasure of the class that an instruction is about, or of the column that it writes."""
        end = self._first(ERASE_TABLE, local.table)
        if isinstance(local, Update):
            end = earlier(end, self._first(ERASE_COLUMN, local.table, local.field))
        return end

    def _end_of_addition(self, local: Instruction) -> Entry | None:
        """The first instruction that an AddTable or AddColumn can meet: it discards the addition."""
        end = self._first(ERASE_TABLE, local.table)
        if not isinstance(local, AddColumn):
            return earlier(end, self._first(ADD_TABLE, local.table))
        end = earlier(end, self._first(ADD_COLUMN, local.table, local.field))
        end = earlier(end, self._first(ERASE_COLUMN, local.table, local.field))
        linked = linked_class(local)
        return end if linked is None else earlier(end, self._first(ERASE_TABLE, linked))

    def _first(self, op: int, table: str, field: str = "", after: int = BEGINNING) -> Entry | None:
        row = self._schema.get((op, table, field))
        return None if row is None else row.first(after)

    def _erase_column(self, local: EraseColumn, side: Changeset, after: int = BEGINNING) -> None:
        end = self._first(ERASE_TABLE, local.table, after=after)
        row = self._columns.get((local.table, local.field))
        self._sweep(row, local, side, after, END if end is None else end.sequence)
        self._meet_at(end, local, side)

    def _sweep(
        self, row: Row | None, local: Instruction, side: Changeset, after: int = BEGINNING, before: int = END
    ) -> None:
        def meet(entry: Entry) -> bool:
            self._meet_at(entry, local, side)
            return local.discarded

        if row is not None:
            row.sweep(meet, after, before)

    def _meet_at(self, entry: Entry | None, local: Instruction, side: Changeset) -> None:
        """Let a local instruction, if it is still there, meet an incoming one that it has a rule with."""
        if entry is None or local.discarded:
            return
        incoming = entry.instruction
        # S4 is about links from other classes: a column of the erased class itself falls with all else of it.
        if isinstance(local, AddColumn) and isinstance(incoming, EraseTable) and local.table != incoming.table:
            new = erase_linking_column(local, side, entry.side)
            self._prepend(new, incoming, entry.side)
            self._prepended_incoming += 1
            self._add(Entry(new, entry.side, entry.sequence - GAP + self._prepended_incoming))
        elif isinstance(local, EraseTable) and isinstance(incoming, AddColumn) and local.table != incoming.table:
            new = erase_linking_column(incoming, entry.side, side)
            self._prepend(new, local, side)
            self._erase_column(new, side, after=entry.sequence)
        else:
            merge_pair(local, incoming, side, entry.side)

    def _prepend(self, new: Instruction, present: Instruction, side: Changeset) -> None:
        self._prepended.setdefault(side, {}).setdefault(present, []).append(new)

    def put_prepended(self) -> None:
        """Put what rule S4 has made into the changesets, each directly before the EraseTable that it belongs to."""
        for side, prepended in self._prepended.items():
            instructions: list[Instruction] = []
            for instruction in side.instructions:
                instructions.extend(prepended.get(instruction, ()))
                instructions.append(instruction)
            side.instructions[:] = instructions


def _add_to(rows: dict[_Place, Row], place: _Place, entry: Entry) -> None:
    row = rows.get(place)
    if row is None:
        row = rows[place] = Row()
    row.add(entry)
