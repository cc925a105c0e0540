"""TLS for MLLP: 1.2 or newer, certificates checked; nothing here turns checking off."""

import ssl

from gateway.adapters.tls_server import listener_context
from gateway.kernel.errors import Invalid


def client_context(authority: str, certificate: str, key: str) -> ssl.SSLContext | None:
    """The context of a sender, which checks the receiver's certificate and name; None when no authority is set.

    Raises:
        Invalid: a file that cannot be read or does not fit.
    """
    if not authority:
        return None
    try:
        context = ssl.create_default_context(cafile=authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate:
            context.load_cert_chain(certificate, key or None)
    except (OSError, ssl.SSLError):
        raise Invalid("certificates cannot be used", at="setting mllp_destinations", fix="PEM files") from None
    return context


def server_context(certificate: str, key: str, client_authority: str) -> ssl.SSLContext | None:
    """The context of a listener; None when no certificate is set. With an authority, clients must show a certificate.

    Raises:
        Invalid: a file that cannot be read or does not fit; the message names the setting.
    """
    if not certificate:
        if client_authority:
            raise Invalid("client certificates need a certificate of the listener", at="setting mllp_tls_certificate")
        return None
    return listener_context(certificate, key, client_authority, settings="mllp_tls")
