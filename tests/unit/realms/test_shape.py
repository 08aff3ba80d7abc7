"""The shape: it accepts what the values accept, from bytes too; savepoints; cost; nothing is left behind."""

from collections.abc import Iterator
from random import Random

import pytest
from apply_model import DICTIONARY, LIST, OBJECT_VALUE, ONE, TWO, Rows, Twins, integer, schema
from apply_random import random_instruction
from apply_vectors import FILES, server_history, sessions
from hypothesis import given, settings
from hypothesis import strategies as st

from realmserver.changeset import instructions as ins
from realmserver.changeset.instructions import BadChangeset, Instruction, Key
from realmserver.realms import shape_list
from realmserver.realms.content import DictionaryContent, ListContent, ObjectContent
from realmserver.realms.packing import BrokenRecord
from realmserver.realms.places import DictionaryPlaces, Fields, ListPlaces
from realmserver.realms.schema import Table
from realmserver.realms.shape import MAX_CACHED_CHILDREN, Shape
from realmserver.realms.shape_records import (
    META_KEY,
    Child,
    Inner,
    Leaf,
    ListBody,
    Node,
    Record,
    RecordKey,
    decode_record,
    encode_record,
    has_long_text,
    store_key,
)
from realmserver.store.interface import MAX_SHAPE_KEY


def with_objects(*keys: Key) -> Twins:
    realm = Twins()
    realm.apply(*schema(), *(ins.CreateObject("T", key) for key in keys))
    realm.persist()
    return realm


# The same as the values


@pytest.mark.parametrize("file", FILES)
def test_the_golden_histories_apply(file: str) -> None:
    for session in sessions(file):
        realm = Twins()
        for number, changeset in enumerate(server_history(session)):
            realm.apply(*changeset.instructions)
            (realm.persist if number % 4 else realm.reopen)()
        realm.reopen()
        agree(realm)
        nothing_left_behind(realm)


def agree(realm: Twins) -> None:
    """The shape knows of the values' content exactly what it must."""
    for table in realm.values.schema.tables.values():
        for key, content in realm.values._objects.get(table.id, {}).items():
            fields = realm.shape.find(realm.shape.schema.tables[table.name], key)
            assert fields is not None
            _agree_fields(realm, table, fields, content)


def _agree_fields(realm: Twins, table: Table, fields: Fields, content: ObjectContent) -> None:
    for column in table.columns.values():
        held = content.data.get(column.id)
        if column.collection == ins.COLLECTION_LIST:
            _agree_list(realm, column.target, fields.list_at(column), held or ListContent())
        elif column.collection == ins.COLLECTION_DICTIONARY and (column.mixed or column.embedded):
            _agree_dictionary(realm, column.target, fields.dictionary_at(column), held or DictionaryContent())
        elif column.collection == ins.COLLECTION_SINGLE and (column.mixed or column.embedded):
            known = fields.kind(column)
            if isinstance(held, ListContent):
                _agree_list(realm, "", fields.list_at(column), held)
            elif isinstance(held, DictionaryContent):
                _agree_dictionary(realm, "", fields.dictionary_at(column), held)
            elif isinstance(held, ObjectContent):
                _agree_fields(realm, realm.values.schema.target(column), fields.object_at(column), held)
            else:
                assert known == (1 if held is None or held == (1, held[1]) else 3)  # type: ignore[index]


def _agree_list(realm: Twins, target: str, places: ListPlaces, content: object) -> None:
    assert isinstance(content, ListContent)
    assert places.size() == len(content.data)
    for index, held in enumerate(content.data):
        if isinstance(held, ListContent):
            _agree_list(realm, "", places.list_at(index), held)
        elif isinstance(held, DictionaryContent):
            _agree_dictionary(realm, "", places.dictionary_at(index), held)
        elif isinstance(held, ObjectContent):
            _agree_fields(realm, realm.values.schema.tables[target], places.object_at(index), held)


def _agree_dictionary(realm: Twins, target: str, places: DictionaryPlaces, content: object) -> None:
    assert isinstance(content, DictionaryContent)
    assert places.kind("never there") == 0
    for key, held in content.data.items():
        assert places.kind(key) != 0
        if isinstance(held, ListContent):
            _agree_list(realm, "", places.list_at(key), held)
        elif isinstance(held, DictionaryContent):
            _agree_dictionary(realm, "", places.dictionary_at(key), held)
        elif isinstance(held, ObjectContent):
            _agree_fields(realm, realm.values.schema.tables[target], places.object_at(key), held)


def nothing_left_behind(realm: Twins) -> None:
    """Every record in the store belongs to an object that exists, and to a node that is chained to it."""
    rows, live = realm.rows, {META_KEY}
    for table in realm.values.schema.tables.values():
        for key in realm.values._objects.get(table.id, {}):
            object_key = store_key((table.id, key))
            live.add(object_key)
            live |= {store_key((table.id, node)) for node in _nodes_inside(rows, table.id, object_key)}
    assert {key for key in rows.shape if key not in live and key[:13] not in live} == set()


