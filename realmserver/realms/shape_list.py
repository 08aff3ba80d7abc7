"""The slots of a list that has something worth knowing in it, as a tree of pages.

A leaf holds runs: numbers of slots of which nothing needs to be known, and between them the slots that have a Child. An
inner page holds pages with the numbers of slots below them. Pages are bounded, so a change costs a few bounded records
whatever the length of the list. The root stands in the list's node record.
"""

from typing import Final, Protocol

from realmserver.realms.shape_records import (
    Child,
    Inner,
    Item,
    Leaf,
    ListBody,
    Node,
    Page,
    Record,
    RecordKey,
)

PAGE_ITEMS: Final = 64
"""Items in a page: some 700 bytes at most, and a list of a million children is four pages deep."""

UNKNOWN_SLOT: Final = 1
"""One slot of which nothing needs to be known."""


class Records(Protocol):
    """Where records are."""

    def get(self, key: RecordKey) -> Record | None: ...

    def put(self, key: RecordKey, record: Record | None) -> None: ...


def first_leaf(slots: int) -> ListBody:
    """The body of a list of ``slots`` slots of which nothing needs to be known."""
    return ListBody(Leaf((slots,) if slots else ()))


class SlotTree:
    """The slots of the list node ``node`` of ``table``. Indices are in range."""

    __slots__ = ("_body", "_node", "_record", "_records", "_table")

    def __init__(self, records: Records, table: int, node: int) -> None:
        self._records = records
        self._table = table
        self._node = node
        record = records.get((table, node))
        assert isinstance(record, Node)
        assert isinstance(record.body, ListBody)
        self._record = record
        self._body = record.body

    def size(self) -> int:
        return self._body.root.slots

    def get(self, index: int) -> Item:
        """The Child at ``index``, or UNKNOWN_SLOT."""
        _, _, leaf, offset = self._find(index)
        for item in leaf.items:
            width = item if isinstance(item, int) else 1
            if offset < width:
                return UNKNOWN_SLOT if isinstance(item, int) else item
            offset -= width
        raise AssertionError("index out of range")

    def insert(self, index: int, item: Item) -> None:
        """Insert one slot."""
        path, number, leaf, offset = self._find(index)
        self._write(path, number, _splice(leaf, offset, 0, item))

    def replace(self, index: int, item: Item) -> None:
        path, number, leaf, offset = self._find(index)
        self._write(path, number, _splice(leaf, offset, 1, item))

    def remove(self, index: int) -> None:
        path, number, leaf, offset = self._find(index)
        self._write(path, number, _splice(leaf, offset, 1, 0))

    def _find(self, index: int) -> tuple[list[tuple[int, Inner, int]], int, Leaf, int]:
        """Where ``index`` is: the inner pages on the way (number, page, position of the next), the leaf's number, the
        leaf, and the offset in it. The index after the last slot is found at the end of the last leaf."""
        path: list[tuple[int, Inner, int]] = []
        number = 0  # the root
        page: Page = self._body.root
        while isinstance(page, Inner):
            last = len(page.children) - 1
            position = 0
            while position < last and index >= page.children[position][1]:
                index -= page.children[position][1]
                position += 1
            path.append((number, page, position))
            number = page.children[position][0]
            below = self._records.get((self._table, self._node, number))
            assert isinstance(below, Leaf | Inner)
            page = below
        return path, number, page, index

    def _write(self, path: list[tuple[int, Inner, int]], number: int, page: Page) -> None:
        """Store ``page`` as the page ``number`` at the end of ``path``, and what changes above it."""
        next_page = self._body.next_page
        while path:
            parts = _split(page)
            entries: list[tuple[int, int]] = []
            for part in parts:
                if entries:
                    number, next_page = next_page, next_page + 1
                entries.append((number, part.slots))
                self._put(number, part)
            if not parts:
                self._put(number, None)
            number, above, position = path.pop()
            page = Inner((*above.children[:position], *entries, *above.children[position + 1 :]))
        parts = _split(page)
        if len(parts) == 2:
            entries = []
            for part in parts:
                self._put(next_page, part)
                entries.append((next_page, part.slots))
                next_page += 1
            page = Inner(tuple(entries))
        while isinstance(page, Inner) and len(page.children) <= 1:
            page = self._take_up(page)
        self._body = ListBody(page, next_page)
        self._record = self._record._replace(body=self._body)
        self._records.put((self._table, self._node), self._record)

    def _take_up(self, root: Inner) -> Page:
        """The page that replaces a root with one page or none below it."""
        if not root.children:
            return Leaf(())
        number = root.children[0][0]
        below = self._records.get((self._table, self._node, number))
        assert isinstance(below, Leaf | Inner)
        self._put(number, None)
        return below

    def _put(self, number: int, page: Page | None) -> None:
        self._records.put((self._table, self._node, number), page)


def _split(page: Page) -> list[Page]:
    """``page`` as pages within the bound: none for an empty one, two for one that is too long."""
    if isinstance(page, Leaf):
        middle = len(page.items) // 2
        if len(page.items) > PAGE_ITEMS:
            return [Leaf(page.items[:middle]), Leaf(page.items[middle:])]
        return [page] if page.items else []
    middle = len(page.children) // 2
    if len(page.children) > PAGE_ITEMS:
        return [Inner(page.children[:middle]), Inner(page.children[middle:])]
    return [page] if page.children else []


def _splice(leaf: Leaf, offset: int, removed: int, new: Item) -> Leaf:
    """``leaf`` with ``removed`` slots (0 or 1) at ``offset`` taken out and ``new`` put there; 0 puts nothing."""
    out: list[Item] = []
    placed = False
    for item in leaf.items:
        width = item if isinstance(item, int) else 1
        if placed or offset + removed > width:
            _push(out, item)
            offset -= width
            continue
        placed = True
        if isinstance(item, int):
            _push(out, offset)
            _push(out, new)
            _push(out, width - offset - removed)
        elif removed:
            _push(out, new)
        elif offset:
            _push(out, item)
            _push(out, new)
        else:
            _push(out, new)
            _push(out, item)
    if not placed:
        _push(out, new)
    return Leaf(tuple(out))


def _push(out: list[Item], item: Item) -> None:
    """Append ``item``; runs side by side become one."""
    if isinstance(item, Child):
        out.append(item)
    elif item:
        last = out[-1] if out else None
        if isinstance(last, int):
            out[-1] = last + item
        else:
            out.append(item)
