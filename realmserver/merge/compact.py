"""A changeset on its way through the server: as its bytes and what it touches, not as instructions.

Most uploads meet nothing, are stored as they came, and nobody has to look at their instructions one by one. So whoever
integrates works with this interface, and asks for instructions only where they count. It is there twice, with the same
bytes and the same judgement for every input: here, on top of ``changeset`` and of the merge of this package, for people
to read; and as machine code made of Rust, which never makes the objects (``native/``). Who integrates asks
``realms.core``, which chooses.
"""

from collections.abc import Sequence

from realmserver.changeset.decode import decode_canonical
from realmserver.changeset.encode import encode, reset_offsets
from realmserver.changeset.instructions import (
    TYPE_LINK,
    TYPE_NULL,
    Changeset,
    CreateObject,
    EraseColumn,
    EraseTable,
    Key,
    Update,
)
from realmserver.merge.objects import Budget
from realmserver.merge.summaries import Reference, summarize
from realmserver.merge.walk import merge as merge_changesets

Objects = tuple[tuple[str, Key, bool], ...]
"""Class and key of each object that a plain changeset names, in order of first mention, and whether it creates it."""

Writes = tuple[tuple[str, str, int, str, int], ...]
"""What a plain changeset writes, each once, in order of first mention: class, column, type of the value; for a link
its class and the type of its key, otherwise ``""`` and 0."""


class CompactChangeset:
    """A changeset, its ``timestamp`` and ``origin`` as in :class:`~realmserver.changeset.instructions.Changeset`."""

    __slots__ = ("_canonical", "changeset")

    def __init__(self, changeset: Changeset, canonical: bytes) -> None:
        self.changeset: Changeset = changeset
        self._canonical: bytes = canonical

    @property
    def timestamp(self) -> int:
        return self.changeset.timestamp

    @property
    def origin(self) -> int:
        return self.changeset.origin

    @property
    def dirty(self) -> bool:
        """Whether a merge has changed it since it was parsed, or since :meth:`settle`."""
        return self.changeset.dirty

    @property
    def size(self) -> int:
        """The number of instructions, those included that a merge has discarded."""
        return len(self.changeset.instructions)

    def canonical(self) -> bytes:
        """The canonical bytes of what it is now (``spec/changeset.md`` 6)."""
        if self.changeset.dirty:
            return encode(self.changeset)
        return self._canonical

    def references(self) -> frozenset[Reference]:
        """What it touches, as in :class:`~realmserver.merge.summaries.Summary`."""
        return summarize(self.changeset).references

    def destructive(self) -> bool:
        """Whether it erases a class or a column."""
        return any(
            isinstance(each, EraseTable | EraseColumn) and not each.discarded for each in self.changeset.instructions
        )

    def erased_columns(self) -> list[tuple[str, str]]:
        """Class and name of each column that it erases."""
        return [
            (each.table, each.field)
            for each in self.changeset.instructions
            if isinstance(each, EraseColumn) and not each.discarded
        ]

    def plain(self) -> tuple[Objects, Writes] | None:
        """All there is to know of it to judge and apply it; None where its instructions have to be looked at.

        It is plain if it only creates objects and overwrites properties with simple values, links or nulls, no object
        before it is created.
        """
        objects: dict[tuple[str, Key], bool] = {}
        writes: dict[tuple[str, str, int, str, int], None] = {}
        for each in self.changeset.instructions:
            if each.discarded:
                continue
            if isinstance(each, CreateObject):
                if not objects.setdefault((each.table, each.key), True):
                    return None
            elif isinstance(each, Update) and not each.path and each.payload.type >= TYPE_NULL:
                objects.setdefault((each.table, each.key), False)
                target, key_type = "", 0
                if each.payload.type == TYPE_LINK:
                    link = each.payload.value
                    assert isinstance(link, tuple)
                    target, key_type = link[0], link[1][0]
                writes[each.table, each.field, each.payload.type, target, key_type] = None
            else:
                return None
        return tuple((table, key, created) for (table, key), created in objects.items()), tuple(writes)

    def settle(self) -> None:
        """Make it as if it had been parsed from its canonical bytes (``spec/merge.md`` 7, C5)."""
        changeset = self.changeset
        canonical = self._canonical = self.canonical()
        changeset.instructions = [each for each in changeset.instructions if not each.discarded]
        if not canonical:
            changeset.strings, changeset.numbers = [], {}
        reset_offsets(changeset)
        changeset.dirty = False

    def release(self) -> None:
        """Give the memory back, whoever still holds this (the traceback of an error does): it is not used any more."""
        let_go(self.changeset)


def let_go(changeset: Changeset) -> None:
    """Give the memory back in small pieces: all at once, that of a million instructions would hold the interpreter, and
    with it every other thread, for half a second."""
    instructions = changeset.instructions
    while instructions:
        del instructions[-1000:]


def parse(data: bytes, timestamp: int, origin: int, clear_types: bool) -> CompactChangeset:
    """The changeset that ``data`` holds, as :func:`~realmserver.changeset.decode.decode`. Raises BadChangeset."""
    changeset, canonical = decode_canonical(data, timestamp=timestamp, origin=origin, clear_types=clear_types)
    return CompactChangeset(changeset, canonical)


def merge(incoming: Sequence[CompactChangeset], local: Sequence[CompactChangeset], meetings: int) -> int:
    """Merge two sides, as :func:`realmserver.merge.walk.merge`, in at most ``meetings`` meetings of instructions.
    Returns how many are left."""
    budget = Budget(meetings)
    merge_changesets([each.changeset for each in incoming], [each.changeset for each in local], budget)
    return budget.left