def _nodes_inside(rows: Rows, table: int, key: bytes) -> Iterator[int]:
    record = decode_record(rows.shape[key])
    assert isinstance(record, Node)
    waiting = [record.first]
    while waiting:
        number = waiting.pop()
        if number:
            yield number
            record = decode_record(rows.shape[store_key((table, number))])
            assert isinstance(record, Node)
            waiting += [record.first, record.next]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), page=st.sampled_from([2, 3, 64]))
def test_the_shape_accepts_what_the_values_accept(seed: int, page: int) -> None:
    random = Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shape_list, "PAGE_ITEMS", page)
        realm = with_objects(ONE)
        for _ in range(250):
            try:
                realm.apply(random_instruction(random, realm.values))
            except BadChangeset:
                continue
            if random.random() < 0.1:
                random.choice([realm.persist, realm.reopen])()
        realm.reopen()
        agree(realm)
        if all(name in realm.values.schema.tables["T"].columns for name in ("mx", "lm", "dm")):
            return_to_nothing(realm)


def return_to_nothing(realm: Twins) -> None:
    """After every object is erased, no record is left but the counters."""
    realm.apply(*(ins.EraseObject("T", (ins.TYPE_INT, number)) for number in range(3)))
    realm.persist()
    assert set(realm.rows.shape) <= {META_KEY}


# Savepoints


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_rollback_undoes_exactly_what_came_after_its_savepoint(seed: int) -> None:
    random = Random(seed)
    realm = with_objects(ONE, TWO)
    run(random, realm, 40)
    before = realm.shape.changes()
    realm.shape.begin()
    guided(random, realm, 30)
    realm.shape.begin()
    guided(random, realm, 30)
    random.choice([realm.shape.commit, realm.shape.rollback])()
    realm.shape.rollback()
    assert realm.shape.changes() == before
    realm.persist()
    agree(realm)


def run(random: Random, realm: Twins, count: int) -> None:
    for _ in range(count):
        try:
            realm.apply(random_instruction(random, realm.values))
        except BadChangeset:
            continue


def guided(random: Random, realm: Twins, count: int) -> None:
    """Random instructions on the shape alone; those that do not fit what the values hold are refused."""
    for _ in range(count):
        try:
            realm.shape.applier.apply(random_instruction(random, realm.values))
        except BadChangeset:
            continue


def test_a_committed_savepoint_stays() -> None:
    realm = with_objects(ONE)
    realm.shape.begin()
    realm.apply(ins.AddTable("Z", ins.TABLE_TOP_LEVEL), ins.CreateObject("T", TWO))
    realm.shape.commit()
    realm.reopen()
    realm.apply(ins.Update("T", TWO, "i", [], integer(1)), ins.CreateObject("Z", (ins.TYPE_GLOBAL_KEY, (0, 1))))


def test_what_the_store_did_not_take_is_forgotten() -> None:
    realm = with_objects(ONE)
    realm.apply(ins.ArrayInsert("T", ONE, "lm", [0], LIST, 0))
    realm.persist()
    again: list[Instruction] = [
        ins.AddTable("Z", ins.TABLE_TOP_LEVEL),
        ins.ArrayInsert("T", ONE, "lm", [0], DICTIONARY, 1),
        ins.CreateObject("T", TWO),
    ]
    realm.shape.begin()
    realm.shape.applier.apply_all(again)
    realm.shape.commit()
    changes = realm.shape.changes()
    realm.shape.discard()
    assert realm.shape.changes() == ({}, {}, [])
    realm.shape.applier.apply_all(again)
    assert realm.shape.changes() == changes


# Cost


def append_cost(size: int, append: Instruction, setup: list[Instruction]) -> tuple[int, int]:
    """Records and bytes that one append writes to a list of ``size``."""
    realm = with_objects(ONE)
    realm.shape.applier.apply_all(setup)
    realm.persist()
    realm.shape.applier.apply(append)
    schema_rows, shape, prefixes = realm.shape.changes()
    assert (schema_rows, prefixes) == ({}, [])
    return len(shape), sum(len(record) for record in shape.values() if record is not None)


def fill(size: int, kind: str) -> list[Instruction]:
    instructions: list[Instruction] = []
    for index in range(size):
        if kind == "le":
            instructions.append(ins.ArrayInsert("T", ONE, "le", [index], OBJECT_VALUE, index))
            instructions.append(ins.ArrayInsert("T", ONE, "le", [index, "li", 0], integer(1), 0))
        elif kind == "lm":
            instructions.append(ins.ArrayInsert("T", ONE, "lm", [index], LIST, index))
        else:
            instructions.append(ins.ArrayInsert("T", ONE, "li", [index], integer(1), index))
    return instructions


