"""TLS for listeners: which protocol versions and ciphers, and a certificate that can be exchanged while it is in use.

What this module keeps true: TLS 1.2 and 1.3 only, forward secret always; a client that does not get through its
handshake in time is dropped; after :meth:`ServerTls.reload` new connections have the new certificate, while those that
are open go on as they began; where the new files are wrong, the old certificate stays. It knows neither HTTP nor where
the files' names come from. What makes a certificate good is ``auth.certificates`` (``spec/http-api.md`` 6.2).

Sessions are not resumed. A ticket is encrypted with a key of the server's; whoever gets that key later reads everything
that was recorded under it, so it would have to be exchanged often. A cache of sessions takes room for each device. Our
clients open one connection and keep it for hours, so both would save next to nothing. A client that offers a session or
a ticket gets a full handshake instead.
"""

from datetime import datetime
from pathlib import Path
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.interfaces import (
    IDelayedCall,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from realmserver.auth.certificates import ServerCertificate, load_certificate
from realmserver.log import get_logger

log = get_logger("tls")

CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"
"""For TLS 1.2: forward secret, authenticated encryption, nothing else. TLS 1.3 has only such."""

SESSION_CONTEXT: Final = b"realm-object-server"
"""OpenSSL wants a name for what a session may be resumed in; without one it fails clients that ask for it."""

HANDSHAKE_TIMEOUT: Final = 30
"""Seconds that a client has for its handshake. A phone on a bad network needs a few; who needs more holds a place."""


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """The certificate that listeners show, read from two PEM files. Raises :class:`CertificateFileError`.

    ``now`` has a time zone.
    """

    def __init__(self, certificate_path: Path, private_key_path: Path, now: datetime) -> None:
        self._paths = certificate_path, private_key_path
        self._certificate = load_certificate(*self._paths, now)
        self._context = _context(self._certificate)

    @property
    def expires(self) -> datetime:
        """When the first certificate of the chain runs out."""
        certificates = self._certificate.leaf, *self._certificate.chain
        return min(each.not_valid_after_utc for each in certificates)

    def reload(self, now: datetime) -> None:
        """Read both files anew; connections from now on use what they hold.

        Raises :class:`CertificateFileError` where they are wrong: nothing has changed then.
        """
        certificate = load_certificate(*self._paths, now)
        self._context = _context(certificate)
        self._certificate = certificate

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """Twisted calls this for each new connection."""
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(protocol)
        return connection


def over_tls(tls: ServerTls, site: IProtocolFactory, reactor: IReactorTime) -> TLSMemoryBIOFactory:
    """What serves ``site`` to clients that speak TLS."""
    return _Factory(tls, False, site, reactor)


class _Transport(BufferingTLSTransport):
    """One client's connection."""

    _deadline: IDelayedCall | None = None

    def makeConnection(self, transport: ITransport) -> None:
        clock: IReactorTime = self.factory._clock
        self._deadline = clock.callLater(HANDSHAKE_TIMEOUT, self._give_up)
        super().makeConnection(transport)  # type: ignore[no-untyped-call]

    def handshaken(self) -> None:
        """OpenSSL has finished the handshake."""
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._deadline is not None:
            cause = "no handshake in time" if not self._deadline.active() else _cause(reason)
            log.debug("{peer}: no TLS connection: {cause}", peer=_host(self), cause=cause)
        self.handshaken()
        super().connectionLost(reason)

    def _give_up(self) -> None:
        self.abortConnection()  # type: ignore[no-untyped-call]


class _Factory(TLSMemoryBIOFactory):
    protocol = _Transport


def _context(certificate: ServerCertificate) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_cipher_list(CIPHERS)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(SESSION_CONTEXT)
    context.use_certificate(certificate.leaf)
    for issuer in certificate.chain:
        context.add_extra_chain_cert(issuer)
    context.use_privatekey(certificate.private)
    context.check_privatekey()
    context.set_info_callback(_progress)
    return context


def _progress(connection: SSL.Connection, where: int, _: int) -> None:
    """OpenSSL calls this as a connection goes on."""
    protocol = connection.get_app_data()
    if where & SSL.SSL_CB_HANDSHAKE_DONE and isinstance(protocol, _Transport):
        protocol.handshaken()


def _cause(reason: Failure) -> str:
    """Why a handshake failed, in OpenSSL's words if it has any."""
    if isinstance(reason.value, SSL.Error) and reason.value.args and reason.value.args[0]:
        return ", ".join(str(words[-1]) for words in reason.value.args[0])
    return reason.getErrorMessage()


def _host(transport: _Transport) -> str:
    peer = transport.getPeer()  # type: ignore[no-untyped-call]
    return str(getattr(peer, "host", "unknown"))
