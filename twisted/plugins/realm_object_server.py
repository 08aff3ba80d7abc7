"""Tells twistd that there is a "realm-object-server". No __init__.py may stand beside this file."""

from twisted.application.service import ServiceMaker

realm_object_server = ServiceMaker(  # type: ignore[no-untyped-call]
    "Realm Object Server",
    "realmserver.tap",
    "A sync server for Realm databases.",
    "realm-object-server",
)
