"""Applies instructions to a Realm's content: every rule of ``spec/merge.md`` 8.5, written once.

What the reference answers with BadChangesetError or any other exception raises
:class:`~realmserver.changeset.instructions.BadChangeset` here, and an instruction that raised has changed nothing: all
is checked before the first change. Where the content is kept, and how much of it, is the model's matter
(:mod:`~realmserver.realms.places`): ``shape`` knows just enough to be sure that a client can apply an instruction,
``values`` holds everything.

The module also says which instructions may be dropped after a merge because of the known faults of the merge rules
(``spec/merge.md`` 8.6).
"""

from collections.abc import Callable, Iterable
from typing import Final

from realmserver.changeset.instructions import (
    COLLECTION_DICTIONARY,
    COLLECTION_LIST,
    COLLECTION_SET,
    COLLECTION_SINGLE,
    TABLE_EMBEDDED,
    TYPE_DICTIONARY,
    TYPE_ERASED,
    TYPE_GLOBAL_KEY,
    TYPE_INT,
    TYPE_LINK,
    TYPE_LIST,
    TYPE_OBJECT_VALUE,
    AddColumn,
    AddInteger,
    AddTable,
    ArrayErase,
    ArrayInsert,
    ArrayMove,
    BadChangeset,
    Clear,
    CreateObject,
    EraseColumn,
    EraseObject,
    EraseTable,
    Instruction,
    PathInstruction,
    Payload,
    SetErase,
    SetInsert,
    Update,
)
from realmserver.realms.checks import (
    bad,
    check_dictionary_key,
    check_key,
    check_new_column,
    check_new_table,
    check_value,
    link_of,
    shown,
    table_of,
)
from realmserver.realms.places import (
    ABSENT,
    DICTIONARY,
    INT,
    LIST,
    NULL,
    OBJECT,
    Model,
)
from realmserver.realms.resolve import Entry, Property, Slot, resolve
from realmserver.realms.schema import Column, Schema, Table, columns_on_path

_KIND_OF_PAYLOAD: Final = {TYPE_LIST: LIST, TYPE_DICTIONARY: DICTIONARY}
_KIND_OF_CLEAR: Final = {COLLECTION_LIST: LIST, COLLECTION_DICTIONARY: DICTIONARY}
_PAYLOAD_OF_CLEAR: Final = {COLLECTION_LIST: TYPE_LIST, COLLECTION_DICTIONARY: TYPE_DICTIONARY}


