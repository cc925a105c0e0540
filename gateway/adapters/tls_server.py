"""The TLS context of every listener of ours, HTTP and MLLP: 1.2 or newer, and nothing that turns checking off."""

import ssl

from gateway.kernel.errors import Invalid


def listener_context(certificate: str, key: str, client_authority: str, *, settings: str) -> ssl.SSLContext:
    """A context with the listener's certificate; with an authority, clients must show a certificate of it.

    Args:
        settings: beginning of the settings' names for complaints, such as ``http_tls``.

    Raises:
        Invalid: a file that cannot be read or does not fit; the message names the setting.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key or None)
    except (OSError, ssl.SSLError):
        at = f"setting {settings}_certificate"
        raise Invalid("certificate or key cannot be used", at=at, fix="PEM files") from None
    if client_authority:
        try:
            context.load_verify_locations(client_authority)
        except (OSError, ssl.SSLError):
            at = f"setting {settings}_client_authority"
            raise Invalid("cannot be used", at=at, fix="a PEM file") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context
