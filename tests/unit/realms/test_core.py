"""The core of integration: whichever it is, an error says what is wrong with a changeset."""

import pytest
from realm_tools import create, data, set_n

from realmserver._build import HAS_CORE
from realmserver.changeset.decode import decode
from realmserver.changeset.instructions import TYPE_INT, BadChangeset, CreateObject, EraseObject
from realmserver.realms import core


@pytest.mark.parametrize("broken", [b"\x05", create()[:-1], create() + b"\x3e", b"\x3f\x01\x01a"])
def test_what_is_wrong_with_a_changeset_is_said_as_the_decoder_says_it(broken: bytes) -> None:
    with pytest.raises(BadChangeset) as expected:
        decode(broken)
    with pytest.raises(BadChangeset) as found:
        core.parse(broken, 1, 2, True)
    assert str(found.value) == str(expected.value)


@pytest.mark.skipif(not HAS_CORE, reason="there is no core in Rust")
def test_a_core_that_refuses_too_much_says_whose_fault_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realmserver._native.parse", lambda *_: None)
    with pytest.raises(BadChangeset, match="a fault of this server"):
        core.parse(create(), 1, 2, True)


def test_the_instructions_of_a_merged_changeset_are_those_that_are_left() -> None:
    mine = core.parse(data(CreateObject("T", (TYPE_INT, 1)), CreateObject("T", (TYPE_INT, 2))), 1, 2, True)
    assert core.instructions_of(core.parse(set_n(5), 1, 2, True)).instructions[0].table == "T"
    left = core.merge([mine], [core.parse(data(EraseObject("T", (TYPE_INT, 1))), 2, 3, True)], 10)
    assert 0 <= left <= 10
    found = [each for each in core.instructions_of(mine).instructions if not each.discarded]
    assert [each.key for each in found if isinstance(each, CreateObject)] == [(TYPE_INT, 2)]
    assert decode(mine.canonical()).instructions[0].table == "T"
    mine.release()
    assert mine.size == 0
