"""Whose certificates a client accepts: those of the system's authorities, or only those of some that are named.

Every connection over TLS checks besides that the certificate is for the host it calls, be that a name or an IP address
(service_identity does, by way of Twisted).
"""

from pathlib import Path
from typing import Any, Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.ssl import Certificate, platformTrust, trustRootFromCertificates


@frozen
class Trust:
    """Authorities, as Twisted wants them."""

    root: Any


SYSTEM: Final = Trust(platformTrust())  # type: ignore[no-untyped-call]
"""The authorities that this machine trusts."""


def authorities(path: Path) -> Trust:
    """The authorities in the PEM file ``path``, and no others: for a server whose certificate comes from one's own.

    Raises OSError or ValueError.
    """
    found = x509.load_pem_x509_certificates(path.read_bytes())
    return Trust(trustRootFromCertificates([Certificate.loadPEM(each.public_bytes(Encoding.PEM)) for each in found]))  # type: ignore[no-untyped-call]
