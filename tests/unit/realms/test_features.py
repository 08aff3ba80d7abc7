"""Which instructions need a newer protocol, and which can be passed over at a glance."""

import pytest

from realmserver.changeset.instructions import (
    TYPE_DICTIONARY,
    TYPE_GLOBAL_KEY,
    TYPE_INT,
    TYPE_LIST,
    TYPE_NULL,
    TYPE_SET,
    AddColumn,
    AddInteger,
    AddTable,
    ArrayErase,
    ArrayInsert,
    ArrayMove,
    Clear,
    CreateObject,
    EraseColumn,
    EraseObject,
    EraseTable,
    Instruction,
    Payload,
    SetErase,
    SetInsert,
    Update,
)
from realmserver.realms.features import OLDEST, may_need_more, required_protocol
from realmserver.realms.schema import Schema

KEY = (TYPE_INT, 1)
VALUE = Payload(TYPE_NULL, None)

PLAIN: list[Instruction] = [
    CreateObject("T", KEY),
    EraseObject("T", KEY),
    EraseTable("T"),
    EraseColumn("T", "f"),
    Update("T", KEY, "f", [], VALUE),
    AddInteger("T", KEY, "f", [], 1),
    ArrayMove("T", KEY, "f", [0], 1, 2),
    ArrayErase("T", KEY, "f", [0], 2),
]
OTHERS: list[Instruction] = [
    AddTable("T", 0, "_id", TYPE_INT, False),
    AddColumn("T", "f", TYPE_GLOBAL_KEY, False, 0),
    ArrayInsert("T", KEY, "f", [0], VALUE, 0),
    Clear("T", KEY, "f", [], 0),
    SetInsert("T", KEY, "f", [], VALUE),
    SetErase("T", KEY, "f", [], VALUE),
    *(Update("T", KEY, "f", [], Payload(kind, None)) for kind in (TYPE_LIST, TYPE_DICTIONARY, TYPE_SET)),
]


@pytest.mark.parametrize("instruction", PLAIN, ids=lambda each: type(each).__name__)
def test_what_is_passed_over_needs_nothing(instruction: Instruction) -> None:
    assert not may_need_more(instruction)
    assert required_protocol(instruction, Schema()) == OLDEST


@pytest.mark.parametrize("instruction", OTHERS, ids=lambda each: type(each).__name__)
def test_what_may_need_more_is_judged(instruction: Instruction) -> None:
    assert may_need_more(instruction)
