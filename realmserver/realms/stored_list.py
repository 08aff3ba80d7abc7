"""A list in the table of values, as a tree of pages: a change costs a few bounded pages, whatever the list's length.

A leaf holds elements, an inner page the numbers of pages below it and how many elements each has. The root stands in
the list's own record. Pages are bounded by their number of items, leaves also by their bytes, so that an element next
to large ones can be changed without writing those.
"""

from collections.abc import Iterator
from typing import Final, Protocol

from realmserver.realms.packing import BrokenRecord
from realmserver.realms.stored_records import Inner, Leaf, ListHead, Page, Record, Value, page_key, size_of

PAGE_ITEMS: Final = 64
"""Items in a page: some 700 bytes of integers, and a list of a million elements is four pages deep."""

PAGE_BYTES: Final = 4096
"""Bytes in a leaf that has more than one element."""


class Records(Protocol):
    """Where records are while they are worked on: what :meth:`get` gives may be changed in place, if :meth:`put` is
    told afterwards."""

    def get(self, key: bytes) -> Record | None: ...

    def put(self, key: bytes, record: Record | None) -> None: ...


class ListTree:
    """The elements of the list whose record is under ``node``. Indices are in range."""

    __slots__ = ("_head", "_node", "_records")

    def __init__(self, records: Records, node: bytes) -> None:
        self._records = records
        self._node = node
        head = records.get(node)
        if not isinstance(head, ListHead):
            raise BrokenRecord("a list's record is missing")
        self._head = head

    def size(self) -> int:
        return self._head.root.slots

    def get(self, index: int) -> Value:
        _, _, leaf, offset = self._find(index)
        return leaf.items[offset]

    def replace(self, index: int, value: Value) -> None:
        path, number, leaf, offset = self._find(index)
        leaf.items[offset] = value
        self._changed(path, number, leaf, 0)

    def insert(self, index: int, value: Value) -> None:
        path, number, leaf, offset = self._find(index)
        leaf.items.insert(offset, value)
        self._changed(path, number, leaf, 1)

    def remove(self, index: int) -> Value:
        """Take the element out; it is returned."""
        path, number, leaf, offset = self._find(index)
        value = leaf.items.pop(offset)
        self._changed(path, number, leaf, -1)
        return value

    def items(self, first: int, records: Records | None = None) -> Iterator[Value]:
        """The elements from index ``first`` on, which may be after the last. ``records`` may give the pages instead."""
        if first >= self.size():
            return
        path, _, leaf, offset = self._find(first, records)
        while True:
            yield from leaf.items[offset:]
            while path and path[-1][2] + 1 == len(path[-1][1].pages):
                path.pop()
            if not path:
                return
            number, page, position = path.pop()
            path.append((number, page, position + 1))
            offset = 0
            below = self._page(page.pages[position + 1], records)
            while isinstance(below, Inner):
                path.append((0, below, 0))
                below = self._page(below.pages[0], records)
            leaf = below

    def _find(self, index: int, records: Records | None = None) -> tuple[list[tuple[int, Inner, int]], int, Leaf, int]:
        """Where ``index`` is: the inner pages on the way (number, page, position of the next), the leaf's number, the
        leaf, and the offset in it. The index after the last element is at the end of the last leaf."""
        path: list[tuple[int, Inner, int]] = []
        number = 0  # the root
        page: Page = self._head.root
        while isinstance(page, Inner):
            last = len(page.pages) - 1
            position = 0
            while position < last and index >= page.counts[position]:
                index -= page.counts[position]
                position += 1
            path.append((number, page, position))
            number = page.pages[position]
            page = self._page(number, records)
        return path, number, page, index

    def _page(self, number: int, records: Records | None = None) -> Page:
        page = (records or self._records).get(page_key(self._node, number))
        if not isinstance(page, Leaf | Inner):
            raise BrokenRecord("a list's page is missing")
        return page

    def _changed(self, path: list[tuple[int, Inner, int]], number: int, page: Page, grown: int) -> None:
        """Note that ``page``, whose number is ``number`` and which is at the end of ``path``, was changed and has
        ``grown`` elements more; split it and those above where they are too large, and drop them where empty."""
        while path:
            number_above, above, position = path.pop()
            above.counts[position] += grown
            if above.counts[position] == 0:
                self._put(number, None)
                del above.pages[position], above.counts[position]
            else:
                self._put(number, page)
                right = _split(page)
                if right is not None:
                    above.pages.insert(position + 1, self._add(right))
                    above.counts.insert(position + 1, right.slots)
                    above.counts[position] -= right.slots
            number, page = number_above, above
        right = _split(page)
        if right is not None:
            self._head.root = Inner([self._add(page), self._add(right)], [page.slots, right.slots])
        while isinstance(self._head.root, Inner) and len(self._head.root.pages) <= 1:
            self._head.root = self._take_up(self._head.root)
        self._records.put(self._node, self._head)

    def _take_up(self, root: Inner) -> Page:
        """The page that replaces a root with one page or none below it."""
        if not root.pages:
            return Leaf()
        below = self._page(root.pages[0])
        self._put(root.pages[0], None)
        return below

    def _add(self, page: Page) -> int:
        number = self._head.next_page
        self._head.next_page += 1
        self._put(number, page)
        return number

    def _put(self, number: int, page: Page | None) -> None:
        self._records.put(page_key(self._node, number), page)


def _split(page: Page) -> Page | None:
    """Take the second half out of a page that is too large; None where it is not."""
    if isinstance(page, Inner):
        if len(page.pages) <= PAGE_ITEMS:
            return None
        middle = len(page.pages) // 2
        right: Page = Inner(page.pages[middle:], page.counts[middle:])
        del page.pages[middle:], page.counts[middle:]
        return right
    count = len(page.items)
    if count <= 1 or (count <= PAGE_ITEMS and sum(map(size_of, page.items)) <= PAGE_BYTES):
        return None
    middle = count // 2
    right = Leaf(page.items[middle:])
    del page.items[middle:]
    return right
