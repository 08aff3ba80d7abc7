"""What a server must answer to peers that break the rules: the errors of spec/protocol.md 4.4, and what they end."""

from typing import Final

from raw_sync import RawSync
from sync_neighbours import TIMESTAMP

from realmserver.realms.requests import UploadEntry
from realmserver.sync import client_messages as c2s
from realmserver.sync import server_messages as s2c


def entry(client_version: int, server_version: int = 0, changeset: bytes = b"", origin: int = 0) -> UploadEntry:
    return UploadEntry(client_version, server_version, TIMESTAMP, origin, changeset)


def content(action: str, *, try_again: bool = False, reset: bool = False) -> dict[str, object]:
    """What a JSON_ERROR says besides its text: the keys that clients demand (2.4), and no others."""
    return {
        "tryAgain": try_again,
        "logURL": "",
        "shouldClientReset": reset,
        "isRecoveryModeDisabled": False,
        "action": action,
    }


VIOLATION: Final = content("ProtocolViolation")
RESET: Final = content("ClientReset", reset=True)
BUG: Final = content("ApplicationBug")


def check_error(message: object, code: int, session: int, expected: dict[str, object]) -> None:
    """``message`` is the JSON_ERROR with this code and content, and tells why."""
    assert isinstance(message, s2c.JsonError), message
    assert (message.code, message.session) == (code, session), message
    text = dict(message.content)
    assert text.pop("message")
    assert text == expected


def check_end(attacker: RawSync, code: int, expected: dict[str, object] = VIOLATION) -> None:
    """The connection ends with this error, for the connection, and with nothing else."""
    messages, closed = attacker.to_the_end()
    messages = [message for message in messages if not isinstance(message, s2c.Download)]
    assert len(messages) == 1, messages
    check_error(messages[0], code, 0, expected)
    assert closed.code == 1000


def check_session_error(attacker: RawSync, code: int, expected: dict[str, object], session: int = 1) -> None:
    """The session ends with this error, and the connection lives on: what else comes for the session is ignored, and
    after UNBIND, which is not answered, its ident can be used again."""
    check_error(attacker.expect(s2c.JsonError), code, session, expected)
    attacker.send_message(c2s.Mark(session, 1).encode(), c2s.Unbind(session).encode(), c2s.Ping(7, 0).encode())
    assert attacker.next() == s2c.Pong(7)
