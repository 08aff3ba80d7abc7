"""Who is let in: the checks of IDENT (``spec/protocol.md`` 3.4) by a Realm on a store in memory."""

import pytest
from attrs import evolve
from realm_tools import FixedEnvironment, create, memory_store, open_realm, schema, set_n, upload

from realmserver.realms.realm import MAX_AT_HAND, Realm
from realmserver.realms.requests import (
    BadClientFileIdent,
    BadClientVersion,
    BadServerVersion,
    DivergingHistories,
    DownloadCursor,
    Identify,
    SaltedVersion,
    UploadCursor,
    UserMismatch,
)

OWNER = "a"


def one_client() -> tuple[Realm, Identify]:
    """A Realm at version 3, and what the client file that made it all says when it comes again."""
    realm = open_realm()
    client = realm.allocate(OWNER)
    realm.integrate([upload(client.ident, (2, 0, schema()), (3, 0, create()), (4, 0, set_n(1)))])
    head = realm.head
    return realm, Identify(client.ident, client.salt, DownloadCursor(3, 4), SaltedVersion(head.version, head.salt))


def test_a_client_that_is_in_sync_is_let_in() -> None:
    realm, request = one_client()
    identified = realm.identify(request, OWNER, 14)
    assert (identified.upload, identified.latest_version) == (UploadCursor(4, 0), 3)


def test_so_is_one_that_stands_further_back() -> None:
    realm, request = one_client()
    fresh = evolve(request, download=DownloadCursor(), latest=SaltedVersion())
    assert realm.identify(fresh, OWNER, 14).latest_version == 3
    older = evolve(request, download=DownloadCursor(2, 3), latest=SaltedVersion(2, request.latest.salt))
    assert realm.identify(older, OWNER, 14).latest_version == 3


@pytest.mark.parametrize("version", [2, 3])
def test_a_client_whose_history_is_another_one_is_not_let_in(version: int) -> None:
    """All numbers are right; only the salt tells that the version is not the one the client knows."""
    realm, request = one_client()
    other = SaltedVersion(version, request.latest.salt + 1)
    with pytest.raises(DivergingHistories, match=f"server version {version} has another salt"):
        realm.identify(evolve(request, download=DownloadCursor(2, 3), latest=other), OWNER, 14)


def test_nor_is_one_with_the_ident_of_another() -> None:
    realm, request = one_client()
    with pytest.raises(DivergingHistories, match="client file 2 has another salt"):
        realm.identify(evolve(request, salt=request.salt + 1), OWNER, 14)
    with pytest.raises(BadClientFileIdent):
        realm.identify(evolve(request, ident=77), OWNER, 14)
    with pytest.raises(UserMismatch):
        realm.identify(request, "b", 14)


def test_nor_is_one_that_knows_what_is_not_here() -> None:
    realm, request = one_client()
    with pytest.raises(BadServerVersion, match="the last here is 3"):
        realm.identify(evolve(request, latest=SaltedVersion(4, request.latest.salt)), OWNER, 14)
    with pytest.raises(BadServerVersion, match="stands at server version 4, after 3"):
        realm.identify(evolve(request, download=DownloadCursor(4, 4)), OWNER, 14)
    with pytest.raises(BadClientVersion):
        realm.identify(evolve(request, download=DownloadCursor(3, 5)), OWNER, 14)


def test_a_client_file_that_was_just_written_is_identified_from_memory() -> None:
    realm, request = one_client()
    assert realm.identify_at_hand(request, OWNER, 14) == realm.identify(request, OWNER, 14)
    fresh = evolve(request, download=DownloadCursor(), latest=SaltedVersion())
    assert realm.identify_at_hand(fresh, OWNER, 14) == realm.identify(fresh, OWNER, 14)


def test_memory_says_nothing_of_what_is_wrong_or_is_on_the_disk() -> None:
    realm, request = one_client()
    newest = request.latest
    for doubtful in (
        evolve(request, salt=request.salt + 1),
        evolve(request, ident=77),
        evolve(request, download=DownloadCursor(3, 5)),
        evolve(request, latest=SaltedVersion(3, newest.salt + 1)),
        evolve(request, download=DownloadCursor(2, 3), latest=SaltedVersion(2, newest.salt)),  # right, but in the log
    ):
        assert realm.identify_at_hand(doubtful, OWNER, 14) is None
    assert realm.identify_at_hand(request, "b", 14) is None


def test_a_client_file_is_in_memory_once_it_was_asked_for_and_the_newest_ones_stay() -> None:
    store = memory_store()
    before = Realm(store.open("/test", create=True), FixedEnvironment())
    first, *others = before.allocate_all([OWNER] * (MAX_AT_HAND + 1))
    before.close()
    realm = Realm(store.open("/test", create=False), FixedEnvironment())
    requests = [Identify(each.ident, each.salt, DownloadCursor(), SaltedVersion()) for each in (first, *others)]
    assert realm.identify_at_hand(requests[0], OWNER, 14) is None
    for request in requests:
        assert realm.identify(request, OWNER, 14) == realm.identify_at_hand(request, OWNER, 14)
    assert realm.identify_at_hand(requests[0], OWNER, 14) is None
    assert realm.identify_at_hand(requests[1], OWNER, 14) is not None


def test_memory_follows_what_is_written() -> None:
    realm, request = one_client()
    realm.integrate([upload(request.ident, (5, 3, set_n(2)))])
    answer = realm.identify_at_hand(request, OWNER, 14)
    assert answer is None, "its version is no longer the newest"
    begun_anew = evolve(request, download=DownloadCursor(), latest=SaltedVersion())
    assert realm.identify(request, OWNER, 14).upload == UploadCursor(5, 3)
    assert realm.identify_at_hand(begun_anew, OWNER, 14) is None, "it stands before what it has integrated"
    newest = evolve(request, latest=SaltedVersion(realm.head.version, realm.head.salt))
    assert realm.identify_at_hand(newest, OWNER, 14) == realm.identify(newest, OWNER, 14)