class Applier:
    """Applies instructions to ``model``."""

    __slots__ = ("_handlers", "_model", "_schema")

    def __init__(self, model: Model) -> None:
        self._model = model
        self._schema = model.schema
        self._handlers: dict[type[Instruction], Callable[..., None]] = {
            AddTable: self._add_table,
            EraseTable: self._erase_table,
            CreateObject: self._create_object,
            EraseObject: self._erase_object,
            Update: self._update,
            AddInteger: self._add_integer,
            AddColumn: self._add_column,
            EraseColumn: self._erase_column,
            ArrayInsert: self._array_insert,
            ArrayMove: self._array_move,
            ArrayErase: self._array_erase,
            Clear: self._clear,
            SetInsert: self._set_insert,
            SetErase: self._set_erase,
        }

    @property
    def schema(self) -> Schema:
        """The schema that instructions are judged by and change."""
        return self._schema

    def apply(self, instruction: Instruction) -> None:
        """Apply one instruction; a discarded one does nothing.

        Raises BadChangeset if a client could not apply it; the model is then as before.
        """
        if not instruction.discarded:
            self._handlers[type(instruction)](instruction)

    def apply_all(self, instructions: Iterable[Instruction]) -> None:
        """Apply ``instructions`` in order. Raises BadChangeset at the first bad one; those before it stay applied."""
        for instruction in instructions:
            self.apply(instruction)

    def apply_tolerantly(self, instructions: Iterable[Instruction]) -> list[Instruction]:
        """Apply ``instructions`` in order and leave out those that fail and that :func:`may_drop` allows to leave out.

        Returns what was left out. Raises BadChangeset for any other bad one; those before it stay applied.
        """
        dropped = []
        for instruction in instructions:
            try:
                self.apply(instruction)
            except BadChangeset:
                if not may_drop(instruction, self._schema):
                    raise
                dropped.append(instruction)
        return dropped

    # Schema

    def _add_table(self, new: AddTable) -> None:
        old = self._schema.tables.get(new.table)
        if old is not None:
            self._check_same_table(new, old)
            return
        if new.kind == TABLE_EMBEDDED:
            check_new_table(AddTable(new.table, new.kind), self._schema)
            pk = None
        else:
            check_new_table(new, self._schema)
            pk = None
            if new.pk_type != TYPE_GLOBAL_KEY:
                pk = Column(0, new.pk_field, new.pk_type, new.pk_nullable, primary=True)
        columns = {pk.name: pk} if pk is not None else {}
        self._schema.put(Table(self._schema.next_table, new.table, new.kind, pk, columns))

    def _check_same_table(self, new: AddTable, old: Table) -> None:
        if new.kind != old.kind:
            bad(new, f"the class exists with table type {old.kind}")
        if new.kind == TABLE_EMBEDDED:
            return
        if old.pk is None:
            if new.pk_type != TYPE_GLOBAL_KEY:
                bad(new, "the class exists without a primary key")
        elif (new.pk_type, new.pk_field, new.pk_nullable) != (old.pk.type, old.pk.name, old.pk.nullable):
            bad(new, f"the class exists with another primary key, {shown(old.pk.name)}")

    def _erase_table(self, gone: EraseTable) -> None:
        table = table_of(gone, self._schema)
        if self._schema.is_link_target(table):
            bad(gone, "another class links to it, so clients cannot erase it")
        self._schema.remove(table.name)
        self._model.table_erased(table)

    def _add_column(self, new: AddColumn) -> None:
        table = table_of(new, self._schema)
        old = table.columns.get(new.field)
        if old is not None:
            if (new.type, new.collection) != (old.type, old.collection):
                bad(new, f"the column exists with type {old.type} and collection type {old.collection}")
            if old.type == TYPE_LINK and new.target != old.target:
                bad(new, f"the column exists and links to {shown(old.target)}")
            return
        check_new_column(new, self._schema, table)
        target = new.target if new.type == TYPE_LINK else ""
        embedded = target != "" and self._schema.tables[target].embedded
        column = Column(table.next_column, new.field, new.type, new.nullable, new.collection, target, embedded)
        self._schema.put(table.with_column(column))

    def _erase_column(self, gone: EraseColumn) -> None:
        table = table_of(gone, self._schema)
        column = table.columns.get(gone.field)
        if column is None:
            bad(gone, "no such column")
        if column.primary:
            bad(gone, "it is the primary key")
        self._schema.put(table.without_column(column.name))
        self._model.column_erased(table, column)

    # Objects

    def _create_object(self, new: CreateObject) -> None:
        table = table_of(new, self._schema)
        check_key(new, table, new.key)
        self._model.create(table, new.key)

    def _erase_object(self, gone: EraseObject) -> None:
        table = table_of(gone, self._schema)
        check_key(gone, table, gone.key)
        self._model.erase(table, gone.key)

    # Values

    def _update(self, new: Update) -> None:
        if not new.path:
            # Nearly all instructions of nearly all uploads: a simple value into a property of a top-level object.
            table = self._schema.tables.get(new.table)
            column = table.columns.get(new.field) if table is not None else None
            if table is not None and column is not None and column.plain:
                fields = self._model.find(table, new.key)
                if fields is not None:
                    check_value(new, self._schema, table, column, new.payload)
                    fields.put(column, new.payload)
                    return
        place = resolve(self._model, new)
        if isinstance(place, Property):
            self._update_property(new, place)
        elif isinstance(place, Slot):
            self._update_slot(new, place)
        else:
            self._update_entry(new, place)

    def _update_property(self, new: Update, place: Property) -> None:
        column = place.column
        if column.collection != COLLECTION_SINGLE:
            bad(new, "a list, set or dictionary is not set as a whole")
        if column.primary:
            bad(new, "it is the primary key")
        kind = new.payload.type
        if kind == TYPE_OBJECT_VALUE:
            if not column.embedded:
                bad(new, "an embedded object in a column of another type")
            if place.fields.kind(column) != OBJECT:
                place.fields.make(column, OBJECT)
        elif kind in _KIND_OF_PAYLOAD:
            self._check_mixed(new, column)
            if place.fields.kind(column) != _KIND_OF_PAYLOAD[kind]:
                place.fields.make(column, _KIND_OF_PAYLOAD[kind])
        else:
            self._check_value(new, place.owner, column, new.payload)
            place.fields.put(column, new.payload)

    def _update_slot(self, new: Update, place: Slot) -> None:
        column = place.column
        kind = new.payload.type
        # The reference looks at neither, but the merge does (spec/merge.md 7, L1): whatever another client does with
        # this list before it has seen a wrong one would be refused, and that client would be stopped for good.
        self._check_prior_size(new, place, new.prior_size)
        self._check_in_range(new, place)
        if kind == TYPE_OBJECT_VALUE:
            return  # a list of embedded objects has one in every slot
        if kind in _KIND_OF_PAYLOAD:
            self._check_mixed(new, column)
            if place.places.kind(place.index) != _KIND_OF_PAYLOAD[kind]:
                place.places.make(place.index, _KIND_OF_PAYLOAD[kind])
        else:
            self._check_value(new, place.owner, column, new.payload)
            place.places.put(place.index, new.payload)

    def _update_entry(self, new: Update, place: Entry) -> None:
        column = place.column
        kind = new.payload.type
        if kind == TYPE_ERASED:
            place.places.erase(place.key)
            return
        check_dictionary_key(new, place.key)
        if kind == TYPE_OBJECT_VALUE:
            if not column.embedded:
                bad(new, "an embedded object in a dictionary of another type")
            place.places.make(place.key, OBJECT)  # a new one even where one is, unlike in properties
        elif kind in _KIND_OF_PAYLOAD:
            self._check_mixed(new, column)
            if place.places.kind(place.key) != _KIND_OF_PAYLOAD[kind]:
                place.places.make(place.key, _KIND_OF_PAYLOAD[kind])
        else:
            self._check_value(new, place.owner, column, new.payload)
            place.places.put(place.key, new.payload)

    def _add_integer(self, new: AddInteger) -> None:
        place = resolve(self._model, new)
        if not isinstance(place, Property):
            bad(new, "only properties are incremented")
        column = place.column
        if column.collection != COLLECTION_SINGLE or column.primary or not (column.mixed or column.type == TYPE_INT):
            bad(new, "not an integer property")
        if column.mixed and place.fields.kind(column) not in (NULL, INT):
            bad(new, "the Mixed property does not hold an integer")
        place.fields.add_integer(column, new.value)

    # Lists

    def _array_insert(self, new: ArrayInsert) -> None:
        place = self._slot(new)
        index, column, kind = place.index, place.column, new.payload.type
        self._check_prior_size(new, place, new.prior_size)
        if index > new.prior_size:
            bad(new, f"insertion at {index} into a list of {new.prior_size}")
        if kind == TYPE_OBJECT_VALUE:
            if not column.embedded:
                bad(new, "an embedded object in a list of another type")
            place.places.insert_new(index, OBJECT)
        elif kind in _KIND_OF_PAYLOAD:
            self._check_mixed(new, column)
            place.places.insert_new(index, _KIND_OF_PAYLOAD[kind])
        else:
            self._check_value(new, place.owner, column, new.payload)
            place.places.insert(index, new.payload)

    def _array_move(self, move: ArrayMove) -> None:
        place = self._slot(move)
        self._check_prior_size(move, place, move.prior_size)
        self._check_in_range(move, place)
        if move.destination >= move.prior_size:
            bad(move, f"move to {move.destination} in a list of {move.prior_size}")
        if move.destination == place.index:
            bad(move, "move to where the element is")
        place.places.move(place.index, move.destination)

    def _array_erase(self, gone: ArrayErase) -> None:
        place = self._slot(gone)
        self._check_prior_size(gone, place, gone.prior_size)
        self._check_in_range(gone, place)
        place.places.erase(place.index)

    def _slot(self, instruction: PathInstruction) -> Slot:
        place = resolve(self._model, instruction)
        if not isinstance(place, Slot):
            bad(instruction, "the path does not end in a list")
        return place

    # Whole collections

    def _clear(self, clear: Clear) -> None:
        place = resolve(self._model, clear)
        if isinstance(place, Property) and place.column.collection != COLLECTION_SINGLE:
            if clear.collection not in (COLLECTION_SINGLE, place.column.collection):
                bad(clear, f"Clear of collection type {clear.collection}, the column has {place.column.collection}")
            self._clear_column(place)
            return
        kind = _KIND_OF_CLEAR.get(clear.collection)
        if not place.column.mixed or kind is None:
            bad(clear, f"Clear of collection type {clear.collection} on a place that cannot hold it")
        if isinstance(place, Property):
            place.fields.make(place.column, kind)
        elif isinstance(place, Slot):
            self._check_in_range(clear, place)
            place.places.make(place.index, kind)
        else:
            if place.places.kind(place.key) == ABSENT:
                bad(clear, "no such key")
            place.places.make(place.key, kind)

    def _clear_column(self, place: Property) -> None:
        if place.column.collection == COLLECTION_LIST:
            place.fields.list_at(place.column).clear()
        elif place.column.collection == COLLECTION_DICTIONARY:
            place.fields.dictionary_at(place.column).clear()
        else:
            place.fields.set_clear(place.column)

    def _set_insert(self, new: SetInsert) -> None:
        place = self._set(new, new.payload)
        self._note_link(place.owner, place.column, new.payload)
        place.fields.set_insert(place.column, new.payload)

    def _set_erase(self, gone: SetErase) -> None:
        place = self._set(gone, gone.payload)
        place.fields.set_erase(place.column, gone.payload)

    def _set(self, instruction: PathInstruction, payload: Payload) -> Property:
        place = resolve(self._model, instruction)
        if not isinstance(place, Property) or place.column.collection != COLLECTION_SET:
            bad(instruction, "the path does not end at a set")
        check_value(instruction, self._schema, place.owner, place.column, payload)
        return place

    # Common checks

    def _check_value(self, instruction: Instruction, owner: Table, column: Column, payload: Payload) -> None:
        """As :func:`checks.check_value`, for a value that is stored next."""
        check_value(instruction, self._schema, owner, column, payload)
        self._note_link(owner, column, payload)

    def _note_link(self, owner: Table, column: Column, payload: Payload) -> None:
        """Note in the schema what storing a link in a Mixed place does to its target class."""
        if column.mixed and payload.type == TYPE_LINK:
            target = self._schema.tables[link_of(payload)[0]]
            if target.name != owner.name and not target.mixed_target:
                self._schema.put(target.as_mixed_target())

    def _check_mixed(self, instruction: Instruction, column: Column) -> None:
        if not column.mixed:
            bad(instruction, "a list or dictionary in a place that is not Mixed")

    def _check_in_range(self, instruction: Instruction, place: Slot) -> None:
        size = place.places.size()
        if place.index >= size:
            bad(instruction, f"index {place.index} in a list of {size}")

    def _check_prior_size(self, instruction: Instruction, place: Slot, prior_size: int) -> None:
        size = place.places.size()
        if prior_size != size:
            bad(instruction, f"prior size {prior_size}, the list has {size}")

    # Faults of the merge rules

    def replacement(self, failed: Instruction) -> Update | None:
        """The instruction to store and apply in place of ``failed``, which a merge has made impossible; None if it is
        better dropped (``spec/merge.md`` 8.6, F3).

        A Clear of a dictionary's key that the other side has erased becomes the creation of that collection: this
        applies everywhere, and gives the newer writer's result.
        """
        if not isinstance(failed, Clear) or failed.collection not in _PAYLOAD_OF_CLEAR:
            return None
        payload = Payload(_PAYLOAD_OF_CLEAR[failed.collection])
        update = Update(failed.table, failed.key, failed.field, list(failed.path), payload)
        try:
            place = resolve(self._model, update)
            if not isinstance(place, Entry) or not place.column.mixed or place.places.kind(place.key) != ABSENT:
                return None
            check_dictionary_key(update, place.key)
        except BadChangeset:
            return None
        return update


def may_drop(instruction: Instruction, schema: Schema) -> bool:
    """Whether ``instruction``, well-formed in itself but bad on apply after a merge, may be dropped instead of refused:
    its path touches a Mixed place or a list of embedded objects (``spec/merge.md`` 8.6). Judged on ``schema`` alone."""
    if not isinstance(instruction, PathInstruction):
        return False
    return any(column.may_drop for column, _ in columns_on_path(instruction, schema))


def any_may_drop(schema: Schema) -> bool:
    """Whether :func:`may_drop` can be true of any instruction."""
    return any(table.may_drop for table in schema.tables.values())
