"""TLS for HTTP: 1.2 or newer, and which registered clients the certificate of a connection may speak as.

With a client authority every connection shows a certificate of it. A token then counts only on a connection whose
certificate is bound to the token's client (after RFC 8705, by subject): a stolen token is of no use by itself.
"""

import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.adapters.tls_server import listener_context
from gateway.kernel.errors import Invalid

EXTENSION: Final = "doorway.certificate"  # of the ASGI scope: the names in the client's certificate


def server_context(certificate: str, key: str, client_authority: str) -> ssl.SSLContext | None:
    """The context of the API; None when no certificate is set. With an authority, clients must show a certificate.

    Raises:
        Invalid: a file that cannot be read or does not fit; the message names the setting.
    """
    if not certificate:
        if client_authority or key:
            raise Invalid("TLS needs a certificate", at="setting http_tls_certificate", fix="a PEM file")
        return None
    return listener_context(certificate, key, client_authority, settings="http_tls")


def names_in(certificate: Mapping[str, Any]) -> frozenset[str]:
    """Common names and DNS names of a certificate as ``ssl.getpeercert`` gives it."""
    names = [value for group in certificate.get("subject", ()) for key, value in group if key == "commonName"]
    return frozenset([*names, *(value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS")])


class Bindings:
    """Which clients a certificate may speak as.

    Args:
        clients: by certificate name, names of registered clients; without any entry no certificate is asked about.
    """

    def __init__(self, clients: Mapping[str, Sequence[str]]) -> None:
        self._clients = {name: frozenset(of) for name, of in clients.items()}

    def allow(self, scope: Mapping[str, Any], client: str) -> bool:
        """Whether the connection of this ASGI scope may speak as the client."""
        if not self._clients:
            return True
        names = (scope.get("extensions") or {}).get(EXTENSION, ())
        return any(client in self._clients.get(name, ()) for name in names)
