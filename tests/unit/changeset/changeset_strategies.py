"""Hypothesis strategies for instructions and changesets, and their content as tuples, for comparing.

Names and keys come from small pools by default, so that two changesets drawn apart meet in the same places.
Everything drawn is well formed (``spec/changeset.md`` 2 to 5); it need not fit any schema.
"""

from typing import Any

from hypothesis import strategies as st

from realmserver.changeset.instructions import (
    COLLECTION_DICTIONARY,
    COLLECTION_LIST,
    COLLECTION_SET,
    COLLECTION_SINGLE,
    TABLE_ASYMMETRIC,
    TABLE_EMBEDDED,
    TABLE_TOP_LEVEL,
    TYPE_BINARY,
    TYPE_BOOL,
    TYPE_DECIMAL,
    TYPE_DICTIONARY,
    TYPE_DOUBLE,
    TYPE_ERASED,
    TYPE_FLOAT,
    TYPE_GLOBAL_KEY,
    TYPE_INT,
    TYPE_LINK,
    TYPE_LIST,
    TYPE_NULL,
    TYPE_OBJECT_ID,
    TYPE_OBJECT_VALUE,
    TYPE_SET,
    TYPE_STRING,
    TYPE_TIMESTAMP,
    TYPE_UUID,
    AddColumn,
    AddInteger,
    AddTable,
    ArrayErase,
    ArrayInsert,
    ArrayMove,
    Changeset,
    Clear,
    CreateObject,
    EraseColumn,
    EraseObject,
    EraseTable,
    Instruction,
    Key,
    PathElement,
    Payload,
    SetErase,
    SetInsert,
    Update,
)

I64 = st.integers(-(2**63), 2**63 - 1) | st.integers(-70, 70)
U64 = st.integers(0, 2**64 - 1) | st.integers(0, 70)
U32 = st.integers(0, 2**32 - 1) | st.integers(0, 70)
COLLECTIONS = st.sampled_from([COLLECTION_SINGLE, COLLECTION_LIST, COLLECTION_DICTIONARY, COLLECTION_SET])

TABLES = st.sampled_from(["Dog", "Person", "Class with a name of 57 bytes, as long as they can be ..."])
FIELDS = st.sampled_from(["name", "age", "friends", "tags"])
WORDS = st.sampled_from(["a", "b", "tags", "name", "", "\udcff", "ключ"])


def texts() -> st.SearchStrategy[str]:
    """Strings as ``decode`` gives them: any bytes."""
    return st.binary(max_size=80).map(lambda data: data.decode("utf-8", "surrogateescape"))


def keys() -> st.SearchStrategy[Key]:
    return st.one_of(
        st.just((TYPE_NULL, None)),
        st.tuples(st.just(TYPE_INT), st.integers(0, 3) | I64),
        st.tuples(st.just(TYPE_STRING), WORDS | texts()),
        st.tuples(st.just(TYPE_GLOBAL_KEY), st.tuples(U64, U64)),
        st.tuples(st.just(TYPE_OBJECT_ID), st.binary(min_size=12, max_size=12)),
        st.tuples(st.just(TYPE_UUID), st.binary(min_size=16, max_size=16)),
    )


def paths() -> st.SearchStrategy[list[PathElement]]:
    return st.lists(st.integers(0, 3) | U32 | WORDS | texts(), max_size=5)


def index_paths() -> st.SearchStrategy[list[PathElement]]:
    """Paths that end with an index."""
    return st.tuples(paths(), st.integers(0, 3) | U32).map(lambda parts: [*parts[0], parts[1]])


def timestamps() -> st.SearchStrategy[tuple[int, int]]:
    """Seconds and nanoseconds, which never differ in sign."""
    nanoseconds = st.integers(0, 999_999_999)
    return st.tuples(I64, nanoseconds).map(lambda pair: (pair[0], pair[1] if pair[0] >= 0 else -pair[1])) | st.tuples(
        st.just(0), nanoseconds.map(lambda value: -value)
    )


def decimals() -> st.SearchStrategy[tuple[int, int, bool]]:
    """Finite decimals, infinities and NaNs, but not the NaN that means null."""
    return st.one_of(
        st.tuples(st.integers(0, 10**34 - 1) | st.integers(0, 200), st.integers(-6176, 6111), st.booleans()),
        st.tuples(st.just(0), st.just(9184), st.booleans()),
        st.tuples(st.integers(0, 2**113 - 1).filter(lambda value: value != 0xAA), st.just(9696), st.booleans()),
    )


