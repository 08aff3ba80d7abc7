"""Who may bind a session to which Realm, and what he may do there (``spec/protocol.md`` 3.3, 6.2).

Decides by the token in BIND, or by the login behind the connection. It knows no connection; the time is an argument.
"""

from realmserver.auth.gate import AppUser
from realmserver.auth.tokens import BindGrant, ExpiredToken, Tokens
from realmserver.realms.paths import check_virtual_path, expand_home, partition_realm
from realmserver.realms.requests import Identify, Upload
from realmserver.sync.decisions import Open


class NotPermitted(Exception):
    """The token does not give the right that is needed; the text says which."""


def admit(request: Open, login: AppUser | None, tokens: Tokens, now: float) -> tuple[str, BindGrant | None, str]:
    """Who binds, by which grant, and to which Realm. The checks of ``spec/protocol.md`` 3.3, in their order.

    Raises TokenError, IllegalPath or :class:`NotPermitted`; the session then knows its user all the same if the token
    was good, for the log.
    """
    session = request.session
    if login is not None:
        session.user = login.user_id
        name = partition_realm(login.app_id, request.path)
        if request.is_subserver:
            raise NotPermitted("sub-servers are not served")
        session.realm = name
        return login.user_id, None, name
    grant = tokens.verify_bind_token(request.token, now=now)
    session.user = grant.identity
    path = session.realm = check_virtual_path(expand_home(request.path, grant.identity))
    if request.is_subserver and not grant.admin:
        raise NotPermitted("only an administrator may act as a sub-server")
    if not (grant.admin or grant.allows("download", path)):
        raise NotPermitted(f"the token does not allow to download {path}")
    return grant.identity, grant, path


def check_grant(grant: BindGrant | None, request: Identify | Upload, realm: str, now: float) -> None:
    """Raise ExpiredToken or :class:`NotPermitted` if ``grant`` does not allow ``request`` in ``realm``. An upload with
    entries needs the right to upload; a progress report needs none (``spec/protocol.md`` 6.2)."""
    if grant is None or (isinstance(request, Upload) and not request.entries):
        return
    if grant.expires is not None and now > grant.expires:
        raise ExpiredToken("the token has expired")
    if isinstance(request, Upload) and not (grant.admin or grant.allows("upload", realm)):
        raise NotPermitted(f"the token does not allow to upload to {realm}")
