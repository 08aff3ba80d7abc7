"""Instructions on a Realm's content: both models (``realms.shape``, ``realms.values``) take the same ones.

An instruction is applied or refused with BadChangeset, and one that is refused has changed nothing. The shape is
written to records and read back now and then, and taken back as a bad upload is. A part of the input may also be the
bytes of a changeset, for instructions that nobody would draw.
"""

import random
from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from fuzz import vectors
from fuzz.realm_edits import draw_instruction, schema
from fuzz.source import Source
from fuzz.target import Target
from realmserver.changeset.decode import decode
from realmserver.changeset.encode import encode
from realmserver.changeset.instructions import BadChangeset, Changeset, Instruction
from realmserver.changeset.text import describe
from realmserver.realms.apply import may_drop
from realmserver.realms.features import required_protocol
from realmserver.realms.shape import Changes, Shape
from realmserver.realms.values import Values

MOST_INSTRUCTIONS: Final = 60

Key = TypeVar("Key", str, bytes)


class Rows:
    """The schema and shape records of one Realm, as a store keeps them."""

    def __init__(self) -> None:
        self.schema: dict[str, bytes] = {}
        self.shape: dict[bytes, bytes] = {}

    def take(self, changes: Changes) -> None:
        schema_rows, records, prefixes = changes
        for prefix in prefixes:
            for key in [key for key in self.shape if key.startswith(prefix)]:
                del self.shape[key]
        _put(self.schema, schema_rows)
        _put(self.shape, records)

    def open(self) -> Shape:
        return Shape(self.shape.get, self.schema)


def _put(rows: dict[Key, bytes], changes: Mapping[Key, bytes | None]) -> None:
    for key, row in changes.items():
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row


class Twins:
    """One Realm as both models."""

    def __init__(self) -> None:
        self.values = Values()
        self.rows = Rows()
        self.shape = self.rows.open()

    def apply(self, instruction: Instruction) -> bool:
        """Whether both take ``instruction``; they must agree, to the word."""
        refusals = [_refusal(model, instruction) for model in (self.values, self.shape)]
        assert refusals[0] == refusals[1], f"values: {refusals[0]}, shape: {refusals[1]}, on {describe(instruction)}"
        if refusals[0] is not None:
            assert refusals[0].isprintable()
            replacement = self.shape.applier.replacement(instruction)
            if replacement is not None:
                assert self.apply(replacement), "the replacement does not apply"
            may_drop(instruction, self.shape.applier.schema)
        required_protocol(instruction, self.shape.applier.schema)
        return refusals[0] is None

    def persist(self) -> None:
        self.rows.take(self.shape.changes())
        self.shape.settle()

    def reopen(self) -> None:
        self.persist()
        self.shape = self.rows.open()


def _refusal(model: Values | Shape, instruction: Instruction) -> str | None:
    try:
        model.applier.apply(instruction)
    except BadChangeset as error:
        return str(error)
    return None


def check(data: bytes) -> None:
    source = Source(data)
    twins = Twins()
    for instruction in schema():
        assert twins.apply(instruction)
    for _ in range(MOST_INSTRUCTIONS):
        if source.is_empty:
            break
        roll = source.byte()
        if roll < 220:
            twins.apply(draw_instruction(source, twins.values)[0])
        elif roll < 228:
            twins.persist()
        elif roll < 234:
            twins.reopen()
        elif roll < 242:
            _take_back(source, twins)
        else:
            _apply_bytes(source.take(4 + source.byte()), twins)
    twins.reopen()
    _apply_bytes(source.rest(), twins)
    twins.values.state()


def _take_back(source: Source, twins: Twins) -> None:
    """What a bad upload does to a Realm: nothing."""
    before = twins.values.state()
    twins.values.begin()
    twins.shape.begin()
    for _ in range(1 + source.below(6)):
        twins.apply(draw_instruction(source, twins.values)[0])
    twins.values.undo()
    twins.shape.rollback()
    assert twins.values.state() == before


def _apply_bytes(data: bytes, twins: Twins) -> None:
    try:
        changeset = decode(data)
    except BadChangeset:
        return
    for instruction in changeset.instructions:
        if not twins.apply(instruction):
            break
    assert encode(changeset) == encode(decode(encode(changeset))), "applying changes the instructions"


def seeds() -> Iterator[bytes]:
    chance = random.Random(2)
    for size in (40, 80, 160, 300, 500):
        for _ in range(4):
            yield chance.randbytes(size)
    for number, changeset in enumerate(vectors.changesets(step=40)):
        yield chance.randbytes(number) + changeset[:200]
    made = encode(Changeset(schema()))
    yield b"\xff\xff" + made


TARGET: Final = Target(
    "instructions, valid or not, on a Realm's content in both its forms",
    check,
    seeds,
    (b"\xdf", b"\xe6", b"\xec", b"\xff\x20", b"\x3f\x00\x01T", b"\x3f\x01\x02mx", b"\x3f\x01\x02li"),
    800,
)