@pytest.mark.parametrize(("kind", "records", "size"), [("li", 1, 100_000), ("lm", 4, 10_000), ("le", 4, 10_000)])
def test_appending_to_a_long_list_costs_what_appending_to_a_short_one_does(kind: str, records: int, size: int) -> None:
    payload = {"li": integer(1), "lm": LIST, "le": OBJECT_VALUE}[kind]
    costs = {
        length: append_cost(length, ins.ArrayInsert("T", ONE, kind, [length], payload, length), fill(length, kind))
        for length in (10, size)
    }
    assert costs[10][0] <= 2
    assert costs[size][0] <= records
    assert costs[size][1] <= costs[10][1] + 1500  # a page more for each level of the tree


def test_an_object_of_simple_values_is_one_byte_and_its_values_cost_nothing() -> None:
    realm = with_objects(ONE)
    assert realm.rows.shape[store_key((1, ONE))] == b"\x11"
    realm.apply(
        ins.Update("T", ONE, "i", [], integer(3)),
        ins.Update("T", ONE, "di", ["k"], integer(3)),
        ins.SetInsert("T", ONE, "sm", [], integer(3)),
        ins.Update("T", ONE, "mx", [], integer(3)),
    )
    assert realm.shape.changes() == ({}, {}, [])


def test_clearing_a_long_list_is_one_prefix() -> None:
    realm = with_objects(ONE)
    realm.shape.applier.apply_all(fill(500, "lm"))
    realm.persist()
    assert len(realm.rows.shape) > 10
    realm.shape.applier.apply(ins.Clear("T", ONE, "lm", [], ins.COLLECTION_LIST))
    _, shape, prefixes = realm.shape.changes()
    assert (len(shape), len(prefixes)) == (1, 1)
    realm.persist()
    assert set(realm.rows.shape) == {META_KEY, store_key((1, ONE))}


def test_erasing_a_class_is_one_prefix() -> None:
    realm = with_objects(ONE)
    realm.shape.applier.apply_all(fill(50, "le"))
    realm.persist()
    realm.shape.applier.apply(ins.EraseTable("T"))
    schema_rows, shape, prefixes = realm.shape.changes()
    assert (schema_rows, shape, prefixes) == ({"T": None}, {}, [(1).to_bytes(4, "big")])


def test_what_comes_and_goes_within_a_batch_asks_for_no_prefix() -> None:
    realm = with_objects(ONE)
    realm.apply(*fill(3, "le"), ins.Clear("T", ONE, "le", [], ins.COLLECTION_SINGLE))
    assert realm.shape.changes()[2] == []
    realm.persist()
    nothing_left_behind(realm)


def test_dictionary_keys_are_freed_with_what_is_inside() -> None:
    realm = with_objects(ONE)
    for key in ("a", "b", "c"):
        realm.apply(ins.Update("T", ONE, "dm", [key], DICTIONARY), ins.Update("T", ONE, "dm", [key, "x"], LIST))
        realm.apply(ins.ArrayInsert("T", ONE, "dm", [key, "x", 0], DICTIONARY, 0))
    realm.persist()
    realm.apply(ins.Update("T", ONE, "dm", ["b"], integer(1)))
    realm.reopen()
    agree(realm)
    nothing_left_behind(realm)
    realm.apply(ins.Clear("T", ONE, "dm", [], ins.COLLECTION_SINGLE))
    realm.persist()
    assert set(realm.rows.shape) == {META_KEY, store_key((1, ONE))}


def test_what_objects_knew_of_erased_columns_goes_when_they_change() -> None:
    realm = with_objects(ONE)
    for _ in range(60):
        realm.apply(
            ins.ArrayInsert("T", ONE, "lm", [0], LIST, 0),
            ins.EraseColumn("T", "lm"),
            ins.AddColumn("T", "lm", ins.TYPE_NULL, True, ins.COLLECTION_LIST),
        )
    realm.reopen()
    assert len(realm.rows.shape[store_key((1, ONE))]) < 150
    nothing_left_behind(realm)
    agree(realm)


# Keys and records


def test_long_keys_are_bounded_and_told_apart() -> None:
    long = "k" * 600
    keys: list[Key] = [(ins.TYPE_STRING, long + end) for end in ("a", "b")]
    realm = with_objects(ONE)
    realm.apply(ins.CreateObject("N", keys[0]))
    realm.apply(ins.Update("T", ONE, "dm", [long + "a"], LIST))
    realm.reopen()
    assert max(map(len, realm.rows.shape)) <= MAX_SHAPE_KEY
    with pytest.raises(BadChangeset, match="no such object"):
        realm.apply(ins.Update("N", keys[1], "name", [], integer(1)))
    with pytest.raises(BadChangeset, match="no such key"):
        realm.apply(ins.Clear("T", ONE, "dm", [long + "b"], ins.COLLECTION_LIST))
    realm.apply(ins.ArrayInsert("T", ONE, "dm", [long + "a", 0], integer(1), 0))