def payloads() -> st.SearchStrategy[Payload]:
    return st.one_of(
        st.sampled_from([TYPE_NULL, TYPE_OBJECT_VALUE, TYPE_DICTIONARY, TYPE_ERASED, TYPE_LIST, TYPE_SET]).map(Payload),
        st.builds(Payload, st.just(TYPE_INT), I64),
        st.builds(Payload, st.just(TYPE_BOOL), st.booleans()),
        st.builds(Payload, st.just(TYPE_STRING), WORDS | texts()),
        st.builds(Payload, st.just(TYPE_BINARY), st.binary(max_size=80)),
        st.builds(Payload, st.just(TYPE_TIMESTAMP), timestamps()),
        st.builds(Payload, st.just(TYPE_FLOAT), st.binary(min_size=4, max_size=4)),
        st.builds(Payload, st.just(TYPE_DOUBLE), st.binary(min_size=8, max_size=8)),
        st.builds(Payload, st.just(TYPE_DECIMAL), decimals()),
        st.builds(Payload, st.just(TYPE_LINK), st.tuples(TABLES, keys())),
        st.builds(Payload, st.just(TYPE_OBJECT_ID), st.binary(min_size=12, max_size=12)),
        st.builds(Payload, st.just(TYPE_UUID), st.binary(min_size=16, max_size=16)),
    )


def add_tables() -> st.SearchStrategy[AddTable]:
    key_types = st.sampled_from([TYPE_GLOBAL_KEY, TYPE_INT, TYPE_STRING, TYPE_OBJECT_ID, TYPE_UUID])
    kinds = st.sampled_from([TABLE_TOP_LEVEL, TABLE_ASYMMETRIC])
    return st.builds(AddTable, TABLES, st.just(TABLE_EMBEDDED)) | st.builds(
        AddTable, TABLES, kinds, st.sampled_from(["_id", ""]), key_types, st.booleans()
    )


def add_columns() -> st.SearchStrategy[AddColumn]:
    scalars = st.builds(AddColumn, TABLES, FIELDS, st.integers(1, 8) | st.integers(10, 11), st.booleans(), COLLECTIONS)
    mixed = st.builds(AddColumn, TABLES, FIELDS, st.just(TYPE_NULL), st.just(True), COLLECTIONS)
    links = st.builds(AddColumn, TABLES, FIELDS, st.just(TYPE_LINK), st.booleans(), COLLECTIONS, TABLES)
    typed_links = st.builds(
        AddColumn,
        TABLES,
        FIELDS,
        st.just(TYPE_LINK),
        st.booleans(),
        st.sampled_from([COLLECTION_SINGLE, 1]),
        st.just(""),
    )
    return scalars | mixed | links | typed_links


def updates() -> st.SearchStrategy[Update]:
    in_list = st.builds(
        Update, TABLES, keys(), FIELDS, index_paths(), payloads(), is_default=st.just(False), prior_size=U32
    )
    elsewhere = paths().filter(lambda path: not path or isinstance(path[-1], str))
    return in_list | st.builds(Update, TABLES, keys(), FIELDS, elsewhere, payloads(), is_default=st.booleans())


def instructions() -> st.SearchStrategy[Instruction]:
    """One instruction of any kind."""
    return st.one_of(
        updates(),
        st.builds(CreateObject, TABLES, keys()),
        st.builds(EraseObject, TABLES, keys()),
        st.builds(AddInteger, TABLES, keys(), FIELDS, paths(), I64),
        st.builds(ArrayInsert, TABLES, keys(), FIELDS, index_paths(), payloads(), U32),
        st.builds(ArrayMove, TABLES, keys(), FIELDS, index_paths(), U32, U32),
        st.builds(ArrayErase, TABLES, keys(), FIELDS, index_paths(), U32),
        st.builds(Clear, TABLES, keys(), FIELDS, paths(), COLLECTIONS),
        st.builds(SetInsert, TABLES, keys(), FIELDS, paths(), payloads()),
        st.builds(SetErase, TABLES, keys(), FIELDS, paths(), payloads()),
        add_tables(),
        st.builds(EraseTable, TABLES),
        add_columns(),
        st.builds(EraseColumn, TABLES, FIELDS),
    )


def changesets(
    of: st.SearchStrategy[Instruction] | None = None, *, min_size: int = 0, max_size: int = 12
) -> st.SearchStrategy[Changeset]:
    """Changesets of up to ``max_size`` instructions drawn from ``of``, with some unused interned strings."""
    return st.builds(
        Changeset,
        st.lists(of if of is not None else instructions(), min_size=min_size, max_size=max_size),
        st.lists(WORDS | texts(), max_size=3, unique=True),
        timestamp=st.integers(0, 5),
        origin=st.integers(1, 5),
    )


def content(value: Any) -> Any:
    """An instruction, payload, or list of them as nested tuples, to compare and to show; without payload offsets."""
    if isinstance(value, Payload):
        return ("Payload", value.type, value.value)
    if isinstance(value, Instruction):
        names = sorted(name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()))
        return (type(value).__name__, *(content(getattr(value, name)) for name in names))
    if isinstance(value, list):
        return [content(element) for element in value]
    return value
