"""The cursor checks of an UPLOAD, row by row (spec/protocol.md 3.5)."""

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from realmserver.realms.requests import UploadCursor, UploadEntry
from realmserver.sync.checks import BadCursor, check_upload, consistent, mutually_consistent


def entry(client_version: int, server_version: int) -> UploadEntry:
    return UploadEntry(client_version, server_version, 0, 0, b"x")


@frozen
class Case:
    entries: tuple[UploadEntry, ...]
    progress: UploadCursor
    locked: int
    threshold: UploadCursor
    previous: UploadCursor
    downloaded: int
    previous_locked: int

    def check(self) -> None:
        check_upload(
            self.entries,
            self.progress,
            self.locked,
            threshold=self.threshold,
            previous=self.previous,
            downloaded=self.downloaded,
            previous_locked=self.previous_locked,
        )


GOOD = Case(
    entries=(entry(11, 5), entry(13, 6)),
    progress=UploadCursor(14, 7),
    locked=6,
    threshold=UploadCursor(4, 2),
    previous=UploadCursor(10, 5),
    downloaded=7,
    previous_locked=5,
)


def test_a_good_upload_passes() -> None:
    GOOD.check()
    evolve(GOOD, entries=()).check()


@pytest.mark.parametrize(
    ("rule", "code", "case"),
    [
        (1, 210, evolve(GOOD, progress=UploadCursor(9, 5), entries=())),
        (2, 209, evolve(GOOD, progress=UploadCursor(14, 8))),
        (3, 209, evolve(GOOD, progress=UploadCursor(0, 1), previous=UploadCursor(), entries=())),
        (4, 209, evolve(GOOD, progress=UploadCursor(14, 1), previous=UploadCursor(), entries=())),
        (4, 209, evolve(GOOD, progress=UploadCursor(4, 3), previous=UploadCursor(), entries=())),
        (5, 209, evolve(GOOD, progress=UploadCursor(14, 4), entries=())),
        (5, 209, evolve(GOOD, progress=UploadCursor(10, 6), entries=())),
        (6, 209, evolve(GOOD, locked=4)),
        (7, 209, evolve(GOOD, locked=8)),
        (8, 210, evolve(GOOD, entries=(entry(10, 5),))),
        (8, 210, evolve(GOOD, entries=(entry(11, 5), entry(11, 5)))),
        (9, 209, evolve(GOOD, entries=(entry(11, 4),))),
        (9, 209, evolve(GOOD, entries=(entry(11, 6), entry(12, 5)))),
        (9, 209, evolve(GOOD, previous=UploadCursor(), entries=(entry(3, 3),))),
        (9, 209, evolve(GOOD, previous=UploadCursor(), entries=(entry(5, 1),))),
        (10, 210, evolve(GOOD, entries=(entry(15, 7),))),
        (11, 209, evolve(GOOD, entries=(entry(14, 6),))),
        (11, 209, evolve(GOOD, progress=UploadCursor(14, 6), entries=(entry(13, 7),))),
    ],
)
def test_each_rule(rule: int, code: int, case: Case) -> None:
    with pytest.raises(BadCursor) as caught:
        case.check()
    assert (caught.value.rule, caught.value.code) == (rule, code)


def test_the_rules_come_in_order() -> None:
    """A case that breaks many rules is answered for the first."""
    broken = evolve(GOOD, entries=(entry(1, 99),), progress=UploadCursor(9, 99), locked=1)
    with pytest.raises(BadCursor) as caught:
        broken.check()
    assert caught.value.rule == 1
    with pytest.raises(BadCursor) as caught:
        evolve(broken, progress=UploadCursor(11, 99)).check()
    assert caught.value.rule == 2


cursors = st.builds(UploadCursor, st.integers(0, 5), st.integers(0, 5))


@given(cursors, cursors)
def test_positions_of_one_history_are_mutually_consistent(one: UploadCursor, other: UploadCursor) -> None:
    """As the specification words it, and the same both ways."""
    before = one.client_version >= other.client_version or one.server_version <= other.server_version
    after = one.client_version <= other.client_version or one.server_version >= other.server_version
    same = one.client_version != other.client_version or one.server_version == other.server_version
    assert mutually_consistent(one, other) == (before and after and same) == mutually_consistent(other, one)


@given(cursors)
def test_a_position_is_inconsistent_only_at_client_version_0(cursor: UploadCursor) -> None:
    assert consistent(cursor) == (cursor == UploadCursor(0, 0) or cursor.client_version > 0)