def test_keys_in_the_store_are_distinct() -> None:
    texts = ["", "a", "a\0", "k" * 448, "k" * 449, "k" * 450, "\udcff"]
    keys: list[RecordKey] = [
        *((1, (ins.TYPE_STRING, each)) for each in texts),
        (1, (ins.TYPE_NULL, None)),
        (1, (ins.TYPE_INT, -1)),
        (1, (ins.TYPE_INT, 1)),
        (1, (ins.TYPE_OBJECT_ID, bytes(12))),
        (1, (ins.TYPE_UUID, bytes(16))),
        (1, (ins.TYPE_GLOBAL_KEY, (0, 2**64 - 1))),
        (2, (ins.TYPE_INT, 1)),
        (1, 1),
        (1, 1, 1),
        *((1, 1, each) for each in texts),
    ]
    assert len({store_key(key) for key in keys}) == len(keys)
    assert max(len(store_key(key)) for key in keys) <= MAX_SHAPE_KEY


numbers = st.integers(0, 2**40)
children = st.one_of(
    st.sampled_from([Child(1), Child(3)]),
    st.tuples(st.sampled_from([4, 6]), numbers).map(lambda fields: Child(*fields)),
    numbers.map(lambda node: Child(5, node + 1)),
    numbers.map(lambda size: Child(5, 0, size)),
)
leaves = st.builds(Leaf, st.lists(st.one_of(st.integers(1, 2**32), children), max_size=5).map(tuple))
inners = st.builds(Inner, st.lists(st.tuples(numbers, numbers), max_size=5).map(tuple))
pages = st.one_of(leaves, inners)
bodies = st.one_of(st.none(), st.dictionaries(numbers, children, max_size=4), st.builds(ListBody, pages, numbers))
records = st.one_of(st.builds(Node, bodies, numbers, numbers, numbers), pages, children)


@given(records)
def test_records_survive_their_bytes(record: Record) -> None:
    data = encode_record(record)
    assert decode_record(data) == record
    for size in range(len(data)):
        if data[:size] != b"\x11":
            with pytest.raises(BrokenRecord):
                decode_record(data[:size])


def test_unknown_records_are_refused() -> None:
    for data in (b"\x00", b"\x01\x00\x00", b"\xff", encode_record(Child(3)) + b"\0"):
        with pytest.raises(BrokenRecord):
            decode_record(data)


# The cache


def test_the_cache_is_bounded_and_what_it_forgets_is_read_again() -> None:
    realm = with_objects(*((ins.TYPE_INT, number) for number in range(50)))
    reads: list[bytes] = []

    def read(key: bytes) -> bytes | None:
        reads.append(key)
        return realm.rows.shape.get(key)

    shape = Shape(read, realm.rows.schema, cache_records=10)
    for number in range(50):
        shape.applier.apply(ins.Update("T", (ins.TYPE_INT, number), "i", [], integer(1)))
    assert len(shape._cache) == 10
    del reads[:]
    for number in (49, 48, 0):
        shape.applier.apply(ins.Update("T", (ins.TYPE_INT, number), "i", [], integer(1)))
    assert reads == [store_key((1, (ins.TYPE_INT, 0)))]


def test_keys_of_megabytes_are_not_kept_in_memory() -> None:
    key: Key = (ins.TYPE_STRING, "x" * 10_000)
    assert has_long_text((1, key))
    realm = with_objects(ONE)
    realm.apply(ins.CreateObject("N", key))
    realm.persist()
    assert all(not has_long_text(each) for each in realm.shape._cache)
    with pytest.raises(BadChangeset, match="primary key"):
        realm.apply(ins.Update("N", key, "name", [], integer(1)))


def test_large_records_are_not_kept_in_memory() -> None:
    realm = with_objects(ONE, TWO)
    columns = [f"m{number}" for number in range(MAX_CACHED_CHILDREN + 1)]
    for name in columns:
        realm.apply(ins.AddColumn("T", name, ins.TYPE_NULL, True, ins.COLLECTION_SINGLE))
        realm.apply(ins.Update("T", ONE, name, [], LIST))
    realm.apply(ins.Update("T", TWO, columns[0], [], LIST))
    realm.persist()
    table = realm.shape.schema.tables["T"].id
    assert [(table, key) in realm.shape._cache for key in (ONE, TWO)] == [False, True]
    for name in columns:
        realm.apply(ins.ArrayInsert("T", ONE, name, [0], integer(5), 0))
    realm.reopen()
    agree(realm)
