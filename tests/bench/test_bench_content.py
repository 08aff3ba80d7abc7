"""What the load generators write is what real clients write, and says what the measurement counts on."""

import pytest

from bench.cases import shares
from bench.load.content import (
    FIRST_VERSION,
    INSTRUCTIONS_EACH,
    UPLOAD_SIZE,
    new_objects,
    schema,
    small_changesets,
    upload_many,
    upload_one,
)
from bench.workloads.upload import prepare
from realmserver.changeset.decode import decode
from realmserver.changeset.instructions import CreateObject
from realmserver.realms.requests import UploadCursor
from realmserver.sync.client_messages import Upload, decode_client_message
from realmserver.sync.syntax import Limits


def messages(stream: bytes) -> list[Upload]:
    """The UPLOADs in frames that are masked with zeros."""
    found: list[Upload] = []
    while stream:
        size, start = stream[1] & 0x7F, 2
        if size >= 126:
            extra = 2 if size == 126 else 8
            size = int.from_bytes(stream[2 : 2 + extra], "big")
            start += extra
        start += 4
        message = decode_client_message(stream[start : start + size], Limits())
        assert isinstance(message, Upload)
        found.append(message)
        stream = stream[start + size :]
    return found


def test_changesets_of_the_common_kind_have_their_number_of_instructions() -> None:
    made = list(small_changesets(3, 4))
    assert len(made) == 4
    assert {len(decode(changeset).instructions) for changeset in made} == {INSTRUCTIONS_EACH}


def test_two_writers_never_have_an_object_in_common() -> None:
    keys: list[object] = []
    for writer in range(3):
        for changeset in small_changesets(writer, 5):
            keys += [each.key for each in decode(changeset).instructions if isinstance(each, CreateObject)]
    assert len(keys) == len(set(keys)) == 45


def test_an_upload_of_one_says_what_the_client_had_seen() -> None:
    prepared = upload_one(7, 5, new_objects(1))
    (message,) = messages(prepared.data)
    assert prepared.version == 7
    assert message.progress == UploadCursor(7, 5)
    assert message.locked_version == 5
    assert [(each.client_version, each.server_version, each.origin) for each in message.entries] == [(7, 5, 0)]
    assert message.entries[0].changeset == new_objects(1)


def test_what_has_piled_up_is_sent_in_pieces_as_real_clients_send_it() -> None:
    changesets = [schema(), *small_changesets(0, 1_500)]
    prepared = upload_many(FIRST_VERSION, 0, changesets)
    sent = [messages(each.data)[0] for each in prepared]
    assert [entry.changeset for message in sent for entry in message.entries] == changesets
    versions = [entry.client_version for message in sent for entry in message.entries]
    assert versions == list(range(FIRST_VERSION, FIRST_VERSION + len(changesets)))
    assert [each.version for each in prepared] == [message.entries[-1].client_version for message in sent]
    sizes = [sum(len(entry.changeset) for entry in message.entries) for message in sent]
    longest = max(map(len, changesets))
    assert len(sizes) > 2
    assert all(UPLOAD_SIZE < size <= UPLOAD_SIZE + longest for size in sizes[:-1])
    assert all(len(each.data) < UPLOAD_SIZE for each in prepared), "nothing was compressed"


@pytest.mark.parametrize(("window", "seen"), [(1, [1, 2, 3, 4, 5]), (3, [1, 1, 1, 2, 3])])
def test_a_writer_says_it_has_seen_what_was_acknowledged_by_then(window: int, seen: list[int]) -> None:
    """The schema is client version 2 and server version 1; the changeset after it is 3 and 2, and so on."""
    prepared = prepare("stream", small_changesets(0, 5), window)
    assert [each.version for each in prepared] == [3, 4, 5, 6, 7]
    assert [messages(each.data)[0].progress.server_version for each in prepared] == seen


def test_work_is_divided_without_a_rest() -> None:
    assert [list(part) for part in shares(5, 2)] == [[0, 1], [2, 3, 4]]
    assert [list(part) for part in shares(1, 4)] == [[0]]
