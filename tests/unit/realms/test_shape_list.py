"""The pages of a long list hold what a plain list would, and no page is left over."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realmserver.realms import shape_list
from realmserver.realms.shape_list import UNKNOWN_SLOT, SlotTree, first_leaf
from realmserver.realms.shape_records import Child, Inner, Item, Leaf, Node, Record, RecordKey


class Memory:
    def __init__(self, slots: int) -> None:
        self.records: dict[RecordKey, Record] = {(1, 1): Node(first_leaf(slots))}

    def get(self, key: RecordKey) -> Record | None:
        return self.records.get(key)

    def put(self, key: RecordKey, record: Record | None) -> None:
        if record is None:
            self.records.pop(key, None)
        else:
            self.records[key] = record


def pages_in_use(tree: SlotTree, memory: Memory) -> set[RecordKey]:
    found: set[RecordKey] = {(1, 1)}
    waiting: list[Record | None] = [tree._body.root]
    while waiting:
        page = waiting.pop()
        assert isinstance(page, Leaf | Inner)
        assert page.slots or page is tree._body.root
        if isinstance(page, Inner):
            for number, slots in page.children:
                below = memory.get((1, 1, number))
                assert isinstance(below, Leaf | Inner)
                assert below.slots == slots
                found.add((1, 1, number))
                waiting.append(below)
    return found


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), start=st.integers(0, 20), bound=st.sampled_from([2, 3, 5, 64]))
def test_a_tree_of_slots_behaves_like_a_list(seed: int, start: int, bound: int) -> None:
    random = Random(seed)
    memory = Memory(start)
    plain: list[Item] = [UNKNOWN_SLOT] * start
    growing = 0.8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shape_list, "PAGE_ITEMS", bound)
        for step in range(200):
            tree = SlotTree(memory, 1, 1)
            if step == 120:
                growing = 0.2
            choices: list[Item] = [UNKNOWN_SLOT, Child(5, 0, step), Child(4, step + 1)]
            item = random.choice(choices)
            index = random.randrange(len(plain) + 1)
            if index == len(plain) or random.random() < growing:
                tree.insert(index, item)
                plain.insert(index, item)
            elif random.random() < 0.3:
                tree.replace(index, item)
                plain[index] = item
            else:
                tree.remove(index)
                del plain[index]
            assert tree.size() == len(plain)
        tree = SlotTree(memory, 1, 1)
        assert [tree.get(index) for index in range(len(plain))] == plain
        assert pages_in_use(tree, memory) == set(memory.records)
        for _ in range(len(plain)):
            tree.remove(random.randrange(tree.size()))
        assert set(memory.records) == {(1, 1)}
